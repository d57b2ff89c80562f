"""Which shards a leaf has open: follows the catalog, opens what it owns, removes what it lost.

A shard is closed only when nobody uses it any more; users hold it through :meth:`Shards.using`.
Everything here runs on the event loop, opening and closing on worker threads.
"""

import asyncio
import logging
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from alder.catalog import Collection, Snapshot
from alder.errors import AlderError
from leaf.cache import PageCache
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
        self, node_id: str, directory: Path, settings: LeafSettings, executor: Executor
    ) -> None:
        self._node_id = node_id
        self._directory = directory
        self._settings = settings
        self._cache = PageCache(settings.cache_bytes)
        self._executor = executor
        self._open: dict[ShardKey, _Open] = {}

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

    async def follow(self, snapshot: Snapshot) -> None:
        """Opens and removes shards until they are those of the snapshot.

        A shard that can't be opened is left out and logged; the next snapshot tries again.
        """
        if not snapshot.revision:
            return
        owned = _owned(snapshot, self._node_id)
        for key in [key for key in self._open if key not in owned]:
            await self._remove(key)
        await asyncio.get_running_loop().run_in_executor(
            self._executor, self._remove_strangers, owned
        )
        for key, collection in owned.items():
            if key not in self._open:
                await self._add(key, collection)

    async def close(self) -> None:
        """Closes every shard once it is unused."""
        for key in list(self._open):
            entry = await self._taken(key)
            await asyncio.get_running_loop().run_in_executor(self._executor, entry.shard.close)

    async def _add(self, key: ShardKey, collection: Collection) -> None:
        path = self._path(collection.name, key)
        try:
            shard = await asyncio.get_running_loop().run_in_executor(
                self._executor, self._opened, path, collection
            )
        except (AlderError, OSError) as error:
            logger.error("shard %d of %s does not open: %s", key[1], collection.name, error)
            return
        self._open[key] = _Open(shard, path)

    def _opened(self, path: Path, collection: Collection) -> Shard:
        return Shard(path, collection.collection_id, collection.keyed, self._settings, self._cache)

    async def _remove(self, key: ShardKey) -> None:
        entry = await self._taken(key)
        logger.info("removing %s, which the catalog does not place here any more", entry.path)
        await asyncio.get_running_loop().run_in_executor(self._executor, entry.shard.close)
        await asyncio.get_running_loop().run_in_executor(
            self._executor, shutil.rmtree, entry.path, True
        )

    async def _taken(self, key: ShardKey) -> _Open:
        entry = self._open.pop(key)
        while entry.users:
            entry.unused.clear()
            await entry.unused.wait()
        return entry

    def _remove_strangers(self, owned: Mapping[ShardKey, Collection]) -> None:
        expected = {self._path(collection.name, key) for key, collection in owned.items()}
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
