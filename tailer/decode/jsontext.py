"""JSON text of typed values.

DuckDB writes it. What it can't write as JSON (floats that are no numbers, maps with equal keys) is
written here, value by value.
"""

import json
import math
from typing import Final

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tailer.decode.engine import Engine
from tailer.decode.values import scatter

# A float without a JSON number stands where a value starts; inside strings it is a harmless false
# alarm.
_NOT_JSON: Final = r"(?:\A|[:\[,])-?(?:NaN|Infinity)"


def json_texts(column: pa.Array, engine: Engine) -> pa.Array:
    """The JSON text of each value as a string column, null for null."""
    if pa.types.is_null(column.type):
        return pa.nulls(len(column), pa.string())
    try:
        texts = engine.map("to_json(v)", column).cast(pa.string())
    except duckdb.Error:
        engine.reset()
        return pa.array([_text_or_none(value) for value in column], pa.string())
    odd = pc.match_substring_regex(texts, _NOT_JSON).fill_null(False)
    rows = np.flatnonzero(odd.to_numpy(zero_copy_only=False))
    if not len(rows):
        return texts
    repaired = pa.array(
        [_text_or_none(value) for value in column.take(pa.array(rows))], pa.string()
    )
    return pc.if_else(odd, scatter(repaired, rows, len(column)), texts)


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
    return _scalar_text(value.as_py())


def _scalar_text(value: object) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        name = "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
        return f'"{name}"'
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    if isinstance(value, bytes):
        return json.dumps(value.decode("latin-1"))
    return json.dumps(str(value), ensure_ascii=False)
