"""A condition of the event loop that many may wait for without polling."""

import asyncio


class Signal:
    """Wakes everyone who waits at the time of :meth:`notify`."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def notify(self) -> None:
        """Wakes the waiting ones."""
        waiting, self._event = self._event, asyncio.Event()
        waiting.set()

    async def wait(self) -> None:
        """Waits for the next notification."""
        await self._event.wait()
