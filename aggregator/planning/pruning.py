"""Pruning: what a statement computes in an inner query and never looks at.

``SELECT *`` in a derived table, a common table expression or an EXISTS names every field, and each
would be gathered. An item whose name nothing else in the statement has becomes NULL in its place,
so positions stay. Names are compared over the whole statement, whatever they refer to, so an item
that is kept may be unused, but none that is used goes; and nothing goes where a `*` or a row as a
whole may refer to it.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from aggregator.planning.scan import is_scan
from aggregator.statement import tree

_ROUNDS_MAX: Final = 16
"""Each round frees the names that one more level of queries within queries has."""


@dataclass(frozen=True, slots=True)
class Pruning:
    """``aggregates`` are the names of aggregate functions, ``tables`` those of gathered tables."""

    aggregates: frozenset[str]
    tables: frozenset[str]

    def pruned(self, query: tree.Node) -> tree.Node:
        """The statement without what it doesn't look at."""
        query = self._without_lists(query)
        for _ in range(_ROUNDS_MAX):
            names = self._names(query)
            found = query if names is None else self._without_items(query, names)
            if found == query:
                break
            query = found
        return query

    def _without_lists(self, query: tree.Node) -> tree.Node:
        """EXISTS asks for rows, not for what is in them."""

        def change(node: tree.Node) -> tree.Node:
            node = tree.mapped(node, change)
            if node.get("subquery_type") != "EXISTS":
                return node
            inner = node["subquery"]["node"]
            if not self._is_plain(inner) or _reads_alias(tree.walk(inner), inner["select_list"]):
                return node
            one = {**inner, "select_list": [tree.constant("INTEGER", "1")]}
            return {**node, "subquery": {**node["subquery"], "node": one}}

        return change(query)

    def _without_items(self, query: tree.Node, names: Counter[str]) -> tree.Node:
        """NULL for the unused items of each query that stands for a table."""

        def change(node: tree.Node) -> tree.Node:
            node = tree.mapped(node, change)
            if node.get("type") == "SUBQUERY" and node.get("column_name_alias") == []:
                inner = self._emptied(node["subquery"]["node"], names)
                return {**node, "subquery": {**node["subquery"], "node": inner}}
            if "query_node" in node and not node.get("aliases"):
                return {**node, "query_node": self._emptied(node["query_node"], names)}
            return node

        return change(query)

    def _emptied(self, select: tree.Node, names: Counter[str]) -> tree.Node:
        if not self._is_plain(select):
            return select
        items = select["select_list"]
        if _reads_alias((part for item in items for part in _inside(item)), items):
            return select
        own = Counter(name for item in items for name in _names_in(item))
        return {
            **select,
            "select_list": [
                tree.named(tree.constant("NULL_LITERAL", ""), _name(item))
                if _name(item) and names[_name(item).lower()] <= own[_name(item).lower()]
                else item
                for item in items
            ],
        }

    def _is_plain(self, node: tree.Node) -> bool:
        """True for a SELECT whose items decide neither which rows it gives nor in what order."""
        return (
            node["type"] == "SELECT_NODE"
            and not node["modifiers"]
            and is_scan(node, self.aggregates)
            and all(item["type"] != "STAR" for item in node["select_list"])
        )

    def _names(self, query: tree.Node) -> Counter[str] | None:
        """How often each name is in expressions, lower case; None where one may be any name."""
        names: Counter[str] = Counter()
        stars = 0
        tables: set[str] = set()
        alone: set[str] = set()
        for part in tree.walk(query):
            match part.get("type"):
                case "STAR":
                    stars += 1
                case "SELECT_NODE" if self._has_no_names(part["from_table"]):
                    stars -= sum(item["type"] == "STAR" for item in part["select_list"])
                case "JOIN":
                    names.update(name.lower() for name in part["using_columns"])
                    stars += part["ref_type"] == "NATURAL"
                case "COLUMN_REF":
                    names.update(_names_in(part))
                    if len(part["column_names"]) == 1:
                        alone.add(part["column_names"][0].lower())
                case "SET_OPERATION_NODE":
                    stars += part["setop_type"] == "UNION_BY_NAME"
                case "BASE_TABLE":
                    tables.update((part["alias"].lower(), part["table_name"].lower()))
                case "SUBQUERY" | "TABLE_FUNCTION" | "EXPRESSION_LIST":
                    tables.add(str(part.get("alias", "")).lower())
        return None if stars or alone & tables else names

    def _has_no_names(self, source: tree.Node) -> bool:
        """True for a gathered table, whose columns have names of ours, and for VALUES."""
        return source["type"] == "EXPRESSION_LIST" or source.get("table_name") in self.tables


def _names_in(node: tree.Node) -> list[str]:
    """The names in an expression, qualifiers too, lower case."""
    return [
        name.lower()
        for part in tree.walk(node)
        if part.get("type") == "COLUMN_REF"
        for name in part["column_names"]
    ]


def _reads_alias(parts: Iterable[tree.Node], items: Iterable[tree.Node]) -> bool:
    aliases = {item["alias"].lower() for item in items}
    return any(
        part.get("type") == "COLUMN_REF" and part["column_names"][0].lower() in aliases
        for part in parts
    )


def _inside(item: tree.Node) -> Iterable[tree.Node]:
    """What is in an item, but for an item that is a column and nothing else."""
    return () if item["type"] == "COLUMN_REF" else tree.walk(item)


def _name(item: tree.Node) -> str:
    if item["alias"] or item["type"] != "COLUMN_REF":
        return str(item["alias"])
    return str(item["column_names"][-1])
