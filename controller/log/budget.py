"""A budget of bytes: backpressure for what waits for the disk."""

import asyncio


class ByteBudget:
    """Bytes in use never exceed the limit, save that one piece larger than it may pass alone."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._used_bytes = 0
        self._freed = asyncio.Event()

    @property
    def used_bytes(self) -> int:
        """Bytes taken and not yet given back."""
        return self._used_bytes

    async def take(self, size_bytes: int) -> None:
        """Waits until there is room, then takes it."""
        while self._used_bytes and self._used_bytes + size_bytes > self._limit_bytes:
            await self._wait()
        self._used_bytes += size_bytes

    def give_back(self, size_bytes: int) -> None:
        """Returns what was taken."""
        self._used_bytes -= size_bytes
        self._freed.set()

    async def emptied(self) -> None:
        """Waits until nothing is in use."""
        while self._used_bytes:
            await self._wait()

    async def _wait(self) -> None:
        self._freed.clear()
        await self._freed.wait()
