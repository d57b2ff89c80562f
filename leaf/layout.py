"""What a shard keeps under which key: families, keys and the small records of ``meta``.

Numbers in keys are big-endian, so that RocksDB's order is theirs. Every record that a crash could
tear from its rows is written in the same batch as they are.
"""

import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Final

import numpy as np
import orjson

from alder.errors import AlderError, Reason
from alder.positions import PositionVector
from alder.rocks import FamilyOptions
from alder.v1 import common_pb2
from leaf.logtime import Mark
from leaf.visibility import Deaths

META: Final = "meta"
TAIL: Final = "tail"
COLUMNS: Final = "columns"
POSTINGS: Final = "postings"
KEYS: Final = "keys"
LIVING: Final = "living"
PARTIALS: Final = "partials"
QUARANTINE: Final = "quarantine"

FAMILIES: Final[Mapping[str, FamilyOptions]] = {
    META: FamilyOptions(write_buffer_bytes=4 << 20),
    TAIL: FamilyOptions(blobs=True, compressed=False, blobs_rewritten=False),
    COLUMNS: FamilyOptions(blobs=True, compressed=False, blobs_rewritten=False),
    POSTINGS: FamilyOptions(blobs=True, compressed=False, blobs_rewritten=False),
    KEYS: FamilyOptions(filtered=True),
    LIVING: FamilyOptions(filtered=True),
    PARTIALS: FamilyOptions(write_buffer_bytes=4 << 20),
    QUARANTINE: FamilyOptions(blobs=True, write_buffer_bytes=4 << 20),
}

SEGMENT_FAMILIES: Final = (COLUMNS, POSTINGS)
"""What a segment's blocks are in, under its number."""

FORMAT: Final = b"5"
FORMAT_KEY: Final = b"format"
COUNTERS_KEY: Final = b"counters"
SCHEMA_KEY: Final = b"schema"
MANIFEST_KEY: Final = b"manifest"
REBUILD_KEY: Final = b"rebuild"
"""Where a replica stood before it was emptied; removed when it is there again."""
STREAM_PREFIX: Final = b"stream:"
TOMBSTONE_PREFIX: Final = b"tomb:"
SETTLED_PREFIX: Final = b"settled:"
"""What became of a record of the quarantine by a command: DROPPED or REDRIVEN."""
DROPPED: Final = b"dropped"
REDRIVEN: Final = b"redriven"

_U32: Final = struct.Struct(">I")
_U64: Final = struct.Struct(">Q")
_COUNTERS: Final = struct.Struct(">QQQQ16sQ")
_QUARANTINED: Final = struct.Struct(">qI")


@dataclass(frozen=True, slots=True)
class StreamRecord:
    """One partition that the shard reads; its number is its place in the shard's list.

    ``log_time_us`` is the running maximum of its rows' log times, microseconds since 1970 UTC;
    ``marks`` are those of :class:`leaf.logtime.LogTime`. ``leader_epoch`` is that of what lies
    right before ``next_offset``, -1 if it is not known.
    """

    source: str
    partition: int
    identity: str
    next_offset: int = 0
    log_time_us: int = -(1 << 63)
    marks: tuple[Mark, ...] = ()
    leader_epoch: int = -1


@dataclass(frozen=True, slots=True)
class Counters:
    """What grows with every push. ``block_next`` is the number of the next tail block.

    ``rows_late`` are those that were older than what is retained when they came.
    """

    block_next: int = 0
    rows_born: int = 0
    quarantined: int = 0
    tombstone_next: int = 0
    digest: int = 0
    rows_late: int = 0


@dataclass(frozen=True, slots=True)
class SegmentEntry:
    """A published segment, as the manifest names it."""

    segment: int
    rows: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """Which segments exist, and the first tail block that none of them holds.

    ``tombstone_from`` is the number of the first block of tombstones.
    """

    sealed_to_block: int = 0
    segment_next: int = 0
    segments: tuple[SegmentEntry, ...] = field(default=())
    tombstone_from: int = 0


def number_key(number: int) -> bytes:
    """The key of a tail block, or the prefix of a segment's keys."""
    return _U64.pack(number)


def number_of(key: bytes) -> int:
    """The number at the beginning of a key."""
    number: int = _U64.unpack_from(key)[0]
    return number


def stream_key(stream: int) -> bytes:
    """The key of a stream's record."""
    return STREAM_PREFIX + _U32.pack(stream)


def tombstone_key(number: int) -> bytes:
    """The key of a block of tombstones."""
    return TOMBSTONE_PREFIX + _U64.pack(number)


def quarantine_key(stream: int, offset: int) -> bytes:
    """The key of a quarantined record."""
    return _U32.pack(stream) + _U64.pack(offset)


def settled_key(stream: int, place: int) -> bytes:
    """The key of what became of a document of a record that was in quarantine."""
    return SETTLED_PREFIX + quarantine_key(stream, place)


def encode_stream(record: StreamRecord) -> bytes:
    """A stream's record as stored."""
    return orjson.dumps(asdict(record))


def decode_stream(data: bytes) -> StreamRecord:
    """Raises AlderError(CORRUPT)."""
    try:
        fields = orjson.loads(data)
        fields["marks"] = tuple(Mark(**mark) for mark in fields["marks"])
        return StreamRecord(**fields)
    except (orjson.JSONDecodeError, TypeError, KeyError) as error:
        raise AlderError(Reason.CORRUPT, f"a stream's record can't be read: {error}") from error


def encode_counters(counters: Counters) -> bytes:
    """The counters as stored."""
    return _COUNTERS.pack(
        counters.block_next,
        counters.rows_born,
        counters.quarantined,
        counters.tombstone_next,
        counters.digest.to_bytes(16, "big"),
        counters.rows_late,
    )


def decode_counters(data: bytes) -> Counters:
    """Raises AlderError(CORRUPT)."""
    if len(data) != _COUNTERS.size:
        raise AlderError(Reason.CORRUPT, "the shard's counters can't be read")
    block_next, rows_born, quarantined, tombstone_next, digest, late = _COUNTERS.unpack(data)
    return Counters(
        block_next, rows_born, quarantined, tombstone_next, int.from_bytes(digest, "big"), late
    )


def encode_manifest(manifest: Manifest) -> bytes:
    """The manifest as stored."""
    return orjson.dumps(asdict(manifest))


def decode_manifest(data: bytes) -> Manifest:
    """Raises AlderError(CORRUPT)."""
    try:
        fields = orjson.loads(data)
        fields["segments"] = tuple(SegmentEntry(**entry) for entry in fields["segments"])
        return Manifest(**fields)
    except (orjson.JSONDecodeError, TypeError, KeyError) as error:
        raise AlderError(Reason.CORRUPT, f"the manifest can't be read: {error}") from error


def encode_positions(positions: PositionVector) -> bytes:
    """A position vector as stored."""
    return orjson.dumps(
        [[source, partition, at] for (source, partition), at in positions.offsets.items()]
    )


def decode_positions(data: bytes) -> PositionVector:
    """The inverse of :func:`encode_positions`; none for no bytes. Raises AlderError(CORRUPT)."""
    try:
        entries = orjson.loads(data) if data else []
        return PositionVector({(source, partition): at for source, partition, at in entries})
    except (orjson.JSONDecodeError, TypeError, ValueError) as error:
        raise AlderError(Reason.CORRUPT, f"stored positions can't be read: {error}") from error


def encode_deaths(deaths: Deaths) -> bytes:
    """Victims, killers, times and numbers as stored."""
    columns = [deaths.victims, deaths.killers, deaths.times, deaths.numbers]
    return np.stack(columns).astype(">i8").tobytes()


def decode_deaths(data: bytes) -> Deaths:
    """Raises AlderError(CORRUPT)."""
    if len(data) % 32:
        raise AlderError(Reason.CORRUPT, "a block of tombstones is cut off")
    return Deaths(*np.frombuffer(data, dtype=">i8").astype(np.int64).reshape(4, -1))


def encode_quarantined(reason: str, value: bytes, size_bytes: int) -> bytes:
    """A quarantined record as stored."""
    text = reason.encode()
    return _QUARANTINED.pack(size_bytes, len(text)) + text + value


def decode_quarantined(
    record: StreamRecord, key: bytes, data: bytes
) -> common_pb2.QuarantinedRecord:
    """A quarantined record of that stream as it travels. Raises AlderError(CORRUPT)."""
    try:
        size_bytes, length = _QUARANTINED.unpack_from(data)
        value_begin = _QUARANTINED.size + length
        reason = data[_QUARANTINED.size : value_begin].decode()
    except (struct.error, UnicodeDecodeError) as error:
        raise AlderError(Reason.CORRUPT, f"a quarantined record can't be read: {error}") from error
    return common_pb2.QuarantinedRecord(
        source=record.source,
        partition=record.partition,
        offset=_U64.unpack_from(key, _U32.size)[0],
        reason=reason,
        value=data[value_begin:],
        size_bytes=size_bytes,
    )
