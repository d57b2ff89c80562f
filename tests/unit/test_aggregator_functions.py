"""Every function, table function and view of the engine is on one side: allowed, or refused.

What is refused is refused wherever and however it is written; what is allowed is called once with
arguments of its types, and changes nothing outside of its query.
"""

import itertools
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import duckdb
import pytest
from aggregator_model import Cluster

from aggregator.execution.engine import Engine, EngineSettings
from aggregator.statement.security import OWN, TABLE_FUNCTIONS, Catalog
from aggregator.statement.syntax import Parser
from alder.errors import AlderError, Reason

PLACES = (
    "SELECT {}",
    "SELECT n FROM ev WHERE (SELECT {}) IS NULL",
    "WITH t AS (SELECT {} v) SELECT v FROM t",
    "SELECT list_transform([1], lambda x: {})",
    "SELECT count(*) FILTER (WHERE {} IS NULL) FROM ev",
    "SELECT list(n ORDER BY {}) FROM ev",
    "SELECT sum(n) OVER (ORDER BY {}) FROM ev",
    "SELECT n FROM ev LIMIT {}",
    "SELECT n FROM ev QUALIFY {} IS NULL",
    "SELECT * FROM ev JOIN ev b ON {} IS NULL",
    "SELECT n FROM ev GROUP BY n HAVING {} IS NULL",
    "SELECT * FROM unnest([{}])",
    "SELECT n FROM ev UNION ALL SELECT {}",
    "VALUES ({})",
)
STATEMENTS = {
    "INSERT": "INSERT INTO ev VALUES (1)", "UPDATE": "UPDATE ev SET n = 1",
    "EXPLAIN": "EXPLAIN SELECT 1", "DELETE": "DELETE FROM ev", "PREPARE": "PREPARE p AS SELECT 1",
    "CREATE": "CREATE TABLE t (a INT)", "EXECUTE": "EXECUTE p", "ALTER": "ALTER TABLE ev ADD x INT",
    "TRANSACTION": "BEGIN", "COPY": "COPY ev TO 'x.csv'", "ANALYZE": "ANALYZE",
    "VARIABLE_SET": "SET VARIABLE x = 1", "CREATE_FUNC": "CREATE FUNCTION f() AS 1",
    "DROP": "DROP TABLE ev", "EXPORT": "EXPORT DATABASE 'x'", "PRAGMA": "PRAGMA version",
    "VACUUM": "VACUUM", "CALL": "CALL pragma_version()", "SET": "SET threads = 1",
    "LOAD": "LOAD httpfs", "ATTACH": "ATTACH 'x.db'", "DETACH": "DETACH x",
    "MERGE_INTO": "MERGE INTO ev USING ev b ON true WHEN MATCHED THEN DELETE",
    "COPY_DATABASE": "COPY FROM DATABASE a TO b", "UPDATE_EXTENSIONS": "UPDATE EXTENSIONS",
    "INSTALL": "INSTALL httpfs", "IMPORT": "IMPORT DATABASE 'x'", "CHECKPOINT": "CHECKPOINT",
    "USE": "USE memory", "COMMENT": "COMMENT ON TABLE ev IS 'x'", "KILL": "RESET threads",
    "SECRET": "CREATE SECRET s (TYPE s3)", "TYPE": "CREATE TYPE t AS ENUM ('a')",
    "DEALLOCATE": "DEALLOCATE p", "TRUNCATE": "TRUNCATE ev",
}  # fmt: skip
FAILURES = (
    duckdb.DataError,
    duckdb.ProgrammingError,
    duckdb.NotSupportedError,
    duckdb.OperationalError,
)
"""What calls with arguments that do not fit may end in; a failure of the engine itself is none."""
TABLES = {"table", "table_macro", "pragma"}
NOT_TEXT = {"INVALID", "SELECT", "RELATION", "EXTENSION", "LOGICAL_PLAN", "MULTI"}
"""Kinds of statement that no text has of itself, and the one that is answered."""
VALUES = {
    "VARCHAR": "'a'", "BIGINT": "2", "INTEGER": "2", "HUGEINT": "2", "UBIGINT": "2",
    "SMALLINT": "2", "TINYINT": "2", "UTINYINT": "2", "USMALLINT": "2", "UINTEGER": "2",
    "UHUGEINT": "2", "BIGNUM": "2::BIGNUM", "DOUBLE": "0.5", "FLOAT": "0.5", "DECIMAL": "0.5",
    "BOOLEAN": "true", "DATE": "DATE '2020-01-02'", "TIME": "TIME '01:02:03'",
    "TIMESTAMP": "TIMESTAMP '2020-01-02'", "INTERVAL": "INTERVAL 1 DAY", "BLOB": "'a'::BLOB",
    "JSON": "'[1]'::JSON", "BIT": "'101'::BIT",
    "UUID": "'00000000-0000-0000-0000-000000000001'::UUID",
    "ANY": "1", "MAP": "map([1], [2])", "LAMBDA": "lambda x: x", "STRUCT": "{'a': 1}",
}  # fmt: skip


def functions() -> list[tuple[str, str, list[str]]]:
    """Name, kind and parameter types of every overload that the engine has."""
    with duckdb.connect() as engine:
        return engine.execute(
            "SELECT DISTINCT function_name, function_type, "
            "list_transform(parameter_types, lambda t: coalesce(t, 'ANY')) "
            "FROM duckdb_functions() ORDER BY ALL"
        ).fetchall()


@pytest.fixture(scope="module")
def parser() -> Iterator[Parser]:
    made = Parser()
    yield made
    made.close()


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return Catalog.of_engine()


def reason_of(parser: Parser, catalog: Catalog, sql: str) -> Reason | None:
    """Why a statement is refused before anything of it runs."""
    try:
        catalog.check(parser.parse(sql).node)
    except AlderError as error:
        return error.reason
    return None


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def test_what_is_refused_is_refused_wherever_it_stands(parser: Parser, catalog: Catalog) -> None:
    names = {name for name, kind, _ in functions() if kind not in TABLES}
    refused = sorted(
        name for name in names if name.lower() not in catalog.scalars | TABLE_FUNCTIONS
    )
    assert len(refused) > 200
    assert {"current_setting", "nextval", "currval", "getvariable", "write_log"} <= set(refused)
    for number, name in enumerate(refused):
        spellings = (f"{quoted(name)}(1)", f"{quoted(name.upper())}(1)", f"{quoted(name)}()")
        for place in (PLACES[0], PLACES[number % len(PLACES)]):
            for call in spellings:
                found = reason_of(parser, catalog, place.format(call))
                assert found is Reason.FORBIDDEN, place.format(call)
    for place in PLACES:
        found = reason_of(parser, catalog, place.format("current_setting('threads')"))
        assert found is Reason.FORBIDDEN, place


def test_no_function_is_called_by_a_schema(parser: Parser, catalog: Catalog) -> None:
    for name, prefix in itertools.product(("lower", "getenv"), ("main.", "system.main.")):
        found = reason_of(parser, catalog, f"SELECT {prefix}{name}('a')")
        assert found is Reason.FORBIDDEN, prefix + name


def test_every_table_function_but_a_few_is_refused(parser: Parser, catalog: Catalog) -> None:
    names = {name for name, kind, _ in functions() if kind in TABLES}
    assert len(names) > 80
    assert {"read_csv", "read_text", "glob", "query", "duckdb_settings"} <= names
    for name in sorted(names - TABLE_FUNCTIONS):
        for call in (f"{quoted(name)}('a')", f"{quoted(name.upper())}()"):
            for sql in (
                "SELECT * FROM {}",
                "SELECT (SELECT count(*) FROM {})",
                "FROM ev, LATERAL {}",
            ):
                found = reason_of(parser, catalog, sql.format(call))
                assert found is Reason.FORBIDDEN, sql.format(call)


def test_views_of_the_engine_and_files_are_no_collections() -> None:
    with duckdb.connect() as engine:
        views = engine.execute("SELECT schema_name, view_name FROM duckdb_views()").fetchall()
    assert len(views) > 30
    names = [quoted(view) for _, view in views]
    names += [f"{quoted(schema)}.{quoted(view)}" for schema, view in views]
    names += [
        "'file.csv'",
        '"file.parquet"',
        "'https://a.b/c.json'",
        '"/etc/passwd"',
        "rows",
        "VALUES",
    ]
    cluster = Cluster({"ev": [{"n": 1}]})
    for name in names:
        with pytest.raises(AlderError) as caught:
            cluster.ask(f"SELECT * FROM {name}")
        allowed = {Reason.UNKNOWN_COLLECTION, Reason.FORBIDDEN, Reason.SYNTAX}
        assert caught.value.reason in allowed, (name, caught.value)
    cluster.close()


@pytest.mark.parametrize("kind", STATEMENTS)
def test_every_other_kind_of_statement_is_refused_by_name(parser: Parser, kind: str) -> None:
    with pytest.raises(AlderError) as caught:
        parser.parse(STATEMENTS[kind])
    assert caught.value.reason in {Reason.UNSUPPORTED, Reason.SYNTAX}, caught.value
    assert "only SELECT is answered here, not " in caught.value.message or (
        caught.value.reason is Reason.SYNTAX
    )


def test_every_kind_of_statement_was_tried() -> None:
    kinds = set(duckdb.StatementType.__members__)
    assert kinds - NOT_TEXT <= set(STATEMENTS), kinds - NOT_TEXT - set(STATEMENTS)


def _value(parameter: str) -> str:
    base = parameter.split("(", 1)[0]
    if parameter.endswith("]"):
        return f"[{_value(parameter.rsplit('[', 1)[0])}]"
    return VALUES.get(base, "1")


def test_what_is_allowed_touches_nothing_outside(
    catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    engine = Engine(EngineSettings())
    settings = "SELECT name, value FROM duckdb_settings() ORDER BY name"
    environment = dict(os.environ)
    ran = set()
    with engine.session() as session:
        cursor = session.cursor
        before = cursor.execute(settings).fetchall()
        for name, kind, parameters in functions():
            if name.lower() not in catalog.scalars or kind in TABLES:
                continue
            call = f"{quoted(name)}({', '.join(map(_value, parameters))})"
            with suppress(*FAILURES):
                cursor.execute(f"SELECT {call}").fetchall()
                ran.add(name.lower())
        assert cursor.execute(settings).fetchall() == before
        for made in ("duckdb_tables()", "duckdb_views() WHERE NOT internal"):
            assert cursor.execute(f"SELECT count(*) FROM {made}").fetchall() == [(0,)]
    assert len(ran) > 0.6 * len(catalog.scalars - OWN), len(ran)
    assert list(tmp_path.iterdir()) == []
    assert dict(os.environ) == environment
    engine.close()
