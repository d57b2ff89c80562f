"""The 22 queries of TPC-H over four shards give what DuckDB gives over the same Parquet files."""

import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from deployment import standalone
from reference import same_rows

from alder.arrow import SQL_TYPE_KEY
from alder.client import Connection
from bench.generators import tpch
from bench.queries.tpch import queries

SCALE = 0.01
QUERIES = queries(SCALE)
WAIT_S_MAX = 60.0

pytestmark = pytest.mark.skipif(tpch.generator() is None, reason="tpchgen-cli is not installed")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return tpch.write(tmp_path_factory.mktemp("tpch") / "files", SCALE)


@pytest.fixture(scope="module")
def truth(files: dict[str, Path]) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        for table, file in files.items():
            columns = connection.read_parquet(str(file))
            wide = [
                f"{name}::BIGINT AS {name}" if str(kind) == "INTEGER" else name
                for name, kind in zip(columns.columns, columns.types, strict=True)
            ]
            columns.project(", ".join(wide)).create(table)
        yield connection


@pytest.fixture(scope="module", params=[1, 4], ids=["one-leaf", "four-leaves"])
def loaded(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    files: dict[str, Path],
    truth: duckdb.DuckDBPyConnection,
) -> Iterator[Connection]:
    root = tmp_path_factory.mktemp("deployment")
    deployment = standalone(root, {"seal_rows": 5_000}, leaves=request.param)
    deployment.start()
    try:
        with deployment.connect() as connection:
            for table, file in files.items():
                connection.create_collection(table, shards=4, source_urls=[f"file://{file}"])
            deadline = time.monotonic() + WAIT_S_MAX
            for table in files:
                sql = f"SELECT count(*) FROM {table}"
                rows = truth.execute(sql).fetchall()
                while connection.execute(sql).fetchall() != rows:
                    assert time.monotonic() < deadline, f"{table} was not loaded in time"
                    time.sleep(0.1)
            yield connection
    finally:
        codes = deployment.stop()
    assert set(codes.values()) == {0}


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_equals_duckdb_through_every_plan(
    loaded: Connection, truth: duckdb.DuckDBPyConnection, query: str
) -> None:
    sql = QUERIES[query]
    relation = truth.sql(sql)
    names, types = relation.columns, [str(kind) for kind in relation.types]
    expected = relation.fetchall()
    for plan in ("auto", "e"):
        cursor = loaded.execute(sql, plan_class=plan)
        schema = cursor.fetch_record_batch().schema
        assert schema.names == names
        assert [field.metadata[SQL_TYPE_KEY].decode() for field in schema] == types
        rows = cursor.fetchall()
        assert same_rows(rows, expected, ordered=True), (rows[:3], expected[:3])


@pytest.mark.parametrize("strategy", ["gather", "reduce", "broadcast", "colocated"])
def test_all_queries_equal_duckdb_however_joins_are_gathered(
    loaded: Connection, truth: duckdb.DuckDBPyConnection, strategy: str
) -> None:
    loaded.execute(f"SET join_strategy = {strategy}")
    for query, sql in QUERIES.items():
        expected = truth.sql(sql).fetchall()
        rows = loaded.execute(sql).fetchall()
        assert same_rows(rows, expected, ordered=True), (query, rows[:3], expected[:3])
    loaded.execute("RESET join_strategy")
