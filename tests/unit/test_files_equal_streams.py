"""Batch equals live: the same events give the same rows and digests in whatever file they come.

Events are read as JSON lines, as a stream appends them, and as typed rows of every format, in
batches and row groups of random sizes. (An empty list alone differs: what it is a list of, only a
typed file can say.)
"""

import asyncio
import io
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import orc

from leaf.digest import combined, digest_rows
from tailer.batch import RowBuilder, RowSpec
from tailer.decode import DecodeLimits, JsonDecoder, TableDecoder
from tailer.settings import TailerSettings
from tailer.sources.file import FileSource
from tailer.sources.model import ReadLimits
from tailer.sources.storage import LocalFile

ROWS = 3_000
ROWS_LONG = 100_000
Rows = list[dict[str, object]]


def events(rows: int, seed: int) -> pa.Table:
    chance = random.Random(seed)
    texts = ["", "plain", 'with "quotes"', "line\nbreak", "é漢🎉", "back\\slash", "\x1f", "NaN"]
    numbers = [0.0, -1.5, 1e300, 1e-7, 123456789.125, 1e20]

    def maybe(value: object, share: float = 0.2) -> object:
        return None if chance.random() < share else value

    documents = [
        {
            "n": n,
            "kind": chance.choice(["push", "pull", "star"]),
            "text": maybe(chance.choice(texts)),
            "ok": maybe(chance.random() < 0.5),
            "size": maybe(chance.choice(numbers)),
            "big": maybe(chance.randrange(-(2**63), 2**63)),
            "tags": maybe([chance.choice(texts) for _ in range(chance.randint(1, 3))]),
            "actor": maybe({"login": chance.choice(texts), "at": maybe({"lat": 47.5, "n": n})}),
            "items": maybe([{"a": n, "b": "x"} for _ in range(chance.randint(1, 3))]),
        }
        for n in range(rows)
    ]
    return pa.Table.from_pylist(documents)


def write_lines(table: pa.Table, path: Path, group: int) -> None:
    texts = TableDecoder().documents(table).to_pylist()
    path.write_text("".join(f"{text}\n" for text in texts))


def write_parquet(table: pa.Table, path: Path, group: int) -> None:
    pq.write_table(table, path, row_group_size=group)


def write_arrow(table: pa.Table, path: Path, group: int) -> None:
    file = io.BytesIO()
    with pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=group)
    path.write_bytes(file.getvalue())


def write_orc(table: pa.Table, path: Path, group: int) -> None:
    orc.write_table(table, path, batch_size=min(group, 1_000), stripe_size=64 << 10)


WRITERS: dict[str, Callable[[pa.Table, Path, int], None]] = {
    "jsonl": write_lines,
    "parquet": write_parquet,
    "arrow": write_arrow,
    "orc": write_orc,
}


def load(path: Path, limits: ReadLimits, settings: TailerSettings) -> tuple[int, Rows]:
    """The digest and the rows, system fields and columns, as they are pushed."""
    builder = RowBuilder(RowSpec("file1", 0), settings, JsonDecoder(DecodeLimits()))
    digest = 0
    rows: Rows = []

    async def read() -> None:
        nonlocal digest
        with ThreadPoolExecutor(1) as pool:
            source = FileSource(str(path), LocalFile(str(path)).identity(), limits, pool)
            offset = 0
            while (raw := await source.read(offset, 0)).end > offset:
                assert not raw.quarantined
                for part in builder.build(raw):
                    table = part.table
                    offsets = table.column("_offset").to_numpy()
                    digest = combined(digest, digest_rows("file1", 0, offsets, table["_doc"]))
                    rows.extend(filled(row) for row in table.to_pylist())
                offset = raw.end

    asyncio.run(read())
    return digest, rows


def filled(row: dict[str, object]) -> dict[str, object]:
    times = {"_time", "_log_time"}
    return {name: value for name, value in row.items() if value is not None and name not in times}


@pytest.mark.parametrize("seed", [1, 2])
def test_all_formats_give_the_same_rows_and_digests(
    tmp_path: Path, seed: int, pytestconfig: pytest.Config
) -> None:
    count = ROWS_LONG if pytestconfig.getoption("--long") else ROWS
    chance = random.Random(seed)
    table = events(count, seed)
    found = {}
    for name, write in WRITERS.items():
        path = tmp_path / f"events.{name}"
        write(table, path, chance.randint(count // 50, count))
        limits = ReadLimits(chance.randint(5_000, 1 << 20), chance.randint(50, count), 1 << 20, 100)
        settings = TailerSettings(batch_rows_max=chance.randint(50, count))
        found[name] = load(path, limits, settings)
    digest, rows = found["jsonl"]
    assert len(rows) == count
    for name in WRITERS:
        assert found[name][1] == rows, name
        assert found[name][0] == digest, name
