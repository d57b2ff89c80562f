"""How far shards are behind the log's end, in time.

The lag of a shard is the age of the oldest record of the log that it has not applied: an answer
whose lag is t holds every record that was appended more than t ago. Files have no such time, and
topics are not asked: only the embedded log counts. Ages are told by the clock here and the log's
timestamps, so clocks of two machines that differ make it differ as much.
"""

import math
from collections.abc import Iterable, Mapping

from aggregator.execution.coverage import Coverage, Missing
from aggregator.execution.scatter import gather
from alder.arrow import from_bytes
from alder.catalog import LOG_SOURCE, Collection
from alder.errors import AlderError, Reason
from alder.interfaces import LogClient
from alder.positions import PositionVector
from alder.v1 import log_pb2


async def leave_out_stale(
    log: LogClient,
    collection: Collection,
    positions: Mapping[int, PositionVector],
    coverage: Coverage,
    now_us: int,
    timeout_s: float,
) -> float:
    """Notes shards that are further behind than the policy allows, which must bound the lag.

    Returns the lag of the others in microseconds. Raises AlderError(UNAVAILABLE) where the others
    are too few, and what the log raises.
    """
    bound_us = coverage.policy.staleness_us_max or 0
    lags = await lags_us(log, collection, positions, now_us, timeout_s)
    leaves = {one.shard: one.leaf for one in collection.shards}
    for shard, lag_us in lags.items():
        if lag_us > bound_us:
            why = f"it is {lag_us / 1e6:.1f} s behind the log"
            coverage.leave_out(collection.collection_id, Missing(shard, leaves[shard], why))
    coverage.covered(collection)
    return max((lag_us for lag_us in lags.values() if lag_us <= bound_us), default=0.0)


async def lags_us(
    log: LogClient,
    collection: Collection,
    positions: Mapping[int, PositionVector],
    now_us: int,
    timeout_s: float,
) -> dict[int, float]:
    """The lag of each shard in microseconds; infinite where the log begins later than its position.

    Raises AlderError: UNAVAILABLE and others where the log does not tell.
    """
    if all(source.name != LOG_SOURCE for source in collection.sources):
        return dict.fromkeys(positions, 0.0)
    request = log_pb2.OffsetsRequest(topic=collection.log_topic)
    bounds = (await log.offsets(request, timeout_s=timeout_s)).partitions
    behind = _behind(bounds, positions)
    begins = {entry.partition: entry.begin_offset for entry in bounds}

    async def age_us(partition: int, offset: int) -> float:
        if offset < begins[partition]:
            return math.inf
        read = log_pb2.ReadRequest(
            topic=collection.log_topic, partition=partition, offset=offset, size_bytes_max=1
        )
        records = (await log.read(read, timeout_s=timeout_s)).records
        if not records:
            raise AlderError(
                Reason.UNAVAILABLE,
                f"the log of {collection.name} does not tell how old its records are; try again",
            )
        appended_us: int = from_bytes(records).column("timestamp_us")[0].as_py()
        return float(max(now_us - appended_us, 0))

    ages = dict(zip(behind, await gather([age_us(*place) for place in behind]), strict=True))
    return {
        shard: max(
            (ages.get((part, vector[LOG_SOURCE, part]), 0.0) for part in begins), default=0.0
        )
        for shard, vector in positions.items()
    }


def _behind(
    bounds: Iterable[log_pb2.PartitionOffsets], positions: Mapping[int, PositionVector]
) -> list[tuple[int, int]]:
    """Partition and position wherever a shard has not reached the end, each once."""
    return sorted(
        {
            (entry.partition, vector[LOG_SOURCE, entry.partition])
            for entry in bounds
            for vector in positions.values()
            if vector[LOG_SOURCE, entry.partition] < entry.end_offset
        }
    )
