"""The tree of a transformation: what it may be, and the columns that it runs with.

Allowed are SELECTs of expressions over single rows of ``_input``, with lists taken apart by
``unnest`` in the select list or in FROM, and UNION ALL of such. Anything whose outcome would depend
on which records come together in a batch is refused by its name (invariant I1): aggregates,
windows, DISTINCT, orders and limits, joins of records.

Records are told apart, and the documents of each ordered, by columns that are added here.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, Final

import duckdb

from alder.errors import AlderError, Reason
from alder.functions import is_refused

Node = dict[str, Any]
"""A node of the engine's tree. Its values are whatever the engine serialises, hence Any."""
INPUT: Final = "_input"
LISTS_MAX: Final = 8
"""Lists that one SELECT takes apart in its FROM."""
ROW: Final = "__row"
BRANCH: Final = "__branch"
PLACES: Final = tuple(f"__place{number}" for number in range(LISTS_MAX))
_OWN: Final = frozenset({ROW, BRANCH, *PLACES})
BRANCHES_MAX: Final = 64
"""SELECTs of a union."""
_UNNEST: Final = "unnest"
_CLOCKS: Final = frozenset(
    {"current_timestamp", "current_date", "current_time", "localtimestamp", "localtime"}
)
_IMPURE: Final = frozenset({"age", "version", "error"})
_MACROS: Final = frozenset(
    {"array_append", "date_add", "list_append", "list_prepend", "split_part"}
)
_EMPTY: Final[dict[str, object]] = {
    "modifiers": [],
    "group_expressions": [],
    "group_sets": [],
    "having": None,
    "qualify": None,
    "sample": None,
}


def branches_of(node: Node) -> Iterator[Node]:
    """The SELECTs of a union, checked.

    Raises AlderError for anything but expressions over single rows of the input.
    """
    if node["cte_map"]["map"]:
        raise unlike("it has a WITH")
    if any(node.get(name) not in (value, None) for name, value in _EMPTY.items()):
        raise unlike("it groups, orders, limits or samples rows, or has DISTINCT")
    if node["type"] == "SET_OPERATION_NODE":
        if node["setop_type"] not in {"UNION", "UNION_BY_NAME"} or not node["setop_all"]:
            raise unlike("it compares rows; of set operations there is UNION ALL")
        for child in node["children"]:
            yield from branches_of(child)
        return
    if node["type"] != "SELECT_NODE":
        raise unlike("it is no plain SELECT")
    _check_source(_lists(node)[0])
    for expression in [*node["select_list"], node["where_clause"], node["from_table"]]:
        for part in _walk(expression or {}):
            _check_expression(part)
    yield node


def _lists(node: Node) -> list[Node]:
    """What a SELECT reads: the input, and the lists of its FROM that are taken apart.

    Raises AlderError for other tables and joins.
    """
    found = list(_joined(node["from_table"]))
    for one in found[1:]:
        if one["type"] != "TABLE_FUNCTION" or one["function"]["function_name"] != _UNNEST:
            raise unlike(f"it joins something else than unnest(...) to {INPUT}")
        if not one["alias"] or one["sample"]:
            raise unlike("an unnest in its FROM has no alias; write unnest(...) AS name(column)")
        for name in one["column_name_alias"]:
            if str(name).lower() in _OWN:
                raise _impure(name)
    if len(found) - 1 > LISTS_MAX:
        raise AlderError(
            Reason.LIMIT, f"a transformation takes at most {LISTS_MAX} lists apart in one FROM"
        )
    return found


def _joined(table: Node) -> Iterator[Node]:
    """The tables of a FROM from left to right."""
    if table["type"] != "JOIN":
        yield table
        return
    inner = table["join_type"] == "INNER" and table["ref_type"] in {"CROSS", "REGULAR"}
    left = table["join_type"] == "LEFT" and table["ref_type"] == "REGULAR"
    if not (inner or left) or table["using_columns"]:
        raise unlike("it joins otherwise than by a comma, JOIN or LEFT JOIN ... ON")
    yield from _joined(table["left"])
    yield from _joined(table["right"])


def _check_source(table: Node) -> None:
    if table["type"] != "BASE_TABLE" or table["qualified_name"]["path"] != [INPUT]:
        raise unlike(f"it reads something else than {INPUT}")
    if table["alias"] or table["sample"] or table["at_clause"] or table["column_name_alias"]:
        raise unlike(f"{INPUT} has an alias, a sample or a moment")


def takes_apart(branch: Node) -> bool:
    """True if a SELECT can have several rows for one of its input."""
    return len(_lists(branch)) > 1 or any(
        part.get("function_name") == _UNNEST
        for expression in branch["select_list"]
        for part in _walk(expression)
    )


def lists_max(branches: Sequence[Node]) -> int:
    """The most lists that a FROM takes apart."""
    return max(len(_lists(branch)) - 1 for branch in branches)


def numbered(node: Node, numbers: Iterator[int], places: int) -> Node:
    """The same with the columns that tell records apart and order the documents of each."""
    if node["type"] == "SET_OPERATION_NODE":
        children = [numbered(child, numbers, places) for child in node["children"]]
        return {**node, "children": children}
    table, ordinals = _with_ordinals(node["from_table"])
    ordinals += [_constant(0)] * (places - len(ordinals))
    own = [
        _column(ROW),
        {**_constant(next(numbers)), "alias": BRANCH},
        *({**one, "alias": name} for one, name in zip(ordinals, PLACES, strict=False)),
    ]
    return {**node, "select_list": [*node["select_list"], *own], "from_table": table}


def _with_ordinals(table: Node) -> tuple[Node, list[Node]]:
    """A FROM whose lists number their elements, and these numbers as columns."""
    if table["type"] == "JOIN":
        left, before = _with_ordinals(table["left"])
        right, after = _with_ordinals(table["right"])
        return {**table, "left": left, "right": right}, [*before, *after]
    if table["type"] != "TABLE_FUNCTION":
        return table, []
    named = table["column_name_alias"]
    ordinal = _column(table["alias"], named[1] if len(named) > 1 else "ordinality")
    return {**table, "with_ordinality": "WITH_ORDINALITY"}, [ordinal]


def _column(*names: str) -> Node:
    return {"class": "COLUMN_REF", "type": "COLUMN_REF", "alias": "", "column_names": list(names)}


def _constant(number: int) -> Node:
    literal = {"kind": "INTEGER", "text": str(number)}
    return {"class": "CONSTANT", "type": "VALUE_CONSTANT", "alias": "", "literal": literal}


def _check_expression(part: Node) -> None:
    match part.get("class"):
        case "SUBQUERY":
            raise unlike("it has a subquery")
        case "WINDOW":
            raise unlike("it has a window function")
        case "STAR":
            raise unlike("it has a *; name what a document shall have")
        case "PARAMETER":
            raise unlike("it has a parameter")
        case "FUNCTION":
            _check_function(part)
        case "COLUMN_REF" if str(part["column_names"][-1]).lower() in _CLOCKS | _OWN:
            raise _impure(part["column_names"][-1])


def _check_function(part: Node) -> None:
    name = str(part["function_name"]).lower()
    if len(part["qualified_name"]["path"]) > 1 or part["export_state"]:
        raise AlderError(Reason.FORBIDDEN, f"call {name} by its plain name")
    if name != _UNNEST and name not in _functions():
        raise _impure(name)


@cache
def _functions() -> frozenset[str]:
    """Names of the scalar functions whose result depends on their arguments alone."""
    with duckdb.connect(":memory:") as connection:
        rows = connection.execute(
            "SELECT lower(function_name) FROM duckdb_functions() WHERE function_type = 'scalar' "
            "GROUP BY ALL HAVING bool_or(stability = 'CONSISTENT') "
            "AND NOT bool_or(stability = 'VOLATILE')"
        ).fetchall()
    names = {name for (name,) in rows if not is_refused(name)}
    return frozenset(names - _IMPURE | _MACROS)


def _walk(node: Node) -> Iterator[Node]:
    waiting: list[object] = [node]
    while waiting:
        current = waiting.pop()
        if isinstance(current, dict):
            yield current
            waiting.extend(current.values())
        elif isinstance(current, list):
            waiting.extend(current)


def unlike(why: str) -> AlderError:
    return AlderError(
        Reason.UNSUPPORTED,
        f"a transformation is one SELECT of expressions FROM {INPUT}, with unnest and a WHERE if "
        f"any, or a UNION ALL of such: {why}",
    )


def _impure(name: str) -> AlderError:
    return AlderError(
        Reason.FORBIDDEN,
        f"{name} is not available to a transformation, which may call scalar functions whose "
        "result depends on their arguments alone",
    )
