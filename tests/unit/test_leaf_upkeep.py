"""What a leaf does by itself: merges, stops for want of room, repairs what is damaged."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from leaf_model import (
    NODE,
    StillCatalog,
    ask,
    bound,
    collection_of,
    push,
    rows_bytes,
    snapshot_of,
)

from alder.catalog import Collection, Source
from alder.errors import AlderError, Reason
from alder.interfaces import LogClient
from alder.positions import PositionVector
from alder.rocks import Batch, Store
from alder.v1 import leaf_pb2, log_pb2
from leaf import layout
from leaf.format.meta import META_SUFFIX
from leaf.history import SourceHistory
from leaf.service import Leaf
from leaf.settings import LeafSettings
from leaf.shard import Shard

QUICK = LeafSettings(
    seal_rows=10,
    merge_factor=0,
    sync_interval_s=0.02,
    retry_s=0.02,
    repair_retry_s=0.02,
    follow_wait_s=2.0,
    catch_up_wait_s=0.05,
    cache_bytes=0,
)
SUM = bound("c0", "a", "BIGINT", "int")
POSITIONS = leaf_pb2.PositionsRequest(collection="c", collection_id=1)
ROWS = 40


@dataclass
class Bounds:
    """A history, and the free space of a disk, that a test sets."""

    gone: str = ""
    free_bytes: int = 1 << 40

    async def missing(self, collection: Collection) -> str:
        return self.gone


def with_leaf(
    directory: Path,
    body: Callable[[Leaf, Bounds], Awaitable[None]],
    settings: LeafSettings = QUICK,
    shards: int = 1,
    key_path: str = "",
) -> None:
    async def main() -> None:
        catalog = StillCatalog(snapshot_of(collection_of(shards=shards, key_path=key_path)))
        bounds = Bounds()
        leaf = Leaf(
            NODE, directory, catalog, settings, ThreadPoolExecutor(1), bounds,
            lambda: bounds.free_bytes,
        )  # fmt: skip
        await leaf.start()
        try:
            await asyncio.wait_for(body(leaf, bounds), 60)
        finally:
            await leaf.close()

    asyncio.run(main())


def rows(begin: int, end: int) -> bytes:
    return rows_bytes({n: {"a": n, "s": f"s{n % 3}"} for n in range(begin, end)})


async def total(leaf: Leaf, shard: int = 0) -> int:
    table, _ = await ask(leaf, "SELECT sum(c0)::BIGINT s FROM rows", [SUM], shards=(shard,))
    found: int = table.to_pylist()[0]["s"]
    return found


async def segments(leaf: Leaf, shard: int = 0) -> int:
    described = await leaf.describe(leaf_pb2.DescribeLeafRequest())
    return next(entry.segments for entry in described.shards if entry.shard == shard)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    for _ in range(2_000):
        if await condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it has not come to pass")


def damage_pages(leaf: Leaf, shard: int = 0) -> None:
    """Flips a bit of every stored value of every column."""
    found = leaf._shards.get((1, shard))
    assert found is not None
    store = found._replica.store
    batch = store.batch()
    for key, value in store.scan(layout.COLUMNS):
        if not key.endswith(META_SUFFIX):
            batch.put(layout.COLUMNS, key, value[:-1] + bytes([value[-1] ^ 1]))
    store.write(batch)


async def fill_and_seal(leaf: Leaf, shards: int = 1) -> None:
    parts = dict.fromkeys(range(shards), rows(0, ROWS))
    await leaf.apply(push(parts, 0, ROWS))
    for shard in range(shards):

        async def sealed(shard: int = shard) -> bool:
            return await segments(leaf, shard) > 0

        await until(sealed)


async def refusal(leaf: Leaf, shard: int = 0) -> AlderError:
    with pytest.raises(AlderError) as raised:
        await total(leaf, shard)
    return raised.value


def test_segments_are_merged_while_rows_arrive(tmp_path: Path) -> None:
    async def body(leaf: Leaf, bounds: Bounds) -> None:
        for n in range(12):
            await leaf.apply(push({0: rows(n * 10, n * 10 + 10)}, n * 10, n * 10 + 10))
            assert await total(leaf) == sum(range(n * 10 + 10))

        async def merged() -> bool:
            described = (await leaf.describe(leaf_pb2.DescribeLeafRequest())).shards[0]
            return described.tail_rows == 0 and described.segments <= 2

        await until(merged)
        assert await total(leaf) == sum(range(120))

    with_leaf(tmp_path, body, replace(QUICK, merge_factor=3))


def tail_bytes(leaf: Leaf) -> list[int]:
    return [shard.view.tail_bytes for _, shard in sorted(leaf._shards.all().items())]


def test_all_live_tails_together_have_one_limit(tmp_path: Path) -> None:
    async def body(leaf: Leaf, bounds: Bounds) -> None:
        assert isinstance(leaf._workers._given, ThreadPoolExecutor)
        may_seal = threading.Event()
        leaf._workers._given.submit(may_seal.wait, 30)
        try:
            await leaf.apply(push({0: rows(0, ROWS)}, 0, ROWS))
            assert tail_bytes(leaf)[0] >= limited.tail_bytes_max
            with pytest.raises(AlderError, match="seals more slowly") as raised:
                await leaf.apply(push({0: rows(ROWS, 2 * ROWS)}, ROWS, 2 * ROWS))
            assert raised.value.reason is Reason.UNAVAILABLE
            # A shard that uses less than its share does not wait for another one.
            await leaf.apply(push({1: rows(0, ROWS)}, 0, ROWS))
            with pytest.raises(AlderError, match="seals more slowly"):
                await leaf.apply(push({1: rows(ROWS, 2 * ROWS)}, ROWS, 2 * ROWS))
        finally:
            may_seal.set()

        async def sealed() -> bool:
            return not sum(tail_bytes(leaf))

        await until(sealed)
        await leaf.apply(push({0: rows(ROWS, 2 * ROWS)}, ROWS, 2 * ROWS))
        assert await total(leaf, 0) == sum(range(2 * ROWS))
        assert await total(leaf, 1) == sum(range(ROWS))

    limited = replace(QUICK, tail_bytes_max=1_000, room_wait_s=0.05)
    with_leaf(tmp_path, body, limited, shards=2)


def test_many_small_live_tails_are_sealed_as_one_large_one_is(tmp_path: Path) -> None:
    async def body(leaf: Leaf, bounds: Bounds) -> None:
        for shard in range(8):
            await leaf.apply(push({shard: rows(0, ROWS)}, 0, ROWS))

        async def fits() -> bool:
            return 2 * sum(tail_bytes(leaf)) < patient.tail_bytes_max

        await until(fits)
        assert [await total(leaf, shard) for shard in range(8)] == [sum(range(ROWS))] * 8

    patient = replace(QUICK, seal_rows=1_000_000, tail_bytes_max=8_000)
    with_leaf(tmp_path, body, patient, shards=8)


def test_without_room_rows_are_refused_and_queries_answered(tmp_path: Path) -> None:
    async def body(leaf: Leaf, bounds: Bounds) -> None:
        await leaf.apply(push({0: rows(0, 5)}, 0, 5))
        bounds.free_bytes = QUICK.disk_free_bytes_min - 1
        said: list[AlderError] = []

        async def refused() -> bool:
            position = await position_of(leaf)
            try:
                await leaf.apply(push({0: b""}, position, position + 1))
            except AlderError as error:
                said.append(error)
                return True
            return False

        await until(refused)
        assert said[-1].reason is Reason.UNAVAILABLE
        assert "256 MiB" in said[-1].message
        assert await total(leaf) == sum(range(5))
        bounds.free_bytes += 1

        async def taken() -> bool:
            return not await refused()

        await until(taken)
        at = await position_of(leaf)
        await leaf.apply(push({0: rows(at, at + 20)}, at, at + 20))
        assert await total(leaf) == sum(range(5)) + sum(range(at, at + 20))

    with_leaf(tmp_path, body)


async def position_of(leaf: Leaf) -> int:
    response = await leaf.positions(POSITIONS)
    return PositionVector.from_proto(response.shards[0].positions)["log", 0]


def test_a_store_that_refuses_to_write_is_opened_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Store.write

    async def body(leaf: Leaf, bounds: Bounds) -> None:
        await leaf.apply(push({0: rows(0, 5)}, 0, 5))
        shard = leaf._shards.get((1, 0))
        assert shard is not None
        stuck = shard._replica.store

        def failing(self: Store, batch: Batch, sync: bool = False) -> None:
            if self is stuck:
                raise OSError("No space left on device")
            write(self, batch, sync)

        monkeypatch.setattr(Store, "write", failing)
        with pytest.raises(AlderError) as raised:
            await leaf.apply(push({0: rows(5, 9)}, 5, 9))
        assert raised.value.reason is Reason.UNAVAILABLE
        assert await total(leaf) == sum(range(5))

        async def reopened() -> bool:
            return leaf._shards.get((1, 0)) not in {shard, None}

        await until(reopened)
        at = await position_of(leaf)
        assert at in {0, 5}, "what was not synced may be lost, and is sent again"
        await leaf.apply(push({0: rows(at, 9)}, at, 9))
        assert await total(leaf) == sum(range(9))

    with_leaf(tmp_path, body)


def test_a_damaged_shard_is_built_again_while_others_answer(tmp_path: Path) -> None:
    async def body(leaf: Leaf, bounds: Bounds) -> None:
        await fill_and_seal(leaf, shards=2)
        damage_pages(leaf)
        assert (await refusal(leaf)).reason is Reason.CORRUPT
        assert await total(leaf, 1) == sum(range(ROWS))

        async def emptied() -> bool:
            return await position_of(leaf) == 0

        await until(emptied)
        error = await refusal(leaf)
        assert error.reason is Reason.UNAVAILABLE
        assert "built again" in error.message
        assert await total(leaf, 1) == sum(range(ROWS))
        await leaf.apply(push({0: rows(0, 20)}, 0, 20))
        assert (await refusal(leaf)).reason is Reason.UNAVAILABLE
        await leaf.apply(push({0: rows(20, ROWS)}, 20, ROWS))
        assert await total(leaf) == sum(range(ROWS))
        assert await total(leaf, 1) == sum(range(ROWS))

    with_leaf(tmp_path, body, shards=2)


@pytest.mark.parametrize("by", ["check", "apply", "describe"])
def test_damage_is_repaired_whoever_meets_it(
    tmp_path: Path, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def check(leaf: Leaf) -> None:
        request = leaf_pb2.CheckIndexRequest(collection="c", collection_id=1)
        checks = (await leaf.check_index(request)).checks
        assert leaf_pb2.INDEX_VERDICT_DAMAGED in {entry.verdict for entry in checks}

    async def apply(leaf: Leaf) -> None:
        def failing(*_: object) -> None:
            raise AlderError(Reason.CORRUPT, "a block of keys is damaged")

        with monkeypatch.context() as patched:
            patched.setattr(Shard, "apply", failing)
            with pytest.raises(AlderError, match="a block of keys"):
                await leaf.apply(push({0: keyed_rows(ROWS, ROWS + 1)}, ROWS, ROWS + 1))

    async def describe(leaf: Leaf) -> None:
        shard, other = (await leaf.describe(leaf_pb2.DescribeLeafRequest())).shards
        assert "damaged" in shard.damage
        assert (other.damage, other.rows) == ("", 7)

    async def body(leaf: Leaf, bounds: Bounds) -> None:
        parts = dict.fromkeys(range(2), keyed_rows(0, ROWS))
        await leaf.apply(push(parts, 0, ROWS))

        async def sealed() -> bool:
            return await segments(leaf, 0) > 0 and await segments(leaf, 1) > 0

        await until(sealed)
        damage_pages(leaf)
        await {"check": check, "apply": apply, "describe": describe}[by](leaf)

        async def emptied() -> bool:
            return await position_of(leaf) == 0

        await until(emptied)
        await leaf.apply(push({0: keyed_rows(0, ROWS)}, 0, ROWS))
        assert await total(leaf) == await total(leaf, 1)

    with_leaf(tmp_path, body, shards=2, key_path="k")


def keyed_rows(begin: int, end: int) -> bytes:
    documents = {n: {"a": n, "s": f"s{n % 3}"} for n in range(begin, end)}
    return rows_bytes(documents, {n: f"k{n % 7}" for n in documents})


def test_a_damaged_shard_is_kept_where_the_log_begins_later(tmp_path: Path) -> None:
    async def body(leaf: Leaf, bounds: Bounds) -> None:
        await fill_and_seal(leaf)
        bounds.gone = "the log begins at offset 7"
        damage_pages(leaf)

        async def explained() -> bool:
            error = await refusal(leaf)
            assert error.reason is Reason.CORRUPT
            return "can't be built again, because the log begins at offset 7" in error.message

        await until(explained)
        assert await position_of(leaf) == ROWS
        table, _ = await ask(leaf, "SELECT count(*) n FROM rows")
        assert table.to_pylist() == [{"n": ROWS}], "what needs no damaged page is answered"
        bounds.gone = ""

        async def emptied() -> bool:
            await refusal(leaf)
            return await position_of(leaf) == 0

        await until(emptied)

    with_leaf(tmp_path, body)


def test_a_wrong_alarm_throws_nothing_away(tmp_path: Path) -> None:
    async def body(leaf: Leaf, bounds: Bounds) -> None:
        await fill_and_seal(leaf)
        shard = leaf._shards.get((1, 0))
        leaf._repair.suspect((1, 0))
        await leaf._repair.drain()
        assert leaf._shards.get((1, 0)) is shard
        assert await total(leaf) == sum(range(ROWS))

    with_leaf(tmp_path, body)


@pytest.mark.parametrize("gone", ["", "the log begins at offset 7"])
def test_a_shard_that_lost_its_middle_starts_again_if_it_may(tmp_path: Path, gone: str) -> None:
    async def first(leaf: Leaf, bounds: Bounds) -> None:
        for n in range(3):
            await leaf.apply(push({0: rows(n, n + 1)}, n, n + 1))

    async def second(leaf: Leaf, bounds: Bounds) -> None:
        error = await refusal(leaf)
        assert error.reason is Reason.UNAVAILABLE
        assert await position_of(leaf) == 0
        await leaf.apply(push({0: rows(0, 3)}, 0, 3))
        assert await total(leaf) == 3

    async def kept(leaf: Leaf, bounds: Bounds) -> None:
        error = await refusal(leaf)
        assert error.reason is Reason.CORRUPT
        assert gone in error.message

    with_leaf(tmp_path, first)
    path = tmp_path / "1-c" / "0"
    store = Store(path, layout.FAMILIES)
    batch = store.batch()
    batch.delete(layout.TAIL, layout.number_key(1))
    store.write(batch)
    store.close()

    async def main() -> None:
        catalog = StillCatalog(snapshot_of(collection_of()))
        settings = replace(QUICK, follow_wait_s=0.05)
        leaf = Leaf(NODE, tmp_path, catalog, settings, ThreadPoolExecutor(1), Bounds(gone))
        await leaf.start()
        try:
            await (kept if gone else second)(leaf, Bounds())
        finally:
            await leaf.close()

    asyncio.run(main())


class Log:
    """The bounds of a topic."""

    def __init__(self, topic_id: str, begins: list[int]) -> None:
        self.topic_id, self.begins = topic_id, begins

    async def offsets(
        self, request: log_pb2.OffsetsRequest, timeout_s: float | None = None
    ) -> log_pb2.OffsetsResponse:
        assert request.topic == "c"
        return log_pb2.OffsetsResponse(
            topic_id=self.topic_id,
            partitions=[
                log_pb2.PartitionOffsets(partition=n, begin_offset=begin, end_offset=9)
                for n, begin in enumerate(self.begins)
            ],
        )


class Sources:
    """What a tailer tells about topics and files."""

    def __init__(self, told: str) -> None:
        self.told = told

    async def missing(self, collection: Collection, timeout_s: float | None) -> str:
        return self.told


def test_a_history_is_whole_if_every_source_reaches_back() -> None:
    async def missing(log: LogClient, *sources: Source, told: str = "a file is gone") -> str:
        return await SourceHistory(log, Sources(told)).missing(collection_of(sources=sources))

    log = Source("log", "log", "t")
    assert asyncio.run(missing(Log("t", [0, 0]), log)) == "", "nobody is asked without need"
    assert "offset 7 in partition 1" in asyncio.run(missing(Log("t", [0, 7]), log))
    assert "another one" in asyncio.run(missing(Log("new", [0]), log))
    for other in (Source("file1", "file:///x"), Source("kafka1", "kafka://a:1/t")):
        assert asyncio.run(missing(Log("t", [0]), log, other)) == "a file is gone"
        assert asyncio.run(missing(Log("t", [0]), log, other, told="")) == ""
        assert "offset 7" in asyncio.run(missing(Log("t", [7]), log, other))
