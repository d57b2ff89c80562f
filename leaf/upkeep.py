"""What a leaf does beside answering: syncs the shards' logs and seals their live tails.

One seal per shard at a time; pushes and queries go on meanwhile. A seal that fails changes nothing
and is tried again with the next push or sync.
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial

from alder.arrow import to_bytes
from alder.errors import AlderError
from leaf.ownership import ShardKey, Shards
from leaf.sealing import SealPlan
from leaf.shard import Shard
from leaf.workers import SealWorkers

logger = logging.getLogger(__name__)


class Upkeep:
    """Background work on the open shards. Everything here runs on the event loop."""

    def __init__(
        self,
        shards: Shards,
        workers: SealWorkers,
        threads: Executor,
        sync_interval_s: float,
        sealed: Callable[[], None],
    ) -> None:
        """``sealed`` is called after each seal."""
        self._shards = shards
        self._workers = workers
        self._threads = threads
        self._sync_interval_s = sync_interval_s
        self._sealed = sealed
        self._seals: dict[ShardKey, asyncio.Task[None]] = {}

    async def sync_forever(self) -> None:
        """Syncs every shard, again and again, until cancelled."""
        while True:
            await asyncio.sleep(self._sync_interval_s)
            for key in self._shards.all():
                self.seal_if_due(key)
                with self._shards.using([key]) as shards:
                    for shard in shards.values():
                        await self._sync(key, shard)

    def seal_if_due(self, key: ShardKey) -> None:
        """Begins to seal a shard whose live tail is large enough."""
        shard = self._shards.get(key)
        if shard is not None and shard.seal_due and key not in self._seals:
            task = asyncio.create_task(self._seal(key), name=f"leaf-seal-{key}")
            self._seals[key] = task
            task.add_done_callback(partial(self._ended, key))

    def _ended(self, key: ShardKey, task: asyncio.Task[None]) -> None:
        del self._seals[key]
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("sealing shard %s failed", key, exc_info=error)
        self._sealed()

    async def drain(self) -> None:
        """Waits until nothing is being sealed."""
        while self._seals:
            await asyncio.wait(self._seals.values())

    async def _sync(self, key: ShardKey, shard: Shard) -> None:
        syncing = asyncio.get_running_loop().run_in_executor(self._threads, shard.sync)
        try:
            await asyncio.shield(syncing)
        except AlderError as error:
            logger.error("shard %s can't be synced: %s", key, error)
        finally:
            await asyncio.wait({syncing})

    async def _seal(self, key: ShardKey) -> None:
        loop = asyncio.get_running_loop()
        with self._shards.using([key]) as shards:
            for shard in shards.values():
                plan = await loop.run_in_executor(self._threads, shard.begin_seal)
                if plan is None:
                    return
                try:
                    parts = await loop.run_in_executor(self._threads, _parts, plan)
                    sealed = await self._workers.seal(parts)
                    await loop.run_in_executor(self._threads, shard.publish_seal, plan, sealed)
                except AlderError as error:
                    logger.error("shard %s could not be sealed, trying again: %s", key, error)
                finally:
                    shard.end_seal(plan)


def _parts(plan: SealPlan) -> list[bytes]:
    return [to_bytes(chunk.table) for chunk in plan.tail]
