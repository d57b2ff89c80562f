"""A collection's leaves as a tailer sees them: they tell positions and take pushes."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from alder.catalog import Collection
from alder.interfaces import PushDirectory
from alder.positions import PartitionKey, PositionVector
from alder.push import Push
from alder.v1 import leaf_pb2
from tailer.core import ShardResult


@dataclass(frozen=True, slots=True)
class LeafAnswers:
    """The position vector of every shard that a leaf told, and the paths that have columns.

    ``leader_epochs``: by shard, of partitions that have leaders, which one wrote what lies right
    before the position.
    """

    positions: Mapping[int, PositionVector]
    paths: frozenset[str]
    leader_epochs: Mapping[int, Mapping[PartitionKey, int]] = field(default_factory=dict)

    def of_partition(self, source: str, partition: int) -> dict[int, int]:
        """The position of each shard in one partition."""
        return {shard: vector[source, partition] for shard, vector in self.positions.items()}

    def leader_epochs_at(self, source: str, partition: int) -> dict[int, int]:
        """By position of a shard in one partition: the leader epoch there."""
        return {
            self.positions[shard][source, partition]: epochs[source, partition]
            for shard, epochs in self.leader_epochs.items()
            if (source, partition) in epochs
        }


def joined(answers: Iterable[LeafAnswers]) -> LeafAnswers:
    """What several leaves told, in one."""
    positions: dict[int, PositionVector] = {}
    paths: frozenset[str] = frozenset()
    leader_epochs: dict[int, Mapping[PartitionKey, int]] = {}
    for answer in answers:
        positions |= answer.positions
        paths |= answer.paths
        leader_epochs |= answer.leader_epochs
    return LeafAnswers(positions, paths, leader_epochs)


async def ask_positions(
    directory: PushDirectory,
    collection: Collection,
    timeout_s: float,
    leaves: Iterable[str] | None = None,
) -> LeafAnswers:
    """Asks leaves of a collection (default: all). Raises AlderError if one does not answer."""
    request = leaf_pb2.PositionsRequest(
        collection=collection.name, collection_id=collection.collection_id
    )
    answers = await asyncio.gather(
        *(
            directory.leaf(leaf).positions(request, timeout_s)
            for leaf in (collection.shards_by_leaf() if leaves is None else leaves)
        )
    )
    positions = {
        entry.shard: PositionVector.from_proto(entry.positions)
        for answer in answers
        for entry in answer.shards
    }
    paths = frozenset(entry.path for answer in answers for entry in answer.schema.fields)
    leader_epochs = {
        entry.shard: {(one.source, one.partition): one.leader_epoch for one in entry.leader_epochs}
        for answer in answers
        for entry in answer.shards
    }
    return LeafAnswers(positions, paths, leader_epochs)


async def push(
    directory: PushDirectory, leaf: str, request: Push, timeout_s: float
) -> dict[int, ShardResult]:
    """Sends a push; the result per shard. Raises AlderError if no answer came."""
    response = await directory.leaf(leaf).apply(request, timeout_s)
    return {entry.shard: ShardResult(entry.status, entry.next_offset) for entry in response.shards}
