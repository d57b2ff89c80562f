"""Values of a saved query's parameters: literals of its text, and what a call gives.

A literal becomes a parameter of the request and so a value, whatever it holds; no text of a call
ever becomes a part of a statement.
"""

import datetime
import re
from collections.abc import Sequence
from typing import Final

from alder.definitions import Definition, Version
from alder.errors import AlderError, Reason
from alder.sqltext import Kind, text_of, tokens
from alder.v1 import query_pb2

_INTEGER: Final = re.compile(r"\d{1,38}")
_DECIMAL: Final = re.compile(r"(\d+\.\d*|\.\d+|\d+)([eE][+-]?\d+)?")
_INT64_MAX: Final = (1 << 63) - 1
_EPOCH: Final = datetime.datetime(1970, 1, 1)
_MICROSECOND: Final = datetime.timedelta(microseconds=1)


def literal(text: str, name: str = "") -> query_pb2.Parameter:
    """The value of a literal. Raises AlderError(SYNTAX) for any other text.

    Literals are numbers, texts in quotes, TRUE, FALSE, NULL, DATE '...' and TIMESTAMP '...'.
    """
    found = list(tokens(text))
    sign = ""
    if found and found[0].text in {"+", "-"}:
        sign = found.pop(0).text
    value = None
    match found:
        case [number] if number.kind is Kind.NUMBER:
            value = _number(sign, number.text)
        case [word] if not sign and word.word in {"TRUE", "FALSE"}:
            value = query_pb2.Parameter(bool_value=word.word == "TRUE")
        case [word] if not sign and word.word == "NULL":
            value = query_pb2.Parameter(null_value=True)
        case [token] if not sign and text_of(token) is not None:
            value = query_pb2.Parameter(string_value=text_of(token))
        case [kind, token] if not sign and kind.word in {"DATE", "TIMESTAMP"}:
            value = _moment(kind.word, text_of(token) or "")
    if value is None:
        raise AlderError(
            Reason.SYNTAX,
            f"{text[:60]!r} is no literal; write a number, 'text', TRUE, FALSE, NULL, "
            "DATE '2026-01-31' or TIMESTAMP '2026-01-31 12:00:00'",
        )
    value.name = name
    return value


def filled(
    query: Definition, version: Version, given: Sequence[query_pb2.Parameter]
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
            values[entry.name] = literal(entry.default_sql, entry.name)
    missing = [name for name in names if name not in values]
    if missing:
        raise AlderError(
            Reason.INVALID_ARGUMENT,
            f"no value is given for {', '.join(missing)}, which has no default: {signature}",
        )
    return [values[name] for name in names]


def _number(sign: str, digits: str) -> query_pb2.Parameter | None:
    if _INTEGER.fullmatch(digits) and int(digits) <= _INT64_MAX:
        return query_pb2.Parameter(int_value=int(sign + digits))
    if _DECIMAL.fullmatch(digits) and "e" not in digits.lower():
        return query_pb2.Parameter(decimal_value=sign + digits)
    if _DECIMAL.fullmatch(digits):
        return query_pb2.Parameter(float_value=float(sign + digits))
    return None


def _moment(kind: str, text: str) -> query_pb2.Parameter | None:
    try:
        if kind == "DATE":
            date = datetime.date.fromisoformat(text)
            return query_pb2.Parameter(date_value=(date - _EPOCH.date()).days)
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is not None:
        moment = moment.astimezone(datetime.UTC).replace(tzinfo=None)
    return query_pb2.Parameter(timestamp_us_value=(moment - _EPOCH) // _MICROSECOND)
