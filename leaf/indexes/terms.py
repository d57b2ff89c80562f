"""Terms: for values that repeat, or elements of lists that do, the rows of each distinct one.

Answers ``=``, ``in``, ranges and ``prefix``, exactly. Stored as the sorted dictionary of the values
(the one that codes of the column refer to, where it is kept as codes) and one block of postings:
all rows in the order of (term, row), and where each term's rows begin (`leaf/format/postings.py`).
Because the dictionary is sorted, a range of values is a range of terms, and its rows are next to
each other. An inverted index as any search engine has, laid out as one stable sort of the codes.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import pyarrow as pa

from leaf import layout
from leaf.format import dictionary, postings
from leaf.format.meta import TERM_POSTINGS, TERMS, Block, Index, IndexMeta, suffix
from leaf.indexes.entries import CONTRADICTING, Checked, Entries, compared, entries_of
from leaf.indexes.kind import (
    ALWAYS,
    Built,
    Candidates,
    Column,
    ColumnBlocks,
    ColumnIndex,
    Scalar,
)
from leaf.indexes.rowset import RowSet, no_rows, of_numbers

PATH: Final = "postings"
_TAGS: Final = frozenset({"string", "int", "bool", "list<string>", "list<int>", "list<bool>"})


class Terms:
    """Implements IndexKind."""

    index: Final = Index.TERMS

    def build(self, column: Column, options: Mapping[str, str]) -> Built | None:
        """None where values hardly repeat, or are too many for a dictionary."""
        if column.tag not in _TAGS:
            return None
        terms = suffix(column.number, TERMS)
        rows = suffix(column.number, TERM_POSTINGS)
        encoded = column.encoded
        if encoded is not None:
            found = postings.term_postings(encoded.codes, len(encoded.terms))
            return Built(IndexMeta(self.index), (Block(layout.POSTINGS, rows, found.encode()),))
        if column.tag == "string" and ALWAYS not in options:
            return None
        entries = column.entries
        encoded = dictionary.encode_if_it_pays(entries.values, ALWAYS in options)
        if encoded is None:
            return None
        found = postings.term_postings(encoded.codes, len(encoded.terms))
        found = postings.TermPostings(found.offsets, entries.rows[found.rows])
        blocks = (
            Block(layout.COLUMNS, terms, dictionary.encode_terms(encoded.terms)),
            Block(layout.POSTINGS, rows, found.encode()),
        )
        return Built(IndexMeta(self.index), blocks)

    def needed(self, number: int, details: Mapping[str, int]) -> set[bytes]:
        """See IndexKind."""
        return {suffix(number, TERMS), suffix(number, TERM_POSTINGS)}

    def open(self, blocks: ColumnBlocks, details: Mapping[str, int]) -> ColumnIndex:
        """See IndexKind."""
        return _TermIndex(blocks)


class _TermIndex:
    """Implements ColumnIndex."""

    kind: Final = Index.TERMS.value
    path: Final = PATH

    def __init__(self, blocks: ColumnBlocks) -> None:
        self._blocks = blocks

    def find(self, operator: str, values: Sequence[Scalar]) -> Candidates | None:
        """See ColumnIndex."""
        if not values:
            return None
        terms = self._blocks.terms()
        if operator in {"=", "in"}:
            numbers = [number for value in set(values) if (number := _number(terms, value)) >= 0]
            ranges = [(number, number + 1) for number in numbers]
        else:
            bounds = _bounds(terms, operator, values[0])
            if bounds is None:
                return None
            ranges = [bounds] if bounds[0] < bounds[1] else []
        if not ranges:
            return Candidates(PATH, 0, True, 0, no_rows)
        found = self._postings()
        count = sum(int(found.offsets[end]) - int(found.offsets[begin]) for begin, end in ranges)
        return Candidates(PATH, count, True, count, lambda: _rows(found, ranges))

    def check(self, column: pa.Array) -> Checked:
        """See ColumnIndex."""
        found = self._postings()
        terms = self._blocks.terms()
        offsets = found.offsets.astype(np.int64)
        counts = offsets[1:] - offsets[:-1]
        if len(counts) != len(terms):
            return CONTRADICTING
        numbers = np.repeat(np.arange(len(counts)), counts)
        return compared(Entries(terms.take(pa.array(numbers)), found.rows), entries_of(column))

    def _postings(self) -> postings.TermPostings:
        return self._blocks.decoded(
            TERM_POSTINGS, 0, postings.TermPostings.decode, lambda found: found.size_bytes
        )


def _rows(found: postings.TermPostings, ranges: Sequence[tuple[int, int]]) -> RowSet:
    """The rows of the terms in these ranges."""
    slices = [found.rows[found.offsets[begin] : found.offsets[end]] for begin, end in ranges]
    if len(ranges) == 1 and ranges[0][1] - ranges[0][0] == 1:
        return of_numbers(slices[0])
    return of_numbers(np.sort(np.concatenate(slices)))


def _number(terms: pa.Array, value: Scalar) -> int:
    """The number of a term; -1 where there is none."""
    place = _below(terms, value)
    return place if place < len(terms) and terms[place].as_py() == value else -1


def _bounds(terms: pa.Array, operator: str, value: Scalar) -> tuple[int, int] | None:
    """The terms that a comparison is true of; None for an operator that is no comparison."""
    match operator:
        case "<":
            return 0, _below(terms, value)
        case "<=":
            return 0, _up_to(terms, value)
        case ">":
            return _up_to(terms, value), len(terms)
        case ">=":
            return _below(terms, value), len(terms)
        case "prefix" if isinstance(value, str):
            begin, characters = _below(terms, value), len(value)
            end = bisect_right(
                range(len(terms)), value, lo=begin, key=lambda n: terms[n].as_py()[:characters]
            )
            return begin, end
    return None


def _below(terms: pa.Array, value: Scalar) -> int:
    """How many terms are smaller; strings are in the order of their bytes, as Python's are."""
    return bisect_left(range(len(terms)), value, key=lambda n: terms[n].as_py())


def _up_to(terms: pa.Array, value: Scalar) -> int:
    """How many terms are not larger."""
    return bisect_right(range(len(terms)), value, key=lambda n: terms[n].as_py())
