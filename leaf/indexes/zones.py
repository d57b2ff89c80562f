"""Zone maps: the smallest and largest value of each page, for every column.

Answers ``=``, ``in``, ranges and ``prefix`` with the pages that may hold such a value, and ``null``
and ``not null`` with the pages that have any; exact where all rows of these pages are so. Nothing
is stored beside the description of the column (`leaf/format/zonemap.py`), so asking costs no read;
it narrows as far as values are clustered by birth, as times are. The oldest of such indexes:
Moerkotte, Small Materialized Aggregates (VLDB 1998).
"""

from collections.abc import Sequence
from functools import cached_property, reduce
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from leaf.format.meta import ColumnMeta
from leaf.format.zonemap import may_hold, zone_of
from leaf.indexes.entries import Checked
from leaf.indexes.kind import Candidates, Scalar
from leaf.indexes.rowset import of_ranges

PATH: Final = "zone map"
KIND: Final = "zones"
_NULL: Final = "null"
_NOT_NULL: Final = "not null"
_COMPARISONS: Final = frozenset({"=", "in", "<", "<=", ">", ">=", "prefix"})
Pages = NDArray[np.bool_]


class ZoneMap:
    """The zones of one column. Implements ColumnIndex."""

    kind: Final = KIND
    path: Final = PATH

    def __init__(self, meta: ColumnMeta, rows: int) -> None:
        self._meta = meta
        self._rows = rows

    def find(self, operator: str, values: Sequence[Scalar]) -> Candidates | None:
        """See ColumnIndex."""
        if operator == _NULL:
            return self._chosen(self._nulls > 0, self._nulls == self._sizes)
        if operator == _NOT_NULL:
            return self._chosen(self._nulls < self._sizes, self._nulls == 0)
        if operator not in _COMPARISONS:
            return None
        operator = "=" if operator == "in" else operator
        pages = reduce(np.logical_or, [self._may_hold(operator, value) for value in values])
        return self._chosen(pages, np.zeros_like(pages))

    def check(self, column: pa.Array) -> Checked:
        """See ColumnIndex."""
        for page, zone in enumerate(self._meta.zones):
            real = zone_of(column.slice(page * self._meta.zone_rows, self._meta.zone_rows))
            known = [bound for bound in (real.low, real.high) if bound is not None]
            if (zone.rows, zone.nulls) != (real.rows, real.nulls):
                return Checked(page, f"the zone of page {page} counts other rows")
            if zone.low is not None and not (
                known and all(may_hold(zone, "=", bound) for bound in known)
            ):
                return Checked(page, f"the zone of page {page} is too narrow")
        return Checked(2 * len(self._meta.zones))

    @cached_property
    def _nulls(self) -> NDArray[np.int64]:
        return np.asarray([zone.nulls for zone in self._meta.zones], dtype=np.int64)

    @cached_property
    def _sizes(self) -> NDArray[np.int64]:
        return np.asarray([zone.rows for zone in self._meta.zones], dtype=np.int64)

    @cached_property
    def _integers(self) -> NDArray[np.int64] | None:
        """Lower and upper bounds, where all pages with values have some that are integers."""
        bounds = self._bounds(int)
        return None if bounds is None else bounds.astype(np.int64)

    @cached_property
    def _floats(self) -> NDArray[np.float64] | None:
        """Lower and upper bounds, where all pages with values have some that are floats."""
        bounds = self._bounds(float)
        return None if bounds is None else bounds.astype(np.float64)

    def _bounds(self, kind: type) -> NDArray[np.generic] | None:
        filled = [zone for zone in self._meta.zones if not zone.empty]
        pairs = [(zone.low, zone.high) for zone in filled]
        if not all(type(low) is kind and type(high) is kind for low, high in pairs):
            return None
        bounds: NDArray[np.generic] = np.zeros((2, len(self._meta.zones)), dtype=kind)
        bounds[:, self._nulls < self._sizes] = np.asarray(pairs, dtype=kind).reshape(-1, 2).T
        return bounds

    def _may_hold(self, operator: str, value: Scalar) -> Pages:
        """The pages that may hold such a value."""
        bounds = self._integers if type(value) is int else self._floats
        if bounds is None or isinstance(value, str):
            zones = self._meta.zones
            return np.asarray([may_hold(zone, operator, value) for zone in zones], dtype=bool)
        lows, highs = bounds
        there: Pages = self._nulls < self._sizes
        if operator not in {">", ">="}:
            there &= lows <= value
        if operator not in {"<", "<="}:
            there &= highs >= value
        return there

    def _chosen(self, pages: Pages, sure: Pages) -> Candidates:
        """The rows of some pages; exact if it is sure that all rows of these are meant."""
        begins = np.flatnonzero(pages) * self._meta.zone_rows
        found = of_ranges(begins, np.minimum(begins + self._meta.zone_rows, self._rows))
        return Candidates(PATH, found.count, bool(sure[pages].all()), 0, lambda: found)
