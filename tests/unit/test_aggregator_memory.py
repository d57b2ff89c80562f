"""Memory of a query: bounded by itself, spilled to disk up to a limit, results drawn in pieces."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from aggregator_model import Cluster

from aggregator.execution.engine import Engine, EngineSettings, run
from aggregator.execution.results import collected
from alder.arrow import CHUNK_BYTES, from_bytes, stream_pieces
from alder.errors import AlderError, Reason

SORTED = (
    "SELECT count(*) c, max(w) m FROM (SELECT lag(s) OVER (ORDER BY h) || s w "
    "FROM (SELECT hash(range) h, 'a text of some length: ' || range s FROM range({})))"
)
SMALL = EngineSettings(
    memory_bytes_max=40 << 20,
    spill_bytes_max=128 << 20,
    result_bytes_max=96 << 20,
    result_memory_bytes_max=1 << 20,
)


def answer(engine: Engine, sql: str) -> pa.Table:
    with engine.session() as session:
        return run(engine, session, sql, [], {})


@pytest.fixture
def spilling(tmp_path: Path) -> Iterator[Engine]:
    engine = Engine(SMALL, tmp_path / "spill")
    engine.start()
    yield engine
    engine.close()


def test_what_does_not_fit_is_spilled_and_the_answer_is_the_same(spilling: Engine) -> None:
    sql = SORTED.format(800_000)
    roomy = Engine(EngineSettings())
    assert answer(spilling, sql).to_pylist() == answer(roomy, sql).to_pylist()
    with pytest.raises(AlderError) as caught:
        answer(Engine(SMALL), sql)
    assert caught.value.reason is Reason.LIMIT
    roomy.close()


def test_the_disk_is_bounded_too_and_the_engine_goes_on(spilling: Engine) -> None:
    with pytest.raises(AlderError, match="more room on disk than") as caught:
        answer(spilling, SORTED.format(4_000_000))
    assert caught.value.reason is Reason.LIMIT
    assert answer(spilling, "SELECT 1 AS one").to_pylist() == [{"one": 1}]


def test_a_large_result_lies_in_a_file_without_a_name(spilling: Engine) -> None:
    begin = pa.total_allocated_bytes()
    table = answer(spilling, "SELECT range n FROM range(4000000)")
    assert table.column(0).to_numpy().sum() == 4_000_000 * 3_999_999 // 2
    assert table.nbytes > 30 << 20
    assert pa.total_allocated_bytes() - begin < 8 << 20
    assert spilling.directory is not None
    assert not list(spilling.directory.glob("result-*"))
    with pytest.raises(AlderError, match="more than 96 MiB") as caught:
        answer(spilling, "SELECT range n FROM range(40000000)")
    assert caught.value.reason is Reason.LIMIT
    assert not list(spilling.directory.glob("result-*"))


def test_without_a_directory_results_stay_in_memory_and_are_bounded() -> None:
    batches = [pa.record_batch({"n": pa.array(range(1000), pa.int64())})] * 10
    schema = batches[0].schema
    assert collected(schema, batches, 80_000, 10**9, None).num_rows == 10_000
    with pytest.raises(AlderError) as caught:
        collected(schema, batches, 79_999, 10**9, None)
    assert caught.value.reason is Reason.LIMIT
    assert collected(schema, [], 1, 1, None).num_rows == 0


def test_what_an_earlier_process_left_is_removed(tmp_path: Path) -> None:
    left = tmp_path / "spill" / "0" / "duckdb_temp_block.tmp"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"x" * 1000)
    engine = Engine(SMALL, tmp_path / "spill")
    engine.start()
    assert list((tmp_path / "spill").iterdir()) == []


@pytest.mark.parametrize("rows", [0, 1, 10_000, 700_000])
def test_pieces_are_one_stream_and_small(rows: int) -> None:
    table = pa.table({"n": range(rows), "s": ["text" * (n % 9) for n in range(rows)]})
    pieces = list(stream_pieces(table))
    assert from_bytes(b"".join(pieces)).equals(table)
    assert all(0 < len(piece) <= CHUNK_BYTES for piece in pieces)
    if table.nbytes > CHUNK_BYTES:
        assert len(pieces) < 3 * table.nbytes / CHUNK_BYTES


def test_errors_in_the_middle_of_a_result_keep_their_reason() -> None:
    cluster = Cluster({"ev": [{"n": n} for n in range(20)]})
    late = "SELECT CASE WHEN range < 1900000 THEN 1 ELSE 'x'::INT END FROM range(2000000)"
    with pytest.raises(AlderError, match="Could not convert string 'x'") as caught:
        cluster.ask(late)
    assert caught.value.reason is Reason.WRONG_TYPE
    endless = "SELECT a.range FROM range(100000000) a, range(1000000) b WHERE a.range = b.range + 5"
    with pytest.raises(AlderError) as caught:
        cluster.ask(endless.replace("=", "<"), timeout_s=0.4)
    assert caught.value.reason in {Reason.DEADLINE, Reason.LIMIT}
    cluster.close()


def test_queries_at_once_have_an_engine_each() -> None:
    engine = Engine(EngineSettings())

    async def together() -> list[int]:
        sql = "SELECT count(*) n FROM range(3000000) a WHERE a.range % 3 = 0"
        calls = [asyncio.to_thread(answer, engine, sql) for _ in range(4)]
        return [table.to_pylist()[0]["n"] for table in await asyncio.gather(*calls)]

    assert asyncio.run(together()) == [1_000_000] * 4
    with engine.session() as first, engine.session() as second:
        first.cursor.execute("CREATE TEMP TABLE t AS SELECT 1")
        assert second.cursor.execute("SELECT count(*) FROM duckdb_tables()").fetchall() == [(0,)]
    engine.close()
