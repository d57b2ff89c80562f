"""Tables that come along with a fragment, checked and made ready for the engine.

A fragment's SQL may join `rows` with them or filter by them. They are part of the fragment, so its
fingerprint covers their content, and a partial that is kept is one over these very tables.
"""

from collections.abc import Iterable
from typing import Final

from alder.arrow import from_bytes
from alder.errors import AlderError, Reason
from alder.fieldtypes import quote
from alder.v1 import leaf_pb2
from leaf.bindings import TABLE, engine_names
from leaf.engine import ROWS, EngineInput

_KEY: Final = "k"


def engine_inputs(fragment: leaf_pb2.Fragment, bytes_max: int) -> tuple[EngineInput, ...]:
    """The tables of a fragment as the engine takes them, then its filters as tables of keys.

    Raises AlderError: LIMIT for more bytes than allowed, INVALID_ARGUMENT where a name is taken or
    columns are not those of the rows, CORRUPT for rows that are no Arrow stream.
    """
    made: list[EngineInput] = []
    taken = {ROWS, TABLE}
    left_bytes = bytes_max
    for entry in (*fragment.inputs, *map(_keys, enumerate(fragment.key_filters))):
        left_bytes -= len(entry.rows)
        if left_bytes < 0:
            raise AlderError(
                Reason.LIMIT,
                f"the tables that go along with a query are larger than {bytes_max >> 20} MiB; "
                "filter more or read fewer columns",
            )
        rows = from_bytes(entry.rows)
        names = [column.name for column in entry.columns]
        if entry.name in taken or rows.column_names != names or not names:
            raise AlderError(
                Reason.INVALID_ARGUMENT, f"the input {entry.name!r} of a fragment does not fit"
            )
        taken.add(entry.name)
        known_as = engine_names(len(names))
        items = [
            f"CAST({own} AS {column.sql_type}) AS {quote(column.name)}"
            if column.sql_type
            else f"{own} AS {quote(column.name)}"
            for own, column in zip(known_as, entry.columns, strict=True)
        ]
        made.append(EngineInput(entry.name, rows.rename_columns(known_as), ", ".join(items)))
    return tuple(made)


def filtered_sql(projection_sql: str, filters: Iterable[leaf_pb2.KeyFilter]) -> str:
    """The SQL of `rows` without the rows that do not pass."""
    conditions = [
        f"{quote(entry.column)} IN (SELECT {_KEY} FROM {quote(_keys_name(number))})"
        for number, entry in enumerate(filters)
    ]
    if not conditions:
        return projection_sql
    return f"SELECT * FROM ({projection_sql}) WHERE {' AND '.join(conditions)}"


def _keys(numbered: tuple[int, leaf_pb2.KeyFilter]) -> leaf_pb2.InputTable:
    number, entry = numbered
    column = leaf_pb2.InputColumn(name=_KEY, sql_type=entry.sql_type)
    return leaf_pb2.InputTable(name=_keys_name(number), columns=[column], rows=entry.keys)


def _keys_name(number: int) -> str:
    return f"keys:{number}"
