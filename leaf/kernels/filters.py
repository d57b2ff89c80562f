"""Which rows of a holder meet all conditions, exactly: the kernels decide, unlike indexes.

A condition on a column of few values is decided once per value and then looked up by code; one that
compares a number is compared as numbers. Conditions that fewer rows meet come first, and later ones
look at those rows only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import orjson
from numpy.typing import NDArray

from alder.v1 import leaf_pb2
from leaf.kernels.columns import Columns, Holder, Reading, RowValue
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
_COMPARED_MAX: Final = 6
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
class _Lookup:
    """A condition by code, and the share of rows that meet it."""

    codes: Codes
    truth: Mask
    share: float

    def marked(self, rows: Rows | None) -> Mask:
        """Which of the rows (None: all) meet the condition."""
        codes = self.codes if rows is None else self.codes[rows]
        for wanted in (True, False):
            single = np.flatnonzero(self.truth == wanted)
            if len(single) <= _COMPARED_MAX:
                mask = np.zeros(len(codes), dtype=bool)
                for code in single.tolist():
                    if code <= np.iinfo(codes.dtype).max:
                        mask |= codes == code
                return mask if wanted else ~mask
        found: Mask = self.truth[codes]
        return found


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
    lookups: list[_Lookup] = []
    compared: list[RowCondition] = []
    for condition in wanted:
        numeric = condition.terms and condition.value.binding.sql_type in _NUMBERS
        repeats = _repeats(holder, condition.value.stored)
        if numeric and not repeats:
            compared.append(condition)
        elif repeats or _few(holder, condition.value.stored):
            lookup = _lookup(holder, condition.value, columns, reading)
            if lookup.share == 0:
                return Selection(0, rows=np.empty(0, dtype=np.intp))
            if lookup.share < 1:
                lookups.append(lookup)
        else:
            raise Unsupported
    mask: Mask | None = None
    for lookup in sorted(lookups, key=lambda entry: entry.share):
        found = lookup.marked(rows)
        if rows is not None:
            rows = rows[found]
            continue
        mask = found if mask is None else mask & found
        if lookup.share <= _SHARE_PICKED_MAX:
            rows, mask = np.flatnonzero(mask), None
    for condition in compared:
        if mask is not None:
            rows, mask = np.flatnonzero(mask), None
        rows = _compared(holder, rows, condition, columns, reading)
    return _selection(holder, rows, mask)


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


def _repeats(holder: Holder, stored: str | None) -> bool:
    """True if the column's values are few for the rows."""
    segment = holder.rows
    there = stored is not None and isinstance(segment, Segment) and segment.has(stored)
    return there and isinstance(segment, Segment) and segment.repeats(str(stored))


def _few(holder: Holder, stored: str | None) -> bool:
    """True for a stored column without a value, and in the live tail, whose rows are few."""
    if stored is None:
        return False
    return not isinstance(holder.rows, Segment) or not holder.rows.has(stored)


def _lookup(holder: Holder, value: RowValue, columns: Columns, reading: Reading) -> _Lookup:
    stored = value.stored
    if stored is None:
        raise Unsupported
    column = value.column
    dictionary = columns.dictionary(column, column_type(stored))
    codes = columns.codes(holder, column, dictionary, reading)
    counts = columns.counts(holder, column, dictionary, reading)
    truth = columns.truth(value, dictionary, reading)
    share = float(counts[truth[: len(counts)]].sum()) / max(1, len(codes))
    return _Lookup(codes, truth, share)


def _narrowed(rows: Rows | None, mask: Mask) -> Rows:
    return np.flatnonzero(mask) if rows is None else rows[mask]


def _compared(
    holder: Holder,
    rows: Rows | None,
    condition: RowCondition,
    columns: Columns,
    reading: Reading,
) -> Rows | None:
    values = columns.numbers(holder, condition.value.column, reading)
    for term in condition.terms:
        chosen = values if rows is None else values.taken(rows)
        rows = _narrowed(rows, _term_mask(chosen, term))
    return rows


def _term_mask(values: Values, term: leaf_pb2.Term) -> Mask:
    constants = [orjson.loads(value) for value in term.values_json]
    numeric = all(isinstance(one, (int, float)) for one in constants)
    if not numeric or any(isinstance(one, bool) for one in constants) or not constants:
        raise Unsupported
    numbers = values.numbers
    match term.operator:
        case "=" | "in":
            mask: Mask = np.isin(numbers, np.asarray(constants))
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
