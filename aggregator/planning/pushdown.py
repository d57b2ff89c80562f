"""Pushdown: which conditions of a statement a leaf can apply while it reads one reference.

A condition moves down only if it reads that reference alone, gives the same on every evaluation,
and stands where a row that fails it can't reach the answer: in the WHERE of the SELECT that reads
the reference, on a side of the joins that no outer join fills with NULLs. Then the leaf's answer is
the same as that of the statement, which may keep the condition or do without it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from aggregator.statement import tree
from aggregator.statement.aliases import unaliased
from aggregator.statement.scope import Bindings, Reference
from aggregator.statement.security import is_volatile

ROWS = "rows"


@dataclass(frozen=True, slots=True)
class Pushed:
    """A statement without the conditions that moved down, and these by their reference's alias.

    The conditions are in terms of the table `rows`.
    """

    rest: tree.Node
    conditions: Mapping[str, list[tree.Node]]


def pushed(query: tree.Node, bindings: Bindings) -> Pushed:
    """The conditions to push, and what they leave of the statement."""
    aliases = {reference.alias for reference in bindings.references}
    found: dict[str, list[tree.Node]] = {alias: [] for alias in aliases}

    def change(node: tree.Node) -> tree.Node:
        if node.get("type") == "SELECT_NODE" and node["where_clause"] and node["sample"] is None:
            rest = _rest_of_where(node, aliases, found)
            node = {**node, "where_clause": tree.conjunction(rest)}
        return tree.mapped(node, change)

    return Pushed(change(query), found)


def _rest_of_where(
    node: tree.Node, aliases: set[str], found: Mapping[str, list[tree.Node]]
) -> list[tree.Node]:
    """The terms of a WHERE that stay; the others are appended to those of their reference."""
    alone = node["from_table"]["type"] == "BASE_TABLE"
    reachable = kept_whole(node["from_table"], aliases)
    rest = []
    for condition in tree.conjuncts(node["where_clause"]):
        plain = unaliased(condition, node["select_list"]) if alone else condition
        plain = plain and _without_any(plain)
        alias = only_alias(plain, aliases) if plain is not None else None
        if plain is not None and alias in reachable and not is_volatile(plain):
            found[str(alias)].append(over_rows(plain))
        else:
            rest.append(condition)
    return rest


def _without_any(condition: tree.Node) -> tree.Node:
    """``value = ANY(list)``, to the parser a subquery, as a function that is true of the same."""
    if condition.get("subquery_type") != "ANY" or condition["comparison_type"] != "COMPARE_EQUAL":
        return condition
    query = condition["subquery"]["node"]
    items = query.get("select_list", [])
    unnested = len(items) == 1 and items[0].get("function_name") == "unnest"
    if not unnested or query["from_table"]["type"] != "EMPTY" or query["where_clause"] is not None:
        return condition
    return tree.function("list_contains", *tree.arguments(items[0]), condition["child"])


def only_alias(condition: tree.Node, aliases: set[str]) -> str | None:
    """The one reference that an expression reads; None if it reads more, less or other things."""
    found: set[str] = set()
    parameters = _lambda_parameters(condition)
    for part in tree.walk(condition):
        if part.get("type") in {"SUBQUERY", "STAR", "WINDOW"} or part.get("class") == "WINDOW":
            return None
        if part.get("type") == "COLUMN_REF" and part["column_names"][0].lower() not in parameters:
            names = part["column_names"]
            if len(names) != 2 or names[0] not in aliases:
                return None
            found.add(names[0])
    return found.pop() if len(found) == 1 else None


def _lambda_parameters(within: tree.Node) -> set[str]:
    return {
        inner["column_names"][0].lower()
        for part in tree.walk(within)
        if part.get("type") == "LAMBDA"
        for inner in tree.walk(part["lhs"])
        if inner.get("type") == "COLUMN_REF"
    }


def over_rows(expression: tree.Node) -> tree.Node:
    """A bound expression over one reference as an expression over the leaf's table."""

    def change(node: tree.Node) -> tree.Node:
        if node.get("type") == "COLUMN_REF" and len(node["column_names"]) == 2:
            return {**node, "column_names": node["column_names"][1:]}
        return tree.mapped(node, change)

    return change(expression)


def lone_reference(query: tree.Node, bindings: Bindings) -> Reference | None:
    """The reference that a query reads and nothing else; None for any other query.

    A query that gives something else on every evaluation is another one, too.
    """
    if query.get("type") != "SELECT_NODE" or query["from_table"]["type"] != "BASE_TABLE":
        return None
    source = query["from_table"]
    if source["sample"] is not None or query["sample"] is not None or query["cte_map"]["map"]:
        return None
    if any(part.get("type") == "SUBQUERY" for part in tree.walk(query)):
        return None
    known = {reference.table: reference for reference in bindings.references}
    return None if is_volatile(query) else known.get(source["table_name"])


def kept_whole(node: tree.Node, aliases: set[str]) -> set[str]:
    """The references of a FROM whose rows reach the WHERE unless it drops them."""
    if node["type"] in {"BASE_TABLE", "SUBQUERY"} and node["alias"] in aliases:
        return {node["alias"]} if node["sample"] is None else set()
    if node["type"] != "JOIN" or node["ref_type"] == "POSITIONAL":
        return set()
    left = kept_whole(node["left"], aliases)
    right = kept_whole(node["right"], aliases)
    if node["ref_type"] == "ASOF":
        return left if node["join_type"] in {"INNER", "LEFT"} else set()
    match node["join_type"]:
        case "INNER":
            return left | right
        case "LEFT" | "SEMI" | "ANTI":
            return left
        case "RIGHT":
            return right
        case _:
            return set()
