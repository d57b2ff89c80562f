"""Aliases and ordinals of a select list, replaced by the expressions that they stand for."""

from typing import Final

from aggregator.statement import tree

_ALIAS_DEPTH_MAX: Final = 16


class _TooDeep(Exception):
    """Aliases that stand for aliases without end."""


def explicit(term: tree.Node, items: list[tree.Node]) -> tree.Node | None:
    """A term of GROUP BY or ORDER BY without ordinals and aliases.

    None where it stands for nothing or for all columns.
    """
    found = tree.literal(term)
    if found is not None and found[0] == "INTEGER":
        position = int(found[1])
        item = items[position - 1] if 1 <= position <= len(items) else None
        return unaliased(item, items) if item is not None and item["type"] != "STAR" else None
    return None if term.get("type") == "STAR" else unaliased(term, items)


def unaliased(node: tree.Node, items: list[tree.Node]) -> tree.Node | None:
    """A bound expression without aliases; None where they are nested too deeply.

    What a lambda holds stays as it is, since its parameters may have the names of aliases.
    """
    try:
        return _unaliased(node, items, _ALIAS_DEPTH_MAX)
    except _TooDeep:
        return None


def _unaliased(node: tree.Node, items: list[tree.Node], depth: int) -> tree.Node:
    if node.get("type") == "LAMBDA":
        return node
    if node.get("type") == "COLUMN_REF" and len(node["column_names"]) == 1:
        name = node["column_names"][0].lower()
        for item in items:
            if item["alias"].lower() == name:
                if depth == 0:
                    raise _TooDeep
                return tree.named(_unaliased(tree.named(item, ""), items, depth - 1), "")
    return tree.mapped(node, lambda child: _unaliased(child, items, depth))
