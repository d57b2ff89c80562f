"""PIVOT statements that do not say which values become columns: the values are asked for first.

The engine's own parser makes two statements of them, one of which creates a type, so it is given a
text in which ``ON type`` is ``ON (type) IN ('…')`` with a mark for the values. Before the statement
is planned, the values of one PIVOT after the other are asked for, by a statement of its own at the
same cut; innermost first, since what a PIVOT reads may be a PIVOT. As in the engine, values are
compared and ordered as text, and NULL becomes no column.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from aggregator.statement import tree
from alder.errors import AlderError, Reason
from alder.sqltext import Kind, Token, tokens

VALUES_MAX: Final = 1_000
MARK: Final = "\ue000 values of a PIVOT"
_NOTHING: Final = "\ue000 no value"
_WORTH_A_LOOK: Final = re.compile(r"\bPIVOT(_WIDER)?\b", re.IGNORECASE)
_PIVOT: Final = frozenset({"PIVOT", "PIVOT_WIDER"})
_AFTER_ON: Final = frozenset(
    {"USING", "GROUP", "ORDER", "LIMIT", "OFFSET", "UNION", "EXCEPT", "INTERSECT"}
)
_OPENING: Final = frozenset({"(", "[", "{"})
_CLOSING: Final = frozenset({")", "]", "}"})


@dataclass(frozen=True, slots=True)
class OpenPivot:
    """A PIVOT whose values are to be asked for by ``question``, whose one column has them."""

    node: tree.Node
    place: int
    question: tree.Node


def marked(sql: str) -> str:
    """The text in which every PIVOT statement has an IN."""
    if _WORTH_A_LOOK.search(sql) is None:
        return sql
    words = list(tokens(sql))
    made, done = [], 0
    for begin, end in _open_items(words):
        made += [sql[done:begin], "(", sql[begin:end], f") IN ('{MARK}')"]
        done = end
    return "".join([*made, sql[done:]])


def first_open(query: tree.Node) -> OpenPivot | None:
    """The open PIVOT that is to be asked for next; None if there is none."""
    return next(_open(query, {}), None)


def answered(query: tree.Node, pivot: OpenPivot, values: Sequence[str | None]) -> tree.Node:
    """The statement with the values of a PIVOT. Raises AlderError(LIMIT) for too many of them."""
    found = sorted({value for value in values if value is not None}, key=str.encode)
    if len(values) > VALUES_MAX:
        raise AlderError(
            Reason.LIMIT,
            f"PIVOT would make more than {VALUES_MAX} columns; say which by ON … IN (…)",
        )
    pivots = list(pivot.node["pivots"])
    (expression,) = pivots[pivot.place]["pivot_expressions"]
    entries = [
        {"values": [], "star_expr": tree.constant("STRING", value), "alias": ""}
        for value in found or [_NOTHING]
    ]
    pivots[pivot.place] = {
        **pivots[pivot.place],
        "pivot_expressions": [tree.cast(expression, "VARCHAR")],
        "entries": entries,
    }
    closed = {**pivot.node, "pivots": pivots}
    if not found:
        closed = _without_values(closed)

    def change(part: tree.Node) -> tree.Node:
        return closed if part is pivot.node else tree.mapped(part, change)

    return change(query)


def _without_values(pivot: tree.Node) -> tree.Node:
    """A PIVOT that makes columns of nothing: its groups, as a subquery, which the engine's is not.

    The names of what it makes hold the value that stands for none.
    """
    plain = tree.constant("STRING", f"[^{_NOTHING[0]}]*")
    is_group = tree.function("regexp_full_match", tree.column("name"), plain)
    groups = tree.function("list_filter", tree.star(), tree.lambda_of("name", is_group))
    source = {**pivot, "alias": "", "column_name_alias": []}
    query = tree.select([{**tree.star(), "columns": True, "expr": groups}], source)
    table = tree.subquery_table(query, pivot["alias"])
    return {**table, "column_name_alias": pivot["column_name_alias"]}


def _open(node: tree.Node, ctes: Mapping[str, tree.Node]) -> Iterator[OpenPivot]:
    """The open PIVOTs below a node, those that others read first."""
    if "cte_map" in node:
        for entry in node["cte_map"]["map"]:
            yield from _open(entry["value"]["query_node"], ctes)
            ctes = {**ctes, entry["key"]: entry}
    if node.get("type") == "PIVOT":
        yield from _open(node["source"], ctes)
    for child in tree.children({key: value for key, value in node.items() if key != "cte_map"}):
        yield from _open(child, ctes)
    if node.get("type") == "PIVOT":
        for place, pivot in enumerate(node["pivots"]):
            if _is_marked(pivot):
                yield OpenPivot(node, place, _question(node, pivot, list(ctes.values())))


def _question(node: tree.Node, pivot: tree.Node, ctes: list[tree.Node]) -> tree.Node:
    (expression,) = pivot["pivot_expressions"]
    item = tree.named(tree.cast(expression, "VARCHAR"), "value")
    first = tree.constant("INTEGER", "1")
    limit = tree.limit(VALUES_MAX + 1)
    query = tree.select([item], node["source"], groups=[first], modifiers=[limit])
    return {**query, "cte_map": {"map": ctes}}


def _is_marked(pivot: tree.Node) -> bool:
    return any(
        entry["star_expr"] is not None and tree.literal(entry["star_expr"]) == ("STRING", MARK)
        for entry in pivot["entries"]
    )


def _open_items(words: Sequence[Token]) -> Iterator[tuple[int, int]]:
    """Begin and end, in the text, of what PIVOT statements list after ON without an IN."""
    items = []
    for place, token in enumerate(words):
        if token.word in _PIVOT and _begins_statement(words, place):
            items += _items(words, place + 1)
    yield from sorted(items)


def _begins_statement(words: Sequence[Token], place: int) -> bool:
    """True for a PIVOT statement, False for the PIVOT of a table after FROM."""
    before = words[place - 1] if place else None
    if before is not None and not (before.kind is Kind.SIGN and before.text in "()"):
        return False
    if place + 1 < len(words) and words[place + 1].text == "(":
        inner, _ = _level(words, place + 2)
        return all(words[one].word != "FOR" for one in inner)
    return True


def _level(words: Sequence[Token], begin: int) -> tuple[list[int], int]:
    """The places of the tokens from here on that are in no bracket, and where this level ends."""
    found: list[int] = []
    depth = 0
    for place in range(begin, len(words)):
        sign = words[place].text if words[place].kind is Kind.SIGN else ""
        if depth == 0 and (sign == ";" or sign in _CLOSING):
            return found, place
        if depth == 0:
            found.append(place)
        depth += (sign in _OPENING) - (sign in _CLOSING)
    return found, len(words)


def _items(words: Sequence[Token], place: int) -> list[tuple[int, int]]:
    level, end = _level(words, place)
    on = next((one for one in level if words[one].word == "ON"), None)
    if on is None:
        return []
    listed = [one for one in level if one > on]
    end = next((one for one in listed if words[one].word in _AFTER_ON), end)
    commas = [one for one in listed if one < end and words[one].text == ","]
    found = []
    for begin, after in pairwise([on, *commas, end]):
        item = [one for one in listed if begin < one < after]
        if item and all(words[one].word != "IN" for one in item):
            found.append((words[begin + 1].begin, words[after - 1].end))
    return found
