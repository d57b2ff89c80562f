"""A partition of a real topic, read by the source alone, through what happens to logs."""

import asyncio
import itertools
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest
from kafka_broker import USER, Broker
from kafka_cluster import PASSWORD, KafkaCluster, Record
from schema_registry import registry_server

from alder.catalog import Source, SourcePartition
from alder.errors import AlderError, Reason
from alder.topicurl import TopicUrl
from tailer.settings import KafkaSettings, TailerSettings
from tailer.sources.kafka.clients import KafkaClients
from tailer.sources.kafka.lost import Expired, Truncated, judged
from tailer.sources.kafka.source import KafkaSource
from tailer.sources.model import RawBatch, ReadLimits
from tailer.topics import TopicDiscovery

LIMITS = ReadLimits(1 << 20, 50, 1 << 20, 100)
WAIT_S_MAX: Final = 40.0
WAIT_MS: Final = 300


@contextmanager
def opened(
    kafka: KafkaCluster,
    topic: str,
    partition: SourcePartition | None = None,
    settings: KafkaSettings | None = None,
    options: str = "",
) -> Iterator[Callable[..., RawBatch]]:
    """``read(offset, leader_epoch=-1)`` of a partition."""
    clients = KafkaClients(settings or KafkaSettings())
    url = TopicUrl.parse(kafka.url(topic, options))
    topic_id = clients.topic(url).topic_id
    source = KafkaSource(clients, url, topic_id, partition or SourcePartition(0), LIMITS, 1 << 20)

    def read(offset: int, leader_epoch: int = -1) -> RawBatch:
        return asyncio.run(source.read(offset, WAIT_MS, leader_epoch))

    try:
        yield read
    finally:
        source.close()


def first(read: Callable[..., RawBatch], offset: int, leader_epoch: int = -1) -> RawBatch:
    """The first batch that passes an offset."""
    deadline = time.monotonic() + WAIT_S_MAX
    while (batch := read(offset, leader_epoch)).end == offset:
        assert time.monotonic() < deadline, f"nothing came from {offset} on"
    return batch


def read_until(read: Callable[..., RawBatch], offset: int, end: int) -> list[tuple[int, bytes]]:
    """The records of ``[offset, end)``, in batches that follow each other without a hole."""
    deadline = time.monotonic() + WAIT_S_MAX
    found: list[tuple[int, bytes]] = []
    while offset < end:
        assert time.monotonic() < deadline, f"reading ended at {offset}: {found[-3:]}"
        batch = read(offset)
        assert batch.begin == offset
        assert batch.end >= batch.begin
        assert all(batch.begin <= at < batch.end for at in batch.offsets.tolist())
        found += zip(batch.offsets.tolist(), batch.records.to_pylist(), strict=True)
        offset = batch.end
    assert offset == end
    return found


def numbered(numbers: range) -> list[bytes]:
    return [b'{"n": %d}' % number for number in numbers]


def test_batches_begin_anywhere_and_go_back(kafka: KafkaCluster) -> None:
    topic = kafka.new_topic()
    values = numbered(range(240))
    kafka.produce(topic, values)
    everything = list(enumerate(values))
    with opened(kafka, topic) as read:
        for offset in (0, 200, 17, 239, 0):
            assert read_until(read, offset, 240) == everything[offset:]
        assert read(240).source_end == 240
    with opened(kafka, topic, SourcePartition(0, begin_offset=230)) as read:
        assert read_until(read, 0, 240) == everything[230:]


def test_keys_and_times_come_along(kafka: KafkaCluster) -> None:
    topic = kafka.new_topic()
    far = 2**63 - 1
    headers = (("a", "é".encode()), ("b", b"\xff"), ("b", None))
    kafka.produce(
        topic,
        [
            Record(b"{}", b"k", headers, 5_000),
            Record(None, b"\xff", (), 4_000),
            Record(b"{}", None),
        ],
    )
    with opened(kafka, topic) as read:
        batch = first(read, 0)
    assert batch.keys is not None
    assert batch.keys.to_pylist() == [b"k", b"\xff", None]
    assert batch.records.to_pylist() == [b"{}", b"", b"{}"]
    assert batch.log_times_us[:2].tolist() == [5_000_000, 4_000_000]
    assert batch.columns is not None
    assert batch.columns.to_pydict() == {
        "string:_key": ["k", None, None],
        "binary:_key": [None, b"\xff", None],
        "json:_headers": ['{"a":"é","b":["/w==",null]}', None, None],
    }
    kafka.create(wild := f"{topic}-wild", message_timestamp_after_max_ms=str(far))
    kafka.produce(wild, [Record(b"{}", timestamp_ms=far)])
    with opened(kafka, wild) as read:
        assert first(read, 0).log_times_us.tolist() == [253_402_300_799_999_000]


def test_an_offset_that_is_refused_is_lost_or_rewritten() -> None:
    assert judged(5, begin=9, end=20) == Expired(9)
    for begin, end in ((0, 3), (0, 5), (5, 9), (0, 9)):
        assert judged(5, begin, end) == Truncated()


@pytest.mark.parametrize("live", [True, False])
def test_what_retention_removed_is_named_or_quarantined(kafka: KafkaCluster, live: bool) -> None:
    topic = kafka.new_topic()
    values = numbered(range(100))
    kafka.produce(topic, values)
    for action in ("stop", "quarantine"):
        with opened(kafka, topic, settings=KafkaSettings(lost_records=action)) as read:
            start, lost_to = (0, 60) if action == "stop" else (60, 80)
            if live:
                assert read_until(read, start, start + 50 if action == "stop" else 100)
            position = start + 20
            kafka.delete_records(topic, lost_to + 5)
            if action == "stop":
                with pytest.raises(AlderError, match="to go on without them, set kafka") as caught:
                    first(read, position)
                assert caught.value.reason is Reason.OUT_OF_RANGE
                assert "offsets 20 to 64 of partition 0" in caught.value.message
            else:
                gap = first(read, position)
                assert (gap.begin, gap.end, len(gap.offsets)) == (80, 85, 0)
                assert [entry.offset for entry in gap.quarantined] == [80]
                assert "offsets 80 to 84" in gap.quarantined[0].reason
                assert read_until(read, gap.end, 100) == list(enumerate(values))[85:]


def test_control_records_and_aborted_transactions_are_passed(kafka: KafkaCluster) -> None:
    topic = kafka.new_topic()
    producer = kafka.producer({"transactional.id": topic})
    producer.init_transactions(30)
    expected: list[tuple[int, bytes]] = []
    numbers = itertools.count()
    for is_kept in (True, False, True, True, False, False, True, False):
        producer.begin_transaction()
        offsets: list[int] = []
        values = [b'{"n": %d}' % next(numbers) for _ in range(7)]
        for value in values:
            kafka.send(producer, topic, value, arrived=offsets.append)
        producer.flush(30)
        if is_kept:
            producer.commit_transaction(30)
            expected += zip(offsets, values, strict=True)
        else:
            producer.abort_transaction(30)
    end = 8 * 8
    with opened(kafka, topic) as read:
        assert read_until(read, 0, end) == expected, "the log ends with an aborted transaction"
        assert read(end).source_end == end
    producer.begin_transaction()
    kafka.send(producer, topic, b"{}")
    producer.flush(30)
    with opened(kafka, topic) as read:
        assert read(end).end == end, "what is not committed yet is not passed"
        producer.commit_transaction(30)
        assert read_until(read, end, end + 2) == [(end, b"{}")]


def test_what_compaction_removed_is_passed(kafka: KafkaCluster) -> None:
    topic = kafka.new_topic(
        cleanup_policy="compact", segment_bytes="1048576", min_cleanable_dirty_ratio="0.01"
    )
    filler = b'{"x": "' + b"x" * 10_000 + b'"}'
    kafka.produce(topic, [Record(filler, b"k%d" % (n % 3)) for n in range(150)])
    deadline = time.monotonic() + WAIT_S_MAX
    with opened(kafka, topic) as read:
        while len(found := read_until(read, 0, 150)) == 150:
            assert time.monotonic() < deadline, "the log was not compacted"
            time.sleep(0.2)
    assert found[-1][0] == 149
    assert {value for _, value in found} == {filler}


def test_an_empty_partition_has_a_number(kafka: KafkaCluster) -> None:
    topic = kafka.new_topic(2)
    clients = KafkaClients(KafkaSettings())
    begins = clients.begin_offsets(TopicUrl.parse(kafka.url(topic, "start=latest")), (0, 1))
    assert begins == {0: 0, 1: 0}
    with opened(kafka, topic) as read:
        nothing = read(0)
        assert (nothing.begin, nothing.end) == (0, 0)
        kafka.produce(topic, [b"{}"])
        assert read_until(read, 0, 1) == [(0, b"{}")]


def test_brokers_that_list_fewer_partitions_change_nothing(kafka: KafkaCluster) -> None:
    topic = kafka.new_topic(2)
    clients = KafkaClients(KafkaSettings())
    topic_id = clients.topic(TopicUrl.parse(kafka.url(topic))).topic_id
    known = tuple(map(SourcePartition, range(4)))
    source = Source("kafka1", kafka.url(topic), topic_id, known)
    discovery = TopicDiscovery(None, "c", source, TailerSettings(), clients)
    assert discovery._news() is None
    with opened(kafka, topic, SourcePartition(3)) as read:
        with pytest.raises(AlderError, match="list 2 partitions, without partition 3") as caught:
            first(read, 10)
        assert caught.value.reason is Reason.UNAVAILABLE
        kafka.grow(topic, 4)
        kafka.produce(topic, [b"{}"], partition=3)
        assert read_until(read, 0, 1) == [(0, b"{}")]


def test_a_recreated_topic_is_refused_also_where_the_offset_exists(kafka: KafkaCluster) -> None:
    topic = kafka.new_topic()
    kafka.produce(topic, numbered(range(5)))
    with opened(kafka, topic) as read:
        assert len(read_until(read, 0, 5)) == 5
        kafka.delete(topic)
        kafka.create(topic)
        kafka.produce(topic, numbered(range(50)))
        with pytest.raises(AlderError, match="deleted and created again") as caught:
            read_until(read, 5, 50)
        assert caught.value.reason is Reason.IDENTITY_CHANGED


def test_brokers_that_do_not_answer_are_reported_and_waited_for(
    kafka: KafkaCluster, kafka_broker: Broker
) -> None:
    topic = kafka.new_topic()
    kafka.produce(topic, numbered(range(3)))
    with opened(kafka, topic, settings=KafkaSettings(timeout_s=2.0)) as read:
        assert len(read_until(read, 0, 3)) == 3
        kafka_broker.pause()
        try:
            with pytest.raises(AlderError, match="can't be read") as caught:
                read(3)
            assert caught.value.reason is Reason.UNAVAILABLE
        finally:
            kafka_broker.resume()
        kafka.produce(topic, [b"{}"])
        deadline = time.monotonic() + WAIT_S_MAX
        found: list[tuple[int, bytes]] = []
        while not found:
            assert time.monotonic() < deadline
            with suppress(AlderError):
                found = read_until(read, 3, 4)
        assert found == [(3, b"{}")]


def test_a_login_comes_from_the_settings_and_its_secret_goes_nowhere_else(
    kafka: KafkaCluster, kafka_broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = kafka.new_topic()
    kafka.produce(topic, [b"{}"])
    config = tmp_path / "kafka.toml"
    config.write_text(
        f'["{kafka_broker.login_bootstrap}"]\n"security.protocol" = "SASL_PLAINTEXT"\n'
        f'"sasl.mechanism" = "PLAIN"\n"sasl.username" = "{USER}"\n'
        '"sasl.password" = "env:ALDER_TEST_PASSWORD"\n'
    )
    behind = replace(kafka, bootstrap=kafka_broker.login_bootstrap)
    monkeypatch.setenv("ALDER_TEST_PASSWORD", PASSWORD)
    with opened(behind, topic, settings=KafkaSettings(str(config))) as read:
        assert read_until(read, 0, 1) == [(0, b"{}")]
    monkeypatch.setenv("ALDER_TEST_PASSWORD", "a wrong secret")
    wrong, none = KafkaSettings(str(config), timeout_s=2.0), KafkaSettings(timeout_s=2.0)
    for settings, why in ((wrong, "can't be read.*Authentication failed"), (none, "can't be read")):
        with (
            pytest.raises(AlderError, match=why) as caught,
            opened(behind, topic, settings=settings),
        ):
            pass
        assert "secret" not in caught.value.message


def test_values_by_a_schema_become_documents_and_others_are_refused_alone(
    kafka: KafkaCluster,
) -> None:
    schema = {"type": "record", "name": "E", "fields": [{"name": "n", "type": "long"}]}
    topic = kafka.new_topic()
    with registry_server() as registry:
        number = registry.add(json.dumps(schema), "AVRO")
        good = b"\0" + number.to_bytes(4) + b"\x0e"
        kafka.produce(topic, [Record(good), Record(b"poison", b"k"), Record(None, b"k"), good])
        with opened(kafka, topic, options=f"format=avro&registry={registry.url}") as read:
            batch = first(read, 0)
    assert batch.records.to_pylist() == [b'{"n":7}', b"", b'{"n":7}']
    assert batch.offsets.tolist() == [0, 2, 3]
    assert batch.keys is not None
    assert batch.keys.to_pylist() == [None, b"k", None]
    (refused,) = batch.quarantined
    assert (refused.offset, refused.value, refused.size_bytes) == (1, b"poison", 6)
