"""Which rows are in the answer at one cut and not at another, and what in the log made it so.

Such a row was born outside of the other cut, or was killed in it, or is too old there. Both cuts
are compared through the same horizons that answers are read through, so the rows at a cut are those
at the other one without what was lost and with what was won. Only what may have changed is looked
at: pieces that end in the other cut are searched for victims alone.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from leaf.births import Streams, streams_of
from leaf.pieces import Piece, Rows, births_of
from leaf.segment import Segment
from leaf.tail import TailChunk
from leaf.view import ShardView
from leaf.visibility import Births, Horizon, alive, before, is_member


@dataclass(frozen=True, slots=True)
class Changes:
    """The rows of a shard that are alive at ``at`` and not at ``unless``.

    ``victims`` are those that died in between, ascending; one is there once for each of its
    ``killers`` in ``unless``.
    """

    at: Horizon
    unless: Horizon
    streams: Streams
    victims: Births
    killers: Births

    @classmethod
    def of(cls, view: ShardView, at: Horizon, unless: Horizon) -> "Changes":
        """The changes of a shard."""
        victims, killers = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.int64)]
        for block in view.tombstones.blocks:
            struck = before(block.killers, unless.ends)
            victims.append(block.victims[struck])
            killers.append(block.killers[struck])
        dead, by = np.concatenate(victims), np.concatenate(killers)
        if len(at.dead):
            lived = ~is_member(dead, at.dead)
            dead, by = dead[lived], by[lived]
        order = np.lexsort((by, dead))
        return cls(at, unless, view.streams, dead[order], by[order])

    def piece(self, holder: TailChunk | Segment) -> Piece:
        """The rows of a piece that changed. Raises AlderError(CORRUPT)."""
        found = [np.empty(0, dtype=np.int64)]
        last = holder.last_births
        if not before(last, self.unless.ends).all():
            found.append(np.flatnonzero(~before(holder.births(), self.unless.ends)))
        if len(self.victims):
            found.append(_born(holder, np.unique(self.victims)))
        oldest_us = self.unless.oldest_us
        if oldest_us is not None and holder.time_low_us < oldest_us:
            found.append(np.flatnonzero(holder.times() < oldest_us))
        rows = np.unique(np.concatenate(found))
        if not len(rows):
            return Piece(holder, rows)
        mask = alive(births_of(Piece(holder, rows)), self.at)
        if self.at.oldest_us is not None:
            mask &= holder.times()[rows] >= self.at.oldest_us
        return Piece(holder, rows[mask])

    def causes(self, births: Births) -> pa.Array:
        """For each of these rows what changed it, as ``source/partition/offset``.

        That is its birth, or who killed it, at most one per partition; nothing for a row that is
        too old at the other cut.
        """
        begins = np.searchsorted(self.victims, births, "left")
        counts = np.searchsorted(self.victims, births, "right") - begins
        born = ~before(births, self.unless.ends)
        counts[born] = 1
        ends = np.cumsum(counts)
        places = np.arange(counts.sum()) + np.repeat(begins - (ends - counts), counts)
        by = np.repeat(births, counts)
        killed = ~np.repeat(born, counts)
        by[killed] = self.killers[places[killed]]
        offsets = pa.array(np.concatenate([[0], ends]), pa.int32())
        return pa.ListArray.from_arrays(offsets, self._ids(by))

    def _ids(self, births: Births) -> pa.Array:
        partitions = pa.array([f"{source}/{number}/" for source, number in self.streams])
        within = partitions.cast(pa.string()).take(pa.array(streams_of(births)))
        offsets = pa.array(self.streams.offsets_of(births)).cast(pa.string())
        return pc.binary_join_element_wise(within, offsets, "")


def _born(holder: TailChunk | Segment, births: Births) -> Rows:
    """The numbers of the rows of a piece that have these births, which ascend."""
    if isinstance(holder, Segment):
        return holder.born(births).rows().astype(np.int64)
    return np.flatnonzero(is_member(holder.births(), births))
