"""The vectorised path: all hot paths of a batch of documents in one DuckDB statement.

``from_json`` with every leaf of type JSON returns each value's own text, so nothing is coerced. It
drops what it wasn't asked for without a word; therefore every key found is counted, and a row
stands only if its count equals the number of keys in its text. A count can't be too high (each
thing counted is one key of the document), so equality means that nothing was dropped, hidden by a
duplicate or read as something else.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tailer.decode.engine import Engine, sql_text
from tailer.decode.model import Mask
from tailer.decode.scan import PADDING, count_keys
from tailer.decode.structure import Node, Plan, Slot
from tailer.decode.values import scatter


@dataclass(frozen=True, slots=True)
class Extracted:
    """``cells``: for each node a string column of JSON text. ``keys``: per row, the keys accounted
    for, or -1 where the row is not valid JSON.
    """

    cells: list[tuple[Node, pa.Array]]
    keys: npt.NDArray[np.int64]


def extract(documents: pa.Array, plan: Plan, engine: Engine) -> Extracted:
    """Extract a plan from a string column of documents. Raises duckdb.Error."""
    batch = _Batch(engine, len(documents))
    structs = engine.project(
        [f"from_json(TRY_CAST(v AS JSON), {sql_text(_structure(layer))})" for layer in plan.layers],
        documents,
    )
    batch.add_layers(plan.layers, structs)
    for struct in structs:
        if struct.null_count:
            batch.keys[struct.is_null().to_numpy(zero_copy_only=False)] = -1
    return Extracted(batch.cells, batch.keys)


class _Batch:
    """Gathers cells and counts keys for one set of objects."""

    def __init__(self, engine: Engine, row_count: int) -> None:
        self.cells: list[tuple[Node, pa.Array]] = []
        self.keys = np.zeros(row_count, dtype=np.int64)
        self._engine = engine
        self._objects: dict[Node, Mask] = {}

    def add_layers(self, layers: list[dict[str, Slot]], structs: list[pa.Array]) -> None:
        for layer, struct in zip(layers, structs, strict=True):
            self._add_struct(layer, struct)
        for present in self._objects.values():
            self.keys += present

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
                present = self._add_cells(slot.node, column)
            any_present |= present
        return any_present

    def _add_cells(self, node: Node, cells: pa.Array) -> Mask:
        if cells.null_count == len(cells):
            return np.zeros(len(cells), dtype=np.bool_)
        self.cells.append((node, cells))
        present: Mask = cells.is_valid().to_numpy(zero_copy_only=False)
        self.keys += present
        node.atoms += len(cells) - cells.null_count
        data = np.frombuffer(cells.buffers()[2], dtype=np.uint8)
        if bool((data == ord("{")).any()):
            self._count_in_lists(cells)
            if node.plan is not None:
                node.atoms -= self._add_objects(node.plan, cells)
        return present

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
        inner = extract(cells.take(pa.array(rows)), plan, self._engine)
        self.keys[rows] += inner.keys
        self.cells.extend((node, scatter(column, rows, len(cells))) for node, column in inner.cells)
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


def _structure(level: dict[str, Slot]) -> str:
    return "{" + ",".join(_members(level)) + "}"


def _members(level: dict[str, Slot]) -> Iterator[str]:
    for slot in level.values():
        inner = _structure(slot.inner) if slot.inner else '"JSON"'
        yield f"{json.dumps(slot.node.key)}:{inner}"
