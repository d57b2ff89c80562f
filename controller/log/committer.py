"""Group commit: one fsync for everything that came while the fsync before it ran.

Payloads wait in one queue. A group takes them from its head, gives them offsets and timestamps,
writes them in one batch and syncs; only then do bounds move and calls hear of it. So groups grow
with load, offsets and timestamps ascend in the order of the queue, and nothing is visible or
acknowledged that a crash could take back.

A write that failed leaves it unknown what is on disk, so no offset can be given out safely
afterwards: the log refuses appends until it is opened again.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from alder.errors import AlderError, Reason
from controller.log.appending import Payload, Submission
from controller.log.storage import PlacedBlock
from controller.log.topics import Bounds, Partition

logger = logging.getLogger(__name__)
Writer = Callable[[Sequence[PlacedBlock]], Awaitable[None]]
_JOINED_BYTES_MAX: Final = 1 << 20


class Timestamps:
    """Strictly increasing timestamps, in microseconds, from a clock that may stand or go back."""

    def __init__(self, clock_us: Callable[[], int], next_us: int) -> None:
        self._clock_us = clock_us
        self.next_us = next_us

    def take(self, count: int) -> int:
        """The first of ``count`` consecutive timestamps."""
        first = max(self._clock_us(), self.next_us)
        self.next_us = first + count
        return first

    def pass_by(self, moment_us: int) -> int:
        """Makes sure that no later timestamp is of this moment or before, once the clock is past.

        Microseconds until it is; 0: it is.
        """
        ahead_us = moment_us + 1 - max(self._clock_us(), self.next_us)
        if ahead_us <= 0:
            self.next_us = max(self.next_us, moment_us + 1)
        return max(ahead_us, 0)


class GroupCommitter:
    """The only writer of blocks. ``exclusive`` keeps it apart from other writes to the store."""

    def __init__(
        self,
        write: Writer,
        exclusive: asyncio.Lock,
        timestamps: Timestamps,
        group_bytes_max: int,
        release: Callable[[int], None],
    ) -> None:
        self.error: AlderError | None = None
        self._write = write
        self._exclusive = exclusive
        self._timestamps = timestamps
        self._group_bytes_max = group_bytes_max
        self._release = release
        self._queue: deque[Submission] = deque()
        self._arrived = asyncio.Event()
        self._closing = False

    def submit(self, submission: Submission) -> None:
        """Queues a payload; its call is told when it is on disk, or why it is not."""
        if self._closing:
            self._fail(submission, AlderError(Reason.UNAVAILABLE, "the log is closing"))
            return
        self._queue.append(submission)
        self._arrived.set()

    async def run(self) -> None:
        """Commits until :meth:`close`, and then what is still queued."""
        while self._queue or not self._closing:
            if not self._queue:
                self._arrived.clear()
                await self._arrived.wait()
                continue
            async with self._exclusive:
                await self._commit(self._take_group())

    def close(self) -> None:
        """Lets :meth:`run` end once the queue is empty."""
        self._closing = True
        self._arrived.set()

    def _take_group(self) -> list[Submission]:
        group = [self._queue.popleft()]
        room = self._group_bytes_max - group[0].payload.size_bytes
        while self._queue and self._queue[0].payload.size_bytes <= room:
            group.append(self._queue.popleft())
            room -= group[-1].payload.size_bytes
        return group

    async def _commit(self, group: list[Submission]) -> None:
        alive = []
        for entry in group:
            if self.error is not None:
                self._fail(entry, self.error)
            elif entry.partition.topic.deleted:
                self._fail(entry, _deleted(entry))
            else:
                alive.append(entry)
        if not alive:
            return
        ends, blocks = self._place(alive)
        try:
            await self._write(blocks)
        except Exception as error:
            logger.exception("the log can't be written")
            self.error = AlderError(
                Reason.UNAVAILABLE,
                f"the log takes no more records until it is restarted, a write failed: {error}",
            )
            for entry in alive:
                self._fail(entry, self.error)
            return
        for entry, end in zip(alive, ends, strict=True):
            self._acknowledge(entry, end)

    def _place(self, group: list[Submission]) -> tuple[list[int], list[PlacedBlock]]:
        """Gives out offsets and times: the end offset of each entry, and the blocks to write."""
        next_offsets: dict[Partition, int] = {}
        by_partition: dict[Partition, list[Submission]] = {}
        ends = []
        for entry in group:
            begin = next_offsets.get(entry.partition, entry.partition.bounds.end)
            next_offsets[entry.partition] = begin + entry.payload.records
            by_partition.setdefault(entry.partition, []).append(entry)
            ends.append(next_offsets[entry.partition])
        blocks = [
            block
            for partition, entries in by_partition.items()
            for block in self._joined(partition, [entry.payload for entry in entries])
        ]
        return ends, blocks

    def _joined(self, partition: Partition, payloads: list[Payload]) -> list[PlacedBlock]:
        """Blocks of consecutive payloads; small ones share a block."""
        spec, number, first_offset = partition.topic.spec, partition.number, partition.bounds.end
        joined: list[PlacedBlock] = []
        parts: list[Payload] = []
        size_bytes = 0
        for index, payload in enumerate(payloads):
            parts.append(payload)
            size_bytes += payload.size_bytes
            last = index == len(payloads) - 1
            if last or size_bytes + payloads[index + 1].size_bytes > _JOINED_BYTES_MAX:
                records = sum(part.records for part in parts)
                first_us = self._timestamps.take(records)
                joined.append(
                    PlacedBlock(spec, number, first_offset, records, first_us, tuple(parts))
                )
                first_offset += records
                parts, size_bytes = [], 0
        return joined

    def _acknowledge(self, entry: Submission, end: int) -> None:
        partition = entry.partition
        partition.move(Bounds(partition.bounds.begin, end))
        entry.call.committed(partition.number, end, entry.payload.records)
        self._settle(entry)

    def _fail(self, entry: Submission, error: AlderError) -> None:
        entry.call.failed(error)
        self._settle(entry)

    def _settle(self, entry: Submission) -> None:
        size_bytes = entry.payload.size_bytes
        entry.call.budget.give_back(size_bytes)
        self._release(size_bytes)


def _deleted(entry: Submission) -> AlderError:
    name = entry.partition.topic.spec.name
    return AlderError(Reason.UNKNOWN_COLLECTION, f"topic {name} was deleted while it was written")
