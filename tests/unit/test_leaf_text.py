"""The index of words against a plain model, and against faults in what it has stored."""

import dataclasses
from collections.abc import Sequence

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_leaf_indexes import fast, found_rows, opened
from test_words import words_of
from text_model import places, texts

from aggregator.functions.textquery import Words
from alder import words
from alder.errors import AlderError, Reason
from leaf.format import dictionary
from leaf.format.frame import framed
from leaf.format.meta import TEXT_PAGE, TEXT_TOP, suffix
from leaf.indexes import text
from leaf.indexes.kind import NO_OPTIONS, Built, Column
from leaf.indexes.text import Text

KIND = Text()
NAMES = "it names rows that do not exist or have no value"
FEWER = "it has another number of entries than its column has values"
ROWS = st.lists(
    st.sampled_from(["a", "b", "ab", "abc", "ecole", "x1", "日本", "é"]), min_size=1, max_size=2
)
SEARCHES = st.lists(st.builds(words.written, ROWS, st.booleans()), min_size=1, max_size=3)
COLUMNS = st.lists(st.none() | texts(), min_size=1, max_size=30).filter(any)


@pytest.fixture(autouse=True)
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages, runs and words so small that every example has several, and words are cut."""
    monkeypatch.setattr(text, "PAGE_ROWS", 3)
    monkeypatch.setattr(text, "RUN_BYTES_MAX", 64)
    monkeypatch.setattr(text, "EAGER_ROWS_MAX", 4)


def built(values: Sequence[str | None]) -> Built:
    found = KIND.build(Column(0, "string", pa.array(values, pa.string())), NO_OPTIONS)
    assert found is not None
    return found


def holding(values: Sequence[str | None], wanted: Sequence[str]) -> set[int]:
    searches = [Words(*words.of_written(one)) for one in wanted]
    return {
        row
        for row, value in enumerate(values)
        if value is not None and any(places(words_of(value), one) for one in searches)
    }


@fast
@given(COLUMNS, SEARCHES)
def test_a_search_finds_at_least_the_rows_that_match(
    values: list[str | None], wanted: list[str]
) -> None:
    index = opened(built(values), "string", len(values))
    expected = holding(values, wanted)
    rows = found_rows(index, words.OPERATOR, wanted)
    assert rows is not None
    assert expected <= rows
    answer = index.find(words.OPERATOR, wanted)
    assert answer is not None
    if answer.exact or not any(" " in one for one in wanted):
        assert rows == expected
    checked = index.check(pa.array(values, pa.string()))
    assert checked.fault == ""
    assert checked.entries == len({w for value in values if value for w in words_of(value)})


@fast
@given(COLUMNS, st.data())
def test_runs_of_rows_make_the_index_of_all_of_them(
    values: list[str | None], data: st.DataObject
) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(values)), max_size=3)))
    bounds = list(zip([0, *cuts], [*cuts, len(values)], strict=True))
    parts = [
        KIND.part(pa.array(values[begin:end], pa.string()), begin)
        for begin, end in bounds
        if begin < end
    ]
    assert KIND.joined(0, parts) == built(values)


@fast
@given(COLUMNS)
def test_a_column_of_codes_has_the_same_index(values: list[str | None]) -> None:
    encoded = dictionary.encode(pa.array(values, pa.string()))
    assert KIND.build(Column(0, "string", encoded), NO_OPTIONS) == built(values)


def test_long_words_are_found_by_their_beginning() -> None:
    long = "x" * text.WORD_CHARACTERS_MAX
    values = [f"{long}1 a", f"{long}2", long, "a"]
    index = opened(built(values), "string", len(values))
    assert index.check(pa.array(values)).fault == ""
    for wanted in (f"{long}1", f"{long}1*", long, f"{long}*"):
        answer = index.find(words.OPERATOR, [wanted])
        assert answer is not None
        assert not answer.exact
        assert answer.rows().rows().tolist() == [0, 1, 2]


@pytest.mark.parametrize("operator", ["=", "in", "<", "prefix", "has", "null"])
def test_other_conditions_are_for_other_indexes(operator: str) -> None:
    assert opened(built(["a"]), "string", 1).find(operator, ["a"]) is None


def test_other_types_have_no_words() -> None:
    assert KIND.build(Column(0, "int", pa.array([1])), NO_OPTIONS) is None


def test_words_of_another_version_tell_nothing() -> None:
    found = built(["a"])
    other = dataclasses.replace(found.meta, details={"words": words.VERSION + 1})
    index = opened(dataclasses.replace(found, meta=other), "string", 1)
    assert index.find(words.OPERATOR, ["a"]) is None


@pytest.mark.parametrize(
    ("column", "fault"),
    [
        (["a b", "a", "b", "b"], ""),
        (["a b", "a", "b", "a"], "{row} is filed under another value"),
        (["a b", "a", "b", None], NAMES),
        (["a b", "a", "b", "b", "b"], "no entry leads to {row}"),
        (["a b c", "a", "b", "b"], FEWER),
    ],
)
def test_a_check_finds_where_column_and_index_differ(column: list[str | None], fault: str) -> None:
    index = opened(built(["a b", "a", "b", "b"]), "string", 4)
    assert index.check(pa.array(column, pa.string())).fault == fault


@fast
@given(st.binary(max_size=40), st.sampled_from([suffix(0, TEXT_TOP), suffix(0, TEXT_PAGE)]))
def test_damaged_blocks_are_refused(payload: bytes, key: bytes) -> None:
    found = built(["a b", "b c"])
    blocks = tuple(
        dataclasses.replace(one, value=framed(payload)) if one.suffix == key else one
        for one in found.blocks
    )
    if blocks == found.blocks:
        return
    index = opened(dataclasses.replace(found, blocks=blocks), "string", 2)
    try:
        fault = index.check(pa.array(["a b", "b c"])).fault
    except AlderError as error:
        fault = str(error.reason)
    assert fault in {
        Reason.CORRUPT,
        "{row} is filed under another value",
        "no entry leads to {row}",
    }
