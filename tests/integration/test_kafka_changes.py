"""Changes of a table through a real broker, in every form that connectors write: the rows are those
that the table has.
"""

import io
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

import fastavro
import pytest
from deployment import Deployment, standalone
from kafka_cluster import KafkaCluster, Record
from schema_registry import RegisteredSchemas, registry_server
from test_kafka import read_up_to
from waiting import eventually

from alder.catalog import DEBEZIUM, CollectionSettings
from alder.client import Connection

CHANGES: Final = 400
Row = dict[str, object]
ENVELOPE: Final = CollectionSettings(envelope=DEBEZIUM)
VERSIONED: Final = CollectionSettings(envelope=DEBEZIUM, version_path="source.lsn")
ROW_SCHEMA: Final = {
    "type": "record",
    "name": "Value",
    "fields": [
        {"name": "a", "type": "long"},
        {"name": "b", "type": "string"},
        {"name": "n", "type": "long"},
        {"name": "text", "type": ["null", "string"]},
    ],
}
SCHEMA: Final = {
    "type": "record",
    "name": "Envelope",
    "fields": [
        {"name": "before", "type": ["null", ROW_SCHEMA]},
        {"name": "after", "type": ["null", "Value"]},
        {
            "name": "source",
            "type": {"type": "record", "name": "S", "fields": [{"name": "lsn", "type": "long"}]},
        },
        {"name": "op", "type": "string"},
    ],
}
KEY_SCHEMA: Final = {
    "type": "record",
    "name": "Key",
    "fields": [{"name": "a", "type": "long"}, {"name": "b", "type": "string"}],
}


@dataclass
class Table:
    """A table with a key of some columns, and the changes that made it what it is."""

    columns: tuple[str, ...]
    rows: dict[str, Row] = field(default_factory=dict)
    changes: list[Row] = field(default_factory=list)

    def key(self, row: Row) -> Row:
        return {name: row[name] for name in self.columns}

    def change(self, chance: random.Random) -> None:
        """One statement: a row that is there is changed or deleted, another one comes."""
        number = len(self.changes)
        new: Row = {"a": chance.randrange(12), "b": chance.choice(["x", "é y", ""]), "n": number}
        new["text"] = chance.choice([None, "t", '"quoted"'])
        name = text(self.key(new)).decode()
        old = self.rows.get(name)
        made: Row = {"before": None, "after": new, "op": "r" if number < 5 else "c"}
        if old is not None and chance.random() < 0.4:
            # Unless the table says otherwise, a database tells the columns of the key alone.
            made = {"before": {**old, "n": 0, "text": None}, "after": None, "op": "d"}
            del self.rows[name]
        else:
            if old is not None:
                made |= {"before": old, "op": "u"}
            self.rows[name] = new
        self.changes.append({**made, "source": {"lsn": number}})

    def row_of(self, change: Row) -> Row:
        row = change["after"] or change["before"]
        assert isinstance(row, dict)
        return row


def text(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def wrapped(value: object) -> bytes:
    return text({"schema": {"type": "struct", "fields": []}, "payload": value})


def in_avro(registry: RegisteredSchemas, schema: object) -> Callable[[object], bytes]:
    number = registry.add(json.dumps(schema), "AVRO")
    parsed = fastavro.parse_schema(schema)

    def encode(value: object) -> bytes:
        stream = io.BytesIO()
        fastavro.schemaless_writer(stream, parsed, value)
        return b"\0" + number.to_bytes(4) + stream.getvalue()

    return encode


def records(
    table: Table, key: Callable[[object], bytes], value: Callable[[object], bytes]
) -> list[Record]:
    """The changes as a connector sends them, each deletion with a tombstone after it."""
    made = []
    for change in table.changes:
        name = key(table.key(table.row_of(change)))
        made.append(Record(value(change), name))
        if change["op"] == "d":
            made.append(Record(None, name))
    return made


def table_of(columns: tuple[str, ...], seed: int) -> Table:
    chance = random.Random(seed)
    table = Table(columns)
    for _ in range(CHANGES):
        table.change(chance)
    assert 0 < len(table.rows) < CHANGES
    assert {change["op"] for change in table.changes} == {"r", "c", "u", "d"}
    return table


def stored(connection: Connection, collection: str) -> dict[str, Row]:
    """Documents by their _id."""
    rows = connection.execute(f"SELECT _id, a, b, n, text FROM {collection}").fetchall()
    found = {row[0]: dict(zip(("a", "b", "n", "text"), row[1:], strict=True)) for row in rows}
    assert len(found) == len(rows)
    return found


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    made = standalone(tmp_path_factory.mktemp("changes"), {"seal_rows": 100, "seal_rows_min": 50})
    made.start()
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture
def connection(deployment: Deployment) -> Iterator[Connection]:
    with deployment.connect() as opened:
        yield opened


def load(
    kafka: KafkaCluster,
    connection: Connection,
    name: str,
    key: str,
    settings: CollectionSettings,
    made: list[Record],
    options: str = "",
) -> None:
    """A collection of a topic with these records, read to its end."""
    topic = kafka.new_topic()
    url = kafka.url(topic, options)
    connection.create_collection(name, key_path=key, settings=settings, source_urls=[url])
    kafka.produce(topic, made)
    eventually(read_up_to(connection, name, len(made)), f"reading {name}")
    assert list(connection.quarantine(name)) == []


def test_a_table_with_a_key_of_several_columns_is_what_its_changes_make_of_it(
    kafka: KafkaCluster, connection: Connection
) -> None:
    table = table_of(("a", "b"), seed=1)
    load(kafka, connection, "bare", "_key", ENVELOPE, records(table, text, text))
    load(kafka, connection, "wrapped", "_key", ENVELOPE, records(table, wrapped, wrapped))
    with registry_server() as registry:
        made = records(table, in_avro(registry, KEY_SCHEMA), in_avro(registry, SCHEMA))
        options = f"format=avro&registry={registry.url}&keys=schema"
        load(kafka, connection, "in_avro", "_key", ENVELOPE, made, options)
    for name in ("bare", "wrapped", "in_avro"):
        assert stored(connection, name) == table.rows, name
        rows = connection.execute(f"SELECT _id, _key FROM {name} WHERE a < 6").fetchall()
        assert rows, name
        assert all(_id == key for _id, key in rows), name


def test_a_table_with_a_key_of_one_column_is_what_its_changes_make_of_it(
    kafka: KafkaCluster, connection: Connection
) -> None:
    table = table_of(("a",), seed=2)
    expected = {str(row["a"]): row for row in table.rows.values()}
    load(kafka, connection, "by_column", "a", ENVELOPE, records(table, wrapped, text))
    # What a connector sends that takes rows out of their envelopes itself.
    unwrapped = [
        Record(change["after"] and text(change["after"]), wrapped(table.key(table.row_of(change))))
        for change in table.changes
    ]
    load(kafka, connection, "unwrapped", "a", CollectionSettings(), unwrapped)
    tombstones = [one for one in records(table, wrapped, text) if not is_deletion(one)]
    load(kafka, connection, "compacted", "a", ENVELOPE, tombstones)
    for name in ("by_column", "unwrapped", "compacted"):
        assert stored(connection, name) == expected, name


def is_deletion(record: Record) -> bool:
    return record.value is not None and json.loads(record.value)["op"] == "d"


def test_the_last_change_is_that_of_the_log_or_the_one_with_the_highest_version(
    kafka: KafkaCluster, connection: Connection
) -> None:
    table = table_of(("a", "b"), seed=3)
    random.Random(3).shuffle(table.changes)
    made = [Record(text(change), text(table.key(table.row_of(change)))) for change in table.changes]
    load(kafka, connection, "versioned", "_key", VERSIONED, made)
    assert stored(connection, "versioned") == table.rows
    by_log = {}
    for change in table.changes:
        name = text(table.key(table.row_of(change))).decode()
        by_log[name] = change["after"]
    load(kafka, connection, "by_log", "_key", ENVELOPE, made)
    assert stored(connection, "by_log") == {k: row for k, row in by_log.items() if row is not None}
    assert by_log != table.rows


def test_patches_keep_the_key_and_headers_of_their_last_record(
    kafka: KafkaCluster, connection: Connection
) -> None:
    made = [
        Record(b'{"k": "x", "a": 1, "_key": "own"}', b"first", (("trace", b"1"),)),
        Record(b'{"k": "y", "a": 1}', None, (("trace", b"2"),)),
        Record(b'{"k": "x", "b": 2}', b"second", (("trace", b"3"), ("more", None))),
        Record(b'{"k": "y", "a": null, "c": 3}'),
    ]
    load(kafka, connection, "patched", "k", CollectionSettings(merge=True), made)
    sql = 'SELECT _id, a, b, c, _key, _headers::VARCHAR, "\\_key" FROM patched ORDER BY 1'
    assert connection.execute(sql).fetchall() == [
        ("x", 1, 2, None, "second", '{"trace":"3","more":null}', "own"),
        ("y", None, None, 3, None, None, None),
    ]
