"""What is refused, and the sentence that says why."""

from collections.abc import Iterator

import pytest
from aggregator_model import Cluster

from aggregator.execution.engine import EngineSettings
from aggregator.service import AggregatorSettings
from aggregator.statement.security import Catalog
from alder.errors import AlderError, Reason

DOCUMENTS = [{"n": n, "type": ["push", "fork"][n % 2], "actor": {"login": "a"}} for n in range(20)]

FORBIDDEN = """
select * from read_csv('/etc/passwd')
select * from read_csv_auto('/etc/passwd')
select * from read_parquet('x')
select * from read_json('x')
select * from read_text('/etc/hostname')
select * from read_blob('/etc/hostname')
select * from glob('*')
select * from parquet_metadata('x')
select * from parquet_scan('x')
select * from sniff_csv('x')
select * from query('select 1')
select * from query_table('ev')
select * from duckdb_settings()
select * from duckdb_secrets()
select * from pragma_database_size()
select * from json_execute_serialized_sql('x')
select * from repeat(1, 100)
select * from which_secret('x', 's3')
select * from seq_scan('x')
select * from arrow_scan(1, 2, 3)
select * from information_schema.tables
select * from pg_catalog.pg_class
select * from main.ev
select * from memory.main.ev
select n from ev where exists (select 1 from read_text('/etc/passwd'))
with t as (select * from glob('/*')) select * from t
select (select count(*) from read_csv('x'))
select n from ev, lateral (select * from duckdb_tables()) t
select n from ev union all select 1 from read_csv('x')
select current_setting('memory_limit')
select getvariable('x')
select nextval('s')
select currval('s')
select setseed(0.1)
select pg_sleep(10)
select sleep_ms(10)
select write_log('x')
select txid_current()
select json_execute_serialized_sql('x')
select json_serialize_plan('select 1')
select json_serialize_sql('select 1')
select n from ev where n > to_aggregate_state(1, 'sum', ['BIGINT'])
select sum(n) export_state from ev
select main.lower(type) from ev
select list_transform([1], lambda x: getvariable('y')) from ev
select sum(nextval('s')) over () from ev
select n from ev order by current_setting('x')
select n from ev limit getvariable('x')
""".strip().splitlines()

NOT_SELECT = {
    "insert into ev values (1)": "INSERT",
    "update ev set n = 1": "UPDATE",
    "delete from ev": "DELETE",
    "merge into ev using ev b on true when matched then delete": "MERGE",
    "drop table ev": "DROP",
    "create table x (a int)": "CREATE",
    "create macro m() as 1": "CREATE",
    "alter table ev rename to x": "ALTER",
    "set memory_limit = '1TB'": "SET",
    "reset memory_limit": "SET",
    "pragma version": "PRAGMA",
    "load httpfs": "LOAD",
    "attach 'x.db'": "ATTACH",
    "detach memory": "DETACH",
    "copy ev to 'x.csv'": "COPY",
    "copy (select 1) to 'x.csv'": "COPY",
    "export database 'x'": "EXPORT",
    "call pragma_version()": "CALL",
    "prepare p as select 1": "PREPARE",
    "begin": "TRANSACTION",
    "vacuum": "VACUUM",
    "show all tables": "SHOW",
    "select * from (show tables)": "SHOW",
    "explain explain select 1": "EXPLAIN",
    "explain insert into ev values (1)": "INSERT",
    "explain select 1; select 2": "2 statements",
    "select 1; select 2": "2 statements",
    "select 1; drop table ev": "2 statements",
}

SENTENCES = {
    "select tipe from ev": (
        Reason.UNKNOWN_COLUMN,
        "there is no column tipe in ev; did you mean type or _time?",
    ),
    "select e.actor.logni from ev e": (
        Reason.UNKNOWN_COLUMN,
        "there is no column e.actor.logni in ev; did you mean actor.login?",
    ),
    "select n from ev order by zzz": (Reason.UNKNOWN_COLUMN, "there is no column zzz in ev"),
    "select n.x from ev": (Reason.UNKNOWN_COLUMN, "there is no column n.x in ev"),
    "select n from ev, pe": (Reason.UNKNOWN_COLUMN, "n is ambiguous; write ev.n or pe.n"),
    "with t as (select 1 a) select b from t": (
        Reason.UNKNOWN_COLUMN,
        'Referenced column "b" not found in FROM clause!',
    ),
    "select * exclude (zzz) from ev": (
        Reason.UNKNOWN_COLUMN,
        "there is no column zzz among those of *",
    ),
    "select n from evv": (
        Reason.UNKNOWN_COLLECTION,
        "there is no collection 'evv'; did you mean ev?",
    ),
    "select * from '/etc/passwd'": (
        Reason.UNKNOWN_COLLECTION,
        "there is no collection '/etc/passwd'",
    ),
    "selec 1": (
        Reason.SYNTAX,
        'the statement can\'t be parsed: syntax error at or near "selec" (line 1, column 1)',
    ),
    "select n\nfrom ev\nwhere ü = and": (
        Reason.SYNTAX,
        'the statement can\'t be parsed: syntax error at or near "and" (line 3, column 11)',
    ),
    "": (Reason.SYNTAX, "there is no statement; write one SELECT"),
    "select 1 \0": (Reason.SYNTAX, "the statement holds a NUL character; remove it"),
    "select n + type from ev": (
        Reason.WRONG_TYPE,
        "No function matches the given name and argument types '+(BIGINT, VARCHAR)'. "
        "You might need to add explicit type casts.",
    ),
    "select actor.login from ev group by n": (
        Reason.WRONG_TYPE,
        "column actor.login must appear in the GROUP BY clause or must be part of an aggregate "
        "function.",
    ),
    "select type::int from ev": (
        Reason.WRONG_TYPE,
        "Could not convert string 'push' to INT32 when casting from source column type",
    ),
    "select n from ev where type = 5": (
        Reason.WRONG_TYPE,
        "Could not convert string 'push' to INT32 when casting from source column type",
    ),
    "select sum(type::int) from ev": (
        Reason.WRONG_TYPE,
        "Could not convert string 'push' to INT32 when casting from source column type",
    ),
    "select fooo(n) from ev": (
        Reason.UNSUPPORTED,
        "there is no function fooo here; check the spelling",
    ),
    "select type from ev natural join (select 1 as one)": (
        Reason.WRONG_TYPE,
        "the sides of NATURAL JOIN have no column in common; use CROSS JOIN for every pair of rows",
    ),
    "select * from ev natural join (select unnest({'n': 1}))": (
        Reason.UNSUPPORTED,
        "NATURAL JOIN of a table whose columns are known only when it runs is not supported; "
        "use USING",
    ),
    "select * from ev e(a, b, c, d)": (
        Reason.WRONG_TYPE,
        "e has 3 columns, but 4 are named after it",
    ),
    "select e.type from ev e(a, kind)": (
        Reason.UNKNOWN_COLUMN,
        "there is no column e.type in ev",
    ),
    "select columns('z') from ev": (
        Reason.UNKNOWN_COLUMN,
        "there is no column COLUMNS('z') among those of *",
    ),
    "select columns(['n', 'zz']) from ev": (
        Reason.UNKNOWN_COLUMN,
        "there is no column zz among those of *",
    ),
    "select columns('n') + columns('type') from ev": (
        Reason.UNSUPPORTED,
        "several different COLUMNS(…) in one expression are not supported",
    ),
    "select columns(lambda c: (select count(*) from range(1000000000000)) > 0) from ev": (
        Reason.UNSUPPORTED,
        "COLUMNS(…) takes a regular expression, a list of names or a lambda that compares names",
    ),
    "select columns(list_apply(*, lambda a: list_apply(*, lambda b: a)[1])) from ev": (
        Reason.UNSUPPORTED,
        "COLUMNS(…) takes a regular expression, a list of names or a lambda that compares names",
    ),
    "select count(ev.*) from ev": (
        Reason.UNSUPPORTED,
        "* and COLUMNS(…) of a collection are not supported here; name the columns",
    ),
}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    made = Cluster({"ev": DOCUMENTS, "pe": [{"n": 1}]}, shards=2)
    yield made
    made.close()


def refused(cluster: Cluster, sql: str, timeout_s: float | None = None) -> AlderError:
    with pytest.raises(AlderError) as caught:
        cluster.ask(sql, timeout_s=timeout_s)
    message = caught.value.message
    assert "\n" not in message
    assert "\x1b" not in message
    assert "__" not in message
    return caught.value


@pytest.mark.parametrize("sql", FORBIDDEN)
def test_nothing_reaches_files_settings_or_catalogs(cluster: Cluster, sql: str) -> None:
    assert refused(cluster, sql).reason is Reason.FORBIDDEN


@pytest.mark.parametrize("sql", NOT_SELECT)
def test_only_one_select_is_answered(cluster: Cluster, sql: str) -> None:
    error = refused(cluster, sql)
    assert error.reason is Reason.UNSUPPORTED
    assert NOT_SELECT[sql] in error.message


@pytest.mark.parametrize("sql", SENTENCES)
def test_the_sentence_says_what_is_wrong(cluster: Cluster, sql: str) -> None:
    error = refused(cluster, sql)
    # Which of the two texts is met first, is up to the engine's threads.
    message = error.message.replace("string 'fork'", "string 'push'")
    assert (error.reason, message) == SENTENCES[sql]


@pytest.mark.parametrize(
    "sql",
    [
        "select " + "(" * 5000 + "1" + ")" * 5000,
        "select " + "- " * 3000 + "1",
        "select " + "[" * 300 + "]" * 300,
        "select " + "+".join(["n"] * 1000) + " from ev",
        "select * from " + "(select * from " * 400 + "ev" + ") x" * 400,
        "select n from ev where n in (" + ",".join(map(str, range(60_000))) + ")",
        "select '" + "x" * (1 << 20) + "'",
    ],
    ids=["parentheses", "minus", "lists", "plus", "subqueries", "in list", "text"],
)
def test_size_and_depth_are_bounded(cluster: Cluster, sql: str) -> None:
    assert refused(cluster, sql).reason is Reason.LIMIT
    assert cluster.rows("select count(*) from ev") == [(20,)]


def test_a_query_without_end_stops_at_its_deadline(cluster: Cluster) -> None:
    endless = (
        "select count(*) from range(1000000000000000) a, range(1000) b where a.range % 7 = b.range"
    )
    assert refused(cluster, endless, timeout_s=0.3).reason is Reason.DEADLINE
    assert cluster.rows("select count(*) from ev") == [(20,)]


def test_memory_is_bounded() -> None:
    settings = AggregatorSettings(engine=EngineSettings(memory_bytes_max=64 << 20))
    cluster = Cluster({"ev": DOCUMENTS}, settings=settings)
    hungry = "select a.range, list(b.range) from range(3000) a, range(9000) b group by 1"
    assert refused(cluster, hungry).reason is Reason.LIMIT
    assert cluster.rows("select count(*) from ev") == [(20,)]
    cluster.close()


def test_the_engine_itself_is_shut_off(cluster: Cluster) -> None:
    engine = cluster.aggregator._queries._engine
    for sql in ("select * from read_text('/etc/hostname')", "set threads = 1", "load httpfs"):
        with (
            engine.session() as session,
            pytest.raises(Exception, match=r"disabled|locked|Permission"),
        ):
            session.cursor.sql(sql).fetchall()


def test_every_function_of_the_engine_is_either_listed_or_refused_by_name() -> None:
    catalog = Catalog.of_engine()
    dangerous = {
        "getenv",
        "read_text",
        "query",
        "current_setting",
        "nextval",
        "pg_sleep",
        "json_execute_serialized_sql",
        "sleep_ms",
        "write_log",
        "setval",
        "finalize",
    }
    assert not dangerous & catalog.scalars
    assert {"lower", "count_star", "sum", "row_number", "json_extract"} <= catalog.scalars
