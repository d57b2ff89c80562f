"""What keeps a tailer that lost its partitions, and may not know it yet, from doing anything.

All that it sends to leaves says by which assignment of the catalog it acts, and they refuse one
that is older than the newest they know. It sends nothing at all while it has no lease.
"""

import asyncio
from collections.abc import Callable

from alder.errors import AlderError, Reason


class Fence:
    """That of one partition, as long as it is this tailer's. Belongs to one event loop."""

    def __init__(self, holds_lease: Callable[[], bool], assignment: int) -> None:
        self.assignment = assignment
        """By which the partition is read."""
        self._holds_lease = holds_lease
        self._changed = asyncio.Event()

    def follow(self, assignment: int) -> None:
        """The partition is this tailer's by that assignment, too."""
        if assignment > self.assignment:
            self.assignment = assignment
            waiting, self._changed = self._changed, asyncio.Event()
            waiting.set()

    async def newer_than(self, assignment: int) -> None:
        """Waits until a newer one is followed."""
        while self.assignment <= assignment:
            await self._changed.wait()

    def check(self) -> None:
        """Raises AlderError(STALE_ASSIGNMENT) without a lease."""
        if not self._holds_lease():
            raise AlderError(
                Reason.STALE_ASSIGNMENT,
                "this tailer was not heard of for as long as its lease, so others may have its "
                "partitions; it goes on once the controller gave it a lease",
            )
