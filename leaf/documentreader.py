"""Documents of a segment: their text where it is kept, or made of the columns by templates."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from alder.errors import AlderError, Reason
from leaf.blocks import SegmentBlocks
from leaf.columnpages import ColumnPages
from leaf.format.meta import TEMPLATES, SegmentMeta
from leaf.format.templates import Template

DOCUMENTS: Final = "_doc"
_NONE: Final = -1
Rows = NDArray[np.int64]
Values = Callable[[Sequence[str], Rows], list[pa.Array]]
"""Gives the values of columns in some rows."""


class DocumentReader:
    """Reads the documents of one segment. Thread-safe. Everything raises AlderError(CORRUPT)."""

    def __init__(self, blocks: SegmentBlocks, pages: ColumnPages, meta: SegmentMeta) -> None:
        self._blocks = blocks
        self._pages = pages
        self._columns = meta.columns

    def zone(self, zone: int) -> pa.Array:
        """The documents of a zone, null for rows that only delete."""
        meta = self._columns.get(TEMPLATES)
        if meta is None:
            return self._pages.zone(DOCUMENTS, zone)
        first = zone * meta.zone_rows
        whole = np.arange(first, first + meta.zones[zone].rows)

        def values(names: Sequence[str], rows: Rows) -> list[pa.Array]:
            arrays = [self._pages.zone(name, zone) for name in names]
            if len(rows) == len(whole):
                return arrays
            places = pa.array(rows - first)
            return [array.take(places) for array in arrays]

        return self._made(whole, values)

    def rows(self, rows: Rows) -> pa.Array:
        """The documents of the rows of ascending numbers."""
        if TEMPLATES not in self._columns:
            return self._pages.rows([DOCUMENTS], rows)[0]
        return self._made(rows, self._pages.rows)

    @cached_property
    def _templates(self) -> list[Template]:
        terms = self._blocks.terms(TEMPLATES, self._columns[TEMPLATES])
        return [Template.decode(text, self._what()) for text in terms.to_pylist()]

    def _made(self, rows: Rows, values: Values) -> pa.Array:
        """Template by template, then in the order of the rows."""
        codes = self._pages.rows_as_stored([TEMPLATES], rows)[0]
        numbers = np.asarray(codes.fill_null(_NONE))
        parts, places = [pa.array([], pa.string())], [np.empty(0, dtype=np.int64)]
        for number in np.unique(numbers).tolist():
            place = np.flatnonzero(numbers == number)
            if number == _NONE:
                part = self._kept(rows[place], values)
            else:
                part = self._rendered(number, rows[place], values)
            if len(place) == len(rows):
                return part
            parts.append(part)
            places.append(place)
        order = np.empty(len(rows), dtype=np.int64)
        order[np.concatenate(places)] = np.arange(len(rows))
        return pa.concat_arrays(parts).take(pa.array(order))

    def _kept(self, rows: Rows, values: Values) -> pa.Array:
        if DOCUMENTS not in self._columns:
            return pa.nulls(len(rows), pa.string())
        return values([DOCUMENTS], rows)[0]

    def _rendered(self, number: int, rows: Rows, values: Values) -> pa.Array:
        if number >= len(self._templates):
            raise AlderError(Reason.CORRUPT, f"{self._what()} is missing")
        template = self._templates[number]
        missing = [name for name in template.columns if name not in self._columns]
        if missing:
            raise AlderError(Reason.CORRUPT, f"{self._what()} needs the column {missing[0]!r}")
        arrays = values(template.columns, rows)
        columns = dict(zip(template.columns, arrays, strict=True))
        try:
            return template.render(columns, len(rows))
        except pa.ArrowException as error:
            raise AlderError(Reason.CORRUPT, f"{self._what()} can't be used: {error}") from error

    def _what(self) -> str:
        return self._blocks.what("the template of a document")
