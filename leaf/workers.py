"""The processes that seal: started with the first seal, replaced when they die.

Sealing is pure computation of a second or so; in the leaf's own process it would hold the
interpreter's lock against pushes and queries. A worker ends by itself when its leaf is gone, also
when the leaf was killed, so that no orphan stays behind.
"""

import asyncio
import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Sequence
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor
from multiprocessing.connection import wait

from alder.errors import AlderError, Reason
from leaf.seal import SealedSegment, seal_streams

logger = logging.getLogger(__name__)


class SealWorkers:
    """Seals in worker processes, or in an executor that is given."""

    def __init__(self, workers: int, executor: Executor | None = None) -> None:
        self._workers = workers
        self._given = executor
        self._own: ProcessPoolExecutor | None = None

    async def seal(self, parts: Sequence[bytes]) -> SealedSegment:
        """The segment of tables given as Arrow streams.

        Raises AlderError(UNAVAILABLE) where the worker died; the next call starts another.
        """
        executor = self._given or self._started()
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(executor, seal_streams, parts)
        except BrokenExecutor as error:
            self._own = None
            raise AlderError(
                Reason.UNAVAILABLE, "the worker process that seals died; it is started again"
            ) from error

    def close(self) -> None:
        """Ends the processes. Nothing may be sealing."""
        if self._own is not None:
            self._own.shutdown(cancel_futures=True)
            self._own = None

    def _started(self) -> ProcessPoolExecutor:
        if self._own is None:
            self._own = ProcessPoolExecutor(
                self._workers,
                mp_context=multiprocessing.get_context("spawn"),
                initializer=_begin_worker,
            )
        return self._own


def _begin_worker() -> None:
    """An interrupt from the terminal goes to the leaf alone, which ends its workers in order."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
