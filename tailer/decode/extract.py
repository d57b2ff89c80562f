"""The vectorised path: all hot paths of a batch of documents in one DuckDB statement.

``from_json`` with a leaf of type JSON returns the value's own text, so nothing is coerced. It
drops what it wasn't asked for without a word; therefore every key found is counted, and a row
stands only if its count equals the number of keys in its text. A count can't be too high (each
thing counted is one key of the document), so equality means that nothing was dropped, hidden by a
duplicate or read as something else.

At a path that has held strings only, a leaf of type VARCHAR saves the quoting and its undoing, but
makes strings of other values too. So in documents without a backslash quotes are counted as well:
two for each key and each such string, and those in the texts of other leaves. With all keys
accounted for, the count differs from the document's only by being two too high for each scalar that
was no string; lists and objects, whose text has quotes of its own, are told by their first byte.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tailer.decode.engine import Engine, sql_text
from tailer.decode.model import Mask
from tailer.decode.scan import NULL_MARK, PADDING, Bytes, count_keys
from tailer.decode.structure import Node, Plan, Slot
from tailer.decode.survey import count_byte
from tailer.decode.values import scatter

# Above every number of quotes: a row that holds it equals no document's.
_NEVER: Final = 1 << 40


@dataclass(frozen=True, slots=True)
class Extracted:
    """``cells``: for each node a string column of JSON text; ``strings``: of values, where the
    plan was read for plain documents. ``keys``: per row, the keys accounted for, or -1 where the
    row is not valid JSON. ``quotes``: per row, the quotes accounted for; of plain documents only.
    """

    cells: list[tuple[Node, pa.Array]]
    strings: list[tuple[Node, pa.Array]]
    keys: npt.NDArray[np.int64]
    quotes: npt.NDArray[np.int64]

    @property
    def doubtful(self) -> Mask:
        """Rows in which a list or an object, with keys of its own, may have been read as text."""
        return self.quotes >= _NEVER

    def filter(self, mask: Mask) -> "Extracted":
        """The rows where the mask is set."""
        stay = pa.array(mask)
        cells = [(node, column.filter(stay)) for node, column in self.cells]
        strings = [(node, column.filter(stay)) for node, column in self.strings]
        return Extracted(cells, strings, self.keys[mask], self.quotes[mask])


def extract(documents: pa.Array, plan: Plan, engine: Engine, *, plain: bool) -> Extracted:
    """Extract a plan from a string column of documents, which have no backslash if ``plain``.

    Raises duckdb.Error.
    """
    batch = _Batch(engine, len(documents), plain)
    structures = [sql_text(_structure(layer, plain)) for layer in plan.layers]
    try:
        structs = engine.project([f"from_json(v, {text})" for text in structures], documents)
    except duckdb.InvalidInputException:
        # Some row is not valid JSON. Finding out which takes another look at each.
        checked = [f"from_json(TRY_CAST(v AS JSON), {text})" for text in structures]
        structs = engine.project(checked, documents)
    batch.add_layers(plan.layers, structs)
    for struct in structs:
        if struct.null_count:
            batch.keys[struct.is_null().to_numpy(zero_copy_only=False)] = -1
    return Extracted(batch.cells, batch.strings, batch.keys, batch.quotes + 2 * batch.own_keys)


class _Batch:
    """Gathers cells and counts keys and quotes for one set of objects.

    ``own_keys`` are those that the plan names; ``quotes`` leaves theirs out.
    """

    def __init__(self, engine: Engine, row_count: int, plain: bool) -> None:
        self.cells: list[tuple[Node, pa.Array]] = []
        self.strings: list[tuple[Node, pa.Array]] = []
        self.keys = np.zeros(row_count, dtype=np.int64)
        self.own_keys = np.zeros(row_count, dtype=np.int64)
        self.quotes = np.zeros(row_count, dtype=np.int64)
        self._engine = engine
        self._plain = plain
        self._objects: dict[Node, Mask] = {}

    def add_layers(self, layers: list[dict[str, Slot]], structs: list[pa.Array]) -> None:
        for layer, struct in zip(layers, structs, strict=True):
            self._add_struct(layer, struct)
        for present in self._objects.values():
            self.own_keys += present
        self.keys += self.own_keys

    def _add_struct(self, level: dict[str, Slot], struct: pa.Array) -> Mask:
        """Add an object's members; returns the rows in which it has any."""
        any_present = np.zeros(len(self.keys), dtype=np.bool_)
        for slot, column in zip(level.values(), struct.flatten(), strict=True):
            if slot.inner:
                present = self._add_struct(slot.inner, column)
                # DuckDB answers an object without members for a string or a list as well, so only
                # members prove one. The same object may have members in several layers.
                known = self._objects.get(slot.node)
                self._objects[slot.node] = present if known is None else known | present
            else:
                present = self._add_leaf(slot.node, column)
            any_present |= present
        return any_present

    def _add_leaf(self, node: Node, values: pa.Array) -> Mask:
        if values.null_count == len(values):
            return np.zeros(len(values), dtype=np.bool_)
        present: Mask = values.is_valid().to_numpy(zero_copy_only=False)
        self.own_keys += present
        node.atoms += len(values) - values.null_count
        data = np.frombuffer(values.buffers()[2], dtype=np.uint8)
        if self._plain and node.textual:
            self._add_strings(node, values, data, present)
        else:
            self._add_cells(node, values, data)
        return present

    def _add_strings(self, node: Node, values: pa.Array, data: Bytes, present: Mask) -> None:
        self.quotes += 2 * present.astype(np.int64)
        if bool(((data | 32) == ord("{")).any()):
            doubtful = pc.or_(pc.starts_with(values, "["), pc.starts_with(values, "{"))
            self.quotes[doubtful.fill_null(False).to_numpy(zero_copy_only=False)] += _NEVER
        if bool((data == NULL_MARK[1]).any()):
            marked = pc.equal(values, NULL_MARK[1:-1].decode())
            values = pc.if_else(marked, pa.scalar(None, values.type), values)
        node.strings += len(values) - values.null_count
        self.strings.append((node, values))

    def _add_cells(self, node: Node, cells: pa.Array, data: Bytes) -> None:
        self.cells.append((node, cells))
        if self._plain:
            self.quotes += count_byte(cells, ord('"'))
        if bool((data == ord("{")).any()):
            self._count_in_lists(cells)
            if node.plan is not None:
                node.atoms -= self._add_objects(node.plan, cells)

    def _count_in_lists(self, cells: pa.Array) -> None:
        lists = pc.and_(pc.starts_with(cells, "["), pc.match_substring(cells, "{"))
        rows = np.flatnonzero(lists.fill_null(False).to_numpy(zero_copy_only=False))
        if len(rows):
            data, offsets = text_buffer(cells.take(pa.array(rows)))
            self.keys[rows] += count_keys(data, offsets)

    def _add_objects(self, plan: Plan, cells: pa.Array) -> int:
        """Extract again from the cells that are objects, at a path that holds other values too;
        returns how many there are.
        """
        objects = pc.starts_with(cells, "{").fill_null(False)
        rows = np.flatnonzero(objects.to_numpy(zero_copy_only=False))
        if not len(rows):
            return 0
        texts = cells.take(pa.array(rows))
        inner = extract(texts, plan, self._engine, plain=self._plain)
        self.keys[rows] += inner.keys
        if self._plain:
            self.quotes[rows] += inner.quotes - count_byte(texts, ord('"'))
        for mine, its in ((self.cells, inner.cells), (self.strings, inner.strings)):
            mine.extend((node, scatter(column, rows, len(cells))) for node, column in its)
        return len(rows)


def text_buffer(texts: pa.Array) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """The bytes of a string or binary column without nulls, padded for the scanner, and the offsets
    (int64, one more than rows) of its rows in them.
    """
    buffers = texts.buffers()
    wide = pa.types.is_large_string(texts.type) or pa.types.is_large_binary(texts.type)
    if not len(texts):
        return np.zeros(PADDING, dtype=np.uint8), np.zeros(1, dtype=np.int64)
    offsets = np.frombuffer(buffers[1], dtype=np.int64 if wide else np.int32)
    offsets = offsets[texts.offset : texts.offset + len(texts) + 1]
    start, stop = int(offsets[0]), int(offsets[-1])
    data = np.zeros(stop - start + PADDING, dtype=np.uint8)
    if stop > start:
        data[:-PADDING] = np.frombuffer(buffers[2], dtype=np.uint8)[start:stop]
    return data, np.subtract(offsets, start, dtype=np.int64)


def _structure(level: dict[str, Slot], plain: bool) -> str:
    return "{" + ",".join(_members(level, plain)) + "}"


def _members(level: dict[str, Slot], plain: bool) -> Iterator[str]:
    for slot in level.values():
        leaf = '"VARCHAR"' if plain and slot.node.textual else '"JSON"'
        inner = _structure(slot.inner, plain) if slot.inner else leaf
        yield f"{json.dumps(slot.node.key)}:{inner}"
