"""The rows of a shard that a fragment reads: alive at the cut, in the columns that it needs.

A shard consists of pieces (chunks of the live tail, segments). Each piece yields a table with the
same columns, nulls where it has no such column, so that the pieces of all shards concatenate
without a copy.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from alder.positions import PartitionKey
from leaf import births
from leaf.rows import column_type
from leaf.tail import TailChunk
from leaf.view import SealedRows, ShardView
from leaf.visibility import Horizon, alive


@dataclass(frozen=True, slots=True)
class ColumnNeeds:
    """Columns of the table that the engine gets.

    ``stored`` are columns as they are kept; the others are computed from a row's birth.
    """

    stored: tuple[str, ...]
    source: bool = False
    partition: bool = False
    offset: bool = False

    def schema(self) -> pa.Schema:
        """The columns and types of every piece; ``_birth`` is always there."""
        fields = [("_birth", pa.int64()), *((name, column_type(name)) for name in self.stored)]
        if self.source:
            fields.append(("_source", pa.string()))
        if self.partition:
            fields.append(("_partition", pa.int32()))
        if self.offset:
            fields.append(("_offset", pa.int64()))
        return pa.schema(fields)


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows of one piece: all rows (``rows`` None) or those with these ascending numbers."""

    holder: TailChunk | SealedRows
    births: NDArray[np.int64]
    rows: NDArray[np.int64] | None

    @property
    def rows_count(self) -> int:
        """Number of rows chosen."""
        return len(self.births) if self.rows is None else len(self.rows)


def alive_piece(holder: TailChunk | SealedRows, at: Horizon) -> Piece:
    """The rows of a piece that are alive. Raises AlderError(CORRUPT)."""
    numbers = holder.births if isinstance(holder, TailChunk) else holder.births()
    mask = alive(numbers, at)
    return Piece(holder, numbers, None if mask.all() else np.flatnonzero(mask))


def piece_table(piece: Piece, streams: Sequence[PartitionKey], needs: ColumnNeeds) -> pa.Table:
    """The rows of a piece in the columns of ``needs.schema()``. Raises AlderError(CORRUPT)."""
    schema = needs.schema()
    chosen = piece.births if piece.rows is None else piece.births[piece.rows]
    columns = [pa.chunked_array([pa.array(chosen)])]
    columns.extend(_stored_column(piece, name, len(chosen)) for name in needs.stored)
    numbers = births.streams_of(chosen)
    if needs.source:
        sources = pa.array([source for source, _ in streams], pa.string())
        columns.append(pa.chunked_array([sources.take(pa.array(numbers))], pa.string()))
    if needs.partition:
        partitions = np.asarray([partition for _, partition in streams], dtype=np.int32)
        columns.append(pa.chunked_array([pa.array(partitions[numbers])], pa.int32()))
    if needs.offset:
        columns.append(pa.chunked_array([pa.array(births.offsets_of(chosen))], pa.int64()))
    return pa.Table.from_arrays(columns, schema=schema)


def _stored_column(piece: Piece, name: str, rows: int) -> pa.ChunkedArray:
    holder = piece.holder
    if isinstance(holder, TailChunk):
        if name not in holder.table.column_names:
            return pa.chunked_array([pa.nulls(rows, column_type(name))])
        column = holder.table.column(name)
        return column if piece.rows is None else pc.take(column, pa.array(piece.rows))
    if not holder.has(name):
        return pa.chunked_array([pa.nulls(rows, column_type(name))])
    return holder.column(name, piece.rows)


def holders(view: ShardView) -> tuple[TailChunk | SealedRows, ...]:
    """All pieces of a shard, sealed ones first."""
    return (*view.segments, *view.tail)
