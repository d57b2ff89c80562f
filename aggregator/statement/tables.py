"""Which collections a statement reads: table names that no CTE in sight explains."""

from collections.abc import Iterable, Mapping

from aggregator.statement import tree
from aggregator.statement.names import did_you_mean, nearest_of
from alder.catalog import Collection
from alder.errors import AlderError, Reason


def tables(query: tree.Node) -> list[str]:
    """The names in the statement's FROMs that aren't CTEs, each once, as first written."""
    found: dict[str, str] = {}
    _collect(query, frozenset(), found)
    return list(found.values())


def collections_of(
    names: Iterable[str], catalog: Mapping[str, Collection]
) -> dict[str, Collection]:
    """The collection of each name, by the name as written.

    The exact spelling wins, then the only one that differs in case.
    Raises AlderError(UNKNOWN_COLLECTION) for a name without a collection.
    """
    found = {}
    for name in names:
        exact = catalog.get(name)
        if exact is not None:
            found[name] = exact
            continue
        alike = [entry for known, entry in catalog.items() if known.lower() == name.lower()]
        if len(alike) == 1:
            found[name] = alike[0]
        else:
            raise unknown_collection(name, catalog)
    return found


def unknown_collection(name: str, catalog: Iterable[str]) -> AlderError:
    """The error for a name that no collection has."""
    hint = did_you_mean(nearest_of(name, catalog))
    return AlderError(Reason.UNKNOWN_COLLECTION, f"there is no collection {name!r}{hint}")


def _collect(node: tree.Node, ctes: frozenset[str], found: dict[str, str]) -> None:
    if node.get("type") == "BASE_TABLE":
        name = node["table_name"]
        if name.lower() not in ctes:
            found.setdefault(name, name)
        return
    for entry in node["cte_map"]["map"] if "cte_map" in node else []:
        _collect(entry["value"]["query_node"], ctes, found)
        ctes = ctes | {entry["key"].lower()}
    for key, value in node.items():
        if key == "cte_map":
            continue
        inner = ctes
        if key == "right" and node.get("type") == "RECURSIVE_CTE_NODE":
            inner = ctes | {node["cte_name"].lower()}
        for child in tree.children({"value": value}):
            _collect(child, inner, found)
