"""A push as it comes, taken apart for the shards that it is for."""

from collections.abc import Mapping

from alder.push import PushFields
from alder.v1 import leaf_pb2
from leaf.core import Decision, PushHeader
from leaf.ownership import ShardKey
from leaf.shard import Shard


def apply_all(
    request: PushFields, shards: Mapping[ShardKey, Shard], epoch: int, assignment: int
) -> leaf_pb2.ApplyResponse:
    """Applies a push to each of its shards; one that is not here answers NOT_OWNER.

    ``epoch`` and ``assignment`` are those of the catalog as it is known here.

    Raises what :meth:`Shard.apply` raises; the shards before that one have applied it.
    """
    response = leaf_pb2.ApplyResponse()
    for part in request.shards:
        shard = shards.get((request.collection_id, part.shard))
        decision = Decision(leaf_pb2.APPLY_STATUS_NOT_OWNER, 0)
        if shard is not None:
            push = PushHeader(
                request.collection_id,
                request.epoch,
                request.source,
                request.partition,
                request.source_identity,
                part.from_offset,
                part.to_offset,
                request.leader_epoch,
                request.assignment,
            )
            decision = shard.apply(
                push, epoch, part.rows, part.quarantine, request.overflow, assignment
            )
        response.shards.add(
            shard=part.shard, status=decision.status, next_offset=decision.next_offset
        )
    return response
