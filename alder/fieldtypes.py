"""Physical field types: how one path's values are kept, and what they are in SQL.

A path keeps one physical column per type seen, named ``tag:path`` (``int:size``,
``string:actor.login``, ``list<string>:tags``). The tag of a value depends on the value alone, never
on its neighbours, so that batch boundaries cannot change what a query answers (invariant I1).

Tags from JSON: ``bool``, ``int`` (fits 64 bits signed), ``decimal(38,0)`` (a longer integer of up
to 38 digits), ``float``, ``string``, ``json`` (text of an empty object, of a list of objects or
mixed values, or of a number beyond every numeric type), ``list<T>`` with T one of ``bool int float
string``, and ``list<null>`` (an empty list or one of nulls only; kept as JSON text). Typed sources
add ``timestamp``, ``timestamp_ns``, ``date``, ``time``, ``decimal(p,s)``, ``binary`` and lists of
these.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final

import pyarrow as pa

_SCALARS: Final[dict[str, tuple[pa.DataType, str]]] = {
    "bool": (pa.bool_(), "BOOLEAN"),
    "int": (pa.int64(), "BIGINT"),
    "float": (pa.float64(), "DOUBLE"),
    "string": (pa.string(), "VARCHAR"),
    "json": (pa.string(), "JSON"),
    "timestamp": (pa.timestamp("us"), "TIMESTAMP"),
    "timestamp_ns": (pa.timestamp("ns"), "TIMESTAMP_NS"),
    "date": (pa.date32(), "DATE"),
    "time": (pa.time64("us"), "TIME"),
    "binary": (pa.binary(), "BLOB"),
}
_DECIMAL = re.compile(r"decimal\((\d{1,2}),(\d{1,2})\)\Z")
_LIST = re.compile(r"list<(.+)>\Z")
EMPTY_LIST: Final = "list<null>"
ROW_COLUMN: Final = "__row"
"""Stands for rows of which no column is wanted, and is true."""


def column_name(tag: str, path: str) -> str:
    """The physical column of values of type ``tag`` at ``path``."""
    return f"{tag}:{path}"


def split_column_name(name: str) -> tuple[str, str]:
    """The inverse of :func:`column_name`: ``(tag, path)``. Tags hold no colon, paths may."""
    tag, _, path = name.partition(":")
    return tag, path


def arrow_type(tag: str) -> pa.DataType:
    """The Arrow type of a physical column. Raises ValueError for an unknown tag."""
    if tag in _SCALARS:
        return _SCALARS[tag][0]
    if tag == EMPTY_LIST:
        return pa.string()
    if match := _DECIMAL.match(tag):
        return pa.decimal128(int(match[1]), int(match[2]))
    if match := _LIST.match(tag):
        return pa.list_(arrow_type(match[1]))
    raise ValueError(f"unknown field type {tag!r}")


def single_sql_type(tag: str) -> str:
    """The DuckDB type of a path that holds values of one tag only."""
    if tag in _SCALARS:
        return _SCALARS[tag][1]
    if tag == EMPTY_LIST:
        return "VARCHAR[]"
    if match := _DECIMAL.match(tag):
        return f"DECIMAL({match[1]},{match[2]})"
    if match := _LIST.match(tag):
        return single_sql_type(match[1]) + "[]"
    raise ValueError(f"unknown field type {tag!r}")


def sql_type(tags: Iterable[str]) -> str:
    """The DuckDB type of a path that holds values of all these tags.

    One type stays itself; integers and floats mix to DOUBLE; an empty list takes the type of the
    others; lists of scalars beside lists of objects are JSON; every other mix is VARIANT.
    """
    kinds = set(tags)
    if not kinds:
        raise ValueError("a path without a type has no column")
    if len(kinds) > 1:
        if all(_LIST.match(kind) for kind in kinds):
            kinds.discard(EMPTY_LIST)
        if kinds == {"list<int>", "list<float>"}:
            return "DOUBLE[]"
        if kinds == {"int", "float"}:
            return "DOUBLE"
        if kinds == {"int", "decimal(38,0)"}:
            return "DECIMAL(38,0)"
        if "json" in kinds and all(kind == "json" or _LIST.match(kind) for kind in kinds):
            return "JSON"
    return single_sql_type(kinds.pop()) if len(kinds) == 1 else "VARIANT"


def quote(identifier: str) -> str:
    """A DuckDB identifier in double quotes."""
    return '"' + identifier.replace('"', '""') + '"'


def value_expression(columns: Mapping[str, str], target: str) -> str:
    """The SQL that joins a path's physical columns into one value of type ``target``.

    ``columns`` has the SQL of the column for each tag that the input has; ``target`` comes from
    :func:`sql_type` over the tags of the whole collection, so that every shard gives the same type.
    """
    terms = [_one_value(tag, columns[tag], target) for tag in sorted(columns)]
    if not terms:
        return f"NULL::{target}"
    return terms[0] if len(terms) == 1 else f"coalesce({', '.join(terms)})"


def _one_value(tag: str, column: str, target: str) -> str:
    if tag == EMPTY_LIST:
        as_list = f"{column}::JSON::{target if target != 'VARIANT' else 'VARCHAR[]'}"
        return f"{as_list}::VARIANT" if target == "VARIANT" else as_list
    typed = f"{column}::JSON" if tag == "json" else column
    return typed if single_sql_type(tag) == target else f"{typed}::{target}"
