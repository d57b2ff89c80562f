"""Typed tables (Parquet, CSV read as Arrow) in, the same physical columns as from JSON out.

Structs flatten into dotted paths. What has a physical type is kept exactly in it; where only some
values fit (an unsigned integer beyond 64 bits signed, a time with nanoseconds) each value takes
the column that holds it. Lists of scalars stay lists; lists of anything else, and maps, become
JSON text. A value NaN is legal here, since the source says that the column is of floats.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from alder import paths
from alder.errors import AlderError, Reason
from alder.fieldtypes import arrow_type, column_name
from tailer.decode.engine import Engine
from tailer.decode.jsontext import json_texts
from tailer.decode.model import Decoded, rejected_rows
from tailer.decode.parts import Part, join_parts
from tailer.decode.plain import is_string, plain

_INT64_MAX: Final = 2**63 - 1
_DECIMAL_PRECISION_MAX: Final = 38


def decode_table(table: pa.Table, engine: Engine) -> Decoded:
    """The columns of a table; rows with a value that does not fit its field type are rejected.

    Raises AlderError for a column of a type that has no physical type, and for a name that comes
    twice.
    """
    parts: list[Part] = []
    reasons: dict[int, str] = {}
    start = 0
    for batch in table.to_batches():
        columns: dict[str, pa.Array] = {}
        misfits: dict[int, str] = {}
        for path, array in _leaves("", batch.schema, batch.columns):
            for tag, values in _typed(path, array, engine):
                if values.null_count < len(values):
                    fitting, bad = _as_physical(tag, values)
                    columns[column_name(tag, path)] = fitting
                    reason = f"{path}: a value of type {values.type} does not fit {tag}"
                    misfits |= dict.fromkeys(bad, reason)
        part = Part(np.arange(start, start + len(batch)), columns)
        if misfits:
            fits = np.ones(len(batch), np.bool_)
            fits[list(misfits)] = False
            part = part.filter(fits)
        parts.append(part)
        reasons |= {start + row: reason for row, reason in misfits.items()}
        start += len(batch)
    kept, joined = join_parts(parts)
    return Decoded(joined, kept, rejected_rows(reasons), overflow=False)


def _leaves(
    parent: str, fields: "pa.Schema | pa.StructType", columns: list[pa.Array]
) -> Iterator[tuple[str, pa.Array]]:
    """The paths that are no structs, with their columns."""
    names = fields.names
    for name, column in zip(names, columns, strict=True):
        path = paths.child(parent, name)
        if names.count(name) > 1:
            message = f"the column {path!r} comes twice in one table; rename one of the two"
            raise AlderError(Reason.INVALID_ARGUMENT, message)
        values = plain(column)
        if pa.types.is_struct(values.type) and values.type.num_fields:
            yield from _leaves(path, values.type, values.flatten())
        else:
            yield path, values


def _typed(path: str, column: pa.Array, engine: Engine) -> list[tuple[str, pa.Array]]:
    """The values of a column by tag, each as long as the column."""
    kind = column.type
    if _is_list(kind):
        tag = _element_tag(column)
        if tag is not None:
            return [(f"list<{tag}>", column)]
    if _is_list(kind) or pa.types.is_map(kind) or pa.types.is_struct(kind):
        return [("json", json_texts(column, engine))]
    if pa.types.is_null(kind):
        return []
    if pa.types.is_uint64(kind):
        small = pc.less_equal(column, pa.scalar(_INT64_MAX, pa.uint64()))
        return _split(column, small, "int", "decimal(38,0)")
    if pa.types.is_time64(kind) and kind.unit == "ns":
        whole = pc.equal(_remainder(column.cast(pa.int64()), 1_000), 0)
        return _split(column, whole, "time", "string")
    if pa.types.is_decimal256(kind) and kind.precision > _DECIMAL_PRECISION_MAX:
        return [("json", json_texts(column, engine))]
    tag = _scalar_tag(kind)
    if tag is None:
        message = (
            f"the column {path!r} is of type {kind}, which has no field type; "
            "convert it to a number or a string in the source"
        )
        raise AlderError(Reason.UNSUPPORTED, message)
    return [(tag, column)]


def _split(column: pa.Array, fits: pa.Array, tag: str, other: str) -> list[tuple[str, pa.Array]]:
    nothing = pa.scalar(None, column.type)
    return [(tag, pc.if_else(fits, column, nothing)), (other, pc.if_else(fits, nothing, column))]


def _remainder(values: pa.Array, divisor: int) -> pa.Array:
    return pc.subtract(values, pc.multiply(pc.divide(values, divisor), divisor))


def _element_tag(column: pa.Array) -> str | None:
    """The tag of a list's elements if they are scalars that all fit one."""
    element = column.type.value_type
    if pa.types.is_dictionary(element):
        element = element.value_type
    if pa.types.is_uint64(element):
        largest = pc.max(pc.list_flatten(column)).as_py()
        return "int" if (largest or 0) <= _INT64_MAX else None
    return _scalar_tag(element)


def _scalar_tag(kind: pa.DataType) -> str | None:
    """The tag of all values of a type, or None if it has none or the values differ."""
    types = pa.types
    if types.is_timestamp(kind):
        return "timestamp_ns" if kind.unit == "ns" else "timestamp"
    if types.is_decimal(kind):
        # SQL has no negative scale, and no scale above the precision.
        precision = max(kind.precision - min(kind.scale, 0), kind.scale)
        return f"decimal({precision},{max(kind.scale, 0)})" if precision <= 38 else None
    for tag, matches in _TAGS:
        if any(match(kind) for match in matches):
            return tag
    return None


_TAGS: Final = (
    ("bool", (pa.types.is_boolean,)),
    (
        "int",
        (pa.types.is_signed_integer, pa.types.is_uint8, pa.types.is_uint16, pa.types.is_uint32),
    ),
    ("float", (pa.types.is_floating,)),
    ("string", (is_string,)),
    (
        "binary",
        (
            pa.types.is_binary,
            pa.types.is_large_binary,
            pa.types.is_fixed_size_binary,
            pa.types.is_binary_view,
        ),
    ),
    ("date", (pa.types.is_date,)),
    ("time", (pa.types.is_time32, lambda kind: kind == pa.time64("us"))),
)


def _is_list(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(
        types.is_list(kind)
        or types.is_large_list(kind)
        or types.is_fixed_size_list(kind)
        or types.is_list_view(kind)
        or types.is_large_list_view(kind)
    )


def _as_physical(tag: str, values: pa.Array) -> tuple[pa.Array, list[int]]:
    """Cast to the type of the tag without losing anything, and the rows (null) that can't be.

    An example is a time in seconds beyond the range of microseconds. Raises
    AlderError(UNSUPPORTED).
    """
    target = arrow_type(tag)
    try:
        return values.cast(target), []
    except pa.ArrowInvalid:
        if len(values) == 1:
            return pa.nulls(1, target), [0]
    except pa.ArrowNotImplementedError as error:
        message = f"values of type {values.type} can't be kept as {tag}: {error}"
        raise AlderError(Reason.UNSUPPORTED, message) from error
    half = len(values) // 2
    (first, bad), (second, later) = (
        _as_physical(tag, part) for part in (values.slice(0, half), values.slice(half))
    )
    return pa.concat_arrays([first, second]), bad + [half + row for row in later]
