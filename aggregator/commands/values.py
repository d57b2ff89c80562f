"""Values of a saved query's parameters: literals of its text, and what a call gives.

The engine's own parser reads them. A literal becomes a parameter of the request and so a value,
whatever it holds; no text of a call ever becomes a part of a statement.
"""

from collections.abc import Sequence
from typing import Final

from aggregator.statement import tree
from aggregator.statement.syntax import Parser
from alder.definitions import Definition, Version
from alder.errors import AlderError, Reason
from alder.v1 import query_pb2

_DAY_US: Final = 86_400_000_000
_NO_ARGUMENTS: Final = "SELECT called()"


def arguments(parser: Parser, text: str) -> list[tuple[str, tree.Node]]:
    """The names ("" for none) and expressions of what stands between the brackets of a call.

    Raises AlderError(SYNTAX) for anything but arguments.
    """
    wrong = AlderError(
        Reason.SYNTAX, f"({text[:60]}) can't be read; write values between commas, or NAME := VALUE"
    )
    try:
        node = parser.parse(f"SELECT called({text})").node
        nothing = parser.parse(_NO_ARGUMENTS).node
    except AlderError as error:
        if error.reason is Reason.SYNTAX:
            raise wrong from error
        raise
    call = node["select_list"][0]
    without = {**node, "select_list": [{**call, "arguments": []}]}
    if tree.identity(without) != tree.identity(nothing):
        raise wrong
    return [(one["name"], tree.named(one["expression"], "")) for one in call["arguments"]]


def value(parser: Parser, literal: tree.Node, name: str = "") -> query_pb2.Parameter:
    """The value of a literal. Raises AlderError(SYNTAX) for any other expression.

    Literals are numbers, texts in quotes, TRUE, FALSE, NULL, DATE '...' and TIMESTAMP '...'.
    """
    found = query_pb2.Parameter(name=name)
    match tree.literal(literal):
        case "INTEGER" | "NUMERIC", text:
            found.decimal_value = text.replace("_", "")
        case "STRING", text:
            found.string_value = text
        case "BOOLEAN", text:
            found.bool_value = text == "true"
        case "NULL_LITERAL", _:
            found.null_value = True
        case _:
            moment_us = _moment_us(parser, literal)
            if moment_us is None:
                raise AlderError(
                    Reason.SYNTAX,
                    f"{parser.expression_text(literal)[:60]!r} is no literal; write a number, "
                    "'text', TRUE, FALSE, NULL, DATE '2026-01-31' or "
                    "TIMESTAMP '2026-01-31 12:00:00'",
                )
            if literal["type_expr"]["type_name"] == "DATE":
                found.date_value = moment_us // _DAY_US
            else:
                found.timestamp_us_value = moment_us
    return found


def default(parser: Parser, sql: str, name: str) -> query_pb2.Parameter:
    """The value of a parameter's default. Raises AlderError(SYNTAX) if it is no literal."""
    return value(parser, parser.parse(f"SELECT {sql}").node["select_list"][0], name)


def filled(
    parser: Parser, query: Definition, version: Version, given: Sequence[query_pb2.Parameter]
) -> list[query_pb2.Parameter]:
    """All parameters of a saved query by name: what is given, and defaults for the others.

    Raises AlderError(INVALID_ARGUMENT) for a value without a place or a parameter without a value.
    """
    names = [entry.name for entry in version.parameters]
    signature = f"{query.name}({', '.join(names)})"
    values: dict[str, query_pb2.Parameter] = {}
    unnamed = 0
    for one in given:
        name = one.name
        if not name:
            if unnamed == len(names):
                raise AlderError(
                    Reason.INVALID_ARGUMENT, f"more values than parameters are given: {signature}"
                )
            name = names[unnamed]
            unnamed += 1
        if name not in names:
            raise AlderError(
                Reason.INVALID_ARGUMENT, f"there is no parameter {name!r}: {signature}"
            )
        if name in values:
            raise AlderError(Reason.INVALID_ARGUMENT, f"two values are given for {name!r}")
        values[name] = query_pb2.Parameter()
        values[name].CopyFrom(one)
        values[name].name = name
    for entry in version.parameters:
        if entry.name not in values and entry.default_sql is not None:
            values[entry.name] = default(parser, entry.default_sql, entry.name)
    missing = [name for name in names if name not in values]
    if missing:
        raise AlderError(
            Reason.INVALID_ARGUMENT,
            f"no value is given for {', '.join(missing)}, which has no default: {signature}",
        )
    return [values[name] for name in names]


def _moment_us(parser: Parser, literal: tree.Node) -> int | None:
    """Microseconds since 1970 of a DATE or TIMESTAMP; None for what is no literal of one."""
    if literal.get("type") != "OPERATOR_CAST" or literal["try_cast"]:
        return None
    text = tree.literal(literal["child"])
    if literal["type_expr"].get("type_name") not in {"DATE", "TIMESTAMP"} or text is None:
        return None
    return parser.moment_us(literal)
