"""Runs an aggregation on codes: filter, group, merge, and export the engine's states.

Every holder gives a partial in codes of dictionaries that the whole leaf shares, so partials of
segments, tails and shards merge by one more grouping. Partials of sealed segments are kept where
the caller wants it, and the merge of all of them too, and that of each live tail as far as it has
come (:mod:`leaf.kernels.livetail`), so that a repeated query costs the rows that came since.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from alder.v1 import leaf_pb2
from leaf.engine import Engine
from leaf.kernels.columns import Columns, Holder, Reading
from leaf.kernels.dictionaries import GlobalDictionary
from leaf.kernels.distinct import Seen
from leaf.kernels.filters import Selection, marked, matching
from leaf.kernels.grouping import (
    CodePartial,
    Codes,
    Numbers,
    Reducer,
    Slot,
    both,
    combinations_of,
    combined_codes,
    grouped,
    merged,
    shared_groups,
    some_groups,
    without_last_key,
)
from leaf.kernels.livetail import TailPartial, Work, later_rows, tails
from leaf.kernels.plan import Call, KernelPlan
from leaf.kernels.ranking import NO_RANKING, Ranking, ranking_of
from leaf.kernels.states import Values
from leaf.kernels.top import NO_MORE, Wanted, order_of, top_groups
from leaf.kernels.unsupported import Unsupported
from leaf.partials import Partials, rows_key
from leaf.segment import Segment

Rows = NDArray[np.intp]
Chosen = tuple[Holder, Selection]
FLAGS_MAX: Final = 1 << 26
"""Flags of one query, a byte each."""
BATCH_ROWS: Final = 1 << 20
"""Rows that are grouped at once: bounds the memory of a query over many segments."""

_RANKED_MIN: Final = 1 << 10
_RANKING: Final = "ranking"
_COUNTED: Final = "counted"
_TAIL: Final = "tail"
_COMBINED: Final = "combined"


@dataclass(frozen=True, slots=True)
class Memory:
    """Where partials are kept, and the fragment that they are of."""

    partials: Partials
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Groups are missing from a result; ``worst`` is what orders the last of all, if known."""

    worst: int | None


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
        self._engine = engine
        self._columns = columns
        self._reading = reading
        self._dictionaries = [self._dictionary(number) for number in range(len(plan.grouped_by))]

    def run(self, works: Sequence[Work], memory: Memory | None) -> tuple[pa.Table, LeftOut | None]:
        """The result, in the plan's schema, and what is known of groups that are not in it.

        Raises Unsupported, CORRUPT, DEADLINE, LIMIT.
        """
        return self._run(works, memory), self._left_out

    def _run(self, works: Sequence[Work], memory: Memory | None) -> pa.Table:
        if memory is None and self._plan.distinct is not None:
            return self._run_with_flags(works)
        if memory is not None:
            sealed = [work for work in works if isinstance(work.holder.rows, Segment)]
            works = [work for work in works if not isinstance(work.holder.rows, Segment)]
            if sealed:
                name, kept = self._remembered(sealed, memory)
                rest = self._of_tails(works, memory)
                if self._plan.distinct is not None and kept.groups:
                    return self._with_counts(self._counted_once(name, kept, rest, memory))
                return self._finished(self._candidates(name, kept, rest, memory))
            if works:
                return self._finished(self._of_tails(works, memory))
        return self._finished(self._computed(works))

    def _finished(self, partials: Sequence[CodePartial]) -> pa.Table:
        partial = self._merged(partials)
        if self._plan.distinct is None:
            return self._exported(partial, None)
        return self._with_counts(without_last_key(partial, self._plan.reducers))

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
        other = self._merged(rest) if rest else None
        if other is None or not other.groups:
            return counted
        _, known = self._shared(name, kept, other, memory)
        added = without_last_key(other, reducers, ~known)
        return merged([counted, added], self._sizes()[:-1], [*reducers, Reducer.SUM])

    def _shared(
        self, name: Hashable, kept: CodePartial, other: CodePartial, memory: Memory
    ) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
        """The groups that a kept partial shares with another one, as :func:`shared_groups` does.

        Dictionaries grow all the time; combined with room to grow, the codes of the kept one stay.
        """
        sizes = [1 << size.bit_length() for size in self._sizes()]
        key = (_COMBINED, name, *sizes)
        own = memory.partials.find(key)
        if not isinstance(own, np.ndarray):
            own = combined_codes(kept.keys, sizes)
            memory.partials.put(key, own, own.nbytes)
        return shared_groups(own, combined_codes(other.keys, sizes))

    def _run_with_flags(self, works: Sequence[Work]) -> pa.Table:
        """Counts distinct values without a group for each, where a flag for each pair fits."""
        for number in range(len(self._dictionaries)):
            self._codes(number, [(work.holder, Selection(work.holder.rows.rows)) for work in works])
        sizes = self._sizes()
        if combinations_of(sizes) > FLAGS_MAX:
            partial = self._merged(self._computed(works))
            return self._with_counts(without_last_key(partial, self._plan.reducers))
        seen = Seen(sizes)
        partials = self._computed(works, seen)
        partial = merged(partials, sizes[:-1], self._plan.reducers)
        return self._exported(partial, seen.counts(partial))

    def _dictionary(self, number: int) -> GlobalDictionary:
        value = self._plan.grouped_by[number]
        if number < len(self._plan.keys):
            kind = self._plan.schema.field(number).type
        else:
            kind = self._columns.kind(value, self._reading)
        return self._columns.dictionary(value, kind)

    def _sizes(self) -> list[int]:
        """Read after the codes that are to be below them."""
        return [dictionary.size for dictionary in self._dictionaries]

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
        others = [self._merged(rest)] if rest else []
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
        sizes = self._sizes()[: len(partial.keys)]
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

    def _remembered(self, works: Sequence[Work], memory: Memory) -> tuple[Hashable, CodePartial]:
        """The partial of sealed segments, from memory as far as it is there, and its name."""
        keys = self._keys(works, memory)
        found = memory.partials.find(tuple(keys))
        if isinstance(found, CodePartial):
            for work in works:
                work.hit = True
            return tuple(keys), found
        parts = []
        for key, work in zip(keys, works, strict=True):
            part = memory.partials.find(key)
            work.hit = isinstance(part, CodePartial)
            work.missed = not work.hit
            if not isinstance(part, CodePartial):
                part = self._merged(self._computed([work]))
                memory.partials.put(key, part, part.size_bytes)
            parts.append(part)
        together = self._merged(parts)
        if len(parts) > 1:
            memory.partials.put(tuple(keys), together, together.size_bytes)
        return tuple(keys), together

    def remembers(self, works: Sequence[Work], memory: Memory) -> bool:
        """True if the partials of all sealed segments among the pieces are in memory."""
        keys = self._keys(works, memory)
        if isinstance(memory.partials.find(tuple(keys)), CodePartial):
            return True
        return all(isinstance(one, CodePartial) for one in memory.partials.find_all(keys))

    def _keys(self, works: Sequence[Work], memory: Memory) -> list[Hashable]:
        """What names the partial of each sealed segment in memory."""
        scopes = tuple(dictionary.scope for dictionary in self._dictionaries)
        return [
            (memory.fingerprint, scopes, *rows_key(work.holder.rows, work.piece))
            for work in works
            if isinstance(work.holder.rows, Segment)
        ]

    def _of_tails(self, works: Sequence[Work], memory: Memory) -> list[CodePartial]:
        """The partial of each live tail, carried on from the query before where it can be."""
        scopes = tuple(dictionary.scope for dictionary in self._dictionaries)
        partials = []
        for tail, own in tails(works):
            key = (_TAIL, memory.fingerprint, scopes, tail)
            known = memory.partials.find(key)
            if not isinstance(known, TailPartial) or not known.counts_for(own):
                known = None
            if known is None:
                parts = self._computed(own)
            else:
                parts = [known.partial, *self._added(own, known.rows)]
            together = self._merged(parts)
            if together is not parts[0] or known is None:
                self._keep_tail(key, own, together, memory)
            partials.append(together)
        return partials

    def _added(self, works: Sequence[Work], rows: int) -> list[CodePartial]:
        """The partials of a live tail without its first rows; none where there are no others."""
        later = later_rows(works, rows)
        added = self._computed(later) if later else []
        works[-1].rows_matched = sum(work.rows_matched for work in later)
        return added

    def _keep_tail(
        self, key: Hashable, works: Sequence[Work], partial: CodePartial, memory: Memory
    ) -> None:
        """Keeps the partial of a live tail for the next query, if all rows are in it."""
        if all(work.piece.rows is None for work in works):
            rows = sum(work.holder.rows.rows for work in works)
            memory.partials.replace(key, TailPartial(rows, partial), partial.size_bytes)

    def _computed(self, works: Sequence[Work], seen: Seen | None = None) -> list[CodePartial]:
        """At least one partial of these pieces; ``seen`` takes the distinct values out of it."""
        partials = []
        chosen: list[Chosen] = []
        rows = 0
        for work in works:
            self._reading.cancellation.check()
            self._leave_searches_to_their_index(work.holder)
            selection = matching(
                work.holder,
                None if work.piece.rows is None else work.piece.rows.astype(np.intp),
                self._plan.conditions,
                self._columns,
                self._reading,
            )
            work.rows_matched = selection.count
            whole = selection.rows is None and selection.mask is None
            counted = self._counted(work.holder) if whole and seen is None else None
            if counted is not None:
                partials.append(counted)
            elif work.rows_matched:
                chosen.append((work.holder, selection))
                rows += _considered(work.holder, selection)
                if rows >= BATCH_ROWS:
                    partials.append(self._grouped(chosen, seen))
                    chosen, rows = [], 0
        if chosen or not partials:
            partials.append(self._grouped(chosen, seen))
        return partials

    def _leave_searches_to_their_index(self, holder: Holder) -> None:
        """Raises Unsupported where an index tells at once which rows a search finds."""
        segment = holder.rows
        if isinstance(segment, Segment) and any(
            segment.has(column) and segment.has_index(column, kind)
            for column, kind in self._plan.searched
        ):
            raise Unsupported

    def _counted(self, holder: Holder) -> CodePartial | None:
        """The partial of all rows from their counts per code alone, where it asks for no more."""
        plan = self._plan
        if len(plan.grouped_by) != 1 or any(
            call.state.function != "count_star" or call.only for call in plan.states
        ):
            return None
        (value,), (dictionary,) = plan.grouped_by, self._dictionaries
        counts = self._columns.counts(holder, value, dictionary, self._reading)
        codes = np.flatnonzero(counts)
        slots = tuple(counts[codes].astype(np.int64) for _ in plan.states)
        return CodePartial((codes.astype(np.int32),), slots, len(codes))

    def _slots_of(self, holder: Holder, rows: Rows | None) -> list[Slot]:
        return [slot for call in self._plan.states for slot in self._slots(call, holder, rows)]

    def _slots(self, call: Call, holder: Holder, rows: Rows | None) -> list[Slot]:
        argument, only = call.argument, None
        if call.only is not None:
            only = marked(holder, rows, call.only, self._columns, self._reading)
        if argument is None:
            return call.state.slots(None, only)
        if call.state.function == "count":
            valid = self._columns.presence(holder, argument, self._reading)
            valid = valid if rows is None or valid is None else valid[rows]
            return call.state.slots(None, both(valid, only))
        values = self._columns.numbers(holder, argument, self._reading)
        values = values if rows is None else values.taken(rows)
        return call.state.slots(values, both(values.valid, only))

    def _grouped(self, chosen: Sequence[Chosen], seen: Seen | None) -> CodePartial:
        plan, counts = self._plan, [_considered(holder, one) for holder, one in chosen]
        keys: list[Codes] = [np.empty(0, dtype=np.int32) for _ in plan.grouped_by]
        slots = [slot for call in plan.states for slot in _no_slots(call)]
        kept = None
        if chosen:
            keys = [np.concatenate(self._codes(number, chosen)) for number in range(len(keys))]
            parts = [self._slots_of(holder, one.rows) for holder, one in chosen]
            slots = [_joined(own, counts) for own in zip(*parts, strict=True)]
            kept = _flags([one.mask for _, one in chosen], counts)
        sizes = self._sizes()
        if seen is not None:
            seen.add(keys, sum(counts), kept)
            keys, sizes = keys[:-1], sizes[:-1]
        return grouped(keys, sizes, slots, sum(counts), kept)

    def _codes(self, number: int, chosen: Sequence[Chosen]) -> list[Codes]:
        """The codes of what is grouped by, for the rows that are looked at."""
        wanted = [(holder, one.rows) for holder, one in chosen]
        value, dictionary = self._plan.grouped_by[number], self._dictionaries[number]
        return self._columns.codes(wanted, value, dictionary, self._reading)

    def _merged(self, partials: Sequence[CodePartial]) -> CodePartial:
        return merged(partials, self._sizes(), self._plan.reducers)

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


def _considered(holder: Holder, selection: Selection) -> int:
    """How many rows are looked at: those of a mask all are."""
    return holder.rows.rows if selection.rows is None else len(selection.rows)


def _joined(parts: Sequence[Slot], counts: Sequence[int]) -> Slot:
    """The slots of several holders as one; ``counts`` are their rows."""
    valid = _flags([part.valid for part in parts], counts)
    if all(part.values is None for part in parts):
        return replace(parts[0], valid=valid)
    values = [
        np.full(count, part.each, dtype=np.int8) if part.values is None else part.values
        for part, count in zip(parts, counts, strict=True)
    ]
    return Slot(parts[0].reducer, np.concatenate(values), valid)


def _flags(
    parts: Sequence[NDArray[np.bool_] | None], counts: Sequence[int]
) -> NDArray[np.bool_] | None:
    """The flags of several holders as one array, None standing for true everywhere."""
    if all(part is None for part in parts):
        return None
    return np.concatenate(
        [
            np.ones(count, dtype=bool) if part is None else part
            for part, count in zip(parts, counts, strict=True)
        ]
    )


def _no_slots(call: Call) -> list[Slot]:
    kind = call.state.kind
    floats = pa.types.is_floating(kind) or (
        pa.types.is_struct(kind) and pa.types.is_floating(kind.field(1).type)
    )
    none = np.empty(0, np.float64) if floats else np.empty(0, np.int64)
    return call.state.slots(Values(none, None), None)
