"""A sealed segment as readers use it: columns by pages, and the indexes of its columns.

Blocks are read from the store when they are needed, checked, and kept decoded in the leaf's cache.
"""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from leaf import layout
from leaf.blocks import IndexBlocks, SegmentBlocks
from leaf.cache import PageCache
from leaf.format import dictionary
from leaf.format.meta import META_SUFFIX, PAGE, ColumnMeta, Index, decode_meta, suffix
from leaf.format.pages import decode_page
from leaf.format.zonemap import Zone
from leaf.indexes import kinds
from leaf.indexes.kind import ColumnIndex
from leaf.indexes.rowset import RowSet, of_numbers
from leaf.indexes.zones import ZoneMap
from leaf.rows import column_type

_BIRTHS_KEY = b"births"
_TIMES_KEY = b"times"
Rows = NDArray[np.int64]


class Segment:
    """One segment of a store. Thread-safe; calls may block on the store."""

    def __init__(self, blocks: SegmentBlocks) -> None:
        """Raises AlderError(CORRUPT) where the segment's description is damaged or missing."""
        self._blocks = blocks
        what = blocks.what("its description")
        self._meta = decode_meta(blocks.block(layout.COLUMNS, META_SUFFIX), what)
        self._indexes: dict[str, Sequence[ColumnIndex]] = {}

    @property
    def number(self) -> int:
        """Its number in the shard, which no other segment ever gets."""
        return self._blocks.number

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
        return self._blocks.scope

    def births(self) -> Rows:
        """The births of all rows, which ascend unless it is clustered. Raises CORRUPT."""
        return self._blocks.cached(
            _BIRTHS_KEY, lambda: np.asarray(self.column("_birth", None)), lambda array: array.nbytes
        )

    def times(self) -> Rows:
        """The event times of all rows, in microseconds. Raises AlderError(CORRUPT)."""
        return self._blocks.cached(
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

    def born(self, births: Rows) -> RowSet:
        """The rows of births, which ascend; reads only pages that may hold one. Raises CORRUPT."""
        meta = self._meta.columns["_birth"]
        if meta.has(Index.HASHES):
            return self._born_unordered(births)
        lows = np.asarray([zone.low for zone in meta.zones], dtype=np.int64)
        pages = np.searchsorted(lows, births, "right") - 1
        found = [np.empty(0, dtype=np.int64)]
        for page in np.unique(pages[pages >= 0]).tolist():
            values = np.asarray(self._page("_birth", meta, page))
            wanted = births[pages == page]
            places = np.searchsorted(values, wanted)
            there = places < len(values)
            there[there] = values[places[there]] == wanted[there]
            found.append(places[there] + page * meta.page_rows)
        return of_numbers(np.concatenate(found).astype(np.uint32))

    def _born_unordered(self, births: Rows) -> RowSet:
        """As :meth:`born`, by the index of births that a clustered segment has."""
        answers = (index.find("in", births.tolist()) for index in self.indexes("_birth"))
        rows = next(answer for answer in answers if answer is not None).rows().rows()
        mine = np.isin(np.asarray(self.column("_birth", rows)), births)
        return of_numbers(rows[mine].astype(np.uint32))

    def has(self, column: str) -> bool:
        """True if a row has a value in this column."""
        return column in self._meta.columns

    def indexes(self, column: str) -> Sequence[ColumnIndex]:
        """The indexes of a column that it has, the best for equality first, its zones last."""
        found = self._indexes.get(column)
        if found is None:
            meta = self._meta.columns[column]
            blocks = IndexBlocks(self._blocks, column, meta, self.rows)
            opened = [kinds.opened(index, blocks) for index in meta.indexes]
            found = self._indexes[column] = (*opened, ZoneMap(meta, self.rows))
        return found

    def zones(self, column: str) -> Sequence[Zone]:
        """The zones of the pages of a column that it has."""
        return self._meta.columns[column].zones

    def reopened(self, cache: PageCache) -> "Segment":
        """The same segment, its description read again, with another cache. Raises CORRUPT."""
        return Segment(self._blocks.reopened(cache))

    def has_index(self, column: str, kind: Index) -> bool:
        """True if a column that it has has an index of this kind."""
        return self._meta.columns[column].has(kind)

    def repeats(self, column: str) -> bool:
        """True if the values of a column it has are few for its rows."""
        return self.has_index(column, Index.TERMS)

    def encoded(self, name: str) -> dictionary.Encoded | None:
        """A column it has as terms and codes; None where it isn't kept so. Raises CORRUPT.

        Nothing of it is cached here: who asks keeps what is made of it.
        """
        meta = self._meta.columns[name]
        if not meta.coded:
            return None
        pages = [self._codes(name, meta, page) for page in range(len(meta.zones))]
        return dictionary.Encoded(self._blocks.terms(name, meta), pa.concat_arrays(pages))

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

    def _page(self, name: str, meta: ColumnMeta, page: int) -> pa.Array:
        kind = column_type(name)
        zone = meta.zones[page]
        if zone.empty:
            return pa.nulls(zone.rows, kind)
        what = self._blocks.what(f"page {page} of column {name!r}")
        key = suffix(meta.number, PAGE, page)

        def load() -> pa.Array:
            if meta.coded:
                return self._blocks.terms(name, meta).take(self._codes(name, meta, page))
            return decode_page(self._blocks.block(layout.COLUMNS, key), kind, what)

        return self._blocks.cached(key, load, lambda array: int(array.nbytes))

    def _codes(self, name: str, meta: ColumnMeta, page: int) -> pa.Array:
        zone = meta.zones[page]
        if zone.empty:
            return pa.nulls(zone.rows, pa.int32())
        what = self._blocks.what(f"page {page} of column {name!r}")
        data = self._blocks.block(layout.COLUMNS, suffix(meta.number, PAGE, page))
        return decode_page(data, pa.int32(), what)
