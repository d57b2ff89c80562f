"""Sorted: for numbers and times that are not clustered, all values in order with their rows.

Answers ``=``, ``<>``, ``in`` and ranges, exactly. Built only where zone maps would not narrow:
where a value lies within the bounds of more than a few pages. Stored as (key, row) pairs sorted by
key in pages of some thousands, and the first key of each page beside them, so that a lookup reads
one page and a range the pages at its ends, whose places also count what lies between. Keys are
integers in the order of the values; floats become such by their bits (as in Herf, Radix Tricks,
2001), NaN above everything, as SQL has it. A B+-tree of two levels, which never changes.
"""

import struct
from collections.abc import Mapping, Sequence
from math import ceil, floor
from typing import Final, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from alder.errors import AlderError, Reason
from leaf import layout
from leaf.format.frame import framed, unframed
from leaf.format.meta import SORTED_PAGE, SORTED_TOP, Block, Index, IndexMeta, suffix
from leaf.format.pages import PAGE_ROWS, integers_of, is_integral
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
from leaf.indexes.rowset import RowSet, no_rows, of_numbers, union

PATH: Final = "sorted values"
PAIRS_PER_PAGE: Final = 4096
PAGES_PER_VALUE_MAX: Final = 2.0
"""Pages within whose bounds a value lies, on average, up to which zone maps do."""
SAMPLE_ROWS: Final = 4096
_TAGS: Final = frozenset({"int", "float", "timestamp", "timestamp_ns", "date", "time"})
PAGES: Final = "pages"
"""The detail that says in how many pages pairs are."""
_HEADER: Final = struct.Struct("<IqB")
_WIDTHS: Final = (1, 2, 4, 8)
_KEY_MAX: Final = (1 << 63) - 1
_KEY_MIN: Final = -1 << 63
Keys = NDArray[np.int64]
Pairs = tuple[Keys, NDArray[np.uint32]]
"""Keys, ascending, and their rows; rows of one key ascend."""


class Sorted:
    """Implements IndexKind."""

    index: Final = Index.SORTED

    def build(self, column: Column, options: Mapping[str, str]) -> Built | None:
        """None for values without such an order, and where zone maps do."""
        if column.tag not in _TAGS or (ALWAYS not in options and is_clustered(column.values)):
            return None
        entries = column.entries
        keys = keys_of(entries.values)
        order = np.argsort(keys, kind="stable")
        return built(column.number, Index.SORTED, keys[order], entries.rows[order])

    def needed(self, number: int, details: Mapping[str, int]) -> set[bytes]:
        """See IndexKind."""
        return blocks_needed(number, details)

    def open(self, blocks: ColumnBlocks, details: Mapping[str, int]) -> ColumnIndex:
        """See IndexKind."""
        return _SortedIndex(blocks, details[PAGES])


class SortedPairs:
    """The stored pairs of one column, as several kinds of index keep them."""

    def __init__(self, blocks: ColumnBlocks, pages: int) -> None:
        self._blocks = blocks
        self._pages = pages

    def between(self, low: int, high: int) -> tuple[int, int]:
        """The places of the pairs whose key is in ``[low, high]``: begin and end."""
        if low > high:
            return 0, 0
        firsts = self._firsts()
        return self._place(firsts, low, "left"), self._place(firsts, high, "right")

    def rows(self, begin: int, end: int) -> NDArray[np.uint32]:
        """The rows of the pairs at these places, in the order of their keys."""
        parts = []
        for page in range(begin // PAIRS_PER_PAGE, -(-end // PAIRS_PER_PAGE)):
            first = page * PAIRS_PER_PAGE
            parts.append(self._page(page)[1][max(0, begin - first) : end - first])
        return np.concatenate(parts) if parts else np.empty(0, dtype=np.uint32)

    def all(self) -> Pairs | None:
        """All pairs; None where what is stored contradicts itself."""
        firsts = self._firsts()
        none = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.uint32)
        pages = [none, *(self._page(page) for page in range(self._pages))]
        keys, rows = (np.concatenate([page[part] for page in pages]) for part in (0, 1))
        if (keys[1:] < keys[:-1]).any() or (keys[::PAIRS_PER_PAGE] != firsts).any():
            return None
        return keys, rows

    def _place(self, firsts: Keys, key: int, side: Literal["left", "right"]) -> int:
        """How many pairs come before a key ("left"), or up to it ("right")."""
        page = int(np.searchsorted(firsts, key, side)) - 1
        if page < 0:
            return 0
        keys, _ = self._page(page)
        return page * PAIRS_PER_PAGE + int(np.searchsorted(keys, key, side))

    def _firsts(self) -> Keys:
        def load(data: bytes, what: str) -> Keys:
            payload = unframed(data, what)
            if len(payload) != 8 * self._pages:
                raise AlderError(Reason.CORRUPT, f"{what} names another number of pages")
            return np.frombuffer(payload, dtype="<i8")

        return self._blocks.decoded(SORTED_TOP, 0, load, lambda firsts: firsts.nbytes)

    def _page(self, page: int) -> Pairs:
        return self._blocks.decoded(
            SORTED_PAGE, page, decode_pairs, lambda pairs: pairs[0].nbytes + pairs[1].nbytes
        )


class _SortedIndex:
    """Implements ColumnIndex."""

    kind: Final = Index.SORTED.value
    path: Final = PATH

    def __init__(self, blocks: ColumnBlocks, pages: int) -> None:
        self._pairs = SortedPairs(blocks, pages)
        self._floats = blocks.name.startswith("float:")

    def find(self, operator: str, values: Sequence[Scalar]) -> Candidates | None:
        """See ColumnIndex."""
        if not values:
            return None
        wanted = "=" if operator in {"in", "<>"} else operator
        ranges = []
        for value in set(values):
            bounds = self._bounds(wanted, value)
            if bounds is None:
                return None
            begin, end = self._pairs.between(*bounds)
            places = [(begin, end)]
            if operator == "<>":
                places = [(0, begin), (end, self._pairs.between(_KEY_MIN, _KEY_MAX)[1])]
            ranges += [(first, last) for first, last in places if first < last]
        count = sum(end - begin for begin, end in ranges)
        return Candidates(PATH, count, True, count, lambda: self._rows(ranges))

    def check(self, column: pa.Array) -> Checked:
        """See ColumnIndex."""
        pairs = self._pairs.all()
        if pairs is None:
            return CONTRADICTING
        keys, rows = pairs
        real = entries_of(column)
        wanted = Entries(pa.array(keys_of(real.values)), real.rows)
        return compared(Entries(pa.array(keys), rows), wanted)

    def _rows(self, ranges: Sequence[tuple[int, int]]) -> RowSet:
        if not ranges:
            return no_rows()
        return union([of_numbers(np.sort(self._pairs.rows(*places))) for places in ranges])

    def _bounds(self, operator: str, value: Scalar) -> tuple[int, int] | None:
        """The smallest and the largest key that a comparison is true of; None for no comparison."""
        if isinstance(value, str):
            return None
        if self._floats:
            below = above = int(keys_of(pa.array([float(value)], pa.float64()))[0])
        else:
            below, above = floor(value), ceil(value)
        match operator:
            case "=":
                return above, below
            case "<":
                return _KEY_MIN, above - 1
            case "<=":
                return _KEY_MIN, below
            case ">":
                return below + 1, _KEY_MAX
            case ">=":
                return above, _KEY_MAX
        return None


def keys_of(values: pa.Array) -> Keys:
    """Integers in the order of numbers or times without nulls; equal values have equal keys."""
    if is_integral(values.type):
        return integers_of(values)
    floats = np.asarray(values).astype(np.float64) + 0.0
    bits: Keys = np.where(np.isnan(floats), np.nan, floats).view(np.int64)
    return np.where(bits < 0, np.int64(_KEY_MIN) - bits, bits)


def is_clustered(values: pa.Array) -> bool:
    """True if a value lies within the bounds of few pages."""
    valid = np.asarray(values.is_valid())
    keys = np.zeros(len(values), dtype=np.int64)
    keys[valid] = keys_of(values.drop_null())
    begins = np.arange(0, len(values), PAGE_ROWS)
    lows = np.minimum.reduceat(np.where(valid, keys, _KEY_MAX), begins)
    highs = np.maximum.reduceat(np.where(valid, keys, _KEY_MIN), begins)
    filled = lows <= highs
    sample = keys[valid]
    sample = sample[:: max(1, len(sample) // SAMPLE_ROWS)]
    begun = np.searchsorted(np.sort(lows[filled]), sample, "right")
    ended = np.searchsorted(np.sort(highs[filled]), sample, "left")
    return float((begun - ended).mean()) <= PAGES_PER_VALUE_MAX


def built(number: int, index: Index, keys: Keys, rows: NDArray[np.uint32]) -> Built:
    """Pairs that are sorted already as an index of a kind."""
    begins = range(0, len(keys), PAIRS_PER_PAGE)
    blocks = [
        Block(
            layout.POSTINGS,
            suffix(number, SORTED_PAGE, page),
            encode_pairs(
                keys[begin : begin + PAIRS_PER_PAGE], rows[begin : begin + PAIRS_PER_PAGE]
            ),
        )
        for page, begin in enumerate(begins)
    ]
    firsts = framed(keys[::PAIRS_PER_PAGE].astype("<i8").tobytes())
    blocks.append(Block(layout.POSTINGS, suffix(number, SORTED_TOP), firsts))
    return Built(IndexMeta(index, {PAGES: len(begins)}), tuple(blocks))


def blocks_needed(number: int, details: Mapping[str, int]) -> set[bytes]:
    """The suffixes of the blocks of stored pairs."""
    pages = {suffix(number, SORTED_PAGE, page) for page in range(details[PAGES])}
    return {suffix(number, SORTED_TOP), *pages}


def encode_pairs(keys: Keys, rows: NDArray[np.uint32]) -> bytes:
    """A page as stored: keys as distances from the first, in the narrowest width, then rows."""
    base = int(keys[0])
    distances = keys.view(np.uint64) - np.uint64(base % (1 << 64))
    width = next(width for width in _WIDTHS if int(distances[-1]) < 1 << 8 * width)
    head = _HEADER.pack(len(keys), base, width)
    return framed(head + distances.astype(f"<u{width}").tobytes() + rows.astype("<u4").tobytes())


def decode_pairs(data: bytes, what: str) -> Pairs:
    """The inverse of :func:`encode_pairs`. Raises AlderError(CORRUPT)."""
    payload = unframed(data, what)
    if len(payload) >= _HEADER.size:
        count, base, width = _HEADER.unpack_from(payload)
        middle = _HEADER.size + count * width
        if width in _WIDTHS and 0 < count <= PAIRS_PER_PAGE and len(payload) == middle + 4 * count:
            distances = np.frombuffer(payload, f"<u{width}", count, _HEADER.size)
            keys = (distances.astype(np.uint64) + np.uint64(base % (1 << 64))).view(np.int64)
            return keys, np.frombuffer(payload, "<u4", count, middle)
    raise AlderError(Reason.CORRUPT, f"{what} can't be decoded")
