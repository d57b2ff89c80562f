"""The tailer: takes over the partitions that are its own and feeds the collections' shards.

Which partitions are its own follows from the catalog alone (rendezvous hashing over the live
tailers), so nobody assigns them and no change of the catalog names one. Two tailers may hold a
partition for a moment, when their snapshots differ; the leaves keep that harmless (I2), and refuse
the one that goes by the older assignment as soon as they know of the newer (``tailer.fence``). A
tailer without a lease has no partition. It keeps no state: a new owner asks the leaves.
"""

import asyncio
import logging
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Protocol

from alder.catalog import LOG_SOURCE, Collection, Snapshot, Source, SourcePartition
from alder.errors import AlderError, Reason
from alder.interfaces import CatalogClient, LogReader, PushDirectory
from alder.placement import owner, owners
from alder.v1 import catalog_pb2, quarantine_pb2, tailer_pb2
from tailer.builders import builder_of
from tailer.discovery import Discovery
from tailer.ends import LookedAt, PartitionEnds
from tailer.fence import Fence
from tailer.lanes import PartitionLanes
from tailer.leaves import ask_positions
from tailer.partition import PartitionTask
from tailer.paused import PausedPartition
from tailer.reach import missing_of
from tailer.redrive import RedrivenPartition, Redriver
from tailer.settings import TailerSettings
from tailer.sources.choose import open_partition
from tailer.sources.kafka.clients import KafkaClients
from tailer.sources.model import PartitionSource
from tailer.topics import TopicDiscovery

logger = logging.getLogger(__name__)
PartitionId = tuple[int, str, int]
DiscoveryId = tuple[int, str]


class Follower(Protocol):
    """The catalog as it is known here: ``alder.membership.CatalogFollower``."""

    @property
    def snapshot(self) -> Snapshot: ...

    async def changed(self) -> None: ...


class Tailer:
    """A node of role tailer."""

    def __init__(
        self,
        node_id: str,
        catalog: CatalogClient,
        follower: Follower,
        directory: PushDirectory,
        log: LogReader,
        settings: TailerSettings | None = None,
        holds_lease: Callable[[], bool] = lambda: True,
        open_source: Callable[..., PartitionSource] = open_partition,
    ) -> None:
        """``holds_lease`` says whether this node may go on as a live one (default: always).

        ``open_source`` opens partitions, as ``open_partition`` does.
        """
        self._node_id = node_id
        self._catalog = catalog
        self._follower = follower
        self._directory = directory
        self._log = log
        self._settings = settings or TailerSettings()
        self._holds_lease = holds_lease
        self._open_source = open_source
        self._kafka = KafkaClients(self._settings.kafka)
        self._ends = PartitionEnds(log, self._kafka, self._settings)
        self._executor = ThreadPoolExecutor(self._settings.worker_threads, "tailer")
        self._gate = asyncio.Semaphore(2 * self._settings.worker_threads)
        self._partitions: dict[PartitionId, tuple[PartitionLanes, asyncio.Task[None]]] = {}
        self._paused: dict[PartitionId, PausedPartition] = {}
        self._discoveries: dict[
            DiscoveryId, tuple[Discovery | TopicDiscovery, asyncio.Task[None]]
        ] = {}
        self._background: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begins to follow the catalog; returns at once."""
        self._background = [
            asyncio.create_task(self._follow()),
            asyncio.create_task(self._audit()),
            asyncio.create_task(self._ends.run_forever()),
        ]

    async def close(self) -> None:
        """Stops every partition where it stands; the leaves know where that is."""
        running = [
            *self._background,
            *(task for _, task in self._partitions.values()),
            *(task for _, task in self._discoveries.values()),
        ]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await self._ends.close()
        self._partitions.clear()
        self._discoveries.clear()
        await asyncio.to_thread(self._executor.shutdown)

    async def describe(
        self, request: tailer_pb2.DescribeTailerRequest, timeout_s: float | None = None
    ) -> tailer_pb2.DescribeTailerResponse:
        """The partitions read here, with progress and errors."""
        if request.look:
            # What is known without it is true as well, only older.
            with suppress(TimeoutError):
                async with asyncio.timeout(self._settings.look_interval_s):
                    await self._ends.look()
        partitions = [work.progress() for work, _ in self._partitions.values()]
        partitions += [work.progress(self._ends.seen(key)) for key, work in self._paused.items()]
        changed = {
            (discovery.collection, discovery.source, number): reason
            for discovery, _ in self._discoveries.values()
            for number, reason in discovery.errors.items()
        }
        for entry in partitions:
            reason = changed.pop((entry.collection, entry.source, entry.partition), "")
            entry.error = entry.error or reason
        partitions += [
            tailer_pb2.PartitionProgress(
                collection=collection, source=source, partition=number, end_offset=-1, error=reason
            )
            for (collection, source, number), reason in changed.items()
        ]
        if request.collection:
            partitions = [one for one in partitions if one.collection == request.collection]
        partitions.sort(key=lambda entry: (entry.collection, entry.source, entry.partition))
        return tailer_pb2.DescribeTailerResponse(node_id=self._node_id, partitions=partitions)

    async def redrive(
        self, request: quarantine_pb2.TailerRedriveRequest, timeout_s: float | None = None
    ) -> quarantine_pb2.RedriveResponse:
        """Reads records in quarantine again, and applies those that can be decoded by now.

        Raises AlderError: UNKNOWN_COLLECTION, LIMIT for too many records, STALE_ASSIGNMENT without
        a lease, and as sources and leaves do; what was applied until then stays.
        """
        fence = Fence(self._holds_lease, self._follower.snapshot.assignment)
        fence.check()
        limit = self._settings.redrive_records_max
        if len(request.records) > limit:
            raise AlderError(Reason.LIMIT, f"one call redrives {limit} records; name fewer at once")
        collection = self._known(request.collection, request.collection_id)
        answers = await ask_positions(self._directory, collection, self._settings.ask_timeout_s)
        offsets: dict[tuple[str, int], set[int]] = {}
        for record in request.records:
            offsets.setdefault((record.source, record.partition), set()).add(record.offset)
        response = quarantine_pb2.RedriveResponse()
        for (name, number), wanted in sorted(offsets.items()):
            what = self._redriven(collection, name, number, answers.paths)
            redriver = Redriver(what, self._directory, self._executor, self._settings, fence)
            try:
                outcomes = await redriver.redrive(wanted)
            finally:
                what.reads.close()
            for offset, reason in sorted(outcomes.items()):
                position = quarantine_pb2.RecordPosition(
                    source=name, partition=number, offset=offset
                )
                response.records.add(position=position, reason=reason)
        return response

    async def reach(
        self, request: tailer_pb2.ReachRequest, timeout_s: float | None = None
    ) -> tailer_pb2.ReachResponse:
        """Whether the topics and files of a collection have all that was read of them.

        Raises AlderError: UNKNOWN_COLLECTION, UNAVAILABLE where brokers don't tell.
        """
        collection = self._known(request.collection, request.collection_id)
        missing = await asyncio.to_thread(missing_of, collection, self._kafka)
        return tailer_pb2.ReachResponse(missing=missing)

    def _known(self, name: str, collection_id: int) -> Collection:
        collection = self._follower.snapshot.collections.get(name)
        if collection is None or collection.collection_id != collection_id:
            raise AlderError(Reason.UNKNOWN_COLLECTION, f"there is no collection {name!r}")
        return collection

    def _redriven(
        self, collection: Collection, name: str, number: int, paths: frozenset[str]
    ) -> RedrivenPartition:
        found = (
            (source, partition)
            for source in collection.sources
            for partition in source.partitions
            if (source.name, partition.partition) == (name, number)
        )
        source, partition = next(found, (None, None))
        if source is None or partition is None:
            raise AlderError(
                Reason.INVALID_ARGUMENT,
                f"collection {collection.name!r} has no partition {name}/{number}",
            )
        return RedrivenPartition(
            collection,
            source,
            partition,
            self._open(collection, source, partition),
            lambda: builder_of(collection, name, number, self._settings, paths),
        )

    def _open(
        self, collection: Collection, source: Source, partition: SourcePartition
    ) -> PartitionSource:
        return self._open_source(
            self._log,
            collection.log_topic,
            source,
            partition,
            self._settings,
            self._executor,
            self._busy_partitions,
            self._kafka,
        )

    async def _follow(self) -> None:
        while True:
            changed = asyncio.ensure_future(self._follower.changed())
            try:
                self._reconcile(self._follower.snapshot)
                # The limit is for tasks that ended by a defect: they are started again. A lease may
                # come without a change of the catalog.
                limit_s = self._settings.audit_interval_s
                if not self._holds_lease():
                    limit_s = self._settings.retry_delay_s
                await asyncio.wait([changed], timeout=limit_s)
            finally:
                changed.cancel()

    def _reconcile(self, snapshot: Snapshot) -> None:
        tailers = [n.node_id for n in snapshot.live_nodes(catalog_pb2.NODE_ROLE_TAILER)]
        wanted: dict[PartitionId, Callable[[], PartitionLanes]] = {}
        ends: dict[Hashable, LookedAt] = {}
        paused: dict[PartitionId, PausedPartition] = {}
        listed: dict[DiscoveryId, tuple[Collection, Source]] = {}
        for collection in snapshot.collections.values() if self._holds_lease() else ():
            number = collection.collection_id
            for source in collection.sources:
                listing = f"{number}/{source.name}/discovery"
                if source.url != LOG_SOURCE and owner(listing, tailers) == self._node_id:
                    listed[number, source.name] = (collection, source)
                for entry in partitions_of(self._node_id, number, source, tailers):
                    key = (number, source.name, entry.partition)
                    ends[key] = LookedAt(source, entry.partition, collection.log_topic)
                    if source.paused:
                        known = self._paused.get(key, PausedPartition(source, entry))
                        paused[key] = known.of(collection)
                        continue
                    wanted[key] = self._maker(collection, source, entry, snapshot.assignment)
        self._ends.follow(ends)
        self._paused = paused
        self._reconcile_partitions(wanted, snapshot)
        self._reconcile_discoveries(listed)

    def _maker(
        self, collection: Collection, source: Source, partition: SourcePartition, assignment: int
    ) -> Callable[[], PartitionLanes]:
        def make() -> PartitionLanes:
            fence = Fence(self._holds_lease, assignment)

            def lane(collection: Collection, leaves: frozenset[str]) -> PartitionTask:
                return PartitionTask(
                    collection,
                    source,
                    partition,
                    self._open(collection, source, partition),
                    self._directory,
                    self._settings,
                    self._executor,
                    self._gate,
                    self._ends.seen((collection.collection_id, source.name, partition.partition)),
                    fence,
                    leaves,
                )

            return PartitionLanes(collection, lane, self._settings)

        return make

    def _busy_partitions(self) -> int:
        return sum(work.busy_lanes for work, _ in self._partitions.values())

    def _reconcile_partitions(
        self, wanted: dict[PartitionId, Callable[[], PartitionLanes]], snapshot: Snapshot
    ) -> None:
        defects: dict[PartitionId, str] = {}
        collections = {one.collection_id: one for one in snapshot.collections.values()}
        for key, (work, task) in list(self._partitions.items()):
            if _log_defect(work.name, task):
                defects[key] = "an unexpected failure, tried again; the tailer's log says why"
            if key not in wanted or task.done() or not work.is_of(collections[key[0]]):
                task.cancel()
                del self._partitions[key]
        for key, make in wanted.items():
            if key in self._partitions:
                work = self._partitions[key][0]
                work.change_map(collections[key[0]])
                work.fence.follow(snapshot.assignment)
                continue
            try:
                work = make()
            except AlderError as error:
                logger.error("collection %d: %s", key[0], error)
                continue
            work.note_defect(defects.get(key, ""))
            self._partitions[key] = (work, asyncio.create_task(work.run()))

    def _reconcile_discoveries(self, listed: dict[DiscoveryId, tuple[Collection, Source]]) -> None:
        for key, (discovery, task) in list(self._discoveries.items()):
            _log_defect(f"the listing of {discovery.collection}/{discovery.source}", task)
            renamed = key in listed and listed[key][0].name != discovery.collection
            if key not in listed or renamed or task.done():
                task.cancel()
                del self._discoveries[key]
        for key, (collection, source) in listed.items():
            if key in self._discoveries:
                self._discoveries[key][0].follow(source)
                continue
            catalog, name, settings = self._catalog, collection.name, self._settings
            discovery = (
                TopicDiscovery(catalog, name, source, settings, self._kafka)
                if source.is_topic
                else Discovery(catalog, name, source, settings)
            )
            self._discoveries[key] = (discovery, asyncio.create_task(discovery.run()))

    async def _audit(self) -> None:
        """A leaf that lost a suffix says nothing by itself, so idle partitions are compared."""
        while True:
            await asyncio.sleep(self._settings.audit_interval_s)
            idle: dict[int, list[tuple[PartitionLanes | PausedPartition, int]]] = {}
            for (collection_id, _, _), (work, _) in self._partitions.items():
                if work.idle_at is not None:
                    idle.setdefault(collection_id, []).append((work, work.idle_at))
            for (collection_id, _, _), still in self._paused.items():
                idle.setdefault(collection_id, []).append((still, 0))
            for works in idle.values():
                try:
                    answers = await ask_positions(
                        self._directory, works[0][0].collection, self._settings.ask_timeout_s
                    )
                except AlderError as error:
                    logger.info("positions can't be compared now: %s", error)
                    continue
                for one, idle_at in works:
                    one.observe(idle_at, answers)


def partitions_of(
    node_id: str, collection_id: int, source: Source, tailers: Sequence[str]
) -> list[SourcePartition]:
    """The partitions of a source that are a tailer's.

    Those of a log are few, and shared out evenly. Of files there are so many that chance does it,
    and more all the time, which must not move those that are there.
    """
    things = {
        f"{collection_id}/{source.name}/{entry.partition}": entry
        for entry in source.current_partitions
    }
    if source.is_topic or source.url == LOG_SOURCE:
        found = owners(things, tailers)
        return [entry for thing, entry in things.items() if found.get(thing) == node_id]
    return [entry for thing, entry in things.items() if owner(thing, tailers) == node_id]


def _log_defect(name: str, task: asyncio.Task[None]) -> bool:
    """True if the task ended by a defect, which is logged."""
    if not task.done() or task.cancelled() or task.exception() is None:
        return False
    logger.error("%s failed and is started again", name, exc_info=task.exception())
    return True
