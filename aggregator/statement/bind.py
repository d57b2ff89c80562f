"""Binding: rewrites a statement so that every field it names is a column of a gathered table.

Names of CTEs, subqueries and table functions are left as they are, and output columns keep the
names that the engine would give them, so the engine sees the statement that the user meant. What a
query consists of is bound here, its expressions in :mod:`aggregator.statement.expressions`, what
stands after FROM in :mod:`aggregator.statement.sources`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from aggregator.functions import text
from aggregator.functions.textstats import Statistics
from aggregator.statement import tree
from aggregator.statement.columns import Columns
from aggregator.statement.expressions import Expressions
from aggregator.statement.names import Names
from aggregator.statement.scope import Bindings, Ctes, Scope
from aggregator.statement.security import reads_clock
from aggregator.statement.sources import Sources, renamed
from aggregator.statement.stars import Item, default_name, expand
from aggregator.statement.syntax import Parser
from alder import paths
from alder.errors import AlderError, Reason


@dataclass(frozen=True, slots=True)
class Bound:
    """A bound statement, what it reads, and its columns' names where they are known here."""

    node: tree.Node
    bindings: Bindings
    columns: list[str] | None


def bind(
    query: tree.Node,
    sql: str,
    collections: Mapping[str, Names],
    parser: Parser,
    statistics: Statistics = MappingProxyType({}),
) -> Bound:
    """The bound statement and what it reads. ``collections`` are by name, as written.

    Raises AlderError: UNKNOWN_COLUMN, UNSUPPORTED, and what :func:`text.matched` and
    :func:`geo.expanded` raise.
    """
    bindings = Bindings(sql, collections, statistics)
    node, columns = Binder(bindings, parser).query(query, None, {})
    return Bound(node, bindings, columns)


class Binder:
    """Binds the queries of one statement."""

    def __init__(self, bindings: Bindings, parser: Parser) -> None:
        self._bindings = bindings
        self._parser = parser
        self._expressions = Expressions(bindings, parser, self.query)
        self._sources = Sources(bindings, self._expressions, self.query, parser)

    def query(
        self, node: tree.Node, parent: Scope | None, ctes: Ctes
    ) -> tuple[tree.Node, list[str] | None]:
        """A bound query and the names of its columns, None where they aren't known here."""
        node, ctes = self._with(node, parent, ctes)
        match node["type"]:
            case "SELECT_NODE":
                return self._select(node, parent, ctes)
            case "SET_OPERATION_NODE":
                return self._set_operation(node, parent, ctes)
            case "RECURSIVE_CTE_NODE":
                left, columns = self.query(node["left"], parent, ctes)
                columns = renamed(columns, node.get("aliases", []))
                inner = {**ctes, node["cte_name"].lower(): columns}
                right, _ = self.query(node["right"], parent, inner)
                return {**node, "left": left, "right": right}, columns
            case other:
                raise AlderError(Reason.UNSUPPORTED, f"{other} is not supported in a query")

    def _with(self, node: tree.Node, parent: Scope | None, ctes: Ctes) -> tuple[tree.Node, Ctes]:
        entries = []
        for entry in node["cte_map"]["map"] if "cte_map" in node else []:
            value = entry["value"]
            bound, columns = self.query(value["query_node"], parent, ctes)
            ctes = {**ctes, entry["key"].lower(): renamed(columns, value.get("aliases", []))}
            entries.append({**entry, "value": {**value, "query_node": bound}})
        return ({**node, "cte_map": {"map": entries}}, ctes) if entries else (node, ctes)

    def _set_operation(
        self, node: tree.Node, parent: Scope | None, ctes: Ctes
    ) -> tuple[tree.Node, list[str] | None]:
        bound = dict(node)
        outputs = []
        for side in ("left", "right"):
            if node.get(side):
                bound[side], columns = self.query(node[side], parent, ctes)
                outputs.append(columns)
        bound["children"] = []
        for child in node.get("children") or []:
            child_bound, columns = self.query(child, parent, ctes)
            bound["children"].append(child_bound)
            outputs.append(columns)
        if node["setop_type"] == "UNION_BY_NAME":
            known = [names for names in outputs if names is not None]
            merged = list(dict.fromkeys(name for names in known for name in names))
            return bound, merged if len(known) == len(outputs) else None
        return bound, outputs[0] if outputs else None

    def _select(
        self, node: tree.Node, parent: Scope | None, ctes: Ctes
    ) -> tuple[tree.Node, list[str] | None]:
        scope = Scope(parent, ctes)
        columns = Columns(scope, self._bindings, self._expressions.bound, self._parser)
        bound = dict(node)
        bound["from_table"] = self._sources.bound(node["from_table"], scope)
        scope.aliases = frozenset(item["alias"].lower() for item in node["select_list"])
        scope.aliases -= {""}
        scope.searches = text.searched(node["where_clause"])
        items: list[Item] = []
        for item in node["select_list"]:
            if item["type"] == "STAR" and not item["columns"]:
                items += expand(item, scope, self._bindings, self._expressions.bound)
            else:
                items += [self._item(one, scope, name) for name, one in columns.repeated(item)]
        bound["select_list"] = [item.node for item in items]
        for clause in ("where_clause", "qualify"):
            condition = columns.conjunction(node[clause])
            bound[clause] = condition and self._expressions.bound(condition, scope)
        groups = [self._expressions.bound(group, scope) for group in node["group_expressions"]]
        bound["group_expressions"] = groups
        having = node["having"]
        keys = frozenset(tree.identity(group) for group in groups)
        bound["having"] = having and self._having(having, scope, keys)
        bound["modifiers"] = [self._modifier(entry, scope, columns) for entry in node["modifiers"]]
        known = [item.names for item in items if item.names is not None]
        names = [name for group in known for name in group]
        return bound, names if len(known) == len(items) else None

    def _item(self, item: tree.Node, scope: Scope, given_name: str) -> Item:
        bound = self._expressions.bound(item, scope)
        if self._makes_several(item, bound):
            return Item(None, bound)
        name = given_name or item["alias"] or self._stored_name(item, bound, scope)
        name = name or default_name(item, self._parser)
        kept = bound == item and not reads_clock(item)
        return Item((name,), bound if kept else tree.named(bound, name))

    def _makes_several(self, item: tree.Node, bound: tree.Node) -> bool:
        """True for an UNNEST that may make a column per field of a struct."""
        if item["type"] != "FUNCTION" or str(item["function_name"]).lower() != "unnest":
            return False
        first, *options = tree.arguments(bound)
        if options or first["type"] in {"COLUMN_REF", "STRUCT_EXTRACT"}:
            return bool(options) or self._bindings.field_at(first) is None
        name = str(first.get("function_name", "")).lower()
        return name in {"struct_pack", "row", "struct_insert"} or first["class"] == "SUBQUERY"

    def _stored_name(self, item: tree.Node, bound: tree.Node, scope: Scope) -> str:
        """A top-level field is named as the documents spell it, as the engine names a column."""
        found = self._bindings.field_at(bound) if item["type"] == "COLUMN_REF" else None
        if found is None:
            return ""
        reference, entry = found
        keys = paths.split(entry.path)
        if len(keys) > 1:
            return ""
        for level in scope.chain():
            for source in level.sources:
                if source.reference is reference and source.names is not None:
                    return source.names.spelled(entry)
        return keys[0]

    def _modifier(self, entry: tree.Node, scope: Scope, columns: Columns) -> tree.Node:
        if entry["type"] != "ORDER_MODIFIER":
            return self._expressions.bound(entry, scope)
        orders = []
        for order in entry["orders"]:
            term = order["expression"]
            alias = term["type"] == "COLUMN_REF" and _is_alias(term, scope)
            if alias or (term["type"] == "STAR" and term["expr"] is None):
                orders.append(order)
                continue
            for _, one in columns.repeated(term):
                orders.append({**order, "expression": self._expressions.bound(one, scope)})
        return {**entry, "orders": orders}

    def _having(self, node: tree.Node, scope: Scope, keys: frozenset[str]) -> tree.Node:
        if node.get("type") == "COLUMN_REF" and _is_alias(node, scope):
            bound = self._expressions.bound(node, scope)
            return bound if tree.identity(bound) in keys else node
        if node.get("type") in {"CONJUNCTION_AND", "CONJUNCTION_OR"} or tree.is_kind(
            node, "COMPARISON", "OPERATOR", "CAST", "BETWEEN", "CASE"
        ):
            return tree.mapped(node, lambda child: self._having(child, scope, keys))
        if node.get("type") == "FUNCTION" and node.get("is_operator"):
            return tree.mapped(node, lambda child: self._having(child, scope, keys))
        if "class" not in node and "type" not in node:
            return tree.mapped(node, lambda child: self._having(child, scope, keys))
        return self._expressions.bound(node, scope)


def _is_alias(node: tree.Node, scope: Scope) -> bool:
    names = node["column_names"]
    return len(names) == 1 and names[0].lower() in scope.aliases
