"""One round of decoding: some thousand documents, from bytes to columns.

First the rows of known shapes; of the others, what the bytes alone tell (size, UTF-8, depth, number
of keys), then the vectorised path, then the strict path for the rows left over; the strict path
teaches the structure, so that the vectorised one can be tried again on the rest. Rows reach the
strict path in their own order, which makes the order in which fields are admitted a property of the
input.
"""

from bisect import bisect_left
from dataclasses import dataclass
from typing import Final

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from alder.fieldtypes import column_name
from tailer.decode.cells import LongCells
from tailer.decode.engine import Engine
from tailer.decode.extract import Extracted, extract, text_buffer
from tailer.decode.model import DecodeLimits, Mask, RowIndices
from tailer.decode.parts import NOTHING, Part, interleave
from tailer.decode.scan import Bytes, Positions, mark_nulls, scan, skip_space
from tailer.decode.shapes import MANY_ROWS_MIN, Shapes
from tailer.decode.strict import (
    EMPTY_REASON,
    Members,
    RefusedError,
    StrictParser,
    deep_reason,
    fields_reason,
    size_reason,
    text_of,
)
from tailer.decode.structure import Node, Plan, Structure
from tailer.decode.survey import survey
from tailer.decode.values import type_cells

# Rows that the strict path learns from before the vectorised one is tried again on the rest.
_LEARN_ROWS: Final = 128
_LEARN_TRIES: Final = 4
# Below this many cells, typing a column alone costs more than typing it with others.
_SPARSE_CELLS: Final = 1_024

UNCLOSED_REASON: Final = "not valid JSON: a string has no closing quote"


@dataclass(frozen=True, slots=True)
class RoundResult:
    """``part`` for the rows kept, ``reasons`` for the others; ``strict_count`` rows were parsed
    strictly."""

    part: Part
    reasons: dict[int, str]
    strict_count: int


@dataclass(frozen=True, slots=True)
class _Texts:
    """Documents that passed the first checks: their own text for the strict path, and marked text
    with its numbers of keys and quotes for the vectorised one, which is for rows in ``fast`` only.

    Rows in ``plain`` have no backslash; quotes are counted for them only.
    """

    original: pa.Array
    marked: pa.Array
    keys: npt.NDArray[np.int64]
    quotes: npt.NDArray[np.int64]
    fast: Mask
    plain: Mask

    def at(self, rows: RowIndices) -> pa.Array:
        """The marked texts of rows (ascending)."""
        return self.marked if len(rows) == len(self.keys) else self.marked.take(pa.array(rows))


class Round:
    """Decodes rounds for one decoder."""

    def __init__(self, limits: DecodeLimits, structure: Structure, fast_rows_min: int) -> None:
        self._limits = limits
        self._fast_rows_min = max(1, fast_rows_min)
        self._structure = structure
        self._parser = StrictParser(limits)
        self._engine = Engine()
        many_rows_min = min(self._fast_rows_min, MANY_ROWS_MIN)
        self._shapes = Shapes(structure, self._engine, many_rows_min)

    def decode(self, values: pa.Array) -> RoundResult:
        """Decode a binary column. Row indices in the result are those of ``values``."""
        reasons = _unreadable(values, self._limits)
        readable = _without(len(values), reasons)
        shaped = self._shaped(values, readable)
        others = np.setdiff1d(readable, shaped.rows, assume_unique=True)
        if not len(others):
            return RoundResult(shaped, reasons, 0)
        rest = values.take(others) if len(others) < len(values) else values
        texts, refused = self._prepare(rest)
        todo = _without(len(others), refused)
        parts: list[Part] = []
        strict_count = 0
        tries = 0
        while len(todo):
            done = self._fast(texts, todo[texts.fast[todo]])
            parts.extend(done)
            done_count = sum(len(part.rows) for part in done)
            for part in done:
                todo = np.setdiff1d(todo, part.rows, assume_unique=True)
            left = np.count_nonzero(texts.fast[todo]) - _LEARN_ROWS
            may_learn = tries < _LEARN_TRIES and left >= self._fast_rows_min
            now = todo[: _LEARN_ROWS if may_learn else len(todo)]
            parts.append(self._strict(texts, now, refused))
            self._structure.observe(len(now) + done_count)
            strict_count += len(now)
            todo = todo[len(now) :]
            tries += 1
        part = interleave(parts)
        self._shapes.learn(rest, part.rows)
        reasons.update((int(others[row]), reason) for row, reason in refused.items())
        part = interleave([shaped, Part(others[part.rows], part.columns)])
        return RoundResult(part, reasons, strict_count)

    def _shaped(self, values: pa.Array, readable: RowIndices) -> Part:
        """Columns for those of the readable rows that have a known shape."""
        whole = len(readable) == len(values)
        part = self._shapes.decode(values if whole else values.take(pa.array(readable)))
        return Part(readable[part.rows], part.columns)

    def _prepare(self, values: pa.Array) -> tuple[_Texts, dict[int, str]]:
        """Look at the bytes; returns the texts and the rows that are refused on sight."""
        data, offsets = text_buffer(values)
        first, stuck = skip_space(data, offsets[:-1])
        fast = ~(stuck | (data[first] != ord("{")))
        seen = survey(data, offsets, self._limits.depth_max)
        keys, quotes, nulls = seen.keys, seen.quotes, [seen.nulls]
        unclosed = (quotes & 1).astype(np.bool_)
        deep = np.zeros(len(values), dtype=np.bool_)
        odd = np.flatnonzero(~seen.plain)
        if len(odd):
            odd_data, odd_offsets = text_buffer(values.take(pa.array(odd)))
            found = scan(odd_data, odd_offsets, self._limits.depth_max)
            keys[odd], unclosed[odd], deep[odd] = found.keys, found.unclosed, found.deep
            fast[odd] &= ~found.strict
            row = np.searchsorted(odd_offsets, found.nulls, side="right") - 1
            nulls.append(found.nulls + (offsets[odd] - odd_offsets[:-1])[row])
        marked = _marked(data, offsets, np.concatenate(nulls))
        return _Texts(values, marked, keys, quotes, fast, seen.plain), {
            **_reasons(keys > self._limits.document_fields_max, fields_reason(self._limits)),
            **_reasons(unclosed, UNCLOSED_REASON),
            **_reasons(deep, deep_reason(self._limits)),
        }

    def _fast(self, texts: _Texts, rows: RowIndices) -> list[Part]:
        """Columns for those of the rows that the plan accounts for."""
        plan = self._structure.root.plan
        if plan is None or not plan.layers:
            return []
        plain = self._extracted(texts, rows[texts.plain[rows]], plan, plain=True)
        others = self._extracted(texts, rows[~texts.plain[rows]], plan, plain=False)
        return [plain, others]

    def _extracted(self, texts: _Texts, rows: RowIndices, plan: Plan, *, plain: bool) -> Part:
        if len(rows) < self._fast_rows_min:
            return NOTHING
        try:
            found = extract(texts.at(rows), plan, self._engine, plain=plain)
            whole = found.keys == texts.keys[rows]
            if plain:
                retyped = (found.quotes != texts.quotes[rows]) & (whole | found.doubtful)
                texts.plain[rows[retyped]] = False
                whole &= ~retyped
            if not whole.all():
                found = found.filter(whole)
            part, refused = self._typed(rows[whole], found)
        except duckdb.Error:
            # The strict path finds the row that DuckDB fails on.
            self._engine.reset()
            texts.fast[rows] = False
            return NOTHING
        return part if refused is None else part.filter(~refused)

    def _typed(self, rows: RowIndices, found: Extracted) -> tuple[Part, Mask | None]:
        columns = {
            column_name("string", node.path): values
            for node, values in found.strings
            if values.null_count < len(values)
        }
        sparse = LongCells()
        refused = np.zeros(len(rows), dtype=np.bool_)
        for node, column in found.cells:
            valid = len(column) - column.null_count
            if valid < max(_SPARSE_CELLS, len(column) // 8):
                places = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
                sparse.add(node, places, column.drop_null())
                continue
            typed = type_cells(column, self._engine, null_marks=True)
            for tag, values in typed.columns.items():
                columns[column_name(tag, node.path)] = values
            if "string" in typed.columns:
                strings = typed.columns["string"]
                node.strings += len(strings) - strings.null_count
            if typed.refused is not None:
                refused |= typed.refused
        rare, rare_refused = sparse.columns(len(rows), self._engine, null_marks=True)
        columns.update(rare)
        if rare_refused is not None:
            refused |= rare_refused
        return Part(rows, columns), refused if refused.any() else None

    def _strict(self, texts: _Texts, rows: RowIndices, refused: dict[int, str]) -> Part:
        """Columns for those of the rows that are valid; the others go to ``refused``."""
        found = _Cells({})
        good: list[int] = []
        documents = texts.original.take(rows).cast(_text_type(texts.original)).to_pylist()
        for row, document in zip(rows.tolist(), documents, strict=True):
            try:
                members = self._parser.parse(document)
            except RefusedError as error:
                refused[row] = str(error)
                continue
            self._walk(self._structure.root, members, len(good), found)
            good.append(row)
        return self._columns_of(np.asarray(good, dtype=np.int64), found, refused)

    def _walk(self, parent: Node, members: Members, place: int, found: "_Cells") -> None:
        for key, value in members:
            node = self._structure.child(parent, key)
            if node is None:
                continue
            if isinstance(value, Members) and value:
                self._walk(node, value, place, found)
            elif self._structure.admit(node):
                node.atoms += 1
                if value is not None:
                    found.add(place, node, text_of(value))

    def _columns_of(self, rows: RowIndices, found: "_Cells", refused: dict[int, str]) -> Part:
        """Type the cells of all paths at once; halve the rows where DuckDB fails."""
        try:
            return Part(rows, found.columns(len(rows), self._engine))
        except duckdb.Error as error:
            self._engine.reset()
            if len(rows) == 1:
                refused[int(rows[0])] = f"DuckDB cannot read it: {str(error).splitlines()[0]}"
                return NOTHING
        half = len(rows) // 2
        first, second = found.split(half)
        return interleave(
            [
                self._columns_of(rows[:half], first, refused),
                self._columns_of(rows[half:], second, refused),
            ]
        )


@dataclass(frozen=True, slots=True)
class _Cells:
    """Cells of strictly parsed rows: by node, indices of rows (ascending) and texts."""

    by_node: dict[Node, tuple[list[int], list[str]]]

    def add(self, place: int, node: Node, text: str) -> None:
        places, texts = self.by_node.setdefault(node, ([], []))
        places.append(place)
        texts.append(text)

    def split(self, place: int) -> tuple["_Cells", "_Cells"]:
        """The cells of the rows before ``place``, and of those from it on, counted from zero."""
        before, after = _Cells({}), _Cells({})
        for node, (places, texts) in self.by_node.items():
            at = bisect_left(places, place)
            before.by_node[node] = (places[:at], texts[:at])
            after.by_node[node] = ([later - place for later in places[at:]], texts[at:])
        return before, after

    def columns(self, row_count: int, engine: Engine) -> dict[str, pa.Array]:
        """Columns by physical name. Raises duckdb.Error."""
        cells = LongCells()
        for node, (places, texts) in self.by_node.items():
            if places:
                cells.add(node, np.asarray(places, np.int64), pa.array(texts, pa.string()))
        return cells.columns(row_count, engine, null_marks=False)[0]


def _marked(data: Bytes, offsets: Positions, nulls: Positions) -> pa.Array:
    """The documents as a string column, with marks for nulls."""
    marked = mark_nulls(data, nulls)
    buffers = [None, pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(marked)]
    return pa.StringArray.from_buffers(len(offsets) - 1, buffers[1], buffers[2])


def _unreadable(values: pa.Array, limits: DecodeLimits) -> dict[int, str]:
    """Reasons for rows that are missing, too long or not UTF-8."""
    sizes = pc.binary_length(values).fill_null(0).to_numpy(zero_copy_only=False)
    reasons = {int(row): EMPTY_REASON for row in np.flatnonzero(sizes == 0)}
    for row in np.flatnonzero(sizes > limits.document_size_bytes_max):
        reasons[int(row)] = size_reason(int(sizes[row]), limits)
    rest = _without(len(values), reasons)
    readable = values.take(rest) if reasons else values
    try:
        readable.cast(_text_type(values))
    except pa.ArrowInvalid:
        for row, value in zip(rest.tolist(), readable, strict=True):
            try:
                value.as_py().decode()
            except UnicodeDecodeError as error:
                reasons[row] = f"invalid UTF-8 at byte {error.start}"
    return reasons


def _text_type(values: pa.Array) -> pa.DataType:
    return pa.large_string() if pa.types.is_large_binary(values.type) else pa.string()


def _without(row_count: int, rows: dict[int, str]) -> RowIndices:
    stay = np.ones(row_count, dtype=np.bool_)
    stay[list(rows)] = False
    return np.flatnonzero(stay)


def _reasons(mask: Mask, reason: str) -> dict[int, str]:
    return {int(row): reason for row in np.flatnonzero(mask)}
