"""Prepared ranges: each shard's part of a range, encoded as the contract wants it.

A range is encoded as soon as it is decoded, while the one before is still being pushed. Only where
a shard stands inside the range (after a crash, or beside another tailer) is its part cut and
encoded again.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from alder.arrow import from_bytes, to_memory
from alder.catalog import Shard
from alder.push import ShardRows
from tailer.batch import Rows
from tailer.core import Range
from tailer.route import rows_by_shard, take_rows


@dataclass(frozen=True, slots=True)
class ShardPart:
    """A shard's rows and quarantined records of a range, ascending by offset, as Arrow IPC.

    Nothing else is kept of them, because every partition holds ranges.
    """

    rows: memoryview
    quarantined: memoryview


@dataclass(frozen=True, slots=True)
class PreparedRange:
    """A range ready to be pushed to any of its shards, from any offset inside it."""

    range: Range
    parts: Mapping[int, ShardPart]
    overflow: bool
    records: int
    quarantined: int
    source_end: int
    leader_epoch: int
    log_times_us: tuple[int, int] | None
    """Of the first and of the last row; None where there is no row."""

    @property
    def size_bytes(self) -> int:
        """What is kept of the rows, in bytes."""
        return sum(len(part.rows) + len(part.quarantined) for part in self.parts.values())

    def rows(self, shard: int, begin: int) -> ShardRows:
        """What a push holds for a shard that stands at ``begin``."""
        part = self.parts[shard]
        rows, quarantined = part.rows, part.quarantined
        if begin > self.range.begin:
            rows = _from_offset(rows, "_offset", begin)
            quarantined = _from_offset(quarantined, "offset", begin)
        return ShardRows(shard, begin, self.range.end, rows, quarantined)


def prepare(rows: Rows, shards: tuple[Shard, ...], wanted: frozenset[int]) -> PreparedRange:
    """Splits rows by shard and encodes those of the shards that are wanted.

    ``shards`` ascend by slot and cover all slots.
    """
    slot_ends = [shard.slot_end for shard in shards]
    row_groups = rows_by_shard(rows.slots, slot_ends)
    refused_groups = rows_by_shard(rows.quarantine_slots, slot_ends)
    parts = {}
    for shard, indices, refused in zip(shards, row_groups, refused_groups, strict=True):
        if shard.shard not in wanted:
            continue
        table = without_empty_columns(take_rows(rows.table, indices))
        quarantine = take_rows(rows.quarantine, refused)
        parts[shard.shard] = ShardPart(_encoded(table), _encoded(quarantine))
    return PreparedRange(
        rows.range,
        parts,
        rows.overflow,
        rows.table.num_rows + rows.quarantine.num_rows,
        rows.quarantine.num_rows,
        rows.source_end,
        rows.leader_epoch,
        _ends_of(rows.table.column("_log_time")),
    )


def _ends_of(times: pa.ChunkedArray) -> tuple[int, int] | None:
    if not len(times):
        return None
    first, last = (times[at].cast(pa.int64()).as_py() for at in (0, len(times) - 1))
    return first, last


def without_empty_columns(table: pa.Table) -> pa.Table:
    """The table without the columns that hold no value; system columns stay."""
    kept = [
        name
        for name, column in zip(table.column_names, table.columns, strict=True)
        if name.startswith("_") or column.null_count < table.num_rows
    ]
    return table if len(kept) == table.num_columns else table.select(kept)


def _from_offset(encoded: memoryview, column: str, begin: int) -> memoryview:
    """The rows from an offset on, encoded again."""
    if not encoded:
        return encoded
    table = from_bytes(encoded)
    first = int(np.searchsorted(table.column(column).to_numpy(), begin))
    return _encoded(without_empty_columns(table.slice(first)))


def _encoded(table: pa.Table) -> memoryview:
    return to_memory(table.combine_chunks()) if table.num_rows else memoryview(b"")
