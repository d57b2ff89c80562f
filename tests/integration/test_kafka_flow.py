"""How far behind a topic is, and what slows, stops or confuses its reading, with a real broker."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from deployment import Deployment, cluster, standalone
from kafka_broker import Broker
from kafka_cluster import KafkaCluster, Record
from test_kafka import numbered
from waiting import eventually

from alder.catalog import CollectionSettings
from alder.cli.rebuild import building
from alder.client import Connection, OperationalError, PartitionLag
from alder.errors import Reason
from alder.slots import slots_of_offsets


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    made = standalone(tmp_path_factory.mktemp("flow"), {"seal_rows": 2_000, "seal_rows_min": 500})
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


def lags(connection: Connection, collection: str) -> list[PartitionLag]:
    """Those of its topic, by partition."""
    told = connection.status().lags
    return [one for one in told if (one.collection, one.source) == (collection, "kafka1")]


def ends(connection: Connection, collection: str) -> list[tuple[int, int | None]]:
    return [(one.next_offset, one.end_offset) for one in lags(connection, collection)]


def test_the_lag_of_a_topic_is_told_and_bounds_queries(
    kafka: KafkaCluster, connection: Connection
) -> None:
    topic = kafka.new_topic(2)
    kafka.produce(topic, numbered(range(5)))
    connection.create_collection("lagging", source_urls=[kafka.url(topic)])
    eventually(lambda: ends(connection, "lagging") == [(5, 5), (0, 0)], "reading it")
    asked = "SELECT count(*) FROM lagging"
    cursor = connection.execute(asked, policy="STALENESS <= 5 seconds")
    assert cursor.fetchall() == [(5,)]
    first, second = lags(connection, "lagging")
    assert first.lag_s is not None
    assert second.lag_s is not None
    assert first.applied_log_time_us is not None
    assert abs(first.applied_log_time_us / 1e6 - time.time()) < 60
    producer = kafka.producer({"transactional.id": topic})
    producer.init_transactions(30)
    producer.begin_transaction()
    kafka.send(producer, topic, b'{"n": 5}')
    producer.flush(30)
    assert ends(connection, "lagging") == [(5, 5), (0, 0)], "nobody may read it yet"
    producer.commit_transaction(30)
    eventually(lambda: ends(connection, "lagging") == [(7, 7), (0, 0)], "reading on")
    assert connection.execute(asked, policy="STALENESS <= 5 seconds").fetchall() == [(6,)]


def test_a_topic_that_can_not_be_asked_is_not_taken_for_fresh(connection: Connection) -> None:
    connection.create_collection("nowhere", source_urls=["kafka://127.0.0.1:9/nothing"])
    with pytest.raises(Exception, match="whose topic was not found yet") as caught:
        connection.execute("SELECT count(*) FROM nowhere", policy="STALENESS <= 1 day")
    assert caught.value.reason is Reason.UNAVAILABLE
    assert connection.execute("SELECT count(*) FROM nowhere").fetchall() == [(0,)]
    connection.drop_collection("nowhere")


def alder(deployment: Deployment, *arguments: str) -> str:
    """What a command prints; it must succeed."""
    command = [sys.executable, "-m", "alder.cli.main", *arguments, "--server", deployment.target]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def refusal(deployment: Deployment, *arguments: str) -> str:
    """What a command says that is refused."""
    command = [sys.executable, "-m", "alder.cli.main", *arguments, "--server", deployment.target]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1, done.stdout
    return done.stderr


def values(connection: Connection, collection: str) -> list[int]:
    rows = connection.execute(f"SELECT n FROM {collection} ORDER BY n").fetchall()
    return [row[0] for row in rows]


def test_a_source_is_paused_goes_on_there_or_is_sought_past_records(
    kafka: KafkaCluster, deployment: Deployment
) -> None:
    topic = kafka.new_topic(2)
    with deployment.connect() as connection:
        connection.create_collection("sought", shards=3, source_urls=[kafka.url(topic)])
        kafka.produce(topic, numbered(range(100)))
        eventually(lambda: ends(connection, "sought") == [(100, 100), (0, 0)], "reading it")
        assert "is being read" in refusal(
            deployment, "source", "sought", "seek", "kafka1", "latest", "--yes"
        )
        alder(deployment, "source", "sought", "pause", "kafka1")
        kafka.produce(topic, numbered(range(100, 150)))
        kafka.produce(topic, numbered(range(1000, 1010)), partition=1)
        eventually(lambda: ends(connection, "sought") == [(100, 150), (0, 10)], "the end is seen")
        assert values(connection, "sought") == [*range(100)]
        assert "paused" in alder(deployment, "status")
    deployment.restart("serve")
    with deployment.connect() as connection:
        eventually(lambda: ends(connection, "sought") == [(100, 150), (0, 10)], "still paused")
        alder(deployment, "source", "sought", "resume", "kafka1")
        eventually(lambda: ends(connection, "sought") == [(150, 150), (10, 10)], "going on")
        everything = [*range(150), *range(1000, 1010)]
        assert values(connection, "sought") == everything
        alder(deployment, "source", "sought", "pause")
        kafka.produce(topic, numbered(range(150, 190)))
        back = refusal(deployment, "source", "sought", "seek", "kafka1", "earliest", "--yes")
        assert "alder rebuild" in back
        said = alder(
            deployment, "source", "sought", "seek", "kafka1", "180", "--partition", "0", "--yes"
        )
        assert "kafka1/0: skips 30 offsets, 150 to 179" in said
        assert "paused" in refusal(deployment, "rebuild", "sought")
        alder(deployment, "source", "sought", "resume")
        eventually(lambda: ends(connection, "sought") == [(190, 190), (10, 10)], "passing it")
        kept = [*range(150), *range(180, 190), *range(1000, 1010)]
        assert values(connection, "sought") == kept
        assert "30 skipped" in alder(deployment, "status")
        listed = [
            line.split() for line in alder(deployment, "source", "sought", "list").split("\n")
        ]
        assert ["kafka1", "0", "150", "179", "30"] in listed
        alder(deployment, "verify", "sought")
        for _ in building(connection, "sought", None):
            time.sleep(0)
        assert values(connection, "sought") == kept, "a rebuild passes it, too"


def positions(connection: Connection, collection: str) -> dict[str, int]:
    """Where the shard of each leaf that answers stands in the first partition."""
    return {
        leaf.node_id: shard.positions["kafka1", 0]
        for leaf in connection.status().leaves
        for shard in leaf.shards
        if shard.collection == collection
    }


def test_a_stopped_leaf_holds_back_only_itself(kafka: KafkaCluster, tmp_path: Path) -> None:
    topic = kafka.new_topic()
    filler = b"x" * 1_000

    def produce(numbers: range) -> None:
        kafka.produce(topic, [b'{"n": %d, "x": "%s"}' % (n, filler) for n in numbers])

    deployment = cluster(tmp_path, {}, leaves=2, tailers=1)
    deployment.start()
    try:
        with deployment.connect() as connection:
            made = connection.create_collection("ev", shards=2, source_urls=[kafka.url(topic)])
            produce(range(100))
            both = {"leaf-0": 100, "leaf-1": 100}
            eventually(lambda: positions(connection, "ev") == both, "reading it")
            deployment.processes["leaf-1"].pause()
            try:
                end = 40_000
                produce(range(100, end))
                eventually(lambda: positions(connection, "ev") == {"leaf-0": end}, "going on")
                told = [one for one in connection.status().tailers[0].partitions if one.error]
                assert [(one.source, one.next_offset) for one in told] == [("kafka1", 100)]
                assert told[0].held_bytes < 20_000_000, "not all of it waits in the tailer"
                cursor = connection.execute(
                    "SELECT count(*) FROM ev", policy="COVERAGE >= 0.4", timeout_s=20
                )
                (alive,) = [one for one in made.shards if one.leaf == "leaf-0"]
                slots = slots_of_offsets("kafka1", 0, np.arange(end))
                here = (slots >= alive.slot_begin) & (slots < alive.slot_end)
                assert cursor.fetchall() == [(int(here.sum()),)]
            finally:
                deployment.processes["leaf-1"].resume()
            produce(range(end, end + 100))
            both = {"leaf-0": end + 100, "leaf-1": end + 100}
            eventually(lambda: positions(connection, "ev") == both, "catching up")
            cursor = connection.execute("SELECT count(*), count(DISTINCT n), max(n) FROM ev")
            assert cursor.fetchall() == [(end + 100, end + 100, end + 99)]
    finally:
        deployment.stop()


def test_a_broker_that_is_down_for_long_is_waited_for(
    kafka: KafkaCluster,
    kafka_broker: Broker,
    deployment: Deployment,
    connection: Connection,
    request: pytest.FixtureRequest,
) -> None:
    outage_s = 240.0 if request.config.getoption("--long") else 20.0
    topic = kafka.new_topic(2)
    connection.create_collection("outage", source_urls=[kafka.url(topic)])
    kafka.produce(topic, numbered(range(300)))
    eventually(lambda: ends(connection, "outage") == [(300, 300), (0, 0)], "reading it")
    served = deployment.processes["serve"].process
    assert served is not None
    process = psutil.Process(served.pid)
    asked = "SELECT count(*) FROM outage"

    def errors() -> list[str]:
        tailer = connection.status().tailers[0]
        return [one.error for one in tailer.partitions if one.collection == "outage" and one.error]

    kafka_broker.kill()
    try:
        over = time.monotonic() + outage_s
        eventually(lambda: len(errors()) == 2, "telling it")
        assert all("can't be read" in error for error in errors())
        used_s = sum(process.cpu_times()[:2])
        while time.monotonic() < over:
            assert connection.execute(asked).fetchall() == [(300,)], "what was read is answered"
            time.sleep(1.0)
        used_s = sum(process.cpu_times()[:2]) - used_s
        with pytest.raises(OperationalError, match="s behind kafka1"):
            connection.execute(asked, policy="STALENESS <= 2 seconds")
        assert used_s < outage_s / 2, "it waits between its tries"
    finally:
        kafka_broker.start()
    kafka.produce(topic, numbered(range(300, 700)))
    kafka.produce(topic, numbered(range(1000, 1100)), partition=1)
    eventually(lambda: ends(connection, "outage") == [(700, 700), (100, 100)], "going on")
    assert values(connection, "outage") == [*range(700), *range(1000, 1100)]
    assert errors() == []
    eventually(lambda: connection.execute(asked, policy="STALENESS <= 5 seconds"), "being fresh")


def test_clocks_that_jump_lose_nothing(kafka: KafkaCluster, connection: Connection) -> None:
    day_ms, now_ms = 86_400_000, time.time_ns() // 1_000_000
    year_2100_ms = 4_102_444_800_000
    jumps_ms = [0, 3 * day_ms, -5 * day_ms, year_2100_ms - now_ms, -40 * day_ms, 60_000, 1 - now_ms]
    times_ms = [now_ms + jump for jump in jumps_ms for _ in range(20)]
    records = [
        Record(b'{"n": %d, "k": "k%d"}' % (n, n % 3), timestamp_ms=at)
        for n, at in enumerate(times_ms)
    ]
    count = len(records)
    wild = kafka.new_topic(message_timestamp_after_max_ms=str(2**62))
    kept = kafka.new_topic(message_timestamp_type="LogAppendTime")
    url = kafka.url(wild)
    connection.create_collection("wild", shards=2, source_urls=[url])
    connection.create_collection("latest_of", key_path="k", source_urls=[url])
    connection.create_collection(
        "kept",
        source_urls=[kafka.url(kept)],
        settings=CollectionSettings(retain_us=2 * day_ms * 1_000),
    )
    for topic in (wild, kept):
        kafka.produce(topic, records)
    for name in ("wild", "latest_of", "kept"):
        eventually(lambda name=name: ends(connection, name) == [(count, count)], "reading it")
        lag_s = lags(connection, name)[0].lag_s
        assert lag_s is not None
        assert lag_s < 60, "no timestamp makes it late or early"
        connection.execute(f"SELECT count(*) FROM {name}", policy="STALENESS <= 1 minute")
    assert values(connection, "wild") == [*range(count)]
    told = connection.execute("SELECT epoch_ms(_time) FROM wild ORDER BY n").fetchall()
    assert [at for (at,) in told] == times_ms
    assert values(connection, "kept") == [*range(count)], "retention goes by the broker's clock"
    assert values(connection, "latest_of") == [*range(count - 3, count)], "log order decides"


def test_a_clock_that_went_back_makes_no_earlier_document_win(
    kafka: KafkaCluster, connection: Connection
) -> None:
    now_ms, minute_ms = time.time_ns() // 1_000_000, 60_000
    topic = kafka.new_topic(2)
    for number, (partition, late_ms) in enumerate(
        [(0, 10 * minute_ms), (0, -7_200 * minute_ms), (1, 0)]
    ):
        record = Record(b'{"n": %d, "k": "x"}' % number, timestamp_ms=now_ms + late_ms)
        kafka.produce(topic, [record], partition)
    connection.create_collection("back", key_path="k", source_urls=[kafka.url(topic)])
    eventually(lambda: ends(connection, "back") == [(2, 2), (1, 1)], "reading it")
    assert values(connection, "back") == [1], "its partition had come to a later time before"
