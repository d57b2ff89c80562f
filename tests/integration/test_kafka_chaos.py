"""kill -9 of tailers, leaves and the broker at random, while one topic feeds two collections.

Afterwards the one without keys has every record of the log once, at its own offset, and the other
one has the last value of every key. ``--long``: a million events and a hundred kills; ``--seed N``
repeats the events and the kills of a run.
"""

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pytest
from confluent_kafka import Consumer, TopicPartition
from deployment import Deployment, cluster
from kafka_broker import Broker
from kafka_cluster import KafkaCluster, Record
from numpy.typing import NDArray

from alder.client import Connection, Error

EVENTS, EVENTS_LONG = 40_000, 1_000_000
KILLS, KILLS_LONG = 6, 100
PARTITIONS: Final = 8
EVENTS_PER_KEY: Final = 5
LEASE_S: Final = 1.5
"""Shorter than a restart takes, so that partitions change hands."""
PAUSE_S_MAX: Final = 0.6
PIECES, PIECE_S = 30, 0.1
"""So slowly do events come that processes that are started again find others at work."""
SETTLE_S_MAX, SETTLE_S_MAX_LONG = 120.0, 900.0
BROKER: Final = "broker"
COLUMNS: Final = ("partition", "offset", "n", "key")


@dataclass
class Feed(threading.Thread):
    """Sends events in portions that are asked for; a key is always in the same partition."""

    kafka: KafkaCluster
    topic: str
    keys: NDArray[np.int64]
    portion: int
    asked: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    complete: bool = False

    def __post_init__(self) -> None:
        super().__init__(daemon=True)

    def __hash__(self) -> int:
        return id(self)

    def run(self) -> None:
        """Until all are in the log, each once: a broker that is gone is waited for."""
        patient = {"message.timeout.ms": 600_000, "queue.buffering.max.messages": 2_000_000}
        producer = self.kafka.producer({"enable.idempotence": True, **patient})
        for n, key in enumerate(self.keys.tolist()):
            if n % self.portion == 0:
                self.asked.acquire()
            if n % (self.portion // PIECES) == 0:
                time.sleep(PIECE_S)
            value = b'{"n": %d, "key": %d, "text": "event %d of key %d"}' % (n, key, n, key)
            self.kafka.send(producer, self.topic, Record(value), key % PARTITIONS)
        self.complete = producer.flush(600) == 0


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    made = cluster(
        tmp_path,
        {"seal_rows": 20_000, "seal_rows_min": 2_000},
        leaves=2,
        tailers=3,
        controller_settings={"lease_s": LEASE_S},
    )
    made.start()
    yield made
    made.stop()


def log_of(kafka: KafkaCluster, topic: str) -> pa.Table:
    """Every record of the topic, by partition and offset."""
    settings = {"bootstrap.servers": kafka.bootstrap, "group.id": topic, "log_level": 0}
    consumer = Consumer({**settings, "enable.auto.commit": False, "enable.partition.eof": True})
    consumer.assign([TopicPartition(topic, n, 0) for n in range(PARTITIONS)])
    found: list[tuple[int, int, bytes]] = []
    ended: set[int] = set()
    while len(ended) < PARTITIONS:
        for message in consumer.consume(10_000, 1.0):
            if message.error() is None:
                found.append((message.partition(), message.offset(), message.value()))
            else:
                ended.add(message.partition())
    consumer.close()
    found.sort()
    numbers = [value.split(b", ", 2) for _, _, value in found]
    columns = [
        [partition for partition, _, _ in found],
        [offset for _, offset, _ in found],
        [int(parts[0][6:]) for parts in numbers],
        [int(parts[1][7:]) for parts in numbers],
    ]
    return pa.table([pa.array(column, pa.int64()) for column in columns], names=COLUMNS)


def wait_until_read(connection: Connection, log: pa.Table, limit_s: float) -> None:
    """Until both collections stand at the end of every partition."""
    ends = Counter(log.column("partition").to_pylist())
    wanted = {(name, n): ends[n] for name in ("each", "last") for n in range(PARTITIONS)}
    deadline = time.monotonic() + limit_s
    found: object = None
    while found != wanted:
        assert time.monotonic() < deadline, f"never read up to {wanted}: {found}"
        try:
            found = {
                (lag.collection, lag.partition): lag.next_offset
                for lag in connection.status().lags
                if lag.source == "kafka1"
            }
        except Error as error:
            found = str(error)
        time.sleep(0.1)


def last_of(log: pa.Table) -> pa.Table:
    """Per key the record that is last in its partition, which the key has alone."""
    last = {key: place for place, key in enumerate(log.column("key").to_pylist())}
    return log.take(pa.array(sorted(last.values())))


@pytest.mark.timeout(3_600)
def test_killed_tailers_leaves_and_brokers_lose_and_repeat_nothing(
    kafka: KafkaCluster,
    kafka_broker: Broker,
    deployment: Deployment,
    request: pytest.FixtureRequest,
) -> None:
    is_long = request.config.getoption("--long")
    events, kills = (EVENTS_LONG, KILLS_LONG) if is_long else (EVENTS, KILLS)
    seed = request.config.getoption("--seed") or random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    keys = np.random.default_rng(seed).integers(0, events // EVENTS_PER_KEY, events)
    topic = kafka.new_topic(PARTITIONS)
    victims = [BROKER, *(name for name in sorted(deployment.processes) if "-" in name)]
    killed: Counter[str] = Counter()
    begin_s = time.monotonic()
    with deployment.connect() as connection:
        url = kafka.url(topic)
        connection.create_collection("each", source_urls=[url], shards=4)
        connection.create_collection("last", source_urls=[url], shards=4, key_path="key")
        feed = Feed(kafka, topic, keys, -(-events // kills))
        feed.start()
        order: list[str] = []
        for _ in range(kills):
            # Each once before any of them again: also few kills are of all kinds.
            order = order or chance.sample(victims, len(victims))
            feed.asked.release()
            time.sleep(chance.uniform(0.05, PAUSE_S_MAX))
            victim = order.pop()
            if victim == BROKER:
                kafka_broker.kill()
                kafka_broker.start()
            else:
                deployment.restart(victim)
            killed[victim] += 1
        feed.join(600)
        assert feed.complete
        log = log_of(kafka, topic)
        assert sorted(log.column("n").to_pylist()) == list(range(events)), "the log itself"
        wait_until_read(connection, log, SETTLE_S_MAX_LONG if is_long else SETTLE_S_MAX)
        expected = {"each": log, "last": last_of(log)}
        for name, table in expected.items():
            sql = f'SELECT _partition AS "partition", _offset AS "offset", n, key FROM {name}'
            found = connection.execute(sql, timeout_s=300).fetch_arrow_table()
            ordered = found.cast(table.schema).sort_by(
                [(column, "ascending") for column in COLUMNS]
            )
            assert ordered.num_rows == table.num_rows, f"{name}: seed {seed}, kills {killed}"
            assert ordered.equals(table), f"{name}: seed {seed}, kills {killed}"
        counts = {name: table.num_rows for name, table in expected.items()}
    took_s = time.monotonic() - begin_s
    print(f"{sum(killed.values())} kills {dict(killed)}, {counts} rows, {took_s:.0f} s")
    assert sum(killed.values()) == kills
