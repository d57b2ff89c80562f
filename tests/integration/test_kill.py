"""kill -9 of every kind of process at random moments, while events are appended.

Afterwards the collection holds exactly what the log holds: every acknowledged event, nothing twice,
and nothing that was never sent. An append that failed is not repeated, because it may be in the
log.
"""

import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from deployment import Deployment, cluster, standalone

from alder.client import Error

EVENTS = 200_000
ACKNOWLEDGED = EVENTS // 2
BATCH = 250
KILLS = 50
SETTLE_S_MAX = 120.0
PAUSE_S = 0.08


@dataclass
class Appender(threading.Thread):
    """Appends numbered events until all were tried and enough acknowledged; keeps which were.

    How many are, depends on how long the machine needs to start a server again.
    """

    deployment: Deployment
    acknowledged: set[int] = field(default_factory=set)
    attempted: int = 0

    def __post_init__(self) -> None:
        super().__init__(daemon=True)

    def __hash__(self) -> int:
        return id(self)

    def run(self) -> None:
        """One batch after another; after a failure it goes on with new events."""
        with self.deployment.connect() as connection:
            while self.attempted < EVENTS or len(self.acknowledged) < ACKNOWLEDGED:
                numbers = range(self.attempted, self.attempted + BATCH)
                self.attempted += BATCH
                documents = [{"n": number, "text": f"event {number}"} for number in numbers]
                try:
                    connection.append("events", documents, timeout_s=20)
                    self.acknowledged.update(numbers)
                except Error:
                    time.sleep(0.2)
                time.sleep(PAUSE_S)


def _kill_at_random(deployment: Deployment, appender: Appender, rng: random.Random) -> Counter[str]:
    killed: Counter[str] = Counter()
    for _ in range(KILLS):
        time.sleep(rng.uniform(0.05, 1.0))
        name = rng.choice(sorted(deployment.processes))
        deployment.restart(name)
        killed[name] += 1
    appender.join(600)
    assert not appender.is_alive()
    return killed


def _visible(deployment: Deployment) -> list[int]:
    deadline = time.monotonic() + SETTLE_S_MAX
    with deployment.connect() as connection:
        while True:
            try:
                lags = connection.status().lags
                if lags and all(lag.next_offset == lag.end_offset for lag in lags):
                    rows = connection.execute("SELECT n FROM events", timeout_s=60).fetchall()
                    assert len(rows) == sum(lag.end_offset for lag in lags)
                    return [row[0] for row in rows]
                problem = f"lags {lags}"
            except Error as error:
                problem = str(error)
            assert time.monotonic() < deadline, f"never caught up: {problem}"
            time.sleep(0.2)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", ["standalone", "cluster"])
def test_acknowledged_events_survive_kills(kind: str, tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    settings = {"seal_rows": 5_000}
    deployment = (standalone if kind == "standalone" else cluster)(tmp_path, settings)
    deployment.start()
    try:
        with deployment.connect() as connection:
            connection.create_collection("events", shards=3, log_partitions=4)
        appender = Appender(deployment)
        appender.start()
        killed = _kill_at_random(deployment, appender, random.Random(seed))
        visible = _visible(deployment)
    finally:
        deployment.stop()
    assert sum(killed.values()) == KILLS
    twice = [number for number, times in Counter(visible).items() if times > 1]
    lost = appender.acknowledged - set(visible)
    invented = set(visible) - set(range(appender.attempted))
    assert (twice, lost, invented) == ([], set(), set()), f"seed {seed}, kills {killed}"
    assert len(appender.acknowledged) >= ACKNOWLEDGED
