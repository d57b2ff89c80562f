"""Blocks: how records lie on disk.

A block holds consecutive records of one partition. Its key is (topic id, partition, first offset),
so a partition is one ascending range of keys. Its value is a header and the records as one Arrow
IPC stream with ``alder.records.SCHEMA``, compressed: blocks are joined, cut and read without a
loop over records.

The checksum covers key, header and records: a block that was damaged, or that lies under a key that
is not its own, is never served.
"""

import struct
import zlib
from dataclasses import dataclass
from typing import Final

from alder.errors import AlderError, Reason

_PARTITION: Final = struct.Struct(">16sI")
_KEY: Final = struct.Struct(">16sIQ")
_HEADER: Final = struct.Struct("<BIq")
_CHECKSUM: Final = struct.Struct("<I")
_VERSION: Final = 2
PAYLOAD_BEGIN: Final = _HEADER.size + _CHECKSUM.size


@dataclass(frozen=True, slots=True)
class Block:
    """Records ``[first_offset, end_offset)``; their timestamps, in µs, ascend by one each."""

    first_offset: int
    records: int
    first_timestamp_us: int
    payload: bytes | memoryview

    @property
    def end_offset(self) -> int:
        """Offset after the last record."""
        return self.first_offset + self.records

    @property
    def end_timestamp_us(self) -> int:
        """Timestamp after that of the last record."""
        return self.first_timestamp_us + self.records


def partition_prefix(topic_id: bytes, partition: int) -> bytes:
    """What the keys of a partition begin with; ``topic_id`` has 16 bytes."""
    return _PARTITION.pack(topic_id, partition)


def block_key(topic_id: bytes, partition: int, first_offset: int) -> bytes:
    """The key of a block."""
    return _KEY.pack(topic_id, partition, first_offset)


def encode(key: bytes, block: Block) -> bytes:
    """The value of a block under its key."""
    header = _HEADER.pack(_VERSION, block.records, block.first_timestamp_us)
    checksum = _CHECKSUM.pack(_checksum(key, header, block.payload))
    return b"".join((header, checksum, block.payload))


def decode(topic: str, key: bytes, value: bytes) -> Block:
    """The block under ``key``.

    Raises AlderError(CORRUPT), naming topic, partition and offset, unless it is what was written.
    """
    _, partition, first_offset = _KEY.unpack(key)
    if len(value) < PAYLOAD_BEGIN:
        raise corrupt(topic, partition, first_offset, "its header is cut off")
    header, payload = value[: _HEADER.size], memoryview(value)[PAYLOAD_BEGIN:]
    (checksum,) = _CHECKSUM.unpack_from(value, _HEADER.size)
    if checksum != _checksum(key, header, payload):
        raise corrupt(topic, partition, first_offset, "its checksum does not match")
    version, records, first_timestamp_us = _HEADER.unpack(header)
    if version != _VERSION:
        raise corrupt(topic, partition, first_offset, f"its format {version} is not known here")
    return Block(first_offset, records, first_timestamp_us, payload)


def corrupt(topic: str, partition: int, offset: int, why: str) -> AlderError:
    """The error for damage at an offset."""
    return AlderError(
        Reason.CORRUPT,
        f"the log is damaged: the block of topic {topic}, partition {partition} at offset {offset} "
        f"can't be served, {why}; restore the log's directory from a copy",
        topic=topic,
        partition=str(partition),
        offset=str(offset),
    )


def _checksum(key: bytes, header: bytes, payload: bytes | memoryview) -> int:
    return zlib.crc32(payload, zlib.crc32(header, zlib.crc32(key)))
