"""Sets of rows do what sets of Python do."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from leaf.format.postings import bits_of
from leaf.indexes import rowset
from leaf.indexes.rowset import RowSet

ROWS = 40
fast = settings(max_examples=200, deadline=None)


def of_rows(rows: set[int], kind: str) -> RowSet:
    """The same rows in each way; ranges as many as can be, so that some touch."""
    ascending = np.asarray(sorted(rows), dtype=np.int64)
    if kind == "numbers":
        return rowset.of_numbers(ascending.astype(np.uint32))
    if kind == "bits":
        return rowset.of_bits(bits_of(ascending, ROWS))
    return rowset.of_ranges(ascending, ascending + 1)


KINDS = st.sampled_from(["numbers", "bits", "ranges"])
SETS = st.tuples(st.sets(st.integers(0, ROWS - 1)), KINDS)


@fast
@given(SETS, SETS)
def test_two_sets(one: tuple[set[int], str], other: tuple[set[int], str]) -> None:
    first, second = of_rows(*one), of_rows(*other)
    assert first.count == len(one[0])
    assert first.rows().tolist() == sorted(one[0])
    for found, expected in (
        (first.intersected(second), one[0] & other[0]),
        (first.united(second), one[0] | other[0]),
        (first.without(second), one[0] - other[0]),
    ):
        assert found.rows().tolist() == sorted(expected)
        assert found.count == len(expected)
    everything = np.arange(ROWS + 9, dtype=np.uint32)
    assert set(everything[first.holds(everything)].tolist()) == one[0]


@fast
@given(st.lists(SETS, max_size=5))
def test_many_sets(drawn: list[tuple[set[int], str]]) -> None:
    found = rowset.union([of_rows(*one) for one in drawn])
    assert set(found.rows().tolist()) == set().union(*(one for one, _ in drawn))


def test_ranges_that_touch_are_one() -> None:
    touching = rowset.of_ranges(np.asarray([0, 5, 9]), np.asarray([5, 7, 12]))
    assert (touching.begins.tolist(), touching.ends.tolist()) == ([0, 9], [7, 12])
    assert rowset.all_rows(3).rows().tolist() == [0, 1, 2]
    assert rowset.all_rows(0).count == 0
    assert rowset.no_rows().intersected(rowset.all_rows(3)).count == 0
