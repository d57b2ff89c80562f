"""Versions, deletions and Debezium envelopes, up to the rows that are pushed."""

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from alder.catalog import DEBEZIUM
from tailer.batch import RowBuilder, Rows, RowSpec
from tailer.decode import DecodeLimits, JsonDecoder
from tailer.settings import TailerSettings
from tailer.sources.model import RawBatch

ENVELOPES = RowSpec(
    "kafka", 0, "id", "at", version_path="source.lsn", envelope=DEBEZIUM
)  # fmt: skip
Record = tuple[bytes, bytes | None]


def built(spec: RowSpec, *records: Record, fields_max: int = 4_000) -> Rows:
    """The rows of records, each a value and a key."""
    limits = DecodeLimits(collection_fields_max=fields_max)
    offsets = np.arange(len(records), dtype=np.int64)
    raw = RawBatch(
        0,
        len(records),
        pa.array([value for value, _ in records], pa.binary()),
        offsets,
        offsets + 1_000,
        pa.array([key for _, key in records], pa.binary()),
    )
    (rows,) = RowBuilder(spec, TailerSettings(decode=limits), JsonDecoder(limits)).build(raw)
    return rows


def said(rows: Rows, *names: str) -> list[tuple[Any, ...]]:
    return list(zip(*(rows.table.column(name).to_pylist() for name in names), strict=True))


def reasons(rows: Rows) -> dict[int, str]:
    return dict(
        zip(*(rows.quarantine.column(n).to_pylist() for n in ("offset", "reason")), strict=True)
    )


def text(value: object) -> bytes:
    return json.dumps(value).encode()


def envelope(op: str, **fields: object) -> dict[str, object]:
    return {"op": op, "before": None, "after": None, "source": {"lsn": 7}, **fields}


def test_versions_are_integers_or_times_and_what_has_none_is_set_aside() -> None:
    spec = RowSpec("log", 0, "id", version_path="m.v")
    values = [5, -3, "2024-01-01T00:00:00Z", "2024-01-01T01:00:00+01:00", 1.5, "x", None, 1 << 70]
    records = [(text({"id": "k", "m": {"v": value}}), None) for value in values]
    rows = built(spec, *records, (text({"id": "k"}), None), (b"", b"k"))
    moment = 1_704_067_200_000_000
    expected = [(0, 5), (1, -3), (2, moment), (3, moment), (9, None)]
    assert said(rows, "_offset", "_version") == expected
    assert sorted(reasons(rows)) == [4, 5, 6, 7, 8]
    assert "no version at path 'm.v' of the document; an integer" in reasons(rows)[8]


@pytest.mark.parametrize("fields_max", [4_000, 1])
def test_a_flag_deletes_and_leaves_the_version(fields_max: int) -> None:
    spec = RowSpec("log", 0, "id", version_path="v", deleted_path="gone")
    flags: list[object] = [True, False, "true", 1, None]
    records = [(text({"id": "k", "v": 1, "gone": flag}), None) for flag in flags]
    rows = built(spec, *records, fields_max=fields_max)
    documents = rows.table.column("_doc").to_pylist()
    assert [document is None for document in documents] == [True, False, False, False, False]
    assert said(rows, "_key", "_version") == [("k", 1)] * 5


@pytest.mark.parametrize("wrapped", [False, True])
def test_envelopes_are_documents_and_deletions(wrapped: bool) -> None:
    def record(change: object, key: object = None) -> Record:
        value = {"schema": {"type": "struct"}, "payload": change} if wrapped else change
        wrapped_key = {"schema": {}, "payload": key} if wrapped else key
        return text(value), None if key is None else text(wrapped_key)

    rows = built(
        ENVELOPES,
        record(envelope("c", after={"id": 1, "at": "1970-01-01T00:00:09Z", "b": [1, {"c": None}]})),
        record(envelope("r", after={"id": "é", "n": 12345678901234567890123})),
        record(envelope("u", before={"id": 1}, after={"id": 1, "b": 2})),
        record(envelope("u", after={"b": 3}), {"id": 1}),
        record(envelope("d", before={"id": 1}), {"id": 2}),
        record(envelope("d"), {"id": 1}),
        (b"", record({}, {"id": 1})[1]),
        (b"", b"plain"),
    )
    assert not rows.quarantine.num_rows
    assert said(rows, "_key", "_version") == [
        ("1", 7), ("é", 7), ("1", 7), ("1", 7), ("1", 7), ("1", 7), ("1", None), ("plain", None),
    ]  # fmt: skip
    assert rows.table.column("_doc").to_pylist() == [
        '{"id":1,"at":"1970-01-01T00:00:09Z","b":[1,{"c":null}]}',
        '{"id":"é","n":12345678901234567890123}',
        '{"id":1,"b":2}',
        '{"b":3}',
        *[None] * 4,
    ]
    assert rows.table.column("_time").cast(pa.int64()).to_pylist()[:2] == [9_000_000, 1_001]


BROKEN: dict[str, tuple[object, str]] = {
    "no JSON": (b"{", "no Debezium envelope"),
    "no UTF-8": (b"\xff", "no Debezium envelope"),
    "plain document": (text({"id": 1}), "plain documents belong in a collection without"),
    "schema without payload": (text({"schema": {}, "payload": None}), "no Debezium envelope"),
    "list": (text([envelope("c", after={"id": 1})]), "no Debezium envelope"),
    "truncate": (text(envelope("t")), "the table was truncated"),
    "message": (text(envelope("m")), "keep such records out of the topic"),
    "op of another type": (text(envelope("c") | {"op": 1}), "is none of c, r, u, d"),
    "no row": (text(envelope("c")), "after is no object"),
    "row as text": (text(envelope("u", after="{}")), "after is no object"),
    "no key": (text(envelope("c", after={"b": 1})), "no value at key path 'id'"),
    "no key to delete": (text(envelope("d", before={"b": 1})), "no value at key path 'id' in befo"),
    "no version": (text(envelope("u", after={"id": 1}, source={})), "'source.lsn' of the envelope"),
    "delete, no version": (text(envelope("d", before={"id": 1}, source=1)), "no version at path"),
    "nothing": (b"", "no Debezium envelope"),
}


def test_broken_envelopes_are_set_aside_with_what_to_do() -> None:
    good = (text(envelope("c", after={"id": 1})), None)
    records = [(value, None) for value, _ in BROKEN.values()]
    rows = built(ENVELOPES, good, *records, good)
    assert said(rows, "_offset") == [(0,), (len(records) + 1,)]
    found = reasons(rows)
    for offset, (name, (value, reason)) in enumerate(BROKEN.items(), start=1):
        assert reason in found[offset], name
        assert rows.quarantine.column("value").to_pylist()[offset - 1] == value


def test_what_an_envelope_becomes_does_not_depend_on_its_batch() -> None:
    records = [(value, None) for value, _ in BROKEN.values()]
    records += [(text(envelope("c", after={"id": n, "v": n})), None) for n in range(5)]
    together = built(ENVELOPES, *records)
    alone = [built(ENVELOPES, record) for record in records]
    documents = [row for rows in alone for row in rows.table.column("_doc").to_pylist()]
    assert together.table.column("_doc").to_pylist() == documents
    refused = [reason for rows in alone for reason in reasons(rows).values()]
    assert list(reasons(together).values()) == refused


def topic_batch(*records: Record) -> RawBatch:
    """Records of a topic, whose keys are columns as well."""
    keys = pa.array([key for _, key in records], pa.binary())
    offsets = np.arange(len(records), dtype=np.int64)
    values = pa.array([value for value, _ in records], pa.binary())
    columns = pa.table({"string:_key": [None if k is None else k.decode() for _, k in records]})
    return RawBatch(0, len(records), values, offsets, offsets + 1_000, keys, columns)


def of_topic(spec: RowSpec, *records: Record) -> Rows:
    limits = DecodeLimits()
    builder = RowBuilder(spec, TailerSettings(decode=limits), JsonDecoder(limits))
    (rows,) = builder.build(topic_batch(*records))
    return rows


def test_a_record_key_is_the_key_without_its_schema() -> None:
    spec = RowSpec("kafka", 0, "_key", envelope=DEBEZIUM)
    change = text(envelope("c", after={"a": 1}))
    key = {"b": "é", "a": 1}
    forms = [text(key), json.dumps({"schema": {}, "payload": key}, ensure_ascii=False).encode()]
    forms += [text(7), text({"schema": None, "payload": 7}), b"plain", b'"plain"', b'{"payload":1}']
    gone = text(envelope("d", before={"a": 1}))
    rows = of_topic(spec, *((value, one) for one in forms for value in (change, gone, b"")))
    keys = ['{"b":"é","a":1}'] * 2 + ["7"] * 2 + ["plain"] * 2 + ['{"payload":1}']
    assert [one for (one,) in said(rows, "_key")] == [one for one in keys for _ in range(3)]
    documents = rows.table.column("_doc").to_pylist()
    assert [document is None for document in documents] == [False, True, True] * len(forms)
    of_documents = rows.table.column("string:_key").drop_null().to_pylist()
    assert of_documents == keys, "the field is the key, too"
    assert not rows.quarantine.num_rows


def test_a_tombstone_of_a_topic_names_a_document_by_a_field_of_its_key() -> None:
    spec = RowSpec("kafka", 0, "a.id")
    forms = [
        {"a": {"id": "x"}}, {"schema": {}, "payload": {"a": {"id": "x"}}}, {"id": "x"}, "x", 5,
    ]  # fmt: skip
    records = [(b"", text(form)) for form in forms] + [(b"", b"bare")]
    rows = of_topic(spec, *records)
    assert said(rows, "_key") == [("x",), ("x",), ('{"id": "x"}',), ("x",), ("5",), ("bare",)]
    plain = built(spec, *records)
    assert said(plain, "_key") == [(key.decode(),) for _, key in records if key is not None]
    by_key = of_topic(RowSpec("kafka", 0, "_key"), *records)
    assert said(by_key, "_key") == said(plain, "_key"), "it is what documents have in this field"
