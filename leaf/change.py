"""What one push changes in a shard, computed before anything is written.

A change is complete before its batch is committed and is installed only afterwards, so a failed
commit leaves nothing half done.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from alder.positions import PartitionKey
from alder.rocks import Batch
from alder.schema import Schema
from leaf import births, layout
from leaf.core import PushHeader
from leaf.digest import combined, digest_rows
from leaf.keyed import Resolution, resolve, running_maximum
from leaf.layout import Counters, StreamRecord
from leaf.logtime import LogTime
from leaf.patches import Patches
from leaf.rows import PushedRows, is_marker
from leaf.tail import TailBlock
from leaf.view import ShardView
from leaf.visibility import Deaths

Lookup = Callable[[Sequence[bytes]], list[bytes | None]]


@dataclass(frozen=True, slots=True)
class PushWrite:
    """What a push to a stream adds to the store, keys and deaths left out: the block ``number``,
    the stream's record and the counters afterwards, the schema if it changed, quarantine.
    """

    number: int
    block: TailBlock
    record: StreamRecord
    counters: Counters
    schema: Schema | None
    quarantined: pa.Table

    def put(self, batch: Batch) -> None:
        """Writes everything into a batch."""
        batch.put(layout.TAIL, layout.number_key(self.number), self.block.encode())
        self.put_without_rows(batch)

    def put_without_rows(self, batch: Batch) -> None:
        """Writes everything but the block of rows."""
        stream = self.block.stream
        batch.put(layout.META, layout.stream_key(stream), layout.encode_stream(self.record))
        batch.put(layout.META, layout.COUNTERS_KEY, layout.encode_counters(self.counters))
        if self.schema is not None:
            schema = self.schema.to_proto().SerializeToString()
            batch.put(layout.META, layout.SCHEMA_KEY, schema)
        put_quarantined(batch, stream, self.quarantined.to_pylist())


@dataclass(frozen=True, slots=True)
class Change:
    """A push to one stream: its record afterwards, the view afterwards but for the tail, rows."""

    stream: int
    record: StreamRecord
    view: ShardView
    block: TailBlock
    quarantined: pa.Table
    deaths: Deaths | None = None
    keys: Mapping[bytes, bytes] = field(default_factory=dict)
    living: Mapping[bytes, bytes] = field(default_factory=dict)

    def write(self, before: ShardView) -> PushWrite:
        """What it adds to the store, keys and deaths left out."""
        number, counters = before.counters.block_next, self.view.counters
        schema = None if self.view.schema is before.schema else self.view.schema
        return PushWrite(number, self.block, self.record, counters, schema, self.quarantined)

    def put(self, batch: Batch, before: ShardView) -> None:
        """Writes everything, but the records of other streams, into a batch."""
        self.write(before).put(batch)
        batch.put_all(layout.KEYS, self.keys)
        batch.put_all(layout.LIVING, self.living)
        number = before.counters.tombstone_next
        if self.view.counters.tombstone_next != number and self.deaths is not None:
            batch.put(layout.META, layout.tombstone_key(number), layout.encode_deaths(self.deaths))


def change_of(
    view: ShardView,
    record: StreamRecord,
    push: PushHeader,
    parsed: PushedRows | None,
    quarantined: pa.Table,
    overflow: bool,
    lookup: Lookup | None,
    patches: Patches | None = None,
) -> Change:
    """The change that an accepted push makes. ``lookup`` reads the key map of a keyed collection.

    ``record`` is the stream's after the push but for its log time; ``view.streams`` includes it.
    With ``patches`` documents are patches.
    """
    stream = view.streams.index(push.key)
    if patches is not None and parsed is not None:
        made = patches.apply(stream, parsed)
        refused = pa.concat_tables([quarantined, made.refused])
        overflow = overflow or made.overflow
        change = change_of(view, record, push, made.rows, refused, overflow, lookup)
        return replace(change, living=made.living)
    counters = replace(
        view.counters,
        block_next=view.counters.block_next + 1,
        quarantined=view.counters.quarantined + quarantined.num_rows,
    )
    if parsed is None:
        block = TailBlock(stream, push.from_offset, push.to_offset, _NO_ROWS)
        after = replace(view, counters=counters, schema=view.schema.with_columns((), overflow))
        return Change(stream, record, after, block, quarantined)

    resolution, table = (
        None,
        parsed.table.add_column(0, "_birth", pa.array(births.pack(stream, parsed.places))),
    )
    log_time, late = _passed(view.log_time, stream, parsed)
    if log_time is not view.log_time:
        record = replace(record, marks=log_time.streams[stream])
    if lookup is not None:
        resolution, record = _resolved(view, record, table, parsed.numbers, lookup)
        table = table.filter(pa.array(~is_marker(table)))
    tombstones = view.tombstones.added(resolution.deaths) if resolution else view.tombstones
    counters = replace(
        counters,
        rows_born=counters.rows_born + table.num_rows,
        tombstone_next=counters.tombstone_next + (tombstones is not view.tombstones),
        digest=combined(counters.digest, _digest(push, parsed)),
        rows_late=counters.rows_late + late,
    )
    schema = view.schema.with_columns(parsed.field_columns, overflow)
    after = replace(
        view, counters=counters, schema=schema, tombstones=tombstones, log_time=log_time
    )
    block = TailBlock(stream, push.from_offset, push.to_offset, table)
    if resolution is None:
        return Change(stream, record, after, block, quarantined)
    return Change(stream, record, after, block, quarantined, resolution.deaths, resolution.keys)


_NO_ROWS = pa.table({"_birth": pa.array([], pa.int64())})


def _passed(before: LogTime, stream: int, parsed: PushedRows) -> tuple[LogTime, int]:
    """The log time after the push, and how many of its documents were too old when they came."""
    if not before.step_us:
        return before, 0
    times, log_times = (
        parsed.table.column(name).cast(pa.int64()).to_numpy() for name in ("_time", "_log_time")
    )
    steps = before.steps(stream, log_times)
    late = before.late(times, steps) & ~is_marker(parsed.table)
    return before.passed(stream, parsed.first_places, steps), int(late.sum())


def _resolved(
    view: ShardView,
    record: StreamRecord,
    table: pa.Table,
    numbers: NDArray[np.int64],
    lookup: Lookup,
) -> tuple[Resolution, StreamRecord]:
    log_times = table.column("_log_time").cast(pa.int64()).to_numpy()
    times_us = running_maximum(log_times, record.log_time_us)
    versions = np.stack([table.column("_birth").to_numpy(), numbers, times_us], axis=1)
    keys = table.column("_key").combine_chunks()
    resolution = resolve(keys, versions, view.streams, view.tombstones, lookup)
    return resolution, replace(record, log_time_us=int(times_us[-1]))


def _digest(push: PushHeader, parsed: PushedRows) -> int:
    documents = parsed.table.column("_doc")
    return digest_rows(push.source, push.partition, parsed.places, documents)


def put_quarantined(batch: Batch, stream: int, records: Iterable[Mapping[str, Any]]) -> None:
    """Has a batch put records, with the fields of a push's, into quarantine."""
    for entry in records:
        value = layout.encode_quarantined(entry["reason"], entry["value"], entry["size_bytes"])
        batch.put(layout.QUARANTINE, layout.quarantine_key(stream, entry["offset"]), value)


def stream_record(
    records: Sequence[StreamRecord],
    numbers: Mapping[PartitionKey, int],
    push: PushHeader,
    ordinal_bits: int,
) -> tuple[int, StreamRecord]:
    """The number and the record of the pushed stream after the push. Raises AlderError(LIMIT)."""
    known = numbers.get(push.key)
    stream = len(records) if known is None else known
    births.check(stream, push.to_offset, ordinal_bits)
    record = (
        StreamRecord(push.source, push.partition, push.source_identity)
        if known is None
        else records[stream]
    )
    if push.to_offset > push.from_offset:
        record = replace(record, leader_epoch=push.leader_epoch)
    return stream, replace(record, next_offset=push.to_offset)
