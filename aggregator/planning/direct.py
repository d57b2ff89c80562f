"""What the end of an aggregating statement leaves to do once a single leaf has finished the groups.

Where one leaf has all rows and gives one row per group, its states are the results of count, min,
max and sum already. An order by aggregates with a limit then needs only the best groups, and the
leaf, which evaluates what orders them, tells it too. A select list of keys, aggregates and that
expression, sorted and cut, needs no engine.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from aggregator.planning import pushdown
from aggregator.statement import tree
from aggregator.statement.aliases import explicit, unaliased
from aggregator.statement.syntax import Parser
from alder.arrow import SQL_TYPE_KEY
from alder.v1 import leaf_pb2

STATE_IS_RESULT: Final = frozenset({"count", "count_star", "max", "min", "sum"})
_NULLS_LAST: Final = frozenset({"ORDER_DEFAULT", "NULLS LAST"})
_ROWS_MAX: Final = 1 << 31


@dataclass(frozen=True, slots=True)
class Constant:
    """A literal: its type in SQL, and its value."""

    sql_type: str
    value: pa.Scalar


@dataclass(frozen=True, slots=True)
class Direct:
    """Columns of the groups by their names in the result, order, and rows to skip and to give.

    ``constants`` are columns that the groups don't have, the same in every row.
    """

    columns: tuple[tuple[str, str], ...]
    orders: tuple[tuple[str, bool], ...]
    offset: int
    limit: int | None
    constants: Mapping[str, Constant]


@dataclass(frozen=True, slots=True)
class Ending:
    """Select list and modifiers over a table of finished groups; ``limit`` None for all rows."""

    groups: str
    items: Sequence[tree.Node]
    orders: Sequence[tree.Node]
    offset: int
    limit: int | None


def ending(outer: tree.Node, groups: str) -> Ending | None:
    """The end of a statement over ``groups``; None where more than order and limit is in it."""
    if outer["where_clause"] or outer["having"] or outer["qualify"]:
        return None
    if any(part.get("class") == "WINDOW" for part in tree.walk(outer)):
        return None
    limit: int | None = None
    offset = 0
    orders: list[tree.Node] = []
    for entry in outer["modifiers"]:
        if entry["type"] == "ORDER_MODIFIER":
            orders = entry["orders"]
        elif entry["type"] == "LIMIT_MODIFIER" and entry["limit_type"] == "ROW_COUNT":
            limit = _rows(entry["limit"])
            skipped = 0 if entry["offset"] is None else _rows(entry["offset"])
            if limit is None or skipped is None:
                return None
            offset = skipped
        else:
            return None
    return Ending(groups, outer["select_list"], orders, offset, limit)


def top(
    end: Ending, aggregates: Mapping[str, str], parser: Parser, result: str
) -> leaf_pb2.TopGroups | None:
    """The groups that can be in the answer; None where any can. ``aggregates``: column to name.

    ``result`` is the column for what orders them, where that is no aggregate itself.
    """
    if end.limit is None or not end.orders:
        return None
    first = end.orders[0]
    term = explicit(first["expression"], list(end.items))
    if term is None or first["null_order"] not in _NULLS_LAST:
        return None
    names = set()
    for part in tree.walk(term):
        if part.get("type") in {"LAMBDA", "SUBQUERY"}:
            return None
        if part.get("type") == "COLUMN_REF":
            names.add(_group_column(part, end.groups))
    if not names or not all(aggregates.get(name or "") in STATE_IS_RESULT for name in names):
        return None
    plain = _group_column(term, end.groups)
    return leaf_pb2.TopGroups(
        sql="" if plain else parser.expression_text(pushdown.over_rows(term)),
        columns=sorted(name for name in names if name),
        descending=first["type"] == "DESCENDING",
        rows=end.offset + end.limit,
        result="" if plain else result,
    )


def direct(
    end: Ending, names: Sequence[str], results: Mapping[str, str], ordering: str = ""
) -> Direct | None:
    """How the result is made of the groups alone; None where something is to be computed.

    ``results`` are the columns that hold results, with the functions that made them, "" for keys.
    ``ordering`` is a column that holds what the groups are ordered by first, "" for none.
    """
    first = explicit(end.orders[0]["expression"], list(end.items)) if ordering else None
    computed = None if first is None else tree.identity(first)
    results = {**results, ordering: ""} if ordering else results

    def column_of(node: tree.Node | None) -> str | None:
        if node is not None and computed is not None and tree.identity(node) == computed:
            return ordering
        return None if node is None else _group_column(node, end.groups)

    columns: list[tuple[str, str]] = []
    constants: dict[str, Constant] = {}
    for item, name in zip(end.items, names, strict=True):
        node = unaliased(item, list(end.items))
        constant = None if node is None else _constant(node)
        if constant is not None:
            place = f"constant {len(columns)}"
            constants[place] = constant
            columns.append((place, name))
            continue
        column = column_of(node)
        if column is None or results.get(column, "avg") not in STATE_IS_RESULT | {""}:
            return None
        columns.append((column, name))
    orders = []
    for entry in end.orders:
        column = column_of(explicit(entry["expression"], list(end.items)))
        if column is None or column not in results:
            return None
        if results[column] not in STATE_IS_RESULT | {""}:
            return None
        if entry["null_order"] not in _NULLS_LAST:
            return None
        orders.append((column, entry["type"] == "DESCENDING"))
    return Direct(tuple(columns), tuple(orders), end.offset, end.limit, constants)


def selected(columns: Sequence[str], modifiers: Sequence[tree.Node]) -> leaf_pb2.Selection | None:
    """What a SELECT of columns of `rows` says in its modifiers; None where it isn't simple."""
    selection = leaf_pb2.Selection(columns=columns)
    for entry in modifiers:
        if entry["type"] == "DISTINCT_MODIFIER":
            return None
        if entry["type"] == "LIMIT_MODIFIER":
            limit = _rows(entry["limit"])
            if limit is None or entry["offset"] is not None:
                return None
            selection.limit = limit
            continue
        for order in entry["orders"]:
            term = order["expression"]
            if term.get("type") != "COLUMN_REF" or order["null_order"] not in _NULLS_LAST:
                return None
            descending = order["type"] == "DESCENDING"
            selection.orders.add(column=term["column_names"][-1], descending=descending)
    return selection


def finished(plan: Direct, types: Sequence[str], groups: pa.Table) -> pa.Table | None:
    """The result over its rows or groups; ``types`` are the SQL types of its columns.

    None where a column was not computed, or where the engine would sort otherwise: it puts NaN
    above every number.
    """
    there = {*groups.column_names, *plan.constants}
    if not all(name in there for name, _ in (*plan.columns, *plan.orders)):
        return None
    if plan.orders:
        for name, _ in plan.orders:
            column = groups.column(name)
            if pa.types.is_nested(column.type):
                return None
            if pa.types.is_floating(column.type) and pc.any(pc.is_nan(column)).as_py():
                return None
        keys = [(name, "descending" if down else "ascending") for name, down in plan.orders]
        groups = groups.take(pc.sort_indices(groups, sort_keys=keys))
    groups = groups.slice(plan.offset, plan.limit)
    for name, constant in plan.constants.items():
        groups = groups.append_column(name, pa.repeat(constant.value, groups.num_rows))
    fields = [
        pa.field(name, groups.schema.field(column).type, metadata={SQL_TYPE_KEY: sql_type.encode()})
        for (column, name), sql_type in zip(plan.columns, types, strict=True)
    ]
    arrays = [groups.column(column) for column, _ in plan.columns]
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


def _group_column(node: tree.Node, groups: str) -> str | None:
    if node.get("type") != "COLUMN_REF" or len(node["column_names"]) != 2:
        return None
    return str(node["column_names"][1]) if node["column_names"][0] == groups else None


def _constant(node: tree.Node) -> Constant | None:
    """A literal of a type that is sure; None for any other expression."""
    match tree.literal(node):
        case "BOOLEAN", text:
            return Constant("BOOLEAN", pa.scalar(text == "true"))
        case "STRING", text:
            return Constant("VARCHAR", pa.scalar(text))
        case "INTEGER", text if abs(int(text)) < 1 << 31:
            return Constant("INTEGER", pa.scalar(int(text), pa.int32()))
    return None


def _rows(node: tree.Node | None) -> int | None:
    found = tree.literal(node) if node is not None else None
    if found is None or found[0] != "INTEGER":
        return None
    return int(found[1]) if 0 <= int(found[1]) < _ROWS_MAX else None
