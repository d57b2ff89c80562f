"""A shard as one fragment sees it: its holders of rows at a cut, and what becomes of each.

A shard publishes its state as immutable views, so that all ways of reading work on the same rows
(I4) without a lock; a cut only chooses among the rows of the view. One that lies further back than
the shard's history is refused: rows that were alive then may have been removed.
"""

from functools import partial

from alder.errors import AlderError, Reason
from alder.periods import period_text
from alder.positions import PositionVector
from alder.v1 import leaf_pb2
from leaf import births
from leaf.access import Scope
from leaf.changes import Changes
from leaf.kernels.columns import Holder
from leaf.kernels.livetail import Work
from leaf.pieces import alive_piece, holders
from leaf.stored import StoredPartials
from leaf.view import ShardView
from leaf.visibility import Horizon, horizon


class ShardAtCut:
    """A shard at the cut: its pieces, each with what becomes of it."""

    def __init__(
        self,
        number: int,
        view: ShardView,
        cut: PositionVector | None,
        unless: PositionVector | None,
        stored: StoredPartials | None = None,
    ) -> None:
        at = horizon_of(view, cut)
        self.number = number
        self.view = view
        self.stored = stored
        self.kept: list[Work] = []
        self.changes = None if unless is None else Changes.of(view, at, horizon_of(view, unless))
        chosen = partial(alive_piece, at=at) if self.changes is None else self.changes.piece
        self.works = [
            Work(Holder(holder, view.streams, view.replica), chosen(holder))
            for holder in holders(view)
        ]

    def scan(self) -> leaf_pb2.ShardScan:
        """What is known before anything is read."""
        return leaf_pb2.ShardScan(
            shard=self.number,
            positions=self.view.positions.to_proto(),
            rows_total=sum(work.piece.rows_count for work in (*self.works, *self.kept)),
            partials_stored=sum(not work.hit for work in self.kept),
            segments_total=len(self.view.segments),
            partials_hits=sum(work.hit for work in (*self.works, *self.kept)),
            partials_misses=sum(work.missed for work in self.works),
        )


def horizon_of(view: ShardView, cut: PositionVector | None) -> Horizon:
    """A cut as this shard sees it; None for the shard's newest.

    Raises AlderError(OUT_OF_RANGE) for a cut that lies further back than history reaches.
    """
    ends = births.cut_births(view.streams, view.positions if cut is None else cut)
    missing = view.log_time.missing(ends)
    if missing is not None:
        source, partition = view.streams[missing]
        first, asked = (
            view.streams.offsets_of(some)[missing] for some in (view.log_time.floor(), ends)
        )
        raise AlderError(
            Reason.OUT_OF_RANGE,
            f"the answer as of offset {asked} of {source}/{partition} "
            f"can't be had any more: history reaches back to offset {first}, which is "
            f"{period_text(view.log_time.history_us)} before the newest; ask for a later one",
        )
    return horizon(ends, view.tombstones, view.log_time.oldest_us(ends))


def scope_of(view: ShardView, keyed: bool, without: frozenset[str]) -> Scope:
    """What indexes need to know of a shard; ``without`` are kinds of index to leave out."""
    return Scope(view.schema.fields, keyed, view.streams, without)
