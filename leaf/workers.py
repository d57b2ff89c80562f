"""The processes that seal and merge.

Both are pure computation; in the leaf's own process it would hold the interpreter's lock against
pushes and queries. Those that seal are started with the leaf, so that a bulk load does not wait for
their imports, and replaced when they die. A merge, which nobody waits for, has a process of its own
at the lowest priority, which ends with it and gives its memory back. Rows go to a worker in a file
that it maps, because a pipe would copy them several times. A worker ends by itself when its leaf is
gone, also when the leaf was killed, so that no orphan stays behind.
"""

import asyncio
import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import wait
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Final, ParamSpec, TypeVar

import pyarrow as pa

from alder.allocator import share_memory
from alder.errors import AlderError, Reason
from alder.imports import leave_out_pandas
from alder.indexing import IndexSetting
from leaf.merging import Compute
from leaf.seal import SealedSegment, seal

logger = logging.getLogger(__name__)
P = ParamSpec("P")
T = TypeVar("T")
LOWEST_PRIORITY: Final = 19
_ROWS_PREFIX: Final = "sealing-"


class SealWorkers:
    """Seals and merges in worker processes, or in an executor that is given."""

    def __init__(self, workers: int, directory: Path, executor: Executor | None = None) -> None:
        """``directory`` is where rows are put for the workers to read."""
        self._workers = workers
        self._directory = directory
        self._given = executor
        self._own: ProcessPoolExecutor | None = None
        self._stopping = threading.Event()

    def start(self) -> None:
        """Starts a process that seals; returns at once."""
        if self._given is None:
            self._started().submit(_nothing)

    async def seal(
        self,
        tables: Sequence[pa.Table],
        cluster_by: Sequence[str],
        indexes: Sequence[IndexSetting],
        threads: Executor,
    ) -> SealedSegment:
        """The segment of some tables, which ``threads`` write down for a worker.

        Raises AlderError(UNAVAILABLE) where they can't be written, or where the worker died; the
        next call starts another.
        """
        loop = asyncio.get_running_loop()
        path = await loop.run_in_executor(threads, self._write, tables)
        try:
            executor = self._given or self._started()
            return await loop.run_in_executor(executor, _seal_file, path, cluster_by, indexes)
        except BrokenExecutor as error:
            self._own = None
            raise AlderError(
                Reason.UNAVAILABLE, "the worker process that seals died; it is started again"
            ) from error
        finally:
            await loop.run_in_executor(threads, path.unlink)

    @contextmanager
    def merging(self) -> Iterator[Compute]:
        """What computes the parts of a merge, for the thread that runs it.

        It raises AlderError(UNAVAILABLE) where its process died, or after :meth:`stop`.
        """
        if self._given is not None:
            yield _Remote(self._given, self._stopping)
            return
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, context, _begin_merge_worker) as executor:
            yield _Remote(executor, self._stopping)

    def stop(self) -> None:
        """Lets merges that run end early."""
        self._stopping.set()

    def close(self) -> None:
        """Ends the processes. Nothing may be sealing."""
        if self._own is not None:
            self._own.shutdown(cancel_futures=True)
            self._own = None

    def remove_leftovers(self) -> None:
        """Removes files of rows that a killed leaf left behind."""
        for path in self._directory.glob(f"{_ROWS_PREFIX}*"):
            path.unlink()

    def _write(self, tables: Sequence[pa.Table]) -> Path:
        try:
            with NamedTemporaryFile(dir=self._directory, prefix=_ROWS_PREFIX, delete=False) as file:
                path = Path(file.name)
                try:
                    for table in tables:
                        with pa.ipc.new_stream(file, table.schema) as writer:
                            writer.write_table(table)
                except OSError:
                    path.unlink()
                    raise
        except OSError as error:
            raise AlderError(
                Reason.UNAVAILABLE, f"rows can't be written down to be sealed: {error}"
            ) from error
        return path

    def _started(self) -> ProcessPoolExecutor:
        if self._own is None:
            self._own = ProcessPoolExecutor(
                self._workers,
                mp_context=multiprocessing.get_context("spawn"),
                initializer=_begin_worker,
            )
        return self._own


class _Remote:
    """Implements :class:`leaf.merging.Compute`."""

    def __init__(self, executor: Executor, stopping: threading.Event) -> None:
        self._executor = executor
        self._stopping = stopping

    def __call__(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        if self._stopping.is_set():
            raise AlderError(Reason.UNAVAILABLE, "the leaf is stopping; it merges when it is back")
        try:
            return self._executor.submit(function, *args, **kwargs).result()
        except BrokenExecutor as error:
            raise AlderError(
                Reason.UNAVAILABLE, "the worker process that merges died; it is started again"
            ) from error


def _nothing() -> None:
    """What a worker process is asked for so that it starts."""


def _seal_file(
    path: Path, cluster_by: Sequence[str], indexes: Sequence[IndexSetting]
) -> SealedSegment:
    """What a worker process is asked for: the segment of the tables in a file."""
    return seal([_read(path)], cluster_by, indexes)


def _read(path: Path) -> pa.Table:
    """All rows of a file as one table; several are one in memory, and the file's pages are free.

    Partitions take turns in a live tail. With their tables in the order of births, which is that of
    rows in a segment, most often no row needs to be moved again.
    """
    tables = []
    with pa.memory_map(str(path)) as source:
        while source.tell() < source.size():
            with pa.ipc.open_stream(source) as reader:
                tables.append(reader.read_all())
    tables.sort(key=_first_birth)
    return pa.concat_tables(tables, promote_options="default").combine_chunks()


def _first_birth(table: pa.Table) -> int:
    birth: int = table.column("_birth")[0].as_py()
    return birth


def _begin_merge_worker() -> None:
    os.nice(LOWEST_PRIORITY)
    _begin_worker()


def _begin_worker() -> None:
    """An interrupt from the terminal goes to the leaf alone, which ends its workers in order."""
    leave_out_pandas()
    share_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
