"""A push from a tailer to a leaf, as it is handed over within a process.

Its rows are tens of megabytes that a message would copy when they are put in and again when they
are taken out. So a leaf takes whatever has the fields of ``ApplyRequest`` (``leaf.proto``): the
message itself, or a :class:`Push` that refers to the rows where they are; only one that travels is
written down.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Protocol

from alder.v1 import leaf_pb2

_LENGTH_DELIMITED: Final = 2
"""Protobuf's wire type of bytes and messages."""


class ShardRowsFields(Protocol):
    """The fields of ``ShardRows``."""

    @property
    def shard(self) -> int: ...
    @property
    def from_offset(self) -> int: ...
    @property
    def to_offset(self) -> int: ...
    @property
    def rows(self) -> bytes | memoryview: ...
    @property
    def quarantine(self) -> bytes | memoryview: ...


class PushFields(Protocol):
    """The fields of ``ApplyRequest``."""

    @property
    def collection(self) -> str: ...
    @property
    def collection_id(self) -> int: ...
    @property
    def epoch(self) -> int: ...
    @property
    def source(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def source_identity(self) -> str: ...
    @property
    def overflow(self) -> bool: ...
    @property
    def leader_epoch(self) -> int: ...
    @property
    def assignment(self) -> int: ...
    @property
    def shards(self) -> Iterable[ShardRowsFields]: ...


@dataclass(frozen=True, slots=True)
class ShardRows:
    """What ``ShardRows`` says; ``rows`` and ``quarantine`` are Arrow IPC streams or empty."""

    shard: int
    from_offset: int
    to_offset: int
    rows: bytes | memoryview
    quarantine: bytes | memoryview


@dataclass(frozen=True, slots=True)
class Push:
    """What ``ApplyRequest`` says."""

    collection: str
    collection_id: int
    epoch: int
    source: str
    partition: int
    source_identity: str
    overflow: bool
    shards: tuple[ShardRows, ...]
    leader_epoch: int = -1
    assignment: int = 0


def serialized(push: PushFields) -> bytes:
    """A push as it travels: ``ApplyRequest`` in protobuf's wire format.

    Rows are copied once; a message copies them when they are put in, when it is completed and when
    it is written. The order of fields is free, and bytes, like a message in another one, are their
    tag, their length and themselves (protobuf.dev/programming-guides/encoding).
    """
    head = leaf_pb2.ApplyRequest(
        collection=push.collection,
        collection_id=push.collection_id,
        epoch=push.epoch,
        source=push.source,
        partition=push.partition,
        source_identity=push.source_identity,
        overflow=push.overflow,
        leader_epoch=push.leader_epoch,
        assignment=push.assignment,
    )
    pieces: list[bytes | memoryview] = [head.SerializeToString()]
    for part in push.shards:
        inner = _shard_pieces(part)
        size = sum(map(len, inner))
        pieces += [_before(leaf_pb2.ApplyRequest.SHARDS_FIELD_NUMBER, size), *inner]
    return b"".join(pieces)


def _shard_pieces(part: ShardRowsFields) -> list[bytes | memoryview]:
    head = leaf_pb2.ShardRows(
        shard=part.shard, from_offset=part.from_offset, to_offset=part.to_offset
    )
    pieces: list[bytes | memoryview] = [head.SerializeToString()]
    for number, content in (
        (leaf_pb2.ShardRows.ROWS_FIELD_NUMBER, part.rows),
        (leaf_pb2.ShardRows.QUARANTINE_FIELD_NUMBER, part.quarantine),
    ):
        pieces += [_before(number, len(content)), content]
    return pieces


def _before(number: int, size: int) -> bytes:
    """What stands before content of a size: the tag of its field, and the size."""
    return _varint(number << 3 | _LENGTH_DELIMITED) + _varint(size)


def _varint(value: int) -> bytes:
    """Groups of seven bits, the lowest first; all but the last have the highest bit set."""
    groups = bytearray()
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    groups.append(value)
    return bytes(groups)
