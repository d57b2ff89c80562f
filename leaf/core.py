"""What a shard answers to a push: the decision of invariant I2, without any I/O.

A push is accepted only if it comes from the current shard map, for this very collection, from the
source that the shard has been reading, by an assignment of partitions that is not out of date, and
begins exactly where the shard stands. Every other push changes nothing and is answered with the
shard's position, so that lost, repeated and reordered pushes can neither skip an offset nor apply
one twice.

The position alone keeps the rows right; the assignment keeps a tailer that lost its lease without
knowing from doing anything at all. The newest one is known from the catalog and from pushes, and
forgotten with the process: one that starts hears from the catalog first, which never goes back.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from alder.positions import PartitionKey, PositionVector
from alder.v1 import leaf_pb2


@dataclass(frozen=True, slots=True)
class PushHeader:
    """All of a shard's part of a push but its rows. Offsets ``[from_offset, to_offset)``."""

    collection_id: int
    epoch: int
    source: str
    partition: int
    source_identity: str
    from_offset: int
    to_offset: int
    leader_epoch: int = -1
    assignment: int = 0

    @property
    def key(self) -> PartitionKey:
        """The partition that is pushed."""
        return self.source, self.partition


@dataclass(frozen=True, slots=True)
class ShardState:
    """What the decision depends on. An identity is remembered from the first push on.

    ``leader_epochs``: of logs that have leaders, which one wrote what is before the position, -1 if
    that is not known; only the tailers know what to make of it. ``assignment``: the newest one that
    is known, from whomever.
    """

    collection_id: int
    epoch: int
    positions: PositionVector = field(default_factory=PositionVector)
    identities: Mapping[PartitionKey, str] = field(default_factory=dict)
    leader_epochs: Mapping[PartitionKey, int] = field(default_factory=dict)
    assignment: int = 0

    def informed(self, epoch: int, assignment: int, push: PushHeader) -> "ShardState":
        """With what the catalog knows, and what a push tells by having come."""
        newest = max(self.assignment, assignment, push.assignment)
        return replace(self, epoch=epoch, assignment=newest)


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer to a push; ``next_offset`` is the shard's position after it."""

    status: leaf_pb2.ApplyStatus
    next_offset: int

    @property
    def accepted(self) -> bool:
        """True if the rows are to be applied."""
        return self.status == leaf_pb2.APPLY_STATUS_APPLIED


def decide(state: ShardState, push: PushHeader) -> Decision:
    """Whether a shard in this state takes the push."""
    position = state.positions[push.key]
    if push.collection_id != state.collection_id:
        return Decision(leaf_pb2.APPLY_STATUS_NOT_OWNER, 0)
    if push.epoch != state.epoch:
        return Decision(leaf_pb2.APPLY_STATUS_STALE_EPOCH, position)
    if state.identities.get(push.key, push.source_identity) != push.source_identity:
        return Decision(leaf_pb2.APPLY_STATUS_IDENTITY_CHANGED, position)
    if push.assignment < state.assignment:
        return Decision(leaf_pb2.APPLY_STATUS_STALE_ASSIGNMENT, position)
    if push.from_offset != position or push.to_offset < push.from_offset:
        return Decision(leaf_pb2.APPLY_STATUS_POSITION_MISMATCH, position)
    return Decision(leaf_pb2.APPLY_STATUS_APPLIED, push.to_offset)


def applied(state: ShardState, push: PushHeader) -> ShardState:
    """The state after an accepted push."""
    leader_epochs = state.leader_epochs
    if push.to_offset > push.from_offset:
        # One that is not known replaces one that belongs to an earlier position.
        leader_epochs = {**leader_epochs, push.key: push.leader_epoch}
    return replace(
        state,
        leader_epochs=leader_epochs,
        positions=state.positions.advanced(push.key, push.to_offset),
        identities={**state.identities, push.key: push.source_identity},
    )
