"""Runs an aggregation on codes: has partials made or remembered, merges them, gives a table.

Every holder gives a partial in codes of dictionaries that the whole leaf shares
(:mod:`leaf.kernels.computing`), so partials of segments, tails and shards merge by one more
grouping; those that a query before had made are at hand (:mod:`leaf.kernels.remembering`). Groups
are left out only where what is wanted allows it, and the result says so: whoever puts results of
leaves together must know what may be missing.
"""

import secrets
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from alder.v1 import leaf_pb2
from leaf.engine import Engine
from leaf.kernels.columns import Columns, Reading
from leaf.kernels.computing import Computing
from leaf.kernels.distinct import Seen
from leaf.kernels.filters import Selection
from leaf.kernels.grouping import (
    CodePartial,
    Numbers,
    Reducer,
    combinations_of,
    combined_codes,
    merged,
    shared_groups,
    some_groups,
    without_last_key,
)
from leaf.kernels.livetail import Work
from leaf.kernels.plan import KernelPlan
from leaf.kernels.ranking import NO_RANKING, Ranking, ranking_of
from leaf.kernels.remembering import Memory, Remembering
from leaf.kernels.top import NO_MORE, Wanted, order_of, top_groups
from leaf.kernels.unsupported import Unsupported
from leaf.segment import Segment

FLAGS_MAX: Final = 1 << 26
"""Flags of one query, a byte each."""
_RANKED_MIN: Final = 1 << 10
_APART_MIN: Final = 1 << 12
"""Fewer groups are sent again in less time than it takes to know them."""
_NAME_BYTES: Final = 16
_NAMED: Final = "named"
_RANKING: Final = "ranking"
_COUNTED: Final = "counted"
_COMBINED: Final = "combined"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Groups are missing from a result; ``worst`` is what orders the last of all, if known."""

    worst: int | None


@dataclass(frozen=True, slots=True)
class Apart:
    """The first ``rows`` of a result are groups of sealed segments, which go by this name.

    ``known``: the caller has them, so they were left out.
    """

    name: bytes
    rows: int
    known: bool


@dataclass(frozen=True, slots=True)
class Aggregated:
    """A result: its groups, what is known of those that are not in it, and which are apart."""

    table: pa.Table
    left_out: LeftOut | None = None
    apart: Apart | None = None


class Aggregation:
    """One aggregation over some pieces. Not thread-safe: made for one query."""

    def __init__(
        self,
        plan: KernelPlan,
        columns: Columns,
        reading: Reading,
        engine: Engine,
        wanted: Wanted = NO_MORE,
    ) -> None:
        """Raises Unsupported where a key has no dictionary."""
        self._plan = plan
        self._wanted = wanted
        self._left_out: LeftOut | None = None
        self._apart: Apart | None = None
        self._engine = engine
        self._reading = reading
        self._computing = Computing(plan, columns, reading)
        self._dictionaries = self._computing.dictionaries

    def run(self, works: Sequence[Work], memory: Memory | None) -> Aggregated:
        """The result, in the plan's schema. Raises Unsupported, CORRUPT, DEADLINE, LIMIT."""
        table = self._run(works, memory)
        return Aggregated(table, self._left_out, self._apart)

    def _run(self, works: Sequence[Work], memory: Memory | None) -> pa.Table:
        if memory is None and self._plan.distinct is not None:
            return self._run_with_flags(works)
        if memory is not None:
            sealed = [work for work in works if isinstance(work.holder.rows, Segment)]
            works = [work for work in works if not isinstance(work.holder.rows, Segment)]
            remembering = Remembering(self._computing, memory)
            if sealed:
                name, kept = remembering.remembered(sealed)
                rest = remembering.of_tails(works)
                if self._plan.distinct is not None and kept.groups:
                    return self._with_counts(self._counted_once(name, kept, rest, memory))
                if self._wanted.apart and kept.groups >= _APART_MIN:
                    return self._told_apart(name, kept, rest, memory)
                return self._finished(self._candidates(name, kept, rest, memory))
            if works:
                return self._finished(remembering.of_tails(works))
        return self._finished(self._computing.computed(works))

    def _finished(self, partials: Sequence[CodePartial]) -> pa.Table:
        partial = self._computing.merged(partials)
        if self._plan.distinct is None:
            return self._exported(partial, None)
        return self._with_counts(without_last_key(partial, self._plan.reducers))

    def _told_apart(
        self, name: Hashable, kept: CodePartial, rest: Sequence[CodePartial], memory: Memory
    ) -> pa.Table:
        """The groups of sealed segments, unless they are known, and then those of the rest."""
        called = memory.partials.get((_NAMED, name), lambda: secrets.token_bytes(_NAME_BYTES), len)
        known = called in self._wanted.known
        self._apart = Apart(called, 0 if known else kept.groups, known)
        parts = [] if known else [self._finished([kept])]
        parts.append(self._finished(rest or self._computing.computed([])))
        return pa.concat_tables(parts)

    def _with_counts(self, partial: CodePartial) -> pa.Table:
        """The result, the last slot being the counts of distinct values."""
        return self._exported(replace(partial, slots=partial.slots[:-1]), partial.slots[-1])

    def _counted_once(
        self, name: Hashable, kept: CodePartial, rest: Sequence[CodePartial], memory: Memory
    ) -> CodePartial:
        """Groups with counts of distinct values: those that are kept, and what the rest adds."""
        reducers = self._plan.reducers
        counted = memory.partials.find((_COUNTED, name))
        if not isinstance(counted, CodePartial):
            counted = without_last_key(kept, reducers)
            memory.partials.put((_COUNTED, name), counted, counted.size_bytes)
        other = self._computing.merged(rest) if rest else None
        if other is None or not other.groups:
            return counted
        _, known = self._shared(name, kept, other, memory)
        added = without_last_key(other, reducers, ~known)
        return merged([counted, added], self._computing.sizes()[:-1], [*reducers, Reducer.SUM])

    def _shared(
        self, name: Hashable, kept: CodePartial, other: CodePartial, memory: Memory
    ) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
        """The groups that a kept partial shares with another one, as :func:`shared_groups` does.

        Dictionaries grow all the time; combined with room to grow, the codes of the kept one stay.
        """
        sizes = [1 << size.bit_length() for size in self._computing.sizes()]
        key = (_COMBINED, name, *sizes)
        own = memory.partials.find(key)
        if not isinstance(own, np.ndarray):
            own = combined_codes(kept.keys, sizes)
            memory.partials.put(key, own, own.nbytes)
        return shared_groups(own, combined_codes(other.keys, sizes))

    def _run_with_flags(self, works: Sequence[Work]) -> pa.Table:
        """Counts distinct values without a group for each, where a flag for each pair fits."""
        for number in range(len(self._dictionaries)):
            self._computing.codes(
                number, [(work.holder, Selection(work.holder.rows.rows)) for work in works]
            )
        sizes = self._computing.sizes()
        if combinations_of(sizes) > FLAGS_MAX:
            partial = self._computing.merged(self._computing.computed(works))
            return self._with_counts(without_last_key(partial, self._plan.reducers))
        seen = Seen(sizes)
        partials = self._computing.computed(works, seen)
        partial = merged(partials, sizes[:-1], self._plan.reducers)
        return self._exported(partial, seen.counts(partial))

    def _candidates(
        self, name: Hashable, kept: CodePartial, rest: Sequence[CodePartial], memory: Memory
    ) -> list[CodePartial]:
        """The partials, the kept one without groups that can't be among the first ones.

        ``name`` is that of the kept one.
        """
        top = self._plan.top
        if top is None or self._plan.distinct is not None or kept.groups < _RANKED_MIN:
            return [kept, *rest]
        if self._wanted.all_groups:
            return [kept, *rest]
        ranking = memory.partials.find((_RANKING, name))
        if not isinstance(ranking, Ranking):
            ranking = self._ranking(kept, top)
            memory.partials.put((_RANKING, name), ranking, ranking.size_bytes)
        others = [self._computing.merged(rest)] if rest else []
        changed = [self._shared(name, kept, other, memory)[0] for other in others]
        best = ranking.best(top.rows + sum(map(len, changed)))
        threshold = self._wanted.threshold
        if best is not None and threshold is not None:
            up_to = ranking.up_to(threshold, top.descending)
            best = None if up_to is None else max(best, up_to, key=len)
        if best is None:
            return [kept, *others]
        asked = [self._shared(name, kept, one, memory)[0] for one in self._asked()]
        chosen = reduce(np.union1d, [*changed, *asked, self._of_null(kept)], np.sort(best))
        if len(chosen) < kept.groups:
            self._leave_out(ranking.worst, top.descending)
        return [some_groups(kept, chosen.astype(np.intp)), *others]

    def _leave_out(self, worst: int | None, descending: bool) -> None:
        """Notes that groups are left out; ``worst`` is that of all from which they were taken."""
        worsts = [worst] if self._left_out is None else [worst, self._left_out.worst]
        known = [one for one in worsts if one is not None]
        if len(known) < len(worsts):
            self._left_out = LeftOut(None)
        else:
            self._left_out = LeftOut(min(known) if descending else max(known))

    def _with_asked(self, partial: CodePartial, best: NDArray[np.intp]) -> NDArray[np.intp]:
        """The best groups and those that are wanted beside them, ascending."""
        sizes = self._computing.sizes()[: len(partial.keys)]
        asked = [
            shared_groups(combined_codes(partial.keys, sizes), combined_codes(one.keys, sizes))[0]
            for one in self._asked()
        ]
        return reduce(np.union1d, [*asked, self._of_null(partial)], best).astype(np.intp)

    def _asked(self) -> list[CodePartial]:
        """The groups of the keys that are asked for, as far as they can be here: codes alone."""
        if self._wanted.keys is None:
            return []
        columns = self._wanted.keys.columns
        codes = [
            dictionary.found_codes(column.combine_chunks().cast(dictionary.kind))
            for dictionary, column in zip(
                self._dictionaries[: len(self._plan.keys)], columns, strict=True
            )
        ]
        here = np.logical_and.reduce([one >= 0 for one in codes])
        keys = tuple(one[here] for one in codes)
        return [CodePartial(keys, (), int(here.sum()))]

    def _of_null(self, partial: CodePartial) -> NDArray[np.intp]:
        """The groups with a NULL among their keys, where they are wanted."""
        if self._plan.top is None or not self._plan.top.with_null_keys:
            return np.empty(0, dtype=np.intp)
        return np.flatnonzero(np.logical_or.reduce([codes == 0 for codes in partial.keys]))

    def _ranking(self, partial: CodePartial, top: leaf_pb2.TopGroups) -> Ranking:
        columns = self._aggregates(partial, None)
        try:
            order = order_of(top, columns, self._engine, self._reading.cancellation)
            return ranking_of(order, top.descending)
        except Unsupported:
            return NO_RANKING

    def _aggregates(self, partial: CodePartial, counts: Numbers | None) -> pa.Table:
        """The columns of aggregates; ``counts`` are those of distinct values."""
        plan = self._plan
        columns = []
        place = 0
        for call in plan.calls:
            if call is None:
                columns.append(pa.array(counts, pa.int64()))
                continue
            width = len(call.state.reducers)
            columns.append(call.state.column(partial.slots[place : place + width]))
            place += width
        return pa.table(dict(zip(plan.schema.names[len(plan.keys) :], columns, strict=True)))

    def _exported(self, partial: CodePartial, counts: Numbers | None) -> pa.Table:
        """The table of groups, with what orders them where that is wanted and computed."""
        plan, keys = self._plan, partial.keys
        columns, schema = self._aggregates(partial, counts), plan.schema
        if plan.top is not None and not self._wanted.all_groups:
            found = top_groups(
                plan.top,
                columns,
                self._engine,
                self._reading.cancellation,
                self._wanted.threshold,
            )
            if plan.top.result and found.order is not None:
                schema = schema.append(pa.field(plan.top.result, found.order.type))
                columns = columns.append_column(plan.top.result, found.order)
            if found.groups is not None:
                chosen = self._with_asked(partial, found.groups)
                if len(chosen) < partial.groups:
                    self._leave_out(found.worst, plan.top.descending)
                keys = tuple(codes[chosen] for codes in keys)
                columns = columns.take(pa.array(chosen))
        values = [
            dictionary.taken(codes)
            for codes, dictionary in zip(keys, self._dictionaries, strict=False)
        ]
        return pa.Table.from_arrays([*values, *columns.columns], schema=schema)
