"""How far behind a partition is in time, from where it was seen to end.

A shard that stands where a partition was once seen to end has everything that was in it at that
moment, so the age of the newest such look is its lag: an answer of lag t holds every record that
was appended more than t ago. That is never less than the truth, and more by at most the time
between two looks. It needs neither the time of a record, which its producer may have made up, nor a
clock that jumps.

Where a shard was never seen at the end (a tailer that has just begun, with much to read), the time
of the oldest record that it lacks tells the lag, as far as that record's time can be believed: the
record was there at the first look, so the lag is no less than the age of that.
"""

from collections.abc import Sequence
from typing import Final, Protocol

LOOKS_MAX: Final = 64
US_PER_S: Final = 1_000_000


class EndSeen(Protocol):
    """The fields of ``EndSeen`` (``tailer.proto``)."""

    @property
    def end_offset(self) -> int: ...
    @property
    def age_us(self) -> int: ...


class EndsSeen:
    """Looks at the end of one partition; a bounded number, the older the fewer."""

    def __init__(self) -> None:
        self._looks: list[tuple[int, float]] = []
        self._is_final = False

    def saw(self, end_offset: int, at_s: float) -> None:
        """Notes a look; ``at_s`` is when it began, by the monotonic clock."""
        # Where the end has moved back, or not at all, this look says what the others did, and more.
        while self._looks and self._looks[-1][0] >= end_offset:
            self._looks.pop()
        self._looks.append((end_offset, at_s))
        if len(self._looks) > LOOKS_MAX:
            del self._looks[self._least_missed(at_s)]

    def _least_missed(self, now_s: float) -> int:
        """The look without which lags are told the least too large, in proportion."""

        def excess(index: int) -> float:
            before_s, after_s = self._looks[index - 1][1], self._looks[index + 1][1]
            return (after_s - before_s) / max(now_s - before_s, 1e-9)

        return min(range(1, len(self._looks) - 1), key=excess)

    def ended(self, end_offset: int) -> None:
        """Notes that the partition ends here for ever."""
        self._looks, self._is_final = [(end_offset, 0.0)], True

    def seen_at_s(self) -> float:
        """When the newest look began; minus infinity if there was none."""
        if self._is_final:
            return float("inf")
        return self._looks[-1][1] if self._looks else float("-inf")

    def ages_us(self, now_s: float) -> list[tuple[int, int]]:
        """End and age of each look, ascending by end; ``now_s`` by the monotonic clock."""
        if self._is_final:
            return [(end, 0) for end, _ in self._looks]
        return [(end, max(round((now_s - at_s) * US_PER_S), 0)) for end, at_s in self._looks]


def lag_us(
    position: int, ends: Sequence[EndSeen], waiting_log_time_us: int, now_us: int
) -> int | None:
    """The lag of a shard at a position, in microseconds; None where nothing tells it.

    ``ends`` ascend. ``waiting_log_time_us`` is the log time of a record that is no younger than the
    oldest one that the shard lacks, 0 where it is not known; ``now_us`` is compared with it alone.
    """
    ages = [end.age_us for end in ends if end.end_offset <= position]
    if ages:
        return min(ages)
    if not waiting_log_time_us:
        return None
    return max([now_us - waiting_log_time_us, 0, *(end.age_us for end in ends)])
