"""Tailers that share a topic: stopped, cut off, killed and added while records flow."""

import asyncio
import random
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

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
CHANGES, CHANGES_LONG = 2, 40
Answer = TypeVar("Answer")


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Without a tailer: tests add those that they need."""
    made = cluster(
        tmp_path_factory.mktemp("tailers"),
        {"seal_rows": 20_000},
        leaves=1,
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
        """Sends a record to each partition, and waits a little."""
        producer = self.kafka.producer()
        while not self.stopping.wait(0.1):
            for _ in range(PARTITIONS):
                value = b'{"n": %d}' % self.produced
                self.kafka.send(producer, self.topic, value, self.produced % PARTITIONS)
                self.produced += 1
        assert producer.flush(WAIT_S_MAX) == 0

    def __enter__(self) -> "Flow":
        self.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self.stopping.set()

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

    def errors(self, name: str) -> list[str]:
        """Of each partition of a topic that a tailer has: why it stands still, or nothing."""
        request = tailer_pb2.DescribeTailerRequest()
        answer = self.call(name, lambda tailer: tailer.describe(request, timeout_s=10))
        return [one.error for one in answer.partitions if one.source == "kafka1"]

    def call(self, name: str, ask: Callable[[RemoteTailer], Awaitable[Answer]]) -> Answer:
        """One call of a tailer."""

        async def main() -> Answer:
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


@pytest.fixture
def gateway(group: Group) -> Iterator[Gateway]:
    """Between a tailer and the controller."""
    made = Gateway(group.controller)
    made.open()
    yield made
    made.close()


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


def check_once(connection: Connection, collection: str, count: int, poisoned: int = 0) -> None:
    """Each of the numbers up to ``count`` is there once, as soon as all have been read."""
    eventually(
        lambda: sum(positions(connection, collection).values()) == count + poisoned,
        "reading everything",
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


def redrive_of(connection: Connection, collection: str) -> quarantine_pb2.TailerRedriveRequest:
    """Asks a tailer to redrive the first record of the topic's first partition."""
    identity = next(one.collection_id for one in connection.collections() if one.name == collection)
    record = quarantine_pb2.RecordPosition(source="kafka1", partition=0, offset=0)
    return quarantine_pb2.TailerRedriveRequest(
        collection=collection, collection_id=identity, records=[record]
    )


@pytest.mark.timeout(300)
def test_stopped_tailers_that_wake_up_are_refused(
    kafka: KafkaCluster, deployment: Deployment, group: Group, gateway: Gateway
) -> None:
    """One whose clock runs knows by itself; the leaves refuse one whose clock stood still."""
    topic = kafka.new_topic(PARTITIONS)
    kafka.produce(topic, [b"poison"], partition=0)
    with deployment.connect() as connection, Flow(kafka, topic) as flow:
        connection.create_collection("zombies", source_urls=[kafka.url(topic)], shards=2)
        zombies = {
            "asleep": group.start("asleep", gateway.address),
            "suspended": group.start("suspended", gateway.address, suspended=True),
        }
        group.start("steady")

        def shared() -> bool:
            found = owned(connection, "zombies")
            sizes = sorted(map(len, found.values()))
            return found.keys() == group.running.keys() and sizes == [2, 3, 3]

        eventually(shared, "sharing the partitions")
        eventually(
            lambda: all(at > 5 for at in positions(connection, "zombies").values()), "reading"
        )
        gateway.cut()
        for zombie in zombies.values():
            zombie.pause()
        before = positions(connection, "zombies")
        eventually(
            lambda: all(
                at > before[number] + 5 for number, at in positions(connection, "zombies").items()
            ),
            "taking over what the stopped ones had",
        )
        for zombie in zombies.values():
            zombie.resume()
        eventually(lambda: not group.errors("asleep"), "noticing that the lease ran out")
        eventually(
            lambda: any(
                "knows a newer assignment of partitions" in error
                for error in group.errors("suspended")
            ),
            "refusing the one that knows nothing",
        )
        request = redrive_of(connection, "zombies")
        for name in zombies:
            with pytest.raises(AlderError) as caught:
                group.call(name, lambda tailer: tailer.redrive(request, timeout_s=20))
            assert caught.value.reason is Reason.STALE_ASSIGNMENT
        gateway.mend()
        eventually(shared, "sharing the partitions again")
        eventually(lambda: not any(map(any, map(group.errors, zombies))), "going on without error")
        check_once(connection, "zombies", flow.stop(), poisoned=1)
        connection.drop_collection("zombies")


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
        while not self.stopping.wait(0.2):
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
    with (
        deployment.connect() as connection,
        deployment.connect() as watching,
        Flow(kafka, topic) as flow,
    ):
        connection.create_collection("come_and_go", source_urls=[kafka.url(topic)], shards=2)
        group.start("t0")
        group.start("t1")
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
