"""One engine after the other over different tables: each sees its own, and none is kept."""

from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pytest

from alder.errors import AlderError, Reason
from leaf.bindings import TABLE
from leaf.engine import Cancellation, Engine


@pytest.fixture
def engine() -> Engine:
    return Engine(256 << 20)


def asked(engine: Engine, table: pa.Table, sql: str) -> list[dict[str, object]]:
    projection = f"SELECT * FROM {TABLE}"
    rows: list[dict[str, object]] = engine.run(table, projection, sql, Cancellation()).to_pylist()
    return rows


def test_each_query_reads_its_own_table(engine: Engine) -> None:
    numbers = pa.table({"a": [1, 2, 3]})
    assert asked(engine, numbers, "SELECT sum(a)::int AS s FROM rows") == [{"s": 6}]
    assert asked(engine, numbers.slice(2), "SELECT a FROM rows") == [{"a": 3}]
    texts = pa.table({"b": [0.5], "a": ["x"]})
    assert asked(engine, texts, "SELECT * FROM rows") == [{"b": 0.5, "a": "x"}]
    joined = "WITH t AS (SELECT l.a FROM rows l JOIN rows r ON l.a = r.a) SELECT count(*) n FROM t"
    assert asked(engine, numbers, joined) == [{"n": 3}]
    with pytest.raises(AlderError) as caught:
        asked(engine, texts, "SELECT a::int FROM rows")
    assert caught.value.reason is Reason.WRONG_TYPE
    assert asked(engine, numbers, "SELECT max(a) AS m FROM rows") == [{"m": 3}]
    engine.close()


def test_queries_at_the_same_time_do_not_see_each_other(engine: Engine) -> None:
    def one(number: int) -> bool:
        table = pa.table({f"c{number % 3}": [number] * (number + 1)})
        sql = f"SELECT min(c{number % 3}) AS low, count(*) AS n FROM rows"
        return asked(engine, table, sql) == [{"low": number, "n": number + 1}]

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(one, range(200)))
    engine.close()


def test_a_table_is_given_back_after_its_query(engine: Engine) -> None:
    before = pa.total_allocated_bytes()
    table = pa.table({"a": pa.array(range(1 << 17), pa.int64())})
    assert asked(engine, table, "SELECT count(*) AS n FROM rows") == [{"n": 1 << 17}]
    del table
    assert pa.total_allocated_bytes() - before < 1 << 17
    engine.close()
