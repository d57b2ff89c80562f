"""Admission: a bounded number of queries run, a bounded number wait, all others are refused.

Whoever waits is served first come, first served within a client, and the clients take turns, so one
that asks much delays itself first. A refusal says when to ask again, by how long queries have taken
lately. Nothing of a statement is looked at before it is admitted, so a refusal costs next to
nothing. :class:`Admission` decides, with the time given to it; :class:`Gate` waits.
"""

import asyncio
import itertools
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from alder.errors import AlderError, Reason

NEWEST_SHARE: Final = 0.1
"""What the newest duration weighs in the mean of all."""
RETRY_S_MIN: Final = 0.05
RETRY_S_MAX: Final = 60.0


@dataclass(frozen=True, slots=True)
class AdmissionSettings:
    """Numbers of queries; ``running_max`` at least 1."""

    running_max: int = 8
    waiting_max: int = 64


class Admission:
    """Who runs and who waits. A ticket is a number that the caller gives a query."""

    def __init__(self, settings: AdmissionSettings) -> None:
        self._settings = settings
        self._running: dict[int, float] = {}
        self._waiting: OrderedDict[str, deque[int]] = OrderedDict()
        self._clients: dict[int, str] = {}
        self._mean_s = 0.0

    def ask(self, ticket: int, client: str, now_s: float) -> bool:
        """True if the query runs at once, False if it waits.

        Raises AlderError(OVERLOADED) if as many wait as may.
        """
        if len(self._running) < self._settings.running_max:
            self._running[ticket] = now_s
            return True
        if len(self._clients) >= self._settings.waiting_max:
            raise self._refusal(now_s)
        self._clients[ticket] = client
        self._waiting.setdefault(client, deque()).append(ticket)
        return False

    def leave(self, ticket: int, now_s: float) -> list[int]:
        """Takes a query out, wherever it is; the tickets of those that run from now on."""
        begun_s = self._running.pop(ticket, None)
        if begun_s is not None:
            took_s = now_s - begun_s
            self._mean_s += (took_s - self._mean_s) * (NEWEST_SHARE if self._mean_s else 1.0)
        client = self._clients.pop(ticket, None)
        if client is not None:
            self._waiting[client].remove(ticket)
            if not self._waiting[client]:
                del self._waiting[client]
        admitted = []
        while self._waiting and len(self._running) < self._settings.running_max:
            admitted.append(self._next(now_s))
        return admitted

    def retry_s(self, now_s: float) -> float:
        """After how long there will be room.

        If those that wait take as long as the last did, or as those that run have taken so far.
        """
        so_far_s = sum(now_s - begun_s for begun_s in self._running.values())
        each_s = max(self._mean_s, so_far_s / max(len(self._running), 1))
        turns = (len(self._clients) + 1) / self._settings.running_max
        return min(max(turns * each_s, RETRY_S_MIN), RETRY_S_MAX)

    def _next(self, now_s: float) -> int:
        client, tickets = next(iter(self._waiting.items()))
        ticket = tickets.popleft()
        del self._waiting[client]
        if tickets:
            self._waiting[client] = tickets
        del self._clients[ticket]
        self._running[ticket] = now_s
        return ticket

    def _refusal(self, now_s: float) -> AlderError:
        retry_s = self.retry_s(now_s)
        return AlderError(
            Reason.OVERLOADED,
            f"{len(self._running)} queries run here and {len(self._clients)} wait, which is all "
            f"that may; ask again in {retry_s:.2f} s",
            retry_s,
        )


class Gate:
    """Lets queries in as :class:`Admission` decides. Belongs to one event loop."""

    def __init__(self, settings: AdmissionSettings, clock_s: Callable[[], float]) -> None:
        self._admission = Admission(settings)
        self._clock_s = clock_s
        self._tickets = itertools.count()
        self._waiting: dict[int, asyncio.Future[None]] = {}

    @asynccontextmanager
    async def admitted(self, client: str) -> AsyncIterator[None]:
        """While a query runs; waits for its turn first. Raises AlderError(OVERLOADED)."""
        ticket = next(self._tickets)
        runs = self._admission.ask(ticket, client, self._clock_s())
        try:
            if not runs:
                turn = self._waiting[ticket] = asyncio.get_running_loop().create_future()
                await turn
            yield
        finally:
            self._waiting.pop(ticket, None)
            for other in self._admission.leave(ticket, self._clock_s()):
                # One that was cancelled just then leaves by itself as soon as its task runs.
                if not self._waiting[other].done():
                    self._waiting[other].set_result(None)
