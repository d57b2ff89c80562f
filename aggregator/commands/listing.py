"""Answers of commands as tables, with the SQL type of each column as queries give it."""

from collections.abc import Iterable, Sequence
from typing import Final

import pyarrow as pa

from alder.arrow import SQL_TYPE_KEY

_ARROW: Final = {
    "VARCHAR": pa.string(),
    "VARCHAR[]": pa.list_(pa.string()),
    "BOOLEAN": pa.bool_(),
    "INTEGER": pa.int32(),
    "BIGINT": pa.int64(),
    "TIMESTAMP": pa.timestamp("us"),
}


def table(columns: Sequence[tuple[str, str]], rows: Iterable[Sequence[object]]) -> pa.Table:
    """Rows under columns given by name and SQL type."""
    fields = [
        pa.field(name, _ARROW[sql_type], metadata={SQL_TYPE_KEY: sql_type.encode()})
        for name, sql_type in columns
    ]
    records = list(rows)
    arrays = [
        pa.array([record[place] for record in records], entry.type)
        for place, entry in enumerate(fields)
    ]
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))
