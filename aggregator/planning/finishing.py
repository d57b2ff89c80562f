"""The SQL that finishes an aggregate over what its leaves sent, once the engine has told the types.

States of equal keys combine and finalise, counts that are final add up, and distinct values are
aggregated here. Where only the number of distinct values of one column is asked for, that number is
found without the engine (:mod:`aggregator.execution.distinctcount`). A split that would not give
the types of the whole statement is none.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import duckdb
import pyarrow as pa

from aggregator.execution.engine import selected
from aggregator.execution.tables import with_tables
from aggregator.planning import pushdown
from aggregator.planning.aggregate import Split
from aggregator.planning.splitter import GROUPS, Aggregate
from aggregator.planning.spread import INTEGERS, TopSearch
from alder.fieldtypes import quote

_ARRIVES_CHANGED = re.compile(r"\b(BIT|UNION|GEOMETRY|BIGNUM|TIME WITH TIME ZONE)\b")
_GATHERED: Final = "gathered"
_COUNTED: Final = INTEGERS | {"BOOLEAN", "DATE", "TIMESTAMP", "VARCHAR"}
"""Types of which values are equal exactly where their bytes are."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The finishing SQL, the types of the gathered table and those of the result.

    ``search``: how the first groups are found without all of them. ``counted``: the gathered table
    is to be the number of distinct values of this column in its place, in one row.
    """

    sql: str
    columns: tuple[tuple[str, str], ...]
    types: tuple[str, ...] = ()
    search: TopSearch | None = None
    counted: str = ""


class Types:
    """Asks the engine for the types of a split, over tables without rows."""

    def __init__(self) -> None:
        self._connection = duckdb.connect(":memory:", config={"threads": 1})

    def close(self) -> None:
        """Releases the engine."""
        self._connection.close()

    def finished(self, split: Split, columns: list[tuple[str, str]]) -> Finished | None:
        """The finishing SQL; None where the parts would not give what the whole gives."""
        cursor = self._connection.cursor()
        try:
            return _finished(cursor, split, columns)
        except duckdb.Error:
            return None
        finally:
            cursor.close()


def _finished(
    cursor: duckdb.DuckDBPyConnection, split: Split, columns: list[tuple[str, str]]
) -> Finished | None:
    nothing = [f"NULL::{sql_type} AS {quote(name)}" for name, sql_type in columns] or ["NULL AS n"]
    cursor.execute(
        f"CREATE TEMP VIEW {pushdown.ROWS} AS SELECT {', '.join(nothing)} WHERE false"
    ).fetchall()
    probed = cursor.sql(split.probe_sql)
    types = dict(zip(probed.columns, (str(entry) for entry in probed.types), strict=True))
    if any(_ARRIVES_CHANGED.search(sql_type) for sql_type in types.values()):
        return None
    keys = [*split.keys, *split.distinct_keys]
    states = [split.marker] if split.marker else []
    states += [aggregate.column for aggregate in split.aggregates if not aggregate.key]
    restored = tuple([(key, types[key]) for key in keys] + [(state, "") for state in states])
    empty: pa.Table = cursor.sql(split.leaf_sql).to_arrow_table()
    counted = _counted(split, types)
    if counted:
        restored = ((counted, "BIGINT"),)
        empty = pa.table({counted: pa.array([], pa.int64())})
    cursor.register(_GATHERED, empty.slice(0, 0))
    finals = [quote(key) for key in split.keys]
    for aggregate in split.aggregates:
        final = f"max({quote(counted)})" if counted else _final(aggregate, types, split.marker)
        finals.append(f"{final} AS {quote(aggregate.column)}")
    finals += [f"grouping({_listed(keys)}) AS {quote(name)}" for name, keys in split.groupings]
    groups = f" GROUP BY {_listed(split.keys)}" if split.keys else ""
    if split.sets:
        groups = f" GROUP BY GROUPING SETS ({', '.join(f'({_listed(one)})' for one in split.sets)})"
    inner = f"SELECT {', '.join(finals)} FROM {quote(split.table)}{groups}"
    sql = f"WITH {GROUPS} AS ({inner}) {split.outer_sql}"
    gathered = {split.table: selected(restored, _GATHERED)}
    whole, parts = cursor.sql(split.direct_sql), cursor.sql(with_tables(sql, gathered))
    if [str(entry) for entry in whole.types] != [str(entry) for entry in parts.types]:
        return None
    search = None
    if split.aggregation is not None and not split.spread.groups_whole:
        search = _search(split, types)
    return Finished(sql, restored, tuple(str(entry) for entry in whole.types), search, counted)


def _counted(split: Split, types: Mapping[str, str]) -> str:
    """The column of which nothing but the number of distinct values is asked for; "" for none."""
    if split.keys or split.sets or len(split.distinct_keys) != 1:
        return ""
    if not all(one.key and one.function == "count" for one in split.aggregates):
        return ""
    [column] = split.distinct_keys
    return column if types[column] in _COUNTED else ""


def _search(split: Split, types: Mapping[str, str]) -> TopSearch | None:
    """How the first groups of all leaves are found; the leaves send all where there is no way."""
    if split.aggregation is None or not split.aggregation.HasField("top"):
        return None
    wanted = split.aggregation.top
    [column] = wanted.columns
    [call] = [one for one in split.aggregates if one.column == column]
    adds = call.function not in {"min", "max"}
    sums = [types[probe] for probe in call.types_of] if call.function == "sum" else []
    if not all(kind in INTEGERS for kind in sums):
        split.aggregation.ClearField("top")
        return None
    return TopSearch(split.keys, column, adds, wanted.rows, wanted.descending)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(quote, names))


def _final(aggregate: Aggregate, types: Mapping[str, str], marker: str) -> str:
    if aggregate.final:
        return f"sum({quote(aggregate.column)})::BIGINT"
    if aggregate.key:
        return f"{aggregate.function}(DISTINCT {quote(aggregate.key)})"
    arguments = ", ".join(f"'{types[probe]}'" for probe in aggregate.types_of)
    state = f"to_aggregate_state({aggregate.column}, '{aggregate.function}', [{arguments}])"
    only = f" FILTER (WHERE {quote(marker)} = 0)" if marker else ""
    return f"finalize(combine_aggr({state}){only})"
