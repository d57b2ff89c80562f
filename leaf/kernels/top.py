"""The groups that can be among the first ones: fewer to name, to send and to sort.

Groups equal to the last one wanted all stay, so whoever sorts for good may break ties as he likes.
Where several leaves have parts of the groups, who asked them compares what they sent and asks again
for those that he misses (:class:`Wanted`).
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from alder.arrow import from_bytes
from alder.errors import AlderError, Reason
from alder.fieldtypes import quote
from alder.v1 import leaf_pb2
from leaf.bindings import TABLE, engine_names
from leaf.engine import Cancellation, Engine
from leaf.kernels.states import Values, values_of
from leaf.kernels.unsupported import Unsupported

SUM_MAX: Final = 1 << 53
_SELECTED_MIN: Final = 256
_RESULT: Final = "result"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Groups that are wanted beside the first ones: those up to a threshold, those of some keys.

    ``threshold`` is compared with what orders the groups; ``keys`` has the columns of the keys.
    ``all_groups``: none is left out. ``apart``: those of sealed segments come apart, unless the
    caller has them under one of the ``known`` names.
    """

    threshold: int | None = None
    keys: pa.Table | None = None
    all_groups: bool = False
    apart: bool = False
    known: frozenset[bytes] = frozenset()

    @classmethod
    def from_proto(cls, message: leaf_pb2.WantedGroups) -> "Wanted":
        """Raises AlderError(CORRUPT) where the keys are no Arrow stream."""
        threshold = message.threshold if message.HasField("threshold") else None
        keys = from_bytes(message.keys) if message.keys else None
        return cls(threshold, keys, message.all, message.apart, frozenset(message.known))


NO_MORE: Final = Wanted()


@dataclass(frozen=True, slots=True)
class Top:
    """Numbers of the groups that are enough (None: all), and what orders all, if computed.

    ``worst`` is what orders the last of all groups, if that is an integer.
    """

    groups: NDArray[np.intp] | None = None
    order: pa.Array | None = None
    worst: int | None = None


def top_groups(
    wanted: leaf_pb2.TopGroups,
    columns: pa.Table,
    engine: Engine,
    cancellation: Cancellation,
    threshold: int | None = None,
) -> Top:
    """The groups that are enough, and those up to a threshold. ``columns`` are the aggregates.

    Raises AlderError(DEADLINE).
    """
    few = columns.num_rows <= max(wanted.rows, _SELECTED_MIN)
    if not columns.num_rows or (few and not wanted.result):
        return Top()
    try:
        order = order_of(wanted, columns, engine, cancellation)
        if few:
            return Top(None, order)
        values = ordering_values(order)
        return Top(_enough(wanted, threshold, values), order, worst_of(values, wanted.descending))
    except Unsupported:
        return Top()


def worst_of(values: Values, descending: bool) -> int | None:
    """The integer that comes last; None for other numbers and where there is none."""
    numbers = values.numbers if values.valid is None else values.numbers[values.valid]
    if not len(numbers) or not np.issubdtype(numbers.dtype, np.integer):
        return None
    return int(numbers.min() if descending else numbers.max())


def ordering_values(order: pa.Array) -> Values:
    """What orders groups as numbers, sums of integers too. Raises Unsupported for other types.

    Sums so large that those of some leaves may not add up in 64 bits are not supported.
    """
    if not pa.types.is_decimal(order.type) or order.type.scale:
        return values_of(order)
    try:
        values = values_of(order.cast(pa.int64()))
    except pa.ArrowInvalid as error:
        raise Unsupported from error
    if len(values.numbers) and np.abs(values.numbers).max() > SUM_MAX:
        raise Unsupported
    return values


def _enough(
    wanted: leaf_pb2.TopGroups, threshold: int | None, order: Values
) -> NDArray[np.intp] | None:
    numbers, valid = order.numbers, order.valid
    present = np.arange(len(numbers)) if valid is None else np.flatnonzero(valid)
    if len(present) <= wanted.rows:
        return None
    if not wanted.rows:
        return present[:0]
    numbers = numbers[present]
    place = len(numbers) - wanted.rows if wanted.descending else wanted.rows - 1
    last = np.partition(numbers, place)[place]
    if threshold is not None:
        last = min(last, threshold) if wanted.descending else max(last, threshold)
    chosen: NDArray[np.bool_] = numbers >= last if wanted.descending else numbers <= last
    return np.flatnonzero(chosen) if valid is None else present[chosen].astype(np.intp)


def order_of(
    wanted: leaf_pb2.TopGroups, columns: pa.Table, engine: Engine, cancellation: Cancellation
) -> pa.Array:
    """What orders the groups. Raises Unsupported, AlderError(DEADLINE)."""
    if not set(wanted.columns) <= set(columns.column_names):
        raise Unsupported
    read = columns.select(list(wanted.columns))
    if not wanted.sql:
        return _single(read.column(0))
    physical = read.rename_columns(engine_names(read.num_columns))
    items = []
    for name, known_as, kind in zip(
        read.column_names, physical.column_names, read.schema.types, strict=True
    ):
        restored = "HUGEINT" if pa.types.is_decimal(kind) else None
        value = f"{known_as}::{restored}" if restored else known_as
        items.append(f"{value} AS {quote(name)}")
    projection_sql = f"SELECT {', '.join(items)} FROM {TABLE}"
    sql = f"SELECT {wanted.sql} AS {_RESULT} FROM rows"
    try:
        result = engine.run(physical, projection_sql, sql, cancellation)
    except AlderError as error:
        if error.reason is Reason.DEADLINE:
            raise
        raise Unsupported from error
    return _single(result.column(_RESULT))


def _single(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)
