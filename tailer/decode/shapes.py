"""Documents of known shapes, decoded without a parser.

Between its values a document of a shape has the same bytes as all others of it (``shape``), so the
columns of a whole batch are cut out of it at once: where quotes are, comparisons of literals, and
one pass per column; few documents are matched one by one (``fewrows``). Every byte of such a
document is compared or belongs to a value that is checked, so what fits is decoded exactly as a
parser would, and all else is left for one. The end of a line, which documents have that were lines
of a file, counts for nothing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from alder.fieldtypes import arrow_type, column_name
from tailer.decode.engine import Engine
from tailer.decode.extract import text_buffer
from tailer.decode.fewrows import FewRows, Matcher
from tailer.decode.model import Mask, RowIndices
from tailer.decode.parts import NOTHING, Part
from tailer.decode.scan import PADDING, Bytes, Positions
from tailer.decode.shape import INTEGER, NUMBER, Shape, shape_of
from tailer.decode.structure import Structure
from tailer.decode.values import scatter, type_cells

SHAPES_MAX: Final = 32
MANY_ROWS_MIN: Final = 160
"""Fewer documents are matched one by one in less time than it takes to compare them as a batch."""
_SAMPLE_ROWS: Final = 16
_SAMPLE_FEW_ROWS: Final = 2
_REMEMBERED: Final = 0.999
"""What a hit counts for one row later, where rows are few."""
_FIT_ROWS_MIN: Final = 32
"""Fewer rows are parsed in less time than it takes to compare them with a shape."""
_BLOCK_BYTES: Final = 1 << 16
_WINDOW_BYTES: Final = 32
"""Literals are compared by so many bytes at once."""
_NUMBER_BYTES_MAX: Final = 37
_QUOTE, _BACKSLASH, _SPACE, _DELETE = 34, 92, 32, 127
_LINE_END: Final = b"\r\n"


@dataclass(slots=True)
class _Known:
    """A shape, how much it was met lately, and its matcher once few rows were compared with it."""

    shape: Shape
    hits: float
    matcher: Matcher | None = None

    def takes(self, rows: FewRows, row: int) -> bool:
        """True if the row has the shape."""
        self.matcher = self.matcher or Matcher.of(self.shape)
        return rows.add(row, self.matcher)


class Shapes:
    """The shapes that one decoder knows, and what it does with them."""

    def __init__(self, structure: Structure, engine: Engine, rows_min: int) -> None:
        """Fewer than ``rows_min`` rows are few."""
        self._structure = structure
        self._engine = engine
        self._rows_min = rows_min
        self._known: dict[Shape, _Known] = {}

    def learn(self, documents: pa.Array, rows: RowIndices) -> None:
        """Learns from rows of a binary column that were decoded in another way."""
        few = len(documents) < self._rows_min
        step = max(1, len(rows) // (_SAMPLE_FEW_ROWS if few else _SAMPLE_ROWS))
        for document in documents.take(pa.array(rows[::step])).to_pylist():
            shape = shape_of(document.rstrip(_LINE_END), self._structure.root)
            if shape in self._known:
                self._known[shape].hits += 1
            elif shape is not None:
                if len(self._known) == SHAPES_MAX:
                    del self._known[min(self._known, key=lambda one: self._known[one].hits)]
                self._known[shape] = _Known(shape, 1 if few else step)

    def decode(self, documents: pa.Array) -> Part:
        """Columns for the rows of a binary column, all UTF-8, that have a known shape."""
        if not self._known or not len(documents):
            return NOTHING
        if len(documents) < self._rows_min:
            return self._few(documents.to_pylist())
        return self._many(*text_buffer(documents))

    def _few(self, documents: Sequence[bytes]) -> Part:
        """Shapes that were met once are no use yet: a pattern takes time to make."""
        rows = FewRows([document.rstrip(_LINE_END) for document in documents])
        known = sorted(self._known.values(), key=lambda one: one.hits, reverse=True)
        known = [one for one in known if one.hits > 1]
        for row in range(len(documents)):
            taken = next((one for one in known if one.takes(rows, row)), None)
            if taken is not None:
                taken.hits += 1
        for one in self._known.values():
            one.hits *= _REMEMBERED ** len(documents)
        return rows.part(self._engine)

    def _many(self, data: Bytes, offsets: Positions) -> Part:
        """The rows are ``data[offsets[i]:offsets[i + 1]]``."""
        texts = _Texts(data, offsets)
        fits: list[_Fit] = []
        for known in sorted(self._known.values(), key=lambda one: one.hits, reverse=True):
            rows = np.flatnonzero(texts.quote_counts == known.shape.quotes)
            count = 0
            if len(rows) >= min(self._rows_min, _FIT_ROWS_MIN):
                fit = _fit(known.shape, texts, rows)
                count = len(fit.rows)
                texts.quote_counts[fit.rows] = -1
                fits.append(fit)
            known.hits = known.hits / 2 + count
        # Those that fit nothing any more would be compared with every batch for ever.
        self._known = {shape: known for shape, known in self._known.items() if known.hits >= 1}
        fits = [fit for fit in fits if len(fit.rows)]
        return _Columns(texts, fits, self._engine).part() if fits else NOTHING


class _Texts:
    """A batch and where its quotes are. ``quote_counts`` is -1 for rows that are of no use.

    ``ends`` are the ends of rows, but for the end of a line.
    """

    def __init__(self, data: Bytes, offsets: Positions) -> None:
        self.data = data
        self.offsets = offsets
        self.ends = offsets[1:].copy()
        for byte in reversed(_LINE_END):
            self.ends -= (data[self.ends - 1] == byte) & (self.ends > offsets[:-1])
        size = len(data) - PADDING
        found: list[Positions] = []
        odd: list[Positions] = []
        for begin in range(0, size, _BLOCK_BYTES):
            block = data[begin : min(begin + _BLOCK_BYTES, size)]
            found.append(np.flatnonzero(block == _QUOTE) + begin)
            strange = (block == _BACKSLASH) | (block < _SPACE) | (block == _DELETE)
            if strange.any():
                odd.append(np.flatnonzero(strange) + begin)
        self.quotes = np.concatenate(found)
        self.first_quotes = np.searchsorted(self.quotes, offsets)
        self.quote_counts = np.diff(self.first_quotes)
        if odd:
            places = np.concatenate(odd)
            rows = np.searchsorted(offsets, places, side="right") - 1
            self.quote_counts[rows[places < self.ends[rows]]] = -1
        # Any 32 bytes of the batch, wherever they begin.
        windows = len(data) - _WINDOW_BYTES + 1
        self._windows = np.ndarray((windows,), f"V{_WINDOW_BYTES}", data, strides=(1,))

    def equal(self, begins: Positions, literal: bytes) -> Mask:
        """Where the texts from ``begins`` on are equal to a literal; that long they all are."""
        differs = np.zeros(len(begins), dtype=np.uint64)
        for place in range(0, len(literal), _WINDOW_BYTES):
            piece = literal[place : place + _WINDOW_BYTES]
            window = self._windows[begins + place].view("<u8").reshape(len(begins), -1)
            words = np.frombuffer(piece.ljust(_WINDOW_BYTES, b"\0"), "<u8")
            masks = np.frombuffer((b"\xff" * len(piece)).ljust(_WINDOW_BYTES, b"\0"), "<u8")
            for number in range((len(piece) + 7) // 8):
                differs |= (window[:, number] ^ words[number]) & masks[number]
        equal: Mask = differs == 0
        return equal

    def cut(self, begins: Positions, ends: Positions, absent: Mask | None = None) -> pa.Array:
        """The texts (string) between ascending positions, null where they are ``absent``."""
        bounds = np.empty(2 * len(begins) + 1, dtype=np.int32)
        bounds[0:-1:2], bounds[1::2] = begins, ends
        bounds[-1] = bounds[-2] if len(begins) else 0
        pieces = pa.StringArray.from_buffers(
            2 * len(begins), pa.py_buffer(bounds), pa.py_buffer(self.data)
        )
        return pieces.take(pa.array(np.arange(0, 2 * len(begins), 2), mask=absent))


@dataclass(frozen=True, slots=True)
class _Fit:
    """Rows (ascending) that have a shape, with the places of all holes and ends of literals.

    ``begins`` and ``ends`` have an array per hole, ``literals`` where each literal begins.
    ``numbers`` are the values of the holes of columns of numbers, integers or what they are typed
    from.
    """

    shape: Shape
    rows: RowIndices
    begins: Sequence[Positions]
    ends: Sequence[Positions]
    numbers: dict[int, pa.Array] = field(default_factory=dict)

    def filter(self, mask: Mask) -> "_Fit":
        """The rows where the mask is set, which most are."""
        if mask.all():
            return self
        stay = pa.array(mask)
        numbers = {hole: values.filter(stay) for hole, values in self.numbers.items()}
        begins = [places[mask] for places in self.begins]
        ends = [places[mask] for places in self.ends]
        return _Fit(self.shape, self.rows[mask], begins, ends, numbers)

    def literal(self, number: int, offsets: Positions) -> Positions:
        """Where a literal begins."""
        return self.ends[number - 1] if number else offsets[self.rows]

    def place(self, place: tuple[int, int], offsets: Positions) -> Positions:
        """A place in a literal."""
        return self.literal(place[0], offsets) + place[1]


def _fit(shape: Shape, texts: _Texts, rows: RowIndices) -> _Fit:
    """Those of the rows, which have as many quotes, that have the shape."""
    first_quotes, row_ends = texts.first_quotes[rows], texts.ends[rows]
    begins: list[Positions] = []
    ends: list[Positions] = []
    at = texts.offsets[rows]
    fits = np.ones(len(rows), dtype=np.bool_)
    for literal, place in zip(shape.literals, shape.holes, strict=False):
        begin = at + len(literal)
        if place.is_string:
            quotes = first_quotes + place.quote
            fits &= texts.quotes[quotes] == begin - 1
            end = texts.quotes[quotes + 1]
        else:
            marks = texts.quotes[first_quotes + place.quote] if place.quote >= 0 else row_ends
            end = marks - place.ahead
            fits &= (end > begin) & (end - begin <= _NUMBER_BYTES_MAX)
        begins.append(begin)
        ends.append(end)
        at = end
    fits &= at + len(shape.literals[-1]) == row_ends
    fit = _Fit(shape, rows, begins, ends).filter(fits)
    if len(fit.rows):
        fit = fit.filter(_equal_literals(fit, texts))
    for _, hole in shape.numbers:
        fit = _with_numbers(fit, hole, texts)
    for hole in shape.integers_only:
        fit = _with_integers(fit, hole, texts)
    return fit


def _equal_literals(fit: _Fit, texts: _Texts) -> Mask:
    equal = np.ones(len(fit.rows), dtype=np.bool_)
    for number, literal in enumerate(fit.shape.literals):
        equal &= texts.equal(fit.literal(number, texts.offsets), literal)
    return equal


def _with_numbers(fit: _Fit, hole: int, texts: _Texts) -> _Fit:
    """The rows with a number in a hole, and these numbers."""
    cells = texts.cut(fit.begins[hole], fit.ends[hole])
    integers = _integers(cells)
    if integers is not None:
        fit.numbers[hole] = integers
        return fit
    fit.numbers[hole] = cells
    return fit.filter(_matches(cells, NUMBER))


def _with_integers(fit: _Fit, hole: int, texts: _Texts) -> _Fit:
    """The rows with an integer in a hole."""
    cells = texts.cut(fit.begins[hole], fit.ends[hole])
    return fit if _integers(cells) is not None else fit.filter(_matches(cells, INTEGER))


def _integers(cells: pa.Array) -> pa.Array | None:
    """The integers that all of these texts are, in the one spelling that each has."""
    try:
        integers = cells.cast(pa.int64())
    except pa.ArrowInvalid:
        return None
    return integers if integers.cast(pa.string()).equals(cells) else None


def _matches(cells: pa.Array, pattern: str) -> Mask:
    whole = pc.match_substring_regex(cells, rf"\A{pattern}\z")
    found: Mask = whole.to_numpy(zero_copy_only=False)
    return found


class _Columns:
    """Puts the columns of a batch together from the fits of several shapes."""

    def __init__(self, texts: _Texts, fits: Sequence[_Fit], engine: Engine) -> None:
        self._texts = texts
        self._engine = engine
        self._rows = np.sort(np.concatenate([fit.rows for fit in fits]))
        self._fits = [(fit, np.searchsorted(self._rows, fit.rows)) for fit in fits]
        self._pieces: dict[str, list[tuple[RowIndices, pa.Array]]] = {}

    def part(self) -> Part:
        """All columns that hold a value."""
        columns = {name: self._string(name) for name in self._string_names()}
        for fit, places in self._fits:
            for path, hole in fit.shape.numbers:
                self._add_numbers(path, places, fit.numbers[hole])
            for name, holes in fit.shape.lists:
                self._add(name, places, self._list(fit, holes))
            for name, span in fit.shape.texts:
                begin, end = (fit.place(at, self._texts.offsets) for at in (span.begin, span.end))
                self._add(name, places, self._texts.cut(begin, end))
            for name, value in fit.shape.booleans:
                self._add(name, places, pa.array(np.full(len(places), value)))
        for name, pieces in self._pieces.items():
            columns[name] = self._joined(pieces)
        return Part(self._rows, columns)

    def _string_names(self) -> Iterable[str]:
        return dict.fromkeys(name for fit, _ in self._fits for name, _ in fit.shape.strings)

    def _string(self, name: str) -> pa.Array:
        begins = self._texts.offsets[self._rows]
        ends = begins.copy()
        absent = np.ones(len(begins), dtype=np.bool_)
        for fit, places in self._fits:
            for column, hole in fit.shape.strings:
                if column == name:
                    begins[places], ends[places] = fit.begins[hole], fit.ends[hole]
                    absent[places] = False
        return self._texts.cut(begins, ends, absent)

    def _list(self, fit: _Fit, holes: Sequence[int]) -> pa.Array:
        begins = np.stack([fit.begins[hole] for hole in holes], axis=1).reshape(-1)
        ends = np.stack([fit.ends[hole] for hole in holes], axis=1).reshape(-1)
        bounds = np.arange(0, len(begins) + 1, len(holes), dtype=np.int32)
        elements = self._texts.cut(begins, ends)
        return pa.ListArray.from_arrays(pa.array(bounds), elements, arrow_type("list<string>"))

    def _add_numbers(self, path: str, places: RowIndices, values: pa.Array) -> None:
        if pa.types.is_integer(values.type):
            self._add(column_name("int", path), places, values)
            return
        for tag, column in type_cells(values, self._engine, null_marks=False).columns.items():
            stay = column.is_valid()
            some = places[stay.to_numpy(zero_copy_only=False)]
            self._add(column_name(tag, path), some, column.filter(stay))

    def _add(self, name: str, places: RowIndices, values: pa.Array) -> None:
        self._pieces.setdefault(name, []).append((places, values))

    def _joined(self, pieces: Sequence[tuple[RowIndices, pa.Array]]) -> pa.Array:
        places = np.concatenate([some for some, _ in pieces])
        values = pa.concat_arrays([values for _, values in pieces])
        return scatter(values, places, len(self._rows))
