"""Makes partials of pieces: filters their rows, groups codes, reduces the states of aggregates.

Codes are those of dictionaries that the whole leaf shares, so partials of whichever pieces merge by
one more grouping of integers. Rows are grouped in batches over the pieces: a query over many
segments needs no more memory than one batch and what it has grouped so far.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from leaf.kernels.columns import Columns, Holder, Reading
from leaf.kernels.dictionaries import GlobalDictionary
from leaf.kernels.distinct import Seen
from leaf.kernels.filters import Selection, marked, matching
from leaf.kernels.grouping import CodePartial, Codes, Slot, both, grouped, merged
from leaf.kernels.livetail import Work
from leaf.kernels.plan import Call, KernelPlan
from leaf.kernels.states import Values
from leaf.kernels.unsupported import Unsupported
from leaf.segment import Segment

Rows = NDArray[np.intp]
Chosen = tuple[Holder, Selection]
BATCH_ROWS: Final = 1 << 20
"""Rows that are grouped at once: bounds the memory of a query over many segments."""


class Computing:
    """Makes the partials of one aggregation. Not thread-safe: made for one query."""

    def __init__(self, plan: KernelPlan, columns: Columns, reading: Reading) -> None:
        """Raises Unsupported where a key has no dictionary."""
        self._plan = plan
        self._columns = columns
        self._reading = reading
        self.dictionaries = [self._dictionary(number) for number in range(len(plan.grouped_by))]

    def sizes(self) -> list[int]:
        """Read after the codes that are to be below them."""
        return [dictionary.size for dictionary in self.dictionaries]

    def computed(self, works: Sequence[Work], seen: Seen | None = None) -> list[CodePartial]:
        """At least one partial of these pieces; ``seen`` takes the distinct values out of it.

        Raises Unsupported, CORRUPT, DEADLINE, LIMIT.
        """
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

    def codes(self, number: int, chosen: Sequence[Chosen]) -> list[Codes]:
        """The codes of what is grouped by, for the rows that are looked at."""
        wanted = [(holder, one.rows) for holder, one in chosen]
        value, dictionary = self._plan.grouped_by[number], self.dictionaries[number]
        return self._columns.codes(wanted, value, dictionary, self._reading)

    def merged(self, partials: Sequence[CodePartial]) -> CodePartial:
        """Partials of this aggregation as one."""
        return merged(partials, self.sizes(), self._plan.reducers)

    def _dictionary(self, number: int) -> GlobalDictionary:
        value = self._plan.grouped_by[number]
        if number < len(self._plan.keys):
            kind = self._plan.schema.field(number).type
        else:
            kind = self._columns.kind(value, self._reading)
        return self._columns.dictionary(value, kind)

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
        (value,), (dictionary,) = plan.grouped_by, self.dictionaries
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
            keys = [np.concatenate(self.codes(number, chosen)) for number in range(len(keys))]
            parts = [self._slots_of(holder, one.rows) for holder, one in chosen]
            slots = [_joined(own, counts) for own in zip(*parts, strict=True)]
            kept = _flags([one.mask for _, one in chosen], counts)
        sizes = self.sizes()
        if seen is not None:
            seen.add(keys, sum(counts), kept)
            keys, sizes = keys[:-1], sizes[:-1]
        return grouped(keys, sizes, slots, sum(counts), kept)


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
