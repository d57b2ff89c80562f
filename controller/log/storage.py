"""The log's store: the blocking half of the log, for worker threads.

Only one thread writes; any may read. A write returns once it is on disk. Meta entries and blocks
that belong together change in one batch.
"""

import struct
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from alder import arrow, records
from alder.errors import AlderError, Reason
from alder.rocks import FamilyOptions, Store, prefix_end
from controller.log import block as blocks
from controller.log.appending import Payload, block_payload
from controller.log.block import Block, block_key, corrupt, partition_prefix
from controller.log.topics import Bounds, TopicSpec

_META: Final = "meta"
_BLOCKS: Final = "blocks"
_FAMILIES: Final = {
    _META: FamilyOptions(),
    _BLOCKS: FamilyOptions(blobs=True, write_buffer_bytes=32 << 20),
}
_TOPIC: Final = b"topic/"
_BEGIN: Final = b"begin/"
_TIMESTAMP: Final = b"timestamp"
_INT64: Final = struct.Struct(">q")


@dataclass(frozen=True, slots=True)
class PlacedBlock:
    """A block that is to be written, and where it belongs."""

    topic: TopicSpec
    partition: int
    first_offset: int
    records: int
    first_timestamp_us: int
    payloads: tuple[Payload, ...]


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a log holds: its topics with the bounds of each partition, and its clock's floor."""

    topics: Sequence[tuple[TopicSpec, list[Bounds]]]
    next_timestamp_us: int


class LogStorage:
    """The store of one log."""

    def __init__(self, path: Path) -> None:
        """Raises AlderError(UNAVAILABLE) where it is open elsewhere, CORRUPT where it is damaged.

        A damaged write-ahead log is an error, because it may hold acknowledged records.
        """
        self._store = Store(path, _FAMILIES, strict_wal=True)

    def recover(self) -> Recovered:
        """What the log holds, from the last block of each partition.

        Raises AlderError(CORRUPT) where such a block is damaged: its partition's next offset would
        be a guess.
        """
        stored = self._store.get(_META, _TIMESTAMP)
        next_timestamp_us = _INT64.unpack(stored)[0] if stored is not None else 0
        topics = []
        for _, value in self._store.scan(_META, _TOPIC, prefix_end(_TOPIC)):
            spec = TopicSpec.from_json(value)
            bounds = []
            for partition in range(spec.partitions):
                begin = end = self._begin(spec, partition)
                last = self._store.last(_BLOCKS, partition_prefix(spec.key, partition))
                if last is not None:
                    block = blocks.decode(spec.name, *last)
                    end = max(end, block.end_offset)
                    next_timestamp_us = max(next_timestamp_us, block.end_timestamp_us)
                bounds.append(Bounds(begin, end))
            topics.append((spec, bounds))
        return Recovered(topics, next_timestamp_us)

    def write(self, group: Sequence[PlacedBlock]) -> None:
        """Writes blocks together. They are on disk when this returns."""
        batch = self._store.batch()
        for placed in group:
            block = Block(
                placed.first_offset,
                placed.records,
                placed.first_timestamp_us,
                block_payload(placed.payloads),
            )
            key = block_key(placed.topic.key, placed.partition, placed.first_offset)
            batch.put(_BLOCKS, key, blocks.encode(key, block))
        self._store.write(batch, sync=True)

    def read(
        self, topic: TopicSpec, partition: int, offset: int, end: int, size_bytes_max: int
    ) -> memoryview:
        """Records from ``offset`` on, before ``end``, as the Arrow stream of a ``ReadResponse``.

        They have ``size_bytes_max`` at most, but there is at least one. Raises AlderError(CORRUPT)
        where a block is damaged or missing; where sound records come before it, those are returned.
        """
        found: list[pa.Table] = []
        next_offset = offset
        room = size_bytes_max
        with closing(self._blocks(topic, partition, offset, end)) as following:
            for key, value in following:
                try:
                    table = _records(topic.name, partition, key, value, next_offset)
                except AlderError:
                    if found:
                        break
                    raise
                ends = np.cumsum(records.sizes_bytes(table) + records.FIXED_BYTES)
                count = int(np.searchsorted(ends, room, side="right"))
                if not found:
                    count = max(count, 1)
                if count:
                    found.append(table.slice(0, count))
                    room -= int(ends[count - 1])
                    next_offset += count
                # A block that is loaded to find that it does not fit costs as much as one served.
                if count < table.num_rows or room < int(ends[-1]):
                    break
        if not found:
            raise corrupt(topic.name, partition, offset, "it is missing")
        return arrow.to_memory(pa.concat_tables(found).combine_chunks())

    def first_after(self, topic: TopicSpec, partition: int, bounds: Bounds, moment_us: int) -> int:
        """The first offset of a record later than a moment; ``bounds.end`` if there is none.

        Raises AlderError: OUT_OF_RANGE where it can't be told, because records were truncated that
        may be later, CORRUPT where a block that is looked at is damaged.
        """
        prefix = partition_prefix(topic.key, partition)
        begin, end = bounds.begin, bounds.end
        while begin < end:
            middle = (begin + end) // 2
            found = self._store.floor(_BLOCKS, block_key(topic.key, partition, middle), prefix)
            if found is None:
                raise corrupt(topic.name, partition, middle, "it is missing")
            block = blocks.decode(topic.name, *found)
            if block.first_timestamp_us > moment_us:
                end = block.first_offset
            elif block.end_timestamp_us <= moment_us + 1:
                begin = block.end_offset
            else:
                return block.first_offset + moment_us + 1 - block.first_timestamp_us
        if end == bounds.begin > 0:
            raise AlderError(
                Reason.OUT_OF_RANGE,
                f"the log of {topic.name} begins at offset {bounds.begin} of partition "
                f"{partition}, which is later than the time asked for; ask for a later one",
            )
        return begin

    def expired_until(
        self, topic: TopicSpec, partition: int, bounds: Bounds, horizon_us: int
    ) -> int:
        """The offset before which every record is older than ``horizon_us``; on a block's edge."""
        until = bounds.begin
        with closing(self._blocks(topic, partition, bounds.begin, bounds.end)) as following:
            for key, value in following:
                block = blocks.decode(topic.name, key, value)
                if block.end_timestamp_us > horizon_us:
                    break
                until = block.end_offset
        return until

    def truncate(
        self, topic: TopicSpec, partition: int, begin: int, next_timestamp_us: int
    ) -> None:
        """Removes the records before ``begin``, which is on a block's edge."""
        batch = self._store.batch()
        prefix = partition_prefix(topic.key, partition)
        batch.put(_META, _BEGIN + prefix, _INT64.pack(begin))
        batch.put(_META, _TIMESTAMP, _INT64.pack(next_timestamp_us))
        batch.delete_range(_BLOCKS, prefix, block_key(topic.key, partition, begin))
        self._store.write(batch, sync=True)

    def put_topic(self, topic: TopicSpec) -> None:
        """Adds a topic."""
        batch = self._store.batch()
        batch.put(_META, _TOPIC + topic.key, topic.to_json())
        self._store.write(batch, sync=True)

    def delete_topic(self, topic: TopicSpec, next_timestamp_us: int) -> None:
        """Removes a topic and its records."""
        batch = self._store.batch()
        batch.put(_META, _TIMESTAMP, _INT64.pack(next_timestamp_us))
        batch.delete(_META, _TOPIC + topic.key)
        for partition in range(topic.partitions):
            prefix = partition_prefix(topic.key, partition)
            batch.delete(_META, _BEGIN + prefix)
            batch.delete_range(_BLOCKS, prefix, partition_prefix(topic.key, partition + 1))
        self._store.write(batch, sync=True)

    def close(self) -> None:
        """Closes the store. Nothing may be running on it."""
        self._store.close()

    def _begin(self, topic: TopicSpec, partition: int) -> int:
        stored = self._store.get(_META, _BEGIN + partition_prefix(topic.key, partition))
        begin: int = _INT64.unpack(stored)[0] if stored is not None else 0
        return begin

    def _blocks(
        self, topic: TopicSpec, partition: int, offset: int, end: int
    ) -> Generator[tuple[bytes, bytes], None, None]:
        """The blocks that hold ``[offset, end)``, as stored."""
        prefix = partition_prefix(topic.key, partition)
        begin = block_key(topic.key, partition, offset)
        first = self._store.floor(_BLOCKS, begin, prefix)
        if first is not None:
            yield first
            begin = first[0] + b"\0"
        yield from self._store.scan(_BLOCKS, begin, block_key(topic.key, partition, end))


def _records(topic: str, partition: int, key: bytes, value: bytes, offset: int) -> pa.Table:
    """The records of a stored block from ``offset`` on, with their timestamps."""
    block = blocks.decode(topic, key, value)
    if not block.first_offset <= offset < block.end_offset:
        raise corrupt(topic, partition, offset, "it is missing")
    try:
        table = arrow.from_bytes(block.payload)
    except AlderError as error:
        raise corrupt(topic, partition, block.first_offset, error.message) from error
    if table.num_rows != block.records or table.schema != records.SCHEMA:
        raise corrupt(topic, partition, block.first_offset, "its records don't add up")
    skipped = offset - block.first_offset
    times = np.arange(block.first_timestamp_us + skipped, block.end_timestamp_us, dtype=np.int64)
    return table.slice(skipped).append_column(records.TIMESTAMP, pa.array(times))
