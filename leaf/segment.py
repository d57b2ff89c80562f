"""A sealed segment as readers use it: columns by pages, and the indexes of its columns.

Blocks are read from the store when they are needed, checked, and kept decoded in the leaf's cache.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from alder.errors import AlderError, Reason
from leaf import layout
from leaf.blocks import IndexBlocks, SegmentBlocks
from leaf.cache import PageCache
from leaf.columnpages import ColumnPages
from leaf.documentreader import DOCUMENTS, DocumentReader
from leaf.format.meta import META_SUFFIX, TEMPLATES, Index, decode_meta
from leaf.format.zonemap import Zone
from leaf.indexes import kinds
from leaf.indexes.kind import ColumnIndex
from leaf.indexes.rowset import RowSet, no_rows, of_numbers
from leaf.indexes.terms import term_offsets
from leaf.indexes.zones import ZoneMap
from leaf.rows import column_type

_BIRTHS_KEY = b"births"
_TIMES_KEY = b"times"
_WHOLE_KEY = b"whole:"
_ZONES_FEW: Final = 16
"""For births in more zones than so many, all births are read."""
Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class WholeColumn:
    """The values of all rows, and their bytes, which take time to count."""

    values: pa.ChunkedArray
    size_bytes: int


class Segment:
    """One segment of a store. Thread-safe; calls may block on the store."""

    def __init__(self, blocks: SegmentBlocks) -> None:
        """Raises AlderError(CORRUPT) where the segment's description is damaged or missing."""
        self._blocks = blocks
        what = blocks.what("its description")
        self._meta = decode_meta(blocks.block(layout.COLUMNS, META_SUFFIX), what)
        self._pages = ColumnPages(blocks, self._meta.columns)
        self._documents = DocumentReader(blocks, self._pages, self._meta)
        self._indexes: dict[str, Sequence[ColumnIndex]] = {}

    @property
    def number(self) -> int:
        """Its number in the shard, which no other segment ever gets."""
        return self._blocks.number

    @property
    def rows(self) -> int:
        """Number of rows, dead ones included."""
        return self._meta.rows

    @cached_property
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
        """The rows of births, which ascend; reads only zones that may hold one. Raises CORRUPT."""
        meta = self._meta.columns["_birth"]
        if not len(births) or births[-1] < self._birth_low or births[0] > self._birth_high:
            return no_rows()
        if meta.has(Index.HASHES):
            return self._born_unordered(births)
        zones = np.searchsorted(self._birth_lows, births, "right") - 1
        wanted = np.unique(zones[zones >= 0]).tolist()
        if len(wanted) > _ZONES_FEW:
            return of_numbers(_places_in(self.births(), births).astype(np.uint32))
        found = [np.empty(0, dtype=np.int64)]
        for zone in wanted:
            values = np.asarray(self._pages.zone("_birth", zone))
            found.append(_places_in(values, births[zones == zone]) + zone * meta.zone_rows)
        return of_numbers(np.concatenate(found).astype(np.uint32))

    @cached_property
    def _birth_low(self) -> int:
        return int(self._birth_lows.min())

    @cached_property
    def _birth_high(self) -> int:
        return int(self.last_births.max())

    @cached_property
    def _birth_lows(self) -> Rows:
        zones = self._meta.columns["_birth"].zones
        return np.asarray([zone.low for zone in zones], dtype=np.int64)

    def _born_unordered(self, births: Rows) -> RowSet:
        """As :meth:`born`, by the index of births that a clustered segment has."""
        answers = (index.find("in", births.tolist()) for index in self.indexes("_birth"))
        rows = next(answer for answer in answers if answer is not None).rows().rows()
        mine = np.isin(np.asarray(self.column("_birth", rows)), births)
        return of_numbers(rows[mine].astype(np.uint32))

    def has(self, column: str) -> bool:
        """True if a row has a value in this column."""
        made = column == DOCUMENTS and TEMPLATES in self._meta.columns
        return made or column in self._meta.columns

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
        """The zones of a column that it has, which are the chunks of :meth:`column`."""
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

    def coded(self, name: str) -> tuple[pa.Array, NDArray[np.integer]] | None:
        """Terms, and the code of each row from 1 on, 0 for NULL; None where it isn't kept so.

        The codes are not cached here: who asks keeps what is made of them. Raises CORRUPT.
        """
        meta = self._meta.columns[name]
        return (self._blocks.terms(name, meta), self._pages.codes(name)) if meta.coded else None

    def counted(self, name: str) -> tuple[pa.Array, Rows] | None:
        """Terms of strings and how many rows have each, by their postings alone.

        None where a column that it has is not kept and indexed so. Raises CORRUPT.
        """
        meta = self._meta.columns[name]
        if not meta.coded or not meta.has(Index.TERMS):
            return None
        blocks = IndexBlocks(self._blocks, name, meta, self.rows)
        terms, offsets = blocks.terms(), term_offsets(blocks).astype(np.int64)
        if len(offsets) != len(terms) + 1 or offsets[-1] > self.rows:
            raise AlderError(Reason.CORRUPT, f"{blocks.what()} are not those of its terms")
        return terms, np.diff(offsets)

    def integers(self, name: str) -> pa.Array:
        """A column it has of integers or timestamps, in one array. Raises CORRUPT.

        It is not cached here: who asks keeps what is made of it.
        """
        values, valid = self._pages.integers(name)
        bitmap = None if valid.all() else pa.py_buffer(np.packbits(valid, bitorder="little"))
        buffers = [bitmap, pa.py_buffer(values)]
        return pa.Array.from_buffers(column_type(name), len(values), buffers)

    def documents(self, zone: int) -> pa.Array:
        """The documents of all rows of a zone, for less than by their numbers. Raises CORRUPT."""
        return self._documents.zone(zone)

    def whole(self, name: str) -> WholeColumn:
        """A column it has, all of it, kept as long as there is room. Raises CORRUPT."""

        def load() -> WholeColumn:
            values = self.column(name, None)
            return WholeColumn(values, values.nbytes)

        return self._blocks.cached(_WHOLE_KEY + name.encode(), load, lambda made: made.size_bytes)

    def column(self, name: str, rows: Rows | None) -> pa.ChunkedArray:
        """A column it has, all of it or the rows of ascending numbers. Raises CORRUPT."""
        if rows is None:
            if name == DOCUMENTS:
                zones = range(len(self.zones("_birth")))
                chunks = [self._documents.zone(zone) for zone in zones]
            else:
                chunks = self._pages.zones(name)
        elif name == DOCUMENTS:
            chunks = [self._documents.rows(rows)]
        else:
            chunks = self._pages.many(name, rows) or self._pages.rows([name], rows)
        return pa.chunked_array(chunks, column_type(name))


def _places_in(values: Rows, wanted: Rows) -> Rows:
    """Where those of the wanted ones are that are among the values; both ascend."""
    places = np.searchsorted(values, wanted)
    there = places < len(values)
    there[there] = values[places[there]] == wanted[there]
    return places[there]
