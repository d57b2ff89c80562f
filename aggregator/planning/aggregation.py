"""Says what the leaf's part of an aggregate does, beside its SQL, where that is simple enough.

Every key, argument and condition is described by the columns that it reads: one that reads a single
column can be evaluated over the distinct values of that column instead of over its rows. Whatever
can't be described is not described at all, because half a description would leave out half of the
meaning.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from aggregator.functions.text import deciding
from aggregator.planning.terms import exact
from aggregator.statement import tree
from aggregator.statement.names import Field
from aggregator.statement.syntax import Parser
from alder.v1 import leaf_pb2

Named = Iterable[tuple[str, tree.Node]]
_FUNCTIONS: Final = frozenset({"avg", "count", "max", "mean", "min", "sum"})


class _NotSimple(Exception):
    """A part reads no column, or does what has no name in the contract."""


def described(
    keys: Named,
    calls: Named,
    conditions: Sequence[tree.Node],
    parser: Parser,
    field_of: Callable[[str], Field | None],
) -> leaf_pb2.Aggregation | None:
    """The aggregation of keys, calls and conditions over `rows`; None where it isn't simple."""
    try:
        return leaf_pb2.Aggregation(
            keys=[leaf_pb2.GroupKey(name=name, value=_value(node, parser)) for name, node in keys],
            aggregates=[_call(name, node, parser, field_of) for name, node in calls],
            conditions=[_condition(node, parser, field_of) for node in deciding(conditions)],
        )
    except _NotSimple:
        return None


def _call(
    name: str, node: tree.Node, parser: Parser, field_of: Callable[[str], Field | None]
) -> leaf_pb2.AggregateCall:
    function = str(node["function_name"]).lower()
    arguments = tree.arguments(node)
    if node["order_bys"]["orders"]:
        raise _NotSimple
    only = None if node["filter"] is None else _condition(node["filter"], parser, field_of)
    literal = tree.literal(arguments[0]) if len(arguments) == 1 else None
    counts_rows = literal is not None and literal[0] != "NULL_LITERAL" and not node["distinct"]
    if function == "count_star" or (function == "count" and (not arguments or counts_rows)):
        return leaf_pb2.AggregateCall(name=name, function="count_star", filter=only)
    if function not in _FUNCTIONS or len(arguments) != 1:
        raise _NotSimple
    return leaf_pb2.AggregateCall(
        name=name,
        function="avg" if function == "mean" else function,
        argument=_value(arguments[0], parser),
        distinct=bool(node["distinct"]),
        filter=only,
    )


def _condition(
    node: tree.Node, parser: Parser, field_of: Callable[[str], Field | None]
) -> leaf_pb2.RowCondition:
    return leaf_pb2.RowCondition(value=_value(node, parser), terms=exact(node, field_of))


def _value(node: tree.Node, parser: Parser) -> leaf_pb2.RowValue:
    names = set()
    for part in tree.walk(node):
        if part.get("type") in {"LAMBDA", "SUBQUERY"}:
            raise _NotSimple
        if part.get("type") == "COLUMN_REF":
            names.add(".".join(part["column_names"]))
    if not names:
        raise _NotSimple
    sql = "" if node.get("type") == "COLUMN_REF" else parser.expression_text(node)
    return leaf_pb2.RowValue(columns=sorted(names), sql=sql)
