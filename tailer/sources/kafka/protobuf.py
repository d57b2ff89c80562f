"""Protobuf values to JSON texts.

Fields have the names of the schema. Integers stay integers, beyond 53 bits too; bytes are base64,
enumerations names, ``Timestamp`` and the other well-known types what Protobuf's own JSON makes of
them. A field that knows whether it was set is left out where it was not; any other has its value.
"""

import base64
import math
from collections.abc import Mapping, Sequence
from typing import Final, cast

import orjson
from google.protobuf import (
    any_pb2,
    api_pb2,
    descriptor_pool,
    duration_pb2,
    empty_pb2,
    field_mask_pb2,
    json_format,
    message_factory,
    source_context_pb2,
    struct_pb2,
    timestamp_pb2,
    type_pb2,
    wrappers_pb2,
)
from google.protobuf.descriptor import (
    Descriptor,
    EnumValueDescriptor,
    FieldDescriptor,
    FileDescriptor,
)
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.message import DecodeError, Message

from tailer.sources.kafka.registry import (
    HEADER_BYTES,
    PayloadDecoder,
    SchemaRegistry,
    SchemaUnknown,
)

_SERIALIZED: Final = "serialized"
_WELL_KNOWN: Final = {
    module.DESCRIPTOR.name: module.DESCRIPTOR
    for module in (
        any_pb2,
        api_pb2,
        duration_pb2,
        empty_pb2,
        field_mask_pb2,
        source_context_pb2,
        struct_pb2,
        timestamp_pb2,
        type_pb2,
        wrappers_pb2,
    )
}
Names = Mapping[int, EnumValueDescriptor]
_VARINT_BYTES_MAX: Final = 10
_DEPTH_MAX: Final = 16


def protobuf_decoder(registry: SchemaRegistry, number: int) -> PayloadDecoder:
    """The decoder of one schema. Raises SchemaUnknown, and AlderError as the registry does."""
    file = _file(registry, number)
    messages: dict[tuple[int, ...], type[Message]] = {}

    def decode(value: bytes) -> bytes:
        place, begin = _message_place(value)
        known = messages.get(place)
        try:
            if known is None:
                known = message_factory.GetMessageClass(_message_at(file, place))
                messages[place] = known
            return orjson.dumps(_plain(known.FromString(value[begin:])))
        except (DecodeError, json_format.Error, LookupError, ValueError, TypeError) as error:
            raise ValueError(f"not a value of Protobuf schema {number}: {error!r}") from error

    return decode


def _file(registry: SchemaRegistry, number: int) -> FileDescriptor:
    """The schema's file, in a pool of its own: other schemas may use the same names."""
    pool = descriptor_pool.DescriptorPool()
    whole = registry.schema(number, _SERIALIZED)
    added: set[str] = set()

    def add(name: str, text: str | None) -> None:
        proto = FileDescriptorProto.FromString(base64.b64decode(text or ""))
        for needed in proto.dependency:
            if needed in _WELL_KNOWN and needed not in added:
                added.add(needed)
                add_well_known(needed)
        proto.name = name
        pool.Add(proto)

    def add_well_known(name: str) -> None:
        proto = FileDescriptorProto()
        _WELL_KNOWN[name].CopyToProto(proto)
        for needed in proto.dependency:
            if needed not in added:
                added.add(needed)
                add_well_known(needed)
        pool.Add(proto)

    try:
        for name, one in registry.referenced(whole, _SERIALIZED):
            if name not in _WELL_KNOWN:
                add(name, one.schema_str)
        own = f"schema-{number}.proto"
        add(own, whole.schema_str)
        return pool.FindFileByName(own)
    except (DecodeError, ValueError, LookupError, TypeError) as error:
        raise SchemaUnknown(f"schema {number} is no Protobuf schema: {error!r}") from error


def _message_place(value: bytes) -> tuple[tuple[int, ...], int]:
    """Which message of the file a value is: indexes from the outermost on; and where it begins."""
    count, at = _varint(value, HEADER_BYTES)
    if count == 0:
        return (0,), at
    if not 0 < count <= _DEPTH_MAX:
        raise ValueError("the record does not name a message of its schema")
    place = []
    for _ in range(count):
        index, at = _varint(value, at)
        place.append(index)
    return tuple(place), at


def _varint(value: bytes, at: int) -> tuple[int, int]:
    """A zigzag number and where it ends."""
    number = 0
    for shift, byte in enumerate(value[at : at + _VARINT_BYTES_MAX]):
        number |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:
            return (number >> 1) ^ -(number & 1), at + shift + 1
    raise ValueError("the record ends inside of its header")


def _message_at(file: FileDescriptor, place: tuple[int, ...]) -> Descriptor:
    names = list(file.message_types_by_name.values())
    found: Descriptor = names[place[0]]
    for index in place[1:]:
        found = found.nested_types[index]
    return found


def _plain(message: Message) -> object:
    descriptor = message.DESCRIPTOR
    if descriptor.file.name in _WELL_KNOWN:
        return json_format.MessageToDict(message)
    return {
        field.name: _converted(getattr(message, field.name), _names_of(field))
        for field in cast(Sequence[FieldDescriptor], descriptor.fields)
        if not field.has_presence or message.HasField(field.name)
    }


def _names_of(field: FieldDescriptor) -> Names | None:
    """The names of an enumeration, also one that is the value of a map."""
    entry = field.message_type
    if entry is not None and entry.GetOptions().map_entry:
        return _names_of(entry.fields_by_name["value"])
    return None if field.enum_type is None else field.enum_type.values_by_number


def _converted(value: object, names: Names | None) -> object:
    if isinstance(value, Message):
        return _plain(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Mapping):
        return {_key(key): _converted(inner, names) for key, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_converted(inner, names) for inner in value]
    if names is not None and isinstance(value, int) and value in names:
        return names[value].name
    return value


def _key(key: object) -> str:
    return str(key).lower() if isinstance(key, bool) else str(key)
