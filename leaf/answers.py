"""What a leaf answers, as messages of the contract."""

import time
from collections.abc import Mapping

from alder.arrow import chunks, to_bytes
from alder.errors import AlderError
from alder.fragments import FragmentAnswer
from alder.positions import PositionVector
from alder.v1 import leaf_pb2
from leaf.births import cut_births
from leaf.cache import CacheUsage
from leaf.digest import to_hex
from leaf.fragmentmodel import FragmentResult
from leaf.pieces import alive_piece, holders
from leaf.shard import Shard
from leaf.shardatcut import horizon_of
from leaf.view import ShardView


def fragment_responses(result: FragmentResult, started_s: float) -> list[leaf_pb2.FragmentResponse]:
    """The stream of a fragment that began then: one Arrow stream in pieces, and the trailer."""
    pieces = chunks(to_bytes(result.table))
    responses = [leaf_pb2.FragmentResponse(arrow=piece) for piece in pieces]
    responses[-1].trailer.CopyFrom(_trailer(result, started_s))
    return responses


def fragment_answer(result: FragmentResult, started_s: float) -> FragmentAnswer:
    """The same for a caller in this process."""
    trailer = _trailer(result, started_s)
    size_bytes = result.table.nbytes if result.size_bytes is None else result.size_bytes
    return FragmentAnswer(result.table, trailer, size_bytes, result.projection, result.fixed)


def _trailer(result: FragmentResult, started_s: float) -> leaf_pb2.FragmentTrailer:
    trailer = leaf_pb2.FragmentTrailer(
        shards=result.scans,
        elapsed_us=round((time.monotonic() - started_s) * 1e6),
        joined=result.joined,
    )
    if result.left_out is not None:
        trailer.groups_left_out = True
        trailer.groups_worst = result.left_out.worst or 0
    if result.apart is not None:
        trailer.sealed_name = result.apart.name
        trailer.sealed_rows = result.apart.rows
        trailer.sealed_known = result.apart.known
    return trailer


def describe_shard(
    collection: str, number: int, shard: Shard, epoch: int
) -> leaf_pb2.ShardDescription:
    """A shard replica; pushes of an epoch before ``epoch`` can't change it any more."""
    view = shard.view
    rows, damage = 0, ""
    try:
        rows = rows_alive(view)
    except AlderError as error:
        damage = error.message
    ends = cut_births(view.streams, view.positions)
    floor = view.streams.offsets_of(view.log_time.floor()).tolist()
    return leaf_pb2.ShardDescription(
        collection=collection,
        shard=number,
        rows=rows,
        rows_stored=sum(holder.rows for holder in holders(view)),
        rows_late=view.counters.rows_late,
        tombstones=len(view.tombstones),
        history_from=PositionVector(dict(zip(view.streams, floor, strict=False))).to_proto(),
        retained_from_us=view.log_time.oldest_us(ends),
        damage=damage,
        tail_rows=view.tail_rows,
        segments=len(view.segments),
        disk_bytes=shard.size_bytes(),
        quarantined=view.counters.quarantined,
        positions=view.positions.to_proto(),
        digest=to_hex(view.counters.digest),
        epoch=epoch,
    )


def describe_caches(caches: Mapping[str, CacheUsage]) -> list[leaf_pb2.CacheDescription]:
    """Caches by what they keep."""
    return [
        leaf_pb2.CacheDescription(
            name=name,
            size_bytes=usage.size_bytes,
            size_bytes_max=usage.size_bytes_max,
            hits=usage.hits,
            misses=usage.misses,
            evictions=usage.evictions,
        )
        for name, usage in caches.items()
    ]


def rows_alive(view: ShardView) -> int:
    """Rows alive at the shard's newest. Raises AlderError(CORRUPT)."""
    if not len(view.tombstones) and not view.log_time.retain_us:
        return sum(holder.rows for holder in holders(view))
    at = horizon_of(view, None)
    return sum(alive_piece(holder, at).rows_count for holder in holders(view))
