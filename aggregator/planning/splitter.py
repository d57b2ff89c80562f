"""Takes the keys and aggregates of a statement apart, and writes the rest of it over the groups.

Each key and each aggregate becomes a column of the table of finished groups; an expression that
needs anything else of the rows is not of class (a).
"""

from dataclasses import dataclass, field
from typing import Final

from aggregator.functions.lists import DISTINCT, EXPORTED, NUMERIC
from aggregator.planning import pushdown
from aggregator.planning.spread import Spread
from aggregator.statement import tree
from aggregator.statement.aliases import explicit

GROUPS: Final = "__groups"
"""The table of finished groups, over which the rest of the statement runs."""
_LISTS: Final = frozenset({"array_agg", "list"})


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


class NoSplitError(Exception):
    """The statement has a part that this class doesn't cover."""


@dataclass(slots=True)
class Splitter:
    """Replaces keys and aggregates of a statement by columns of the finished groups.

    ``items``: its select list. ``sets``: the columns of the keys of each grouping set, where there
    are such sets; ``groupings`` are columns that tell which of some keys a group lacks.
    """

    aliases: set[str]
    functions: frozenset[str]
    prefix: str
    spread: Spread
    items: list[tree.Node]
    keys: dict[str, tuple[str, tree.Node]] = field(default_factory=dict)
    states: dict[str, tuple[Aggregate, tree.Node]] = field(default_factory=dict)
    arguments: dict[str, tree.Node] = field(default_factory=dict)
    distinct: dict[str, tuple[str, tree.Node]] = field(default_factory=dict)
    sets: tuple[tuple[str, ...], ...] = ()
    groupings: dict[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)

    def add_key(self, node: tree.Node) -> None:
        for part in tree.walk(node):
            if part.get("class") in {"WINDOW", "STAR"} or self._function(part) in (
                self.functions | {"unnest"}
            ):
                raise NoSplitError
        if pushdown.only_alias(node, self.aliases) is None:
            raise NoSplitError
        name = f"{self.prefix}k{len(self.keys)}"
        self.keys.setdefault(tree.identity(node), (name, pushdown.over_rows(node)))

    def key_name(self, node: tree.Node) -> str:
        """The column of a key. Raises NoSplitError where an expression is none."""
        found = self.keys.get(tree.identity(node))
        if found is None:
            raise NoSplitError
        return found[0]

    def outer(self, node: tree.Node) -> tree.Node:
        """The expression over the finished groups."""
        if "class" in node:
            found = self.keys.get(tree.identity(node))
            if found is not None:
                return tree.named(tree.column(GROUPS, found[0]), node.get("alias", ""))
            if node["type"] == "GROUPING_FUNCTION":
                return tree.named(tree.column(GROUPS, self._grouping(node)), node["alias"])
            if node["class"] == "STAR":
                raise NoSplitError
            if node["class"] == "COLUMN_REF" and node["column_names"][0] in self.aliases:
                raise NoSplitError
            if node["class"] == "FUNCTION" and self._function(node) in self.functions:
                return tree.named(self._finished(node), node["alias"])
            if self._function(node) == "unnest":
                raise NoSplitError
        return tree.mapped(node, self.outer)

    def _finished(self, call: tree.Node) -> tree.Node:
        """The result of an aggregate, over the finished groups.

        A list in the order of what is in it is sorted here: those that tie are equal.
        """
        orders = call["order_bys"]["orders"]
        if len(orders) != 1 or self._function(call) not in _LISTS or call["distinct"]:
            return tree.column(GROUPS, self._aggregate(call))
        [order] = orders
        if [tree.identity(order["expression"])] != [*map(tree.identity, tree.arguments(call))]:
            raise NoSplitError
        unordered = {**call, "order_bys": {**call["order_bys"], "orders": []}}
        direction = "DESC" if order["type"] == "DESCENDING" else "ASC"
        nulls = "NULLS FIRST" if order["null_order"] == "NULLS FIRST" else "NULLS LAST"
        return tree.function(
            "list_sort",
            tree.column(GROUPS, self._aggregate(unordered)),
            tree.constant("STRING", direction),
            tree.constant("STRING", nulls),
        )

    def _grouping(self, node: tree.Node) -> str:
        if not self.sets:
            raise NoSplitError
        children = [explicit(key, self.items) or key for key in node["children"]]
        keys = tuple(self.key_name(tree.named(key, "")) for key in children)
        name = f"{self.prefix}g{len(self.groupings)}"
        return self.groupings.setdefault(tree.identity(node), (name, keys))[0]

    def _function(self, node: tree.Node) -> str:
        return str(node["function_name"]).lower() if node.get("type") == "FUNCTION" else ""

    def _aggregate(self, node: tree.Node) -> str:
        known = tree.identity(node)
        if known in self.states:
            return self.states[known][0].column
        name = self._function(node)
        if name not in EXPORTED or node["order_bys"]["orders"]:
            raise NoSplitError
        arguments = tree.arguments(node)
        parts = [*arguments, *([node["filter"]] if node["filter"] else [])]
        for part in parts:
            if tree.literal(part) is None and pushdown.only_alias(part, self.aliases) is None:
                raise NoSplitError
            if any(self._function(inner) in self.functions for inner in tree.walk(part)):
                raise NoSplitError
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
        if name not in DISTINCT or len(arguments) != 1:
            raise NoSplitError
        argument = arguments[0]
        if self.spread.counts_once(argument):
            if name != "count":
                raise NoSplitError
            call = pushdown.over_rows(tree.named(node, ""))
            return Aggregate(name, column, (), final=True), call
        if node["filter"] is not None:
            argument = tree.when(node["filter"], argument)
        known = tree.identity(argument)
        if known not in self.distinct:
            key = f"{self.prefix}d{len(self.distinct)}"
            self.distinct[known] = (key, pushdown.over_rows(argument))
        return Aggregate(name, column, (), self.distinct[known][0]), {}
