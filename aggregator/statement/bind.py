"""Binding: rewrites a statement so that every field it names is a column of a gathered table.

Names of CTEs, subqueries and table functions are left as they are, and output columns keep the
names that the engine would give them, so the engine sees the statement that the user meant.

On a value that is JSON, ``.key`` and ``['key']`` read a member and stay JSON, and ``[n]`` counts
from 1 as on any list; so a list of objects reads like the list of structs that the engine would
have made of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from aggregator.functions import geo, text
from aggregator.functions.lists import GEO, MATCH, SCORE
from aggregator.functions.textstats import Statistics
from aggregator.statement import tree
from aggregator.statement.access import as_list, key_of, steps
from aggregator.statement.names import Names
from aggregator.statement.scope import Bindings, Scope, Source, resolve
from aggregator.statement.security import reads_clock
from aggregator.statement.stars import Bind, Item, default_name, expand, refuse_star
from aggregator.statement.syntax import Parser
from aggregator.statement.tablename import TableName
from alder import paths
from alder.errors import AlderError, Reason

Ctes = Mapping[str, list[str] | None]
LAMBDA_FUNCTIONS: Final = frozenset(
    {
        f"{kind}_{verb}"
        for kind in ("list", "array")
        for verb in ("transform", "apply", "filter", "reduce")
    }
    | {"apply", "filter", "reduce"}
)
_LIST_FUNCTIONS: Final = frozenset({"unnest", "len", "array_length"})


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
                columns = _renamed(columns, node.get("aliases", []))
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
            ctes = {**ctes, entry["key"].lower(): _renamed(columns, value.get("aliases", []))}
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
        scope = Scope(parent)
        bound = dict(node)
        bound["from_table"] = self._table(node["from_table"], scope, ctes)
        scope.aliases = frozenset(item["alias"].lower() for item in node["select_list"])
        scope.aliases -= {""}
        scope.searches = text.searched(node["where_clause"])
        items: list[Item] = []
        for item in node["select_list"]:
            if item["type"] == "STAR" and not item["columns"] and item["expr"] is None:
                items += expand(item, scope, self._bindings, self._binder(ctes))
            else:
                items.append(self._item(item, scope, ctes))
        bound["select_list"] = [item.node for item in items]
        where, qualify = node["where_clause"], node["qualify"]
        bound["where_clause"] = where and self.expression(where, scope, ctes)
        bound["qualify"] = qualify and self.expression(qualify, scope, ctes)
        groups = [self.expression(group, scope, ctes) for group in node["group_expressions"]]
        bound["group_expressions"] = groups
        having = node["having"]
        keys = frozenset(tree.identity(group) for group in groups)
        bound["having"] = having and self._having(having, scope, ctes, keys)
        bound["modifiers"] = [self._modifier(entry, scope, ctes) for entry in node["modifiers"]]
        known = [item.names for item in items if item.names is not None]
        names = [name for group in known for name in group]
        return bound, names if len(known) == len(items) else None

    def _item(self, item: tree.Node, scope: Scope, ctes: Ctes) -> Item:
        bound = self.expression(item, scope, ctes)
        name = item["alias"] or self._stored_name(item, bound) or default_name(item, self._parser)
        kept = bound == item and not reads_clock(item)
        return Item((name,), bound if kept else tree.named(bound, name))

    def _stored_name(self, item: tree.Node, bound: tree.Node) -> str:
        """A top-level field is named as the documents spell it, as the engine names a column."""
        if item["type"] != "COLUMN_REF" or bound == item:
            return ""
        entry = self._bindings.field_of(bound["column_names"][-1])
        keys = paths.split(entry.path) if entry is not None else []
        return keys[0] if len(keys) == 1 else ""

    def _modifier(self, entry: tree.Node, scope: Scope, ctes: Ctes) -> tree.Node:
        if entry["type"] != "ORDER_MODIFIER":
            return self.expression(entry, scope, ctes)
        orders = []
        for order in entry["orders"]:
            term = order["expression"]
            alias = term["type"] == "COLUMN_REF" and _is_alias(term, scope)
            if not alias and term["type"] != "STAR":
                term = self.expression(term, scope, ctes)
            orders.append({**order, "expression": term})
        return {**entry, "orders": orders}

    def _having(self, node: tree.Node, scope: Scope, ctes: Ctes, keys: frozenset[str]) -> tree.Node:
        if node.get("type") == "COLUMN_REF" and _is_alias(node, scope):
            bound = self.expression(node, scope, ctes)
            return bound if tree.identity(bound) in keys else node
        if node.get("type") in {"CONJUNCTION_AND", "CONJUNCTION_OR"} or tree.is_kind(
            node, "COMPARISON", "OPERATOR", "CAST", "BETWEEN", "CASE"
        ):
            return tree.mapped(node, lambda child: self._having(child, scope, ctes, keys))
        if node.get("type") == "FUNCTION" and node.get("is_operator"):
            return tree.mapped(node, lambda child: self._having(child, scope, ctes, keys))
        if "class" not in node and "type" not in node:
            return tree.mapped(node, lambda child: self._having(child, scope, ctes, keys))
        return self.expression(node, scope, ctes)

    def _binder(self, ctes: Ctes) -> Bind:
        return lambda node, scope: self.expression(node, scope, ctes)

    def expression(self, node: tree.Node, scope: Scope, ctes: Ctes) -> tree.Node:
        """The bound expression; its alias stays."""
        bound, _ = self._typed(node, scope, ctes)
        if node.get("alias") and bound.get("alias") != node["alias"]:
            return tree.named(bound, node["alias"])
        return bound

    def _typed(self, node: tree.Node, scope: Scope, ctes: Ctes) -> tuple[tree.Node, str]:
        """The bound expression and its SQL type, "" where it isn't known here."""
        match node.get("type"):
            case "COLUMN_REF" | "STRUCT_EXTRACT" | "ARRAY_EXTRACT":
                return self._access(node, scope, ctes)
            case "ARRAY_SLICE":
                first, *rest = node["children"]
                child, sql_type = self._typed(first, scope, ctes)
                bounds = [self.expression(entry, scope, ctes) for entry in rest]
                return {**node, "children": [as_list(child, sql_type), *bounds]}, ""
            case "SUBQUERY":
                inner, _ = self.query(node["subquery"]["node"], scope, ctes)
                bound = {**node, "subquery": {**node["subquery"], "node": inner}}
                if node.get("child"):
                    bound["child"] = self.expression(node["child"], scope, ctes)
                return bound, ""
            case "STAR":
                refuse_star(scope)
                return node, ""
            case "FUNCTION":
                return self._function(node, scope, ctes), ""
            case "VALUE_CONSTANT" | "TYPE":
                return node, ""
            case _:
                return tree.mapped(node, lambda child: self.expression(child, scope, ctes)), ""

    def _function(self, node: tree.Node, scope: Scope, ctes: Ctes) -> tree.Node:
        name = str(node["function_name"]).lower()

        def typed(argument: tree.Node) -> tuple[tree.Node, str]:
            return self._typed(argument, scope, ctes)

        if name == MATCH:
            return text.matched(node, typed, self._parser)
        if name in GEO:
            return geo.expanded(node, typed, self._parser)
        if name == SCORE:
            return text.scored(node, scope.searches, typed, self._bindings, self._parser)
        arguments = []
        for index, argument in enumerate(node["arguments"]):
            expression = argument["expression"]
            if name in LAMBDA_FUNCTIONS and expression["type"] == "LAMBDA":
                bound = self._lambda(expression, scope, ctes)
            else:
                bound, sql_type = self._typed(expression, scope, ctes)
                takes_list = name in _LIST_FUNCTIONS or name.startswith("list_")
                if index == 0 and takes_list and name != "list_value":
                    bound = as_list(bound, sql_type)
            arguments.append({**argument, "expression": bound})
        rest = {key: value for key, value in node.items() if key != "arguments"}
        mapped = tree.mapped(rest, lambda child: self.expression(child, scope, ctes))
        return {**mapped, "arguments": arguments}

    def _lambda(self, node: tree.Node, scope: Scope, ctes: Ctes) -> tree.Node:
        names = frozenset(
            part["column_names"][0].lower()
            for part in tree.walk(node["lhs"])
            if part.get("type") == "COLUMN_REF"
        )
        inner = replace(scope, lambdas=scope.lambdas | names)
        return {**node, "expr": self.expression(node["expr"], inner, ctes)}

    def _access(self, node: tree.Node, scope: Scope, ctes: Ctes) -> tuple[tree.Node, str]:
        base, chain = steps(node)
        if base.get("type") != "COLUMN_REF":
            return tree.mapped(node, lambda child: self.expression(child, scope, ctes)), ""
        parts = list(base["column_names"])
        keys: list[str] = []
        for step in chain:
            key = key_of(step)
            if key is None:
                break
            keys.append(key)
        found = resolve(scope, self._bindings, parts + keys)
        if found is None:
            if node is base:
                return node, ""
            return self._left_alone(node, scope, ctes), ""
        current, entry = found
        sql_type = entry.sql_type
        for step in chain[len(keys) :]:
            current, sql_type = self._step(current, sql_type, step, scope, ctes)
        return current, sql_type

    def _step(
        self, current: tree.Node, sql_type: str, step: tree.Node, scope: Scope, ctes: Ctes
    ) -> tuple[tree.Node, str]:
        key = key_of(step)
        if key is not None and sql_type == "JSON":
            pointer = tree.constant("STRING", paths.json_pointer([key]))
            return tree.function("json_extract", current, pointer), "JSON"
        index = self.expression(step["children"][1], scope, ctes)
        within = as_list(current, sql_type) if key is None else current
        inner_type = "JSON" if sql_type == "JSON" else sql_type.removesuffix("[]")
        known = inner_type if sql_type.endswith("[]") or sql_type == "JSON" else ""
        return {**step, "alias": "", "children": [within, index]}, known

    def _left_alone(self, node: tree.Node, scope: Scope, ctes: Ctes) -> tree.Node:
        """A chain on a name of the engine's: only what is inside its brackets is bound."""
        if node.get("type") not in {"STRUCT_EXTRACT", "ARRAY_EXTRACT"}:
            return node
        inner, index = node["children"]
        return {
            **node,
            "children": [
                self._left_alone(inner, scope, ctes),
                self.expression(index, scope, ctes),
            ],
        }

    def _table(self, node: tree.Node, scope: Scope, ctes: Ctes) -> tree.Node:
        match node["type"]:
            case "BASE_TABLE":
                return self._base_table(node, scope, ctes)
            case "SUBQUERY":
                inner, columns = self.query(node["subquery"]["node"], scope, ctes)
                columns = _renamed(columns, node["column_name_alias"])
                scope.sources.append(Source(node["alias"], columns))
                return {**node, "subquery": {**node["subquery"], "node": inner}}
            case "JOIN":
                return self._join(node, scope, ctes)
            case "TABLE_FUNCTION":
                call = self.expression(node["function"], scope, ctes)
                name = str(node["function"]["function_name"]).lower()
                columns = _TABLE_FUNCTION_COLUMNS.get(name, [name])
                alias = node["alias"] or name
                known = _renamed([*columns], node["column_name_alias"]) or []
                if node["alias"] and not node["column_name_alias"] and len(known) == 1:
                    known.append(alias)
                scope.sources.append(Source(alias, known))
                return {**node, "function": call}
            case "EXPRESSION_LIST":
                bound = tree.mapped(node, lambda child: self.expression(child, scope, ctes))
                width = len(node["values"][0]) if node["values"] else 0
                scope.sources.append(Source(node["alias"], [f"col{i}" for i in range(width)]))
                return bound
            case "EMPTY":
                return node
            case other:
                raise AlderError(
                    Reason.UNSUPPORTED,
                    f"{other} is not supported after FROM; use aggregates with FILTER instead",
                )

    def _base_table(self, node: tree.Node, scope: Scope, ctes: Ctes) -> tree.Node:
        name = node["table_name"]
        plain = TableName.decode(name).name
        alias = node["alias"] or plain
        if name.lower() in ctes:
            columns = _renamed(ctes[name.lower()], node["column_name_alias"])
            scope.sources.append(Source(alias, columns))
            return node
        if node["column_name_alias"]:
            raise AlderError(
                Reason.UNSUPPORTED,
                f"columns of the collection {plain} can't be renamed after its name; "
                "use a subquery with aliases",
            )
        reference = self._bindings.add(name)
        bound = {**tree.table(reference.table, reference.alias), "sample": node["sample"]}
        names = self._bindings.collections[name]
        scope.sources.append(Source(alias, None, reference, names, node=bound))
        return bound

    def _join(self, node: tree.Node, scope: Scope, ctes: Ctes) -> tree.Node:
        begin = len(scope.sources)
        left = self._table(node["left"], scope, ctes)
        middle = len(scope.sources)
        right = self._table(node["right"], scope, ctes)
        sources = scope.sources[begin:]
        if node["ref_type"] == "NATURAL" and any(source.names for source in sources):
            raise AlderError(
                Reason.UNSUPPORTED, "NATURAL JOIN of a collection is not supported; use USING"
            )
        for name in node["using_columns"]:
            scope.using[name.lower()] = name
            for source in sources:
                self._expose(source, name)
        condition = node["condition"] and self.expression(node["condition"], scope, ctes)
        if node["join_type"] in {"SEMI", "ANTI"}:
            for source in scope.sources[middle:]:
                source.hidden = True
        return {**node, "left": left, "right": right, "condition": condition}

    def _expose(self, source: Source, name: str) -> None:
        """Gives a collection's table a column under the user's name, for USING."""
        if source.names is None or source.reference is None or source.hidden:
            return
        wanted = source.names.resolve([name])
        if wanted is None:
            return
        column = tree.column(self._bindings.column(source.reference, wanted))
        if source.node["type"] == "BASE_TABLE":
            inner = tree.table(source.reference.table)
            wrapped = tree.subquery_table(tree.select([tree.star()], inner), source.node["alias"])
            source.node.clear()
            source.node.update(wrapped)
        items = source.node["subquery"]["node"]["select_list"]
        if all(item["alias"].lower() != name.lower() for item in items):
            items.append(tree.named(column, name))


_TABLE_FUNCTION_COLUMNS: Final[Mapping[str, list[str]]] = {
    name: ["key", "value", "type", "atom", "id", "parent", "fullkey", "path", "json", "root"]
    for name in ("json_each", "json_tree")
}


def _is_alias(node: tree.Node, scope: Scope) -> bool:
    names = node["column_names"]
    return len(names) == 1 and names[0].lower() in scope.aliases


def _renamed(columns: list[str] | None, aliases: list[str]) -> list[str] | None:
    if columns is None:
        return None
    return [*aliases, *columns[len(aliases) :]]
