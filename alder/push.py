"""A push from a tailer to a leaf, as it is handed over within a process.

Its rows are tens of megabytes that a message would copy when they are put in and again when they
are taken out. So a leaf takes whatever has the fields of ``ApplyRequest`` (``leaf.proto``): the
message itself, or a :class:`Push` that refers to the rows where they are.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from alder.v1 import leaf_pb2


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


def message_of(push: PushFields) -> leaf_pb2.ApplyRequest:
    """A push as it travels."""
    if isinstance(push, leaf_pb2.ApplyRequest):
        return push
    message = leaf_pb2.ApplyRequest(
        collection=push.collection,
        collection_id=push.collection_id,
        epoch=push.epoch,
        source=push.source,
        partition=push.partition,
        source_identity=push.source_identity,
        overflow=push.overflow,
        leader_epoch=push.leader_epoch,
    )
    for part in push.shards:
        # Made in place: a message that is put into another one is encoded and decoded again.
        message.shards.add(
            shard=part.shard,
            from_offset=part.from_offset,
            to_offset=part.to_offset,
            rows=bytes(part.rows),
            quarantine=bytes(part.quarantine),
        )
    return message
