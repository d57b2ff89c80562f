"""Class (b): rows of one collection, each by itself, with the best rows of each leaf.

Where a SELECT has an order and a limit, the best rows of all are among the best of each leaf. So
the leaves order and cut as well, by expressions over their own rows alone.
"""

from aggregator.planning import pushdown
from aggregator.planning.direct import Direct, direct, ending
from aggregator.statement import tree
from aggregator.statement.aliases import explicit
from aggregator.statement.bind import Bound
from aggregator.statement.scope import Reference


def is_scan(node: tree.Node, aggregates: frozenset[str]) -> bool:
    """True if each row of the result comes of one row of what a SELECT reads."""
    if node["group_expressions"] or node["group_sets"] or node["having"] or node["qualify"]:
        return False
    if node["aggregate_handling"] != "STANDARD_HANDLING":
        return False
    if tree.modifier(node, "DISTINCT_MODIFIER") is not None:
        return False
    for part in tree.walk(node):
        if part.get("class") == "WINDOW":
            return False
        if part.get("type") == "FUNCTION":
            name = str(part["function_name"]).lower()
            if name == "unnest" or name in aggregates:
                return False
    return True


def top(node: tree.Node, alias: str) -> list[tree.Node] | None:
    """Order and limit for the leaves, none where there is no limit; None where they can't know."""
    limit = tree.modifier(node, "LIMIT_MODIFIER")
    if limit is None:
        return []
    count = _rows(limit["limit"])
    offset = 0 if limit["offset"] is None else _rows(limit["offset"])
    if limit["limit_type"] != "ROW_COUNT" or count is None or offset is None:
        return None
    first = [{**limit, "limit": tree.constant("INTEGER", str(count + offset)), "offset": None}]
    order = tree.modifier(node, "ORDER_MODIFIER")
    if order is None:
        return first
    orders = []
    for entry in order["orders"]:
        term = explicit(entry["expression"], node["select_list"])
        if term is None or pushdown.only_alias(term, {alias}) is None:
            return None
        orders.append({**entry, "expression": pushdown.over_rows(tree.named(term, ""))})
    return [{**order, "orders": orders}, *first]


def finished_rows(bound: Bound, reference: Reference) -> tuple[Direct, tuple[str, ...]] | None:
    """How rows that meet all conditions become the result; None where more is to be computed."""
    end = ending(bound.node, reference.alias)
    if end is None or bound.columns is None:
        return None
    types = {name: entry.sql_type for entry, name in reference.columns.items()}
    found = direct(end, bound.columns, dict.fromkeys(types, ""))
    if found is None or "VARIANT" in types.values():
        return None
    types |= {name: one.sql_type for name, one in found.constants.items()}
    return found, tuple(types[name] for name, _ in found.columns)


def _rows(node: tree.Node | None) -> int | None:
    found = tree.literal(node) if node is not None else None
    if found is None or found[0] != "INTEGER":
        return None
    return int(found[1]) if 0 <= int(found[1]) < 1 << 62 else None
