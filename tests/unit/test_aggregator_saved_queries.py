"""Saved queries: their parameters, versions, and calls by text and by name."""

import datetime
from collections.abc import Iterator
from decimal import Decimal

import pytest
from aggregator_model import Cluster

from alder.errors import AlderError, Reason
from alder.v1 import query_pb2

TOP = (
    "CREATE QUERY top(n := 3, kind) AS SELECT n FROM ev WHERE kind = $kind ORDER BY n DESC LIMIT $n"
)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    made = Cluster({"ev": [{"n": i, "kind": "abc"[i % 3]} for i in range(30)]})
    yield made
    made.close()


def refused(cluster: Cluster, sql: str, **request: object) -> AlderError:
    with pytest.raises(AlderError) as caught:
        cluster.rows(sql, **request)
    return caught.value


def numbers(cluster: Cluster, sql: str, **request: object) -> list[object]:
    return [row[0] for row in cluster.rows(sql, **request)]


def test_values_come_by_place_by_name_and_by_default(cluster: Cluster) -> None:
    assert cluster.rows(TOP) == [("top", 1)]
    assert numbers(cluster, "EXECUTE top(2, 'a')") == [27, 24]
    assert numbers(cluster, "execute Top(kind := 'b', n := 1);") == [28]
    assert numbers(cluster, "EXECUTE top(kind := 'c')") == [29, 26, 23]
    assert numbers(cluster, "EXECUTE top(1, kind := 'c')") == [29]
    assert numbers(cluster, "EXECUTE top(kind := 'a'' OR kind = ''b')") == [], "a value is a value"


def test_versions_stay_callable(cluster: Cluster) -> None:
    cluster.rows(TOP)
    replaced = (
        "CREATE OR REPLACE QUERY top(least := 28) AS SELECT n FROM ev WHERE n >= $least ORDER BY n"
    )
    assert cluster.rows(replaced) == [("top", 2)]
    assert numbers(cluster, "EXECUTE top") == [28, 29]
    assert numbers(cluster, "EXECUTE top@2(29)") == [29]
    assert numbers(cluster, "EXECUTE top@1(1, 'a')") == [27]
    assert cluster.rows("SHOW SAVED QUERIES") == [
        ("top", 2, ["least := 28"], "SELECT n FROM ev WHERE n >= $least ORDER BY n")
    ]
    assert cluster.rows("DROP QUERY top") == [("top",)]
    assert refused(cluster, "EXECUTE top").reason is Reason.UNKNOWN_COLLECTION
    assert cluster.rows("DROP QUERY IF EXISTS top") == [("top",)]


def test_a_saved_query_is_called_by_its_name_in_a_request(cluster: Cluster) -> None:
    cluster.rows(TOP)
    cluster.rows("CREATE OR REPLACE QUERY top(x) AS SELECT $x + 1")
    value = query_pb2.Parameter(int_value=4)
    assert numbers(
        cluster, "", saved_query=query_pb2.SavedQuery(name="top"), parameters=[value]
    ) == [5]
    first = query_pb2.SavedQuery(name="top", version=1)
    kind = query_pb2.Parameter(name="kind", string_value="b")
    assert numbers(cluster, "", saved_query=first, parameters=[kind]) == [28, 25, 22]
    assert refused(cluster, "SELECT 1", saved_query=first).reason is Reason.INVALID_ARGUMENT
    assert refused(cluster, "", saved_query=first).message.startswith("no value is given for kind")
    unknown = query_pb2.SavedQuery(name="tip")
    assert "did you mean top" in refused(cluster, "", saved_query=unknown).message


def test_a_saved_query_reads_views_and_is_explained(cluster: Cluster) -> None:
    cluster.rows("CREATE VIEW v AS SELECT n AS m FROM ev")
    cluster.rows("CREATE QUERY q(least := 27) AS SELECT count(*) FROM v WHERE m > $least")
    assert numbers(cluster, "EXECUTE q") == [2]
    cluster.rows("CREATE OR REPLACE VIEW v AS SELECT -n AS m FROM ev")
    assert numbers(cluster, "EXECUTE q(-5)") == [5], "the newest view, whenever it was saved"
    assert any("-5" in str(line) for line in numbers(cluster, "EXPLAIN EXECUTE q(-5)"))
    assert numbers(cluster, "EXPLAIN ANALYZE EXECUTE q(-5)")[0].startswith("class ")


@pytest.mark.parametrize(
    ("sql", "reason", "words"),
    [
        ("CREATE QUERY q(a, a) AS SELECT $a", Reason.INVALID_ARGUMENT, "a is named twice"),
        ("CREATE QUERY q(a) AS SELECT 1", Reason.INVALID_ARGUMENT, "does not use $a"),
        ("CREATE QUERY q AS SELECT $b", Reason.INVALID_ARGUMENT, "$b is no parameter of q"),
        ("CREATE QUERY q(a) AS SELECT ?", Reason.INVALID_ARGUMENT, "$1 is no parameter of q"),
        ("CREATE QUERY q(a := n) AS SELECT $a", Reason.SYNTAX, "'n' is no literal"),
        ("CREATE QUERY q(a := DATE 'x') AS SELECT $a", Reason.SYNTAX, "no literal"),
        ("CREATE QUERY q(a := 1 + 1) AS SELECT $a", Reason.SYNTAX, "'(1 + 1)' is no literal"),
        ("CREATE QUERY q(a AS SELECT $a", Reason.SYNTAX, "at the end"),
        ("CREATE QUERY q(a b) AS SELECT $a", Reason.SYNTAX, "(a b) can't be read"),
        ("CREATE QUERY q(DISTINCT a) AS SELECT $a", Reason.SYNTAX, "(DISTINCT a) can't be read"),
        ("CREATE QUERY q('a') AS SELECT $a", Reason.SYNTAX, "\"'a'\" names no parameter"),
        ("CREATE QUERY q(e.a) AS SELECT $a", Reason.SYNTAX, "'e.a' names no parameter"),
        ("CREATE QUERY q() AS SELECT nn FROM ev", Reason.UNKNOWN_COLUMN, "no column nn"),
        ("CREATE QUERY q(a) AS SELECT read_text($a)", Reason.FORBIDDEN, "read_text"),
        (
            "CREATE QUERY q(a) AS SELECT n FROM ev WHERE match(kind, $a)",
            Reason.INVALID_ARGUMENT,
            "checked with NULL for $a",
        ),
        (TOP, Reason.ALREADY_EXISTS, "CREATE OR REPLACE QUERY"),
        ("EXECUTE top", Reason.INVALID_ARGUMENT, "no value is given for kind"),
        ("EXECUTE top(1, 'a', 2)", Reason.INVALID_ARGUMENT, "more values than parameters"),
        ("EXECUTE top(king := 'a')", Reason.INVALID_ARGUMENT, "no parameter 'king'"),
        ("EXECUTE top(1, n := 2, kind := 'a')", Reason.INVALID_ARGUMENT, "two values"),
        ("EXECUTE top((SELECT 1), 'a')", Reason.SYNTAX, "'(SELECT 1)' is no literal"),
        ("EXECUTE top(1, 'a' ORDER BY 1)", Reason.SYNTAX, "can't be read"),
        ("EXECUTE top(1,", Reason.SYNTAX, "at the end"),
        ("EXECUTE top(1, 'a') LIMIT 1", Reason.SYNTAX, "'LIMIT' follows"),
        ("EXECUTE top@9(1)", Reason.UNKNOWN_COLLECTION, "no version 9"),
        ("EXECUTE nope", Reason.UNKNOWN_COLLECTION, "no saved query 'nope'"),
        ("SELECT * FROM top", Reason.UNSUPPORTED, "EXECUTE top(...)"),
        ("DROP VIEW top", Reason.UNKNOWN_COLLECTION, "no view 'top'"),
    ],
)
def test_what_is_no_saved_query_or_call(
    cluster: Cluster, sql: str, reason: Reason, words: str
) -> None:
    cluster.rows(TOP)
    error = refused(cluster, sql)
    assert (error.reason, words in error.message) == (reason, True), error.message
    assert [row[:2] for row in cluster.rows("SHOW SAVED QUERIES")] == [("top", 1)]


def test_literals_are_the_values_that_the_engine_gives_them(cluster: Cluster) -> None:
    texts = {
        "7": 7,
        "-9223372036854775807": -9223372036854775807,
        "12345678901234567890": Decimal(12345678901234567890),
        "1_000": 1000,
        "-1.50": Decimal("-1.50"),
        "2e3": 2000.0,
        "'it''s -- so'": "it's -- so",
        "$x$it's )$x$": "it's )",
        "e'a\\tb'": "a\tb",
        "TRUE": True,
        "NULL": None,
        "DATE '2026-01-31'": datetime.date(2026, 1, 31),
        "DATE '1969-12-31'": datetime.date(1969, 12, 31),
        "timestamp '2026-01-31 12:30:00+02:00'": datetime.datetime(2026, 1, 31, 12, 30),
    }
    for text, value in texts.items():
        assert cluster.rows(f"SELECT {text}") == [(value,)]
        cluster.rows(f"CREATE OR REPLACE QUERY q(a := {text}) AS SELECT $a")
        assert cluster.rows("EXECUTE q") == [(value,)] == cluster.rows(f"EXECUTE q({text})")
    no_literals = [
        "+7",
        "- 'x'",
        "+TRUE",
        "now()",
        '"x"',
        "x",
        "DATE 'infinity'",
        "[1]",
        "1::DOUBLE",
    ]
    for text in no_literals:
        assert "is no literal" in refused(cluster, f"EXECUTE q({text})").message, text
    for text in ("-", "1x", "DATE 5", "1 2", "1;2", "*) FROM ev WHERE (true"):
        assert refused(cluster, f"EXECUTE q({text})").reason is Reason.SYNTAX, text
