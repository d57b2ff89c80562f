"""Virtual time and a network without guarantees, both drawn from one seed.

Nothing here or above knows the real clock; the only source of choice is ``Schedule.random``, so a
seed is a whole run. The trace has one line per thing that happened, in order.
"""

import hashlib
import heapq
from collections.abc import Callable
from random import Random

Action = Callable[[], None]


class Schedule:
    """Actions in the order of their virtual time (whole ticks), those of one tick as they came."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.now = 0
        self.trace: list[str] = []
        self._actions: list[tuple[int, int, Action]] = []
        self._count = 0

    def after(self, ticks: int, action: Action) -> None:
        """Runs an action that many ticks from now."""
        self._count += 1
        heapq.heappush(self._actions, (self.now + ticks, self._count, action))

    def run(self, until: int, done: Callable[[], bool] = lambda: False) -> None:
        """Runs what is due up to a time, or until ``done``."""
        while self._actions and self._actions[0][0] <= until and not done():
            self.now, _, action = heapq.heappop(self._actions)
            action()
        if not done():
            self.now = max(self.now, until)

    def note(self, line: str) -> None:
        """Adds a line to the trace."""
        self.trace.append(f"{self.now:5d} {line}")

    def trace_hash(self) -> str:
        """What two equal runs have in common."""
        return hashlib.sha256("\n".join(self.trace).encode()).hexdigest()


class Network:
    """Delivers messages late, twice, out of order, or never; while ``faulty``."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self.faulty = True
        self._loss = schedule.random.choice((0.0, 0.02, 0.15))
        self._repeat = schedule.random.choice((0.0, 0.05, 0.3))
        self._delay_max = schedule.random.choice((3, 12, 60))

    def send(self, deliver: Action) -> None:
        """Sends a message whose arrival is ``deliver``."""
        random = self._schedule.random
        if not self.faulty:
            self._schedule.after(random.randint(1, 3), deliver)
            return
        if random.random() < self._loss:
            return
        self._schedule.after(random.randint(1, self._delay_max), deliver)
        if random.random() < self._repeat:
            self._schedule.after(random.randint(1, 4 * self._delay_max), deliver)
