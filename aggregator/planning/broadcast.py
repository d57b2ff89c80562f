"""An aggregate over a join, as one over the rows of a single collection that meet the others.

Where each row of a FROM holds one row of a collection, the leaves of that collection can join their
rows with the other tables, which go along whole, and what they export of their parts adds up. The
join becomes a subquery of the fragment; to the split between leaves and here its columns are those
of one table, since no two columns of a statement have the same name. Where rows of one of the
others matter only beside rows of equal value, and both collections are sharded by that value in the
same way, its rows are on these leaves already and need not go along.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from aggregator.planning.joins import Reduction
from aggregator.planning.pushdown import ROWS, Pushed, kept_whole
from aggregator.planning.spread import ANYHOW, NO_SPREADS, Spread
from aggregator.statement import tree
from aggregator.statement.bind import Bound
from aggregator.statement.scope import Reference
from aggregator.statement.security import is_volatile
from alder.fieldtypes import ROW_COLUMN


@dataclass(frozen=True, slots=True)
class Joined:
    """``bound`` reads the rows of ``join`` as if they were those of ``big`` alone.

    ``beside`` is what its leaves have themselves, of the other references.
    """

    big: Reference
    bound: Bound
    join: tree.Node
    beside: Reference | None = None


def joins(
    bound: Bound,
    pushed: Pushed,
    reductions: Iterable[Reduction] = (),
    spreads: Mapping[str, Spread] = NO_SPREADS,
) -> list[Joined]:
    """Ways for each collection whose leaves could do it; none for another kind of statement."""
    node, aliases = pushed.rest, {one.alias for one in bound.bindings.references}
    if node["type"] != "SELECT_NODE" or node["sample"] is not None or node["cte_map"]["map"]:
        return []
    tables = list(_tables(node["from_table"]))
    references = {one.table: one for one in bound.bindings.references}
    names = [table.get("table_name", "") for table in tables]
    if len(tables) < 2 or sorted(names) != sorted(references) or is_volatile(node):
        return []
    if any(part.get("type") == "SUBQUERY" for part in tree.walk(node)):
        return []
    decides = [node["from_table"], *tree.conjuncts(node["where_clause"])]
    if not all(_is_bound(part, aliases) for one in decides for part in tree.walk(one)):
        return []
    whole = kept_whole(node["from_table"], aliases)
    found = [_joined(bound, pushed, one) for one in references.values() if one.alias in whole]
    for one in reductions:
        big, beside = references[one.source], references[one.target]
        own, others = (spreads.get(each.collection, ANYHOW) for each in (big, beside))
        if big.alias in whole and own.together(one.source_column, others, one.column):
            found.append(_joined(bound, pushed, big, beside))
    return found


def over_join(leaf: tree.Node, join: tree.Node) -> tree.Node:
    """A fragment that reads `rows` as one that reads the join."""
    source = leaf["from_table"]
    if source["type"] == "SUBQUERY":
        inner = over_join(source["subquery"]["node"], join)
        return {**leaf, "from_table": tree.subquery_table(inner, source["alias"])}
    return {**leaf, "from_table": tree.subquery_table(join, ROWS)}


def _joined(
    bound: Bound, pushed: Pushed, big: Reference, beside: Reference | None = None
) -> Joined:
    node = pushed.rest
    nothing = tree.empty_table()
    used = _names_in({**node, "from_table": nothing, "where_clause": None})
    columns = [
        tree.column(reference.alias, name)
        for reference in bound.bindings.references
        for name in reference.columns.values()
        if name in used
    ]
    conditions = [*tree.conjuncts(node["where_clause"]), *pushed.conditions[big.alias]]
    conditions += pushed.conditions[beside.alias] if beside else []

    def renamed(source: tree.Node) -> tree.Node:
        if source.get("table_name") == big.table:
            return tree.renamed_table(source, ROWS)
        return tree.mapped(source, renamed)

    join = tree.select(
        columns or [tree.named(tree.constant("BOOLEAN", "true"), ROW_COLUMN)],
        renamed(node["from_table"]),
        tree.conjunction(conditions),
    )

    def alone(part: tree.Node) -> tree.Node:
        if part.get("type") == "COLUMN_REF" and len(part["column_names"]) == 2:
            return {**part, "column_names": [big.alias, part["column_names"][1]]}
        return tree.mapped(part, alone)

    whole = {**node, "from_table": tree.table(big.table, big.alias), "where_clause": None}
    return Joined(big, replace(bound, node=alone(whole)), join, beside)


def _tables(source: tree.Node) -> Iterable[tree.Node]:
    """The tables of a FROM of joins; a table that is none of a collection's is one without name."""
    if source["type"] == "JOIN" and not source["using_columns"]:
        yield from _tables(source["left"])
        yield from _tables(source["right"])
    else:
        yield source if source["type"] == "BASE_TABLE" and source["sample"] is None else {}


def _is_bound(part: tree.Node, aliases: set[str]) -> bool:
    """False for a column of something else, in a lambda too, and where aliases may be meant."""
    if part.get("type") != "COLUMN_REF":
        return True
    names: Sequence[str] = part["column_names"]
    return len(names) == 2 and names[0] in aliases


def _names_in(node: tree.Node) -> frozenset[str]:
    parts = tree.walk(node)
    return frozenset(part["column_names"][-1] for part in parts if part.get("type") == "COLUMN_REF")
