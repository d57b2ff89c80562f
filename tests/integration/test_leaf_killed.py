"""kill -9 of a leaf in the middle of a query, again and again: no unflagged partial answer (I5).

Each query either gives exactly the rows of all documents or an error; under COVERAGE it may instead
name the missing shards, and then gives exactly the rows of the others. 200 kills with ``--long``.
"""

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from deployment import Deployment, cluster

from alder.catalog import Collection
from alder.client import Connection, Error, ResultInfo, Token
from alder.slots import shard_indexes, slots_of_offsets

EVENTS = 60_000
KILLS, KILLS_LONG = 15, 200
READY_S_MAX = 60.0
STATEMENTS = (
    "SELECT kind, count(*) c, sum(n) s, count(DISTINCT n % 100) d FROM events GROUP BY kind",
    "SELECT n, md5(text) h FROM events WHERE n % 3 = 0",
    "SELECT n FROM events ORDER BY md5(text), n LIMIT 50",
    "SELECT a.n FROM events a JOIN events b ON a.n = b.n + 1 WHERE a.n % 5 = 0",
)


@dataclass
class Asked(threading.Thread):
    """One query in a thread: its rows and trailer, or its error."""

    connection: Connection
    sql: str
    policy: str
    token: Token
    rows: list[tuple[object, ...]] = field(default_factory=list)
    info: ResultInfo | None = None
    error: Error | None = None

    def __post_init__(self) -> None:
        super().__init__(daemon=True)

    def __hash__(self) -> int:
        return id(self)

    def run(self) -> None:
        """Asks once."""
        try:
            cursor = self.connection.execute(
                self.sql, policy=self.policy, min_positions=self.token, timeout_s=20
            )
            self.rows = cursor.fetchall()
            self.info = cursor.trailer
        except Error as error:
            self.error = error


class Reference:
    """The documents, each with its shard, and what the engine says of those of some shards."""

    def __init__(self, connection: Connection, collection: Collection, token: Token) -> None:
        cursor = connection.execute(
            "SELECT n, kind, text, _partition, _offset FROM events", min_positions=token
        )
        table = cursor.fetch_arrow_table()
        partitions = table.column("_partition").to_numpy()
        offsets = table.column("_offset").to_numpy()
        slots = np.zeros(len(offsets), np.int32)
        for partition in np.unique(partitions):
            here = partitions == partition
            slots[here] = slots_of_offsets("log", int(partition), offsets[here])
        shards = shard_indexes(slots, [shard.slot_end for shard in collection.shards])
        self.table = table.append_column("shard", pa.array(shards))
        self._known: dict[tuple[str, frozenset[int]], list[tuple[object, ...]]] = {}

    def rows(self, sql: str, missing: frozenset[int]) -> list[tuple[object, ...]]:
        """The answer over the documents of the shards that are not missing, in a fixed order."""
        key = sql, missing
        if key not in self._known:
            with duckdb.connect() as engine:
                engine.register("everything", self.table)
                gone = ", ".join(map(str, [-1, *missing]))
                engine.execute(
                    f"CREATE VIEW events AS SELECT * FROM everything WHERE shard NOT IN ({gone})"
                )
                self._known[key] = sorted(engine.sql(sql).fetchall())
        return self._known[key]


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    # All these statements are innocent, however often a leaf dies under them.
    innocent = {"killers_refused_s": 0.0}
    settings = {"seal_rows": 5_000}
    made = cluster(tmp_path, settings, leaves=2, tailers=1, aggregator_settings=innocent)
    made.start()
    yield made
    made.stop()


def _filled(connection: Connection) -> tuple[Collection, Token]:
    collection = connection.create_collection("events", shards=4, log_partitions=2)
    documents = [{"n": n, "kind": f"k{n % 17}", "text": f"event {n} " * 8} for n in range(EVENTS)]
    return collection, connection.append("events", documents)


def _wait_until_whole(connection: Connection, token: Token) -> None:
    deadline_s = time.monotonic() + READY_S_MAX
    problem = "not asked yet"
    while time.monotonic() < deadline_s:
        try:
            count = connection.execute(
                "SELECT count(*) FROM events", min_positions=token, timeout_s=10
            ).fetchall()
        except Error as error:
            problem = error.message
            time.sleep(0.1)
        else:
            assert count == [(EVENTS,)]
            return
    raise AssertionError(f"never whole again: {problem}")


def _verdict(asked: Asked, reference: Reference) -> str:
    """What became of a query. Raises AssertionError for an answer that is not what it says."""
    if asked.error is not None:
        return f"error {asked.error.reason}"
    assert asked.info is not None
    missing = frozenset(one.shard for read in asked.info.collections for one in read.shards_missing)
    assert sorted(asked.rows) == reference.rows(asked.sql, missing), (asked.sql, missing)
    if not missing:
        assert asked.info.complete
        return "whole"
    assert asked.policy != "ALL"
    assert all(read.coverage == 1 - len(missing) / 4 for read in asked.info.collections)
    return "partial, named"


@pytest.mark.timeout(1800)
def test_a_leaf_killed_in_the_middle_of_a_query(
    deployment: Deployment, request: pytest.FixtureRequest
) -> None:
    kills = KILLS_LONG if request.config.getoption("--long") else KILLS
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    verdicts: Counter[tuple[str, str]] = Counter()
    with deployment.connect() as connection:
        collection, token = _filled(connection)
        _wait_until_whole(connection, token)
        reference = Reference(connection, collection, token)
        assert reference.table.num_rows == EVENTS
        durations_s = {}
        for sql in STATEMENTS:
            begin_s = time.monotonic()
            assert sorted(connection.execute(sql).fetchall()) == reference.rows(sql, frozenset())
            durations_s[sql] = time.monotonic() - begin_s
        for number in range(kills):
            sql = STATEMENTS[number % len(STATEMENTS)]
            policy = ("ALL", "COVERAGE >= 0.4")[number // len(STATEMENTS) % 2]
            asked = Asked(connection, sql, policy, token)
            leaf = deployment.processes[f"leaf-{rng.randrange(2)}"]
            asked.start()
            time.sleep(rng.uniform(0.0, durations_s[sql]))
            leaf.kill()
            asked.join(60)
            assert not asked.is_alive()
            verdicts[policy, _verdict(asked, reference)] += 1
            after = Asked(connection, sql, policy, token)
            after.start()
            after.join(60)
            verdicts[policy, f"next one: {_verdict(after, reference)}"] += 1
            leaf.start()
            _wait_until_whole(connection, token)
    print(dict(verdicts))
    assert verdicts["COVERAGE >= 0.4", "next one: partial, named"] > 0, f"seed {seed}, {verdicts}"
