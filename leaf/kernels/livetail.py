"""What is kept of a live tail: the partial of its first rows, to which a query adds the others.

A tail only grows at its end until a segment takes the place of its beginning, so the partial of its
first rows is what it is for ever, and a repeated query costs the rows that came since. It counts
only where all of those rows are alive; else the whole tail is computed, as it is for the first
query.
"""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from leaf.kernels.columns import Holder
from leaf.kernels.grouping import CodePartial
from leaf.pieces import Piece
from leaf.tail import TailChunk


@dataclass(slots=True)
class Work:
    """One piece to aggregate and what became of it."""

    holder: Holder
    piece: Piece
    rows_matched: int = 0
    hit: bool = False
    missed: bool = False


@dataclass(frozen=True, slots=True)
class TailPartial:
    """The partial of the first ``rows`` rows of a live tail."""

    rows: int
    partial: CodePartial

    def counts_for(self, works: Sequence[Work]) -> bool:
        """True if these chunks of the tail, in order, begin with those rows, all of them alive."""
        left = self.rows
        for work in works:
            here = min(left, work.holder.rows.rows)
            if not _begins_alive(work.piece, here):
                return False
            left -= here
        return not left


def tails(works: Sequence[Work]) -> Iterator[tuple[Hashable, list[Work]]]:
    """The chunks of each live tail in their order, and what names a tail while it only grows."""
    by_replica: dict[int, list[Work]] = {}
    for work in works:
        by_replica.setdefault(work.holder.replica, []).append(work)
    for replica, own in by_replica.items():
        first = own[0].holder.rows
        yield (replica, first.first_block if isinstance(first, TailChunk) else None), own


def later_rows(works: Sequence[Work], rows: int) -> list[Work]:
    """The chunks of a tail without its first ``rows`` rows."""
    later = []
    for work in works:
        chunk, piece, holder = work.holder.rows, work.piece, work.holder
        begin = min(rows, chunk.rows)
        rows -= begin
        if begin == chunk.rows or not isinstance(chunk, TailChunk):
            continue
        for part in chunk.after(begin):
            end = begin + part.rows
            chosen = None
            if piece.rows is not None:
                first, last = np.searchsorted(piece.rows, [begin, end])
                chosen = piece.rows[first:last] - begin
            later.append(Work(Holder(part, holder.streams, holder.replica), Piece(part, chosen)))
            begin = end
    return later


def _begins_alive(piece: Piece, rows: int) -> bool:
    """True if the first ``rows`` rows of the holder are all chosen."""
    if piece.rows is None or not rows:
        return True
    return len(piece.rows) >= rows and int(piece.rows[rows - 1]) == rows - 1
