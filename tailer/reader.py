"""Reads a partition and prepares what it read, one range after the other.

Reading and preparing run beside the push of the range before; there is never more than one range
being prepared. A finite source that came to its end gives its memory back until it is asked again.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor

from alder.catalog import Shard
from alder.errors import AlderError
from alder.lag import EndsSeen
from tailer.batch import Builder, Rows
from tailer.shardrows import PreparedRange, prepare
from tailer.sources.model import PartitionSource, RawBatch


class PartitionReader:
    """Ranges of one partition, prepared for one shard map. One call at a time."""

    def __init__(
        self,
        source: PartitionSource,
        make_builder: Callable[[], Builder],
        executor: Executor,
        wait_ms: int,
        gate: asyncio.Semaphore,
        ends: EndsSeen | None = None,
    ) -> None:
        """``ends`` is told where answers of the source say that it ends at that moment."""
        self.source_end = -1
        self._ends = ends
        self._source = source
        self._make_builder = make_builder
        self._executor = executor
        self._wait_ms = wait_ms
        self._gate = gate
        self._holds_gate = False
        self._builder: Builder | None = None
        self._pending: deque[Rows] = deque()
        self._preparing = threading.Lock()

    async def next(
        self,
        offset: int,
        shards: tuple[Shard, ...],
        wanted: frozenset[int],
        leader_epoch: int = -1,
    ) -> PreparedRange:
        """The next range from ``offset`` on, never empty; waits until there is one.

        It has the rows of the shards that are ``wanted``; ``shards`` are all of the collection.
        ``leader_epoch`` belongs to ``offset``, as far as it is known. Raises AlderError as the
        source does.
        """
        loop = asyncio.get_running_loop()
        if self._pending and self._pending[0].range.begin == offset:
            rows = self._pending.popleft()
            return await loop.run_in_executor(self._executor, prepare, rows, shards, wanted)
        self._pending.clear()
        raw = await self._read(offset, leader_epoch)
        prepared, rest = await loop.run_in_executor(
            self._executor, self._build, raw, shards, wanted
        )
        self._pending.extend(rest)
        return prepared

    @property
    def pending_bytes(self) -> int:
        """Size of the rows that were read and are not prepared yet."""
        return sum(rows.table.nbytes for rows in self._pending)

    def close(self) -> None:
        """Gives everything back."""
        self._release()
        self._source.close()

    async def _read(self, offset: int, leader_epoch: int) -> RawBatch:
        while True:
            if self._source.finite and not self._holds_gate:
                await self._gate.acquire()
                self._holds_gate = True
            try:
                raw = await self._source.read(offset, self._wait_ms, leader_epoch)
            except AlderError:
                # A file that can't be read now must not keep others from being read.
                if self._source.finite:
                    self._release()
                raise
            self.source_end = max(self.source_end, raw.source_end)
            self._note_end(raw)
            if raw.end > raw.begin:
                return raw
            if self._source.finite:
                self._release()
                await asyncio.Event().wait()

    def _note_end(self, raw: RawBatch) -> None:
        if self._ends is None:
            return
        if not self._source.finite:
            self._ends.saw(raw.source_end, time.monotonic())
        elif raw.end == raw.begin:
            self._ends.ended(raw.end)

    def _build(
        self, raw: RawBatch, shards: tuple[Shard, ...], wanted: frozenset[int]
    ) -> tuple[PreparedRange, list[Rows]]:
        # A read that was given up may still be at work in its thread.
        with self._preparing:
            if self._builder is None:
                self._builder = self._make_builder()
            first, *rest = self._builder.build(raw)
        return prepare(first, shards, wanted), rest

    def _release(self) -> None:
        self._builder = None
        if self._holds_gate:
            self._holds_gate = False
            self._gate.release()
