"""The document of each row of a typed table: its JSON text.

The text depends on the row's values, and on the names and types of the columns, alone, never on the
rows beside it (I1).
"""

from collections.abc import Sequence
from json.encoder import encode_basestring

import pyarrow as pa
import pyarrow.compute as pc

from tailer.decode.engine import Engine
from tailer.decode.jsontext import is_written_by_engine, json_texts
from tailer.decode.plain import plain


def documents(table: pa.Table, engine: Engine) -> pa.ChunkedArray:
    """The JSON text of each row (string, no nulls): an object with the columns in order.

    Dates, times and binary are strings as DuckDB writes them; a float that JSON has no number for
    is the string "NaN", "Infinity" or "-Infinity".
    """
    if not table.num_columns:
        return pa.chunked_array([pa.array(["{}"] * table.num_rows, pa.string())])
    chunks = []
    for batch in table.to_batches():
        rows = _struct(batch.schema.names, batch.columns)
        # Texts of single columns that are then joined take three times as long.
        whole = is_written_by_engine(rows.type, engine)
        chunks.append(json_texts(rows, engine) if whole else _joined(rows, engine))
    return pa.chunked_array(chunks, pa.string())


def _joined(rows: pa.StructArray, engine: Engine) -> pa.Array:
    """The same, column by column, where one has a type that the engine does not write."""
    pieces: list[pa.Array | pa.Scalar] = []
    for index, name in enumerate(rows.type.names):
        pieces.append(pa.scalar(("," if index else "{") + encode_basestring(name) + ":"))
        pieces.append(json_texts(rows.field(index), engine).fill_null("null"))
    return pc.binary_join_element_wise(*pieces, pa.scalar("}"), "")


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
