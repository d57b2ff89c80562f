"""What users ask besides SQL: fields of a collection, the state of the cluster."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from aggregator.execution.queries import Queries
from aggregator.execution.staleness import lag_of
from aggregator.statement.names import Names
from alder.catalog import LOG_SOURCE, Collection, Snapshot
from alder.errors import AlderError
from alder.interfaces import LogClient, NodeDirectory
from alder.positions import PartitionKey, PositionVector, cut
from alder.v1 import catalog_pb2, leaf_pb2, log_pb2, query_pb2, tailer_pb2

T = TypeVar("T")


async def described(
    queries: Queries, name: str, timeout_s: float
) -> query_pb2.DescribeCollectionResponse:
    """A collection with its columns as SQL sees them. Raises AlderError(UNKNOWN_COLLECTION)."""
    collection = await queries.collection(name)
    state = await queries.scatter.state(collection, PositionVector(), timeout_s)
    return query_pb2.DescribeCollectionResponse(
        collection=collection.to_proto(),
        columns=[
            query_pb2.Column(
                path=path, sql_type=entry.sql_type, types=sorted(state.schema.fields[path])
            )
            for path, entry in Names(state.schema).by_path()
        ],
        overflow=state.schema.overflow,
    )


async def status(
    snapshot: Snapshot, directory: NodeDirectory, log: LogClient, now_us: int, timeout_s: float
) -> query_pb2.StatusResponse:
    """The state of the cluster; nodes that don't answer in time are named, not waited for.

    ``now_us`` is compared with the log times of records that wait.
    """
    leaf_ids = [node.node_id for node in snapshot.live_nodes(catalog_pb2.NODE_ROLE_LEAF)]
    owners = {shard.leaf for one in snapshot.collections.values() for shard in one.shards}
    leaf_ids = sorted({*leaf_ids, *owners})
    tailer_ids = [node.node_id for node in snapshot.live_nodes(catalog_pb2.NODE_ROLE_TAILER)]

    async def leaf(node_id: str) -> leaf_pb2.DescribeLeafResponse:
        client = directory.leaf(node_id)
        return await client.describe(leaf_pb2.DescribeLeafRequest(), timeout_s=timeout_s)

    async def tailer(node_id: str) -> tailer_pb2.DescribeTailerResponse:
        client = directory.tailer(node_id)
        request = tailer_pb2.DescribeTailerRequest(look=True)
        return await client.describe(request, timeout_s=timeout_s)

    async def offsets(collection: Collection) -> log_pb2.OffsetsResponse:
        request = log_pb2.OffsetsRequest(topic=collection.log_topic)
        return await log.offsets(request, timeout_s=timeout_s)

    collections = list(snapshot.collections.values())
    leaves, tailers, ends = await asyncio.gather(
        asyncio.gather(*(_attempt(leaf(one), timeout_s) for one in leaf_ids)),
        asyncio.gather(*(_attempt(tailer(one), timeout_s) for one in tailer_ids)),
        asyncio.gather(*(_attempt(offsets(one), timeout_s) for one in collections)),
    )
    silent = [
        node_id
        for node_id, answer in zip(leaf_ids + tailer_ids, [*leaves, *tailers], strict=True)
        if answer is None
    ]
    down = [node.node_id for node in snapshot.nodes.values() if not node.live]
    described = [answer for answer in leaves if answer is not None]
    working = [answer for answer in tailers if answer is not None]
    lags = []
    for collection, end in zip(collections, ends, strict=True):
        lags += _lags(collection, described, working, end, now_us)
    return query_pb2.StatusResponse(
        catalog=snapshot.to_proto(),
        leaves=described,
        tailers=working,
        lags=lags,
        unreachable=sorted({*silent, *down}),
    )


async def log_ends(
    log: LogClient, collection: Collection, timeout_s: float
) -> dict[PartitionKey, int]:
    """The next offset of each log partition of a collection; empty where the log is silent."""
    request = log_pb2.OffsetsRequest(topic=collection.log_topic)
    ends = await _attempt(log.offsets(request, timeout_s=timeout_s), timeout_s)
    bounds = ends.partitions if ends is not None else ()
    return {(LOG_SOURCE, entry.partition): entry.end_offset for entry in bounds}


def _lags(
    collection: Collection,
    leaves: list[leaf_pb2.DescribeLeafResponse],
    tailers: list[tailer_pb2.DescribeTailerResponse],
    log_ends: log_pb2.OffsetsResponse | None,
    now_us: int,
) -> list[query_pb2.SourceLag]:
    vectors = [
        PositionVector.from_proto(shard.positions)
        for leaf in leaves
        for shard in leaf.shards
        if shard.collection == collection.name
    ]
    at = cut(vectors) if vectors else PositionVector()
    reports = {
        (entry.source, entry.partition): entry
        for tailer in tailers
        for entry in tailer.partitions
        if entry.collection == collection.name
    }
    ends = {key: entry.end_offset for key, entry in reports.items()}
    for bounds in log_ends.partitions if log_ends is not None else ():
        ends[LOG_SOURCE, bounds.partition] = bounds.end_offset
    known = {
        (source.name, entry.partition)
        for source in collection.sources
        for entry in source.partitions
    }
    lags = []
    for source, partition in sorted({*known, *ends, *at}):
        report = reports.get((source, partition), tailer_pb2.PartitionProgress())
        position, end = at[source, partition], ends.get((source, partition), -1)
        is_at_end = source == LOG_SOURCE and 0 <= end <= position
        lags.append(
            query_pb2.SourceLag(
                collection=collection.name,
                source=source,
                partition=partition,
                next_offset=position,
                end_offset=end,
                # The log's end was asked for at this moment.
                lag_us=0 if is_at_end else lag_of(position, report, now_us),
                applied_log_time_us=report.applied_log_time_us,
            )
        )
    return lags


async def _attempt(call: Awaitable[T], timeout_s: float) -> T | None:
    try:
        async with asyncio.timeout(timeout_s):
            return await call
    except (AlderError, TimeoutError):
        return None
