"""Terms: for values that repeat, or elements of lists that do, the rows of each distinct one.

Answers ``=``, ``<>``, ``in``, ranges and ``prefix``, exactly. Stored as the sorted dictionary of
the values (the one that codes of the column refer to, where it is kept as codes) and postings: how
many rows each term has, and pages of all rows in the order of (term, row)
(`leaf/format/postings.py`).
Because the dictionary is sorted, a range of values is a range of terms, and its rows are next to
each other. An inverted index as any search engine has, laid out as one stable sort of the codes.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from alder.errors import AlderError, Reason
from leaf import layout
from leaf.format import dictionary, postings
from leaf.format.meta import (
    TERM_BITS,
    TERM_PAGE,
    TERM_POSTINGS,
    TERMS,
    Block,
    Index,
    IndexMeta,
    suffix,
)
from leaf.format.postings import ROWS_PER_PAGE
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
from leaf.indexes.rowset import RowSet, no_rows, of_bits, of_numbers

PATH: Final = "postings"
_REPEATS_MIN: Final = 2
"""Entries per distinct one from which on postings pay where they need a dictionary of their own."""
_BITS_PER_ROW: Final = 32
"""Bits cost as little as one row in so many would."""
_PAGES: Final = "pages"
_DENSE: Final = "dense"
_TAGS: Final = frozenset({"string", "int", "bool", "list<string>", "list<int>", "list<bool>"})


class Terms:
    """Implements IndexKind."""

    index: Final = Index.TERMS

    def build(self, column: Column, options: Mapping[str, str]) -> Built | None:
        """None where values hardly repeat, or are too many for a dictionary."""
        if column.tag not in _TAGS:
            return None
        encoded = column.encoded
        if encoded is not None:
            found = postings.term_postings(encoded.codes, len(encoded.terms))
            return _built(column.number, found, len(encoded.codes), ())
        if column.tag == "string" and ALWAYS not in options:
            return None
        entries = column.entries
        repeats_min = 0 if ALWAYS in options else _REPEATS_MIN
        encoded = dictionary.encode_if_it_pays(entries.values, repeats_min)
        if encoded is None:
            return None
        found = postings.term_postings(encoded.codes, len(encoded.terms))
        found = postings.TermPostings(found.offsets, entries.rows[found.rows])
        terms = dictionary.encode_terms(encoded.terms)
        block = Block(layout.COLUMNS, suffix(column.number, TERMS), terms)
        return _built(column.number, found, len(column.values), (block,))

    def needed(self, number: int, details: Mapping[str, int]) -> set[bytes]:
        """See IndexKind."""
        pages = {suffix(number, TERM_PAGE, page) for page in range(details[_PAGES])}
        bits = {suffix(number, TERM_BITS, place) for place in range(details[_DENSE])}
        return {suffix(number, TERMS), suffix(number, TERM_POSTINGS), *pages, *bits}

    def open(self, blocks: ColumnBlocks, details: Mapping[str, int]) -> ColumnIndex:
        """See IndexKind."""
        return _TermIndex(blocks, details[_PAGES])


class _TermIndex:
    """Implements ColumnIndex."""

    kind: Final = Index.TERMS.value
    path: Final = PATH

    def __init__(self, blocks: ColumnBlocks, pages: int) -> None:
        self._blocks = blocks
        self._pages = pages

    def find(self, operator: str, values: Sequence[Scalar]) -> Candidates | None:
        """See ColumnIndex."""
        if not values:
            return None
        terms = self._blocks.terms()
        if operator in {"=", "in"}:
            numbers = [number for value in set(values) if (number := _number(terms, value)) >= 0]
            ranges = [(number, number + 1) for number in numbers]
        elif operator == "<>":
            other = _number(terms, values[0])
            around = [(0, other), (other + 1, len(terms))]
            ranges = [(begin, end) for begin, end in around if begin < end]
        else:
            bounds = _bounds(terms, operator, values[0])
            if bounds is None:
                return None
            ranges = [bounds] if bounds[0] < bounds[1] else []
        if not ranges:
            return Candidates(PATH, 0, True, 0, no_rows)
        offsets = term_offsets(self._blocks)
        places = [(int(offsets[begin]), int(offsets[end])) for begin, end in ranges]
        count = sum(end - begin for begin, end in places)
        one = len(ranges) == 1 and ranges[0][1] - ranges[0][0] == 1
        if one and postings.is_dense(count, self._blocks.rows):
            place = int(np.searchsorted(self._dense(offsets), ranges[0][0]))
            unread = self._blocks.rows // _BITS_PER_ROW
            return Candidates(PATH, count, True, unread, lambda: of_bits(self._bits(place)))
        return Candidates(PATH, count, True, count, lambda: _rows(self._slices(places), one))

    def check(self, column: pa.Array) -> Checked:
        """See ColumnIndex."""
        terms = self._blocks.terms()
        offsets = term_offsets(self._blocks)
        counts = offsets[1:].astype(np.int64) - offsets[:-1]
        if len(counts) != len(terms):
            return CONTRADICTING
        (rows,) = self._slices([(0, int(offsets[-1]))])
        numbers = np.repeat(np.arange(len(counts)), counts)
        checked = compared(Entries(terms.take(pa.array(numbers)), rows), entries_of(column))
        for place, term in enumerate(self._dense(offsets).tolist()):
            own = rows[offsets[term] : offsets[term + 1]]
            if not checked.fault and not np.array_equal(of_bits(self._bits(place)).rows(), own):
                return CONTRADICTING
        return checked

    def _dense(self, offsets: NDArray[np.uint32]) -> NDArray[np.intp]:
        """The terms that are kept as bits, too, in the order of their blocks."""
        return np.flatnonzero(postings.are_dense(offsets, self._blocks.rows))

    def _bits(self, place: int) -> postings.Bits:
        return self._blocks.decoded(
            TERM_BITS,
            place,
            lambda data, what: postings.decode_bits(data, self._blocks.rows, what),
            lambda bits: bits.nbytes,
        )

    def _slices(self, places: Sequence[tuple[int, int]]) -> list[NDArray[np.uint32]]:
        """The rows at these places in the order of (term, row)."""
        slices = []
        for begin, end in places:
            parts = [np.empty(0, dtype=np.uint32)]
            for page in range(begin // ROWS_PER_PAGE, -(-end // ROWS_PER_PAGE)):
                first = page * ROWS_PER_PAGE
                parts.append(self._page(page)[max(0, begin - first) : end - first])
            slices.append(np.concatenate(parts))
        return slices

    def _page(self, page: int) -> NDArray[np.uint32]:
        if page >= self._pages:
            raise AlderError(Reason.CORRUPT, f"{self._blocks.what()} are more than their pages")
        return self._blocks.decoded(
            TERM_PAGE,
            page,
            lambda data, what: postings.term_rows(data, term_offsets(self._blocks), page, what),
            lambda rows: rows.nbytes,
        )


def term_offsets(blocks: ColumnBlocks) -> NDArray[np.uint32]:
    """Where the rows of each term begin among all, and where the last ones end. Raises CORRUPT."""
    return blocks.decoded(TERM_POSTINGS, 0, postings.term_offsets, lambda offsets: offsets.nbytes)


def _built(
    number: int, found: postings.TermPostings, rows_count: int, blocks: tuple[Block, ...]
) -> Built:
    """The index of a column of so many rows; ``blocks`` are those it needs beside its own."""
    top, pages = found.encode()
    dense = np.flatnonzero(postings.are_dense(found.offsets, rows_count)).tolist()
    bits = [
        Block(
            layout.POSTINGS,
            suffix(number, TERM_BITS, place),
            postings.encode_bits(postings.bits_of(found.rows_of(term), rows_count)),
        )
        for place, term in enumerate(dense)
    ]
    stored = [
        Block(layout.POSTINGS, suffix(number, TERM_PAGE, page), data)
        for page, data in enumerate(pages)
    ]
    counts = Block(layout.POSTINGS, suffix(number, TERM_POSTINGS), top)
    details = {_PAGES: len(pages), _DENSE: len(dense)}
    return Built(IndexMeta(Index.TERMS, details), (*blocks, counts, *stored, *bits))


def _rows(slices: Sequence[NDArray[np.uint32]], one: bool) -> RowSet:
    """The rows in these slices, which ascend in each if it is of one term."""
    if one:
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
