"""Class (b): rows of one collection, each by itself, with the best rows of each leaf.

Where a SELECT has an order and a limit, the best rows of all are among the best of each leaf. So
the leaves order and cut as well, by expressions over their own rows alone. The row that DISTINCT ON
takes is the first of its kind on its leaf, too, and no leaf has more such rows before it than there
are in all, so that a limit counts them on each leaf.
"""

from aggregator.planning import pushdown
from aggregator.planning.direct import Direct, direct, ending
from aggregator.statement import tree
from aggregator.statement.aliases import explicit
from aggregator.statement.bind import Bound
from aggregator.statement.scope import Reference


class _NotKnown(Exception):
    """Leaves can't tell which rows are the first ones."""


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


def picks_rows(node: tree.Node, aggregates: frozenset[str]) -> bool:
    """True for a scan, and for one with DISTINCT ON."""
    distinct = tree.modifier(node, "DISTINCT_MODIFIER")
    if distinct is not None and distinct["distinct_on_targets"]:
        node = {**node, "modifiers": [one for one in node["modifiers"] if one is not distinct]}
    return is_scan(node, aggregates)


def top(node: tree.Node, alias: str) -> list[tree.Node] | None:
    """DISTINCT ON, order and limit for the leaves; None where they can't know.

    There is nothing for them where all rows are wanted.
    """
    distinct = tree.modifier(node, "DISTINCT_MODIFIER")
    limit = tree.modifier(node, "LIMIT_MODIFIER")
    if distinct is None and limit is None:
        return []
    found = []
    try:
        if distinct is not None:
            targets = distinct["distinct_on_targets"]
            own = [_term(target, node, alias) for target in targets]
            found.append({**distinct, "distinct_on_targets": own})
        order = tree.modifier(node, "ORDER_MODIFIER")
        if order is not None:
            orders = [
                {**entry, "expression": _term(entry["expression"], node, alias)}
                for entry in order["orders"]
            ]
            found.append({**order, "orders": orders})
        return found if limit is None else [*found, _first(limit)]
    except _NotKnown:
        return None


def _term(term: tree.Node, node: tree.Node, alias: str) -> tree.Node:
    """A term of an ORDER BY or DISTINCT ON over the leaf's rows. Raises _NotKnown."""
    found = explicit(term, node["select_list"])
    if found is None or pushdown.only_alias(found, {alias}) is None:
        raise _NotKnown
    return pushdown.over_rows(tree.named(found, ""))


def _first(limit: tree.Node) -> tree.Node:
    """The limit for a leaf, which may have all rows that are to be skipped. Raises _NotKnown."""
    count = _rows(limit["limit"])
    offset = 0 if limit["offset"] is None else _rows(limit["offset"])
    if limit["limit_type"] != "ROW_COUNT" or count is None or offset is None:
        raise _NotKnown
    return {**limit, "limit": tree.constant("INTEGER", str(count + offset)), "offset": None}


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
