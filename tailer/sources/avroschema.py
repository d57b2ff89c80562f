"""Avro schemas as Arrow types (Avro 1.12, "Schema Declaration" and "Logical Types")."""

from collections.abc import Mapping
from typing import Final

import pyarrow as pa

_PRIMITIVES: Final = {
    "null": pa.null(),
    "boolean": pa.bool_(),
    "int": pa.int32(),
    "long": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "bytes": pa.binary(),
    "string": pa.string(),
}
_LOGICAL: Final = {
    ("int", "date"): pa.date32(),
    ("int", "time-millis"): pa.time32("ms"),
    ("long", "time-micros"): pa.time64("us"),
    ("long", "timestamp-millis"): pa.timestamp("ms", "UTC"),
    ("long", "timestamp-micros"): pa.timestamp("us", "UTC"),
    ("long", "local-timestamp-millis"): pa.timestamp("ms"),
    ("long", "local-timestamp-micros"): pa.timestamp("us"),
}
_DECIMAL_PRECISION_MAX: Final = 76


class UntypedError(Exception):
    """The schema has no type in Arrow that all of its values have."""


def row_type(schema: object) -> pa.StructType:
    """The columns of a file whose rows have this schema. Raises UntypedError."""
    kind = _type(schema, {}, frozenset())
    if not pa.types.is_struct(kind):
        raise UntypedError
    return kind


def _type(schema: object, named: dict[str, object], inside: frozenset[str]) -> pa.DataType:
    """``named``: the types defined so far; ``inside``: those that this one is a part of.

    The reader has put namespaces into names.
    """
    match schema:
        case str() if schema in _PRIMITIVES:
            return _PRIMITIVES[schema]
        case str():
            if schema in inside or schema not in named:
                raise UntypedError
            return _type(named[schema], named, inside)
        case list():
            return _union(schema, named, inside)
        case {"type": "record", "name": str(name), "fields": list(fields)}:
            named[name] = schema
            return _record(fields, named, inside | {name})
        case {"type": "enum", "name": str(name)}:
            named[name] = schema
            return pa.string()
        case {"type": "fixed", "name": str(name), "size": int(size), **rest}:
            named[name] = schema
            return _decimal(rest) or pa.binary(size)
        case {"type": "array", "items": items}:
            return pa.list_(_type(items, named, inside))
        case {"type": "map", "values": values}:
            return pa.map_(pa.string(), _type(values, named, inside))
        case {"type": "bytes", **rest}:
            return _decimal(rest) or pa.binary()
        case {"type": "string", "logicalType": "uuid"}:
            # The reader gives objects, which Arrow does not take inside of others.
            raise UntypedError
        case {"type": str(kind), "logicalType": str(logical)} if (kind, logical) in _LOGICAL:
            return _LOGICAL[kind, logical]
        case {"type": kind}:
            return _type(kind, named, inside)
    raise UntypedError


def _union(branches: list[object], named: dict[str, object], inside: frozenset[str]) -> pa.DataType:
    """The one type beside null."""
    others = [branch for branch in branches if branch != "null"]
    if len(others) > 1:
        raise UntypedError
    return _type(others[0], named, inside) if others else pa.null()


def _record(
    fields: list[Mapping[str, object]], named: dict[str, object], inside: frozenset[str]
) -> pa.DataType:
    return pa.struct(
        [pa.field(str(field["name"]), _type(field["type"], named, inside)) for field in fields]
    )


def _decimal(schema: Mapping[object, object]) -> pa.DataType | None:
    match schema:
        case {"logicalType": "decimal", "precision": int(precision)}:
            scale = schema.get("scale", 0)
            if not isinstance(scale, int) or not 0 < precision <= _DECIMAL_PRECISION_MAX:
                raise UntypedError
            make = pa.decimal128 if precision <= 38 else pa.decimal256
            return make(precision, scale)
    return None
