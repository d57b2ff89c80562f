"""`match` and `score` through every class, against plain Python over the documents."""

import json
import random
from collections.abc import Iterator

import pytest
from aggregator_model import Cluster, Document
from hypothesis import given, settings
from test_words import words_of
from text_model import SEPARATORS, VOCABULARY, matches, places, queries, scores

from aggregator.functions.textquery import Both, Query, Words, wanted, written
from alder import words
from alder.errors import AlderError, Reason
from alder.v1 import query_pb2

TEXTS = [
    "Hello, World!",
    "hello there, world",
    "L'École d'été",
    "world peace and hello, kitty",
    None,
    "e-mail me: ann@example.org",
    "hello hello hello world",
    "",
    "new york, york new",
    "…",
]
DOCUMENTS: list[Document] = [
    {"n": number, "text": text, "note": "hello" if number % 3 == 0 else "y", "tags": ["a"]}
    for number, text in enumerate(TEXTS)
]

_RNG = random.Random(1)
RANDOM_TEXTS = [None, ""] + [
    "".join(_RNG.choices([*VOCABULARY, *SEPARATORS * 2], k=_RNG.randint(1, 12))) for _ in range(60)
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    made = Cluster({"ev": DOCUMENTS})
    yield made
    made.close()


@pytest.fixture(scope="module")
def random_texts() -> Iterator[Cluster]:
    made = Cluster({"ev": [{"n": n, "text": text} for n, text in enumerate(RANDOM_TEXTS)]})
    yield made
    made.close()


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("match(text, 'hello')", [0, 1, 3, 6]),
        ("match(text, 'HELLO ecole')", []),
        ("match(text, 'École')", [2]),
        ("match(text, 'hello -kitty')", [0, 1, 6]),
        ("match(text, '-hello')", [2, 5, 7, 8, 9]),
        ("NOT match(text, 'hello')", [2, 5, 7, 8, 9]),
        ("match(text, '\"hello world\"')", [0, 6]),
        ("match(text, '\"new york\"')", [8]),
        ("match(text, '\"york york\"')", [8]),
        ("match(text, 'e-mail OR wor*')", [0, 1, 3, 5, 6]),
        ("match(text, '(peace OR there) world')", [1, 3]),
        ("match(text, 'hello') AND match(note, 'hello')", [0, 3, 6]),
        ("match(text, 'kitty') OR n = 7", [3, 7]),
        ("match(text || ' ' || note, '\"world hello\"')", [0, 6]),
        ("match(_doc, 'kitty')", [3]),
        ("match(array_to_string(tags, ' '), 'a') AND n < 2", [0, 1]),
        ("coalesce(match(text, 'hello'), true)", [0, 1, 3, 4, 6]),
        ("match(e.text, 'org')", [5]),
    ],
)
@pytest.mark.parametrize("plan_class", ["", "b", "e"])
def test_what_matches(
    cluster: Cluster, condition: str, expected: list[int], plan_class: str
) -> None:
    rows = cluster.rows(f"SELECT n FROM ev e WHERE {condition} ORDER BY n", plan_class)
    assert [n for (n,) in rows] == expected


def test_a_query_may_be_a_parameter(cluster: Cluster) -> None:
    parameter = query_pb2.Parameter(string_value="kitty")
    assert cluster.rows("SELECT n FROM ev WHERE match(text, ?)", parameters=[parameter]) == [(3,)]


def test_a_column_is_named_as_it_is_written(cluster: Cluster) -> None:
    table, _ = cluster.ask("SELECT match(text, 'a'), score() FROM ev WHERE match(text, 'kitty')")
    assert table.column_names == ['"match"("text", \'a\')', "score()"]


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("SELECT match(n, 'a') FROM ev", Reason.WRONG_TYPE),
        ("SELECT match(tags, 'a') FROM ev", Reason.WRONG_TYPE),
        ("SELECT match(text) FROM ev", Reason.INVALID_ARGUMENT),
        ("SELECT match(text, note) FROM ev", Reason.INVALID_ARGUMENT),
        ("SELECT match(text, 1) FROM ev", Reason.INVALID_ARGUMENT),
        ("SELECT match(text, 'a OR') FROM ev", Reason.SYNTAX),
        ("SELECT match(nothing, 'a') FROM ev", Reason.UNKNOWN_COLUMN),
        ("SELECT score() FROM ev", Reason.UNSUPPORTED),
        ("SELECT score() FROM ev WHERE NOT match(text, 'a')", Reason.UNSUPPORTED),
        ("SELECT score() FROM ev WHERE match(lower(text), 'a')", Reason.UNSUPPORTED),
        ("SELECT score() FROM ev WHERE match(_doc, 'a')", Reason.UNSUPPORTED),
        ("SELECT score(n) FROM ev WHERE match(text, 'a')", Reason.INVALID_ARGUMENT),
    ],
)
def test_what_cannot_be_searched_is_refused(cluster: Cluster, sql: str, reason: Reason) -> None:
    with pytest.raises(AlderError) as caught:
        cluster.rows(sql)
    assert caught.value.reason is reason


@pytest.mark.parametrize("plan_class", ["", "b", "e"])
def test_the_best_rows_come_first(cluster: Cluster, plan_class: str) -> None:
    source = "FROM ev WHERE match(text, 'hello world')"
    sql = f"SELECT n, score() {source} ORDER BY score() DESC, n LIMIT 2"
    rows = cluster.rows(sql, plan_class)
    corpus = {n: words_of(text) for n, text in enumerate(TEXTS) if text is not None}
    hello = scores(corpus, Both((Words(("hello",)), Words(("world",)))))
    assert [n for n, _ in rows] == [6, 0]
    assert [score for _, score in rows] == pytest.approx([hello[6], hello[0]])


def test_scores_of_several_matches_add_up(cluster: Cluster) -> None:
    one, other, sum_of_both = (
        dict(cluster.rows(f"SELECT n, score() FROM ev WHERE {condition} AND note = 'hello'"))
        for condition in (
            "match(text, 'world')",
            "match(note, 'hello')",
            "(match(text, 'world') OR match(note, 'hello'))",
        )
    )
    assert sum_of_both == pytest.approx({n: one.get(n, 0.0) + other[n] for n in other})


def test_a_score_can_be_aggregated_joined_and_nested(cluster: Cluster) -> None:
    best = "SELECT max(score()) FROM ev WHERE match(text, 'hello')"
    nested = "SELECT max(s) FROM (SELECT score() AS s FROM ev WHERE match(text, 'hello'))"
    joined = "SELECT max(score()) FROM ev a JOIN ev b ON a.n = b.n WHERE match(a.text, 'hello')"
    answers = [cluster.rows(sql)[0][0] for sql in (best, nested, joined)]
    assert answers == pytest.approx([answers[0]] * 3)
    assert answers[0] > 0


def test_explain_tells_the_search_and_what_indexes_get(cluster: Cluster) -> None:
    sql = "EXPLAIN SELECT n FROM ev WHERE match(text, 'a OR b \"c d\"*') AND match(note, 'x')"
    lines = [str(row[0]) for row in cluster.rows(sql)]
    shown = """"match"("text", 'a') OR ("match"("text", 'b') AND "match"("text", '"c d"*'))"""
    assert any(f"pushed down: ({shown}) AND \"match\"(note, 'x')" in line for line in lines)
    assert not any("regexp" in line for line in lines)
    assert any(
        'for indexes: text match ("a", "b"); text match ("a", "c d*"); note match "x"' in line
        for line in lines
    )


@settings(max_examples=25, deadline=None)
@given(queries())
def test_any_query_matches_and_scores_as_the_model(random_texts: Cluster, query: Query) -> None:
    corpus = {n: words_of(text) for n, text in enumerate(RANDOM_TEXTS) if text is not None}
    expected = [n for n in sorted(corpus) if matches(corpus[n], query)]
    for leaf in random_texts.leaves.values():
        leaf.requests.clear()
    condition = f"match(text, '{written(query)}')"
    rows = random_texts.rows(f"SELECT n, score() FROM ev WHERE {condition} ORDER BY n")
    scored = scores(corpus, query) if wanted(query) else dict.fromkeys(corpus, 0.0)
    assert [n for n, _ in rows] == expected
    assert [score for _, score in rows] == pytest.approx([scored[n] for n in expected])
    fragments = [leaf.requests[-1].fragment for leaf in random_texts.leaves.values()]
    for term in fragments[0].terms:
        values = [words.of_written(json.loads(value)) for value in term.values_json]
        for n in expected:
            assert any(places(corpus[n], Words(*value)) for value in values)
