"""Functions that make much of little: the size of what one call makes is checked before it runs.

The engine bounds the memory of what lies in its tables, not that of a value while it is made, and a
single call can't be interrupted: `repeat('x', 1e9)` would take gigabytes and half a minute whatever
the limits are. So the argument that sets the size becomes a CASE that fails where the size is
beyond :data:`alder.bounds.VALUES_MAX`, wherever the call stands, here and in fragments.
"""

from collections.abc import Mapping
from typing import Final

from aggregator.statement import tree
from aggregator.statement.syntax import Parser
from alder.bounds import TOO_LARGE, VALUES_MAX

_NUMBER: Final = (
    "coalesce(try_cast({0}::VARCHAR AS DOUBLE), epoch_us(try_cast({0}::VARCHAR AS {1})))"
)
_FIRST, _SECOND = (_NUMBER.format(name, "TIMESTAMP") for name in ("a0", "a1"))
_STEP: Final = _NUMBER.format("a2", "INTERVAL")
_SIZES: Final[Mapping[str, tuple[int, Mapping[int, str]]]] = {
    "repeat": (1, {2: "a1::DOUBLE * length(a0::VARCHAR)"}),
    "lpad": (1, {3: "a1::DOUBLE"}),
    "rpad": (1, {3: "a1::DOUBLE"}),
    "bitstring": (1, {2: "a1::DOUBLE"}),
    "list_resize": (1, {2: "a1::DOUBLE", 3: "a1::DOUBLE"}),
    "array_resize": (1, {2: "a1::DOUBLE", 3: "a1::DOUBLE"}),
    "range": (
        0,
        {
            1: "a0::DOUBLE",
            2: f"abs({_SECOND} - {_FIRST})",
            3: f"abs(({_SECOND} - {_FIRST}) / nullif({_STEP}, 0))",
        },
    ),
}
_ALIKE: Final = {"generate_series": "range"}


def with_bounds(node: tree.Node, parser: Parser) -> tree.Node:
    """The tree in which calls of such functions fail where they would make too much."""

    def bounded(part: tree.Node) -> tree.Node:
        if part.get("type") == "TABLE_FUNCTION":
            # As a table these give their rows one after the other.
            return {**part, "function": tree.mapped(part["function"], bounded)}
        found = tree.mapped(part, bounded)
        if found.get("type") != "FUNCTION":
            return found
        name = str(found["function_name"]).lower()
        place, sizes = _SIZES.get(_ALIKE.get(name, name), (0, {}))
        given = tree.arguments(found)
        size = sizes.get(len(given))
        if size is None:
            return found
        arguments = list(found["arguments"])
        checked = _checked(size, place, given, parser)
        arguments[place] = {**arguments[place], "expression": checked}
        return {**found, "arguments": arguments}

    return bounded(node) if _calls_one(node) else node


def _calls_one(node: tree.Node) -> bool:
    return any(
        part.get("type") == "FUNCTION"
        and _ALIKE.get(name := str(part["function_name"]).lower(), name) in _SIZES
        for part in tree.walk(node)
    )


def _checked(size: str, place: int, given: list[tree.Node], parser: Parser) -> tree.Node:
    sql = f"CASE WHEN {size} > {VALUES_MAX} THEN error('{TOO_LARGE}') ELSE a{place} END"
    by_name = {f"a{number}": argument for number, argument in enumerate(given)}

    def filled(part: tree.Node) -> tree.Node:
        if part.get("type") == "COLUMN_REF":
            return by_name[part["column_names"][0]]
        return tree.mapped(part, filled)

    return filled(parser.parse(f"SELECT {sql}").node["select_list"][0])
