"""Terms: the simple conditions among a fragment's filters, for the leaf's indexes to narrow by.

A term is given only where comparing means on the leaf's physical values what it means in SQL on
this column's type; a condition left out costs time, never rows (I3).
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from aggregator import tree
from aggregator.names import Field
from alder.v1 import leaf_pb2

_OPERATORS: Final[Mapping[str, str]] = {
    "COMPARE_EQUAL": "=",
    "COMPARE_LESSTHAN": "<",
    "COMPARE_LESSTHANOREQUALTO": "<=",
    "COMPARE_GREATERTHAN": ">",
    "COMPARE_GREATERTHANOREQUALTO": ">=",
}
_MIRRORED: Final[Mapping[str, str]] = {"=": "=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_TERMS_PER_CONDITION: Final = {"COMPARE_BETWEEN": 2}
_EXACT_IN_DOUBLE: Final = 1 << 53
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
    else:
        return []
    made = [_term(column, operator, values, field_of) for column, operator, values in pairs]
    return [term for term in made if term is not None]


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
    texts = [_json_value(value, entry.sql_type) for value in values]
    known = [text for text in texts if text is not None]
    if len(known) != len(texts):
        return None
    return leaf_pb2.Term(path=entry.path, operator=operator, values_json=known)


def _json_value(node: tree.Node, sql_type: str) -> str | None:
    """A literal as JSON, None unless it compares exactly with values of the type."""
    found = tree.literal(node)
    if found is None:
        return None
    match sql_type, *found:
        case "VARCHAR", "STRING", str(text):
            return f'"{text.translate(_STRING_ESCAPES)}"' if text.isprintable() else None
        case "BIGINT" | "INTEGER", "INTEGER", str(text):
            return text if -(1 << 63) <= int(text) < 1 << 63 else None
        case "DOUBLE", "INTEGER", str(text):
            return text if abs(int(text)) <= _EXACT_IN_DOUBLE else None
        case "BOOLEAN", "BOOLEAN", str(text):
            return text
    return None
