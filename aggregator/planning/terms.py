"""Terms: the simple conditions among a fragment's filters, for the leaf's indexes to narrow by.

A term is given only where comparing means on the leaf's physical values what it means in SQL on
this column's type; a condition left out costs time, never rows (I3).
"""

import re
from collections.abc import Callable, Iterable, Mapping
from math import isfinite
from typing import Final

from aggregator.statement import tree
from aggregator.statement.names import Field
from alder.v1 import leaf_pb2

_OPERATORS: Final[Mapping[str, str]] = {
    "COMPARE_EQUAL": "=",
    "COMPARE_NOTEQUAL": "<>",
    "COMPARE_LESSTHAN": "<",
    "COMPARE_LESSTHANOREQUALTO": "<=",
    "COMPARE_GREATERTHAN": ">",
    "COMPARE_GREATERTHANOREQUALTO": ">=",
}
_MIRRORED: Final[Mapping[str, str]] = {
    "=": "=", "<>": "<>", "<": ">", "<=": ">=", ">": "<", ">=": "<=",
}  # fmt: skip
_TERMS_PER_CONDITION: Final = {"COMPARE_BETWEEN": 2}
_ELEMENTS: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        ["list_contains", "list_has", "array_contains", "array_has", "contains"], "has"
    ),
    **dict.fromkeys(["list_has_any", "array_has_any", "&&"], "has any"),
    **dict.fromkeys(["list_has_all", "array_has_all", "@>"], "has all"),
}
"""Functions of a list and an element, or a list of some."""
_PREFIX: Final = frozenset({"starts_with", "prefix", "^@"})
_PRESENCE: Final[Mapping[str, str]] = {
    "OPERATOR_IS_NULL": "null",
    "OPERATOR_IS_NOT_NULL": "not null",
}
_LIST: Final = "[]"
_PREFIX_PATTERN: Final = re.compile(r"[^%_]+%\Z", re.DOTALL)
_EXACT_IN_DOUBLE: Final = 1 << 53
_DIGITS_IN_DOUBLE: Final = 15
"""Digits up to which a decimal literal is the same DOUBLE however it is computed."""
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d\Z")
_STRING_ESCAPES: Final = {ord('"'): '\\"', ord("\\"): "\\\\"}


def terms(
    conditions: Iterable[tree.Node], field_of: Callable[[str], Field | None]
) -> list[leaf_pb2.Term]:
    """The terms among conditions that must all hold."""
    found: list[leaf_pb2.Term] = []
    for condition in conditions:
        found += _of_condition(condition, field_of)
    return found


def exact(condition: tree.Node, field_of: Callable[[str], Field | None]) -> list[leaf_pb2.Term]:
    """Terms that together mean the same as a condition; none where there are no such."""
    found = _of_condition(condition, field_of)
    whole = len(found) == _TERMS_PER_CONDITION.get(str(condition.get("type")), 1)
    return found if whole else []


def _of_condition(node: tree.Node, field_of: Callable[[str], Field | None]) -> list[leaf_pb2.Term]:
    kind = str(node.get("type"))
    if kind in _OPERATORS:
        operator = _OPERATORS[kind]
        pairs = [(node["left"], operator, [node["right"]])]
        pairs.append((node["right"], _MIRRORED[operator], [node["left"]]))
    elif kind == "COMPARE_IN":
        pairs = [(node["children"][0], "in", node["children"][1:])]
    elif kind == "COMPARE_BETWEEN":
        pairs = [(node["input"], ">=", [node["lower"]]), (node["input"], "<=", [node["upper"]])]
    elif kind in _PRESENCE:
        pairs = [(node["children"][0], _PRESENCE[kind], [])]
    elif kind == "FUNCTION" and len(tree.arguments(node)) == 2:
        pairs = _of_function(node, field_of)
    else:
        return []
    made = [_term(column, operator, values, field_of) for column, operator, values in pairs]
    return [term for term in made if term is not None]


def _of_function(
    node: tree.Node, field_of: Callable[[str], Field | None]
) -> list[tuple[tree.Node, str, list[tree.Node]]]:
    """The columns, operators and values that a function of a column and a value stands for."""
    name, (column, value) = str(node["function_name"]).lower(), tree.arguments(node)
    if name == "~~":
        literal = tree.literal(value)
        if literal is None or literal[0] != "STRING" or not _PREFIX_PATTERN.match(literal[1]):
            return []
        return [(column, "prefix", [tree.constant("STRING", literal[1][:-1])])]
    if name in _PREFIX:
        return [(column, "prefix", [value])]
    if name not in _ELEMENTS or not _is_list(column, field_of):
        return []
    operator = _ELEMENTS[name]
    if operator == "has":
        return [(column, operator, [value])]
    if value.get("type") != "FUNCTION" or value["function_name"] != "list_value":
        return []
    elements = tree.arguments(value)
    if operator == "has any":
        return [(column, operator, elements)] if elements else []
    return [(column, "has", [element]) for element in elements]


def _is_list(column: tree.Node, field_of: Callable[[str], Field | None]) -> bool:
    if column.get("type") != "COLUMN_REF":
        return False
    entry = field_of(column["column_names"][-1])
    return entry is not None and entry.sql_type.endswith(_LIST)


def _term(
    column: tree.Node,
    operator: str,
    values: list[tree.Node],
    field_of: Callable[[str], Field | None],
) -> leaf_pb2.Term | None:
    if column.get("type") != "COLUMN_REF":
        return None
    entry = field_of(column["column_names"][-1])
    if entry is None or entry.overflow:
        return None
    kind = entry.sql_type
    if operator == "prefix" and kind != "VARCHAR":
        return None
    if operator in _ELEMENTS.values():
        kind = kind.removesuffix(_LIST)
    texts = [_json_value(value, kind) for value in values]
    known = [text for text in texts if text is not None]
    if len(known) != len(texts):
        return None
    return leaf_pb2.Term(path=entry.path, operator=operator, values_json=known)


def _json_value(node: tree.Node, sql_type: str) -> str | None:
    """A literal as JSON, None unless it compares exactly with values of the type."""
    found = _time(node) if sql_type == "TIMESTAMP" else tree.literal(node)
    if found is None:
        return None
    match sql_type, *found:
        case "VARCHAR" | "TIMESTAMP", "STRING", str(text):
            return f'"{text.translate(_STRING_ESCAPES)}"' if text.isprintable() else None
        case "BIGINT" | "INTEGER", "INTEGER", str(text):
            return text if -(1 << 63) <= int(text) < 1 << 63 else None
        case "DOUBLE", "INTEGER", str(text):
            return text if abs(int(text)) <= _EXACT_IN_DOUBLE else None
        case "DOUBLE", "NUMERIC", str(text):
            digits = sum(character.isdigit() for character in text)
            exact = digits <= _DIGITS_IN_DOUBLE and isfinite(float(text))
            return repr(float(text)) if exact else None
        case "BOOLEAN", "BOOLEAN", str(text):
            return text
    return None


def _time(node: tree.Node) -> tuple[str, str] | None:
    """The literal of a time, also behind a cast to one; a date is its midnight."""
    if node.get("type") != "OPERATOR_CAST" or node["try_cast"]:
        return tree.literal(node)
    kind, found = node["type_expr"].get("type_name"), tree.literal(node["child"])
    is_date = found is not None and _DATE.match(found[1])
    return found if kind == "TIMESTAMP" or (kind == "DATE" and is_date) else None
