"""Binding of expressions: each name that is a field of a collection becomes a column of ours.

On a value that is JSON, ``.key`` and ``['key']`` read a member and stay JSON, and ``[n]`` counts
from 1 as on any list; so a list of objects reads like the list of structs that the engine would
have made of it.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from aggregator.functions import geo, text
from aggregator.functions.lists import GEO, MATCH, SCORE
from aggregator.statement import columns, tree
from aggregator.statement.access import as_list, key_of, steps
from aggregator.statement.scope import Bindings, Ctes, Scope, Source, resolve, whole_row
from aggregator.statement.stars import expand
from aggregator.statement.syntax import Parser
from alder import paths

BindQuery = Callable[[tree.Node, Scope | None, Ctes], tuple[tree.Node, list[str] | None]]
"""Binds a query inside a scope; gives the names of its columns, None where they aren't known."""

LAMBDA_FUNCTIONS: Final = frozenset(
    {
        f"{kind}_{verb}"
        for kind in ("list", "array")
        for verb in ("transform", "apply", "filter", "reduce")
    }
    | {"apply", "filter", "reduce"}
)
_LIST_FUNCTIONS: Final = frozenset({"unnest", "len", "array_length"})


class Expressions:
    """Binds the expressions of one statement."""

    def __init__(self, bindings: Bindings, parser: Parser, query: BindQuery) -> None:
        self._bindings = bindings
        self._parser = parser
        self._query = query

    def bound(self, node: tree.Node, scope: Scope) -> tree.Node:
        """The bound expression; its alias stays. Raises AlderError."""
        bound, _ = self._typed(node, scope)
        if node.get("alias") and bound.get("alias") != node["alias"]:
            return tree.named(bound, node["alias"])
        return bound

    def _typed(self, node: tree.Node, scope: Scope) -> tuple[tree.Node, str]:
        """The bound expression and its SQL type, "" where it isn't known here."""
        match node.get("type"):
            case "COLUMN_REF" | "STRUCT_EXTRACT" | "ARRAY_EXTRACT":
                return self._access(node, scope)
            case "ARRAY_SLICE":
                first, *rest = node["children"]
                child, sql_type = self._typed(first, scope)
                bounds = [self.bound(entry, scope) for entry in rest]
                return {**node, "children": [as_list(child, sql_type), *bounds]}, ""
            case "SUBQUERY":
                inner, _ = self._query(node["subquery"]["node"], scope, scope.ctes)
                bound = {**node, "subquery": {**node["subquery"], "node": inner}}
                if node.get("child"):
                    bound["child"] = self.bound(node["child"], scope)
                return bound, ""
            case "STAR":
                columns.refuse(scope)
                return node, ""
            case columns.COLUMN:
                return node["bound"], self._type_of(node["bound"])
            case "FUNCTION":
                return self._function(node, scope), ""
            case "VALUE_CONSTANT" | "TYPE":
                return node, ""
            case _:
                return tree.mapped(node, lambda child: self.bound(child, scope)), ""

    def _type_of(self, bound: tree.Node) -> str:
        found = self._bindings.field_at(bound)
        return found[1].sql_type if found is not None else ""

    def _function(self, node: tree.Node, scope: Scope) -> tree.Node:
        name = str(node["function_name"]).lower()

        def typed(argument: tree.Node) -> tuple[tree.Node, str]:
            return self._typed(argument, scope)

        if len(node["qualified_name"]["path"]) > 1:
            return self._function(_as_call(node), scope)
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
                bound = self._lambda(expression, scope)
            else:
                bound, sql_type = self._typed(expression, scope)
                takes_list = name in _LIST_FUNCTIONS or name.startswith("list_")
                if index == 0 and takes_list and name != "list_value":
                    bound = as_list(bound, sql_type)
            arguments.append({**argument, "expression": bound})
        rest = {key: value for key, value in node.items() if key != "arguments"}
        mapped = tree.mapped(rest, lambda child: self.bound(child, scope))
        return {**mapped, "arguments": arguments}

    def _lambda(self, node: tree.Node, scope: Scope) -> tree.Node:
        names = frozenset(
            part["column_names"][0].lower()
            for part in tree.walk(node["lhs"])
            if part.get("type") == "COLUMN_REF"
        )
        inner = replace(scope, lambdas=scope.lambdas | names)
        return {**node, "expr": self.bound(node["expr"], inner)}

    def _access(self, node: tree.Node, scope: Scope) -> tuple[tree.Node, str]:
        base, chain = steps(node)
        if base.get("type") != "COLUMN_REF":
            return tree.mapped(node, lambda child: self.bound(child, scope)), ""
        parts = list(base["column_names"])
        keys: list[str] = []
        for step in chain:
            key = key_of(step)
            if key is None:
                break
            keys.append(key)
        row = whole_row(scope, self._bindings, parts[0]) if len(parts) == 1 and not keys else None
        if row is not None:
            return self._row(row, chain, scope)
        found = resolve(scope, self._bindings, parts + keys)
        if found is None:
            if node is base:
                return node, ""
            return self._left_alone(node, scope), ""
        current, entry = found
        sql_type = entry.sql_type
        for step in chain[len(keys) :]:
            current, sql_type = self._step(current, sql_type, step, scope)
        return current, sql_type

    def _row(self, row: Source, chain: list[tree.Node], scope: Scope) -> tuple[tree.Node, str]:
        """A whole row of a collection as a struct of its columns, and the accesses on it."""
        fields = expand(
            {**tree.star(), "relation_name": row.alias}, scope, self._bindings, self.bound
        )
        packed = tree.function("struct_pack")
        packed["arguments"] = [
            {"name": field.name or "", "expression": tree.named(field.node, "")} for field in fields
        ]
        for step in chain:
            index = self.bound(step["children"][1], scope)
            packed = {**step, "alias": "", "children": [packed, index]}
        return packed, ""

    def _step(
        self, current: tree.Node, sql_type: str, step: tree.Node, scope: Scope
    ) -> tuple[tree.Node, str]:
        key = key_of(step)
        if key is not None and sql_type == "JSON":
            pointer = tree.constant("STRING", paths.json_pointer([key]))
            return tree.function("json_extract", current, pointer), "JSON"
        index = self.bound(step["children"][1], scope)
        within = as_list(current, sql_type) if key is None else current
        inner_type = "JSON" if sql_type == "JSON" else sql_type.removesuffix("[]")
        known = inner_type if sql_type.endswith("[]") or sql_type == "JSON" else ""
        return {**step, "alias": "", "children": [within, index]}, known

    def _left_alone(self, node: tree.Node, scope: Scope) -> tree.Node:
        """A chain on a name of the engine's: only what is inside its brackets is bound."""
        if node.get("type") not in {"STRUCT_EXTRACT", "ARRAY_EXTRACT"}:
            return node
        inner, index = node["children"]
        return {
            **node,
            "children": [self._left_alone(inner, scope), self.bound(index, scope)],
        }


def _as_call(node: tree.Node) -> tree.Node:
    """``value.function(…)``, to the parser a function of a schema, as ``function(value, …)``."""
    *value, name = node["qualified_name"]["path"]
    first = {"name": "", "expression": tree.column(*value)}
    return {
        **node,
        "schema": "",
        "catalog": "",
        "qualified_name": {"path": [name]},
        "arguments": [first, *node["arguments"]],
    }
