"""Builds the partials of accelerated views for sealed segments, in the background.

One thread, one segment after the other, each by the engine in one go, so that queries and merges
find the processors between two of them. What the catalog accelerates no more is removed here, too,
and a fragment that was answered from disk is brought to memory for the next time.
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from alder.catalog import Snapshot
from alder.errors import AlderError, Reason
from alder.v1 import leaf_pb2
from leaf.cache import CacheUsage
from leaf.engine import Cancellation
from leaf.fragment import run_fragment
from leaf.fragmentmodel import FragmentMode, FragmentTools
from leaf.gathering import segment_partial
from leaf.ownership import Follower, ShardKey, Shards
from leaf.pieces import alive_piece
from leaf.settings import LeafSettings
from leaf.shard import Shard
from leaf.shardatcut import horizon_of

logger = logging.getLogger(__name__)


class Acceleration:
    """The builder of a leaf. Its methods belong to one event loop."""

    def __init__(
        self,
        shards: Shards,
        follower: Follower,
        tools: FragmentTools,
        settings: LeafSettings,
        suspect: Callable[[ShardKey], None],
    ) -> None:
        """``suspect`` is called for a damaged shard."""
        self._shards = shards
        self._follower = follower
        self._tools = tools
        self._settings = settings
        self._suspect = suspect
        self._thread = ThreadPoolExecutor(1, "leaf-accelerate")
        self._cancellation = Cancellation()
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Has everything looked at now: there is more to keep."""
        self._woken.set()

    def usage(self) -> CacheUsage:
        """What is on disk, and what may be."""
        used = sum(shard.stored.size_bytes for shard in list(self._shards.all().values()))
        return CacheUsage(used, self._settings.stored_partials_bytes)

    async def run_forever(self) -> None:
        """Builds what is missing, again and again, until cancelled."""
        while True:
            self._woken.clear()
            for key in self._shards.all():
                await self._tend(key)
            try:
                async with asyncio.timeout(self._settings.accelerate_every_s):
                    await self._woken.wait()
            except TimeoutError:
                continue

    async def drain(self) -> None:
        """Ends what is being built."""
        self._cancellation.cancel()
        await asyncio.to_thread(self._thread.shutdown)

    async def _tend(self, key: ShardKey) -> None:
        with self._shards.using([key]) as shards:
            for shard in shards.values():
                if not shard.stored.kept:
                    continue
                call = partial(self._build, shard, self._follower.snapshot)
                building = asyncio.get_running_loop().run_in_executor(self._thread, call)
                try:
                    await asyncio.shield(building)
                except AlderError as error:
                    logger.error("partials of shard %s could not be built: %s", key, error)
                    if error.reason is Reason.CORRUPT:
                        self._suspect(key)
                finally:
                    # Only a leaf that closes does not wait for the end.
                    if not building.done():
                        self._cancellation.cancel()
                    await asyncio.wait({building})

    def _build(self, shard: Shard, snapshot: Snapshot) -> None:
        """Removes what is kept no more, and builds what is missing while there is room."""
        self._warm(shard)
        view, stored = shard.view, shard.stored
        stored.forget(lambda _, one: not _is_accelerated(one, snapshot))
        stored.forget_segments(segment.number for segment in view.segments)
        at = horizon_of(view, None)
        for segment in view.segments:
            piece = alive_piece(segment, at)
            for name, one in stored.kept.items():
                if stored.has(name, piece):
                    continue
                try:
                    table = segment_partial(
                        view, piece, one.fragment, shard.keyed, self._tools, self._cancellation
                    )
                except AlderError as error:
                    if error.reason is not Reason.SCHEMA_CHANGED:
                        raise
                    logger.info("the view %s is to be planned again: %s", one.view, error)
                    continue
                if not stored.put(name, piece, table, self._room_bytes()):
                    return

    def _warm(self, shard: Shard) -> None:
        """Has memory remember what was answered from disk."""
        for one in shard.stored.take_cold():
            run_fragment(
                {0: shard.view}, one.fragment, None, shard.keyed, self._tools, self._cancellation,
                FragmentMode(direct=False),
            )  # fmt: skip

    def _room_bytes(self) -> int:
        usage = self.usage()
        return usage.size_bytes_max - usage.size_bytes


def _is_accelerated(kept: leaf_pb2.KeptFragment, snapshot: Snapshot) -> bool:
    """False once a snapshot that is new enough says that this version is accelerated no more."""
    if snapshot.revision < kept.revision:
        return True
    view = snapshot.definitions.get(kept.view)
    return view is not None and view.accelerate and view.newest.number == kept.version
