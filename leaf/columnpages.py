"""The values of a segment's columns: whole zones for scans, single rows of pages for look-ups.

A scan keeps what it has decoded by zones, so that the engine gets arrays of some thousands of rows.
A reader of few rows gets all pages with these rows by one read of the store, keeps them as they
are, and decodes the values of these rows alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from leaf.blocks import SegmentBlocks
from leaf.format.frame import unframed
from leaf.format.meta import PAGE, ColumnMeta, suffix
from leaf.format.pages import decode_page, values_at
from leaf.rows import column_type

_ZONE: Final = b"zone"
"""Follows the key of a zone's first page in the name under which its values are kept."""
Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Run:
    """Rows that are in one page; ``places`` are counted from its first row."""

    page: int
    places: Rows


class ColumnPages:
    """Reads the columns of one segment. Thread-safe. Everything raises AlderError(CORRUPT)."""

    def __init__(self, blocks: SegmentBlocks, columns: Mapping[str, ColumnMeta]) -> None:
        self._blocks = blocks
        self._columns = columns

    def zone(self, name: str, zone: int) -> pa.Array:
        """The values of a zone."""
        meta = self._columns[name]

        def load() -> pa.Array:
            stored = self._zone_as_stored(name, zone)
            return self._blocks.terms(name, meta).take(stored) if meta.coded else stored

        return self._blocks.cached(_zone_key(meta, zone), load, lambda array: int(array.nbytes))

    def codes(self, name: str) -> pa.Array:
        """The codes of a coded column, of which nothing is kept."""
        zones = range(len(self._columns[name].zones))
        return pa.concat_arrays([self._zone_as_stored(name, zone) for zone in zones])

    def rows(self, names: Sequence[str], rows: Rows) -> list[pa.Array]:
        """The values of columns in the rows of ascending numbers."""
        found = self.rows_as_stored(names, rows)
        for place, name in enumerate(names):
            meta = self._columns[name]
            if meta.coded and found[place].type == _CODES:
                found[place] = self._blocks.terms(name, meta).take(found[place])
        return found

    def rows_as_stored(self, names: Sequence[str], rows: Rows) -> list[pa.Array]:
        """As :meth:`rows`, but for coded columns perhaps their codes (int32)."""
        runs: dict[int, list[_Run]] = {}
        parts: dict[str, list[pa.Array]] = {name: [] for name in names}
        for name in names:
            page_rows = self._columns[name].page_rows
            if page_rows not in runs:
                runs[page_rows] = list(_runs(rows, page_rows))
        payloads = self._payloads(
            [(name, run.page) for name in names for run in runs[self._columns[name].page_rows]]
        )
        for name, values in parts.items():
            meta = self._columns[name]
            kind = _stored_type(name, meta)
            for run in runs[meta.page_rows]:
                payload = payloads[name, run.page]
                if payload is None:
                    values.append(pa.nulls(len(run.places), kind))
                else:
                    what = self._what(name, run.page)
                    values.append(values_at(payload, kind, what, run.places))
            if not values:
                values.append(pa.array([], kind))
        return [one[0] if len(one) == 1 else pa.concat_arrays(one) for one in parts.values()]

    def _payloads(self, wanted: Sequence[tuple[str, int]]) -> dict[tuple[str, int], bytes | None]:
        """Pages without their frames, None for those that are not stored."""
        found: dict[tuple[str, int], bytes | None] = {}
        missing = []
        for name, page in wanted:
            meta = self._columns[name]
            if meta.zone_of_page(page).empty:
                found[name, page] = None
                continue
            key = suffix(meta.number, PAGE, page)
            held = self._blocks.at_hand(key)
            if isinstance(held, bytes):
                found[name, page] = held
            else:
                missing.append((name, page, key))
        blocks = self._blocks.columns([key for _, _, key in missing])
        for (name, page, key), data in zip(missing, blocks, strict=True):
            payload = found[name, page] = unframed(data, self._what(name, page))
            self._blocks.keep(key, payload, len(payload))
        return found

    def _zone_as_stored(self, name: str, zone: int) -> pa.Array:
        meta = self._columns[name]
        kind = _stored_type(name, meta)
        if meta.zones[zone].empty:
            return pa.nulls(meta.zones[zone].rows, kind)
        per_zone = meta.zone_rows // meta.page_rows
        pages = range(zone * per_zone, min((zone + 1) * per_zone, meta.pages))
        blocks = self._blocks.columns([suffix(meta.number, PAGE, page) for page in pages])
        parts = [
            decode_page(data, kind, self._what(name, page))
            for page, data in zip(pages, blocks, strict=True)
        ]
        return parts[0] if len(parts) == 1 else pa.concat_arrays(parts)

    def _what(self, name: str, page: int) -> str:
        return self._blocks.what(f"page {page} of column {name!r}")


_CODES: Final = pa.int32()


def _runs(rows: Rows, page_rows: int) -> Iterator[_Run]:
    """The rows of each page that has some."""
    if len(rows) == 1:
        page, place = divmod(int(rows[0]), page_rows)
        yield _Run(page, np.asarray([place]))
        return
    numbers = rows // page_rows
    edges = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(rows)]
    for begin, end in pairwise(edges):
        if begin < end:
            page = int(numbers[begin])
            yield _Run(page, rows[begin:end] - page * page_rows)


def _stored_type(name: str, meta: ColumnMeta) -> pa.DataType:
    return _CODES if meta.coded else column_type(name)


def _zone_key(meta: ColumnMeta, zone: int) -> bytes:
    return suffix(meta.number, PAGE, zone * meta.zone_rows // meta.page_rows) + _ZONE
