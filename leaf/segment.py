"""A sealed segment as readers use it: columns by pages, equality by postings, ranges by zones.

Blocks are read from the store when they are needed, checked, and kept decoded in the leaf's cache.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from alder.errors import AlderError, Reason
from alder.rocks import Store
from leaf import layout
from leaf.cache import PageCache
from leaf.format import dictionary, postings
from leaf.format.hashing import hash_values
from leaf.format.meta import (
    HASH_PAGE,
    META_SUFFIX,
    PAGE,
    TERM_POSTINGS,
    TERMS,
    ColumnMeta,
    Index,
    decode_meta,
    suffix,
)
from leaf.format.pages import decode_page
from leaf.format.zonemap import Bound, Zone, may_hold
from leaf.rows import column_type

_BIRTHS_KEY = b"births"
_TIMES_KEY = b"times"
T = TypeVar("T")
Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]


class Segment:
    """One segment of a store. Thread-safe; calls may block on the store."""

    def __init__(self, store: Store, name: str, number: int, cache: PageCache) -> None:
        """``name`` is that of the shard, for errors.

        Raises AlderError(CORRUPT) where the segment's description is damaged or missing.
        """
        self._store = store
        self._name = name
        self._number = number
        self._cache = cache
        self._scope = cache.scope()
        data = self._block(layout.COLUMNS, META_SUFFIX)
        self._meta = decode_meta(data, self._what("its description"))

    @property
    def number(self) -> int:
        """Its number in the shard, which no other segment ever gets."""
        return self._number

    @property
    def rows(self) -> int:
        """Number of rows, dead ones included."""
        return self._meta.rows

    @property
    def last_births(self) -> Rows:
        """The largest birth of each stream in it."""
        return np.asarray(self._meta.last_births, dtype=np.int64)

    @property
    def scope(self) -> int:
        """A number that no other opened segment has, to begin names in the cache with."""
        return self._scope

    def births(self) -> Rows:
        """The births of all rows, which ascend unless it is clustered. Raises CORRUPT."""
        return self._cached(
            _BIRTHS_KEY, lambda: np.asarray(self.column("_birth", None)), lambda array: array.nbytes
        )

    def times(self) -> Rows:
        """The event times of all rows, in microseconds. Raises AlderError(CORRUPT)."""
        return self._cached(
            _TIMES_KEY,
            lambda: np.asarray(self.column("_time", None).cast(pa.int64())),
            lambda array: array.nbytes,
        )

    @cached_property
    def time_low_us(self) -> int:
        """The oldest event time."""
        return min(int(zone.low) for zone in self.zones("_time") if zone.low is not None)

    @cached_property
    def time_high_us(self) -> int:
        """The newest event time."""
        return max(int(zone.high) for zone in self.zones("_time") if zone.high is not None)

    def has(self, column: str) -> bool:
        """True if a row has a value in this column."""
        return column in self._meta.columns

    def index(self, column: str) -> Index:
        """How equality finds the rows of a column that it has."""
        return self._meta.columns[column].index

    def zones(self, column: str) -> Sequence[Zone]:
        """The zones of the pages of a column that it has."""
        return self._meta.columns[column].zones

    def reopened(self, cache: PageCache) -> "Segment":
        """The same segment, its description read again, with another cache. Raises CORRUPT."""
        return Segment(self._store, self._name, self._number, cache)

    def entries(self, name: str) -> tuple[pa.Array, Rows] | None:
        """What the index of a column files under what: keys (terms, or hashes) and their rows.

        None where the stored index contradicts itself. Raises CORRUPT.
        """
        meta = self._meta.columns[name]
        if meta.index is Index.TERMS:
            found = self._term_postings(name, meta)
            offsets = found.offsets.astype(np.int64)
            counts = offsets[1:] - offsets[:-1]
            whole = not len(counts) or (offsets[0], offsets[-1]) == (0, len(found.rows))
            terms = self._terms(name, meta)
            if not whole or (counts < 0).any() or len(counts) != len(terms):
                return None
            numbers = np.repeat(np.arange(len(counts)), counts)
            return terms.take(pa.array(numbers)), found.rows.astype(np.int64)
        what = self._what(f"the postings of column {name!r}")
        blocks = (
            self._stored(layout.POSTINGS, suffix(meta.number, HASH_PAGE, page))
            for page in range(1 << meta.hash_bits)
        )
        pages = [postings.hash_entries(data, what) for data in blocks if data is not None]
        if not pages:
            return None
        hashes, rows = (np.concatenate([page[part] for page in pages]) for part in (0, 1))
        if (hashes[1:] < hashes[:-1]).any():
            return None
        return pa.array(hashes), rows.astype(np.int64)

    def repeats(self, column: str) -> bool:
        """True if the values of a column it has are few for its rows."""
        return self._meta.columns[column].index is Index.TERMS

    def encoded(self, name: str) -> dictionary.Encoded | None:
        """A column it has as terms and codes; None where it isn't kept so. Raises CORRUPT.

        Nothing of it is cached here: who asks keeps what is made of it.
        """
        meta = self._meta.columns[name]
        if not meta.coded:
            return None
        pages = [self._codes(name, meta, page) for page in range(len(meta.zones))]
        return dictionary.Encoded(self._terms(name, meta), pa.concat_arrays(pages))

    def column(self, name: str, rows: Rows | None) -> pa.ChunkedArray:
        """A column it has, all of it or the rows of ascending numbers. Raises CORRUPT."""
        meta = self._meta.columns[name]
        kind = column_type(name)
        if rows is None:
            pages = [self._page(name, meta, page) for page in range(len(meta.zones))]
            return pa.chunked_array(pages, kind)
        bounds = np.arange(len(meta.zones) + 1) * meta.page_rows
        ends = np.searchsorted(rows, bounds)
        parts = []
        for page in np.flatnonzero(np.diff(ends)).tolist():
            chosen = rows[ends[page] : ends[page + 1]] - page * meta.page_rows
            parts.append(self._page(name, meta, page).take(pa.array(chosen)))
        return pa.chunked_array(parts, kind)

    def rows_in_zones(self, name: str, operator: str, value: Bound) -> Mask:
        """True for the rows of pages that may hold such a value; a superset of the matches."""
        meta = self._meta.columns[name]
        pages = np.asarray([may_hold(zone, operator, value) for zone in meta.zones], dtype=bool)
        mask: Mask = np.repeat(pages, meta.page_rows)[: self.rows]
        return mask

    def rows_equal(self, name: str, values: Sequence[Bound]) -> Mask:
        """True for a superset of the rows that have one of the values. Raises CORRUPT.

        The values are of the column's kind: strings, or integers (booleans as 0 and 1).
        """
        meta = self._meta.columns[name]
        mask = np.zeros(self.rows, dtype=bool)
        if meta.index is Index.NONE:
            for value in values:
                mask |= self.rows_in_zones(name, "=", value)
        elif meta.index is Index.TERMS:
            terms = self._terms(name, meta)
            wanted = pc.index_in(pa.array(values, terms.type), value_set=terms)
            found = self._term_postings(name, meta) if wanted.null_count < len(wanted) else None
            for term in wanted.drop_null().to_pylist():
                if found is not None:
                    mask[found.rows_of(term)] = True
        else:
            hashes = hash_values(pa.array(values, column_type(name)))
            pages = postings.page_of(hashes, meta.hash_bits)
            for wanted_hash, page in zip(hashes.tolist(), pages.tolist(), strict=True):
                mask[self._hash_rows(name, meta, page, wanted_hash)] = True
        return mask

    def _page(self, name: str, meta: ColumnMeta, page: int) -> pa.Array:
        kind = column_type(name)
        zone = meta.zones[page]
        if zone.empty:
            return pa.nulls(zone.rows, kind)
        what = self._what(f"page {page} of column {name!r}")
        key = suffix(meta.number, PAGE, page)

        def load() -> pa.Array:
            if meta.coded:
                return self._terms(name, meta).take(self._codes(name, meta, page))
            return decode_page(self._block(layout.COLUMNS, key), kind, what)

        return self._cached(key, load, lambda array: int(array.nbytes))

    def _codes(self, name: str, meta: ColumnMeta, page: int) -> pa.Array:
        zone = meta.zones[page]
        if zone.empty:
            return pa.nulls(zone.rows, pa.int32())
        what = self._what(f"page {page} of column {name!r}")
        data = self._block(layout.COLUMNS, suffix(meta.number, PAGE, page))
        return decode_page(data, pa.int32(), what)

    def _terms(self, name: str, meta: ColumnMeta) -> pa.Array:
        key = suffix(meta.number, TERMS)
        what = self._what(f"the terms of column {name!r}")
        return self._cached(
            key,
            lambda: dictionary.decode_terms(self._block(layout.COLUMNS, key), what),
            lambda array: int(array.nbytes),
        )

    def _term_postings(self, name: str, meta: ColumnMeta) -> postings.TermPostings:
        key = suffix(meta.number, TERM_POSTINGS)
        what = self._what(f"the postings of column {name!r}")
        return self._cached(
            key,
            lambda: postings.TermPostings.decode(self._block(layout.POSTINGS, key), what),
            lambda found: found.size_bytes,
        )

    def _hash_rows(self, name: str, meta: ColumnMeta, page: int, wanted: int) -> Rows:
        key = suffix(meta.number, HASH_PAGE, page)
        data = self._stored(layout.POSTINGS, key)
        if data is None:
            return np.empty(0, dtype=np.int64)
        what = self._what(f"the postings of column {name!r}")
        return postings.rows_with_hash(data, wanted, what)

    def _cached(self, key: bytes, load: Callable[[], T], size_bytes: Callable[[T], int]) -> T:
        return self._cache.get((self._scope, key), load, size_bytes)

    def _block(self, family: str, key: bytes) -> bytes:
        data = self._stored(family, key)
        if data is None:
            raise AlderError(Reason.CORRUPT, f"{self._what('a block')} is missing")
        return data

    def _stored(self, family: str, key: bytes) -> bytes | None:
        try:
            return self._store.get(family, layout.number_key(self._number) + key)
        except Exception as error:
            what = self._what("a block")
            raise AlderError(Reason.CORRUPT, f"{what} can't be read: {error}") from error

    def _what(self, part: str) -> str:
        return f"{part} in segment {self._number} of shard {self._name}"
