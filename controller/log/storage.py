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

from alder.errors import AlderError
from alder.rocks import FamilyOptions, Store, prefix_end
from alder.v1 import log_pb2
from controller.log import block as blocks
from controller.log.block import Block, block_key, corrupt, partition_prefix
from controller.log.topics import Bounds, TopicSpec

_META: Final = "meta"
_BLOCKS: Final = "blocks"
_FAMILIES: Final = {
    _META: FamilyOptions(),
    _BLOCKS: FamilyOptions(blobs=True, blobs_compressed=True, write_buffer_bytes=32 << 20),
}
_TOPIC: Final = b"topic/"
_BEGIN: Final = b"begin/"
_TIMESTAMP: Final = b"timestamp"
_INT64: Final = struct.Struct(">q")


@dataclass(frozen=True, slots=True)
class PlacedBlock:
    """A block and where it belongs."""

    topic: TopicSpec
    partition: int
    block: Block


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
            key = block_key(placed.topic.key, placed.partition, placed.block.first_offset)
            batch.put(_BLOCKS, key, blocks.encode(key, placed.block))
        self._store.write(batch, sync=True)

    def read(
        self, topic: TopicSpec, partition: int, offset: int, end: int, size_bytes_max: int
    ) -> list[log_pb2.Record]:
        """Records from ``offset`` on, before ``end``: ``size_bytes_max`` at most, but at least one.

        Raises AlderError(CORRUPT) where a block is damaged or missing; where sound records come
        before it, those are returned.
        """
        found: list[log_pb2.Record] = []
        room = size_bytes_max
        with closing(self._blocks(topic, partition, offset, end)) as following:
            for key, value in following:
                if found and len(value) - blocks.PAYLOAD_BEGIN > room:
                    break
                try:
                    records = _records(topic.name, partition, key, value, offset + len(found))
                except AlderError:
                    if found:
                        break
                    raise
                fitting, room = _fitting(records, room, at_least_one=not found)
                found += fitting
                if len(fitting) < len(records):
                    break
        if not found:
            raise corrupt(topic.name, partition, offset, "it is missing")
        return found

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
        first = self._store.floor(_BLOCKS, block_key(topic.key, partition, offset), prefix)
        begin = first[0] if first is not None else block_key(topic.key, partition, offset)
        return self._store.scan(_BLOCKS, begin, block_key(topic.key, partition, end))


def _records(
    topic: str, partition: int, key: bytes, value: bytes, offset: int
) -> list[log_pb2.Record]:
    """The records of a stored block from ``offset`` on, with their timestamps."""
    block = blocks.decode(topic, key, value)
    if not block.first_offset <= offset < block.end_offset:
        raise corrupt(topic, partition, offset, "it is missing")
    message = log_pb2.AppendRequest.FromString(block.payload)
    if len(message.records) != block.records:
        raise corrupt(topic, partition, block.first_offset, "its records don't add up")
    skipped = offset - block.first_offset
    records = message.records[skipped:]
    times = range(block.first_timestamp_us + skipped, block.end_timestamp_us)
    for record, timestamp_us in zip(records, times, strict=True):
        record.timestamp_us = timestamp_us
    return records


def _fitting(
    records: list[log_pb2.Record], room: int, at_least_one: bool
) -> tuple[list[log_pb2.Record], int]:
    """The first records that fit in ``room`` bytes, and the room left."""
    for index, record in enumerate(records):
        size = record.ByteSize()
        if size > room and not (at_least_one and index == 0):
            return records[:index], room
        room -= size
    return records, room
