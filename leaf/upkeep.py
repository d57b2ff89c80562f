"""What a leaf does beside answering: syncs the shards' logs, seals their tails, merges segments.

Per shard one seal at a time, per leaf one merge; pushes and queries go on meanwhile. One that fails
changes nothing and is tried again, a merge after a while. Little room on the disk ends all of this
and the taking of pushes, while queries go on; room ends that by itself.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from typing import Final

from alder.allocator import give_back_memory
from alder.errors import AlderError, Reason
from leaf.ownership import ShardKey, Shards
from leaf.settings import LeafSettings
from leaf.shard import Shard
from leaf.workers import SealWorkers

logger = logging.getLogger(__name__)
GIVE_BACK_S: Final = 2.0
"""Time between two returns of free memory while rows are sealed."""


class Upkeep:
    """Background work on the open shards. Everything here runs on the event loop."""

    def __init__(
        self,
        shards: Shards,
        workers: SealWorkers,
        threads: Executor,
        settings: LeafSettings,
        disk_free_bytes: Callable[[], int],
        changed: Callable[[], None],
        suspect: Callable[[ShardKey], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``changed`` is called after each seal and merge, ``suspect`` for a damaged shard.

        ``clock`` gives seconds.
        """
        self._shards = shards
        self._workers = workers
        self._threads = threads
        self._merge_thread = ThreadPoolExecutor(1, "leaf-merge")
        self._settings = settings
        self._disk_free_bytes = disk_free_bytes
        self._changed = changed
        self._suspect = suspect
        self._clock = clock
        self._full = False
        self._seals: dict[ShardKey, asyncio.Task[None]] = {}
        self._merge: asyncio.Task[None] | None = None
        self._merge_from_s: dict[ShardKey, float] = {}
        self._reopened_s = clock()
        self._sealed = False
        self._gave_back_s = clock()

    async def run_forever(self) -> None:
        """Looks after every shard, again and again, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await self.look_at_disk()
            await asyncio.sleep(self._settings.sync_interval_s)
            for key in self._shards.all():
                self.seal_if_due(key)
                self._merge_if_due(key)
                with self._shards.using([key]) as shards:
                    for shard in shards.values():
                        await self._tend(key, shard)
            if self._sealed and self._clock() - self._gave_back_s >= GIVE_BACK_S:
                self._sealed, self._gave_back_s = False, self._clock()
                await loop.run_in_executor(self._threads, give_back_memory)
            if self._clock() - self._reopened_s >= self._settings.retry_s:
                self._reopened_s = self._clock()
                await self._reopen()

    async def look_at_disk(self) -> None:
        """Finds out whether there is room for pushes."""
        free = await asyncio.get_running_loop().run_in_executor(
            self._threads, self._disk_free_bytes
        )
        full = free < self._settings.disk_free_bytes_min
        if full is not self._full:
            logger.warning("%d MiB are free on the disk: %s", free >> 20, _FULL[full])
        self._full = full

    def check_room(self) -> None:
        """Raises AlderError(UNAVAILABLE) while the disk has too little room for pushes."""
        if self._full:
            raise AlderError(
                Reason.UNAVAILABLE,
                f"less than {self._settings.disk_free_bytes_min >> 20} MiB are free on the leaf's "
                "disk, so it takes no rows, and answers queries from those that it has; make room, "
                "and it goes on by itself",
            )

    def has_room(self, keys: Iterable[ShardKey]) -> bool:
        """False while a push to these shards must wait for the sealing.

        All live tails together have their limit. Where it is reached, only shards that use less
        than an even share of it go on, so that a bulk load delays no other collection; the tails
        never have more than twice the limit and what is being pushed.
        """
        bytes_max = self._settings.tail_bytes_max
        shards = self._shards.all()
        tails = [shard.view.tail_bytes for key in keys if (shard := shards.get(key))]
        return _bytes_of(shards) < bytes_max or all(t * len(shards) < bytes_max for t in tails)

    def seal_if_due(self, key: ShardKey) -> None:
        """Begins to seal a shard whose live tail is large enough.

        That is also an even share, where all live tails together have half of their limit: many
        small ones are a large one.
        """
        shards = self._shards.all()
        shard = shards.get(key)
        if shard is None or key in self._seals or self._full:
            return
        bytes_due = self._settings.tail_bytes_max // 2
        crowded = (
            _bytes_of(shards) >= bytes_due and shard.view.tail_bytes * len(shards) >= bytes_due
        )
        if crowded or shard.seal_due:
            task = asyncio.create_task(self._seal(key), name=f"leaf-seal-{key}")
            self._seals[key] = task
            task.add_done_callback(partial(self._seal_ended, key))

    async def drain(self) -> None:
        """Waits until nothing is sealed or merged; a merge ends unfinished."""
        self._workers.stop()
        while running := [*self._seals.values(), *([self._merge] if self._merge else [])]:
            await asyncio.wait(running)
        self._merge_thread.shutdown()

    def _seal_ended(self, key: ShardKey, task: asyncio.Task[None]) -> None:
        del self._seals[key]
        self._sealed = True
        _log_defect(f"sealing shard {key}", task)
        self._changed()

    def _merge_if_due(self, key: ShardKey) -> None:
        shard = self._shards.get(key)
        if shard is None or self._merge is not None or self._full:
            return
        if shard.compaction.due and self._clock() >= self._merge_from_s.get(key, 0.0):
            self._merge = asyncio.create_task(self._merge_segments(key), name=f"leaf-merge-{key}")
            self._merge.add_done_callback(self._merge_ended)

    def _merge_ended(self, task: asyncio.Task[None]) -> None:
        self._merge = None
        _log_defect("merging segments", task)
        self._changed()

    async def _merge_segments(self, key: ShardKey) -> None:
        with self._shards.using([key]) as shards:
            for shard in shards.values():
                call = partial(self._merge_here, shard)
                try:
                    await asyncio.get_running_loop().run_in_executor(self._merge_thread, call)
                except AlderError as error:
                    logger.error("segments of shard %s could not be merged: %s", key, error)
                    self._merge_from_s[key] = self._clock() + self._settings.merge_retry_s
                    if error.reason is Reason.CORRUPT:
                        self._suspect(key)

    def _merge_here(self, shard: Shard) -> None:
        shard.compaction.purge()
        plan = shard.compaction.begin()
        if plan is None:
            return
        try:
            with self._workers.merging() as compute:
                shard.compaction.merge(plan, compute)
        finally:
            shard.compaction.end(plan)

    async def _tend(self, key: ShardKey, shard: Shard) -> None:
        tending = asyncio.get_running_loop().run_in_executor(self._threads, shard.tend)
        try:
            await asyncio.shield(tending)
        except AlderError as error:
            logger.error("shard %s can't be synced: %s", key, error)
            if error.reason is Reason.CORRUPT:
                self._suspect(key)
        finally:
            await asyncio.wait({tending})

    async def _reopen(self) -> None:
        """Opens what could not be opened, and again what can't be written any more.

        RocksDB refuses all writes after one that failed, until it is opened again.
        """
        if self._full:
            return
        for key, shard in self._shards.all().items():
            if shard.failing:
                logger.info("opening shard %s again, because it can't be written", key)
                await self._shards.reopen(key)
        await self._shards.open_missing()
        self._changed()

    async def _seal(self, key: ShardKey) -> None:
        loop = asyncio.get_running_loop()
        with self._shards.using([key]) as shards:
            for shard in shards.values():
                plan = await loop.run_in_executor(self._threads, shard.begin_seal)
                if plan is None:
                    return
                try:
                    tables = [chunk.table for chunk in plan.tail]
                    sealed = await self._workers.seal(
                        tables, plan.cluster_by, plan.indexes, self._threads
                    )
                    await loop.run_in_executor(self._threads, shard.publish_seal, plan, sealed)
                except AlderError as error:
                    logger.error("shard %s could not be sealed, trying again: %s", key, error)
                finally:
                    shard.end_seal(plan)


def _bytes_of(shards: Mapping[ShardKey, Shard]) -> int:
    """Bytes of all live tails."""
    return sum(shard.view.tail_bytes for shard in shards.values())


_FULL = {True: "no more rows are taken", False: "rows are taken again"}


def _log_defect(what: str, task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.error("%s failed", what, exc_info=error)
