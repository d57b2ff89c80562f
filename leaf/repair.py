"""Damage found while answering: looked for, and if it is there, the replica is built again.

A page whose checksum is wrong fails the query that needs it. Whether the shard is damaged is then
found out by reading all of it, because a wrong guess would throw a sound replica away. A damaged
one is emptied, and the tailers, which follow positions, fill it again; but only where the log still
has its beginning, because rows that only the replica has must not be lost with it.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor

from alder.errors import AlderError, Reason
from leaf.history import History
from leaf.ownership import ShardKey, Shards
from leaf.shard import Shard

logger = logging.getLogger(__name__)


def check_complete(shards: Mapping[ShardKey, Shard]) -> None:
    """Raises AlderError(UNAVAILABLE) where a shard is being built again."""
    for (_, number), shard in shards.items():
        if shard.rebuilding:
            raise AlderError(
                Reason.UNAVAILABLE,
                f"shard {number} was damaged and is being built again from the log; it has not "
                "reached where it had been; try again later",
            )


class Repair:
    """Repairs of the open shards. Everything here runs on the event loop."""

    def __init__(
        self,
        shards: Shards,
        history: History,
        threads: Executor,
        retry_s: float,
        changed: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """A shard is looked at again ``retry_s`` after it was found sound, or can't be repaired."""
        self._shards = shards
        self._history = history
        self._threads = threads
        self._retry_s = retry_s
        self._changed = changed
        self._clock = clock
        self._tasks: dict[ShardKey, asyncio.Task[None]] = {}
        self._again_from_s: dict[ShardKey, float] = {}
        self._hopeless: dict[ShardKey, str] = {}

    def suspect(self, key: ShardKey) -> None:
        """Has a shard looked at, in which something could not be read."""
        if key not in self._tasks and self._clock() >= self._again_from_s.get(key, 0.0):
            self._tasks[key] = asyncio.create_task(self._repair(key), name=f"leaf-repair-{key}")
            self._tasks[key].add_done_callback(lambda task: self._ended(key, task))

    def noticed(self, error: AlderError, keys: Sequence[ShardKey]) -> AlderError:
        """The error of a query on these shards with what is known of it; has damage looked for."""
        if error.reason is not Reason.CORRUPT:
            return error
        for key in keys:
            self.suspect(key)
        reasons = [self._hopeless[key] for key in keys if key in self._hopeless]
        message = "; ".join([error.message, *reasons[:1]])
        return AlderError(error.reason, message, **error.metadata)

    async def drain(self) -> None:
        """Waits until nothing is being repaired."""
        while self._tasks:
            await asyncio.wait(self._tasks.values())

    def _ended(self, key: ShardKey, task: asyncio.Task[None]) -> None:
        del self._tasks[key]
        self._again_from_s[key] = self._clock() + self._retry_s
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("shard %s could not be repaired: %s", key, error)
        self._changed()

    async def _repair(self, key: ShardKey) -> None:
        damage = ""
        with self._shards.using([key]) as shards:
            for shard in shards.values():
                damage = await asyncio.get_running_loop().run_in_executor(
                    self._threads, shard.damage
                )
        collection = self._shards.collection(key)
        if not damage or collection is None:
            return
        missing = await self._history.missing(collection)
        if missing:
            self._hopeless[key] = (
                f"the replica can't be built again, because {missing}; drop the collection, or put "
                "a sound copy of the replica in its place"
            )
            logger.error("shard %s is damaged (%s): %s", key, damage, self._hopeless[key])
            return
        self._hopeless.pop(key, None)
        logger.error("shard %s is damaged and is built again from the log: %s", key, damage)
        await self._shards.rebuild(key)
