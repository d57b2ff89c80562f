"""Distinct values as numbers, so that those of several leaves are united by sorting numbers.

A value has a mark of 64 bits. Integers are their own marks. A text is taken in words of eight
bytes; its mark begins with its length, and each word is mixed in by a step that can be undone (XOR,
a product with an odd number, a shift XORed in). So of two texts that have equal marks, equal
lengths and equal words up to the last one, the last words are equal too: whoever compares all of
these has compared the texts, and no answer rests on marks being different by luck.

Source of the steps: the finaliser of SplitMix64 (Steele, Lea, Flood, "Fast Splittable Pseudorandom
Number Generators", OOPSLA 2014), with other constants.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

TEXT_BYTES_MAX: Final = 64
_WORD_BYTES: Final = 8
_MULTIPLIER: Final = np.uint64(0x9E3779B97F4A7C15)
_SHIFT: Final = np.uint64(29)
_USED: Final = np.asarray([(1 << 8 * used) - 1 for used in range(_WORD_BYTES + 1)], np.uint64)
"""The bits of a word that its first bytes fill."""

Column = NDArray[np.uint8 | np.uint64]


class NotMarkedError(Exception):
    """Values that numbers don't tell apart: of another type, long texts, two with one mark."""


@dataclass(frozen=True, slots=True)
class Marked:
    """Distinct values: their marks, ascending, and what else tells them apart, column by column.

    Values have equal marks where they are equal, and are equal where all columns are equal as well.
    One set may have fewer columns than another; it has zeros there.
    """

    marks: NDArray[np.uint64]
    columns: tuple[Column, ...]

    def __len__(self) -> int:
        """The number of values."""
        return len(self.marks)

    @property
    def size_bytes(self) -> int:
        """Bytes in memory."""
        return self.marks.nbytes + sum(column.nbytes for column in self.columns)


NOTHING: Final = Marked(np.empty(0, dtype=np.uint64), ())


def marked(values: pa.Array) -> Marked:
    """The distinct values of an array, NULL aside. Raises NotMarkedError."""
    values = values.drop_null()
    if pa.types.is_string(values.type):
        marks, columns = _of_texts(values)
    else:
        marks, columns = _of_numbers(values), ()
    return _distinct(marks, columns, np.argsort(marks))


def united(sets: Sequence[Marked]) -> Marked:
    """The values that are in any of the sets. Raises NotMarkedError."""
    if not sets:
        return NOTHING
    if len(sets) == 1:
        return sets[0]
    width = max(len(one.columns) for one in sets)
    marks = np.concatenate([one.marks for one in sets])
    columns = tuple(
        np.concatenate([_column(one, number) for one in sets]) for number in range(width)
    )
    # Stable is fast here: it merges what is in order already.
    return _distinct(marks, columns, np.argsort(marks, kind="stable"))


def added(known: Marked, others: Marked) -> int:
    """How many of the others are not among the known ones. Raises NotMarkedError."""
    if not len(known) or not len(others):
        return len(others)
    places = np.searchsorted(known.marks, others.marks)
    places[places == len(known)] = 0
    found = np.flatnonzero(known.marks[places] == others.marks)
    for number in range(max(len(known.columns), len(others.columns))):
        if (_column(known, number)[places[found]] != _column(others, number)[found]).any():
            raise NotMarkedError
    return len(others) - len(found)


def _distinct(
    marks: NDArray[np.uint64], columns: tuple[Column, ...], order: NDArray[np.intp]
) -> Marked:
    """Each value once. Raises NotMarkedError where different ones have one mark."""
    ordered = marks[order]
    again = ordered[1:] == ordered[:-1]
    first = np.append(True, ~again)[: len(ordered)]
    kept = []
    for column in columns:
        own = column[order]
        if (again & (own[1:] != own[:-1])).any():
            raise NotMarkedError
        kept.append(own[first])
    return Marked(ordered[first], tuple(kept))


def _column(one: Marked, number: int) -> Column:
    if number < len(one.columns):
        return one.columns[number]
    return np.zeros(len(one), dtype=np.uint64)


def _of_numbers(values: pa.Array) -> NDArray[np.uint64]:
    if pa.types.is_boolean(values.type):
        values = values.cast(pa.int8())
    elif pa.types.is_date32(values.type):
        values = values.cast(pa.int32())
    elif pa.types.is_timestamp(values.type):
        values = values.cast(pa.int64())
    if not pa.types.is_signed_integer(values.type):
        raise NotMarkedError
    return np.asarray(values.cast(pa.int64())).view(np.uint64)


def _of_texts(values: pa.Array) -> tuple[NDArray[np.uint64], tuple[Column, ...]]:
    """Marks; then lengths, and the words of each text but its last one, 0 where there is none."""
    if not len(values):
        return np.empty(0, dtype=np.uint64), ()
    _, offsets_buffer, data_buffer = values.buffers()
    offsets = np.frombuffer(offsets_buffer, dtype=np.int32)[values.offset :][: len(values) + 1]
    begins, lengths = offsets[:-1].astype(np.int64), np.diff(offsets)
    shortest, longest = int(lengths.min()), int(lengths.max())
    if longest > TEXT_BYTES_MAX:
        raise NotMarkedError
    data = np.frombuffer(data_buffer or b"", dtype=np.uint8)
    padded = np.append(data, np.zeros(_WORD_BYTES, dtype=np.uint8))
    words_at = np.ndarray((len(data) + 1,), "<u8", padded.data, strides=(1,))
    marks = lengths.astype(np.uint64) * _MULTIPLIER
    columns: list[Column] = [lengths.astype(np.uint8)]
    for done in range(0, longest, _WORD_BYTES):
        rows = np.flatnonzero(lengths > done) if shortest <= done else slice(None)
        left = lengths[rows] - done
        words = words_at[begins[rows] + done] & _USED[np.minimum(left, _WORD_BYTES)]
        marks[rows] = _mixed((marks[rows] ^ words) * _MULTIPLIER)
        if longest > done + _WORD_BYTES:
            column = np.zeros(len(values), dtype=np.uint64)
            column[rows] = np.where(left > _WORD_BYTES, words, np.uint64(0))
            columns.append(column)
    return marks, tuple(columns)


def _mixed(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    mixed: NDArray[np.uint64] = state ^ (state >> _SHIFT)
    return mixed
