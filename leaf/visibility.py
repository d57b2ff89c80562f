"""Which rows are alive at a cut of the log (invariant I4), without any I/O.

A row is alive iff it is born before the cut and no killer of it is. Both are compared with the
same vector, so an answer depends on the vector alone and stays the same while rows keep coming.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from leaf.births import streams_of

Births = NDArray[np.int64]
Mask = NDArray[np.bool_]


class Deaths:
    """Some deaths: ``victims[i]`` dies at the birth ``killers[i]``.

    ``victims`` ascend; one may be there repeatedly, with different killers. ``times`` and
    ``numbers`` are the victims' log times, in microseconds, and the numbers of their versions.
    """

    def __init__(
        self,
        victims: Births,
        killers: Births,
        times: NDArray[np.int64],
        numbers: NDArray[np.int64],
    ) -> None:
        order = np.argsort(victims, kind="stable")
        self.victims = victims[order]
        self.killers = killers[order]
        self.times = times[order]
        self.numbers = numbers[order]

    def __len__(self) -> int:
        return len(self.victims)

    @cached_property
    def by_killer(self) -> NDArray[np.int64]:
        """The order in which the killers ascend."""
        return np.argsort(self.killers, kind="stable")

    @cached_property
    def killers_ascending(self) -> Births:
        """The killers in that order."""
        return self.killers[self.by_killer]

    def merged(self, other: "Deaths") -> "Deaths":
        """Both together."""
        return Deaths(
            np.concatenate([self.victims, other.victims]),
            np.concatenate([self.killers, other.killers]),
            np.concatenate([self.times, other.times]),
            np.concatenate([self.numbers, other.numbers]),
        )


@dataclass(frozen=True, slots=True)
class Tombstones:
    """All deaths of a shard, in blocks of falling size, so that adding some is cheap."""

    blocks: tuple[Deaths, ...] = ()

    def __len__(self) -> int:
        return sum(len(block) for block in self.blocks)

    def added(self, deaths: Deaths) -> "Tombstones":
        """These and some more."""
        if not len(deaths):
            return self
        blocks = [*self.blocks, deaths]
        while len(blocks) > 1 and len(blocks[-2]) <= 2 * len(blocks[-1]):
            later = blocks.pop()
            blocks[-1] = blocks[-1].merged(later)
        return Tombstones(tuple(blocks))


@dataclass(frozen=True, slots=True)
class Horizon:
    """A cut as one shard sees it: the first birth of each stream outside, and who is dead inside.

    ``dead`` ascends. Rows of an event time before ``oldest_us`` are too old; None: none is.
    """

    ends: Births
    dead: Births
    oldest_us: int | None = None


def horizon(ends: Births, tombstones: Tombstones, oldest_us: int | None = None) -> Horizon:
    """The horizon of a cut; ``ends`` come from :func:`leaf.births.cut_births`."""
    struck = [block.victims[before(block.killers, ends)] for block in tombstones.blocks]
    dead = np.concatenate(struck) if struck else np.empty(0, dtype=np.int64)
    return Horizon(ends, np.sort(dead, kind="stable"), oldest_us)


def before(births: Births, ends: Births) -> Mask:
    """True for the births inside the cut."""
    mask: Mask = births < ends[streams_of(births)]
    return mask


def alive(births: Births, at: Horizon) -> Mask:
    """True for the rows alive at the horizon, but for their age."""
    mask = before(births, at.ends)
    if len(at.dead):
        mask &= ~is_member(births, at.dead)
    return mask


def is_member(values: Births, members: Births) -> Mask:
    """True for the values that are in ``members``, which ascend and are not empty."""
    places = np.searchsorted(members, values)
    places[places == len(members)] = 0
    mask: Mask = members[places] == values
    return mask
