"""Words of texts: one definition for predicates, counts and indexes."""

import hashlib

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st
from text_model import places, texts

from aggregator.functions.textquery import Words
from alder import words

ENGINE = duckdb.connect(":memory:", config={"threads": 1})
ROWS = st.lists(st.sampled_from(["a", "b", "ab", "abc", "ecole", "x1"]), min_size=1, max_size=3)


def words_of(text: str) -> list[str]:
    sql = f"SELECT {words.words_sql('t')} FROM (SELECT ?::VARCHAR t)"
    found: list[str] = ENGINE.execute(sql, [text]).fetchall()[0][0]
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("L'École d'été, 2024!", ["l", "ecole", "d", "ete", "2024"]),
        ("e-mail_to: ann@example.org", ["e", "mail", "to", "ann", "example", "org"]),
        ("Ångström ÅNGSTRÖM A\u030angstro\u0308m", ["angstrom"] * 3),
        ("日本語 テキスト", ["日本語", "テキスト"]),
        ("a\0b\nc", ["a", "b", "c"]),
        (" … ", []),
        ("", []),
    ],
)
def test_the_words_of_a_text(text: str, expected: list[str]) -> None:
    assert words_of(text) == expected


def test_the_words_of_every_character_are_those_of_the_stored_version() -> None:
    """A change of the engine's tables changes what stored indexes mean: then VERSION grows."""
    characters = [chr(code) for code in range(1, 0x20000) if not 0xD800 <= code < 0xE000]
    found = ENGINE.execute(
        f"SELECT {words.words_sql('t')} FROM (SELECT unnest(?::VARCHAR[]) t)",
        [[f"x{character}Y" for character in characters]],
    ).fetchall()
    digest = hashlib.sha256("\n".join(" ".join(row[0]) for row in found).encode()).hexdigest()
    assert (words.VERSION, digest[:16]) == (1, "86e66c1289695a2b")


@given(texts(), ROWS, st.booleans())
def test_a_row_of_words_is_found_and_counted(text: str, row: list[str], prefix: bool) -> None:
    expected = places(words_of(text), Words(tuple(row), prefix))
    counted = words.occurrences_sql("t", row, prefix)
    sql = f"SELECT {words.holds_sql('t', row, prefix)}, {counted} FROM (SELECT ?::VARCHAR t)"
    assert ENGINE.execute(sql, [text]).fetchall() == [(bool(expected), len(expected))]


@given(ROWS, st.booleans())
def test_patterns_and_written_words_are_read_back(row: list[str], prefix: bool) -> None:
    assert words.of_pattern(words.pattern(row, prefix)) == (tuple(row), prefix)
    assert words.of_written(words.written(row, prefix)) == (tuple(row), prefix)


@pytest.mark.parametrize("text", ["", "a", ".*", words.pattern(["a"], False) + "|b", "(^|x)a"])
def test_other_patterns_are_not_taken_for_words(text: str) -> None:
    assert words.of_pattern(text) is None
