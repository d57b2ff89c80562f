"""Which rows and tombstones nobody can ask for any more: a pure decision over a view.

A row goes when it is in no cut that the shard still answers (:mod:`leaf.logtime`): because a killer
of it is in all of them, or because its event time is older than what any of them retains. It goes
when its segment is written anew, so when that is shows in no answer. A death goes when it is in all
of these cuts and its victim is no row any more.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from alder.rocks import Batch, Store
from leaf import layout
from leaf.pieces import holders
from leaf.segment import Segment
from leaf.tail import TailChunk
from leaf.view import ShardView
from leaf.visibility import Births, Deaths, Mask, Tombstones, before, is_member

Rows = NDArray[np.int64]
DEATHS_PER_BLOCK: Final = 1 << 18


@dataclass(frozen=True, slots=True)
class Purge:
    """The births of rows that are dead in every cut, ascending, and the oldest event time in any.

    ``floor`` has the first birth of each stream that a cut may lack.
    """

    floor: Births
    dead: Births
    oldest_us: int | None

    def rows_of(self, segment: Segment) -> Rows:
        """The numbers of the rows of a segment that may go, ascending. Raises CORRUPT."""
        mask = np.zeros(segment.rows, dtype=bool)
        if self.expires(segment):
            mask[:] = True
        elif self.oldest_us is not None and segment.time_low_us < self.oldest_us:
            mask |= segment.times() < self.oldest_us
        if len(self.dead) and not mask.all():
            mask |= is_member(segment.births(), self.dead)
        return np.flatnonzero(mask)

    def expires(self, segment: Segment) -> bool:
        """True if all rows of a segment are too old, found without reading them."""
        return self.oldest_us is not None and segment.time_high_us < self.oldest_us


def purge_of(view: ShardView) -> Purge | None:
    """What may go; None where everything is kept or nothing is old enough."""
    floor = view.log_time.floor()
    if not floor.any():
        return None
    ends = np.zeros(len(view.streams), dtype=np.int64)
    ends[: len(floor)] = floor
    dead = [block.victims[before(block.killers, ends)] for block in view.tombstones.blocks]
    victims = np.unique(np.concatenate(dead)) if dead else np.empty(0, dtype=np.int64)
    return Purge(ends, victims, view.log_time.oldest_us(ends))


def deaths_kept(view: ShardView, purge: Purge) -> Deaths:
    """The deaths that are still of use. Raises AlderError(CORRUPT)."""
    blocks = view.tombstones.blocks
    victims, killers, times, numbers = (
        np.concatenate([getattr(block, name) for block in blocks])
        for name in ("victims", "killers", "times", "numbers")
    )
    kept = ~before(killers, purge.floor)
    kept[~kept] = _are_rows(victims[~kept], holders(view))
    return Deaths(victims[kept], killers[kept], times[kept], numbers[kept])


def deaths_without(tombstones: Tombstones, replaced: Collection[tuple[int, int]]) -> Deaths:
    """All deaths but these (victim, killer)."""
    nothing = np.empty(0, dtype=np.int64)
    victims, killers, times, numbers = (
        np.concatenate([nothing, *(getattr(block, name) for block in tombstones.blocks)])
        for name in ("victims", "killers", "times", "numbers")
    )
    kept = np.ones(len(victims), dtype=bool)
    for place in np.flatnonzero(np.isin(victims, [victim for victim, _ in replaced])).tolist():
        kept[place] = (int(victims[place]), int(killers[place])) not in replaced
    return Deaths(victims[kept], killers[kept], times[kept], numbers[kept])


def _are_rows(births: Births, pieces: Iterable[TailChunk | Segment]) -> Mask:
    """True for the births that one of the pieces has."""
    wanted = np.unique(births)
    found = np.zeros(len(wanted), dtype=bool)
    for piece in pieces:
        present = piece.births()
        present = present[is_member(present, wanted)] if len(wanted) else present[:0]
        found[np.searchsorted(wanted, present)] = True
    mask: Mask = found[np.searchsorted(wanted, births)]
    return mask


class Survey:
    """What of a shard may go, as far as it was looked at. For one thread that looks."""

    def __init__(self) -> None:
        self._floor: tuple[int, ...] = ()
        self._segments: frozenset[int] = frozenset()
        self.droppable: Mapping[int, int] = {}
        """Rows that may go by segment."""

    def due(self, view: ShardView) -> bool:
        """True if there may be something that :meth:`look` has not seen."""
        floor = tuple(view.log_time.floor().tolist())
        numbers = frozenset(segment.number for segment in view.segments)
        return any(floor) and (floor != self._floor or not numbers <= self._segments)

    def look(self, view: ShardView) -> tuple[set[int], Deaths | None]:
        """The segments that may go as a whole, and the deaths to be kept, None to keep all.

        Raises AlderError(CORRUPT).
        """
        purge = purge_of(view)
        if purge is None:
            return set(), None
        floor = tuple(view.log_time.floor().tolist())
        known = self.droppable if floor == self._floor else {}
        droppable = {
            segment.number: known[segment.number]
            if segment.number in known
            else len(purge.rows_of(segment))
            for segment in view.segments
        }
        kept = None
        if floor != self._floor and len(purge.dead):
            kept = deaths_kept(view, purge)
        self.droppable, self._floor, self._segments = droppable, floor, frozenset(droppable)
        gone = {s.number for s in view.segments if droppable[s.number] == s.rows}
        much = kept is not None and 2 * len(kept) <= len(view.tombstones)
        return gone, kept if much else None


def rows_dropped(view: ShardView, segments: Sequence[int]) -> tuple[Rows, ...]:
    """The numbers of each segment's rows that may go; empty where nothing may. Raises CORRUPT."""
    purge = purge_of(view)
    if purge is None:
        return ()
    by_number = {segment.number: segment for segment in view.segments}
    return tuple(purge.rows_of(by_number[number]) for number in segments)


def put_deaths(
    store: Store, batch: Batch, kept: Deaths, begin: int, end: int, number_next: int
) -> tuple[int, Tombstones]:
    """Has a batch replace the blocks of deaths ``[begin, end)`` by these, in as few as will do.

    Gives the number of the first block then, and all deaths, those of blocks from ``end`` to
    ``number_next`` included. Raises AlderError(CORRUPT).
    """
    count = min(end - begin, -(-len(kept) // DEATHS_PER_BLOCK))
    tombstones = Tombstones()
    for number, places in enumerate(np.array_split(np.arange(len(kept)), max(1, count))[:count]):
        columns = (kept.victims, kept.killers, kept.times, kept.numbers)
        block = Deaths(*(column[places] for column in columns))
        key = layout.tombstone_key(end - count + number)
        batch.put(layout.META, key, layout.encode_deaths(block))
        tombstones = tombstones.added(block)
    if begin < end - count:
        first, last = (layout.tombstone_key(number) for number in (begin, end - count))
        batch.delete_range(layout.META, first, last)
    for number in range(end, number_next):
        data = store.get(layout.META, layout.tombstone_key(number))
        tombstones = tombstones.added(layout.decode_deaths(data or b""))
    return end - count, tombstones
