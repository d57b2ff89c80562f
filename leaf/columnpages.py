"""The values of a segment's columns: whole zones for scans, single rows of pages for look-ups.

A scan keeps what it has decoded by zones, so that the engine gets arrays of some thousands of rows.
A reader of few rows gets all pages with these rows by one read of the store, keeps them as they
are, and picks the values of these rows alone.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Final, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from leaf.blocks import SegmentBlocks
from leaf.format.buffers import texts_at
from leaf.format.frame import unframed
from leaf.format.meta import PAGE, ColumnMeta, suffix
from leaf.format.pages import (
    UNDECODABLE,
    decode_page,
    decoding,
    fill_codes,
    fill_page_integers,
    undecodable,
)
from leaf.format.picks import PagePick, Value
from leaf.rows import column_type

_ZONE: Final = b"zone"
"""Follows the key of a zone's first page in the name under which its values are kept."""
_MANY_SHARE: Final = 32
"""Of the rows of a zone; where more are wanted, all are decoded, and kept for later scans."""
_READ_PAGES_MAX: Final = 256
"""Pages of a scan that are read at once."""
Rows = NDArray[np.int64]


_Runs = tuple[list[int], list[list[int]]]
"""Pages, and for each the places of rows in it, counted from its first row."""
_Wanted = tuple[str, _Runs, list[bytes | None]]
"""A column, its pages, and the keys of those that are stored."""
_Pages = list[tuple[PagePick | None, Sequence[int]]]
"""Pages, None for those that are not stored, with the places of the rows that are wanted."""


class ColumnPages:
    """Reads the columns of one segment. Thread-safe. Everything raises AlderError(CORRUPT)."""

    def __init__(self, blocks: SegmentBlocks, columns: Mapping[str, ColumnMeta]) -> None:
        self._blocks = blocks
        self._columns = columns
        self._gaps: dict[str, bool] = {}

    def zone(self, name: str, zone: int) -> pa.Array:
        """The values of a zone."""
        meta = self._columns[name]

        def load() -> pa.Array:
            (stored,) = self._zones_as_stored(name, [zone])
            return self._blocks.terms(name, meta).take(stored) if meta.coded else stored

        return self._blocks.cached(_zone_key(meta, zone), load, lambda array: int(array.nbytes))

    def zones(self, name: str, wanted: Sequence[int] | None = None) -> list[pa.Array]:
        """The values of some zones, or of all."""
        meta = self._columns[name]
        numbers = range(len(meta.zones)) if wanted is None else wanted
        terms = self._blocks.terms(name, meta) if meta.coded else None
        arrays = [self._blocks.at_hand(_zone_key(meta, zone)) for zone in numbers]
        places = [place for place, array in enumerate(arrays) if array is None]
        missing = [numbers[place] for place in places]
        for place, stored in zip(places, self._zones_as_stored(name, missing), strict=True):
            array = arrays[place] = stored if terms is None else terms.take(stored)
            self._blocks.keep(_zone_key(meta, numbers[place]), array, int(array.nbytes))
        return cast(list[pa.Array], arrays)

    def many(self, name: str, rows: Rows) -> list[pa.Array] | None:
        """The values in the rows of ascending numbers, by zones; None where they are too few."""
        meta = self._columns[name]
        ends = np.searchsorted(rows, np.arange(1, len(meta.zones) + 1) * meta.zone_rows)
        counts = np.diff(ends, prepend=0)
        wanted = np.flatnonzero(counts)
        if len(rows) * _MANY_SHARE < len(wanted) * meta.zone_rows:
            return None
        arrays = self.zones(name, wanted.tolist())
        found = []
        with decoding(self._what(name)):
            for zone, array in zip(wanted, arrays, strict=True):
                begin, end = int(ends[zone] - counts[zone]), int(ends[zone])
                first, last = int(rows[begin]), int(rows[end - 1])
                within = first - int(zone) * meta.zone_rows
                if last - first == end - begin - 1:
                    found.append(array.slice(within, end - begin))
                else:
                    found.append(array.take(pa.array(rows[begin:end] - (first - within))))
        return found

    def codes(self, name: str) -> NDArray[np.integer]:
        """The code of each row of a coded column from 1 on, 0 for NULL, in the narrowest type.

        Nothing is kept.
        """
        meta = self._columns[name]
        terms_count = len(self._blocks.terms(name, meta))
        codes = np.zeros(meta.rows, dtype=_code_type(terms_count))
        for page, data in self._read(name, range(meta.pages)):
            rows = codes[_rows_of(meta, page)]
            fill_codes(data, self._what(name, page), terms_count, rows)
        return codes

    def integers(self, name: str) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """The integers of a column that :func:`fill_page_integers` reads, and where there is one.

        Nothing is kept.
        """
        meta = self._columns[name]
        values = np.zeros(meta.rows, dtype=np.int64)
        valid = np.zeros(meta.rows, dtype=bool)
        for page, data in self._read(name, range(meta.pages)):
            rows = _rows_of(meta, page)
            fill_page_integers(data, self._what(name, page), values[rows], valid[rows])
        return values, valid

    def rows(self, names: Sequence[str], rows: Rows) -> list[pa.Array]:
        """The values of columns in the rows of ascending numbers."""
        found = []
        for name, pages in zip(names, self._picked([(name, rows) for name in names]), strict=True):
            meta = self._columns[name]
            kind = _stored_type(name, meta)
            parts = [pa.array([], kind)]
            with decoding(self._what(name)):
                for pick, places in pages:
                    parts.append(pick.array(places) if pick else pa.nulls(len(places), kind))
                values = pa.concat_arrays(parts[1:] or parts)
                found.append(self._blocks.terms(name, meta).take(values) if meta.coded else values)
        return found

    def values(self, wanted: Sequence[tuple[str, Rows]]) -> list[list[Value]]:
        """For each column and rows of ascending numbers their values, in plain Python."""
        found = []
        name = ""
        try:
            for (name, _), pages in zip(wanted, self._picked(wanted), strict=True):
                meta = self._columns[name]
                values = _values(pages)
                if meta.coded:
                    values = _texts(self._blocks.terms(name, meta), values)
                found.append(values)
        except UNDECODABLE as error:
            raise undecodable(self._what(name), error) from error
        return found

    def codes_at(self, name: str, rows: Rows) -> list[Value]:
        """The codes of a coded column in the rows of ascending numbers, in plain Python."""
        (pages,) = self._picked([(name, rows)])
        with decoding(self._what(name)):
            return _values(pages)

    def _picked(self, wanted: Sequence[tuple[str, Rows]]) -> list[_Pages]:
        """For each column and rows the pages that they are in, all by one read.

        A column is wanted once. Rows that are the same array are taken apart once.
        """
        taken: dict[tuple[int, int], _Runs] = {}
        keys: list[bytes | None] = []
        named: list[_Wanted] = []
        for name, rows in wanted:
            meta = self._columns[name]
            shared = id(rows), meta.page_rows
            if shared not in taken:
                taken[shared] = _runs(rows, meta.page_rows)
            runs = taken[shared]
            own: list[bytes | None] = [suffix(meta.number, PAGE, page) for page in runs[0]]
            if self._has_gaps(name):
                for place, page in enumerate(runs[0]):
                    if meta.zone_of_page(page).empty:
                        own[place] = None
            named.append((name, runs, own))
            keys += own
        picks = iter(self._picks(named, keys))
        return [list(zip(islice(picks, len(own)), runs[1], strict=True)) for _, runs, own in named]

    def _picks(
        self, named: Sequence[_Wanted], keys: Sequence[bytes | None]
    ) -> list[PagePick] | list[PagePick | None]:
        """The pages of columns, which have these keys in their order; None where there is none."""
        stored = [key for key in keys if key is not None]
        held = self._blocks.all_at_hand(stored)
        picks = [one for one in held if isinstance(one, PagePick)]
        if len(picks) < len(stored):
            picks = self._read_picks(named, stored, held)
        if len(stored) == len(keys):
            return picks
        found = iter(picks)
        return [None if key is None else next(found) for key in keys]

    def _has_gaps(self, name: str) -> bool:
        """True if some pages of a column are not stored."""
        found = self._gaps.get(name)
        if found is None:
            found = self._gaps[name] = any(zone.empty for zone in self._columns[name].zones)
        return found

    def _read_picks(
        self, named: Sequence[_Wanted], keys: Sequence[bytes], held: Sequence[object | None]
    ) -> list[PagePick]:
        """Pages of which those not held are read; all are stored."""
        blocks = iter(
            self._blocks.columns([key for key, one in zip(keys, held, strict=True) if one is None])
        )
        pages = (
            (name, page)
            for name, runs, own in named
            for page, key in zip(runs[0], own, strict=True)
            if key is not None
        )
        picks = []
        for key, one, (name, page) in zip(keys, held, pages, strict=True):
            if not isinstance(one, PagePick):
                kind = _stored_type(name, self._columns[name])
                one = PagePick(unframed(next(blocks), self._what(name, page)), kind)
                self._blocks.keep(key, one, one.size_bytes)
            picks.append(one)
        return picks

    def _zones_as_stored(self, name: str, zones: Sequence[int]) -> Iterator[pa.Array]:
        meta = self._columns[name]
        kind = _stored_type(name, meta)
        per_zone = meta.zone_rows // meta.page_rows
        pages = [range(zone * per_zone, min((zone + 1) * per_zone, meta.pages)) for zone in zones]
        blocks = self._read(name, chain.from_iterable(pages))
        for zone, own in zip(zones, pages, strict=True):
            if meta.zones[zone].empty:
                yield pa.nulls(meta.zones[zone].rows, kind)
                continue
            parts = [
                decode_page(data, kind, self._what(name, page))
                for page, data in islice(blocks, len(own))
            ]
            yield parts[0] if len(parts) == 1 else pa.concat_arrays(parts)

    def _read(self, name: str, pages: Iterable[int]) -> Iterator[tuple[int, bytes]]:
        """Those of the pages that are stored, in their order, by few reads of the store."""
        meta = self._columns[name]
        stored = (page for page in pages if not meta.zone_of_page(page).empty)
        while run := list(islice(stored, _READ_PAGES_MAX)):
            keys = [suffix(meta.number, PAGE, page) for page in run]
            yield from zip(run, self._blocks.columns(keys), strict=True)

    def _what(self, name: str, page: int | None = None) -> str:
        pages = "a page" if page is None else f"page {page}"
        return self._blocks.what(f"{pages} of column {name!r}")


_CODES: Final = pa.int32()


def _values(pages: _Pages) -> list[Value]:
    """Raises what PagePick does."""
    found: list[Value] = []
    for pick, places in pages:
        if pick is None:
            found += [None] * len(places)
        elif len(places) == 1:
            found.append(pick.value(places[0]))
        else:
            found += pick.values(places)
    return found


def _texts(terms: pa.Array, codes: Sequence[Value]) -> list[Value]:
    """The terms of codes, None for none. Raises IndexError."""
    texts = iter(texts_at(terms, [code for code in codes if isinstance(code, int)]))
    return [None if code is None else next(texts) for code in codes]


def _runs(rows: Rows, page_rows: int) -> _Runs:
    """The pages that rows are in, each once."""
    if len(rows) == 1:
        page, place = divmod(int(rows[0]), page_rows)
        return [page], [[place]]
    numbers, within = np.divmod(rows, page_rows)
    pages: list[int] = []
    places: list[list[int]] = []
    last = -1
    for page, place in zip(numbers.tolist(), within.tolist(), strict=True):
        if page == last:
            places[-1].append(place)
        else:
            pages.append(page)
            places.append([place])
            last = page
    return pages, places


def _code_type(terms_count: int) -> type[np.integer]:
    """The narrowest type for codes from 0 to the number of terms."""
    if terms_count < 1 << 16:
        return np.uint8 if terms_count < 1 << 8 else np.uint16
    return np.int32


def _rows_of(meta: ColumnMeta, page: int) -> slice:
    """The rows of a page."""
    begin = page * meta.page_rows
    return slice(begin, begin + meta.rows_of_page(page))


def _stored_type(name: str, meta: ColumnMeta) -> pa.DataType:
    return _CODES if meta.coded else column_type(name)


def _zone_key(meta: ColumnMeta, zone: int) -> bytes:
    return suffix(meta.number, PAGE, zone * meta.zone_rows // meta.page_rows) + _ZONE
