"""Topics into collections, through a real broker and a real server: every record once."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from certificates import AUTHORITY, STRANGER
from deployment import Deployment, standalone
from kafka_broker import USER, Broker
from kafka_cluster import PASSWORD, KafkaCluster, Record
from schema_registry import registry_server
from waiting import eventually

from alder.client import Connection


@pytest.fixture(scope="module")
def logins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The server's file of logins."""
    path = tmp_path_factory.mktemp("logins") / "kafka.toml"
    path.write_text("")
    return path


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory, logins: Path) -> Iterator[Deployment]:
    made = standalone(
        tmp_path_factory.mktemp("kafka"),
        {"seal_rows": 2_000, "seal_rows_min": 500},
        tailer_settings={"kafka.config_file": str(logins)},
    )
    made.start()
    try:
        yield made
    finally:
        codes = made.stop()
    assert codes == {"serve": 0}


@pytest.fixture
def connection(deployment: Deployment) -> Iterator[Connection]:
    with deployment.connect() as opened:
        yield opened


def numbered(numbers: range) -> list[bytes]:
    return [b'{"n": %d}' % number for number in numbers]


def values(connection: Connection, collection: str) -> list[int]:
    rows = connection.execute(f"SELECT n FROM {collection} ORDER BY n").fetchall()
    return [row[0] for row in rows]


def errors(connection: Connection, collection: str) -> list[str]:
    return [
        entry.error
        for tailer in connection.status().tailers
        for entry in tailer.partitions
        if entry.collection == collection and entry.error
    ]


def read_up_to(connection: Connection, collection: str, *offsets: int) -> Callable[[], bool]:
    """Whether each partition of the topic has been read to an offset, with no error."""
    wanted = {("kafka1", number): offset for number, offset in enumerate(offsets)}

    def reached() -> bool:
        lags = connection.status().lags
        found = {
            (entry.source, entry.partition): entry.next_offset
            for entry in lags
            if entry.collection == collection and entry.source == "kafka1"
        }
        return found == wanted and not errors(connection, collection)

    return reached


def test_records_come_with_their_offsets_and_times(
    kafka: KafkaCluster, connection: Connection
) -> None:
    topic = kafka.new_topic(2)
    kafka.produce(topic, [Record(b'{"n": 1}', timestamp_ms=1_700_000_000_123)])
    kafka.produce(topic, [Record(b'{"n": 2}', timestamp_ms=1_700_000_000_456)] * 2, partition=1)
    connection.create_collection("plain", source_urls=[kafka.url(topic)])
    eventually(read_up_to(connection, "plain", 1, 2), "reading both partitions")
    sql = "SELECT _id, n, epoch_ms(_time) FROM plain ORDER BY _id"
    assert connection.execute(sql).fetchall() == [
        ("kafka1/0/0", 1, 1_700_000_000_123),
        ("kafka1/1/0", 2, 1_700_000_000_456),
        ("kafka1/1/1", 2, 1_700_000_000_456),
    ]


def test_a_topic_can_be_read_from_its_end_on(kafka: KafkaCluster, connection: Connection) -> None:
    topic = kafka.new_topic()
    kafka.produce(topic, numbered(range(5)))
    connection.create_collection("latest", source_urls=[kafka.url(topic, "start=latest")])
    eventually(read_up_to(connection, "latest", 5), "beginning at the end")
    kafka.produce(topic, numbered(range(5, 8)))
    eventually(read_up_to(connection, "latest", 8), "reading what came later")
    assert values(connection, "latest") == [5, 6, 7]


def test_tombstones_delete_and_poison_is_set_aside(
    kafka: KafkaCluster, connection: Connection
) -> None:
    topic = kafka.new_topic()
    connection.create_collection("keyed", key_path="k", source_urls=[kafka.url(topic)])
    connection.create_collection("keyless", source_urls=[kafka.url(topic)])
    records = [Record(json.dumps({"k": f"k{i % 5}", "n": i}).encode(), b"x") for i in range(20)]
    poison = [Record(b"not json"), Record(b"\xff\xfe"), Record(b""), Record(None)]
    kafka.produce(topic, [*records, *poison, Record(None, b"k3"), Record(b'{"k": "k9", "n": 99}')])
    eventually(read_up_to(connection, "keyed", 26), "reading it with a key")
    eventually(read_up_to(connection, "keyless", 26), "reading it without a key")
    assert values(connection, "keyed") == [15, 16, 17, 19, 99]
    assert values(connection, "keyless") == [*range(20), 99]
    assert [record.offset for record in connection.quarantine("keyed")] == [20, 21, 22, 23]
    assert [record.offset for record in connection.quarantine("keyless")] == [20, 21, 22, 23, 24]


def test_records_that_lacked_their_schema_are_redriven_once_the_registry_has_it(
    kafka: KafkaCluster, connection: Connection
) -> None:
    fields = [{"name": "n", "type": "long"}, {"name": "id", "type": "string"}]
    known = {"type": "record", "name": "E", "fields": fields}
    later = {**known, "fields": [*fields, {"name": "more", "type": "double"}]}
    with registry_server() as registry:
        first = registry.add(json.dumps(known), "AVRO")
        old = [b"\0" + first.to_bytes(4) + bytes([2 * n, 2, 97 + n % 3]) for n in range(6)]
        new = [
            b"\0" + (first + 1).to_bytes(4) + bytes([2 * n, 2, 97 + n % 3]) + b"\0\0\0\0\0\0\xf8?"
            for n in range(6)
        ]
        topic = kafka.new_topic()
        mixed = [one for pair in zip(old, new, strict=True) for one in pair]
        kafka.produce(topic, [Record(value, b"k") for value in [*mixed, b"poison"]])
        source = kafka.url(topic, f"format=avro&registry={registry.url}")
        for name, key in (("schemas", ""), ("schemas_by_id", "id")):
            connection.create_collection(name, key_path=key, source_urls=[source])
            eventually(read_up_to(connection, name, 13), "reading all")
            waiting = [record.offset for record in connection.quarantine(name)]
            assert waiting == [1, 3, 5, 7, 9, 11, 12]
            reasons = {one.position.offset: one.reason for one in connection.redrive(name)}
            assert all(reasons[offset] for offset in waiting)
        assert registry.add(json.dumps(later), "AVRO") == first + 1
        for name in ("schemas", "schemas_by_id"):
            reasons = {one.position.offset: one.reason for one in connection.redrive(name)}
            assert [offset for offset, reason in reasons.items() if reason] == [12]
            assert [record.offset for record in connection.quarantine(name)] == [12]
    rows = "SELECT _offset, n, id, more, _key FROM {} ORDER BY _offset"
    expected = [
        (2 * n + late, n, "abc"[n % 3], 1.5 if late else None, "k")
        for n in range(6)
        for late in (False, True)
    ]
    assert connection.execute(rows.format("schemas")).fetchall() == expected
    assert connection.execute(rows.format("schemas_by_id")).fetchall() == expected[-5::2]


def test_partitions_that_are_added_are_read_from_their_first_record(
    kafka: KafkaCluster, connection: Connection
) -> None:
    topic = kafka.new_topic()
    kafka.produce(topic, numbered(range(3)))
    connection.create_collection("grows", source_urls=[kafka.url(topic, "start=latest")])
    eventually(read_up_to(connection, "grows", 3), "reading one partition")
    kafka.grow(topic, 3)
    kafka.produce(topic, numbered(range(10, 15)), partition=1)
    kafka.produce(topic, numbered(range(20, 22)), partition=2)
    eventually(read_up_to(connection, "grows", 3, 5, 2), "finding and reading the others")
    assert values(connection, "grows") == [10, 11, 12, 13, 14, 20, 21]


def test_a_recreated_topic_is_not_read_under_the_old_name(
    kafka: KafkaCluster, connection: Connection
) -> None:
    topic = kafka.new_topic()
    kafka.produce(topic, numbered(range(5)))
    connection.create_collection("recreated", source_urls=[kafka.url(topic)])
    eventually(read_up_to(connection, "recreated", 5), "reading the first topic")
    kafka.delete(topic)
    eventually(lambda: errors(connection, "recreated"), "noticing that the topic is gone")
    kafka.create(topic)
    kafka.produce(topic, numbered(range(100, 120)))
    eventually(
        lambda: any("deleted and created again" in e for e in errors(connection, "recreated")),
        "noticing that it is another topic",
    )
    assert values(connection, "recreated") == [0, 1, 2, 3, 4]


def test_a_broker_that_is_killed_loses_and_repeats_nothing(
    kafka: KafkaCluster, kafka_broker: Broker, connection: Connection
) -> None:
    topic = kafka.new_topic()
    connection.create_collection("unclean", source_urls=[kafka.url(topic)])
    kafka.produce(topic, numbered(range(1_000)))
    eventually(read_up_to(connection, "unclean", 1_000), "reading before the kill")
    kafka_broker.kill()
    kafka_broker.start()
    kafka.produce(topic, numbered(range(1_000, 2_000)))
    eventually(read_up_to(connection, "unclean", 2_000), "reading after the restart")
    assert values(connection, "unclean") == list(range(2_000))


def test_a_log_that_was_cut_back_and_grew_again_is_noticed(
    kafka: KafkaCluster, kafka_broker: Broker, deployment: Deployment
) -> None:
    topic = kafka.new_topic()
    for begin in range(0, 50, 10):
        kafka.produce(topic, numbered(range(begin, begin + 10)))
    with deployment.connect() as connection:
        connection.create_collection("cut", source_urls=[kafka.url(topic)])
        eventually(read_up_to(connection, "cut", 50), "reading all")
    # The leader epoch must be known from the leaves alone.
    deployment.processes["serve"].stop()
    kafka_broker.kill()
    kafka_broker.cut_log(topic, keep_batches=2)
    kafka_broker.start()
    begin = kafka.produce(topic, numbered(range(1_000, 1_100)))[0]
    deployment.processes["serve"].start()
    assert 0 < begin < 50, "the log was not cut"
    with deployment.connect() as connection:

        def noticed() -> bool:
            return any("was cut back" in error for error in errors(connection, "cut"))

        eventually(noticed, "noticing that the log lost what was read")
        for _ in range(20):
            assert noticed(), "a later try must not be taken in"
            time.sleep(0.1)
        assert values(connection, "cut") == list(range(50))


def test_times_that_jump_and_records_sent_twice_change_no_order(
    kafka: KafkaCluster, connection: Connection
) -> None:
    topic = kafka.new_topic()
    connection.create_collection("last", key_path="k", source_urls=[kafka.url(topic)])
    connection.create_collection("all_of", source_urls=[kafka.url(topic)])
    times = [1_700_000_000_000, 1_600_000_000_000, 1, 1_650_000_000_000, 1_699_999_999_999]
    records = [
        Record(json.dumps({"k": "same", "n": number}).encode(), timestamp_ms=time_ms)
        for number, time_ms in enumerate(times)
    ]
    kafka.produce(topic, [*records, *records[1:]])
    eventually(read_up_to(connection, "last", 9), "reading it with a key")
    eventually(read_up_to(connection, "all_of", 9), "reading it without a key")
    assert values(connection, "last") == [4]
    assert values(connection, "all_of") == [0, 1, 1, 2, 2, 3, 3, 4, 4]


def test_keys_headers_and_times_of_records_are_fields(
    kafka: KafkaCluster, connection: Connection
) -> None:
    topic = kafka.new_topic()
    records = [
        Record(
            json.dumps({"n": n, "_key": f"own {n}", "_headers": n}).encode(),
            f"k{n % 3}".encode() if n % 4 else None,
            (("trace", b"t%d" % n),) if n % 2 else (),
            1_700_000_000_000 + n,
        )
        for n in range(12)
    ]
    kafka.produce(topic, records)
    connection.create_collection("meta", source_urls=[kafka.url(topic)])
    connection.create_collection("by_key", key_path="_key", source_urls=[kafka.url(topic)])
    eventually(read_up_to(connection, "meta", 12), "reading it")
    eventually(read_up_to(connection, "by_key", 12), "reading it by the records' keys")
    sql = (
        'SELECT n, _key, _headers->>\'trace\', epoch_ms(_log_time), "\\_key", "\\_headers", '
        "_doc._key->>'$' FROM meta ORDER BY n"
    )
    assert connection.execute(sql).fetchall() == [
        (
            n,
            f"k{n % 3}" if n % 4 else None,
            f"t{n}" if n % 2 else None,
            1_700_000_000_000 + n,
            f"own {n}",
            n,
            f"own {n}",
        )
        for n in range(12)
    ]
    sql = "SELECT _key, count(*) FROM meta WHERE _key IN ('k1', 'k2') GROUP BY ALL ORDER BY 1"
    assert connection.execute(sql).fetchall() == [("k1", 3), ("k2", 3)]
    sql = "SELECT n FROM meta WHERE _log_time >= make_timestamp(1700000000010000) ORDER BY n"
    assert connection.execute(sql).fetchall() == [(10,), (11,)]
    columns = [one[0] for one in connection.execute("SELECT * FROM meta").description]
    assert sorted(columns) == ["_headers", "_key", "n"], "the documents' own fields alone"
    rows = connection.execute("SELECT _id, n FROM by_key ORDER BY 1").fetchall()
    assert rows == [("k0", 9), ("k1", 10), ("k2", 11)]
    assert [one.offset for one in connection.quarantine("by_key")] == [0, 4, 8]
    kafka.produce(topic, [Record(None, b"k1")])
    eventually(read_up_to(connection, "by_key", 13), "reading the tombstone")
    rows = connection.execute("SELECT _id FROM by_key ORDER BY 1").fetchall()
    assert rows == [("k0",), ("k2",)]


def test_tls_is_by_an_authority_that_is_known_and_what_is_wrong_is_told(
    kafka: KafkaCluster, kafka_broker: Broker, connection: Connection, logins: Path
) -> None:
    assert kafka.certificates is not None
    topic = kafka.new_topic()
    kafka.produce(topic, numbered(range(3)))
    ours, login = kafka_broker.tls_bootstrap, kafka_broker.tls_login_bootstrap
    by_name = ours.replace("127.0.0.1", "localhost")
    authority, stranger = (kafka.certificates / name for name in (AUTHORITY, STRANGER))
    tables = {
        ours: {"security.protocol": "SSL", "ssl.ca.location": authority},
        login: {
            "security.protocol": "SASL_SSL",
            "ssl.ca.location": authority,
            "sasl.mechanism": "PLAIN",
            "sasl.username": USER,
            "sasl.password": PASSWORD,
        },
        by_name: {"security.protocol": "SSL", "ssl.ca.location": stranger},
        f"{by_name},{ours}": {"security.protocol": "SSL"},
    }
    names = ("tls", "tls_login", "tls_stranger", "tls_unknown")

    def write() -> None:
        lines: list[str] = []
        for brokers, table in tables.items():
            lines += [f'["{brokers}"]', *(f'"{name}" = "{table[name]}"' for name in table)]
        logins.write_text("\n".join(lines))

    write()
    for name, brokers in zip(names, tables, strict=True):
        connection.create_collection(name, source_urls=[f"kafka://{brokers}/{topic}"])
    for name in names[:2]:
        eventually(read_up_to(connection, name, 3), f"reading {name}")
    for name in names[2:]:
        eventually(
            lambda name=name: any(
                "certificate verify failed" in error for error in errors(connection, name)
            ),
            f"telling why {name} is not read",
        )
    tables[by_name]["ssl.ca.location"] = authority
    write()
    eventually(read_up_to(connection, names[2], 3), "reading it after the login was mended")
    for name in names:
        connection.drop_collection(name)
