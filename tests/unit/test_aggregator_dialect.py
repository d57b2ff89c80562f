"""What Alder's SQL has beyond the engine's: versions of views, and moments."""

import re

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.statement import tables
from aggregator.statement.dialect import parsed, rewritten
from aggregator.statement.syntax import Parser
from aggregator.statement.tablename import POSITION, TIMESTAMP, AsOf, TableName
from alder.errors import AlderError, Reason

P = AsOf(POSITION, "log/0:12")
T = AsOf(TIMESTAMP, "2026-01-01")
EV = TableName("ev").encode()
EV_P = TableName("ev", as_of=P).encode()
EV_T = TableName("ev", as_of=T).encode()


@pytest.fixture(scope="module")
def parser() -> Parser:
    return Parser()


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT * FROM ev", [EV]),
        ("SELECT * FROM v@2", ["v@2"]),
        ("SELECT * FROM v@2 x JOIN w@13 USING (k)", ["v@2", "w@13"]),
        ('SELECT * FROM "v"@2 WHERE a = 1', ["v@2"]),
        ('SELECT * FROM "v@2"', ["v@2"]),
        ("SELECT * FROM ev AS OF POSITION 'log/0:12'", [EV_P]),
        ("SELECT * FROM ev as of position 'log/0:12' AS e WHERE e.n = 1", [EV_P]),
        ("SELECT * FROM ev /* AS OF */ AS -- x\n OF POSITION 'log/0:12' e", [EV_P]),
        ("SELECT * FROM v@2 AS OF TIMESTAMP '2026-01-01'", ["v@2@@T2026-01-01"]),
        ("SELECT * FROM a, ev AS OF POSITION 'log/0:12', b WHERE 1 = 1", ["a", EV_P, "b"]),
        ("SELECT * FROM a JOIN b ON a.x = b.x, ev AS OF POSITION 'log/0:12'", ["a", "b", EV_P]),
        ("SELECT * FROM (ev AS OF TIMESTAMP '2026-01-01' JOIN a USING (k))", [EV_T, "a"]),
        ("SELECT * FROM (FROM ev AS OF TIMESTAMP '2026-01-01') x, v@1", [EV_T, "v@1"]),
        ("FROM ev AS OF TIMESTAMP '2026-01-01' SELECT n, m", [EV_T]),
        ("SELECT (SELECT max(n) FROM ev AS OF TIMESTAMP '2026-01-01') FROM a", [EV_T, "a"]),
        ("SELECT * FROM ev e AS OF POSITION 'log/0:12';", [EV_P]),
        ("SELECT * FROM ev WHERE n = m AS OF POSITION 'log/0:12'", [EV_P]),
        ("SELECT * FROM ev WHERE n IS DISTINCT FROM m AS OF POSITION 'log/0:12'", [EV_P]),
        ("SELECT * FROM ev ORDER BY n, m AS OF POSITION 'log/0:12'", [EV_P]),
        ("SELECT * FROM v@2 ORDER BY n, m AS OF POSITION 'log/0:12'", ["v@2@@Plog/0:12"]),
        (
            "SELECT * FROM ev AS OF TIMESTAMP '2026-01-01', ev y LIMIT 1 AS OF POSITION 'log/0:12'",
            [EV_T, EV_P],
        ),
        ("WITH c AS (FROM ev) SELECT * FROM c LIMIT 1 AS OF POSITION 'log/0:12'", [EV_P]),
        ("SELECT 'FROM v@2', $$FROM v@2$$ FROM ev -- v@2 AS OF POSITION", [EV]),
        ("SELECT a AS of, b FROM ev AS of", [EV]),
        ("SELECT @n, n - @2 FROM ev", [EV]),
        ("SELECT 1 AS OF TIMESTAMP '2026-01-01'", []),
    ],
)
def test_tables_say_version_and_moment(parser: Parser, sql: str, expected: list[str]) -> None:
    found = tables.tables(parsed(parser, sql).node)
    assert sorted(found) == sorted(expected)


def test_aliases_conditions_and_literals_stay(parser: Parser) -> None:
    node = parsed(parser, "SELECT 'v@2' FROM ev AS OF POSITION 'log/0:12' AS e, a").node
    assert node["from_table"]["left"]["alias"] == "e"
    assert node["select_list"][0]["literal"]["text"] == "v@2"


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM ev e AS OF POSITION 'log/0:12' WHERE n = 1",
        "SELECT * FROM (SELECT * FROM ev WHERE n = 1 AS OF POSITION 'log/0:12')",
        "SELECT * FROM ev AS OF POSITION log",
        "SELECT * FROM ev AS OF POSITION ?",
        "SELECT * FROM ev AS OF TIMESTAMP",
        "SELECT * FROM ev AS OF POSITION 'never ends",
        "SELECT * FROM ev WHERE n = 1 AS OF POSITION 'a' AS OF POSITION 'b'",
    ],
)
def test_a_moment_out_of_place_is_refused_with_the_form(sql: str) -> None:
    with pytest.raises(AlderError) as caught:
        rewritten(sql)
    assert caught.value.reason is Reason.SYNTAX
    assert "write AS OF POSITION '" in str(caught.value)


@pytest.mark.parametrize("moment", ["AS OF POSITION 'log/0:12'", "AS\nOF\n\n TIMESTAMP '2026'"])
def test_lines_and_columns_in_messages_stay_right(parser: Parser, moment: str) -> None:
    written = f"SELECT *\nFROM ev {moment} e\nWHERE ] = 1"
    blank = re.sub(r"[^\n]", " ", moment)
    shown = f"SELECT *\nFROM ev {blank} e\nWHERE ] = 1"
    messages = []
    for sql in (written, shown):
        with pytest.raises(AlderError) as caught:
            parsed(parser, sql)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    same_line = written.replace("\n", " ")
    with pytest.raises(AlderError, match=f"line 1, column {same_line.index(']') + 1}"):
        parsed(parser, same_line)


def test_a_query_of_the_with_has_no_moment(parser: Parser) -> None:
    with pytest.raises(AlderError, match="has no versions and is of no moment"):
        tables.tables(parsed(parser, "WITH c AS (FROM ev) FROM c AS OF TIMESTAMP '2026'").node)


names = st.text(alphabet="abc_1", min_size=1, max_size=5)
texts = st.text(alphabet="log/:0'\"@P, \nA", max_size=12)
others = st.none() | st.text(alphabet="log/:01,; ", max_size=8)
moments = st.none() | st.builds(AsOf, st.sampled_from([POSITION, TIMESTAMP]), texts, others)
table_names = st.builds(TableName, names, st.none() | st.integers(0, 10**18 - 1), moments)


@settings(max_examples=300, deadline=None)
@given(table_names)
def test_names_are_decoded_to_what_they_were(name: TableName) -> None:
    assert TableName.decode(name.encode()) == name


PIECES = [
    *("SELECT", "FROM", "WHERE", "JOIN", "a", "v@2", '"q"@3', "AS", "OF", "POSITION", "'x'"),
    *("TIMESTAMP", "(", ")", ",", "1", "--c", "\n", "/*", "*/", "=", ";", "$$", "'", '"', "ON"),
]


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=14))
def test_what_the_engine_accepts_means_what_it_meant(pieces: list[str]) -> None:
    sql = "SELECT * FROM a " + " ".join(pieces)
    try:
        duckdb.extract_statements(sql)
    except duckdb.Error:
        return
    if "@" not in sql:
        assert rewritten(sql).sql == sql
