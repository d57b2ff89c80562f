"""Which rows of a holder meet all conditions, exactly: the kernels decide, unlike indexes.

A condition on a column of few values is decided once per value and then looked up by code; one that
compares a number is compared as numbers; any other is decided by the engine once per row.
Conditions that fewer rows meet come first, and later ones look at those rows only.
"""

import functools
import itertools
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from alder.v1 import leaf_pb2
from leaf.format.meta import Index
from leaf.kernels.columns import Columns, Holder, Reading, RowValue
from leaf.kernels.dictionaries import has_codes
from leaf.kernels.grouping import Codes
from leaf.kernels.states import Values
from leaf.kernels.unsupported import Unsupported
from leaf.rows import column_type
from leaf.segment import Segment

Rows = NDArray[np.intp]
Mask = NDArray[np.bool_]
_SHARE_PICKED_MAX: Final = 0.02
"""Share of rows up to which the first condition picks rows for the next ones to look at."""
_SHARE_MASKED_MIN: Final = 0.4
_SHARE_RANGED_MAX: Final = 0.5
"""Share of rows up to which rows that are neighbours are looked at alone."""
_RANGED_ROWS_MIN: Final = 1 << 14
"""Rows of a holder from which on that saves more than it costs to know."""
_EDGES_MAX: Final = 12
"""Changes between true and false in the order of codes up to which runs of codes are compared."""
_NUMBERS: Final = frozenset({"BIGINT", "DOUBLE", "TIMESTAMP", "DATE"})


@dataclass(frozen=True, slots=True)
class RowCondition:
    """A condition; ``terms`` say exactly the same, if there are any."""

    value: RowValue
    terms: tuple[leaf_pb2.Term, ...]


@dataclass(frozen=True, slots=True)
class Selection:
    """Rows of a holder: those of ascending numbers, or those that a mask marks; else all."""

    count: int
    rows: Rows | None = None
    mask: Mask | None = None


@dataclass(frozen=True, slots=True)
class Lookup:
    """Conditions on a column by code, and the share of rows that meet them.

    Codes are read when needed. ``ascends`` tells whether rows are in the order of their codes.
    """

    read: Callable[[], Codes]
    ascends: Callable[[], bool]
    truth: Mask
    share: float

    def marked(self, rows: Rows | slice | None) -> Mask:
        """Which of the rows (None: all) meet the conditions."""
        codes = self.read() if rows is None else self.read()[rows]
        truth = self._truth_within(codes)
        edges = np.flatnonzero(truth[1:] != truth[:-1]) + 1
        if len(edges) > _EDGES_MAX:
            return _looked_up(truth, codes)
        runs = list(itertools.pairwise([0, *edges.tolist(), len(truth)]))
        mask = np.zeros(len(codes), dtype=bool)
        for begin, end in runs[1::2]:
            mask |= _in_run(codes, begin, end, len(truth))
        return ~mask if truth[0] else mask

    def neighbours(self) -> slice | None:
        """The rows that meet the conditions, if these are known to be neighbours."""
        if self.share > _SHARE_RANGED_MAX or not self.ascends():
            return None
        codes = self.read()
        edges = np.flatnonzero(np.diff(self._truth_within(codes), prepend=False, append=False))
        if len(edges) != 2:
            return None
        first, last = np.asarray([edges[0], edges[1] - 1], dtype=codes.dtype)
        begin, end = np.searchsorted(codes, first), np.searchsorted(codes, last, side="right")
        return slice(int(begin), int(end))

    def _truth_within(self, codes: Codes) -> Mask:
        return self.truth[: int(np.iinfo(codes.dtype).max) + 1]


def matching(
    holder: Holder,
    rows: Rows | None,
    wanted: Sequence[RowCondition],
    columns: Columns,
    reading: Reading,
) -> Selection:
    """The rows among ``rows`` (None: all) that meet every condition.

    Raises Unsupported for a condition that takes an index or the engine to decide.
    """
    by_column: dict[Hashable, list[RowCondition]] = {}
    later: list[RowCondition] = []
    for condition in wanted:
        if _by_code(holder, condition):
            by_column.setdefault(condition.value.column.key, []).append(condition)
        else:
            later.append(condition)
    lookups: list[Lookup] = []
    for conditions in by_column.values():
        lookup = _lookup(holder, conditions, columns, reading)
        if lookup.share == 0:
            return Selection(0, rows=np.empty(0, dtype=np.intp))
        if lookup.share < 1:
            lookups.append(lookup)
    lookups.sort(key=lambda entry: entry.share)
    if rows is None and holder.rows.rows >= _RANGED_ROWS_MIN:
        for lookup in lookups:
            neighbours = lookup.neighbours()
            if neighbours is not None:
                others = [one for one in lookups if one is not lookup]
                rows, lookups = _within(neighbours, others), []
                break
    mask: Mask | None = None
    for lookup in lookups:
        found = lookup.marked(rows)
        if rows is not None:
            rows = rows[found]
            continue
        mask = found if mask is None else mask & found
        if lookup.share <= _SHARE_PICKED_MAX:
            rows, mask = np.flatnonzero(mask), None
    for condition in later:
        if mask is not None:
            rows, mask = np.flatnonzero(mask), None
        found = marked(holder, rows, condition, columns, reading)
        rows = np.flatnonzero(found) if rows is None else rows[found]
    return _selection(holder, rows, mask)


def marked(
    holder: Holder,
    rows: Rows | None,
    condition: RowCondition,
    columns: Columns,
    reading: Reading,
) -> Mask:
    """Which of the rows (None: all) meet a condition. Raises as :func:`matching`."""
    value = condition.value
    if _by_code(holder, condition):
        return _lookup(holder, [condition], columns, reading).marked(rows)
    if _compares_numbers(condition):
        numbers = columns.numbers(holder, value.column, reading)
        numbers = numbers if rows is None else numbers.taken(rows)
        masks = [_term_mask(numbers, term) for term in condition.terms]
        return functools.reduce(np.logical_and, masks)
    equal = any(term.operator in {"=", "in"} for term in condition.terms)
    if equal and _is_hashed(holder, value.stored):
        raise Unsupported
    flags = columns.flags(holder, value, reading)
    return flags if rows is None else flags[rows]


def _selection(holder: Holder, rows: Rows | None, mask: Mask | None) -> Selection:
    """Few rows by their numbers, many by a mask."""
    if mask is None:
        return Selection(holder.rows.rows if rows is None else len(rows), rows=rows)
    count = int(np.count_nonzero(mask))
    if count == len(mask):
        return Selection(count)
    if count < _SHARE_MASKED_MIN * len(mask):
        return Selection(count, rows=np.flatnonzero(mask))
    return Selection(count, mask=mask)


def _by_code(holder: Holder, condition: RowCondition) -> bool:
    """True if deciding the condition once per value of its column pays."""
    stored, segment = condition.value.stored, holder.rows
    if stored is None or not has_codes(column_type(stored)):
        return False
    if isinstance(segment, Segment) and segment.has(stored):
        few = segment.repeats(stored)
        return few or (pa.types.is_date32(column_type(stored)) and not _compares_numbers(condition))
    return not _compares_numbers(condition)


def _compares_numbers(condition: RowCondition) -> bool:
    bindings = condition.value.bindings
    numeric = len(bindings) == 1 and bindings[0].sql_type in _NUMBERS
    return numeric and bool(condition.terms) and all(map(_is_numeric, condition.terms))


def _is_numeric(term: leaf_pb2.Term) -> bool:
    """True for a comparison with numbers."""
    texts = term.values_json
    return bool(texts) and not any(text.startswith('"') for text in texts)


def _is_hashed(holder: Holder, stored: str | None) -> bool:
    segment = holder.rows
    there = stored is not None and isinstance(segment, Segment) and segment.has(stored)
    return there and isinstance(segment, Segment) and segment.has_index(str(stored), Index.HASHES)


def _in_run(codes: Codes, begin: int, end: int, codes_end: int) -> Mask:
    """Which codes are in ``[begin, end)``; all are below ``codes_end``."""
    mask: Mask = codes == begin if end - begin == 1 else codes >= begin
    return mask if end in {begin + 1, codes_end} else mask & (codes < end)


def _looked_up(truth: Mask, codes: Codes) -> Mask:
    """``truth[codes]`` without a copy of the codes in the width of an address."""
    found = pc.take(pa.array(truth.view(np.uint8)), pa.array(codes), boundscheck=False)
    return np.asarray(found).view(np.bool_)


def _within(neighbours: slice, lookups: Sequence[Lookup]) -> Rows:
    """The rows of a range that meet all conditions."""
    masks = [lookup.marked(neighbours) for lookup in lookups]
    if not masks:
        return np.arange(neighbours.start, neighbours.stop, dtype=np.intp)
    rows: Rows = np.flatnonzero(functools.reduce(np.logical_and, masks))
    rows += neighbours.start
    return rows


def _lookup(
    holder: Holder, conditions: Sequence[RowCondition], columns: Columns, reading: Reading
) -> Lookup:
    """The lookup of conditions on one column."""
    column, stored = conditions[0].value.column, conditions[0].value.stored
    if stored is None:
        raise Unsupported
    dictionary = columns.dictionary(column, column_type(stored))
    counts = columns.counts(holder, column, dictionary, reading)
    truths = [columns.truth(one.value, dictionary, reading, _strings(one)) for one in conditions]
    size = min(map(len, truths))
    truth = functools.reduce(np.logical_and, [one[:size] for one in truths])
    share = float(counts[truth[: len(counts)]].sum()) / max(1, holder.rows.rows)
    return Lookup(
        lambda: columns.all_codes(holder, column, dictionary, reading),
        lambda: columns.ascends(holder, column, dictionary, reading),
        truth,
        share,
    )


def _strings(condition: RowCondition) -> pa.Array | None:
    """The strings of which alone the condition is true; None where it says something else."""
    if len(condition.terms) != 1 or condition.terms[0].operator not in {"=", "in"}:
        return None
    constants = [orjson.loads(value) for value in condition.terms[0].values_json]
    plain = condition.value.bindings[0].sql_type == "VARCHAR"
    if not plain or not all(isinstance(constant, str) for constant in constants):
        return None
    return pa.array(constants, pa.string())


def _term_mask(values: Values, term: leaf_pb2.Term) -> Mask:
    constants = [orjson.loads(value) for value in term.values_json]
    numeric = all(isinstance(one, (int, float)) for one in constants)
    if not numeric or any(isinstance(one, bool) for one in constants) or not constants:
        raise Unsupported
    numbers = values.numbers
    match term.operator:
        case "=" | "in":
            mask: Mask = np.isin(numbers, np.asarray(constants))
        case "<>":
            mask = numbers != constants[0]
        case "<":
            mask = numbers < constants[0]
        case "<=":
            mask = numbers <= constants[0]
        case ">":
            mask = numbers > constants[0]
        case ">=":
            mask = numbers >= constants[0]
        case _:
            raise Unsupported
    return mask if values.valid is None else mask & values.valid
