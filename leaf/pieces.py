"""The rows of a shard that a fragment reads: alive at the cut, in the columns that it needs.

A shard consists of pieces (chunks of the live tail, segments). Each piece yields a table with the
same columns, nulls where it has no such column, so that the pieces of all shards concatenate
without a copy.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from alder.paths import CAUSES
from leaf import births
from leaf.births import Streams
from leaf.rows import column_type
from leaf.segment import Segment
from leaf.tail import TailChunk
from leaf.view import ShardView
from leaf.visibility import Horizon, alive

Rows = NDArray[np.int64]
ORDINAL: Final = "_ordinal"
"""A document's number in its record; null where a record becomes one document at most."""
COUNTING_COLUMN: Final = "counting"
"""Stands in where a fragment needs no column, because a table without one has no rows."""


@dataclass(frozen=True, slots=True)
class ColumnNeeds:
    """Columns of the table that the engine gets.

    ``stored`` are columns as they are kept; the others are computed from a row's birth.
    """

    stored: tuple[str, ...]
    source: bool = False
    partition: bool = False
    offset: bool = False
    ordinal: bool = False
    causes: bool = False

    @property
    def births(self) -> bool:
        """True if births must be read."""
        return self.source or self.partition or self.offset or self.ordinal or self.causes

    def schema(self) -> pa.Schema:
        """The columns and types of every piece; at least one."""
        fields = [(name, column_type(name)) for name in self.stored]
        if self.source:
            fields.append(("_source", pa.string()))
        if self.partition:
            fields.append(("_partition", pa.int32()))
        if self.offset:
            fields.append(("_offset", pa.int64()))
        if self.ordinal:
            fields.append((ORDINAL, pa.int64()))
        if self.causes:
            fields.append((CAUSES, pa.list_(pa.string())))
        return pa.schema(fields or [(COUNTING_COLUMN, pa.bool_())])


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows of one piece: all of them (``rows`` None) or those with these ascending numbers."""

    holder: TailChunk | Segment
    rows: Rows | None

    @property
    def rows_count(self) -> int:
        """Number of rows chosen."""
        return self.holder.rows if self.rows is None else len(self.rows)

    def numbers(self) -> Rows:
        """The numbers of the rows chosen, ascending."""
        return np.arange(self.holder.rows) if self.rows is None else self.rows

    def between(self, begin: int, end: int) -> "Piece":
        """The rows chosen from the one at ``begin`` to before the one at ``end``."""
        if self.rows is None:
            return Piece(self.holder, np.arange(begin, min(end, self.holder.rows)))
        return Piece(self.holder, self.rows[begin:end])

    def taken(self, places: Rows) -> "Piece":
        """The rows chosen that are at these ascending places among them."""
        return Piece(self.holder, places if self.rows is None else self.rows[places])

    def narrowed(self, rows: Rows | None) -> "Piece":
        """The rows that are also among these; None: all of them."""
        if rows is None:
            return self
        if self.rows is None:
            return Piece(self.holder, rows)
        return Piece(self.holder, np.intersect1d(self.rows, rows, assume_unique=True))


def alive_piece(holder: TailChunk | Segment, at: Horizon) -> Piece:
    """The rows of a piece that are alive. Raises AlderError(CORRUPT)."""
    if _whole(holder, at):
        return Piece(holder, None)
    if at.oldest_us is not None and holder.time_high_us < at.oldest_us:
        return Piece(holder, np.empty(0, dtype=np.int64))
    mask = alive(holder.births(), at)
    if at.oldest_us is not None and holder.time_low_us < at.oldest_us:
        mask &= holder.times() >= at.oldest_us
    return Piece(holder, None if mask.all() else np.flatnonzero(mask))


def whole_table(segment: Segment, needs: ColumnNeeds) -> tuple[pa.Table, int]:
    """All rows of a segment in stored columns, and their bytes. Raises AlderError(CORRUPT)."""
    columns, size_bytes = [], 0
    for name in needs.stored:
        if segment.has(name):
            whole = segment.whole(name)
            columns.append(whole.values)
            size_bytes += whole.size_bytes
        else:
            columns.append(pa.chunked_array([pa.nulls(segment.rows, column_type(name))]))
    if not columns:
        columns.append(pa.chunked_array([pa.nulls(segment.rows, pa.bool_())]))
    return pa.table(columns, schema=needs.schema()), size_bytes


def piece_table(
    piece: Piece,
    streams: Streams,
    needs: ColumnNeeds,
    causes: Callable[[Rows], pa.Array] | None = None,
) -> pa.Table:
    """The rows of a piece in the columns of ``needs.schema()``. Raises AlderError(CORRUPT).

    ``causes`` gives those of rows by their births, where changes are read.
    """
    schema = needs.schema()
    columns = [stored_column(piece, name) for name in needs.stored]
    if needs.births:
        chosen = births_of(piece)
        columns.extend(_birth_columns(chosen, streams, needs))
        if needs.causes and causes is not None:
            columns.append(causes(chosen))
    if not columns:
        columns.append(pa.nulls(piece.rows_count, pa.bool_()))
    return pa.Table.from_arrays(columns, schema=schema)


def stored_column(piece: Piece, name: str) -> pa.ChunkedArray:
    """A column of the rows of a piece, nulls where it has none. Raises AlderError(CORRUPT)."""
    holder = piece.holder
    if isinstance(holder, TailChunk):
        if name not in holder.table.column_names:
            return pa.chunked_array([pa.nulls(piece.rows_count, column_type(name))])
        column = holder.table.column(name)
        return column if piece.rows is None else column.take(pa.array(piece.rows))
    if not holder.has(name):
        return pa.chunked_array([pa.nulls(piece.rows_count, column_type(name))])
    return holder.column(name, piece.rows)


def births_of(piece: Piece) -> Rows:
    """The births of the rows of a piece. Raises AlderError(CORRUPT)."""
    if piece.rows is None:
        return piece.holder.births()
    if isinstance(piece.holder, TailChunk):
        return piece.holder.births()[piece.rows]
    return np.asarray(piece.holder.column("_birth", piece.rows))


def holders(view: ShardView) -> tuple[TailChunk | Segment, ...]:
    """All pieces of a shard, sealed ones first."""
    return (*view.segments, *view.tail)


def _whole(holder: TailChunk | Segment, at: Horizon) -> bool:
    """True if every row is surely alive, found without looking at each."""
    if at.oldest_us is not None and holder.time_low_us < at.oldest_us:
        return False
    last = holder.last_births
    return not len(at.dead) and bool((last < at.ends[births.streams_of(last)]).all())


def _birth_columns(chosen: Rows, streams: Streams, needs: ColumnNeeds) -> list[pa.Array]:
    numbers = births.streams_of(chosen)
    columns = []
    if needs.source:
        sources = pa.array([source for source, _ in streams], pa.string())
        columns.append(sources.take(pa.array(numbers)))
    if needs.partition:
        partitions = np.asarray([partition for _, partition in streams], dtype=np.int32)
        columns.append(pa.array(partitions[numbers]))
    if needs.offset:
        columns.append(pa.array(streams.offsets_of(chosen)))
    if needs.ordinal:
        columns.append(streams.ordinals_of(chosen))
    return columns
