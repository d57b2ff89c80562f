"""A page that was damaged on disk: never served, and the shard is built again by itself."""

import time
from pathlib import Path

from deployment import Deployment, standalone

from alder.client import Connection, Error
from alder.rocks import Store
from leaf import layout
from leaf.format.meta import META_SUFFIX

EVENTS = 3_000
SETTLE_S_MAX = 60.0
TOTAL = "SELECT count(*), sum(n) FROM events"
ANSWER = [(EVENTS, sum(range(EVENTS)))]


def _flip_a_bit_of_every_page(shard: Path) -> int:
    store = Store(shard, layout.FAMILIES)
    batch = store.batch()
    pages = 0
    for key, value in store.scan(layout.COLUMNS):
        if not key.endswith(META_SUFFIX):
            batch.put(layout.COLUMNS, key, value[:-1] + bytes([value[-1] ^ 1]))
            pages += 1
    store.write(batch, sync=True)
    store.close()
    return pages


def _settled(connection: Connection) -> tuple[list[tuple[object, ...]], list[str]]:
    """The first answer, and what was said before it."""
    refusals: list[str] = []
    deadline = time.monotonic() + SETTLE_S_MAX
    while True:
        try:
            return connection.execute(TOTAL).fetchall(), refusals
        except Error as error:
            refusals.append(str(error))
            assert time.monotonic() < deadline, refusals[-1]
            time.sleep(0.05)


def _sealed(connection: Connection) -> bool:
    shards = [shard for leaf in connection.status().leaves for shard in leaf.shards]
    return bool(shards) and all(shard.tail_rows == 0 and shard.segments for shard in shards)


def _filled(deployment: Deployment) -> None:
    with deployment.connect() as connection:
        connection.create_collection("events")
        documents = [{"n": number, "text": f"event {number}"} for number in range(EVENTS)]
        token = connection.append("events", documents)
        assert connection.execute(TOTAL, min_positions=token).fetchall() == ANSWER
        deadline = time.monotonic() + SETTLE_S_MAX
        while not _sealed(connection):
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_a_damaged_shard_is_built_again_from_the_log(tmp_path: Path) -> None:
    deployment = standalone(tmp_path, {"seal_age_s": 0.2, "seal_rows_min": 1})
    try:
        deployment.start()
        _filled(deployment)
        deployment.stop()
        (shard,) = (tmp_path / "data" / "leaf-0").glob("*-events/0")
        assert _flip_a_bit_of_every_page(shard)
        deployment.start()
        with deployment.connect() as connection:
            answer, refusals = _settled(connection)
        assert answer == ANSWER
        assert "damaged on disk" in refusals[0]
    finally:
        deployment.stop()
