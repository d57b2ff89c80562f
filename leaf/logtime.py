"""What time it is in a shard, and which cuts it still answers: both from the log alone.

A replica has no clock of its own (invariant I1). The time at a cut is the newest log time of the
rows in it, in whole steps. A stream's marks say from which of its rows on it was which step; they
are made row by row, so they don't depend on how rows were pushed, and are written with the
position.

Two settings of a collection follow this time. Rows whose event time is older than ``retain`` at a
cut are not in its answer. Cuts that lie further back than ``history`` are refused: those that lack
a row which had been logged by then. So a row that is in none of the other cuts may be removed, now
or later, and no answer shows whether it was.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from alder.catalog import CollectionSettings
from leaf.births import PLACE_BITS, PLACE_MAX

STEPS: Final = 16
"""Steps in which the time of a history passes."""
HISTORY_SHARE: Final = 8
"""Without a setting, history reaches back for this part of the time that rows are retained."""
STEP_US_MIN: Final = 1_000_000
Births = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Mark:
    """From the row at this place (:mod:`leaf.births`) on it is ``step`` in its stream."""

    place: int
    step: int


@dataclass(frozen=True, slots=True)
class LogTime:
    """The time of a shard; ``streams`` has the marks of each stream, ascending.

    ``step_us`` 0: no time is kept, because everything is. ``retain_us`` 0: rows of any age.
    """

    retain_us: int = 0
    history_us: int = 0
    step_us: int = 0
    streams: tuple[tuple[Mark, ...], ...] = ()

    @classmethod
    def of(cls, settings: CollectionSettings, streams: Sequence[Sequence[Mark]]) -> "LogTime":
        """The time that such a collection keeps."""
        history_us = settings.history_us or settings.retain_us // HISTORY_SHARE
        step_us = max(STEP_US_MIN, history_us // STEPS) if history_us else 0
        return cls(settings.retain_us, history_us, step_us, tuple(map(tuple, streams)))

    def steps(self, stream: int, log_times_us: Births) -> Births:
        """The step at each of some more rows of a stream; ``step_us`` is not 0."""
        steps: Births = np.maximum.accumulate(log_times_us // self.step_us)
        marks = self._marks(stream)
        return np.maximum(steps, marks[-1].step) if marks else steps

    def passed(self, stream: int, places: Births, steps: Births) -> "LogTime":
        """The time after some more rows of a stream, whose places ascend, with their steps."""
        marks = self._marks(stream)
        before = marks[-1].step if marks else None
        begins = np.flatnonzero(np.diff(steps, prepend=steps[0] - 1 if before is None else before))
        if not len(begins):
            return self
        more = map(Mark, places[begins].tolist(), steps[begins].tolist())
        streams = [self._marks(number) for number in range(max(len(self.streams), stream + 1))]
        streams[stream] = (*marks, *more)
        later = replace(self, streams=tuple(streams))
        streams[stream] = later.needed(stream)
        return replace(self, streams=tuple(streams))

    def inserted(self, stream: int, place: int, step: int) -> tuple["LogTime", int]:
        """The time with a row that comes later than those after it, and the step at it."""
        marks = self._marks(stream)
        earlier = [mark for mark in marks if mark.place <= place]
        if earlier and earlier[-1].step >= step:
            return self, earlier[-1].step
        later = (mark for mark in marks[len(earlier) :] if mark.step > step)
        streams = [self._marks(number) for number in range(max(len(self.streams), stream + 1))]
        streams[stream] = (*earlier, Mark(place, step), *later)
        after = replace(self, streams=tuple(streams))
        streams[stream] = after.needed(stream)
        return replace(self, streams=tuple(streams)), step

    def needed(self, stream: int) -> tuple[Mark, ...]:
        """The marks of a stream without those that tell of cuts which are refused."""
        marks = self._marks(stream)
        first = self._first_in_history(marks)
        return marks[max(0, first - 1) :]

    def late(self, times_us: Births, steps: Births) -> Mask:
        """True for the event times that are too old in the step in which they came."""
        mask: Mask = times_us < steps * self.step_us - self.retain_us
        return mask & (self.retain_us > 0)

    def floor(self) -> Births:
        """For each stream the first birth that a cut may lack: those before are in every cut."""
        places = [
            marks[self._first_in_history(marks)].place if marks else 0 for marks in self.streams
        ]
        return _ends(places)

    def oldest_us(self, ends: Births) -> int | None:
        """The oldest event time in the answer at a cut; None for any.

        ``ends`` has the first birth of each stream outside of the cut.
        """
        if not self.retain_us:
            return None
        reached = [
            max((mark.step for mark in marks if _birth(number, mark.place) < end), default=None)
            for number, (marks, end) in enumerate(zip(self.streams, ends.tolist(), strict=False))
        ]
        steps = [step for step in reached if step is not None]
        return max(steps) * self.step_us - self.retain_us if steps else None

    def missing(self, ends: Births) -> int | None:
        """The first stream of which a cut lacks so much that it is refused; None: it isn't."""
        floor = self.floor()
        lacking = np.flatnonzero(ends[: len(floor)] < floor)
        return int(lacking[0]) if len(lacking) else None

    def _first_in_history(self, marks: Sequence[Mark]) -> int:
        """The place of the first mark within the history, of the last one if none is."""
        newest = max(marks[-1].step for marks in self.streams if marks)
        since = newest - -(-self.history_us // self.step_us)
        return next(
            (place for place, mark in enumerate(marks) if mark.step >= since), len(marks) - 1
        )

    def _marks(self, stream: int) -> tuple[Mark, ...]:
        return self.streams[stream] if stream < len(self.streams) else ()


def _ends(places: Sequence[int]) -> Births:
    return np.asarray([_birth(number, at) for number, at in enumerate(places)], dtype=np.int64)


def _birth(stream: int, place: int) -> int:
    return stream << PLACE_BITS | min(place, PLACE_MAX)
