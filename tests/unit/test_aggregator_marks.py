"""Distinct values as numbers: equal exactly where the values are, whatever their marks."""

import datetime as dt

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.execution.marks import (
    TEXT_BYTES_MAX,
    Marked,
    NotMarkedError,
    added,
    marked,
    united,
)

_SHORT = st.text("ab\x00é", max_size=20)
_PREFIXED = st.builds(lambda words, end: "sameword" * words + end, st.integers(0, 6), _SHORT)
_TEXTS = (_SHORT | _PREFIXED).filter(lambda text: len(text.encode()) <= TEXT_BYTES_MAX)
_VALUES = st.sampled_from(
    [
        (pa.string(), _TEXTS),
        (pa.int64(), st.integers(-(1 << 63), (1 << 63) - 1) | st.integers(-3, 3)),
        (pa.int8(), st.integers(-128, 127)),
        (pa.bool_(), st.booleans()),
        (pa.date32(), st.dates()),
        (pa.timestamp("us"), st.datetimes(dt.datetime(1700, 1, 1))),
    ]
).flatmap(
    lambda kind: st.lists(
        st.lists(st.none() | kind[1], max_size=40).map(lambda own: pa.array(own, kind[0])),
        min_size=1,
        max_size=4,
    )
)


def values(*arrays: pa.Array) -> set[object]:
    return {value for array in arrays for value in array.to_pylist()} - {None}


@settings(max_examples=300, deadline=None)
@given(_VALUES)
def test_sets_unite_as_their_values_do(arrays: list[pa.Array]) -> None:
    sets = [marked(array) for array in arrays]
    assert [len(one) for one in sets] == [len(values(array)) for array in arrays]
    union = united(sets)
    assert len(union) == len(values(*arrays))
    assert (union.marks[1:] >= union.marks[:-1]).all()
    assert added(union, sets[0]) == 0
    rest = united(sets[1:])
    assert added(rest, sets[0]) == len(values(arrays[0]) - values(*arrays[1:]))


def test_a_part_of_an_array_is_marked_as_it_is() -> None:
    whole = pa.array(["zero", "one", None, "a longer text than that", "one"])
    assert len(marked(whole.slice(1, 3))) == 2
    assert added(marked(whole), marked(whole.slice(1))) == 0


@pytest.mark.parametrize("text", ["x" * (TEXT_BYTES_MAX + 1), "ü" * (TEXT_BYTES_MAX // 2) + "x"])
def test_long_texts_have_no_marks(text: str) -> None:
    assert len(marked(pa.array([text[1:] if text[0] == "x" else text[2:]]))) == 1
    with pytest.raises(NotMarkedError):
        marked(pa.array(["a", text]))


@pytest.mark.parametrize("kind", [pa.float64(), pa.decimal128(9, 2), pa.list_(pa.int64())])
def test_other_types_have_no_marks(kind: pa.DataType) -> None:
    with pytest.raises(NotMarkedError):
        marked(pa.array([], kind))


def test_different_values_with_one_mark_are_not_taken_for_one() -> None:
    def one(length: int, word: int) -> Marked:
        marks = np.array([7, 9], dtype=np.uint64)
        words = np.array([word, 5], dtype=np.uint64)
        return Marked(marks, (np.array([length, 16], dtype=np.uint8), words))

    assert len(united([one(12, 3), one(12, 3)])) == 2
    assert added(one(12, 3), one(12, 3)) == 0
    for other in (one(12, 4), one(11, 3)):
        with pytest.raises(NotMarkedError):
            united([one(12, 3), other])
        with pytest.raises(NotMarkedError):
            added(one(12, 3), other)
    with pytest.raises(NotMarkedError):
        added(Marked(*_narrow(one(12, 3))), one(12, 3))


def _narrow(one: Marked) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    return one.marks, one.columns[:1]
