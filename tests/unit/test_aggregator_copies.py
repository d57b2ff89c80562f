"""Copies of fixed rows: when they are made, that they are the rows, that they stay in bounds."""

from collections.abc import Iterator

import duckdb
import pyarrow as pa
import pytest

from aggregator.execution.copies import Copies
from aggregator.execution.engine import Engine, EngineSettings, Input, Pending, run
from aggregator.execution.tables import with_tables
from alder.fragments import FixedRows

MIB = 1 << 20
ROWS = 300_000
"""More than the engine keeps in two stretches of rows, so that several threads write a copy."""
TABLE = pa.table(
    {
        "a": pa.array(range(ROWS)),
        "b": pa.array([str(number % 7) for number in range(ROWS)]),
        "c": pa.array([number * 3 for number in range(ROWS)]),
    }
)
STORED = {"a": "int:A", "b": "string:b", "c": "int:a"}
"""Stored names may differ in case alone."""


@pytest.fixture
def cursor() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(config={"threads": 2}) as connection:
        yield connection


def fixed(columns: str, name: object = "x", begin: int = 0, rows: int = ROWS) -> FixedRows:
    return FixedRows(name, tuple(STORED[column] for column in columns), begin, rows)


def wanted(columns: str, name: object = "x") -> tuple[FixedRows, pa.Table]:
    return fixed(columns, name), TABLE.select(list(columns))


def copied(
    copies: Copies, cursor: duckdb.DuckDBPyConnection, columns: str, name: object = "x"
) -> pa.Table | None:
    """The copy of columns, in the order in which it is kept."""
    rows, table = wanted(columns, name)
    source = copies.source(rows, table.column_names)
    if source is None:
        return None
    return cursor.sql(f"SELECT {', '.join(columns)} FROM {source}").to_arrow_table()


def tables(cursor: duckdb.DuckDBPyConnection) -> int:
    [(count,)] = cursor.execute("SELECT count(*) FROM duckdb_tables()").fetchall()
    return int(count)


def test_columns_are_copied_when_they_are_asked_for_again(
    cursor: duckdb.DuckDBPyConnection,
) -> None:
    copies = Copies(64 * MIB)
    for columns, expected in [("ba", 0), ("ca", 1), ("ba", 1), ("ca", 1), ("cb", 1)]:
        copies.prepare(cursor, [wanted(columns)])
        assert tables(cursor) == expected
    for columns in ("a", "cb", "bac"):
        assert copied(copies, cursor, columns) == TABLE.select(list(columns))
    assert copied(copies, cursor, "a", "y") is None


def test_a_statement_that_reads_the_same_rows_twice_finds_its_copies(
    cursor: duckdb.DuckDBPyConnection,
) -> None:
    copies = Copies(64 * MIB)
    copies.prepare(cursor, [wanted("ab"), wanted("a")])
    assert copied(copies, cursor, "a") is None
    copies.prepare(cursor, [wanted("a"), wanted("ab"), wanted("bc")])
    assert copied(copies, cursor, "ab") == TABLE.select(["a", "b"])
    assert copied(copies, cursor, "bc") is None


def test_copies_stay_within_their_bytes(cursor: duckdb.DuckDBPyConnection) -> None:
    size_bytes = TABLE.column("a").nbytes
    copies = Copies(2 * size_bytes)
    for name in ("x", "y", "x", "z"):
        for _ in range(2):
            copies.prepare(cursor, [wanted("a", name)])
    assert [copied(copies, cursor, "a", name) is not None for name in "xyz"] == [True, False, True]
    assert tables(cursor) == 2
    for _ in range(3):
        copies.prepare(cursor, [wanted("a", name) for name in "xyz"])
    assert [copied(copies, cursor, "a", name) is not None for name in "xyz"] == [True, False, True]
    for _ in range(3):
        copies.prepare(cursor, [wanted("abc")])
    assert copied(copies, cursor, "abc") is None
    assert copies.clear(cursor)
    assert not copies.clear(cursor)
    assert tables(cursor) == 0


def statement(begin: int) -> list[Input]:
    """Two fixed parts of the table, and rows after them that are not fixed."""
    half = ROWS // 2
    parts = (fixed("abc", "x", 0, half), fixed("abc", ("y", begin), half, begin))
    rows = pa.concat_tables([TABLE.slice(0, half), TABLE.slice(0, begin), TABLE.slice(half)])
    pending = Pending(rows.rename_columns(["p0", "p1", "p2"]), "p0 AS n, p2 AS m", SQL, parts)
    return [Input("t", (("n", "BIGINT"), ("m", "BIGINT")), None, (pending,))]


SQL = 'SELECT n, m FROM "rows" WHERE n % 2 = 0'


def test_the_answer_is_the_same_over_copies_and_over_rows() -> None:
    engine = Engine(EngineSettings())
    sql = "SELECT count(*), sum(n), sum(m), min(n) FROM t AS s"
    for begin in (100, 100, 100, 200, 200):
        with engine.session() as session:
            (row,) = run(engine, session, sql, statement(begin), {}).to_pylist()
        even = range(0, ROWS, 2)
        some = range(0, begin, 2)
        expected = [len(even) + len(some), sum(even) + sum(some)]
        assert list(row.values()) == [*expected, 3 * expected[1], 0]
    engine.close()


HUNGRY = "SELECT max(r) AS n FROM (SELECT row_number() OVER (ORDER BY hash(range)) AS r FROM {})"


def test_a_query_that_needs_the_memory_of_copies_gets_it() -> None:
    engine = Engine(EngineSettings(memory_bytes_max=64 * MIB, threads=1))
    for _ in range(3):
        with engine.session() as session:
            run(engine, session, "SELECT count(*) FROM t AS s", statement(100_000), {})
    with engine.session() as session:
        copies, rows = tables(session.cursor), 500_000
        while tables(session.cursor) == copies:
            rows += 50_000
            hungry = HUNGRY.format(f"range({rows})")
            assert run(engine, session, hungry, [], {}).to_pylist() == [{"n": rows}]
        assert (copies, tables(session.cursor)) == (2, 0)
    engine.close()


def test_tables_stand_where_their_names_do() -> None:
    sql = """SELECT 'é __g0 ''__g1', t."__g0x" FROM __g0 AS t WHERE n IN (SELECT z FROM "__g1")"""
    assert with_tables(sql, {"__g0": "SELECT 'ä' AS n", "__g1": "SELECT 2 AS z"}) == (
        """SELECT 'é __g0 ''__g1', t."__g0x" FROM (SELECT 'ä' AS n) AS t """
        "WHERE n IN (SELECT z FROM (SELECT 2 AS z))"
    )
    assert with_tables("SELECT 1", {}) == "SELECT 1"


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT __g0 FROM __g0",
        "WITH a AS (SELECT n AS __g0 FROM __g0) SELECT * FROM a",
        "WITH RECURSIVE a AS (SELECT n AS __g0 FROM __g0) SELECT * FROM a",
        "(SELECT n AS __g0 FROM __g0) UNION ALL (SELECT 5 WHERE false)",
    ],
)
def test_a_name_that_is_more_than_a_table_is_left_alone(sql: str) -> None:
    whole = with_tables(sql, {"__g0": "SELECT 5 AS n, 6 AS __g0"})
    assert duckdb.sql(whole).fetchall() in ([(5,)], [(6,)], [({"n": 5, "__g0": 6},)])
