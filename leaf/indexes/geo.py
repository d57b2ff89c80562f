"""Geo: for lists of two coordinates, ``[longitude, latitude]``, the rows of each cell of a grid.

Answers ``within``, about boxes, never exactly: a cell at an edge is asked for whole. A cell is
named by the bits of its column and its line, interleaved (the Z-order of Morton, "A Computer
Oriented Geodetic Data Base", 1966), so that every square of a quadtree is one range of names. A box
becomes a few such ranges: squares are divided while they are partly outside, the largest first.
Stored as pairs of cell and row in the order of cells, as sorted values are
(`leaf/indexes/ordered.py`). What is no list of two coordinates in range is in no box and has no
cell.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from alder.points import LATITUDE_MAX, LATITUDE_PLACE, LONGITUDE_MAX, LONGITUDE_PLACE, OPERATOR, Box
from leaf.format.buffers import list_offsets
from leaf.format.meta import Index
from leaf.indexes.entries import CONTRADICTING, Checked, Entries, compared
from leaf.indexes.kind import Built, Candidates, Column, ColumnBlocks, ColumnIndex, Part, Scalar
from leaf.indexes.ordered import PAGES, SortedPairs, blocks_needed, built
from leaf.indexes.rowset import RowSet, no_rows, of_numbers

PATH: Final = "geo cells"
CELL_BITS: Final = 20
"""Of a column or a line: cells are 38 m wide at the equator, and 19 m high."""
RANGES_MAX: Final = 64
"""Ranges of cells that a box becomes; more would be tighter around it."""
_SPREADS: Final = (
    (16, 0x0000FFFF0000FFFF),
    (8, 0x00FF00FF00FF00FF),
    (4, 0x0F0F0F0F0F0F0F0F),
    (2, 0x3333333333333333),
    (1, 0x5555555555555555),
)
Degrees = NDArray[np.float64]
Cells = NDArray[np.int64]
Square = tuple[int, int, int]
"""Its smallest column and line, and the bits of those of it that are free."""


class Geo:
    """Implements PartwiseKind."""

    index: Final = Index.GEO
    tags: Final = frozenset({"list<float>", "list<int>"})

    def build(self, column: Column, options: Mapping[str, str]) -> Built | None:
        """None for values that are no lists of numbers."""
        if column.tag not in self.tags:
            return None
        return self.joined(column.number, [self.part(column.values, 0)])

    def part(self, values: pa.Array, first_row: int) -> Part:
        """The cells of the points, and their rows."""
        cells, rows = _points(values)
        return cells, rows + np.uint32(first_row)

    def joined(self, number: int, parts: Sequence[Part]) -> Built:
        """See PartwiseKind."""
        cells = np.concatenate([part[0] for part in parts]).astype(np.int64)
        rows = np.concatenate([part[1] for part in parts]).astype(np.uint32)
        order = np.argsort(cells, kind="stable")
        return built(number, self.index, cells[order], rows[order])

    def needed(self, number: int, details: Mapping[str, int]) -> set[bytes]:
        """See IndexKind."""
        return blocks_needed(number, details)

    def open(self, blocks: ColumnBlocks, details: Mapping[str, int]) -> ColumnIndex:
        """See IndexKind."""
        return GeoIndex(blocks, details[PAGES])


class GeoIndex:
    """The cells of one column. Implements ColumnIndex."""

    kind: Final = Index.GEO.value
    path: Final = PATH

    def __init__(self, blocks: ColumnBlocks, pages: int) -> None:
        self._pairs = SortedPairs(blocks, pages)

    def find(self, operator: str, values: Sequence[Scalar]) -> Candidates | None:
        """See ColumnIndex. The values are south, west, north and east of a box."""
        if operator != OPERATOR or len(values) != len(Box.__slots__):
            return None
        ranges = cells_of_box(Box(*map(float, values)))
        places = [self._pairs.between(low, high) for low, high in ranges]
        count = sum(end - begin for begin, end in places)
        return Candidates(PATH, count, not count, count, lambda: self._rows(places))

    def check(self, column: pa.Array) -> Checked:
        """See ColumnIndex."""
        pairs = self._pairs.all()
        if pairs is None:
            return CONTRADICTING
        cells, rows = _points(column)
        return compared(Entries(pa.array(pairs[0]), pairs[1]), Entries(pa.array(cells), rows))

    def _rows(self, places: Sequence[tuple[int, int]]) -> RowSet:
        found = [self._pairs.rows(begin, end) for begin, end in places if begin < end]
        return of_numbers(np.sort(np.concatenate(found))) if found else no_rows()


def _points(values: pa.Array) -> tuple[Cells, NDArray[np.uint32]]:
    """The cells of the lists that are points, and their rows."""
    offsets = list_offsets(values)
    lengths = np.diff(offsets) * np.asarray(values.is_valid())
    rows = np.flatnonzero(lengths >= LATITUDE_PLACE)
    elements = values.values.cast(pa.float64(), safe=False)

    def at(place: int) -> Degrees:
        found = elements.take(pa.array(offsets[rows] + place - 1))
        return np.asarray(found.fill_null(np.nan))

    lons, lats = at(LONGITUDE_PLACE), at(LATITUDE_PLACE)
    there = (np.abs(lons) <= LONGITUDE_MAX) & (np.abs(lats) <= LATITUDE_MAX)
    lines = _placed(lats[there], LATITUDE_MAX)
    return cells_of(_placed(lons[there], LONGITUDE_MAX), lines), rows[there].astype(np.uint32)


def _placed(degrees: Degrees, most: float) -> Cells:
    """The columns or lines of the grid, which ascend with the degrees."""
    share = (degrees + most) / (2 * most)
    return np.minimum((share * (1 << CELL_BITS)).astype(np.int64), (1 << CELL_BITS) - 1)


def cells_of(columns: Cells, lines: Cells) -> Cells:
    """The names of cells: bits of lines and columns by turns."""
    spread = []
    for numbers in (columns, lines):
        for shift, mask in _SPREADS:
            numbers = (numbers | numbers << shift) & mask
        spread.append(numbers)
    return spread[0] | spread[1] << 1


@lru_cache(maxsize=256)
def cells_of_box(box: Box) -> tuple[tuple[int, int], ...]:
    """Ranges of cells, ascending and apart, that hold every point of a box; few of them."""
    halves = [_bounds(half) for half in box.halves]
    whole: list[Square] = []
    partly: list[Square] = [(0, 0, CELL_BITS)]
    while partly and len(whole) + len(partly) < RANGES_MAX:
        column, line, bits = partly.pop(0)
        half = 1 << bits >> 1
        quarters = (
            [
                (column + right * half, line + up * half, bits - 1)
                for up in (0, 1)
                for right in (0, 1)
            ]
            if bits
            else []
        )
        for square in quarters:
            if any(_holds(bound, square) for bound in halves):
                whole.append(square)
            elif any(_touches(bound, square) for bound in halves):
                partly.append(square)
    return _joined([_range(square) for square in whole + partly])


def _bounds(box: Box) -> tuple[int, int, int, int]:
    """The first and last column and the first and last line of a box."""
    west, east = _placed(np.asarray([box.west, box.east]), LONGITUDE_MAX).tolist()
    south, north = _placed(np.asarray([box.south, box.north]), LATITUDE_MAX).tolist()
    return west, east, south, north


def _holds(bound: tuple[int, int, int, int], square: Square) -> bool:
    west, east, south, north = bound
    column, line, bits = square
    last = (1 << bits) - 1
    return west <= column and column + last <= east and south <= line and line + last <= north


def _touches(bound: tuple[int, int, int, int], square: Square) -> bool:
    west, east, south, north = bound
    column, line, bits = square
    last = (1 << bits) - 1
    return column <= east and west <= column + last and line <= north and south <= line + last


def _range(square: Square) -> tuple[int, int]:
    column, line, bits = square
    first = int(cells_of(np.asarray([column]), np.asarray([line]))[0])
    return first, first + (1 << 2 * bits) - 1


def _joined(ranges: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    found: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if found and found[-1][1] + 1 == low:
            found[-1] = found[-1][0], high
        else:
            found.append((low, high))
    return tuple(found)
