"""The language of text queries: every query is read as it is written, any other text is refused."""

import re
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from text_model import queries

from aggregator.functions.textquery import Both, Either, Not, Query, Words, parse, wanted, written
from alder.errors import AlderError, Reason

A, B, C = Words(("a",)), Words(("b",)), Words(("c",))


def split(texts: Sequence[str]) -> list[list[str]]:
    return [[word.lower() for word in re.findall(r"\w+", text)] for text in texts]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a", A),
        ("A", A),
        ("a b", Both((A, B))),
        ("a AND b", Both((A, B))),
        ("a and b", Both((A, Words(("and",)), B))),
        ("a OR b", Either((A, B))),
        ("a b OR c", Either((Both((A, B)), C))),
        ("a (b OR c)", Both((A, Either((B, C))))),
        ("a -b", Both((A, Not(B)))),
        ("a NOT b", Both((A, Not(B)))),
        ("-(a b)", Not(Both((A, B)))),
        ("--a", Not(Not(A))),
        ("a-b", Words(("a", "b"))),
        ("a-b*", Words(("a", "b"), True)),
        ('"a b"', Words(("a", "b"))),
        ('"a b"*', Words(("a", "b"), True)),
        ('-"a b" c*', Both((Not(Words(("a", "b"))), Words(("c",), True)))),
        ("((a))", A),
        ("(a b) c", Both((A, B, C))),
        ('"OR"', Words(("or",))),
    ],
)
def test_what_is_written_is_read(text: str, expected: Query) -> None:
    assert parse(text, split) == expected


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "it is empty"),
        ("  ", "it is empty"),
        ('"a', "a quotation mark has no other end"),
        ('a"b', "a quotation mark has no other end"),
        ("(a", "a parenthesis has no end"),
        ("a)", ") has no beginning"),
        ("()", "a word is missing after ("),
        ("a OR", "a word is missing after OR"),
        ("OR a", "a word is missing after its beginning"),
        ("a AND AND b", "a word is missing after AND"),
        ("NOT", "a word is missing after NOT"),
        ("a - b", "'-' holds no letter or digit"),
        ("a !", "'!' holds no letter or digit"),
        ("*", "'' holds no letter or digit"),
        ("a*b", "in a*b the * must be the last character"),
    ],
)
def test_a_malformed_query_says_where(text: str, why: str) -> None:
    with pytest.raises(AlderError, match=re.escape(why)) as caught:
        parse(text, split)
    assert caught.value.reason is Reason.SYNTAX


@pytest.mark.parametrize("text", ["a" * 4097, "a " * 65, "(" * 17 + "a" + ")" * 17, "-" * 17 + "a"])
def test_the_size_of_a_query_is_limited(text: str) -> None:
    with pytest.raises(AlderError) as caught:
        parse(text, split)
    assert caught.value.reason is Reason.LIMIT


@given(queries())
def test_a_query_is_read_as_it_is_written(query: Query) -> None:
    assert parse(written(query), split) == query


@given(st.text(alphabet='ab -"()*ORANDT!', max_size=30))
def test_any_text_is_a_query_or_a_clear_error(text: str) -> None:
    try:
        query = parse(text, split)
    except AlderError:
        return
    assert parse(written(query), split) == query


def test_negated_words_are_not_wanted() -> None:
    assert wanted(parse("a -b (c OR a)", split)) == (A, C)
