"""The catalog in memory: the newest state over a store, immutable, and replaced after each commit.

A change is a function of that state: it is committed if the store is still at that revision, and
made again from the newer state if not, so that no change is lost and none is made from what is no
longer true.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from alder.catalog import Snapshot
from alder.errors import AlderError, Reason
from alder.v1 import catalog_pb2
from controller.catalog_store import CatalogStore
from controller.changes import CatalogState, Change

_ATTEMPTS_MAX: Final = 100
_Result = TypeVar("_Result")
Decision = Callable[[CatalogState], Sequence[Change]]


class Catalog:
    """Use between :meth:`begin` and :meth:`close`, on one event loop."""

    def __init__(self, path: Path, snapshot_bytes_max: int, live: Callable[[str], bool]) -> None:
        """``path`` is the store's file; ``live`` says of a node's id whether it is."""
        self._path = path
        self._snapshot_bytes_max = snapshot_bytes_max
        self._live = live
        self._state = CatalogState(Snapshot())
        self._message = catalog_pb2.CatalogSnapshot()
        self._changed = asyncio.Event()
        self._changes: set[asyncio.Task[object]] = set()
        self._open = False

    @property
    def state(self) -> CatalogState:
        """The newest state."""
        return self._state

    async def load(self) -> CatalogState:
        """Opens the store. Raises AlderError(UNAVAILABLE, CORRUPT) where it can't."""
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="catalog")
        self._store = await self._blocking(lambda: CatalogStore(self._path))
        return await self._blocking(self._store.load)

    async def begin(self, loaded: CatalogState) -> None:
        """Makes what was loaded the newest state.

        Each begin is a new revision, because what followers know of liveness may not be true any
        more.
        """
        state = loaded.with_liveness(self._live)
        self._publish(await self._blocking(lambda: self._store.commit(state, ())))
        self._open = True

    def stop(self) -> None:
        """Ends every watch, and takes nothing more."""
        self._open = False
        self._ring()

    async def close(self) -> None:
        """Finishes what is being changed, and closes the store."""
        await asyncio.gather(*self._changes, return_exceptions=True)
        await self._blocking(self._store.close)
        self._executor.shutdown()

    @property
    def is_open(self) -> bool:
        """True from :meth:`begin` to :meth:`stop`."""
        return self._open

    def check_open(self) -> None:
        """Raises AlderError(UNAVAILABLE) before :meth:`begin` and after :meth:`stop`."""
        if not self._open:
            raise AlderError(Reason.UNAVAILABLE, "the controller is closed; start the server")

    async def changed(self) -> None:
        """Returns at the next change, or when the catalog is stopped."""
        await self._changed.wait()

    async def watch(
        self, revision: int, timeout_s: float | None
    ) -> AsyncIterator[catalog_pb2.CatalogSnapshot]:
        """The newest snapshot above a revision, and again after changes until :meth:`stop`.

        A slow watcher misses snapshots in between, never the newest. The messages are shared by all
        watchers: they are not to be changed. Raises AlderError(DEADLINE) after ``timeout_s``.
        """
        deadline_s = None if timeout_s is None else asyncio.get_running_loop().time() + timeout_s
        while self._open:
            if self._message.revision > revision:
                message = self._message
                revision = message.revision
                yield message
                continue
            try:
                async with asyncio.timeout_at(deadline_s):
                    await self.changed()
            except TimeoutError as error:
                raise AlderError(
                    Reason.DEADLINE, "the deadline of the watch passed; watch again"
                ) from error

    async def change(self, decide: Decision) -> CatalogState:
        """Commits what ``decide`` makes of the newest state; returns the state then.

        Raises AlderError(CONFLICT, LIMIT), and what ``decide`` raises.
        """
        return await self.uninterrupted(self._commit(decide))

    async def uninterrupted(self, work: Coroutine[None, None, _Result]) -> _Result:
        """Does ``work`` to its end even if the caller is cancelled: memory and disk must agree."""
        task = asyncio.create_task(work)
        self._changes.add(task)
        task.add_done_callback(self._changes.discard)
        return await asyncio.shield(task)

    async def _commit(self, decide: Decision) -> CatalogState:
        for _ in range(_ATTEMPTS_MAX):
            before = self._state
            changes = decide(before)
            if not changes:
                return before
            self._check_size(before.applied(changes))
            try:
                after = await self._blocking(partial(self._store.commit, before, changes))
            except AlderError as error:
                if error.reason is not Reason.CONFLICT:
                    raise
                if self._state is before:
                    state = await self._blocking(self._store.load)
                    self._publish(state.with_liveness(self._live))
                continue
            self._publish(after)
            return after
        raise AlderError(Reason.CONFLICT, "the catalog changes too fast; try again")

    def _check_size(self, state: CatalogState) -> None:
        size_bytes = state.snapshot.to_proto().ByteSize()
        if size_bytes > self._snapshot_bytes_max:
            raise AlderError(
                Reason.LIMIT,
                f"the catalog would have {size_bytes} bytes, the limit is "
                f"{self._snapshot_bytes_max}; drop collections, or join small files",
            )

    def _publish(self, state: CatalogState) -> None:
        if state.snapshot.revision <= self._state.snapshot.revision:
            return
        self._state = state
        self._message = state.snapshot.to_proto()
        self._ring()

    def _ring(self) -> None:
        waiting, self._changed = self._changed, asyncio.Event()
        waiting.set()

    async def _blocking(self, work: Callable[[], _Result]) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)
