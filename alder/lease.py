"""What a process knows of its own lease: whether it may go on as if others knew that it lives.

The controller ends leases by its own clock, so a process never knows for sure. What it does know is
whether it was asleep (stopped, suspended, starved) when its lease ran out, which it counts from
when it asked and so no later than the controller does: then others may have taken over, and it has
to be given a lease before it goes on. A controller that can't be reached is no such sign: as long
as it is down nobody takes over, and if only the way to it is cut, the leaves refuse what goes by an
assignment that is out of date.

Pure: the clock is injected, seconds that count on while a process is stopped.
"""

import time
from collections.abc import Callable
from typing import Final

SHARE_ASLEEP: Final = 0.5
"""Of a lease: who says nothing for longer was asleep. It is renewed more often than that."""


class Lease:
    """The lease of a node of this process; there is none before :meth:`renewed`."""

    def __init__(self, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._monotonic_s = monotonic_s
        self._lease_s = 0.0
        self._ends_s = self._awake_s = monotonic_s()
        self._held = False

    @property
    def lease_s(self) -> float:
        """How long it runs; 0 before there was one."""
        return self._lease_s

    def observe(self) -> float:
        """Says that the process is awake, which it has to say often; returns the time."""
        now_s = self._monotonic_s()
        was_asleep = now_s - self._awake_s >= SHARE_ASLEEP * self._lease_s
        if was_asleep and now_s >= self._ends_s:
            self._held = False
        self._awake_s = now_s
        return now_s

    def renewed(self, asked_s: float, lease_s: float) -> None:
        """The controller granted what was asked for at a time that :meth:`observe` returned."""
        self._lease_s, self._ends_s = lease_s, asked_s + lease_s
        self._held = self.observe() < self._ends_s

    def end(self) -> None:
        """The process gives it up."""
        self._held = False

    def holds(self) -> bool:
        """True if the process may go on."""
        self.observe()
        return self._held
