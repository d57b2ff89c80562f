"""Inlining: a SELECT over a subquery becomes one SELECT where that says the same.

So a statement over a view plans as the same statement with the view written out. Two rewrites of
the bound tree, from the inside out:

1. A subquery that projects and filters one collection dissolves: its columns become what they stand
   for, its condition goes beside the outer one.
2. A condition over the group keys alone of a subquery that aggregates moves below the grouping, so
   that leaves read fewer rows. Where partials of the subquery are kept it stays where it is.

A name is replaced only where nothing else can be meant; wherever there is doubt, the tree stays.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from aggregator.planning import ctes, pushdown, scan
from aggregator.statement import tree
from aggregator.statement.aliases import explicit, unaliased
from aggregator.statement.bind import Bound
from aggregator.statement.scope import Bindings
from aggregator.statement.security import is_volatile
from aggregator.statement.stars import default_name
from aggregator.statement.syntax import Parser

_PLAIN_STAR = ("relation_name", "exclude_list", "replace_list", "rename_list", "columns", "expr")
Columns = Mapping[str, tree.Node]
"""What the columns of a subquery stand for, by their names in lower case."""


class _Doubt(Exception):
    """A name may mean something else."""


def _without_aliases(node: tree.Node, items: list[tree.Node]) -> tree.Node:
    """An expression of a SELECT, which means something else outside of it where it has aliases."""
    found = unaliased(node, items)
    if found is None:
        raise _Doubt
    return found


@dataclass(frozen=True, slots=True)
class Inliner:
    """Rewrites the trees of bound statements."""

    parser: Parser
    aggregates: frozenset[str]
    below_groups: bool = True

    def inlined(self, bound: Bound) -> Bound:
        """The statement with its subqueries inlined where that is possible.

        Columns that nothing reads any more are no longer columns of their references.
        """
        node = self._inlined(bound.node, bound.bindings)
        for _ in range(ctes.ENTRIES_MAX):
            placed = ctes.in_place(node, bound.bindings)
            if placed is None:
                break
            node = self._inlined(placed, bound.bindings)
        gone = _last_names(bound.node) - _last_names(node)
        for reference in bound.bindings.references:
            for field, name in list(reference.columns.items()):
                if name in gone:
                    del reference.columns[field]
        return replace(bound, node=node)

    def _inlined(self, node: tree.Node, bindings: Bindings) -> tree.Node:
        node = tree.mapped(node, lambda child: self._inlined(child, bindings))
        if node.get("type") != "SELECT_NODE" or node["from_table"]["type"] != "SUBQUERY":
            return node
        table = node["from_table"]
        inner = table["subquery"]["node"]
        if table["sample"] is not None or node["sample"] is not None:
            return node
        if pushdown.lone_reference(inner, bindings) is None:
            return node
        try:
            names = self._names(inner, table["column_name_alias"])
            if not inner["modifiers"] and scan.is_scan(inner, self.aggregates):
                return self._dissolved(node, inner, names)
            if self.below_groups and _groups_plainly(inner):
                return self._filtered(node, inner, names)
        except _Doubt:
            return node
        return node

    def _names(self, inner: tree.Node, renamed: list[str]) -> list[str]:
        """The names of a subquery's columns, each once."""
        items = inner["select_list"]
        if any(part.get("class") == "STAR" for item in items for part in tree.walk(item)):
            raise _Doubt
        own = [item["alias"] or default_name(item, self.parser) for item in items]
        names = [*renamed, *own[len(renamed) :]]
        if len({name.lower() for name in names}) < len(names):
            raise _Doubt
        return names

    def _dissolved(self, node: tree.Node, inner: tree.Node, names: list[str]) -> tree.Node:
        """The SELECT over what its subquery reads."""
        if node["cte_map"]["map"]:
            raise _Doubt
        within = inner["select_list"]
        bare = [_without_aliases(tree.named(item, ""), within) for item in within]
        columns = {name.lower(): item for name, item in zip(names, bare, strict=True)}
        aliases = {item["alias"].lower() for item in node["select_list"]} - {""}
        swap = _Swap(node["from_table"]["alias"].lower(), columns, aliases)
        for part in ("having", "qualify"):
            if node[part] and any(
                len(name) == 1 and name[0].lower() in aliases & columns.keys()
                for name in _column_names(node[part])
            ):
                raise _Doubt
        items: list[tree.Node] = []
        for item in node["select_list"]:
            if item["type"] == "STAR" and not any(item[key] for key in _PLAIN_STAR):
                items += [tree.named(one, name) for name, one in zip(names, bare, strict=True)]
            else:
                name = item["alias"] or default_name(item, self.parser)
                items.append(tree.named(swap.over(item), name))
        conditions = [
            _without_aliases(one, within) for one in tree.conjuncts(inner["where_clause"])
        ]
        conditions += [swap.over(one) for one in tree.conjuncts(node["where_clause"])]
        return {
            **node,
            "select_list": items,
            "from_table": inner["from_table"],
            "where_clause": tree.conjunction(conditions),
            "group_expressions": [swap.over(one) for one in node["group_expressions"]],
            "having": node["having"] and swap.over(node["having"]),
            "qualify": node["qualify"] and swap.over(node["qualify"]),
            "modifiers": [swap.modifier(one) for one in node["modifiers"]],
        }

    def _filtered(self, node: tree.Node, inner: tree.Node, names: list[str]) -> tree.Node:
        """The SELECT with its conditions over group keys in the WHERE of its subquery."""
        items = inner["select_list"]
        keys = self._keys(inner)
        columns = {
            name.lower(): tree.named(item, "")
            for name, item in zip(names, items, strict=True)
            if tree.identity(item) in keys
        }
        swap = _Swap(node["from_table"]["alias"].lower(), columns, set())
        rest, below = [], tree.conjuncts(inner["where_clause"])
        for condition in tree.conjuncts(node["where_clause"]):
            try:
                moved = swap.over(condition)
            except _Doubt:
                rest.append(condition)
                continue
            if is_volatile(condition) or not any(_column_names(condition)):
                rest.append(condition)
            else:
                below.append(moved)
        filtered = {**inner, "where_clause": tree.conjunction(below)}
        table = node["from_table"]
        subquery = {**table["subquery"], "node": filtered}
        return {
            **node,
            "from_table": {**table, "subquery": subquery},
            "where_clause": tree.conjunction(rest),
        }

    def _keys(self, inner: tree.Node) -> set[str]:
        """The group keys, each as :func:`tree.identity` tells it."""
        items = inner["select_list"]
        if inner["aggregate_handling"] == "FORCE_AGGREGATES":
            return {tree.identity(item) for item in items if not self._aggregates(item)}
        found = [explicit(group, items) for group in inner["group_expressions"]]
        return {tree.identity(one) for one in found if one is not None}

    def _aggregates(self, item: tree.Node) -> bool:
        return any(
            part.get("type") == "FUNCTION"
            and str(part["function_name"]).lower() in self.aggregates | {"unnest"}
            for part in tree.walk(item)
        )


@dataclass(frozen=True, slots=True)
class _Swap:
    """Replaces the columns of a subquery by what they stand for; raises _Doubt."""

    alias: str
    columns: Columns
    aliases: set[str]

    def over(self, node: tree.Node) -> tree.Node:
        """An expression in terms of what the subquery reads; its alias stays."""
        if node.get("type") == "COLUMN_REF":
            return tree.named(self._meant(node), node["alias"])
        if node.get("type") in {"SUBQUERY", "LAMBDA"} or node.get("class") == "STAR":
            raise _Doubt
        return tree.mapped(node, self.over)

    def modifier(self, node: tree.Node) -> tree.Node:
        """An ORDER BY, LIMIT or DISTINCT; a term that is an alias stays one."""
        if node["type"] != "ORDER_MODIFIER":
            return self.over(node)
        return {**node, "orders": [self._order(order) for order in node["orders"]]}

    def _order(self, order: tree.Node) -> tree.Node:
        term = order["expression"]
        names = term["column_names"] if term["type"] == "COLUMN_REF" else []
        if term["type"] == "STAR" or (len(names) == 1 and names[0].lower() in self.aliases):
            return order
        return {**order, "expression": self.over(term)}

    def _meant(self, node: tree.Node) -> tree.Node:
        names = [name.lower() for name in node["column_names"]]
        if len(names) == 2 and names[0] == self.alias and names[1] in self.columns:
            if self.alias in self.columns:
                raise _Doubt
            return self.columns[names[1]]
        if len(names) != 1:
            raise _Doubt
        if names[0] in self.columns:
            return self.columns[names[0]]
        if names[0] in self.aliases:
            return node
        raise _Doubt


def _groups_plainly(inner: tree.Node) -> bool:
    """True for groups of one kind of key, all of which are in the result."""
    if inner["qualify"] or inner["modifiers"]:
        return False
    if any(part.get("class") == "WINDOW" for part in tree.walk(inner)):
        return False
    if inner["aggregate_handling"] == "FORCE_AGGREGATES":
        return True
    groups = inner["group_expressions"]
    return bool(groups) and inner["group_sets"] == [list(range(len(groups)))]


def _last_names(node: tree.Node) -> set[str]:
    return {names[-1] for names in _column_names(node)}


def _column_names(node: tree.Node) -> list[list[str]]:
    return [part["column_names"] for part in tree.walk(node) if part.get("type") == "COLUMN_REF"]
