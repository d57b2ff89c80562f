"""The values of a fragment's columns over a few rows, made without the engine.

What a binding means is what its projection says (:mod:`leaf.bindings`). Here are the bindings for
which stored values are the answer already, or become it by one cast that can't fail, in the types
that the engine would give. All others are refused, and the engine makes them.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from alder.fieldtypes import EMPTY_LIST, arrow_type, column_name, single_sql_type
from alder.v1 import leaf_pb2
from leaf.births import Streams
from leaf.kernels.unsupported import Unsupported
from leaf.pieces import ColumnNeeds, Piece, piece_table, stored_column

_SYSTEM: Final = {
    "_id": pa.string(),
    "_time": pa.timestamp("us"),
    "_log_time": pa.timestamp("us"),
    "_source": pa.string(),
    "_partition": pa.int32(),
    "_offset": pa.int64(),
    "_doc": pa.string(),
}
_NUMBERS: Final = frozenset({"int", "float"})
_ELEMENT: Final = "l"
"""What the engine calls the elements of a list in Arrow."""


class RowValues:
    """The values of one binding; ``kind`` is their Arrow type."""

    def __init__(self, binding: leaf_pb2.ColumnBinding, tags: Iterable[str], keyed: bool) -> None:
        """``tags`` are the types that values at the path have here.

        Raises Unsupported for a binding that is left to the engine.
        """
        path = binding.path
        present = sorted(set(tags) & set(binding.types))
        self._made_of_birth = path == "_id" and not keyed
        if binding.types:
            self.kind = _kind(binding, present)
            self._needs = ColumnNeeds(tuple(column_name(tag, path) for tag in present))
        elif path not in _SYSTEM:
            raise Unsupported
        else:
            self.kind = _SYSTEM[path]
            self._needs = _system_needs(path, keyed)

    def of(self, piece: Piece, streams: Streams) -> pa.ChunkedArray:
        """The values of the rows of a piece. Raises AlderError(CORRUPT)."""
        if self._needs == ColumnNeeds(()):
            return pa.chunked_array([pa.nulls(piece.rows_count, self.kind)])
        if not self._needs.births and len(self._needs.stored) == 1:
            columns = [stored_column(piece, self._needs.stored[0])]
        else:
            columns = piece_table(piece, streams, self._needs).columns
        if self._made_of_birth:
            texts = [one.cast(self.kind) for one in columns]
            return pc.binary_join_element_wise(*texts, "/", null_handling="skip")
        made = [
            one if one.type == self.kind else one.cast(self.kind, safe=False) for one in columns
        ]
        return made[0] if len(made) == 1 else pc.coalesce(*made)


def _system_needs(path: str, keyed: bool) -> ColumnNeeds:
    match path:
        case "_id" if keyed:
            return ColumnNeeds(("_key",))
        case "_id":
            return ColumnNeeds((), source=True, partition=True, offset=True, ordinal=True)
        case "_source":
            return ColumnNeeds((), source=True)
        case "_partition":
            return ColumnNeeds((), partition=True)
        case "_offset":
            return ColumnNeeds((), offset=True)
    return ColumnNeeds((path,))


def _kind(binding: leaf_pb2.ColumnBinding, present: Sequence[str]) -> pa.DataType:
    """The Arrow type in which the engine would give the values."""
    if binding.overflow:
        raise Unsupported
    if binding.sql_type == "DOUBLE" and _NUMBERS.issuperset(present):
        return pa.float64()
    for tag in present or binding.types:
        if tag != EMPTY_LIST and single_sql_type(tag) == binding.sql_type and len(present) < 2:
            kind = arrow_type(tag)
            if pa.types.is_list(kind):
                return pa.list_(pa.field(_ELEMENT, kind.value_type))
            return kind
    raise Unsupported
