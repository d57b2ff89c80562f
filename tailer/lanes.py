"""One partition for all leaves of a collection, of which one may be slow, stopped or gone.

Leaves that keep up share a lane: what is read once goes to all of them, and the next range waits
for the last of them. A leaf that has not answered for some time leaves the lane and gets one of its
own, with a reader of its own that begins where its shards stand (catch-up); so it holds nobody
back, and nothing is dropped for it. Once it has come close to the others it joins them again.

A leaf takes one push of a partition at a time, and its answer, for which it takes the time that
sealing needs, is the credit for the next. The invariant: a lane holds no more than ``tailer.core``
lets it, two ranges, and one that waits for its leaf to tell a position holds none. So what a slow
leaf costs in memory does not grow with the time that it is slow. Leaves decide about every push
themselves (I2), so lanes may overlap in time.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from alder.catalog import Collection
from alder.v1 import tailer_pb2
from tailer.leaves import LeafAnswers
from tailer.partition import PartitionTask
from tailer.settings import TailerSettings

Leaves = frozenset[str]
MakeLane = Callable[[Collection, Leaves], PartitionTask]


def falling_behind(leaves: Leaves, unanswered_s: Mapping[str, float], slow_leaf_s: float) -> Leaves:
    """The leaves that others of their lane should not wait for any longer.

    ``unanswered_s`` is for how long each leaf has answered no call. None if all are silent: then
    nobody waits for another one.
    """
    slow = frozenset(leaf for leaf in leaves if unanswered_s.get(leaf, 0.0) > slow_leaf_s)
    return slow if slow < leaves else frozenset()


@dataclass(slots=True)
class _Apart:
    """A leaf with a lane of its own, and where it stood when it fell behind."""

    lane: PartitionTask
    task: asyncio.Task[None]
    next_offset: int
    applied_log_time_us: int


class PartitionLanes:
    """What a tailer does for one partition."""

    def __init__(
        self,
        collection: Collection,
        make: MakeLane,
        settings: TailerSettings,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._make = make
        self._settings = settings
        self._monotonic_s = monotonic_s
        self._main = make(collection, _leaves(collection))
        self._apart: dict[str, _Apart] = {}
        self.fence = self._main.fence

    @property
    def collection(self) -> Collection:
        """The collection as it is fed."""
        return self._main.collection

    @property
    def name(self) -> str:
        """The partition in messages."""
        return self._main.name

    @property
    def idle_at(self) -> int | None:
        """As that of the common lane; None while a leaf has a lane of its own."""
        return None if self._apart else self._main.idle_at

    @property
    def busy_lanes(self) -> int:
        """Lanes that share the memory for what is read of logs."""
        lanes = [self._main, *(one.lane for one in self._apart.values())]
        return sum(lane.idle_at is None for lane in lanes)

    def note_defect(self, defect: str) -> None:
        """Why the task before this one ended."""
        self._main.defect = defect

    async def run(self) -> None:
        """Works until cancelled. Raises only for a defect."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._main.run())
            while True:
                # There are many partitions of which nothing is to be sent any more.
                if not self._apart:
                    await self._main.owed.wait()
                await asyncio.sleep(self._settings.slow_leaf_s / 4)
                self._adjust(tasks)

    def change_map(self, collection: Collection) -> None:
        """Goes on with another shard map of the same collection, all leaves in one lane."""
        if not self._main.has_map_of(collection):
            for leaf in list(self._apart):
                self._apart.pop(leaf).task.cancel()
            self._main.change_map(collection, _leaves(collection))

    def is_of(self, collection: Collection) -> bool:
        """False if the collection says something else of the partition by now."""
        return self._main.is_of(collection)

    def observe(self, idle_at: int, answers: LeafAnswers) -> None:
        """Compares with the leaves; one that lost a suffix is sent it again."""
        self._main.observe(idle_at, answers)

    def progress(self) -> tailer_pb2.PartitionProgress:
        """How far the leaf is that is furthest behind, and what keeps it from going on."""
        told = self._main.progress()
        for one in self._apart.values():
            lane = one.lane.progress()
            at = lane.next_offset if one.lane.knows_positions else one.next_offset
            if at <= told.next_offset:
                told.next_offset = at
                told.waiting_log_time_us = lane.waiting_log_time_us
                told.applied_log_time_us = lane.applied_log_time_us or one.applied_log_time_us
            told.error = told.error or lane.error
            told.held_bytes += lane.held_bytes
        return told

    def _adjust(self, tasks: asyncio.TaskGroup) -> None:
        slow_s, now_s = self._settings.slow_leaf_s, self._monotonic_s()
        main, leaves = self._main, self._main.leaves
        for leaf, one in list(self._apart.items()):
            silent_s = one.lane.unanswered_s(now_s).get(leaf, 0.0)
            if silent_s < slow_s / 2 and self._is_close(one.lane):
                one.task.cancel()
                del self._apart[leaf]
                leaves |= {leaf}
        slow = falling_behind(leaves, main.unanswered_s(now_s), slow_s)
        for leaf in slow:
            stood = main.progress()
            lane = self._make(main.collection, frozenset({leaf}))
            running = tasks.create_task(lane.run())
            at, applied_us = stood.next_offset, stood.applied_log_time_us
            self._apart[leaf] = _Apart(lane, running, at, applied_us)
        if leaves - slow != main.leaves:
            main.change_map(main.collection, leaves - slow)

    def _is_close(self, lane: PartitionTask) -> bool:
        """True if the common lane would go back by no more than one push for it."""
        if not (lane.knows_positions and self._main.knows_positions):
            return False
        return lane.next_offset + self._settings.batch_rows_max >= self._main.next_offset


def _leaves(collection: Collection) -> Leaves:
    return frozenset(shard.leaf for shard in collection.shards)
