"""A collection built anew from its log: the same tailer and the same leaf, in this process.

The catalog that they follow stands still and names this leaf for the shards that are wanted; the
others go to one that forgets them. Logs and topics that they read end at the cut, and a log has
only what is to be compared.
"""

import asyncio
import os
import shutil
import tempfile
import time
from bisect import bisect_right
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

import pyarrow as pa

from alder.arrow import from_bytes, to_bytes
from alder.catalog import LOG_SOURCE, Collection, Node, Snapshot, Source, SourcePartition
from alder.cli.proof.model import Coverage, Range
from alder.errors import AlderError, Reason
from alder.interfaces import CatalogClient, LogReader, PushClient
from alder.positions import PartitionKey, PositionVector, cut
from alder.push import PushFields
from alder.reads import Read, ReadFields
from alder.rocks import file_bytes
from alder.v1 import catalog_pb2, leaf_pb2, log_pb2, quarantine_pb2, tailer_pb2
from leaf.proving import Prover
from leaf.service import Leaf
from leaf.settings import LeafSettings
from tailer.merged import merged_documents
from tailer.service import Tailer
from tailer.settings import TailerSettings
from tailer.sources.choose import open_partition
from tailer.sources.kafka.clients import KafkaClients
from tailer.sources.model import PartitionSource, RawBatch, empty_batch

HERE: Final = "scratch"
ELSEWHERE: Final = "elsewhere"
POLL_S: Final = 0.1
STALL_S_MAX: Final = 120.0
"""Without a row for so long, the building is given up."""
ERROR_S_MAX: Final = 10.0
"""The same where the tailer says why."""
TAILER_SETTINGS: Final = TailerSettings(audit_interval_s=5.0)
SETTINGS: Final = LeafSettings(
    merge_factor=0,
    tail_bytes_max=128 << 20,
    cache_bytes=64 << 20,
    codes_bytes=1 << 20,
    dictionary_bytes=1 << 20,
    partials_bytes=1 << 20,
    write_buffers_bytes=64 << 20,
    query_threads=2,
)
"""Nothing is merged, and no query comes twice."""
Progress = Callable[[int], None]
"""Is told how many offsets have been built."""
NO_FILES: Final = "file://"
"""A source's URL under which no further files are found."""


@asynccontextmanager
async def scratch_directory(parent: Path | None) -> AsyncIterator[Path]:
    """A directory of its own, which is removed afterwards. Raises OSError."""
    path = Path(await asyncio.to_thread(tempfile.mkdtemp, "", "alder-verify-", parent))
    try:
        yield path
    finally:
        await asyncio.to_thread(shutil.rmtree, path, True)


@asynccontextmanager
async def built(
    collection: Collection,
    coverage: Coverage,
    catalog: CatalogClient,
    log: LogReader,
    settings: TailerSettings,
    directory: Path,
    size_bytes_max: int,
    progress: Progress,
) -> AsyncIterator[Prover]:
    """What tells of the shards of a coverage, built up to its cut.

    Raises AlderError: LIMIT where they take more than ``size_bytes_max`` on disk, and whatever
    keeps the tailer from going on.
    """
    placed = _placed(collection, coverage)
    follower = _StillFollower(_snapshot(placed))
    part = PartOfLog(log, coverage)
    documents = merged_documents(settings.decode)
    leaf = Leaf(HERE, directory, follower, SETTINGS, documents=documents)
    nodes = _Nodes(leaf, [s.shard for s in placed.shards if s.leaf == ELSEWHERE])
    ends = {one.key: one.end for one in coverage.ranges}
    tailer = Tailer(
        HERE, catalog, follower, nodes, part, settings, open_source=partial(_opened, ends)
    )
    await leaf.start()
    try:
        await tailer.start()
        try:
            await _Building(
                leaf, tailer, part, placed, coverage, directory, size_bytes_max, progress
            ).wait()
        finally:
            await tailer.close()
        yield leaf.prover
    finally:
        await leaf.close()


class PartOfLog:
    """Implements :class:`alder.interfaces.LogReader`: some ranges of a log.

    Offsets between two ranges don't exist here. Reads at the end wait in vain.
    """

    def __init__(self, log: LogReader, coverage: Coverage) -> None:
        self.failure: AlderError | None = None
        """Why the rest can't be read any more."""
        self._log = log
        self._at = coverage.at
        self._ranges: dict[int, list[Range]] = {}
        for one in coverage.ranges:
            if one.key[0] == LOG_SOURCE:
                self._ranges[one.key[1]] = coverage.ranges_of(one.key)

    async def read(
        self, request: log_pb2.ReadRequest, timeout_s: float | None = None
    ) -> ReadFields:
        """Records of the first range that is not before the offset; none from its end on."""
        one = self._next(request.partition, request.offset)
        if one is None or self.failure is not None:
            await asyncio.sleep(request.wait_ms / 1_000)
            end = self._at[LOG_SOURCE, request.partition]
            return Read(request.offset, b"", end)
        inner = log_pb2.ReadRequest()
        inner.CopyFrom(request)
        inner.offset = max(one.begin, request.offset)
        try:
            response = await self._log.read(inner, timeout_s)
        except AlderError as error:
            if error.reason in {Reason.OUT_OF_RANGE, Reason.IDENTITY_CHANGED}:
                self.failure = error
                return Read(request.offset, b"", 0)
            raise
        return _up_to(response, one.end) if response.records else response

    def _next(self, partition: int, offset: int) -> Range | None:
        ranges = self._ranges.get(partition, [])
        place = bisect_right(ranges, offset, key=lambda one: one.end)
        return ranges[place] if place < len(ranges) else None


def _up_to(response: ReadFields, end: int) -> ReadFields:
    """The records before an offset."""
    table: pa.Table = from_bytes(response.records)
    if response.offset + table.num_rows <= end:
        return response
    records = to_bytes(table.slice(0, end - response.offset))
    return Read(response.offset, records, response.end_offset)


class _UpTo:
    """Implements :class:`tailer.sources.model.PartitionSource`: a topic that ends at an offset."""

    finite = False

    def __init__(self, inner: PartitionSource, end: int) -> None:
        self._inner = inner
        self._end = end

    async def read(self, offset: int, wait_ms: int, leader_epoch: int = -1) -> RawBatch:
        """What comes before the end; nothing from there on."""
        if offset >= self._end:
            await asyncio.sleep(wait_ms / 1_000)
            return empty_batch(offset, source_end=self._end)
        batch = await self._inner.read(offset, wait_ms, leader_epoch)
        if batch.end <= self._end:
            return batch
        return batch.before(self._end)

    def close(self) -> None:
        """Closes the topic."""
        self._inner.close()


def _opened(
    ends: Mapping[PartitionKey, int],
    log: LogReader,
    topic: str,
    source: Source,
    partition: SourcePartition,
    settings: TailerSettings,
    executor: Executor,
    busy_partitions: Callable[[], int],
    kafka: KafkaClients,
) -> PartitionSource:
    """As ``open_partition``; topics end where their range does."""
    found = open_partition(
        log, topic, source, partition, settings, executor, busy_partitions, kafka
    )
    if not source.is_topic:
        return found
    return _UpTo(found, ends[source.name, partition.partition])


class _Forgetful:
    """Implements :class:`alder.interfaces.PushClient`: takes rows and keeps none."""

    def __init__(self, shards: list[int]) -> None:
        self._shards = shards
        self._positions: dict[PartitionKey, int] = {}

    async def apply(
        self, request: PushFields, timeout_s: float | None = None
    ) -> leaf_pb2.ApplyResponse:
        """Agrees to everything."""
        response = leaf_pb2.ApplyResponse()
        for part in request.shards:
            self._positions[request.source, request.partition] = part.to_offset
            response.shards.add(
                shard=part.shard,
                status=leaf_pb2.APPLY_STATUS_APPLIED,
                next_offset=part.to_offset,
            )
        return response

    async def positions(
        self, request: leaf_pb2.PositionsRequest, timeout_s: float | None = None
    ) -> leaf_pb2.PositionsResponse:
        """The end of what came, for every shard."""
        vector = PositionVector(self._positions).to_proto()
        shards = [leaf_pb2.ShardPositions(shard=n, positions=vector) for n in self._shards]
        return leaf_pb2.PositionsResponse(shards=shards)

    async def redrive(
        self, request: quarantine_pb2.LeafRedriveRequest, timeout_s: float | None = None
    ) -> quarantine_pb2.LeafRedriveResponse:
        """Nothing is in quarantine, so nothing is refused."""
        return quarantine_pb2.LeafRedriveResponse()


class _Nodes:
    """Implements :class:`alder.interfaces.PushDirectory`."""

    def __init__(self, here: Leaf, elsewhere: list[int]) -> None:
        self._here = here
        self._elsewhere = _Forgetful(elsewhere)

    def leaf(self, node_id: str) -> PushClient:
        """One of the two."""
        return self._here if node_id == HERE else self._elsewhere


class _StillFollower:
    """A catalog that never changes."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot

    async def changed(self) -> None:
        """Waits for ever."""
        await asyncio.Event().wait()


def _snapshot(collection: Collection) -> Snapshot:
    tailer = Node(HERE, catalog_pb2.NODE_ROLE_TAILER, "")
    return Snapshot(1, {collection.name: collection}, {HERE: tailer})


def _placed(collection: Collection, coverage: Coverage) -> Collection:
    """The collection with the shards that are wanted here, and the partitions that are read."""
    read = {one.key for one in coverage.ranges}
    shards = tuple(
        replace(shard, leaf=HERE if shard.shard in coverage.shards else ELSEWHERE)
        for shard in collection.shards
    )
    begins = {one.key: one.begin for one in coverage.ranges if one.key[0] != LOG_SOURCE}
    sources = [
        replace(
            source,
            paused=False,
            url=source.url if source.url == LOG_SOURCE or source.is_topic else NO_FILES,
            partitions=tuple(
                replace(p, begin_offset=max(p.begin_offset, begins.get(key, 0)))
                for p in source.partitions
                for key in [(source.name, p.partition)]
                if key in read
            ),
        )
        for source in collection.sources
    ]
    return replace(collection, shards=shards, sources=tuple(sources))


@dataclass(slots=True)
class _Building:
    """Waits until everything is built."""

    leaf: Leaf
    tailer: Tailer
    part: PartOfLog
    collection: Collection
    coverage: Coverage
    directory: Path
    size_bytes_max: int
    progress: Progress

    async def wait(self) -> None:
        """Raises AlderError."""
        best, moved_s = -1, time.monotonic()
        while True:
            missing, built_offsets = await self._missing()
            self.progress(built_offsets)
            if not missing:
                return
            if built_offsets > best:
                best, moved_s = built_offsets, time.monotonic()
            await self._check(missing, time.monotonic() - moved_s)
            await asyncio.sleep(POLL_S)

    async def _missing(self) -> tuple[list[Range], int]:
        """The last range of each partition that is not built, and how much is."""
        request = leaf_pb2.PositionsRequest(
            collection=self.collection.name, collection_id=self.collection.collection_id
        )
        answer = await self.leaf.positions(request)
        reached = cut(PositionVector.from_proto(shard.positions) for shard in answer.shards)
        ranges = self.coverage.ranges
        count = sum(max(0, min(one.end, reached[one.key]) - one.begin) for one in ranges)
        return [one for one in ranges if reached[one.key] < one.end], count

    async def _check(self, missing: list[Range], still_s: float) -> None:
        if self.part.failure is not None:
            raise self.part.failure
        size_bytes = await asyncio.to_thread(_bytes_below, self.directory)
        if size_bytes > self.size_bytes_max:
            raise AlderError(
                Reason.LIMIT,
                f"the shards that are built take more than {self.size_bytes_max >> 20} MiB in "
                f"{self.directory.parent}; allow more with --scratch-mb, or take a --sample",
            )
        described = await self.tailer.describe(tailer_pb2.DescribeTailerRequest())
        errors = [entry.error for entry in described.partitions if entry.error]
        if still_s > STALL_S_MAX or (errors and still_s > ERROR_S_MAX):
            why = errors[0] if errors else "nothing more came of the log"
            raise AlderError(
                Reason.UNAVAILABLE, f"{missing[0]} could not be built from the log: {why}"
            )


def _bytes_below(directory: Path) -> int:
    return sum(
        file_bytes(Path(root) / name) for root, _, names in os.walk(directory) for name in names
    )
