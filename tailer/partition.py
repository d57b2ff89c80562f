"""Drives one partition's state machine: performs its effects and feeds back what came of them.

All decisions are in ``tailer.core``. Here are only reads, pushes, questions and delays, each a task
of its own whose outcome becomes an event; events are handled one at a time.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import Executor

from alder.catalog import Collection, Source, SourcePartition
from alder.errors import AlderError, Reason
from alder.interfaces import PushDirectory
from alder.lag import EndsSeen
from alder.push import Push
from alder.v1 import leaf_pb2, tailer_pb2
from tailer import core
from tailer.batch import Builder
from tailer.builders import builder_of
from tailer.fence import Fence
from tailer.leaves import LeafAnswers, ask_positions, joined, push
from tailer.reader import PartitionReader
from tailer.settings import TailerSettings
from tailer.shardrows import PreparedRange
from tailer.sources.model import PartitionSource

logger = logging.getLogger(__name__)


class PartitionTask:
    """One partition of one source of a collection, from the log to the leaves."""

    def __init__(
        self,
        collection: Collection,
        source: Source,
        partition: SourcePartition,
        reads: PartitionSource,
        directory: PushDirectory,
        settings: TailerSettings,
        executor: Executor,
        gate: asyncio.Semaphore,
        ends: EndsSeen,
        fence: Fence,
        leaves: frozenset[str],
    ) -> None:
        """``ends`` is what is seen of the partition's end, here and by others.

        ``leaves`` of the collection are fed, and no others.
        """
        self.collection = collection
        self.leaves = leaves
        self.defect = ""
        """Why the task before this one ended; empty once this one has read on."""
        self._source = source
        self._partition = partition
        self._directory = directory
        self._settings = settings
        self.fence = fence
        self._refused_assignment = 0
        self._executor = executor
        self._paths: frozenset[str] = frozenset()
        self._leader_epochs: dict[int, int] = {}
        self._prepared: dict[core.Range, PreparedRange] = {}
        self._events: asyncio.Queue[tuple[core.Event, PreparedRange | None]] = asyncio.Queue()
        self._state, self._first_effects = core.start(_shard_map(collection, leaves))
        self._unanswered: dict[str, float] = {}
        """Since when each leaf has answered nothing that it was asked."""
        self.owed = asyncio.Event()
        """Set while a leaf owes an answer."""
        self._reading: asyncio.Task[None] | None = None
        self._read_error = ""
        self._records = 0
        self._quarantined = 0
        self._applied_log_time_us = 0
        self._ends = ends
        self._reader = PartitionReader(
            reads,
            self._make_builder,
            executor,
            settings.read_wait_ms,
            gate,
            None if source.is_topic else ends,
        )

    async def run(self) -> None:
        """Works until cancelled. Raises only for a defect."""
        try:
            async with asyncio.TaskGroup() as tasks:
                self._perform(tasks, self._first_effects)
                while True:
                    event, prepared = await self._events.get()
                    if prepared is not None:
                        self._prepared[prepared.range] = prepared
                    before = self._state.error
                    self._state, effects = core.step(self._state, event)
                    if self._state.error not in {"", before}:
                        logger.warning("%s stands still: %s", self.name, self._state.error)
                    self._forget_ranges()
                    self._perform(tasks, effects)
        finally:
            self._reader.close()

    @property
    def name(self) -> str:
        """The partition in messages: collection/source/partition."""
        return f"{self.collection.name}/{self._source.name}/{self._partition.partition}"

    @property
    def idle_at(self) -> int | None:
        """What to hand to :meth:`observe` with positions asked from now on; None if not idle."""
        return self._state.sequence if self._state.idle else None

    @property
    def knows_positions(self) -> bool:
        """False until all leaves have told where their shards stand."""
        return bool(self._state.positions)

    @property
    def next_offset(self) -> int:
        """The lowest position over the shards, as far as is known."""
        return self._state.next_offset

    def unanswered_s(self, now_s: float) -> dict[str, float]:
        """For how long leaves have answered nothing; ``now_s`` by the monotonic clock."""
        return {leaf: now_s - since_s for leaf, since_s in self._unanswered.items()}

    def has_map_of(self, collection: Collection) -> bool:
        """True if the shard map of the collection is the one that is gone by."""
        return (collection.epoch, collection.shards) == (
            self.collection.epoch,
            self.collection.shards,
        )

    def change_map(self, collection: Collection, leaves: frozenset[str]) -> None:
        """Goes on with another shard map of the same collection, or for other leaves of it."""
        self.collection, self.leaves = collection, leaves
        for leaf in self._unanswered.keys() - leaves:
            self._hears(leaf)
        self._tell(core.MapChanged(_shard_map(collection, leaves)))

    def is_of(self, collection: Collection) -> bool:
        """False if the collection says something else of the partition by now."""
        return self._partition in collection.source(self._source.name).partitions

    def observe(self, idle_at: int, answers: LeafAnswers) -> None:
        """Compares with the leaves; one that lost a suffix is sent it again."""
        self._tell(core.Observed(idle_at, self._positions(answers)))

    def progress(self) -> tailer_pb2.PartitionProgress:
        """How far it is, and what keeps it from going on."""
        ends = self._ends.ages_us(time.monotonic())
        return tailer_pb2.PartitionProgress(
            collection=self.collection.name,
            source=self._source.name,
            partition=self._partition.partition,
            next_offset=self._state.next_offset,
            end_offset=max((end for end, _ in ends), default=self._reader.source_end),
            records=self._records,
            quarantined=self._quarantined,
            error=self._state.error or self._read_error or self.defect,
            ends=[tailer_pb2.EndSeen(end_offset=end, age_us=age_us) for end, age_us in ends],
            applied_log_time_us=self._applied_log_time_us,
            waiting_log_time_us=self._waiting_log_time_us(),
            held_bytes=sum(held.size_bytes for held in self._prepared.values())
            + self._reader.pending_bytes,
        )

    def _waiting_log_time_us(self) -> int:
        for held in self._state.ranges:
            times = self._prepared[held].log_times_us
            if times is not None and held.end > self._state.next_offset:
                return times[0]
        return 0

    def _forget_ranges(self) -> None:
        """Gives the rows of ranges back that are not held any more, and notes what was applied."""
        held = self._state.ranges
        for gone in sorted(self._prepared.keys() - set(held), key=lambda one: one.begin):
            times = self._prepared.pop(gone).log_times_us
            if times is not None and gone.end <= self._state.next_offset:
                self._applied_log_time_us = times[1]

    def _perform(self, tasks: asyncio.TaskGroup, effects: list[core.Effect]) -> None:
        for effect in effects:
            match effect:
                case core.Read():
                    if self._reading is not None:
                        self._reading.cancel()
                    self._reading = tasks.create_task(self._read(effect, self._reading))
                case core.Push():
                    request = self._request(effect, self._prepared[effect.range])
                    tasks.create_task(self._push(effect, request))
                case core.Ask():
                    tasks.create_task(self._ask(effect))
                case core.Wait():
                    tasks.create_task(self._wait(effect))
                case core.AwaitAssignment():
                    tasks.create_task(self._await_assignment(effect))

    async def _read(self, effect: core.Read, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait([before])
        failures = 0
        while True:
            try:
                prepared = await self._reader.next(
                    effect.offset,
                    self.collection.shards,
                    self._shards_here(),
                    self._leader_epochs.get(effect.offset, -1),
                )
                break
            except AlderError as error:
                if error.reason is Reason.IDENTITY_CHANGED:
                    self._tell(core.Refused(error.message))
                    return
                if error.message != self._read_error:
                    logger.warning("%s can't be read, trying again: %s", self.name, error)
                self._read_error = error.message
                failures += 1
                await asyncio.sleep(self._settings.delay_s(failures))
        self._read_error = self.defect = ""
        self._records += prepared.records
        self._quarantined += prepared.quarantined
        self._tell(core.RangeRead(effect.number, prepared.range), prepared)

    def _tell(self, event: core.Event, prepared: PreparedRange | None = None) -> None:
        """Queues an event, with the rows that it speaks of: they are held from its step on."""
        self._events.put_nowait((event, prepared))

    def _request(self, effect: core.Push, prepared: PreparedRange) -> Callable[[], Push]:
        collection = self.collection

        def make() -> Push:
            return Push(
                collection=collection.name,
                collection_id=collection.collection_id,
                epoch=collection.epoch,
                source=self._source.name,
                partition=self._partition.partition,
                source_identity=self._source.topic_id or self._partition.identity,
                overflow=prepared.overflow,
                shards=tuple(prepared.rows(piece.shard, piece.begin) for piece in effect.slices),
                leader_epoch=prepared.leader_epoch,
                assignment=self.fence.assignment,
            )

        return make

    async def _push(self, effect: core.Push, make: Callable[[], Push]) -> None:
        is_whole = all(piece.begin <= effect.range.begin for piece in effect.slices)
        loop = asyncio.get_running_loop()
        # Only cutting a part and encoding it again is work for a thread.
        request = make() if is_whole else await loop.run_in_executor(self._executor, make)
        try:
            self.fence.check()
            self._calls(effect.leaf)
            results = await push(
                self._directory, effect.leaf, request, self._settings.push_timeout_s
            )
            self._hears(effect.leaf)
        except AlderError as error:
            message = f"leaf {effect.leaf} did not take a push: {error.message}"
            self._tell(core.PushFailed(effect.number, message))
        else:
            statuses = {result.status for result in results.values()}
            if leaf_pb2.APPLY_STATUS_STALE_ASSIGNMENT in statuses:
                self._refused_assignment = request.assignment
            self._tell(core.Pushed(effect.number, results))

    async def _ask(self, effect: core.Ask) -> None:
        try:
            answers = await self._positions_of_all()
        except AlderError as error:
            self._tell(core.AskFailed(effect.number, error.message))
        else:
            self._paths = answers.paths
            self._tell(core.Positions(effect.number, self._positions(answers)))

    async def _positions_of_all(self) -> LeafAnswers:
        """Asks the leaves that are fed. Raises AlderError if one of them does not answer."""

        async def ask(leaf: str) -> LeafAnswers:
            self._calls(leaf)
            timeout_s = self._settings.ask_timeout_s
            answers = await ask_positions(self._directory, self.collection, timeout_s, [leaf])
            self._hears(leaf)
            return answers

        return joined(await asyncio.gather(*map(ask, sorted(self.leaves))))

    def _calls(self, leaf: str) -> None:
        if leaf in self.leaves:
            self._unanswered.setdefault(leaf, time.monotonic())
            self.owed.set()

    def _hears(self, leaf: str) -> None:
        self._unanswered.pop(leaf, None)
        if not self._unanswered:
            self.owed.clear()

    def _shards_here(self) -> frozenset[int]:
        return frozenset(one.shard for one in self.collection.shards if one.leaf in self.leaves)

    async def _wait(self, effect: core.Wait) -> None:
        await asyncio.sleep(self._settings.delay_s(effect.failures))
        self._tell(core.WaitOver(effect.number))

    async def _await_assignment(self, effect: core.AwaitAssignment) -> None:
        await self.fence.newer_than(self._refused_assignment)
        self._tell(core.WaitOver(effect.number))

    def _positions(self, answers: LeafAnswers) -> dict[int, int]:
        self._leader_epochs = answers.leader_epochs_at(self._source.name, self._partition.partition)
        return answers.of_partition(self._source.name, self._partition.partition)

    def _make_builder(self) -> Builder:
        source, partition = self._source.name, self._partition.partition
        return builder_of(self.collection, source, partition, self._settings, self._paths)


def _shard_map(collection: Collection, leaves: frozenset[str]) -> core.ShardMap:
    served = {one.shard: one.leaf for one in collection.shards if one.leaf in leaves}
    return core.ShardMap(collection.epoch, served)
