"""Cells in long form: the values of many paths in one column.

A value's type depends on the value alone, so sparse paths need not be typed one by one: their
cells are typed together and then told apart. That is what keeps documents with hundreds of rare
fields, small batches and the strict path fast, where a fixed cost for each path would be most of
the work.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from alder.fieldtypes import column_name
from tailer.decode.engine import Engine
from tailer.decode.model import Mask, RowIndices
from tailer.decode.structure import Node
from tailer.decode.values import type_cells


@dataclass(frozen=True, slots=True)
class LongCells:
    """Piece by piece: indices of rows, and cells (string, no nulls) of the node with the same
    index in ``nodes``. A node may come once only.
    """

    nodes: list[Node] = field(default_factory=list)
    rows: list[RowIndices] = field(default_factory=list)
    texts: list[pa.Array] = field(default_factory=list)

    def add(self, node: Node, rows: RowIndices, texts: pa.Array) -> None:
        self.nodes.append(node)
        self.rows.append(rows)
        self.texts.append(texts)

    def columns(
        self, row_count: int, engine: Engine, *, null_marks: bool
    ) -> tuple[dict[str, pa.Array], Mask | None]:
        """Columns of ``row_count`` by physical name, and the rows with a cell that is no JSON, if
        any.

        Raises duckdb.Error.
        """
        if not self.nodes:
            return {}, None
        texts = pa.concat_arrays(self.texts)
        rows = np.concatenate(self.rows)
        slots = np.repeat(np.arange(len(self.nodes)), [len(piece) for piece in self.rows])
        typed = type_cells(texts, engine, null_marks=null_marks)
        columns: dict[str, pa.Array] = {}
        for tag, values in typed.columns.items():
            at = np.flatnonzero(values.is_valid().to_numpy(zero_copy_only=False))
            for group in np.split(at, np.flatnonzero(np.diff(slots[at])) + 1):
                node = self.nodes[slots[group[0]]]
                if tag == "string":
                    node.strings += len(group)
                name = column_name(tag, node.path)
                columns[name] = values.take(_places(rows[group], group, row_count))
        if typed.refused is None:
            return columns, None
        refused = np.zeros(row_count, dtype=np.bool_)
        refused[rows[typed.refused]] = True
        return columns, refused


def _places(rows: RowIndices, group: npt.NDArray[np.intp], row_count: int) -> pa.Array:
    """For each row, the index of its value, null for a row without one."""
    indices = np.zeros(row_count, dtype=np.int64)
    absent = np.ones(row_count, dtype=np.bool_)
    indices[rows] = group
    absent[rows] = False
    return pa.array(indices, mask=absent)
