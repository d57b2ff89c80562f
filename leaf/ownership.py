"""Which shards a leaf has open: follows the catalog, opens what it owns, removes what it lost.

A shard is closed only when nobody uses it any more; users hold it through :meth:`Shards.using`. One
that is damaged is emptied, for the tailers to fill it again, if its sources have their beginning
still; else it stays as it is, closed, and queries are told why. Everything here runs on the event
loop, opening and closing on worker threads.
"""

import asyncio
import logging
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

from alder.catalog import Collection, Snapshot
from alder.errors import AlderError, Reason
from alder.interfaces import MakeDocumentColumns
from alder.rocks import StoreMemory
from leaf.cache import CacheUsage, PageCache
from leaf.history import History, WholeHistory
from leaf.recovery import last_positions
from leaf.settings import LeafSettings
from leaf.shard import Shard

logger = logging.getLogger(__name__)
ShardKey = tuple[int, int]
"""Collection id and shard number."""


class Follower(Protocol):
    """The catalog as this leaf knows it."""

    @property
    def snapshot(self) -> Snapshot:
        """The newest snapshot at hand."""
        ...

    async def changed(self) -> None:
        """Waits for the next snapshot."""
        ...


@dataclass(slots=True)
class _Open:
    shard: Shard
    path: Path
    users: int = 0
    unused: asyncio.Event = field(default_factory=asyncio.Event)


class Shards:
    """The open shards of a node."""

    def __init__(
        self,
        node_id: str,
        directory: Path,
        settings: LeafSettings,
        executor: Executor,
        history: History | None = None,
        documents: MakeDocumentColumns | None = None,
    ) -> None:
        self._node_id = node_id
        self._directory = directory
        self._settings = settings
        self._cache = PageCache(settings.cache_bytes)
        self._executor = executor
        self._memory = StoreMemory(settings.block_cache_bytes, settings.write_buffers_bytes)
        self._history = history or WholeHistory()
        self._documents = documents
        self._open: dict[ShardKey, _Open] = {}
        self._owned: Mapping[ShardKey, Collection] = {}
        self._refusals: dict[ShardKey, AlderError] = {}
        self._changing = asyncio.Lock()

    def cache_usage(self) -> CacheUsage:
        """How the decoded pages of all shards are kept."""
        return self._cache.usage()

    def get(self, key: ShardKey) -> Shard | None:
        """The shard, if it is open."""
        found = self._open.get(key)
        return None if found is None else found.shard

    def of_collection(self, collection_id: int) -> list[int]:
        """The numbers of the open shards of a collection, ascending."""
        return sorted(shard for owner, shard in self._open if owner == collection_id)

    def all(self) -> dict[ShardKey, Shard]:
        """Every open shard."""
        return {key: entry.shard for key, entry in self._open.items()}

    @contextmanager
    def using(self, keys: list[ShardKey]) -> Iterator[dict[ShardKey, Shard]]:
        """Keeps shards open; the ones of these keys that are."""
        held = {key: self._open[key] for key in keys if key in self._open}
        for entry in held.values():
            entry.users += 1
        try:
            yield {key: entry.shard for key, entry in held.items()}
        finally:
            for entry in held.values():
                entry.users -= 1
                if not entry.users:
                    entry.unused.set()

    def collection(self, key: ShardKey) -> Collection | None:
        """The collection of a shard that belongs here."""
        return self._owned.get(key)

    def refusal(self, keys: Iterable[ShardKey]) -> AlderError | None:
        """Why one of these shards, which belong here, is not open."""
        return next((self._refusals[key] for key in keys if key in self._refusals), None)

    async def follow(self, snapshot: Snapshot) -> None:
        """Opens and removes shards until they are those of the snapshot.

        A shard that can't be opened is left out and logged; :meth:`open_missing` tries again.
        """
        if not snapshot.revision:
            return
        async with self._changing:
            self._owned = _owned(snapshot, self._node_id)
            for key in [key for key in self._open if key not in self._owned]:
                await self._remove(key)
            await asyncio.get_running_loop().run_in_executor(
                self._executor, self._remove_strangers, self._owned
            )
            await self._add_missing()

    async def open_missing(self) -> None:
        """Tries again to open what belongs here and is not open."""
        async with self._changing:
            await self._add_missing()

    async def reopen(self, key: ShardKey) -> None:
        """Closes a shard once it is unused, and opens it again."""
        async with self._changing:
            if key in self._open:
                await self._close(key)
                await self._add(key, self._opened)

    async def rebuild(self, key: ShardKey) -> None:
        """Empties a shard once it is unused; it answers again when it is where it has been."""
        async with self._changing:
            if key in self._open:
                await self._close(key)
                await self._add(key, self._emptied)

    async def close(self) -> None:
        """Closes every shard once it is unused."""
        async with self._changing:
            self._owned = {}
            for key in list(self._open):
                await self._close(key)

    async def _add_missing(self) -> None:
        self._refusals = {key: why for key, why in self._refusals.items() if key in self._owned}
        for key in self._owned:
            if key not in self._open:
                await self._add(key, self._opened)

    async def _add(self, key: ShardKey, make: Callable[[Path, Collection], Shard]) -> None:
        collection = self._owned.get(key)
        if collection is None:
            return
        path = self._path(collection.log_topic, key)
        loop = asyncio.get_running_loop()
        try:
            try:
                shard = await loop.run_in_executor(self._executor, make, path, collection)
            except AlderError as error:
                if error.reason is not Reason.CORRUPT:
                    raise
                await self._check_history(path, collection, error)
                shard = await loop.run_in_executor(self._executor, self._emptied, path, collection)
        except (AlderError, OSError) as error:
            logger.error("shard %d of %s does not open: %s", key[1], collection.name, error)
            if isinstance(error, AlderError):
                self._refusals[key] = error
            return
        self._refusals.pop(key, None)
        self._open[key] = _Open(shard, path)

    async def _check_history(self, path: Path, collection: Collection, error: AlderError) -> None:
        missing = await self._history.missing(collection)
        if missing:
            raise AlderError(
                Reason.CORRUPT,
                f"a shard of {collection.name} is damaged ({error.message}), and can't be built "
                f"again, because {missing}; drop the collection, or put a sound copy of the "
                "replica in its place",
            ) from error
        logger.error("the replica %s is built again from the log: %s", path, error)

    def _opened(self, path: Path, collection: Collection) -> Shard:
        documents = None
        if collection.settings.merge:
            if self._documents is None:
                raise AlderError(Reason.UNSUPPORTED, "this leaf can't apply patches")
            documents = partial(self._documents, collection.time_path)
        return Shard(
            path,
            collection.collection_id,
            collection.keyed,
            self._settings,
            self._cache,
            self._memory,
            kept=collection.settings,
            documents=documents,
        )

    def _emptied(self, path: Path, collection: Collection) -> Shard:
        target = last_positions(path)
        shutil.rmtree(path)
        shard = self._opened(path, collection)
        shard.rebuild_to(target)
        return shard

    async def _close(self, key: ShardKey) -> None:
        """Closes a shard; what could not be written then is had again from the log."""
        entry = await self._taken(key)
        try:
            await asyncio.get_running_loop().run_in_executor(self._executor, entry.shard.close)
        except AlderError as error:
            logger.error("shard %s did not close well: %s", key, error)

    async def _remove(self, key: ShardKey) -> None:
        path = self._open[key].path
        logger.info("removing %s, which the catalog does not place here any more", path)
        await self._close(key)
        await asyncio.get_running_loop().run_in_executor(self._executor, shutil.rmtree, path, True)

    async def _taken(self, key: ShardKey) -> _Open:
        entry = self._open.pop(key)
        while entry.users:
            entry.unused.clear()
            await entry.unused.wait()
        return entry

    def _remove_strangers(self, owned: Mapping[ShardKey, Collection]) -> None:
        expected = {self._path(collection.log_topic, key) for key, collection in owned.items()}
        for collection_directory in filter(Path.is_dir, self._directory.iterdir()):
            for path in collection_directory.iterdir():
                if path not in expected:
                    logger.info("removing %s, which the catalog does not place here", path)
                    shutil.rmtree(path, ignore_errors=True)
            if not any(collection_directory.iterdir()):
                collection_directory.rmdir()

    def _path(self, collection: str, key: ShardKey) -> Path:
        return self._directory / f"{key[0]}-{collection}" / f"{key[1]}"


def _owned(snapshot: Snapshot, node_id: str) -> dict[ShardKey, Collection]:
    return {
        (collection.collection_id, entry.shard): collection
        for collection in snapshot.collections.values()
        for entry in collection.shards
        if entry.leaf == node_id
    }
