"""The document of each row of a typed table: its JSON text.

The text depends on the row's values, and on the names and types of the columns, alone, never on the
rows beside it (I1).
"""

from collections.abc import Sequence

import pyarrow as pa

from tailer.decode.engine import Engine
from tailer.decode.jsontext import json_texts
from tailer.decode.plain import plain


def documents(table: pa.Table, engine: Engine) -> pa.ChunkedArray:
    """The JSON text of each row (string, no nulls): an object with the columns in order.

    Dates, times and binary are strings as DuckDB writes them; a float that JSON has no number for
    is the string "NaN", "Infinity" or "-Infinity".
    """
    if not table.num_columns:
        return pa.chunked_array([pa.array(["{}"] * table.num_rows, pa.string())])
    # Whole rows at once: texts of single columns that are then joined take three times as long.
    chunks = [
        json_texts(_struct(batch.schema.names, batch.columns), engine)
        for batch in table.to_batches()
    ]
    return pa.chunked_array(chunks, pa.string())


def _struct(
    names: Sequence[str], columns: Sequence[pa.Array], absent: pa.Array | None = None
) -> pa.Array:
    return pa.StructArray.from_arrays(
        [_plain_throughout(column) for column in columns], names=names, mask=absent
    )


def _plain_throughout(column: pa.Array) -> pa.Array:
    """Without extension types in structs either, which DuckDB would spell in its own way."""
    values = plain(column)
    if not pa.types.is_struct(values.type) or not values.type.num_fields:
        return values
    return _struct(values.type.names, values.flatten(), values.is_null())
