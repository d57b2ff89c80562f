"""Avro values to JSON texts.

Numbers and strings stay what they are. What JSON has no type for is a string: times and dates in
ISO 8601, decimals with all their digits, UUIDs, enumerations by name, bytes in base64, and the
floats "NaN", "Infinity" and "-Infinity". A union is the value itself.
"""

import base64
import datetime
import io
import math
from decimal import Decimal

import orjson
from fastavro import parse_schema, schemaless_reader
from fastavro.schema import SchemaParseException
from fastavro.types import Schema

from tailer.sources.kafka.registry import (
    HEADER_BYTES,
    PayloadDecoder,
    SchemaRegistry,
    SchemaUnknown,
)


def avro_decoder(registry: SchemaRegistry, number: int) -> PayloadDecoder:
    """The decoder of one schema. Raises SchemaUnknown, and AlderError as the registry does."""
    schema = _parsed(registry, number)

    def decode(value: bytes) -> bytes:
        stream = io.BytesIO(value)
        stream.seek(HEADER_BYTES)
        try:
            record = schemaless_reader(stream, schema, None)
            text = orjson.dumps(_plain(record), default=_text)
        except (EOFError, ArithmeticError, LookupError, TypeError, ValueError) as error:
            raise ValueError(f"not a value of Avro schema {number}: {error!r}") from error
        if stream.tell() != len(value):
            raise ValueError(f"not a value of Avro schema {number}: bytes are left over")
        return text

    return decode


def _parsed(registry: SchemaRegistry, number: int) -> Schema:
    named: dict[str, dict[str, object]] = {}
    whole = registry.schema(number)
    try:
        for _, one in registry.referenced(whole):
            parse_schema(orjson.loads(one.schema_str or ""), named_schemas=named)
        return parse_schema(orjson.loads(whole.schema_str or ""), named_schemas=named)
    except (SchemaParseException, ValueError, LookupError, TypeError) as error:
        raise SchemaUnknown(f"schema {number} is no Avro schema: {error!r}") from error


def _plain(value: object) -> object:
    """The value with floats that JSON has; anything else that it lacks is left to ``_text``."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, Decimal | datetime.timedelta):
        return str(value)
    raise TypeError(f"a value of type {type(value).__name__} has no JSON")
