"""Grouping by codes: one function serves rows, partials of segments and the merge of partials.

A partial is one row per group: a code per key and slots that reduce by sum, min or max. A row is a
partial too, of itself, so that merging is the same as grouping. Where the codes' ranges multiply to
a number near that of the rows, a group's place is its combined code; else the combined codes are
sorted.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from leaf.kernels.unsupported import Unsupported

Codes = NDArray[np.integer]
Numbers = NDArray[np.signedinteger | np.float64]
Places = NDArray[np.intp]
Mask = NDArray[np.bool_]
Kind = np.dtype[np.signedinteger | np.float64]
_DENSE_MIN: Final = 1 << 12
_DENSE_PER_ROW: Final = 4
_COMBINED_MAX: Final = 1 << 62
_EXACT_IN_DOUBLE: Final = 1 << 53
_ABSORBED_MIN: Final = 4


class Reducer(Enum):
    """How a slot of two partials becomes one."""

    SUM = "sum"
    MIN = "min"
    MAX = "max"


_OPERATIONS: Final = {
    Reducer.SUM: np.add,
    Reducer.MIN: np.minimum,
    Reducer.MAX: np.maximum,
}


@dataclass(frozen=True, slots=True)
class Slot:
    """What goes into one slot: a number per row, or the same one ``each`` (``values`` None).

    Rows where ``valid`` is false add nothing. Without numbers the reducer is a sum.
    """

    reducer: Reducer
    values: Numbers | None
    valid: NDArray[np.bool_] | None = None
    each: int = 1


@dataclass(frozen=True, slots=True)
class CodePartial:
    """One row per group: ``keys`` are codes of global dictionaries, ``slots`` reduced numbers.

    Groups ascend by their codes, the first key first; merging relies on it.
    Slots are int64 or float64; one that reduces by min or max holds the worst number of its type
    where no value was.
    """

    keys: tuple[Codes, ...]
    slots: tuple[Numbers, ...]
    groups: int

    @property
    def size_bytes(self) -> int:
        """Bytes in memory."""
        return sum(array.nbytes for array in (*self.keys, *self.slots))


def grouped(
    keys: Sequence[Codes],
    sizes: Sequence[int],
    slots: Sequence[Slot],
    rows: int,
    kept: NDArray[np.bool_] | None = None,
) -> CodePartial:
    """The groups of the rows that are kept. The codes of ``keys[i]`` are below ``sizes[i]``.

    Without keys there is one group, also of no rows. Raises Unsupported where the keys have too
    many combinations to be numbered.
    """
    if not keys:
        return CodePartial((), tuple(_reduced_whole(slot, rows, kept) for slot in slots), 1)
    combinations = combinations_of(sizes)
    if combinations > max(_DENSE_MIN, _DENSE_PER_ROW * rows):
        return _grouped_by_order(keys, sizes, slots, kept)
    combined = places_of(keys, sizes, rows, kept)
    counts = np.bincount(combined, minlength=combinations + 1)
    counts[0] = 0
    found = np.flatnonzero(counts)
    reduced = tuple(
        counts[found] * slot.each
        if slot.values is None and slot.valid is None
        else _reduced(slot, combined, combinations + 1)[found]
        for slot in slots
    )
    return CodePartial(_separated(found - 1, keys, sizes), reduced, len(found))


def combinations_of(sizes: Sequence[int]) -> int:
    """How many combined codes there are. Raises Unsupported where they can't be numbered."""
    combinations = math.prod(sizes)
    if combinations > _COMBINED_MAX:
        raise Unsupported
    return combinations


def combined_codes(keys: Sequence[Codes], sizes: Sequence[int]) -> Codes:
    """One number per row for all its codes, in the narrowest width that has room for one more."""
    combinations = combinations_of(sizes)
    kind: type[np.integer] = np.int64
    if combinations < 1 << 16:
        kind = np.uint16
    elif combinations < 1 << 31:
        kind = np.int32
    combined = keys[0].astype(kind)
    for codes, size in zip(keys[1:], sizes[1:], strict=True):
        combined *= kind(size)
        combined += codes.astype(kind, copy=False)
    return combined


def places_of(
    keys: Sequence[Codes], sizes: Sequence[int], rows: int, kept: NDArray[np.bool_] | None
) -> Places:
    """One more than the combined code of each row, 0 for a row that isn't kept.

    Multiplying has no branch to predict: on a random mask it is many times as fast as assigning.
    """
    combined = combined_codes(keys, sizes) if keys else np.zeros(rows, dtype=np.uint8)
    combined += 1
    if kept is not None:
        combined *= kept.view(np.uint8)
    return combined.astype(np.intp)


def both(left: Mask | None, right: Mask | None) -> Mask | None:
    """True where both are, None standing for true everywhere."""
    if left is None or right is None:
        return right if left is None else left
    return left & right


def _grouped_by_order(
    keys: Sequence[Codes],
    sizes: Sequence[int],
    slots: Sequence[Slot],
    kept: NDArray[np.bool_] | None,
) -> CodePartial:
    if kept is not None:
        keys = [codes[kept] for codes in keys]
        slots = [
            Slot(
                slot.reducer,
                None if slot.values is None else slot.values[kept],
                None if slot.valid is None else slot.valid[kept],
                slot.each,
            )
            for slot in slots
        ]
    found, places = np.unique(combined_codes(keys, sizes), return_inverse=True)
    reduced = tuple(_reduced(slot, places, len(found)) for slot in slots)
    return CodePartial(_separated(found, keys, sizes), reduced, len(found))


def merged(
    partials: Sequence[CodePartial], sizes: Sequence[int], reducers: Sequence[Reducer]
) -> CodePartial:
    """One partial of several with the same keys and slots; at least one."""
    if len(partials) == 1:
        return partials[0]
    if not sizes:
        slots = _reduced_runs(partials, reducers, None, np.zeros(1, dtype=np.intp))
        return CodePartial((), slots, 1)
    combined = [combined_codes(one.keys, sizes) for one in partials]
    if len(partials) == 2:
        large, small = (0, 1) if partials[0].groups >= partials[1].groups else (1, 0)
        if partials[small].groups * _ABSORBED_MIN <= partials[large].groups:
            pair = partials[large], partials[small]
            return _absorbed(*pair, combined[large], combined[small], reducers)
    together = np.concatenate(combined)
    order = np.argsort(together, kind="stable")
    together = together[order]
    starts = _starts(together)
    keys = tuple(
        np.concatenate(codes)[order][starts]
        for codes in zip(*(one.keys for one in partials), strict=True)
    )
    return CodePartial(keys, _reduced_runs(partials, reducers, order, starts), len(starts))


def shared_groups(own: Codes, others: Codes) -> tuple[Places, Mask]:
    """The numbers of the groups of a partial that another one has too, and which of it those are.

    Both are given by the combined codes of their keys.
    """
    places, known = _places_among(own, others)
    return places[known], known


def some_groups(partial: CodePartial, numbers: Places) -> CodePartial:
    """The groups of these numbers, which ascend."""
    keys = tuple(codes[numbers] for codes in partial.keys)
    return CodePartial(keys, tuple(slot[numbers] for slot in partial.slots), len(numbers))


def without_last_key(
    partial: CodePartial, reducers: Sequence[Reducer], counted: Mask | None = None
) -> CodePartial:
    """Groups by all keys but the last, and how many codes of the last, NULL aside, each has.

    The counts are one more slot; ``counted`` says which groups of ``partial`` are counted.
    """
    present = partial.keys[-1] != 0
    present = (present if counted is None else present & counted).astype(np.int64)
    keys = partial.keys[:-1]
    if keys:
        changes = np.zeros(max(0, partial.groups - 1), dtype=bool)
        for codes in keys:
            changes |= codes[1:] != codes[:-1]
        starts = np.concatenate([np.zeros(1, np.intp), np.flatnonzero(changes) + 1])
        starts = starts[: partial.groups]
    else:
        starts = np.zeros(1, dtype=np.intp)
    widened = CodePartial(keys, (*partial.slots, present), partial.groups)
    slots = _reduced_runs([widened], [*reducers, Reducer.SUM], None, starts)
    return CodePartial(tuple(codes[starts] for codes in keys), slots, len(starts))


def _absorbed(
    large: CodePartial,
    small: CodePartial,
    large_codes: Codes,
    small_codes: Codes,
    reducers: Sequence[Reducer],
) -> CodePartial:
    """Two partials as one, cheaply where the second has few groups."""
    places, known = _places_among(large_codes, small_codes)
    there, new = places[known], places[~known]
    keys = tuple(
        np.insert(ours.astype(np.result_type(ours, theirs), copy=False), new, theirs[~known])
        for ours, theirs in zip(large.keys, small.keys, strict=True)
    )
    slots = []
    for reducer, ours, theirs in zip(reducers, large.slots, small.slots, strict=True):
        changed = ours.copy()
        changed[there] = _OPERATIONS[reducer](ours[there], theirs[known])
        slots.append(np.insert(changed, new, theirs[~known]))
    return CodePartial(keys, tuple(slots), large.groups + len(new))


def _places_among(ascending: Codes, codes: Codes) -> tuple[Places, Mask]:
    """Where each of the codes is, or would have to be put, and whether it is there."""
    places = np.searchsorted(ascending, codes)
    known = np.zeros(len(places), dtype=bool)
    inside = places < len(ascending)
    known[inside] = ascending[places[inside]] == codes[inside]
    return places, known


def _starts(ascending: Codes) -> Places:
    """Where each distinct value of an ascending array begins."""
    changes = np.flatnonzero(ascending[1:] != ascending[:-1]) + 1
    return np.concatenate([np.zeros(1, np.intp), changes])[: len(ascending)]


def _reduced_runs(
    partials: Sequence[CodePartial],
    reducers: Sequence[Reducer],
    order: Places | None,
    starts: Places,
) -> tuple[Numbers, ...]:
    """The slots of rows, put in order, reduced over the runs that begin at ``starts``.

    Without any row there is one run of nothing where a run is asked for.
    """
    slots: list[Numbers] = []
    for number, reducer in enumerate(reducers):
        values = np.concatenate([one.slots[number] for one in partials])
        if not len(values) and len(starts):
            values = np.zeros(1, dtype=values.dtype)
        values = values if order is None else values[order]
        slots.append(_OPERATIONS[reducer].reduceat(values, starts) if len(starts) else values)
    return tuple(slots)


def _separated(found: Codes, keys: Sequence[Codes], sizes: Sequence[int]) -> tuple[Codes, ...]:
    if not keys:
        return ()
    separated: list[Codes] = []
    rest = found
    for codes, size in zip(reversed(keys[1:]), reversed(sizes[1:]), strict=True):
        rest, part = np.divmod(rest, size)
        separated.append(part.astype(codes.dtype))
    separated.append(rest.astype(keys[0].dtype))
    return tuple(reversed(separated))


def _reduced(slot: Slot, places: Codes, groups: int) -> Numbers:
    values = slot.values
    if slot.valid is not None:
        places = places[slot.valid]
        values = None if values is None else values[slot.valid]
    if values is None:
        return np.bincount(places, minlength=groups) * slot.each
    if slot.reducer is Reducer.SUM:
        return _summed(values, places, groups)
    wide = _wide(values)
    extremes = np.full(groups, _worst(slot.reducer, wide), dtype=wide)
    _OPERATIONS[slot.reducer].at(extremes, places, values.astype(wide, copy=False))
    return extremes


def _reduced_whole(slot: Slot, rows: int, kept: NDArray[np.bool_] | None) -> Numbers:
    """The one number that a slot has over all rows that are kept."""
    mask = both(slot.valid, kept)
    count = rows if mask is None else int(np.count_nonzero(mask))
    values = slot.values
    if values is None:
        return np.asarray([count * slot.each], dtype=np.int64)
    wide = _wide(values)
    if slot.reducer is Reducer.SUM:
        chosen = values if mask is None else values * mask
        total: Numbers = np.sum(chosen, dtype=wide, keepdims=True)
        return total
    if not count:
        return np.full(1, _worst(slot.reducer, wide), dtype=wide)
    narrow = values.dtype.type(_worst(slot.reducer, values.dtype))
    chosen = values if mask is None else np.where(mask, values, narrow)
    best: Numbers = _OPERATIONS[slot.reducer].reduce(chosen, keepdims=True).astype(wide)
    return best


def _wide(values: Numbers) -> Kind:
    """The type of a reduced slot: in it, what beats nothing beats nothing of any partial."""
    return np.dtype(np.float64 if values.dtype == np.float64 else np.int64)


def _summed(values: Numbers, places: Codes, groups: int) -> Numbers:
    if values.dtype == np.float64:
        return np.bincount(places, weights=values, minlength=groups)
    largest = int(max(values.max(initial=0), -int(values.min(initial=0))))
    if largest * len(values) < _EXACT_IN_DOUBLE:
        return np.bincount(places, weights=values, minlength=groups).astype(np.int64)
    sums = np.zeros(groups, dtype=np.int64)
    np.add.at(sums, places, values)
    return sums


def _worst(reducer: Reducer, kind: Kind) -> int | float:
    """The number that any other one beats."""
    high = reducer is Reducer.MIN
    if kind == np.float64:
        return np.inf if high else -np.inf
    bits = 8 * kind.itemsize - 1
    return (1 << bits) - 1 if high else -(1 << bits)
