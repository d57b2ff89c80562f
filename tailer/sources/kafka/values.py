"""Values and keys of records to texts: as they are, or by schemas of a registry.

A record that names its schema begins with a zero byte and the schema's number in four bytes
(Confluent's wire format). What one says can't be decoded is refused with the reason, alone; only a
registry that does not answer holds up its partition.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import orjson
import pyarrow as pa

from alder.topicurl import TopicUrl
from tailer.sources.kafka.avro import avro_decoder
from tailer.sources.kafka.protobuf import protobuf_decoder
from tailer.sources.kafka.registry import (
    HEADER_BYTES,
    PayloadDecoder,
    SchemaRegistry,
    SchemaUnknown,
)

_MAGIC: Final = 0


@dataclass(frozen=True, slots=True)
class Texts:
    """``texts`` in place of the values, empty for those in ``reasons``, which are by index."""

    texts: Sequence[bytes]
    reasons: dict[int, str]


class ValueFormat(Protocol):
    """How values become JSON texts."""

    def texts(self, values: Sequence[bytes]) -> Texts:
        """An empty value, a tombstone, stays one. Raises AlderError(UNAVAILABLE)."""
        ...


class JsonValues:
    """Values that are JSON texts."""

    def texts(self, values: Sequence[bytes]) -> Texts:
        """The values themselves."""
        return Texts(values, {})


class SchemaValues:
    """Values that name a schema of a registry; the decoder of each schema is made once."""

    def __init__(
        self, registry: SchemaRegistry, make: Callable[[SchemaRegistry, int], PayloadDecoder]
    ) -> None:
        self._registry = registry
        self._make = make
        self._decoders: dict[int, PayloadDecoder] = {}

    def texts(self, values: Sequence[bytes]) -> Texts:
        """See :class:`ValueFormat`."""
        texts: list[bytes] = []
        reasons: dict[int, str] = {}
        for index, value in enumerate(values):
            try:
                texts.append(self._text(value) if value else b"")
            except (ValueError, SchemaUnknown) as error:
                texts.append(b"")
                reasons[index] = str(error)
        return Texts(texts, reasons)

    def _text(self, value: bytes) -> bytes:
        if len(value) < HEADER_BYTES or value[0] != _MAGIC:
            raise ValueError("the record does not begin with the number of a schema")
        number = int.from_bytes(value[1:HEADER_BYTES])
        decoder = self._decoders.get(number)
        if decoder is None:
            decoder = self._decoders[number] = self._make(self._registry, number)
        return decoder(value)


class SchemaKeys:
    """Keys that name a schema, to JSON texts; a string is itself, as a key without a schema is."""

    def __init__(self, values: SchemaValues) -> None:
        self._values = values

    def texts(self, keys: pa.Array) -> tuple[pa.Array, dict[int, str]]:
        """Binary, null where a record has no key, and the reasons of those that are refused.

        Raises AlderError(UNAVAILABLE).
        """
        found = self._values.texts([key or b"" for key in keys.to_pylist()])
        reasons = {place: f"the record's key: {why}" for place, why in found.reasons.items()}
        return pa.array([_bare(text) or None for text in found.texts], pa.binary()), reasons


def _bare(text: bytes) -> bytes:
    if not text.startswith(b'"'):
        return text
    string: str = orjson.loads(text)
    return string.encode()


def schema_values(url: TopicUrl, registry: SchemaRegistry) -> SchemaValues:
    """The format that a URL names, by its registry."""
    return SchemaValues(registry, avro_decoder if url.value_format == "avro" else protobuf_decoder)
