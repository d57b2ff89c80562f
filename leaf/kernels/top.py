"""The groups that can be among the first ones: fewer to name, to send and to sort.

Groups equal to the last one wanted all stay, so whoever sorts for good may break ties as he likes.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from alder.errors import AlderError, Reason
from alder.fieldtypes import quote
from alder.v1 import leaf_pb2
from leaf.bindings import TABLE, engine_names
from leaf.engine import Cancellation, Engine
from leaf.kernels.states import Values, values_of
from leaf.kernels.unsupported import Unsupported

_SELECTED_MIN: Final = 256
_RESULT: Final = "result"


@dataclass(frozen=True, slots=True)
class Top:
    """Numbers of the groups that are enough (None: all), and what orders all, if computed."""

    groups: NDArray[np.intp] | None = None
    order: pa.Array | None = None


def top_groups(
    wanted: leaf_pb2.TopGroups, columns: pa.Table, engine: Engine, cancellation: Cancellation
) -> Top:
    """The groups that are enough. ``columns`` are the aggregates. Raises AlderError(DEADLINE)."""
    few = columns.num_rows <= max(wanted.rows, _SELECTED_MIN)
    if not columns.num_rows or (few and not wanted.result):
        return Top()
    try:
        order = order_of(wanted, columns, engine, cancellation)
        return Top(None if few else _enough(wanted, values_of(order)), order)
    except Unsupported:
        return Top()


def _enough(wanted: leaf_pb2.TopGroups, order: Values) -> NDArray[np.intp] | None:
    numbers, valid = order.numbers, order.valid
    present = np.arange(len(numbers)) if valid is None else np.flatnonzero(valid)
    if len(present) <= wanted.rows:
        return None
    if not wanted.rows:
        return present[:0]
    numbers = numbers[present]
    place = len(numbers) - wanted.rows if wanted.descending else wanted.rows - 1
    last = np.partition(numbers, place)[place]
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
