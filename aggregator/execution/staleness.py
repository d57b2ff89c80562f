"""How far shards are behind the end of their sources, in time.

An answer whose lag is t holds every record that was appended more than t ago. For the embedded log
the lag of a shard is the age of the oldest record that it has not applied, told by the clock here
and the log's timestamps, so clocks of two machines that differ make it differ as much. For topics
it is what their tailers tell (:mod:`alder.lag`), who look at the topics' ends when they are asked;
where no tailer tells it, it is not known, which no bound on it allows. Files have no such time.
"""

import asyncio
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from aggregator.execution.coverage import Coverage, Missing
from aggregator.execution.leafcalls import gather
from alder.arrow import from_bytes
from alder.catalog import LOG_SOURCE, Collection, Source
from alder.errors import AlderError, Reason
from alder.interfaces import LogClient, NodeDirectory
from alder.lag import lag_us
from alder.positions import PartitionKey, PositionVector
from alder.v1 import log_pb2, tailer_pb2


@dataclass(frozen=True, slots=True)
class Witnesses:
    """Who tells how far behind a position is: the log, and the tailers of topics, by their ids."""

    log: LogClient
    directory: NodeDirectory
    tailers: Sequence[str]


@dataclass(frozen=True, slots=True)
class Lag:
    """Of a shard, behind the source where it is largest; infinite where it is not known."""

    us: float = 0.0
    source: str = "the log"

    def __str__(self) -> str:
        if math.isinf(self.us):
            return f"it is not known how far it is behind {self.source}"
        return f"it is {self.us / 1e6:.1f} s behind {self.source}"


async def leave_out_stale(
    witnesses: Witnesses,
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
    of_log, of_topics = await asyncio.gather(
        log_lags_us(witnesses.log, collection, positions, now_us, timeout_s),
        _topic_lags(witnesses, collection, positions, now_us, timeout_s),
    )
    leaves = {one.shard: one.leaf for one in collection.shards}
    allowed = [0.0]
    for shard, behind_us in of_log.items():
        lag = max(Lag(behind_us), of_topics[shard], key=lambda one: one.us)
        if lag.us > bound_us:
            missing = Missing(shard, leaves[shard], str(lag))
            coverage.leave_out(collection.collection_id, missing)
        else:
            allowed.append(lag.us)
    coverage.covered(collection)
    return max(allowed)


async def log_lags_us(
    log: LogClient,
    collection: Collection,
    positions: Mapping[int, PositionVector],
    now_us: int,
    timeout_s: float,
) -> dict[int, float]:
    """The lag of each shard behind the log, in microseconds.

    Infinite where the log begins later than its position. Raises AlderError: UNAVAILABLE and others
    where the log does not tell.
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


async def _topic_lags(
    witnesses: Witnesses,
    collection: Collection,
    positions: Mapping[int, PositionVector],
    now_us: int,
    timeout_s: float,
) -> dict[int, Lag]:
    """The lag of each shard behind the topic where it is largest."""
    topics = [source for source in collection.sources if source.is_topic]
    if not topics:
        return dict.fromkeys(positions, Lag())
    reports = await _reports(witnesses, collection, timeout_s)
    return {
        shard: max(
            (_topic_lag(source, vector, reports, now_us) for source in topics),
            key=lambda one: one.us,
        )
        for shard, vector in positions.items()
    }


def _topic_lag(
    source: Source,
    vector: PositionVector,
    reports: Mapping[PartitionKey, Sequence[tailer_pb2.PartitionProgress]],
    now_us: int,
) -> Lag:
    if not source.partitions:
        return Lag(math.inf, f"{source.name}, whose topic was not found yet")
    lags = []
    for entry in source.current_partitions:
        key = (source.name, entry.partition)
        told = [lag_of(vector[key], report, now_us) for report in reports.get(key, ())]
        known = [one for one in told if one is not None]
        lags.append(Lag(min(known, default=math.inf), f"{source.name}/{entry.partition}"))
    return max(lags, key=lambda one: one.us)


def lag_of(position: int, report: tailer_pb2.PartitionProgress, now_us: int) -> int | None:
    """The lag of a shard at a position in microseconds, by what a tailer tells; None: unknown."""
    waiting_us = report.waiting_log_time_us if position >= report.next_offset else 0
    return lag_us(position, report.ends, waiting_us, now_us)


async def _reports(
    witnesses: Witnesses, collection: Collection, timeout_s: float
) -> dict[PartitionKey, list[tailer_pb2.PartitionProgress]]:
    """What tailers tell of each partition. One that changes hands may be told by two."""
    request = tailer_pb2.DescribeTailerRequest(collection=collection.name, look=True)

    async def told(node_id: str) -> tailer_pb2.DescribeTailerResponse:
        try:
            client = witnesses.directory.tailer(node_id)
            return await client.describe(request, timeout_s=timeout_s / 2)
        except AlderError:
            return tailer_pb2.DescribeTailerResponse()

    reports: dict[PartitionKey, list[tailer_pb2.PartitionProgress]] = {}
    for answer in await asyncio.gather(*map(told, witnesses.tailers)):
        for report in answer.partitions:
            reports.setdefault((report.source, report.partition), []).append(report)
    return reports


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
