"""Partials of one aggregation that are kept in memory, and made where they are not.

Those of sealed segments are kept one by one and merged, that of each live tail as far as it has
come (:mod:`leaf.kernels.livetail`), so that a repeated query costs the rows that came since. What
names a partial says all that it depends on: the fragment, the dictionaries whose codes it has, and
the rows that it is of. So one that is found is right, whatever happened since, and none is ever
taken back; only of a live tail, which goes by its beginning, the rows alive are compared as well.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Final

from leaf.kernels.computing import Computing
from leaf.kernels.grouping import CodePartial
from leaf.kernels.livetail import TailPartial, Work, later_rows, tails
from leaf.partials import Partials, rows_key
from leaf.segment import Segment

_TAIL: Final = "tail"


@dataclass(frozen=True, slots=True)
class Memory:
    """Where partials are kept, and the fragment that they are of."""

    partials: Partials
    fingerprint: bytes


class Remembering:
    """Partials by way of memory. Made for one query."""

    def __init__(self, computing: Computing, memory: Memory) -> None:
        self._computing = computing
        self._memory = memory

    def remembered(self, works: Sequence[Work]) -> tuple[Hashable, CodePartial]:
        """The partial of sealed segments, from memory as far as it is there, and its name."""
        keys = self._keys(works)
        found = self._memory.partials.find(tuple(keys))
        if isinstance(found, CodePartial):
            for work in works:
                work.hit = True
            return tuple(keys), found
        parts = []
        for key, work in zip(keys, works, strict=True):
            part = self._memory.partials.find(key)
            work.hit = isinstance(part, CodePartial)
            work.missed = not work.hit
            if not isinstance(part, CodePartial):
                part = self._computing.merged(self._computing.computed([work]))
                self._memory.partials.put(key, part, part.size_bytes)
            parts.append(part)
        together = self._computing.merged(parts)
        if len(parts) > 1:
            self._memory.partials.put(tuple(keys), together, together.size_bytes)
        return tuple(keys), together

    def remembers(self, works: Sequence[Work]) -> bool:
        """True if the partials of all sealed segments among the pieces are in memory."""
        keys = self._keys(works)
        if isinstance(self._memory.partials.find(tuple(keys)), CodePartial):
            return True
        return all(isinstance(one, CodePartial) for one in self._memory.partials.find_all(keys))

    def of_tails(self, works: Sequence[Work]) -> list[CodePartial]:
        """The partial of each live tail, carried on from the query before where it can be."""
        scopes = tuple(dictionary.scope for dictionary in self._computing.dictionaries)
        partials = []
        for tail, own in tails(works):
            key = (_TAIL, self._memory.fingerprint, scopes, tail)
            known = self._memory.partials.find(key)
            if not isinstance(known, TailPartial) or not known.counts_for(own):
                known = None
            if known is None:
                parts = self._computing.computed(own)
            else:
                parts = [known.partial, *self._added(own, known.rows)]
            together = self._computing.merged(parts)
            if together is not parts[0] or known is None:
                self._keep_tail(key, own, together)
            partials.append(together)
        return partials

    def _keys(self, works: Sequence[Work]) -> list[Hashable]:
        """What names the partial of each sealed segment in memory."""
        scopes = tuple(dictionary.scope for dictionary in self._computing.dictionaries)
        return [
            (self._memory.fingerprint, scopes, *rows_key(work.holder.rows, work.piece))
            for work in works
            if isinstance(work.holder.rows, Segment)
        ]

    def _added(self, works: Sequence[Work], rows: int) -> list[CodePartial]:
        """The partials of a live tail without its first rows; none where there are no others."""
        later = later_rows(works, rows)
        added = self._computing.computed(later) if later else []
        works[-1].rows_matched = sum(work.rows_matched for work in later)
        return added

    def _keep_tail(self, key: Hashable, works: Sequence[Work], partial: CodePartial) -> None:
        """Keeps the partial of a live tail for the next query, if all rows are in it."""
        if all(work.piece.rows is None for work in works):
            rows = sum(work.holder.rows.rows for work in works)
            self._memory.partials.replace(key, TailPartial(rows, partial), partial.size_bytes)
