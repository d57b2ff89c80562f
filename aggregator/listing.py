"""Answers of commands as tables, with the SQL type of each column as queries give it."""

from collections.abc import Iterable, Sequence
from typing import Final

import pyarrow as pa

from aggregator.names import SYSTEM_TYPES
from alder.arrow import SQL_TYPE_KEY
from alder.catalog import Collection
from alder.v1 import leaf_pb2, query_pb2

_ARROW: Final = {
    "VARCHAR": pa.string(),
    "VARCHAR[]": pa.list_(pa.string()),
    "INTEGER": pa.int32(),
    "BIGINT": pa.int64(),
}
_VERDICTS: Final = {
    leaf_pb2.INDEX_VERDICT_EQUAL: "equal",
    leaf_pb2.INDEX_VERDICT_DIFFERENT: "different",
    leaf_pb2.INDEX_VERDICT_DAMAGED: "damaged",
    leaf_pb2.INDEX_VERDICT_UNFINISHED: "unfinished",
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


def plan(lines: Iterable[str]) -> pa.Table:
    """The lines of an EXPLAIN."""
    return table([("plan", "VARCHAR")], ([line] for line in lines))


def described(answer: query_pb2.DescribeCollectionResponse) -> pa.Table:
    """The columns of a collection, those of the documents first, then those of every row."""
    rows = [(column.path, column.sql_type, list(column.types)) for column in answer.columns]
    rows += [(name, sql_type, []) for name, sql_type in SYSTEM_TYPES.items()]
    names = [("column_name", "VARCHAR"), ("column_type", "VARCHAR")]
    return table([*names, ("physical_types", "VARCHAR[]")], rows)


def collections(found: Iterable[Collection]) -> pa.Table:
    """Collections by name; a path that is not set is NULL."""
    columns = [(name, "VARCHAR") for name in ("name", "key_path", "time_path", "shard_by_path")]
    rows = [
        (
            one.name,
            one.key_path or None,
            one.time_path or None,
            one.shard_by_path or None,
            len(one.shards),
            [source.url for source in one.sources],
        )
        for one in sorted(found, key=lambda one: one.name)
    ]
    return table([*columns, ("shards", "INTEGER"), ("sources", "VARCHAR[]")], rows)


def checks(found: Iterable[leaf_pb2.IndexCheck]) -> pa.Table:
    """What CHECK INDEX found, by shard and access path."""
    columns = [
        ("shard", "INTEGER"), ("path", "VARCHAR"), ("predicates", "BIGINT"),
        ("rows_compared", "BIGINT"), ("verdict", "VARCHAR"), ("detail", "VARCHAR"),
    ]  # fmt: skip
    rows = [
        (
            one.shard,
            one.path,
            one.predicates,
            one.rows_compared,
            _VERDICTS.get(one.verdict, "unknown"),
            one.detail or None,
        )
        for one in found
    ]
    return table(columns, rows)
