"""Documents of a segment: their text where it is kept, or made of the columns by templates."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import chain
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from alder.errors import AlderError, Reason
from leaf.blocks import SegmentBlocks
from leaf.columnpages import ColumnPages
from leaf.format.meta import TEMPLATES, SegmentMeta
from leaf.format.picks import Value
from leaf.format.templates import Template
from leaf.rows import column_type

DOCUMENTS: Final = "_doc"
FEW_ROWS_MAX: Final = 1024
"""Rows that are read one by one; documents of more that lie close are made as arrays."""
CLOSE_ROWS: Final = 16
"""Up to so many rows from one to the next, arrays of whole pages pay."""
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
        if len(rows) > FEW_ROWS_MAX and rows[-1] - rows[0] < CLOSE_ROWS * len(rows):
            return self._made(rows, self._pages.rows)
        return self._few(rows)

    def _few(self, rows: Rows) -> pa.Array:
        """Template by template, with the values of all of them by one read, in plain Python.

        Arrays cost more to set up than a few values to join.
        """
        places: dict[Value, list[int]] = {}
        for place, code in enumerate(self._pages.codes_at(TEMPLATES, rows)):
            places.setdefault(code, []).append(place)
        values = self._values(places, rows)
        documents: list[Value] = [None] * len(rows)
        for code, chosen in places.items():
            own = {name: (column_type(name), values[name]) for name in self._needs(code)}
            if len(chosen) < len(rows):
                own = {
                    name: (kind, [everything[at] for at in chosen])
                    for name, (kind, everything) in own.items()
                }
            made = self._joined(code, own, len(chosen))
            for place, document in zip(chosen, made, strict=True):
                documents[place] = document
        with self._using():
            return pa.array(documents, pa.string())

    def _values(self, places: Mapping[Value, list[int]], rows: Rows) -> dict[str, list[Value]]:
        """Every column that a template needs, with the values of the rows that are made by it.

        ``places`` are those of the rows of each template; each column is read once.
        """
        users: dict[str, list[Value]] = {}
        for code in places:
            for name in self._needs(code):
                users.setdefault(name, []).append(code)
        groups: dict[tuple[Value, ...], Rows] = {tuple(codes): rows for codes in users.values()}
        for some in groups:
            if len(some) < len(places):
                groups[some] = rows[_places_of(some, places)]
        wanted = [(name, groups[tuple(codes)]) for name, codes in users.items()]
        found = dict(zip(users, self._pages.values(wanted), strict=True))
        for name, codes in users.items():
            if len(codes) < len(places):
                spread: list[Value] = [None] * len(rows)
                for place, value in zip(_places_of(codes, places), found[name], strict=True):
                    spread[place] = value
                found[name] = spread
        return found

    def _needs(self, code: Value) -> Sequence[str]:
        """The columns of which a document is made; ``code`` is that of its template, or None."""
        if isinstance(code, int):
            return self._template(code).columns
        return [DOCUMENTS] if DOCUMENTS in self._columns else []

    def _joined(
        self, code: Value, columns: Mapping[str, tuple[pa.DataType, Sequence[Value]]], count: int
    ) -> Sequence[Value]:
        if isinstance(code, int):
            with self._using():
                return self._template(code).join(columns, count)
        return columns[DOCUMENTS][1] if columns else [None] * count

    @cached_property
    def _templates(self) -> list[Template]:
        terms = self._blocks.terms(TEMPLATES, self._columns[TEMPLATES])
        templates = [Template.decode(text, self._what()) for text in terms.to_pylist()]
        for name in {name for template in templates for name in template.columns}:
            if name not in self._columns:
                raise AlderError(Reason.CORRUPT, f"{self._what()} needs the column {name!r}")
        return templates

    def _made(self, rows: Rows, values: Values) -> pa.Array:
        """Template by template, then in the order of the rows."""
        codes = self._pages.codes_at(TEMPLATES, rows)
        numbers = np.asarray([_NONE if code is None else code for code in codes], dtype=np.int64)
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
        template = self._template(number)
        arrays = values(template.columns, rows)
        columns = dict(zip(template.columns, arrays, strict=True))
        with self._using():
            return template.render(columns, len(rows))

    def _template(self, number: int) -> Template:
        if not 0 <= number < len(self._templates):
            raise AlderError(Reason.CORRUPT, f"{self._what()} is missing")
        return self._templates[number]

    @contextmanager
    def _using(self) -> Iterator[None]:
        """Tells which template values can't be put into."""
        try:
            yield
        except (pa.ArrowException, ValueError, TypeError) as error:
            raise AlderError(Reason.CORRUPT, f"{self._what()} can't be used: {error}") from error

    def _what(self) -> str:
        return self._blocks.what("the template of a document")


def _places_of(codes: Sequence[Value], places: Mapping[Value, list[int]]) -> list[int]:
    """The places of the rows of some templates, ascending."""
    return sorted(chain.from_iterable(places[code] for code in codes))
