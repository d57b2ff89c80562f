"""Aggregates as slots, and slots as the engine's own states.

For every aggregate the slots that its state is made of; and from reduced slots the Arrow column
that the engine would have exported, told by the type of that column. Sums of integers are kept in
two halves, so that they are exact however many there are: a sum of the upper 32 bits and one of the
lower. Integers that fit into 32 bits are a lower half with its sign, beside an upper one of 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from leaf.kernels.grouping import Numbers, Reducer, Slot
from leaf.kernels.unsupported import Unsupported

_HALF_BITS: Final = 32
_HALF_MASK: Final = (1 << _HALF_BITS) - 1
_INTEGER_SUM: Final = pa.decimal128(38, 0)


@dataclass(frozen=True, slots=True)
class Values:
    """A column as numbers: signed integers or float64, anything where ``valid`` is not.

    ``valid`` None: every row has one.
    """

    numbers: Numbers
    valid: NDArray[np.bool_] | None

    def taken(self, rows: NDArray[np.intp]) -> "Values":
        """The values of some rows."""
        return Values(self.numbers[rows], None if self.valid is None else self.valid[rows])

    def narrowed(self) -> "Values":
        """The same numbers, integers in the narrowest width."""
        if self.numbers.dtype != np.int64:
            return self
        low, high = int(self.numbers.min(initial=0)), int(self.numbers.max(initial=0))
        for kind in (np.int8, np.int16, np.int32):
            if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
                return Values(self.numbers.astype(kind), self.valid)
        return self

    @property
    def size_bytes(self) -> int:
        """Bytes in memory."""
        return int(self.numbers.nbytes + (0 if self.valid is None else self.valid.nbytes))


@dataclass(frozen=True, slots=True)
class State:
    """One aggregate: how its slots reduce, and the type of its exported state."""

    function: str
    kind: pa.DataType

    @property
    def reducers(self) -> tuple[Reducer, ...]:
        """One per slot."""
        if self.function in {"count", "count_star"}:
            return (Reducer.SUM,)
        if self.function in {"min", "max"}:
            return Reducer.SUM, Reducer[self.function.upper()]
        integral = self._sum_kind() == _INTEGER_SUM
        return (Reducer.SUM,) * (3 if integral else 2)

    def slots(self, values: Values | None, valid: NDArray[np.bool_] | None) -> list[Slot]:
        """The slots of rows; ``values`` is None where the function only counts.

        Raises Unsupported for values that the state isn't made for.
        """
        count = Slot(Reducer.SUM, None, valid)
        if self.function in {"count", "count_star"}:
            return [count]
        if values is None:
            raise Unsupported
        if self.function in {"min", "max"}:
            return [count, Slot(self.reducers[1], values.numbers, valid)]
        if len(self.reducers) == 2:
            return [count, Slot(Reducer.SUM, values.numbers.astype(np.float64), valid)]
        if not np.issubdtype(values.numbers.dtype, np.integer):
            raise Unsupported
        if values.numbers.dtype.itemsize * 8 <= _HALF_BITS:
            upper = Slot(Reducer.SUM, None, valid, each=0)
            return [count, upper, Slot(Reducer.SUM, values.numbers, valid)]
        integers = values.numbers.astype(np.int64, copy=False)
        high = Slot(Reducer.SUM, integers >> _HALF_BITS, valid)
        return [count, high, Slot(Reducer.SUM, integers & _HALF_MASK, valid)]

    def column(self, slots: Sequence[Numbers]) -> pa.Array:
        """The exported states. Raises Unsupported for a type that is none of these states."""
        counts = slots[0]
        if self.function in {"count", "count_star"}:
            return pa.array(counts, pa.int64())
        if self.function in {"min", "max"}:
            return self._extremes(counts, slots[1])
        if self.function == "sum":
            return self._sums(slots, counts > 0)
        sums = self._sums(slots, np.ones(len(counts), dtype=bool))
        fields = [pa.array(counts, pa.uint64()), sums]
        return pa.StructArray.from_arrays(fields, fields=list(self.kind))

    def _sum_kind(self) -> pa.DataType:
        if self.function == "sum":
            return self.kind
        if not pa.types.is_struct(self.kind) or self.kind.num_fields != 2:
            raise Unsupported
        return self.kind.field(1).type

    def _sums(self, slots: Sequence[Numbers], present: NDArray[np.bool_]) -> pa.Array:
        kind = self._sum_kind()
        if kind == _INTEGER_SUM:
            return _decimals(slots[1], slots[2], present)
        return pa.array(slots[1], pa.float64(), mask=~present)

    def _extremes(self, counts: Numbers, values: Numbers) -> pa.Array:
        missing = counts == 0
        if pa.types.is_floating(self.kind):
            return pa.array(values.astype(np.float64), pa.float64(), mask=missing)
        narrow = np.where(missing, 0, values).astype(f"<i{self.kind.bit_width // 8}")
        return pa.array(narrow, mask=missing).view(self.kind)


def state_of(function: str, kind: pa.DataType) -> State:
    """The state of a function whose exported type is this. Raises Unsupported for another one."""
    if function in {"count", "count_star"}:
        fits = kind == pa.int64()
    elif function in {"min", "max"}:
        fits = is_number(kind) and kind != pa.float32()
    elif function == "sum":
        fits = kind in (_INTEGER_SUM, pa.float64())
    else:
        fits = function == "avg" and pa.types.is_struct(kind) and kind.num_fields == 2
        fits = fits and kind.field(0).type == pa.uint64()
        fits = fits and kind.field(1).type in (_INTEGER_SUM, pa.float64())
    if not fits:
        raise Unsupported
    return State(function, kind)


def is_number(kind: pa.DataType) -> bool:
    """True for types that are numbers here: signed integers, floats, timestamps and dates."""
    return bool(
        pa.types.is_signed_integer(kind)
        or kind in (pa.float32(), pa.float64(), pa.date32())
        or (pa.types.is_timestamp(kind) and kind.tz is None)
    )


def values_of(column: pa.Array) -> Values:
    """A column of numbers. Raises Unsupported for other types, and for NaN and infinities."""
    kind = column.type
    if not is_number(kind):
        raise Unsupported
    valid = np.asarray(column.is_valid()) if column.null_count else None
    if pa.types.is_floating(kind):
        floats = np.asarray(column.fill_null(0.0) if column.null_count else column)
        floats = floats.astype(np.float64)
        if not np.isfinite(floats).all():
            raise Unsupported
        return Values(floats, valid)
    raw = column.view(pa.int32()) if kind == pa.date32() else column
    raw = raw.view(pa.int64()) if pa.types.is_timestamp(kind) else raw
    filled = raw.fill_null(0) if raw.null_count else raw
    return Values(np.asarray(filled).astype(np.int64, copy=False), valid)


def _decimals(high: Numbers, low: Numbers, present: NDArray[np.bool_]) -> pa.Array:
    """128-bit integers ``high * 2**32 + low`` as decimals."""
    lower = low.astype(np.int64, copy=False)
    upper = high.astype(np.int64, copy=False) + (lower >> _HALF_BITS)
    words = np.empty((len(high), 2), dtype="<i8")
    words[:, 0] = (upper << _HALF_BITS) | (lower & _HALF_MASK)
    words[:, 1] = upper >> _HALF_BITS
    validity = pa.array(present).buffers()[1]
    return pa.Array.from_buffers(_INTEGER_SUM, len(high), [validity, pa.py_buffer(words)])
