"""Python values as parameters of a query.

A value travels typed, never as SQL text, so nothing in it can be taken for SQL.
"""

import datetime
import uuid
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Final

import numpy as np

from alder.client.errors import DataError, ProgrammingError
from alder.errors import Reason
from alder.v1 import query_pb2

Value = (
    None
    | bool
    | int
    | float
    | str
    | bytes
    | bytearray
    | memoryview
    | datetime.datetime
    | datetime.date
    | Decimal
    | uuid.UUID
    | np.generic
)
Parameters = Sequence[Value] | Mapping[str, Value] | None

_EPOCH: Final = datetime.datetime(1970, 1, 1)
_MICROSECOND: Final = datetime.timedelta(microseconds=1)
_INT64: Final = range(-(1 << 63), 1 << 63)
_DIGITS_MAX: Final = 38


def to_proto(parameters: Parameters) -> list[query_pb2.Parameter]:
    """Values for ``?`` from a sequence, for ``$name`` from a mapping.

    Raises ProgrammingError or DataError for what can't be a parameter.
    """
    if parameters is None:
        return []
    if isinstance(parameters, Mapping):
        return [_named(name, value) for name, value in parameters.items()]
    if isinstance(parameters, str | bytes) or not isinstance(parameters, Sequence):
        raise ProgrammingError(
            Reason.INVALID_ARGUMENT,
            "parameters are a list with a value for each `?`, or a dict for `$name`",
        )
    return [_parameter(value) for value in parameters]


def _named(name: str, value: Value) -> query_pb2.Parameter:
    if not isinstance(name, str) or not name:
        raise ProgrammingError(Reason.INVALID_ARGUMENT, f"{name!r} can't name a parameter")
    parameter = _parameter(value)
    parameter.name = name
    return parameter


def _parameter(value: object) -> query_pb2.Parameter:
    if isinstance(value, np.generic):
        value = _from_numpy(value)
    match value:
        case str():
            return _text(value)
        case None:
            return query_pb2.Parameter(null_value=True)
        case bool():
            return query_pb2.Parameter(bool_value=value)
        case int() if value in _INT64:
            return query_pb2.Parameter(int_value=int(value))
        case int() | Decimal():
            return query_pb2.Parameter(decimal_value=_decimal_text(value))
        case float():
            return query_pb2.Parameter(float_value=value)
        case uuid.UUID():
            return query_pb2.Parameter(string_value=str(value))
        case bytes() | bytearray() | memoryview():
            return query_pb2.Parameter(bytes_value=bytes(value))
        case datetime.datetime():
            return query_pb2.Parameter(timestamp_us_value=_microseconds(value))
        case datetime.date():
            return query_pb2.Parameter(date_value=(value - _EPOCH.date()).days)
    raise ProgrammingError(
        Reason.INVALID_ARGUMENT,
        f"a {type(value).__name__} can't be a parameter; pass a number, text, bytes, bool, date, "
        "datetime, Decimal or None",
    )


def _microseconds(value: datetime.datetime) -> int:
    if value.tzinfo is not None:
        value = value.astimezone(datetime.UTC).replace(tzinfo=None)
    return (value - _EPOCH) // _MICROSECOND


def _from_numpy(value: np.generic) -> object:
    if isinstance(value, np.datetime64):
        return value.astype("datetime64[us]").item()
    plain: object = value.item()
    return plain


def _decimal_text(value: int | Decimal) -> str:
    number = Decimal(value)
    if not number.is_finite():
        raise DataError(Reason.OUT_OF_RANGE, f"{number} is not a decimal number; pass a float")
    digits, exponent = number.as_tuple().digits, number.adjusted()
    if len(digits) > _DIGITS_MAX or not -_DIGITS_MAX <= exponent < _DIGITS_MAX:
        raise DataError(
            Reason.OUT_OF_RANGE,
            f"a parameter has at most {_DIGITS_MAX} digits; this one needs more: pass it as text",
        )
    return format(number, "f")


def _text(value: str) -> query_pb2.Parameter:
    try:
        return query_pb2.Parameter(string_value=value)
    except UnicodeEncodeError as error:
        raise DataError(
            Reason.INVALID_ARGUMENT, "a text parameter holds a lone surrogate; remove it"
        ) from error
