"""How far behind a topic is, and what slows, stops or confuses its reading, with a real broker."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Final

import pytest
from deployment import Deployment, standalone
from kafka_cluster import KafkaCluster

from alder.cli.rebuild import building
from alder.client import Connection, PartitionLag
from alder.errors import Reason

WAIT_S_MAX: Final = 40.0


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


def eventually(check: Callable[[], object], what: str) -> None:
    """Waits until a check is true, and fails with what it last gave."""
    deadline = time.monotonic() + WAIT_S_MAX
    while not (found := check()):
        assert time.monotonic() < deadline, f"{what} did not come about: {found!r}"
        time.sleep(0.1)


def numbered(numbers: range) -> list[bytes]:
    return [b'{"n": %d}' % number for number in numbers]


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
        for _ in building(connection, "sought", None):
            time.sleep(0)
        assert values(connection, "sought") == kept, "a rebuild passes it, too"
