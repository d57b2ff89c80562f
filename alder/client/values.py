"""Arrow columns as Python values, and the type objects of DB-API 2.0.

Integers stay integers: a ``HUGEINT`` (the sum of integers) travels as ``decimal(38,0)`` and is
given back as int. JSON is given as its text. Times below a microsecond are cut off, since Python's
have none; the Arrow results keep them.
"""

import datetime
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import pyarrow as pa

Row = tuple[Any, ...]
_HUGEINT: Final = pa.decimal128(38, 0)


def rows(batch: pa.RecordBatch) -> Iterator[Row]:
    """The rows of a batch as tuples of Python values."""
    if batch.num_columns == 0:
        return iter([()] * batch.num_rows)
    return zip(*(_values(column) for column in batch.columns), strict=True)


def plain_type(data_type: pa.DataType) -> pa.DataType:
    """The type that an extension type such as JSON is stored as; other types as they are."""
    return data_type.storage_type if isinstance(data_type, pa.BaseExtensionType) else data_type


def is_hugeint(data_type: pa.DataType) -> bool:
    """True for integers of 128 bits."""
    return bool(data_type.equals(_HUGEINT))


def unique_names(names: Iterable[str]) -> list[str]:
    """The names, each repeated one with the first free suffix of ``_1``, ``_2``, ..."""
    given = list(names)
    taken = set(given)
    seen: set[str] = set()
    result = []
    for name in given:
        unique, number = name, 0
        while unique in seen or (number and unique in taken):
            number += 1
            unique = f"{name}_{number}"
        seen.add(unique)
        result.append(unique)
    return result


def _values(column: pa.Array) -> list[Any]:
    data_type = column.type
    if pa.types.is_timestamp(data_type) and data_type.unit == "ns":
        column = column.cast(pa.timestamp("us", data_type.tz), safe=False)
    elif pa.types.is_time64(data_type) and data_type.unit == "ns":
        column = column.cast(pa.time64("us"), safe=False)
    elif pa.types.is_duration(data_type) and data_type.unit == "ns":
        column = column.cast(pa.duration("us"), safe=False)
    values: list[Any] = column.to_pylist()
    convert = _converter(data_type)
    return values if convert is None else [None if v is None else convert(v) for v in values]


def _converter(data_type: pa.DataType) -> Callable[[Any], Any] | None:
    """What turns decimals without fraction into int, at any depth; None where there are none."""
    if is_hugeint(data_type):
        return int
    if pa.types.is_list(data_type) or pa.types.is_large_list(data_type):
        inner = _converter(data_type.value_type)
        return None if inner is None else lambda items: [_apply(inner, item) for item in items]
    if pa.types.is_struct(data_type):
        fields = {field.name: _converter(field.type) for field in data_type}
        if any(fields.values()):
            return lambda struct: {k: _apply(fields[k], value) for k, value in struct.items()}
    return None


def _apply(convert: Callable[[Any], Any] | None, value: Any) -> Any:
    return value if convert is None or value is None else convert(value)


class TypeObject:
    """Compares equal to the Arrow types of one kind, as ``cursor.description`` gives them."""

    def __init__(self, name: str, covers: Callable[[pa.DataType], bool]) -> None:
        self._name = name
        self._covers = covers

    def __eq__(self, other: object) -> bool:
        if isinstance(other, pa.DataType):
            return bool(self._covers(plain_type(other)))
        return self is other

    def __hash__(self) -> int:
        return hash(self._name)

    def __repr__(self) -> str:
        return self._name


def _is_text(data_type: pa.DataType) -> bool:
    if pa.types.is_dictionary(data_type):
        data_type = data_type.value_type
    return bool(pa.types.is_string(data_type) or pa.types.is_large_string(data_type))


def _is_binary(data_type: pa.DataType) -> bool:
    kinds = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary)
    return any(kind(data_type) for kind in kinds)


def _is_number(data_type: pa.DataType) -> bool:
    kinds = (
        pa.types.is_integer,
        pa.types.is_floating,
        pa.types.is_decimal,
        pa.types.is_boolean,
    )
    return any(kind(data_type) for kind in kinds)


STRING: Final = TypeObject("STRING", _is_text)
BINARY: Final = TypeObject("BINARY", _is_binary)
NUMBER: Final = TypeObject("NUMBER", _is_number)
DATETIME: Final = TypeObject("DATETIME", pa.types.is_temporal)
ROWID: Final = TypeObject("ROWID", lambda _: False)

Date = datetime.date
Time = datetime.time
Timestamp = datetime.datetime
Binary = bytes


def DateFromTicks(ticks: float) -> datetime.date:
    """The local date of a time in seconds since 1970."""
    return datetime.date(*time.localtime(ticks)[:3])


def TimeFromTicks(ticks: float) -> datetime.time:
    """The local time of day of a time in seconds since 1970."""
    return datetime.time(*time.localtime(ticks)[3:6])


def TimestampFromTicks(ticks: float) -> datetime.datetime:
    """The local date and time of a time in seconds since 1970."""
    return datetime.datetime(*time.localtime(ticks)[:6])
