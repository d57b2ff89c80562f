"""Sets of rows of one segment, as small as what they were made of.

A set is either numbers, ascending and distinct, or a bit per row, or ranges, ascending and
disjoint: what postings of rare and of dense terms, and what zones say. Nothing here is as long as
the segment unless its rows are. Numbers intersect by binary search of the shorter in the longer
list (galloping would visit the same rows, one by one).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Final

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.uint32]
Bounds = NDArray[np.int64]
Bits = NDArray[np.uint8]
_NONE: Final = np.empty(0, dtype=np.uint32)
_BOUNDS: Final = np.empty(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class RowSet:
    """Rows by their ``numbers``; else by ``bits``, the first one the lowest of the first byte.

    Where both are None, those in the ranges ``[begins, ends)``.
    """

    numbers: Numbers | None
    begins: Bounds
    ends: Bounds
    bits: Bits | None = None

    @property
    def count(self) -> int:
        """How many rows there are."""
        if self.bits is not None:
            return int(np.bitwise_count(self.bits).sum())
        return int((self.ends - self.begins).sum()) if self.numbers is None else len(self.numbers)

    def rows(self) -> NDArray[np.int64]:
        """The numbers of all rows, ascending."""
        if self.numbers is not None:
            return self.numbers.astype(np.int64)
        if self.bits is not None:
            return np.flatnonzero(np.unpackbits(self.bits, bitorder="little"))
        lengths = self.ends - self.begins
        firsts = np.cumsum(lengths) - lengths
        found: NDArray[np.int64] = np.arange(int(lengths.sum()))
        found += np.repeat(self.begins - firsts, lengths)
        return found

    def holds(self, rows: Numbers) -> NDArray[np.bool_]:
        """For each of these rows, in any order, whether it is in the set."""
        if self.bits is not None:
            places = np.minimum(rows >> 3, max(len(self.bits) - 1, 0))
            held: NDArray[np.bool_] = (self.bits[places] >> (rows & 7).astype(np.uint8) & 1) == 1
            return held & (rows < 8 * len(self.bits))
        if self.numbers is None:
            places = np.searchsorted(self.begins, rows, "right") - 1
            inside: NDArray[np.bool_] = places >= 0
            inside[inside] = rows[inside] < self.ends[places[inside]]
            return inside
        if not len(self.numbers):
            return np.zeros(len(rows), dtype=bool)
        places = np.searchsorted(self.numbers, rows)
        places[places == len(self.numbers)] = 0
        found: NDArray[np.bool_] = self.numbers[places] == rows
        return found

    def intersected(self, other: "RowSet") -> "RowSet":
        """The rows of both."""
        if self.numbers is not None and (
            other.numbers is None or len(self.numbers) <= len(other.numbers)
        ):
            return of_numbers(self.numbers[other.holds(self.numbers)])
        if other.numbers is not None:
            return of_numbers(other.numbers[self.holds(other.numbers)])
        if self.bits is not None and other.bits is not None:
            return of_bits(self.bits & other.bits)
        if self.bits is not None or other.bits is not None:
            return of_numbers(self.rows().astype(np.uint32)).intersected(other)
        return _by_steps(self, other, np.logical_and)

    def united(self, other: "RowSet") -> "RowSet":
        """The rows of either."""
        if self._ranged and other._ranged:
            return _by_steps(self, other, np.logical_or)
        if not other.count:
            return self
        if not self.count:
            return other
        return of_numbers(np.union1d(self.rows(), other.rows()).astype(np.uint32))

    @property
    def _ranged(self) -> bool:
        return self.numbers is None and self.bits is None

    def without(self, other: "RowSet") -> "RowSet":
        """The rows of this set that are not in the other."""
        rows = self.rows().astype(np.uint32)
        return of_numbers(rows[~other.holds(rows)])


def of_numbers(numbers: Numbers) -> RowSet:
    """The set of these rows, which ascend."""
    return RowSet(numbers, _BOUNDS, _BOUNDS)


def of_bits(bits: Bits) -> RowSet:
    """The set of the rows whose bit is set."""
    return RowSet(None, _BOUNDS, _BOUNDS, bits)


def of_ranges(begins: Bounds, ends: Bounds) -> RowSet:
    """The set of these ranges, none empty, which ascend and may touch, but not overlap."""
    if len(begins) < 2:
        return RowSet(None, begins, ends)
    apart = begins[1:] > ends[:-1]
    return RowSet(
        None,
        begins[np.concatenate([[True], apart])],
        ends[np.concatenate([apart, [True]])],
    )


def all_rows(rows: int) -> RowSet:
    """All rows of a segment of so many."""
    end = np.full(min(rows, 1), rows, dtype=np.int64)
    return RowSet(None, np.zeros_like(end), end)


def no_rows() -> RowSet:
    """The empty set."""
    return of_numbers(_NONE)


def union(sets: Sequence[RowSet]) -> RowSet:
    """The rows of any of some sets."""
    return reduce(RowSet.united, sets, no_rows())


def _by_steps(one: RowSet, other: RowSet, join: np.ufunc) -> RowSet:
    """Ranges by ranges: between two neighbouring bounds of either, both are all in or all out."""
    points = np.unique(np.concatenate([one.begins, one.ends, other.begins, other.ends]))
    begins, ends = points[:-1], points[1:]
    rows = begins.astype(np.uint32)
    kept = join(one.holds(rows), other.holds(rows))
    return of_ranges(begins[kept], ends[kept])
