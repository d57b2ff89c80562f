"""Parameters: values put into the tree as literals, never into the text.

A value becomes one node, so nothing that it holds can be read as SQL.
"""

import datetime
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from aggregator.statement import tree
from aggregator.statement.syntax import Statement
from alder.errors import AlderError, Reason
from alder.v1 import query_pb2

_EPOCH: Final = datetime.datetime(1970, 1, 1)
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?\Z")


Value = tree.Node | tuple[str, str]
"""An expression, or a literal by its kind and text, as :func:`tree.literal` gives it."""


def literals(statement: Statement, parameters: Sequence[query_pb2.Parameter]) -> dict[str, Value]:
    """The value of each parameter of a statement, by its name.

    Raises AlderError(INVALID_ARGUMENT) where values and parameters don't match.
    """
    values = _by_name(parameters)
    missing = sorted(statement.parameters - values.keys(), key=_natural)
    if missing:
        raise AlderError(
            Reason.INVALID_ARGUMENT,
            f"the statement has {_count(len(statement.parameters))}, but no value is given for "
            f"{', '.join('$' + name for name in missing)}",
        )
    unused = sorted(values.keys() - statement.parameters, key=_natural)
    if unused:
        raise AlderError(
            Reason.INVALID_ARGUMENT,
            f"the statement has {_count(len(statement.parameters))}, so the value given for "
            f"{', '.join('$' + name for name in unused)} has no place",
        )
    return {name: _literal(parameter) for name, parameter in values.items()}


def only(
    parameters: Sequence[query_pb2.Parameter], names: Collection[str]
) -> list[query_pb2.Parameter]:
    """Those of the parameters that have one of these names, or positions, under that name."""
    found = []
    for name, parameter in _by_name(parameters).items():
        if name in names:
            named = query_pb2.Parameter()
            named.CopyFrom(parameter)
            named.name = name
            found.append(named)
    return found


def as_node(value: Value) -> tree.Node:
    """A value as an expression."""
    return tree.constant(*value) if isinstance(value, tuple) else value


def bound(node: tree.Node, nodes: Mapping[str, tree.Node]) -> tree.Node:
    """A tree with its parameters replaced by these literals."""
    if not nodes:
        return node

    def replace(node: tree.Node) -> tree.Node:
        if node.get("class") == "PARAMETER":
            return tree.named(nodes[node["identifier"]], node.get("alias", ""))
        return tree.mapped(node, replace)

    return replace(node)


def _by_name(parameters: Sequence[query_pb2.Parameter]) -> dict[str, query_pb2.Parameter]:
    names = [parameter.name for parameter in parameters]
    if not any(names):
        return dict(zip(map(str, range(1, len(names) + 1)), parameters, strict=True))
    values: dict[str, query_pb2.Parameter] = {}
    position = 0
    for name, parameter in zip(names, parameters, strict=True):
        if not name:
            position += 1
            name = str(position)
        if name in values:
            raise AlderError(Reason.INVALID_ARGUMENT, f"two values are given for ${name}")
        values[name] = parameter
    return values


def _natural(name: str) -> tuple[int, str]:
    return (int(name), "") if name.isdecimal() else (0, name)


def _count(number: int) -> str:
    return {0: "no parameters", 1: "one parameter"}.get(number, f"{number} parameters")


def _literal(parameter: query_pb2.Parameter) -> Value:
    match parameter.WhichOneof("value"):
        case "string_value":
            return "STRING", parameter.string_value
        case "int_value":
            return "INTEGER", str(parameter.int_value)
        case "null_value":
            return "NULL_LITERAL", ""
        case "bool_value":
            return "BOOLEAN", "true" if parameter.bool_value else "false"
        case "float_value":
            return tree.cast(tree.constant("STRING", repr(parameter.float_value)), "DOUBLE")
        case "bytes_value":
            hexes = "".join(f"\\x{byte:02X}" for byte in parameter.bytes_value)
            return tree.cast(tree.constant("STRING", hexes), "BLOB")
        case "timestamp_us_value":
            return _moment(parameter.timestamp_us_value)
        case "date_value":
            return _moment(parameter.date_value * 86_400_000_000, "DATE")
        case "decimal_value":
            return _decimal(parameter.decimal_value)
        case _:
            raise AlderError(
                Reason.INVALID_ARGUMENT, "a parameter has no value; set null_value for NULL"
            )


def timestamp_literal(moment_us: int, type_name: str = "TIMESTAMP") -> tree.Node:
    """A moment in microseconds since 1970 UTC as a literal of a TIMESTAMP, DATE or TIME."""
    return _moment(moment_us, type_name)


def _moment(moment_us: int, type_name: str = "TIMESTAMP") -> tree.Node:
    try:
        moment = _EPOCH + datetime.timedelta(microseconds=moment_us)
    except OverflowError as error:
        raise AlderError(
            Reason.OUT_OF_RANGE, f"the parameter is no {type_name} between the years 1 and 9999"
        ) from error
    texts = {
        "TIMESTAMP": moment.isoformat(sep=" "),
        "DATE": moment.date().isoformat(),
        "TIME": moment.time().isoformat(),
    }
    return tree.cast(tree.constant("STRING", texts[type_name]), type_name)


def _decimal(text: str) -> Value:
    if not _NUMBER.match(text):
        raise AlderError(Reason.INVALID_ARGUMENT, f"the parameter {text!r} is not a number")
    integer = text.lstrip("+-").isdecimal()
    return "INTEGER" if integer else "NUMERIC", text.removeprefix("+")
