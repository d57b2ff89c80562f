"""Pushdown: which conditions of a statement a leaf can apply while it reads one reference.

A condition moves down only if it reads that reference alone, gives the same on every evaluation,
and stands where a row that fails it can't reach the answer: in the WHERE of the SELECT that reads
the reference, on a side of the joins that no outer join fills with NULLs, or in the ON of a join
for which that row is none to join with. Then the leaf's answer is the same as that of the
statement, which may keep the condition or do without it. Of a disjunction that reads several
references, what all of its branches ask of one moves down as well, and the whole stays.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from aggregator.statement import tree
from aggregator.statement.aliases import unaliased
from aggregator.statement.scope import Bindings, Reference
from aggregator.statement.security import is_volatile

ROWS = "rows"
_DROPPED_BY_ON: Final[Mapping[str, tuple[bool, bool]]] = {
    "INNER": (True, True),
    "LEFT": (False, True),
    "RIGHT": (True, False),
    "SEMI": (True, True),
    "ANTI": (False, True),
}
"""By kind of join: whether its ON can leave out rows of the left and of the right."""


@dataclass(frozen=True, slots=True)
class Pushed:
    """A statement without the conditions that moved down, and these by their reference's alias.

    The conditions are in terms of the table `rows`.
    """

    rest: tree.Node
    conditions: Mapping[str, list[tree.Node]]


def pushed(query: tree.Node, bindings: Bindings, only_where: bool = False) -> Pushed:
    """The conditions to push, and what they leave of the statement.

    ``only_where``: no more than terms of a WHERE that read one reference.
    """
    aliases = {reference.alias for reference in bindings.references}
    found: dict[str, list[tree.Node]] = {alias: [] for alias in aliases}

    def change(node: tree.Node) -> tree.Node:
        if node.get("type") == "SELECT_NODE" and node["where_clause"] and node["sample"] is None:
            rest = _rest_of_where(node, aliases, found)
            if not only_where:
                _push_of_branches(rest, kept_whole(node["from_table"], aliases), aliases, found)
            node = {**node, "where_clause": tree.conjunction(rest)}
        elif node.get("type") == "JOIN" and node["ref_type"] == "REGULAR" and not only_where:
            node = _without_terms_of_on(node, aliases, found)
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


def _push_of_branches(
    conditions: list[tree.Node],
    reachable: set[str],
    aliases: set[str],
    found: Mapping[str, list[tree.Node]],
) -> None:
    """What each branch of a disjunction asks of one reference, as a disjunction over its rows."""
    for condition in conditions:
        if condition.get("type") != "CONJUNCTION_OR" or is_volatile(condition):
            continue
        branches = [tree.conjuncts(branch) for branch in condition["children"]]
        for alias in sorted(reachable):
            own = [
                tree.conjunction([term for term in terms if only_alias(term, aliases) == alias])
                for terms in branches
            ]
            if all(term is not None for term in own):
                found[alias].append(over_rows({**condition, "children": own}))


def _without_terms_of_on(
    join: tree.Node, aliases: set[str], found: Mapping[str, list[tree.Node]]
) -> tree.Node:
    """A join without the terms of its ON that move down, which are appended to the others."""
    left, right = _DROPPED_BY_ON.get(join["join_type"], (False, False))
    reachable = kept_whole(join["left"], aliases) if left else set()
    reachable |= kept_whole(join["right"], aliases) if right else set()
    rest = []
    for condition in tree.conjuncts(join["condition"]):
        alias = only_alias(condition, aliases)
        if alias in reachable and not is_volatile(condition):
            found[str(alias)].append(over_rows(condition))
        else:
            rest.append(condition)
    if join["condition"] and not rest:
        rest = [tree.constant("BOOLEAN", "true")]
    return {**join, "condition": tree.conjunction(rest)}


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
