"""Which collections a statement reads: table names that no CTE in sight explains."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial

from aggregator.statement import tree
from aggregator.statement.names import did_you_mean, nearest_of
from aggregator.statement.tablename import AsOf, TableName
from alder.catalog import Collection
from alder.errors import AlderError, Reason


def tables(query: tree.Node) -> list[str]:
    """The names in the statement's FROMs that aren't CTEs, each once, as first written."""
    found: dict[str, None] = {}

    def keep(table: tree.Node) -> tree.Node:
        found[table["table_name"]] = None
        return table

    mapped(query, keep)
    return list(found)


def collections_of(
    names: Iterable[str], catalog: Mapping[str, Collection]
) -> dict[str, Collection]:
    """The collection of each name, by the name as written, an encoded :class:`TableName`.

    The exact spelling wins, then the only one that differs in case.
    Raises AlderError: UNKNOWN_COLLECTION for a name without a collection, UNSUPPORTED for a version
    of one.
    """
    return {name: _collection_of(TableName.decode(name), catalog) for name in names}


def unknown_collection(name: str, catalog: Iterable[str]) -> AlderError:
    """The error for a name that no collection has."""
    hint = did_you_mean(nearest_of(name, catalog))
    return AlderError(Reason.UNKNOWN_COLLECTION, f"there is no collection {name!r}{hint}")


def mapped(query: tree.Node, change: Callable[[tree.Node], tree.Node]) -> tree.Node:
    """The query with ``change(table)`` for each table in a FROM that isn't a CTE."""
    return _mapped(query, frozenset(), change)


def read_at(query: tree.Node, as_of: AsOf) -> tree.Node:
    """The query with this moment for each table that has none."""

    def at(table: tree.Node) -> tree.Node:
        name = TableName.decode(table["table_name"])
        if name.as_of is not None:
            return table
        return tree.renamed_table(table, replace(name, as_of=as_of).encode())

    return mapped(query, at)


def _collection_of(table: TableName, catalog: Mapping[str, Collection]) -> Collection:
    found = catalog.get(table.name)
    if found is None:
        lower = table.name.lower()
        alike = [entry for known, entry in catalog.items() if known.lower() == lower]
        if len(alike) != 1:
            raise unknown_collection(table.name, catalog)
        found = alike[0]
    if table.version is not None:
        raise AlderError(
            Reason.UNSUPPORTED,
            f"{found.name} is a collection, and only views have versions; write {found.name} "
            "AS OF POSITION '...' to read it as it was",
        )
    return found


def _mapped(
    node: tree.Node, ctes: frozenset[str], change: Callable[[tree.Node], tree.Node]
) -> tree.Node:
    if node.get("type") == "BASE_TABLE":
        return node if _is_cte(node["table_name"], ctes) else change(node)
    found = dict(node)
    if "cte_map" in node:
        entries = []
        for entry in node["cte_map"]["map"]:
            value = entry["value"]
            inner_query = _mapped(value["query_node"], ctes, change)
            entries.append({**entry, "value": {**value, "query_node": inner_query}})
            ctes = ctes | {entry["key"].lower()}
        found["cte_map"] = {**node["cte_map"], "map": entries}
    for key, value in node.items():
        if key == "cte_map":
            continue
        inner = ctes
        if key == "right" and node.get("type") == "RECURSIVE_CTE_NODE":
            inner = ctes | {node["cte_name"].lower()}
        found |= tree.mapped({key: value}, partial(_mapped, ctes=inner, change=change))
    return found


def _is_cte(written: str, ctes: frozenset[str]) -> bool:
    """Raises AlderError(UNSUPPORTED) for a CTE with a version or a moment."""
    if written.lower() in ctes:
        return True
    name = TableName.decode(written)
    if name.name != written and name.name.lower() in ctes:
        raise AlderError(
            Reason.UNSUPPORTED,
            f"{name.name} is a query of this statement's WITH, which has no versions and is of no "
            "moment; write AS OF after the tables inside it, or at the very end",
        )
    return False
