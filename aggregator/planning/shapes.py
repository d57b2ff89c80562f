"""Shapes: one plan for all statements that differ only in values that columns are compared with.

A value is taken out of a statement where it stands alone on one side of a comparison in the WHERE,
with a column on the other, and the column is of a type that takes every value of that kind. The
plan is then made with a mark in the value's place, and each query puts its own value where the mark
is. A mark is an ordinary literal that the statement holds nowhere else, so planning has no second
way; a value that may change the plan stays in the statement, and is planned with it.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import orjson

from aggregator.planning.plan import Plan
from aggregator.statement import tree
from aggregator.statement.bind import Bound
from alder.v1 import leaf_pb2

Literal = tuple[str, str]
"""Kind and text of a literal, as :func:`aggregator.statement.tree.literal` gives them."""

SLOTS_MAX: Final = 10_000
_COMPARISONS: Final = frozenset(
    {
        "COMPARE_EQUAL",
        "COMPARE_NOTEQUAL",
        "COMPARE_LESSTHAN",
        "COMPARE_LESSTHANOREQUALTO",
        "COMPARE_GREATERTHAN",
        "COMPARE_GREATERTHANOREQUALTO",
    }
)
_CONNECTIVES: Final = frozenset({"CONJUNCTION_AND", "CONJUNCTION_OR", "OPERATOR_NOT"})
_TYPES: Final[Mapping[str, frozenset[str]]] = {
    "STRING": frozenset({"VARCHAR"}),
    "INTEGER": frozenset({"INTEGER", "BIGINT", "DOUBLE"}),
}
_SLOT: Final = "SLOT"
_TEXT_MARK: Final = "alder value "
_NUMBER_MARK: Final = 8_731_559_204_610_000
_INTEGER_MAX: Final = 1 << 53
_MARK: Final = re.compile(rf"""(['"]){_TEXT_MARK}(\d+)\1|\b{_NUMBER_MARK // 10_000}(\d{{4}})\b""")
"""Marks and values that are numbers are exact as DOUBLE, so all compare alike with a column."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A statement without some of its values; equal shapes have equal ``text``.

    ``values`` are what was taken out: literals, or the names of parameters. ``parameters`` are the
    names of those that are (also) elsewhere.
    """

    text: str
    node: tree.Node
    values: tuple[Literal | str, ...]
    parameters: frozenset[str]


def shape_of(sql: str, node: tree.Node) -> Shape:
    """The shape of a statement."""
    where = node.get("where_clause")
    values: list[Literal | str] = []
    if node.get("type") == "SELECT_NODE" and where is not None and not holds_mark(sql):
        taken = {**node, "where_clause": _without_values(where, values)}
    if not values or len(values) > SLOTS_MAX:
        return Shape(sql, node, (), _parameters(node))
    text = json.dumps(_without_places(taken))
    return Shape(text, taken, tuple(values), _parameters(taken))


def kinds(values: Sequence[Literal]) -> str | None:
    """What the plan depends on of the values; None where it may depend on more."""
    return "".join([kind[0] for kind, _ in values]) if all(map(_is_free, values)) else None


def holds_mark(text: str) -> bool:
    """True if a text may hold what looks like a mark."""
    return _TEXT_MARK in text or str(_NUMBER_MARK // 10_000) in text


def marked(shape: Shape, values: Sequence[Literal]) -> tree.Node:
    """The statement with a mark for each value."""
    return _filled(shape, lambda slot: _mark(slot, values[slot][0]))


def whole(shape: Shape, values: Sequence[Literal | tree.Node]) -> tree.Node:
    """The statement with its values."""

    def value(slot: int) -> tree.Node:
        found = values[slot]
        return found if isinstance(found, dict) else tree.constant(*found)

    return _filled(shape, value)


def is_free(bound: Bound) -> bool:
    """True if every mark is compared with a column of a type that takes any value of its kind."""
    return all(
        _fits(column, value, bound)
        for part in tree.walk(bound.node)
        for column, value in _pairs(part)
        if _slot_of(value) is not None
    )


class Template:
    """The plan of a marked statement, to be filled with the values of a query."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._sql = _Text(plan.sql)
        self._reads = [
            (read, _Fragment(read.fragment), None if read.count is None else _Fragment(read.count))
            for read in plan.reads
        ]
        self._broadcasts = [(table, Template(other)) for table, other in plan.broadcasts]
        self._colocated = [(table, Template(other)) for table, other in plan.colocated]

    def filled(self, values: Sequence[Literal]) -> Plan:
        """The plan for these values, which are of the kinds that it was made for."""
        quoted = [_in_sql(value) for value in values]
        in_json = [_in_json(value) for value in values]
        reads = tuple(
            replace(
                read,
                fragment=fragment.filled(quoted, in_json),
                count=None if count is None else count.filled(quoted, in_json),
            )
            for read, fragment, count in self._reads
        )
        return replace(
            self._plan,
            reads=reads,
            sql=self._sql.filled(quoted),
            broadcasts=tuple((table, other.filled(values)) for table, other in self._broadcasts),
            colocated=tuple((table, other.filled(values)) for table, other in self._colocated),
        )


class _Text:
    """A text with marks, taken apart at them."""

    def __init__(self, text: str) -> None:
        self._parts: list[str] = []
        self._slots: list[int] = []
        end = 0
        for match in _MARK.finditer(text):
            self._parts += [text[end : match.start()], ""]
            self._slots.append(int(match[2] or match[3]))
            end = match.end()
        self._parts.append(text[end:])

    @property
    def slot(self) -> int | None:
        """The slot of a mark that is all of the text."""
        return self._slots[0] if self._parts == ["", "", ""] else None

    def filled(self, values: Sequence[str]) -> str:
        parts = list(self._parts)
        parts[1::2] = [values[slot] for slot in self._slots]
        return "".join(parts)


class _Terms:
    """Terms with marks among their values."""

    def __init__(self, terms: Sequence[leaf_pb2.Term]) -> None:
        self._texts = [[_Text(value) for value in term.values_json] for term in terms]
        self._slots = [[text.slot for text in texts] for texts in self._texts]

    def fill(self, terms: Sequence[leaf_pb2.Term], values: Sequence[str]) -> None:
        for term, texts, slots in zip(terms, self._texts, self._slots, strict=True):
            term.values_json.extend(
                text.filled(values) if slot is None else values[slot]
                for text, slot in zip(texts, slots, strict=True)
            )


class _Fragment:
    """A fragment with marks in its SQL, terms and conditions."""

    def __init__(self, fragment: leaf_pb2.Fragment) -> None:
        self._bare = _without_texts(fragment)
        self._sql = _Text(fragment.sql)
        self._terms = _Terms(fragment.terms)
        self._conditions = [
            (_Text(condition.value.sql), _Terms(condition.terms))
            for condition in fragment.aggregation.conditions
        ]

    def filled(self, quoted: Sequence[str], in_json: Sequence[str]) -> leaf_pb2.Fragment:
        fragment = leaf_pb2.Fragment()
        fragment.CopyFrom(self._bare)
        fragment.sql = self._sql.filled(quoted)
        self._terms.fill(fragment.terms, in_json)
        if self._conditions:
            made = zip(fragment.aggregation.conditions, self._conditions, strict=True)
            for condition, (sql, terms) in made:
                condition.value.sql = sql.filled(quoted)
                terms.fill(condition.terms, in_json)
        return fragment


def _without_texts(fragment: leaf_pb2.Fragment) -> leaf_pb2.Fragment:
    """A fragment without what is filled in."""
    bare = leaf_pb2.Fragment()
    bare.CopyFrom(fragment)
    bare.ClearField("sql")
    conditions = bare.aggregation.conditions if bare.HasField("aggregation") else []
    for terms in (bare.terms, *(condition.terms for condition in conditions)):
        for term in terms:
            term.ClearField("values_json")
    return bare


def _without_values(node: tree.Node, values: list[Literal | str]) -> tree.Node:
    """A condition with numbered slots in place of what is appended to ``values``."""

    def take(child: tree.Node) -> tree.Node:
        value = tree.literal(child) or child.get("identifier")
        if value is None:
            return child
        values.append(value)
        return {"class": _SLOT, "type": _SLOT, "slot": len(values) - 1}

    kind = str(node.get("type"))
    if kind in _CONNECTIVES:
        children = [_without_values(child, values) for child in node["children"]]
        return {**node, "children": children}
    if kind == "COMPARE_IN" and _is_name(node["children"][0]):
        first, *others = node["children"]
        return {**node, "children": [first, *map(take, others)]}
    if kind == "COMPARE_BETWEEN" and _is_name(node["input"]):
        return {**node, "lower": take(node["lower"]), "upper": take(node["upper"])}
    if kind in _COMPARISONS and _is_name(node["left"]):
        return {**node, "right": take(node["right"])}
    if kind in _COMPARISONS and _is_name(node["right"]):
        return {**node, "left": take(node["left"])}
    return node


def _parameters(node: tree.Node) -> frozenset[str]:
    parts = tree.walk(node)
    return frozenset(part["identifier"] for part in parts if part.get("class") == "PARAMETER")


def _is_name(node: tree.Node) -> bool:
    return node.get("type") == "COLUMN_REF"


def _pairs(node: tree.Node) -> list[tuple[tree.Node, tree.Node]]:
    """What is compared with what in a node, both ways."""
    match str(node.get("type")):
        case "COMPARE_IN":
            first, *others = node["children"]
            return [(first, other) for other in others]
        case "COMPARE_BETWEEN":
            return [(node["input"], node["lower"]), (node["input"], node["upper"])]
        case kind if kind in _COMPARISONS:
            return [(node["left"], node["right"]), (node["right"], node["left"])]
    return []


def _fits(column: tree.Node, value: tree.Node, bound: Bound) -> bool:
    if not _is_name(column):
        return False
    entry = bound.bindings.field_of(column["column_names"][-1])
    found = tree.literal(value)
    return entry is not None and found is not None and entry.sql_type in _TYPES[found[0]]


def _filled(shape: Shape, value: Callable[[int], tree.Node]) -> tree.Node:
    def change(node: tree.Node) -> tree.Node:
        if node.get("type") == _SLOT:
            return value(node["slot"])
        return tree.mapped(node, change)

    if not shape.values:
        return shape.node
    return {**shape.node, "where_clause": change(shape.node["where_clause"])}


def _mark(slot: int, kind: str) -> tree.Node:
    text = f"{_TEXT_MARK}{slot}" if kind == "STRING" else str(_NUMBER_MARK + slot)
    return tree.constant(kind, text)


def _slot_of(node: tree.Node) -> str | None:
    found = tree.literal(node)
    if found is None or found[0] not in _TYPES:
        return None
    return found[1] if _MARK.fullmatch(_in_sql(found)) else None


def _is_free(value: Literal) -> bool:
    kind, text = value
    if kind == "STRING":
        return text.isprintable()
    return kind == "INTEGER" and len(text) < 18 and abs(int(text)) <= _INTEGER_MAX


def _in_sql(value: Literal) -> str:
    kind, text = value
    return "'" + text.replace("'", "''") + "'" if kind == "STRING" else text


def _in_json(value: Literal) -> str:
    kind, text = value
    return orjson.dumps(text).decode() if kind == "STRING" else str(int(text))


def _without_places(node: tree.Node) -> tree.Node:
    places = ("query_location", "query_location_length")
    kept = {key: value for key, value in node.items() if key not in places}
    return tree.mapped(kept, _without_places)
