"""Tokens and statements as DuckDB itself separates them."""

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alder.sqltext import Kind, name_of, statements, tokens


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" ;; -- nothing\n/* ; */ ;", []),
        ("SELECT 1", ["SELECT 1"]),
        ("SELECT 1;SELECT 2;", ["SELECT 1", "SELECT 2"]),
        ("SELECT ';'; SELECT ''';'", ["SELECT ';'", "SELECT ''';'"]),
        ('SELECT 1 AS ";" ; SELECT 2', ['SELECT 1 AS ";"', "SELECT 2"]),
        ('SELECT 1 AS """;" ; SELECT 2', ['SELECT 1 AS """;"', "SELECT 2"]),
        (r"SELECT E'\';' ; SELECT 2", [r"SELECT E'\';'", "SELECT 2"]),
        (r"SELECT '\' ; SELECT 2", [r"SELECT '\'", "SELECT 2"]),
        ("SELECT $$;$$; SELECT $a$;$$;$a$", ["SELECT $$;$$", "SELECT $a$;$$;$a$"]),
        ("SELECT $1; SELECT $b", ["SELECT $1", "SELECT $b"]),
        ("SELECT /* /* ; */ ; */ 1; SELECT 2", ["SELECT /* /* ; */ ; */ 1", "SELECT 2"]),
        ("SELECT 1 -- ;\n+ 1; SELECT 2", ["SELECT 1 -- ;\n+ 1", "SELECT 2"]),
        ("SELECT 'never ends; SELECT 2", ["SELECT 'never ends; SELECT 2"]),
        ("SELECT /* never ends; SELECT 2", ["SELECT /* never ends; SELECT 2"]),
    ],
)
def test_statements_end_at_semicolons_outside_of_literals(text: str, expected: list[str]) -> None:
    assert statements(text) == expected


PIECES = [
    "'",
    '"',
    ";",
    "\\",
    "$",
    "a",
    "$a$",
    "$$",
    "--",
    "\n",
    "/*",
    "*/",
    "e'",
    " ",
    "1",
    "(",
    ")",
]


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=12))
def test_texts_that_duckdb_accepts_have_as_many_statements_here(pieces: list[str]) -> None:
    text = "SELECT 1 AS a" + "".join(pieces)
    try:
        accepted = len(duckdb.extract_statements(text))
    except duckdb.Error:
        return
    assert len(statements(text)) == accepted, text


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="'\"$;-/*\\ \nabE1.é", max_size=60))
def test_tokens_cover_the_text_in_order(text: str) -> None:
    place = 0
    for token in tokens(text):
        assert place <= token.begin < token.end
        assert text[token.begin : token.end] == token.text
        place = token.end


def test_names_are_read_as_written() -> None:
    found = [name_of(token) for token in tokens('ev "Odd ""Name" \'text\' 5 $$x$$ ; "open')]
    assert found == ["ev", 'Odd "Name', None, None, None, None, None]
    assert [token.kind for token in tokens("a1 _b 1.5e3 .5")] == [
        Kind.WORD, Kind.WORD, Kind.NUMBER, Kind.NUMBER,
    ]  # fmt: skip
