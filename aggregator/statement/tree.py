"""The syntax tree: the engine's own, as it serialises it to JSON.

A node is a dict that the engine's parser wrote and that the engine turns back into SQL, so the
grammar, the precedence and the names of functions are those of the engine itself, with nothing
translated between two dialects. Nodes are treated as values: a rewrite builds new nodes, and the
helpers here are the only place that knows how a node is laid out.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any, Final

Node = dict[str, Any]
"""One node. Its values are whatever the engine serialises, hence Any."""

_NOT_MEANING: Final = frozenset({"alias", "query_location", "query_location_length"})
_ORDER: Final[Node] = {"type": "ORDER_MODIFIER", "orders": []}


def children(node: Node) -> Iterator[Node]:
    """The nodes directly inside a node, in order."""
    for value in node.values():
        if isinstance(value, dict):
            yield value
        elif isinstance(value, list):
            yield from _nodes_of_list(value)


def _nodes_of_list(values: list[Any]) -> Iterator[Node]:
    for value in values:
        if isinstance(value, dict):
            yield value
        elif isinstance(value, list):
            yield from _nodes_of_list(value)


def walk(node: Node) -> Iterator[Node]:
    """The node and all nodes below it, without recursion."""
    waiting = [node]
    while waiting:
        current = waiting.pop()
        yield current
        waiting.extend(children(current))


def mapped(node: Node, change: Callable[[Node], Node]) -> Node:
    """A copy of the node in which each direct child is ``change(child)``."""
    return {key: _mapped_value(value, change) for key, value in node.items()}


def _mapped_value(value: object, change: Callable[[Node], Node]) -> object:
    if isinstance(value, dict):
        return change(value)
    if isinstance(value, list):
        return [_mapped_value(item, change) for item in value]
    return value


def identity(node: Node) -> str:
    """A text that two expressions share if and only if they are written alike."""

    def bare(value: object) -> object:
        if isinstance(value, dict):
            return {key: bare(item) for key, item in value.items() if key not in _NOT_MEANING}
        if isinstance(value, list):
            return [bare(item) for item in value]
        return value

    return json.dumps(bare(node), sort_keys=True)


def kind(node: Node) -> str:
    """The class of an expression, or the type of a table reference or query."""
    return str(node.get("class") or node.get("type") or "")


def is_kind(node: Node, *kinds: str) -> bool:
    """True if the node is of one of these kinds."""
    return kind(node) in kinds


def column(*parts: str) -> Node:
    """A reference to a column by its (qualified) name."""
    return {
        "class": "COLUMN_REF",
        "type": "COLUMN_REF",
        "alias": "",
        "query_location": 0,
        "column_names": list(parts),
    }


def constant(literal_kind: str, text: str) -> Node:
    """A literal; the kind is INTEGER, NUMERIC, STRING, BOOLEAN or NULL_LITERAL."""
    return {
        "class": "CONSTANT",
        "type": "VALUE_CONSTANT",
        "alias": "",
        "query_location": 0,
        "literal": {"kind": literal_kind, "text": text},
    }


def literal(node: Node) -> tuple[str, str] | None:
    """Kind and text of a literal; None if the node isn't one."""
    if node.get("type") != "VALUE_CONSTANT" or "literal" not in node:
        return None
    return str(node["literal"]["kind"]), str(node["literal"]["text"])


def function(name: str, *arguments: Node) -> Node:
    """A call of a function."""
    return {
        "class": "FUNCTION",
        "type": "FUNCTION",
        "alias": "",
        "query_location": 0,
        "function_name": name,
        "schema": "",
        "filter": None,
        "order_bys": dict(_ORDER),
        "distinct": False,
        "is_operator": False,
        "export_state": False,
        "catalog": "",
        "arguments": [{"name": "", "expression": argument} for argument in arguments],
        "qualified_name": {"path": [name]},
    }


def lambda_of(parameter: str, body: Node) -> Node:
    """A lambda of one parameter."""
    return {
        "class": "LAMBDA",
        "type": "LAMBDA",
        "alias": "",
        "query_location": 0,
        "lhs": column(parameter),
        "expr": body,
        "syntax_type": "LAMBDA_KEYWORD",
    }


def operator(sign: str, left: Node, right: Node) -> Node:
    """Two operands joined by an operator."""
    return {**function(sign, left, right), "is_operator": True}


def arguments(node: Node) -> list[Node]:
    """The arguments of a call."""
    return [argument["expression"] for argument in node["arguments"]]


def cast(child: Node, type_name: str, attempt: bool = False) -> Node:
    """A cast to a type without parameters; ``attempt`` gives NULL where it fails."""
    return {
        "class": "CAST",
        "type": "OPERATOR_CAST",
        "alias": "",
        "query_location": 0,
        "child": child,
        "type_expr": _type(type_name),
        "try_cast": attempt,
    }


def _type(name: str) -> Node:
    element = name.removesuffix("[]")
    return {
        "class": "TYPE",
        "type": "TYPE",
        "alias": "",
        "query_location": 0,
        "type_name": "list" if element != name else name,
        "children": [_type(element)] if element != name else [],
        "qualified_name": {"path": ["list" if element != name else name]},
    }


def when(condition: Node, value: Node) -> Node:
    """The value where the condition is true, else NULL."""
    return {
        "class": "CASE",
        "type": "CASE_EXPR",
        "alias": "",
        "query_location": 0,
        "case_checks": [{"when_expr": condition, "then_expr": value}],
        "else_expr": constant("NULL_LITERAL", ""),
    }


def grouping(*keys: Node) -> Node:
    """The call that tells which of the keys are not among those of a group."""
    return {
        "class": "OPERATOR",
        "type": "GROUPING_FUNCTION",
        "alias": "",
        "query_location": 0,
        "children": list(keys),
    }


def conjunction(terms: list[Node]) -> Node | None:
    """The terms joined by AND; None for no terms."""
    if len(terms) < 2:
        return terms[0] if terms else None
    return {
        "class": "CONJUNCTION",
        "type": "CONJUNCTION_AND",
        "alias": "",
        "query_location": 0,
        "children": terms,
    }


def conjuncts(node: Node | None) -> list[Node]:
    """The terms of a condition that must all hold."""
    if node is None:
        return []
    if node.get("type") == "CONJUNCTION_AND":
        return [term for child in node["children"] for term in conjuncts(child)]
    return [node]


def named(node: Node, alias: str) -> Node:
    """The expression under another alias."""
    return {**node, "alias": alias}


def table(name: str, alias: str = "") -> Node:
    """A table by its name."""
    return {
        "type": "BASE_TABLE",
        "alias": alias,
        "sample": None,
        "query_location": 0,
        "schema_name": "",
        "table_name": name,
        "column_name_alias": [],
        "catalog_name": "",
        "at_clause": None,
        "qualified_name": {"path": [name]},
    }


def renamed_table(node: Node, name: str) -> Node:
    """A table under another name; its alias stays."""
    return {**node, "table_name": name, "qualified_name": {"path": [name]}}


def empty_table() -> Node:
    """The FROM of a query without one."""
    return {"type": "EMPTY", "alias": "", "sample": None, "query_location": 0}


def subquery_table(query: Node, alias: str) -> Node:
    """A query as a table."""
    return {
        "type": "SUBQUERY",
        "alias": alias,
        "sample": None,
        "query_location": 0,
        "subquery": {"node": query, "named_param_map": []},
        "column_name_alias": [],
    }


def limit(rows: int) -> Node:
    """The modifier of a query that gives so many rows at most."""
    count = constant("INTEGER", str(rows))
    return {"type": "LIMIT_MODIFIER", "limit": count, "offset": None, "limit_type": "ROW_COUNT"}


def cte(name: str, query: Node) -> Node:
    """An entry of a query's WITH."""
    value = {"aliases": [], "query_node": query, "materialized": "CTE_MATERIALIZE_DEFAULT"}
    return {"key": name, "value": {**value, "key_targets": []}}


def star() -> Node:
    """All columns."""
    return {
        "class": "STAR",
        "type": "STAR",
        "alias": "",
        "query_location": 0,
        "relation_name": "",
        "exclude_list": [],
        "replace_list": [],
        "columns": False,
        "expr": None,
        "qualified_exclude_list": [],
        "rename_list": [],
    }


def select(
    items: list[Node],
    source: Node,
    where: Node | None = None,
    groups: list[Node] | None = None,
    modifiers: list[Node] | None = None,
) -> Node:
    """A SELECT; ``groups`` are the keys of its GROUP BY."""
    return {
        "type": "SELECT_NODE",
        "modifiers": modifiers or [],
        "cte_map": {"map": []},
        "select_list": items,
        "from_table": source,
        "where_clause": where,
        "group_expressions": groups or [],
        "group_sets": [list(range(len(groups)))] if groups else [],
        "aggregate_handling": "STANDARD_HANDLING",
        "having": None,
        "sample": None,
        "qualify": None,
    }


def modifier(query: Node, modifier_type: str) -> Node | None:
    """The ORDER_MODIFIER, LIMIT_MODIFIER or DISTINCT_MODIFIER of a query."""
    for entry in query["modifiers"]:
        if entry["type"] == modifier_type:
            found: Node = entry
            return found
    return None
