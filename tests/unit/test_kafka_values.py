"""Avro and Protobuf values to JSON, by schemas of a registry that is asked over HTTP."""

import base64
import datetime
import io
import json
import uuid
from collections.abc import Iterator
from decimal import Decimal

import fastavro
import pyarrow as pa
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2
from hypothesis import given, settings
from hypothesis import strategies as st
from schema_registry import RegisteredSchemas, registry_server

from alder.errors import AlderError, Reason
from alder.topicurl import TopicUrl
from tailer.settings import KafkaSettings
from tailer.sources.kafka.clients import KafkaClients
from tailer.sources.kafka.values import Texts, ValueFormat

UTC = datetime.UTC


@pytest.fixture(scope="module")
def registry() -> Iterator[RegisteredSchemas]:
    with registry_server() as schemas:
        yield schemas


def reader(registry: RegisteredSchemas, value_format: str) -> ValueFormat:
    url = TopicUrl("a:9092", "t", value_format, registry.url)
    return KafkaClients(KafkaSettings(timeout_s=5.0)).formats(url)[0]


def framed(number: int, payload: bytes) -> bytes:
    return b"\0" + number.to_bytes(4) + payload


def avro(schema: object, value: object, named: dict[str, object] | None = None) -> bytes:
    stream = io.BytesIO()
    parsed = fastavro.parse_schema(schema, named_schemas=named if named is not None else {})
    fastavro.schemaless_writer(stream, parsed, value)
    return stream.getvalue()


def documents(texts: Texts) -> list[object]:
    return [json.loads(text) if text else None for text in texts.texts]


EVENT = {
    "type": "record",
    "name": "Event",
    "fields": [
        {"name": "id", "type": "long"},
        {"name": "name", "type": ["null", "string"]},
        {"name": "mixed", "type": ["long", "string", "double"]},
        {"name": "raw", "type": "bytes"},
        {"name": "level", "type": {"type": "enum", "name": "Level", "symbols": ["LOW", "HIGH"]}},
        {"name": "tags", "type": {"type": "array", "items": "string"}},
        {"name": "counts", "type": {"type": "map", "values": "int"}},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "day", "type": {"type": "int", "logicalType": "date"}},
        {
            "name": "price",
            "type": {"type": "bytes", "logicalType": "decimal", "precision": 30, "scale": 2},
        },
        {"name": "key", "type": {"type": "string", "logicalType": "uuid"}},
        {"name": "ratio", "type": "double"},
    ],
}
VALUE: dict[str, object] = {
    "id": 2**62 + 1,
    "name": None,
    "mixed": "text",
    "raw": b"\x00\xff",
    "level": "HIGH",
    "tags": ["a", "é"],
    "counts": {"x": 1},
    "at": datetime.datetime(2024, 1, 2, 3, 4, 5, 678901, UTC),
    "day": datetime.date(2024, 1, 2),
    "price": Decimal("12345678901234567890.10"),
    "key": uuid.UUID(int=7),
    "ratio": float("-inf"),
}


def test_avro_values_keep_what_they_are(registry: RegisteredSchemas) -> None:
    number = registry.add(json.dumps(EVENT), "AVRO")
    subject = reader(registry, "avro")
    value = framed(number, avro(EVENT, VALUE))
    asked = len(registry.asked)
    found = subject.texts([value, b"", value])
    assert len(registry.asked) == asked + 1, "a schema is asked for once"
    assert found.reasons == {}
    document = {
        "id": 2**62 + 1,
        "name": None,
        "mixed": "text",
        "raw": base64.b64encode(b"\x00\xff").decode(),
        "level": "HIGH",
        "tags": ["a", "é"],
        "counts": {"x": 1},
        "at": "2024-01-02T03:04:05.678901+00:00",
        "day": "2024-01-02",
        "price": "12345678901234567890.10",
        "key": str(uuid.UUID(int=7)),
        "ratio": "-Infinity",
    }
    assert documents(found) == [document, None, document]


def test_avro_schemas_refer_to_others_and_change(registry: RegisteredSchemas) -> None:
    inner = {"type": "record", "name": "Inner", "fields": [{"name": "n", "type": "int"}]}
    outer = {"type": "record", "name": "Outer", "fields": [{"name": "inner", "type": "Inner"}]}
    later = {"type": "record", "name": "Outer", "fields": [{"name": "other", "type": "string"}]}
    registry.add(json.dumps(inner), "AVRO", subject="Inner")
    first = registry.add(json.dumps(outer), "AVRO", "Inner")
    second = registry.add(json.dumps(later), "AVRO")
    named: dict[str, object] = {}
    fastavro.parse_schema(inner, named_schemas=named)
    values = [
        framed(first, avro(outer, {"inner": {"n": 3}}, named)),
        framed(second, avro(later, {"other": "x"})),
    ]
    found = reader(registry, "avro").texts(values * 2)
    assert documents(found) == [{"inner": {"n": 3}}, {"other": "x"}] * 2


def test_what_is_not_of_its_schema_is_refused_alone(registry: RegisteredSchemas) -> None:
    number = registry.add(json.dumps(EVENT), "AVRO")
    good = framed(number, avro(EVENT, VALUE))
    bad = [
        good[:-1],
        good + b"\0",
        b"{}",
        b"\0\0",
        b"\1" + good[1:],
        framed(number, b"\xff" * 30),
        framed(99, good[5:]),
        framed(registry.add("not a schema", "AVRO"), b"\0"),
    ]
    found = reader(registry, "avro").texts([good, *bad, good])
    assert sorted(found.reasons) == list(range(1, len(bad) + 1))
    assert "bytes are left over" in found.reasons[2]
    assert "does not begin with the number of a schema" in found.reasons[3]
    assert "the schema registry has no schema 99" in found.reasons[7]
    assert "is no Avro schema" in found.reasons[8]
    assert documents(found)[0] is not None
    assert documents(found)[0] == documents(found)[-1]


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=60))
def test_no_bytes_break_a_decoder(
    registry: RegisteredSchemas, decoders: list[tuple[ValueFormat, int]], payload: bytes
) -> None:
    for subject, number in decoders:
        found = subject.texts([framed(number, payload), payload])
        assert len(found.texts) == 2
        assert all(isinstance(one, dict) for one in documents(found) if one is not None)


def test_keys_by_a_schema_are_texts_as_others_are(registry: RegisteredSchemas) -> None:
    record = {"type": "record", "name": "K", "fields": [{"name": "a", "type": "long"}]}
    numbers = [registry.add(json.dumps(schema), "AVRO") for schema in (record, "string", "long")]
    url = TopicUrl("a:9092", "t", "avro", registry.url, keys="schema")
    _, subject = KafkaClients(KafkaSettings(timeout_s=5.0)).formats(url)
    assert subject is not None
    keys: list[bytes | None] = [
        framed(number, avro(schema, value))
        for number, schema, value in zip(
            numbers, (record, "string", "long"), ({"a": 7}, 'é"', 7), strict=True
        )
    ]
    texts, reasons = subject.texts(pa.array([*keys, None, b"plain"], pa.binary()))
    assert texts.to_pylist() == [b'{"a":7}', 'é"'.encode(), b"7", None, None]
    assert reasons == {4: "the record's key: the record does not begin with the number of a schema"}


def test_a_registry_that_does_not_answer_holds_up_and_loses_nothing() -> None:
    with registry_server() as gone:
        url = gone.url
    subject = KafkaClients(KafkaSettings(timeout_s=1.0)).formats(
        TopicUrl("a:9092", "t", "avro", url)
    )[0]
    with pytest.raises(AlderError, match="does not tell schema 1") as caught:
        subject.texts([framed(1, b"x")])
    assert caught.value.reason is Reason.UNAVAILABLE


def proto_file() -> descriptor_pb2.FileDescriptorProto:
    """What protoc makes of a file with three messages, the third of which is used."""
    file = descriptor_pb2.FileDescriptorProto(name="event.proto", package="p", syntax="proto3")
    file.dependency.append("google/protobuf/timestamp.proto")
    file.message_type.add(name="First")
    file.message_type.add(name="Second")
    event = file.message_type.add(name="Event")
    level = file.enum_type.add(name="Level")
    level.value.add(name="LOW", number=0)
    level.value.add(name="HIGH", number=1)
    kinds = descriptor_pb2.FieldDescriptorProto
    one, many = kinds.LABEL_OPTIONAL, kinds.LABEL_REPEATED
    inner = event.nested_type.add(name="Inner")
    inner.field.add(name="n", number=1, type=kinds.TYPE_INT32, label=one)
    entry = event.nested_type.add(name="LevelsEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=kinds.TYPE_BOOL, label=one)
    entry.field.add(name="value", number=2, type=kinds.TYPE_ENUM, type_name=".p.Level", label=one)
    for number, (name, kind, label, type_name) in enumerate(
        (
            ("id", kinds.TYPE_INT64, one, ""),
            ("text", kinds.TYPE_STRING, one, ""),
            ("raw", kinds.TYPE_BYTES, one, ""),
            ("ratios", kinds.TYPE_DOUBLE, many, ""),
            ("inner", kinds.TYPE_MESSAGE, many, ".p.Event.Inner"),
            ("level", kinds.TYPE_ENUM, one, ".p.Level"),
            ("levels", kinds.TYPE_MESSAGE, many, ".p.Event.LevelsEntry"),
            ("at", kinds.TYPE_MESSAGE, one, ".google.protobuf.Timestamp"),
            ("absent", kinds.TYPE_MESSAGE, one, ".p.Event.Inner"),
        ),
        start=1,
    ):
        made = event.field.add(name=name, number=number, type=kind, label=label)
        if type_name:
            made.type_name = type_name
    return file


def test_protobuf_values_keep_what_they_are(registry: RegisteredSchemas) -> None:
    file = proto_file()
    text = base64.b64encode(file.SerializeToString()).decode()
    number = registry.add(text, "PROTOBUF")
    pool = descriptor_pool.DescriptorPool()
    stamp = descriptor_pb2.FileDescriptorProto()
    timestamp_pb2.DESCRIPTOR.CopyToProto(stamp)
    pool.Add(stamp)
    pool.Add(file)
    event = message_factory.GetMessageClass(pool.FindMessageTypeByName("p.Event"))
    message = event(
        id=2**62 + 1, raw=b"\xff", ratios=[1.5, float("nan")], level=1, levels={True: 1, False: 7}
    )
    message.inner.add(n=3)
    message.at.FromJsonString("2024-01-02T03:04:05.678901Z")
    payload = message.SerializeToString()
    third, nested = b"\x02\x04", b"\x04\x04\x00"
    subject = reader(registry, "protobuf")
    found = subject.texts([framed(number, third + payload), framed(number, nested + b"\x08\x05")])
    assert found.reasons == {}
    assert documents(found) == [
        {
            "id": 2**62 + 1,
            "text": "",
            "raw": base64.b64encode(b"\xff").decode(),
            "ratios": [1.5, "NaN"],
            "inner": [{"n": 3}],
            "level": "HIGH",
            "levels": {"true": "HIGH", "false": 7},
            "at": "2024-01-02T03:04:05.678901Z",
        },
        {"n": 5},
    ]
    bad = [third + payload[:-1], b"\x02\x0a", b"\x7f" * 12, b"\x02", b"\x02\x04\xff\xff"]
    refused = subject.texts([framed(number, value) for value in bad])
    assert sorted(refused.reasons) == [0, 1, 2, 3, 4]
    assert all(
        "Protobuf schema" in why or "header" in why or "name a message" in why
        for why in refused.reasons.values()
    )


@pytest.fixture(scope="module")
def decoders(registry: RegisteredSchemas) -> list[tuple[ValueFormat, int]]:
    text = base64.b64encode(proto_file().SerializeToString()).decode()
    return [
        (reader(registry, "avro"), registry.add(json.dumps(EVENT), "AVRO")),
        (reader(registry, "protobuf"), registry.add(text, "PROTOBUF")),
    ]
