r"""Few documents of known shapes, each matched by a regular expression.

To compare a batch with a shape costs the same for one row as for some hundred (``shapes``), and
small batches are what a stream is made of while it keeps up. A pattern says the same as the shape
that it is made of: its literals, and holes that hold what a hole may hold.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from alder.fieldtypes import arrow_type, column_name, split_column_name
from tailer.decode.engine import Engine
from tailer.decode.parts import Part
from tailer.decode.shape import INTEGER, NUMBER, STRING, Shape, Span
from tailer.decode.values import type_cells

_IS_INTEGER: Final = re.compile(INTEGER.encode())
Cell = bytes | int | float | bool | str | list[bytes]


@dataclass(frozen=True, slots=True)
class Matcher:
    """A shape and its pattern, a group for each hole."""

    shape: Shape
    pattern: re.Pattern[bytes]

    @classmethod
    def of(cls, shape: Shape) -> "Matcher":
        """The matcher of a shape."""
        parts = [re.escape(shape.literals[0])]
        for number, (hole, literal) in enumerate(zip(shape.holes, shape.literals[1:], strict=True)):
            held = INTEGER if number in shape.integers_only else NUMBER
            held = STRING if hole.is_string else held
            parts += [f"({held})".encode(), re.escape(literal)]
        return cls(shape, re.compile(b"".join(parts)))


class FewRows:
    """Collects the cells of documents, row by row."""

    def __init__(self, documents: Sequence[bytes]) -> None:
        self._documents = documents
        self._rows: list[int] = []
        self._cells: dict[str, list[Cell | None]] = {}
        self._decimals: list[tuple[str, int, bytes]] = []

    def add(self, row: int, matcher: Matcher) -> bool:
        """True if a document has the shape; its cells are taken then."""
        match = matcher.pattern.fullmatch(self._documents[row])
        if match is None:
            return False
        shape, values = matcher.shape, match.groups()
        for name, hole in shape.strings:
            self._put(name, row, values[hole])
        for path, hole in shape.numbers:
            if _IS_INTEGER.fullmatch(values[hole]):
                self._put(column_name("int", path), row, int(values[hole]))
            else:
                self._decimals.append((path, row, values[hole]))
        for name, holes in shape.lists:
            self._put(name, row, [values[hole] for hole in holes])
        for name, span in shape.texts:
            self._put(name, row, _spanned(match, span))
        for name, value in shape.booleans:
            self._put(name, row, value)
        self._rows.append(row)
        return True

    def part(self, engine: Engine) -> Part:
        """The columns of the rows that were added, which are in ascending order."""
        if self._decimals:
            self._type_decimals(engine)
        rows = np.asarray(self._rows, dtype=np.int64)
        columns = {}
        for name, cells in self._cells.items():
            chosen = cells if len(rows) == len(cells) else [cells[row] for row in self._rows]
            columns[name] = pa.array(chosen, arrow_type(split_column_name(name)[0]))
        return Part(rows, columns)

    def _put(self, name: str, row: int, cell: Cell) -> None:
        cells = self._cells.get(name)
        if cells is None:
            cells = self._cells[name] = [None] * len(self._documents)
        cells[row] = cell

    def _type_decimals(self, engine: Engine) -> None:
        texts = pa.array([text for _, _, text in self._decimals], pa.string())
        for tag, typed in type_cells(texts, engine, null_marks=False).columns.items():
            for (path, row, _), value in zip(self._decimals, typed.to_pylist(), strict=True):
                if value is not None:
                    self._put(column_name(tag, path), row, value)


def _spanned(match: re.Match[bytes], span: Span) -> bytes:
    """The text of a span: literal ``n`` begins where group ``n`` ends."""
    (first, begin), (last, end) = span.begin, span.end
    return match.string[_end(match, first) + begin : _end(match, last) + end]


def _end(match: re.Match[bytes], group: int) -> int:
    return match.end(group) if group else 0
