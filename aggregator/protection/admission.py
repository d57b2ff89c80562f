"""Admission: a bounded number of queries run, a bounded number wait, all others are refused.

Whoever waits is served first come, first served within a client, and the clients take turns, so
one that asks much delays itself first. Who would wait beyond its deadline is refused, too: it would
take a turn from one that can still be answered. A refusal says when to ask again, by how long
queries have taken lately. Nothing of a statement is parsed before it is admitted.

**The door comes first.** One event loop takes up calls and works on queries, and gRPC needs several
turns of it for each call, one call after the other. The more queries run, the longer are the turns;
if every place were filled as soon as it is free, calls would pile up unheard, until each has spent
its deadline by the time it is heard and all work is in vain. So a place is given to one that waits
once some turns have passed without a call: fewer run while many ask, and what is too much is
refused at once. Queries that hardly use the loop leave its turns short and lose nothing.

:class:`Admission` decides, with time and turns told to it; :class:`Gate` waits.
"""

import asyncio
import itertools
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Final

from alder.errors import AlderError, Reason

NEWEST_SHARE: Final = 0.1
"""What the newest duration weighs in the mean of all."""
RETRY_S_MIN: Final = 0.05
RETRY_S_MAX: Final = 60.0
QUIET_TURNS: Final = 6
"""gRPC takes five turns of the loop from one call to the next; after one more there is none."""
DOOR_S_MAX: Final = 0.005
"""For so long at most a free place waits for the door to be quiet, so that queries go on where more
is asked than can even be refused."""


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
        self._gap_s = 0.0
        self._left_s: float | None = None
        self._quiet_turns = 0
        self._place_since_s = 0.0

    @property
    def awaits_quiet(self) -> bool:
        """True while one waits though there is a place: turns of the loop are to be told."""
        return bool(self._clients) and len(self._running) < self._settings.running_max

    def ask(self, ticket: int, client: str, left_s: float, now_s: float) -> bool:
        """True if the query runs at once, False if it waits; ``left_s``: until its deadline.

        Raises AlderError(OVERLOADED) if as many wait as may, or if its turn would come too late.
        """
        self._quiet_turns = 0
        if not self._clients and len(self._running) < self._settings.running_max:
            self._running[ticket] = now_s
            return True
        if len(self._clients) >= self._settings.waiting_max:
            raise self._refusal("which is all that may", now_s)
        if self._before(client) * self._each_s(now_s) > left_s:
            raise self._refusal("too many for its deadline", now_s)
        if not self._clients:
            self._gap_s, self._left_s = 0.0, None
        self._clients[ticket] = client
        self._waiting.setdefault(client, deque()).append(ticket)
        return False

    def turn(self, now_s: float) -> int | None:
        """A turn of the loop has passed; the ticket of one that runs from now on."""
        self._quiet_turns += 1
        overdue = now_s - self._place_since_s >= DOOR_S_MAX
        if not self.awaits_quiet or (self._quiet_turns < QUIET_TURNS and not overdue):
            return None
        self._quiet_turns = 0
        self._place_since_s = now_s
        return self._next(now_s)

    def leave(self, ticket: int, now_s: float) -> None:
        """Takes a query out, wherever it is."""
        begun_s = self._running.pop(ticket, None)
        if begun_s is not None:
            self._place_since_s = now_s
            self._mean_s = _mean(self._mean_s, now_s - begun_s)
            if self._clients:
                if self._left_s is not None:
                    self._gap_s = _mean(self._gap_s, now_s - self._left_s)
                self._left_s = now_s
        client = self._clients.pop(ticket, None)
        if client is not None:
            self._waiting[client].remove(ticket)
            if not self._waiting[client]:
                del self._waiting[client]

    def retry_s(self, now_s: float) -> float:
        """After how long there will be room."""
        return min(max((len(self._clients) + 1) * self._each_s(now_s), RETRY_S_MIN), RETRY_S_MAX)

    def _each_s(self, now_s: float) -> float:
        """How long those that wait take to move up by one.

        What it took lately, since one waits. Before that, if they take as long as the last did; and
        at least, if they take as long as those that run have taken so far.
        """
        so_far_s = sum(now_s - begun_s for begun_s in self._running.values())
        so_far_s /= max(len(self._running), 1) * self._settings.running_max
        return max(self._gap_s or self._mean_s / self._settings.running_max, so_far_s)

    def _before(self, client: str) -> int:
        """How many of those that wait have their turn before one more of a client."""
        own = len(self._waiting.get(client, ()))
        return sum(
            min(len(tickets), own + (name != client)) for name, tickets in self._waiting.items()
        )

    def _next(self, now_s: float) -> int:
        client, tickets = next(iter(self._waiting.items()))
        ticket = tickets.popleft()
        del self._waiting[client]
        if tickets:
            self._waiting[client] = tickets
        del self._clients[ticket]
        self._running[ticket] = now_s
        return ticket

    def _refusal(self, why: str, now_s: float) -> AlderError:
        retry_s = self.retry_s(now_s)
        return AlderError(
            Reason.OVERLOADED,
            f"{len(self._running)} queries run here and {len(self._clients)} wait, {why}; "
            f"ask again in {retry_s:.2f} s",
            retry_s,
        )


def _mean(mean_s: float, newest_s: float) -> float:
    """The mean with one more; the first is the mean of itself."""
    return mean_s + (newest_s - mean_s) * (NEWEST_SHARE if mean_s else 1.0)


class Gate:
    """Lets queries in as :class:`Admission` decides. Belongs to one event loop."""

    def __init__(self, settings: AdmissionSettings, clock_s: Callable[[], float]) -> None:
        self._admission = Admission(settings)
        self._clock_s = clock_s
        self._tickets = itertools.count()
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self._counts_turns = False

    def place(self, client: str, left_s: float) -> "Place":
        """A place to run at, or to wait for. Raises AlderError(OVERLOADED)."""
        ticket = next(self._tickets)
        if not self._admission.ask(ticket, client, left_s, self._clock_s()):
            self._waiting[ticket] = asyncio.get_running_loop().create_future()
            self._count_turns()
        return Place(self, ticket)

    async def turn_of(self, ticket: int) -> None:
        """Waits until a query may run."""
        turn = self._waiting.get(ticket)
        if turn is not None:
            await turn

    def leave(self, ticket: int) -> None:
        """A query has ended, or does not wait any more."""
        self._waiting.pop(ticket, None)
        self._admission.leave(ticket, self._clock_s())
        self._count_turns()

    def _count_turns(self) -> None:
        if self._admission.awaits_quiet and not self._counts_turns:
            self._counts_turns = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        self._counts_turns = False
        ticket = self._admission.turn(self._clock_s())
        # One that was cancelled just then leaves by itself as soon as its task runs.
        if ticket is not None and not self._waiting[ticket].done():
            self._waiting[ticket].set_result(None)
        self._count_turns()


class Place:
    """What a query holds from its begin to its end."""

    def __init__(self, gate: Gate, ticket: int) -> None:
        self._gate = gate
        self._ticket = ticket

    def __enter__(self) -> "Place":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._gate.leave(self._ticket)

    async def turn(self) -> None:
        """Waits until the query may run."""
        await self._gate.turn_of(self._ticket)
