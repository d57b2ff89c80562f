"""Class (a): an aggregate over one collection, split between the leaves and here.

The leaves group and export the states of the aggregates; here states of equal keys combine and
finalise, and the select list, HAVING, QUALIFY, ORDER BY and LIMIT run over the finished groups. An
argument of a DISTINCT aggregate becomes one more key on the leaves and is aggregated here. Where a
leaf has all rows of a group, or of each value (:mod:`aggregator.planning.spread`), it counts the
distinct values itself and these counts add up; and where the first groups by an aggregate are
wanted, leaves need not send all groups. Whatever doesn't fit
exactly (an aggregate whose state can't travel, a type that would come out differently) makes no
split, and the statement is gathered whole instead.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from aggregator.functions.lists import DISTINCT, EXPORTED, NUMERIC
from aggregator.planning import pushdown
from aggregator.planning.aggregation import described
from aggregator.planning.direct import Direct, direct, ending, top
from aggregator.planning.spread import ANYHOW, Spread, searched
from aggregator.statement import tree
from aggregator.statement.aliases import explicit, unaliased
from aggregator.statement.bind import Bound
from aggregator.statement.scope import Reference
from aggregator.statement.syntax import Parser
from alder.v1 import leaf_pb2

GROUPS: Final = "__groups"
"""The table of finished groups, over which the rest of the statement runs."""


@dataclass(frozen=True, slots=True)
class Aggregate:
    """One aggregate: the argument types are told by ``types_of``; a distinct one has a ``key``.

    A ``final`` one comes as a count; those of several leaves add up.
    """

    function: str
    column: str
    types_of: tuple[str, ...]
    key: str = ""
    final: bool = False


@dataclass(frozen=True, slots=True)
class Split:
    """A statement in two parts, its columns' types still to be told by the engine."""

    table: str
    leaf_sql: str
    probe_sql: str
    direct_sql: str
    outer_sql: str
    keys: tuple[str, ...]
    distinct_keys: tuple[str, ...]
    aggregates: tuple[Aggregate, ...]
    conditions: list[tree.Node]
    spread: Spread = ANYHOW
    aggregation: leaf_pb2.Aggregation | None = None
    direct: Direct | None = None

    @property
    def partial(self) -> bool:
        """True if results over parts of the rows may be put together."""
        return not any(aggregate.final for aggregate in self.aggregates)


class _NoSplit(Exception):
    """The statement has a part that this class doesn't cover."""


@dataclass(slots=True)
class _Splitter:
    """Replaces keys and aggregates of a statement by columns of the finished groups."""

    aliases: set[str]
    functions: frozenset[str]
    prefix: str
    spread: Spread
    keys: dict[str, tuple[str, tree.Node]] = field(default_factory=dict)
    states: dict[str, tuple[Aggregate, tree.Node]] = field(default_factory=dict)
    arguments: dict[str, tree.Node] = field(default_factory=dict)
    distinct: dict[str, tuple[str, tree.Node]] = field(default_factory=dict)

    def add_key(self, node: tree.Node) -> None:
        for part in tree.walk(node):
            if part.get("class") in {"WINDOW", "STAR"} or self._function(part) in (
                self.functions | {"unnest"}
            ):
                raise _NoSplit
        if pushdown.only_alias(node, self.aliases) is None:
            raise _NoSplit
        name = f"{self.prefix}k{len(self.keys)}"
        self.keys.setdefault(tree.identity(node), (name, pushdown.over_rows(node)))

    def outer(self, node: tree.Node) -> tree.Node:
        """The expression over the finished groups."""
        if "class" in node:
            found = self.keys.get(tree.identity(node))
            if found is not None:
                return tree.named(tree.column(GROUPS, found[0]), node.get("alias", ""))
            if node["class"] == "STAR" or node["type"] == "GROUPING_FUNCTION":
                raise _NoSplit
            if node["class"] == "COLUMN_REF" and node["column_names"][0] in self.aliases:
                raise _NoSplit
            if node["class"] == "FUNCTION" and self._function(node) in self.functions:
                return tree.named(tree.column(GROUPS, self._aggregate(node)), node["alias"])
            if self._function(node) == "unnest":
                raise _NoSplit
        return tree.mapped(node, self.outer)

    def _function(self, node: tree.Node) -> str:
        return str(node["function_name"]).lower() if node.get("type") == "FUNCTION" else ""

    def _aggregate(self, node: tree.Node) -> str:
        known = tree.identity(node)
        if known in self.states:
            return self.states[known][0].column
        name = self._function(node)
        if name not in EXPORTED or node["order_bys"]["orders"]:
            raise _NoSplit
        arguments = tree.arguments(node)
        parts = [*arguments, *([node["filter"]] if node["filter"] else [])]
        for part in parts:
            if tree.literal(part) is None and pushdown.only_alias(part, self.aliases) is None:
                raise _NoSplit
            if any(self._function(inner) in self.functions for inner in tree.walk(part)):
                raise _NoSplit
        column = f"{self.prefix}a{len(self.states)}"
        if node["distinct"] and name not in {"min", "max"}:
            aggregate, state = self._distinct_aggregate(node, name, column, arguments)
        else:
            aggregate, state = self._exported(node, name, column, arguments)
        self.states[known] = (aggregate, state)
        return column

    def _exported(
        self, node: tree.Node, name: str, column: str, arguments: list[tree.Node]
    ) -> tuple[Aggregate, tree.Node]:
        if name in NUMERIC:
            arguments = [tree.cast(argument, "DOUBLE") for argument in arguments]
        probes = []
        for argument in arguments:
            probe = f"{self.prefix}p{len(self.arguments)}"
            self.arguments[probe] = pushdown.over_rows(argument)
            probes.append(probe)
        call = {
            **node,
            "alias": "",
            "distinct": False,
            "arguments": [{"name": "", "expression": argument} for argument in arguments],
            "export_state": True,
        }
        return Aggregate(name, column, tuple(probes)), pushdown.over_rows(call)

    def _distinct_aggregate(
        self, node: tree.Node, name: str, column: str, arguments: list[tree.Node]
    ) -> tuple[Aggregate, tree.Node]:
        if name not in DISTINCT or len(arguments) != 1 or node["filter"] is not None:
            raise _NoSplit
        argument = arguments[0]
        if self.spread.counts_once(argument):
            if name != "count":
                raise _NoSplit
            call = pushdown.over_rows(tree.named(node, ""))
            return Aggregate(name, column, (), final=True), call
        known = tree.identity(argument)
        if known not in self.distinct:
            if self.distinct:
                raise _NoSplit
            self.distinct[known] = (f"{self.prefix}d", pushdown.over_rows(argument))
        return Aggregate(name, column, (), self.distinct[known][0]), {}


def split(
    bound: Bound,
    reference: Reference,
    functions: Iterable[str],
    parser: Parser,
    spread: Spread = ANYHOW,
) -> Split | None:
    """The two parts of an aggregate; None where the statement is none or doesn't fit."""
    for known in dict.fromkeys((spread, ANYHOW)):
        try:
            return _split(bound, reference, frozenset(functions), parser, known)
        except _NoSplit:
            continue
    return None


def _split(
    bound: Bound, reference: Reference, functions: frozenset[str], parser: Parser, spread: Spread
) -> Split | None:
    node = bound.node
    splitter = _Splitter({reference.alias}, functions, bound.bindings.prefix, spread)
    items = [
        tree.named(item, name)
        for item, name in zip(node["select_list"], bound.columns or [], strict=True)
    ]
    for key in _keys(node, items, splitter):
        splitter.add_key(tree.named(key, ""))
    conditions = _conditions(node, splitter)
    spread = splitter.spread = spread.over(splitter.keys.values(), conditions)
    outer_items = [splitter.outer(item) for item in items]
    outer_having = node["having"] and splitter.outer(node["having"])
    outer = tree.select(
        outer_items,
        tree.table(GROUPS),
        outer_having,
        modifiers=[
            entry if _orders_by_all(entry) else splitter.outer(entry) for entry in node["modifiers"]
        ],
    )
    outer["qualify"] = node["qualify"] and splitter.outer(node["qualify"])
    if not splitter.states and not splitter.keys:
        return None
    keys = list(splitter.keys.values()) + list(splitter.distinct.values())
    key_items = [tree.named(expression, name) for name, expression in keys]
    states = [
        tree.named(state, aggregate.column)
        for aggregate, state in splitter.states.values()
        if not aggregate.key
    ]
    rows, where = tree.table(pushdown.ROWS), tree.conjunction(conditions)
    groups = [tree.constant("INTEGER", str(n)) for n in range(1, len(keys) + 1)]
    leaf = tree.select([*key_items, *states], rows, where, groups)
    probes = [tree.named(entry, name) for name, entry in splitter.arguments.items()]
    probe = tree.select([*key_items, *probes] or [tree.constant("INTEGER", "1")], rows)
    whole = {**node, "select_list": items, "from_table": tree.table("rows", reference.alias)}
    calls = [(one, state) for one, state in splitter.states.values()]
    aggregation = described(
        keys,
        [(one.column, state) for one, state in calls if not one.key],
        conditions,
        parser,
        bound.bindings.field_of,
    )
    functions_by_column = {one.column: one.function for one, _ in calls if not one.key}
    end = ending(outer, GROUPS)
    ordering = ""
    if end is not None and aggregation is not None and not splitter.distinct:
        best = top(end, functions_by_column, parser, f"{splitter.prefix}o")
        if best is not None and (spread.groups_whole or searched(best, functions_by_column)):
            best.with_null_keys = bool(spread.whole_key) and not spread.never_null
            aggregation.top.CopyFrom(best)
            ordering = best.result
    results = dict.fromkeys((name for name, _ in splitter.keys.values()), "")
    return Split(
        table=reference.table,
        leaf_sql=parser.to_sql(leaf),
        probe_sql=parser.to_sql(probe),
        direct_sql=parser.to_sql(whole),
        outer_sql=parser.to_sql(outer),
        keys=tuple(name for name, _ in splitter.keys.values()),
        distinct_keys=tuple(name for name, _ in splitter.distinct.values()),
        aggregates=tuple(aggregate for aggregate, _ in calls),
        conditions=conditions,
        spread=spread,
        aggregation=aggregation,
        direct=None
        if end is None
        else direct(end, bound.columns or [], {**results, **functions_by_column}, ordering),
    )


def _orders_by_all(entry: tree.Node) -> bool:
    orders = entry["orders"] if entry["type"] == "ORDER_MODIFIER" else []
    return len(orders) == 1 and orders[0]["expression"]["type"] == "STAR"


def _keys(node: tree.Node, items: list[tree.Node], splitter: _Splitter) -> list[tree.Node]:
    groups = node["group_expressions"]
    if node["group_sets"] not in ([], [list(range(len(groups)))]):
        raise _NoSplit
    distinct = tree.modifier(node, "DISTINCT_MODIFIER")
    if distinct is not None and distinct["distinct_on_targets"]:
        raise _NoSplit

    def aggregates(item: tree.Node) -> bool:
        return any(
            part.get("type") == "FUNCTION"
            and str(part["function_name"]).lower() in splitter.functions
            for part in tree.walk(item)
        )

    if node["aggregate_handling"] == "FORCE_AGGREGATES":
        return [item for item in items if not aggregates(item)]
    if groups:
        found = [explicit(group, items) for group in groups]
        known = [key for key in found if key is not None]
        if len(known) != len(found):
            raise _NoSplit
        return known
    if any(aggregates(item) for item in items) or (node["having"] and aggregates(node["having"])):
        return []
    if distinct is None:
        raise _NoSplit
    return items


def _conditions(node: tree.Node, splitter: _Splitter) -> list[tree.Node]:
    conditions = []
    for written in tree.conjuncts(node["where_clause"]):
        condition = unaliased(written, node["select_list"])
        if condition is None or pushdown.only_alias(condition, splitter.aliases) is None:
            raise _NoSplit
        if any(
            part.get("type") == "FUNCTION"
            and str(part["function_name"]).lower() in splitter.functions
            for part in tree.walk(condition)
        ):
            raise _NoSplit
        conditions.append(pushdown.over_rows(condition))
    return conditions
