"""A CTE that is read in one place stands there as a subquery, which says the same.

So conditions above it move below it, and it is planned as if it had been written there
(:mod:`aggregator.planning.inline`). One that is materialised on purpose stays, and so does one of
which it is not certain that a name means it.
"""

from collections.abc import Sequence
from typing import Final

from aggregator.planning import pushdown
from aggregator.statement import tree
from aggregator.statement.scope import Bindings

ENTRIES_MAX: Final = 32
_PLAIN: Final = "CTE_MATERIALIZE_DEFAULT"
_NONE: Final[tree.Node] = {"map": []}


def in_place(query: tree.Node, bindings: Bindings) -> tree.Node | None:
    """The query with a CTE that reads one collection, and is read once, where it is read.

    None where there is no such CTE. Statements with more than :data:`ENTRIES_MAX` are left alone.
    """
    parts = list(tree.walk(query))
    entries = [entry for part in parts for entry in part.get("cte_map", _NONE)["map"]]
    if len(entries) > ENTRIES_MAX:
        return None
    for entry in entries:
        if pushdown.lone_reference(entry["value"]["query_node"], bindings) is not None:
            use = _only_use(parts, entry)
            if use is not None:
                return _placed(query, entry, use)
    return None


def _only_use(parts: Sequence[tree.Node], entry: tree.Node) -> tree.Node | None:
    """The one place where a CTE is read; None where another name may be meant, or it must stay."""
    name, value = entry["key"].lower(), entry["value"]
    named = [part for part in parts if "key" in part and str(part["key"]).lower() == name]
    uses = [part for part in parts if _means(part, name)]
    if value["materialized"] != _PLAIN or len(named) != 1 or len(uses) != 1:
        return None
    [use] = uses
    return use if use["sample"] is None and use["at_clause"] is None else None


def _placed(query: tree.Node, entry: tree.Node, use: tree.Node) -> tree.Node:
    value = entry["value"]
    table = tree.subquery_table(value["query_node"], use["alias"] or entry["key"])
    table["column_name_alias"] = _renamed(value["aliases"], use["column_name_alias"])

    def change(node: tree.Node) -> tree.Node:
        if node is use:
            return table
        if "cte_map" in node:
            left = [one for one in node["cte_map"]["map"] if one is not entry]
            node = {**node, "cte_map": {"map": left}}
        return tree.mapped(node, change)

    return change(query)


def _means(part: tree.Node, name: str) -> bool:
    """True for a table that is the CTE of this name."""
    return (
        part.get("type") == "BASE_TABLE"
        and str(part["table_name"]).lower() == name
        and not part["schema_name"]
        and not part["catalog_name"]
    )


def _renamed(own: Sequence[str], used: Sequence[str]) -> list[str]:
    """Names of the first columns: those given where it is read go before those of the CTE."""
    return [*used, *own[len(used) :]]
