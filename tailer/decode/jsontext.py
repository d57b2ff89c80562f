"""JSON text of typed values.

DuckDB writes it. What it can't write as JSON (floats that are no numbers, maps, which may have
equal keys, fields whose names differ in case only) is written here, value by value. Which of the
two writes a value depends on the value and its type alone.
"""

import json
import math
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tailer.decode.engine import Engine
from tailer.decode.values import scatter

# A float without a JSON number stands where a value starts; inside strings it is a false alarm.
_NOT_JSON: Final = r"(?:\A|[:\[,])-?(?:NaN|Infinity)"
_PLAIN_BYTES: Final = frozenset(range(ord(" "), ord("~") + 1)) - frozenset(b"\\'\"")
_WRITTEN: Final = "to_json(v)"


def json_texts(column: pa.Array, engine: Engine) -> pa.Array:
    """The JSON text of each value as a string column, null for null."""
    if pa.types.is_null(column.type):
        return pa.nulls(len(column), pa.string())
    if not is_written_by_engine(column.type, engine):
        return _written_here(column)
    texts = _written_by_engine(column, engine)
    if not _has(column.type, pa.types.is_floating):
        return texts
    alarmed = pc.match_substring_regex(texts, _NOT_JSON).fill_null(False)
    rows = [
        row
        for row in np.flatnonzero(alarmed.to_numpy(zero_copy_only=False)).tolist()
        if not _is_finite(column[row].as_py())
    ]
    if not rows:
        return texts
    places = np.asarray(rows)
    odd = np.zeros(len(column), np.bool_)
    odd[places] = True
    repaired = scatter(_written_here(column.take(pa.array(places))), places, len(column))
    return pc.if_else(pa.array(odd), repaired, texts)


def is_written_by_engine(kind: pa.DataType, engine: Engine) -> bool:
    """Whether values of a type are written by DuckDB."""
    return not _has(kind, pa.types.is_map) and engine.takes(_WRITTEN, kind)


def _written_by_engine(column: pa.Array, engine: Engine) -> pa.Array:
    try:
        return engine.map(_WRITTEN, column).cast(pa.string())
    except duckdb.Error:
        engine.reset()
    if len(column) == 1:
        return _written_here(column)
    half = len(column) // 2
    halves = (column.slice(0, half), column.slice(half))
    return pa.concat_arrays([_written_by_engine(part, engine) for part in halves])


def _written_here(column: pa.Array) -> pa.Array:
    return pa.array([_text_or_none(value) for value in column], pa.string())


def _has(kind: pa.DataType, is_kind: Callable[[pa.DataType], bool]) -> bool:
    """True if a type is of that kind, or one inside it."""
    if isinstance(kind, pa.BaseExtensionType):
        return _has(kind.storage_type, is_kind)
    if pa.types.is_dictionary(kind):
        return _has(kind.value_type, is_kind)
    inside = (kind.field(index).type for index in range(kind.num_fields))
    return is_kind(kind) or any(_has(part, is_kind) for part in inside)


def _is_finite(value: object) -> bool:
    """True if no float in it is NaN or infinite."""
    if isinstance(value, dict):
        return all(map(_is_finite, value.values()))
    if isinstance(value, list):
        return all(map(_is_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


def _text_or_none(value: pa.Scalar) -> str | None:
    return _text(value) if value.is_valid else None


def _text(value: pa.Scalar) -> str:
    if not value.is_valid:
        return "null"
    if isinstance(value, pa.MapScalar):
        pairs = (
            f"{json.dumps(str(pair['key']), ensure_ascii=False)}:{_text(pair['value'])}"
            for pair in value.values
        )
        return "{" + ",".join(pairs) + "}"
    if isinstance(value, pa.StructScalar):
        members = (
            f"{json.dumps(field.name, ensure_ascii=False)}:{_text(value[index])}"
            for index, field in enumerate(value.type)
        )
        return "{" + ",".join(members) + "}"
    if isinstance(value, pa.ListScalar | pa.LargeListScalar | pa.FixedSizeListScalar):
        return "[" + ",".join(_text(element) for element in value.values) + "]"
    return _scalar_text(_python_value(value))


def _python_value(value: pa.Scalar) -> object:
    """As Python has it, else as Arrow spells it, such as a time of the year 100000."""
    try:
        return value.as_py()
    except (OverflowError, ValueError):
        return value.cast(pa.string()).as_py()


def _scalar_text(value: object) -> str:
    """Spelt as DuckDB does."""
    if isinstance(value, float) and not math.isfinite(value):
        name = "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
        return f'"{name}"'
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, bytes):
        text = "".join(
            chr(octet) if octet in _PLAIN_BYTES else f"\\x{octet:02X}" for octet in value
        )
        return json.dumps(text)
    if isinstance(value, datetime) and value.tzinfo is not None:
        return f'"{value.astimezone(UTC).replace(tzinfo=None)}+00"'
    return json.dumps(str(value), ensure_ascii=False)
