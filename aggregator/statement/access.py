"""Chains of accesses on a value: ``value.key[1]['key']``."""

from aggregator.statement import tree


def steps(node: tree.Node) -> tuple[tree.Node, list[tree.Node]]:
    """The innermost value of ``value.key[1].key`` and the accesses on it, first one first."""
    found: list[tree.Node] = []
    while node.get("type") in {"STRUCT_EXTRACT", "ARRAY_EXTRACT"}:
        found.append(node)
        node = node["children"][0]
    return node, found[::-1]


def key_of(step: tree.Node) -> str | None:
    """The key that an access names; None for an index or a computed one."""
    found = tree.literal(step["children"][1])
    return found[1] if found is not None and found[0] == "STRING" else None


def as_list(node: tree.Node, sql_type: str) -> tree.Node:
    """A JSON value as a list of JSON values, NULL if it isn't a list; others unchanged."""
    return tree.cast(node, "JSON[]", attempt=True) if sql_type == "JSON" else node
