"""Tailers that share a topic: stopped, cut off, killed and added while records flow."""

import asyncio
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest
from deployment import Deployment, ManagedProcess, cluster, free_port, node
from gateway import Gateway
from kafka_cluster import KafkaCluster

from alder.client import Connection, Error
from alder.errors import AlderError, Reason
from alder.remote import RemoteTailer, open_channel
from alder.v1 import quarantine_pb2, tailer_pb2

PARTITIONS: Final = 8
LEASE_S: Final = 1.5
SWEEP_S: Final = LEASE_S / 10
SLACK_S: Final = 20.0
"""What two busy cores need to read on; without a lease that ends nobody reads on at all."""
WAIT_S_MAX: Final = 60.0
CHANGES, CHANGES_LONG = 4, 40


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Without a tailer: tests add those that they need."""
    made = cluster(
        tmp_path_factory.mktemp("tailers"),
        {"seal_rows": 20_000},
        leaves=2,
        tailers=0,
        controller_settings={"lease_s": LEASE_S},
    )
    made.start()
    try:
        yield made
    finally:
        codes = made.stop()
    assert set(codes.values()) == {0}


@dataclass
class Flow(threading.Thread):
    """Numbered records to all partitions in turn, until it is stopped."""

    kafka: KafkaCluster
    topic: str
    produced: int = 0
    stopping: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        super().__init__(daemon=True)

    def __hash__(self) -> int:
        return id(self)

    def run(self) -> None:
        """Sends 40 records, five a partition, and waits a little."""
        producer = self.kafka.producer()
        while not self.stopping.wait(0.02):
            for _ in range(5 * PARTITIONS):
                value = b'{"n": %d}' % self.produced
                self.kafka.send(producer, self.topic, value, self.produced % PARTITIONS)
                self.produced += 1
        assert producer.flush(WAIT_S_MAX) == 0

    def stop(self) -> int:
        """Ends it; how many records it has sent."""
        self.stopping.set()
        self.join(WAIT_S_MAX)
        assert not self.is_alive()
        return self.produced


@dataclass
class Group:
    """Tailers of a deployment that a test starts and ends."""

    root: Path
    controller: str
    running: dict[str, ManagedProcess] = field(default_factory=dict)
    addresses: dict[str, str] = field(default_factory=dict)

    def start(self, name: str, controller: str = "", suspended: bool = False) -> ManagedProcess:
        """Starts one and returns when it is ready."""
        self.addresses[name] = f"127.0.0.1:{free_port()}"
        process = node(
            self.root, "tailer", name, self.addresses[name], controller or self.controller, {}
        )
        if suspended:
            process.program = (str(Path(__file__).with_name("suspended_tailer.py")),)
        process.start()
        self.running[name] = process
        return process

    def kill(self, name: str) -> None:
        """kill -9."""
        self.running.pop(name).kill()

    def stop(self, name: str) -> None:
        """SIGTERM."""
        assert self.running.pop(name).stop() == 0

    def describe(self, name: str) -> list[tailer_pb2.PartitionProgress]:
        """What a tailer says of itself."""
        request = tailer_pb2.DescribeTailerRequest()
        answer = self.call(name, lambda tailer: tailer.describe(request, timeout_s=10))
        return list(answer.partitions)

    def call(self, name: str, ask: Callable) -> tailer_pb2.DescribeTailerResponse:
        """One call of a tailer."""

        async def main() -> tailer_pb2.DescribeTailerResponse:
            async with open_channel(self.addresses[name]) as channel:
                return await ask(RemoteTailer(channel))

        return asyncio.run(main())


@pytest.fixture
def group(deployment: Deployment, tmp_path: Path) -> Iterator[Group]:
    config = deployment.processes["leaf-0"].arguments[-1]
    lines = dict(line.split(" = ") for line in Path(config).read_text().splitlines() if "=" in line)
    made = Group(tmp_path, lines["controller"].strip('"'))
    try:
        yield made
    finally:
        for process in made.running.values():
            process.kill()


def eventually(check: Callable[[], object], what: str) -> None:
    """Waits until a check is true; an error of a server that is asked too early is none."""
    deadline = time.monotonic() + WAIT_S_MAX
    found: object = None
    while not found:
        assert time.monotonic() < deadline, f"{what} did not come about: {found!r}"
        try:
            found = check()
        except (Error, AlderError) as error:
            found = None
            what = f"{what.partition(' (')[0]} ({error})"
        time.sleep(0.05)


def positions(connection: Connection, collection: str) -> dict[int, int]:
    """How far each partition of the topic has been read."""
    return {
        lag.partition: lag.next_offset
        for lag in connection.status().lags
        if lag.collection == collection and lag.source == "kafka1"
    }


def check_once(connection: Connection, collection: str, count: int) -> None:
    """Each of the numbers up to ``count`` is there once, as soon as all have been read."""
    eventually(
        lambda: sum(positions(connection, collection).values()) == count, "reading everything"
    )
    rows = connection.execute(f"SELECT n FROM {collection}").fetchall()
    assert sorted(row[0] for row in rows) == list(range(count))


def owned(connection: Connection, collection: str) -> dict[str, list[int]]:
    """The partitions of the topic by the tailer that says to read them."""
    found: dict[str, list[int]] = {}
    for tailer in connection.status().tailers:
        for entry in tailer.partitions:
            if entry.collection == collection and entry.source == "kafka1":
                found.setdefault(tailer.node_id, []).append(entry.partition)
    return found


@pytest.mark.timeout(300)
@pytest.mark.parametrize("clock", ["runs", "stands still"])
def test_a_stopped_tailer_that_wakes_up_is_refused(
    clock: str, kafka: KafkaCluster, deployment: Deployment, group: Group
) -> None:
    topic = kafka.new_topic(PARTITIONS)
    name = f"zombie_{clock.replace(' ', '_')}"
    gateway = Gateway(group.controller)
    gateway.open()
    with deployment.connect() as connection:
        connection.create_collection(name, source_urls=[kafka.url(topic)], shards=2)
        kafka.produce(topic, [b"poison"], partition=0)
        flow = Flow(kafka, topic)
        group.start("steady")
        zombie = group.start("zombie", gateway.address, suspended=clock == "stands still")
        flow.start()
        eventually(
            lambda: (
                {k: len(v) for k, v in owned(connection, name).items()}
                == {"steady": 4, "zombie": 4}
            ),
            "sharing the partitions",
        )
        its = owned(connection, name)["zombie"]
        eventually(lambda: all(positions(connection, name).get(n, 0) > 10 for n in its), "reading")
        gateway.cut()
        zombie.pause()
        before = positions(connection, name)
        eventually(
            lambda: all(positions(connection, name)[n] > before[n] + 50 for n in its),
            "taking over what the stopped one had",
        )
        zombie.resume()

        def refused() -> bool:
            errors = [one.error for one in group.describe("zombie") if one.source == "kafka1"]
            if clock == "runs":
                return not errors
            return any("knows a newer assignment of partitions" in error for error in errors)

        eventually(refused, "refusing the one that woke up")
        record = quarantine_pb2.RecordPosition(source="kafka1", partition=0, offset=0)
        identity = next(one.collection_id for one in connection.collections() if one.name == name)
        request = quarantine_pb2.TailerRedriveRequest(
            collection=name, collection_id=identity, records=[record]
        )
        with pytest.raises(AlderError) as caught:
            group.call("zombie", lambda tailer: tailer.redrive(request, timeout_s=20))
        assert caught.value.reason is Reason.STALE_ASSIGNMENT
        gateway.mend()
        eventually(
            lambda: (
                {k: len(v) for k, v in owned(connection, name).items()}
                == {"steady": 4, "zombie": 4}
            ),
            "sharing the partitions again",
        )
        eventually(
            lambda: not any(one.error for one in group.describe("zombie")), "going on without error"
        )
        count = flow.stop()
        eventually(
            lambda: sum(positions(connection, name).values()) == count + 1, "reading everything"
        )
        rows = connection.execute(f"SELECT n FROM {name}").fetchall()
        assert sorted(row[0] for row in rows) == list(range(count))
    gateway.close()


@dataclass
class Watch(threading.Thread):
    """Looks at the positions again and again; how long the slowest partition stood still."""

    connection: Connection
    collection: str
    idle_s_max: float = 0.0
    stopping: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        super().__init__(daemon=True)

    def __hash__(self) -> int:
        return id(self)

    def run(self) -> None:
        """Until it is stopped."""
        since_s: dict[int, tuple[int, float]] = {}
        while not self.stopping.wait(0.1):
            now_s = time.monotonic()
            for partition, position in positions(self.connection, self.collection).items():
                known, at_s = since_s.get(partition, (-1, now_s))
                if position != known:
                    since_s[partition] = (position, now_s)
                self.idle_s_max = max(self.idle_s_max, now_s - at_s)


@pytest.mark.timeout(900)
def test_tailers_come_and_go_while_records_flow(
    kafka: KafkaCluster, deployment: Deployment, group: Group, request: pytest.FixtureRequest
) -> None:
    changes = CHANGES_LONG if request.config.getoption("--long") else CHANGES
    seed = request.config.getoption("--seed") or random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    topic = kafka.new_topic(PARTITIONS)
    with deployment.connect() as connection, deployment.connect() as watching:
        connection.create_collection("come_and_go", source_urls=[kafka.url(topic)], shards=2)
        flow = Flow(kafka, topic)
        group.start("t0")
        group.start("t1")
        flow.start()
        eventually(lambda: len(positions(connection, "come_and_go")) == PARTITIONS, "beginning")
        watch = Watch(watching, "come_and_go")
        watch.start()
        for number in range(2, 2 + changes):
            lost = chance.choice(sorted(group.running))
            (group.kill if chance.random() < 0.7 else group.stop)(lost)
            group.start(f"t{number}")
        group.start("last")
        eventually(
            lambda: sorted(map(len, owned(connection, "come_and_go").values())) == [2, 3, 3],
            "sharing the partitions evenly",
        )
        watch.stopping.set()
        watch.join(WAIT_S_MAX)
        assert watch.idle_s_max < LEASE_S + SWEEP_S + SLACK_S, f"seed {seed}"
        check_once(connection, "come_and_go", flow.stop())
