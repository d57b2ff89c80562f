"""The tailer as a whole, between a log and leaves that live in this file."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa
import pytest
from log_records import Record, answered

from alder.arrow import from_bytes
from alder.catalog import (
    Collection,
    Node,
    Shard,
    SkippedRange,
    Snapshot,
    Source,
    SourcePartition,
)
from alder.errors import AlderError, Reason
from alder.interfaces import LeafClient, TailerClient
from alder.positions import PositionVector
from alder.slots import shard_indexes, slots_of_keys, slots_of_offsets, split_evenly
from alder.v1 import catalog_pb2, common_pb2, leaf_pb2, log_pb2, quarantine_pb2, tailer_pb2
from controller.partitions import registered_files
from leaf.core import PushHeader, ShardState, applied, decide
from tailer.batch import RowBuilder, Rows
from tailer.reader import PartitionReader
from tailer.service import Tailer
from tailer.settings import TailerSettings
from tailer.sources.model import RawBatch

FAST = TailerSettings(
    audit_interval_s=0.05,
    discovery_interval_s=0.05,
    discovery_settle_s=0.01,
    read_wait_ms=200,
    retry_delay_s=0.005,
    retry_delay_s_max=0.02,
)


class FakeLog:
    """Records in memory; reads wait for them."""

    def __init__(self, partitions: int = 1) -> None:
        self.records: list[list[Record]] = [[] for _ in range(partitions)]
        self.begin = 0
        self.reads = 0
        self.topic_id = "topic-1"
        self._grown = asyncio.Event()

    def add(self, *values: bytes | Record, partition: int = 0) -> None:
        for value in values:
            record = value if isinstance(value, Record) else Record(value)
            timestamp_us = 1_000_000 + len(self.records[partition])
            self.records[partition].append(replace(record, timestamp_us=timestamp_us))
        self._grown.set()
        self._grown = asyncio.Event()

    async def read(
        self, request: log_pb2.ReadRequest, timeout_s: float | None = None
    ) -> log_pb2.ReadResponse:
        self.reads += 1
        if request.topic_id != self.topic_id:
            raise AlderError(Reason.IDENTITY_CHANGED, "another topic")
        if request.offset < self.begin:
            raise AlderError(Reason.OUT_OF_RANGE, "truncated", begin_offset=str(self.begin))
        records = self.records[request.partition]
        if request.offset >= len(records):
            try:
                async with asyncio.timeout(request.wait_ms / 1_000):
                    await self._grown.wait()
            except TimeoutError:
                pass
        found: list[Record] = []
        size = 0
        for record in records[request.offset :]:
            size += len(record.value)
            if found and size > request.size_bytes_max:
                break
            found.append(record)
        return log_pb2.ReadResponse(
            offset=request.offset, records=answered(found), end_offset=len(records)
        )


@dataclass
class StoredShard:
    state: ShardState
    pushes: list[tuple[ShardState, list[pa.Table], list[pa.Table]]] = field(default_factory=list)
    rows: list[pa.Table] = field(default_factory=list)
    quarantine: list[pa.Table] = field(default_factory=list)


class FakeLeaf:
    """Shards in memory, with the real leaf's decision."""

    def __init__(self, epoch: int, shards: list[int]) -> None:
        self.epoch = epoch
        self.shards = {n: StoredShard(ShardState(7, epoch)) for n in shards}
        self.down = False
        self.stopped: asyncio.Event | None = None
        self.lose_answers = 0
        self.calls = 0
        self.assignment = 0
        self.refused: list[int] = []

    async def apply(
        self, request: leaf_pb2.ApplyRequest, timeout_s: float | None = None
    ) -> leaf_pb2.ApplyResponse:
        await self._work(timeout_s)
        if self.down:
            raise AlderError(Reason.UNAVAILABLE, "down")
        self.calls += 1
        response = leaf_pb2.ApplyResponse()
        for entry in request.shards:
            shard = self.shards.get(entry.shard)
            if shard is None:
                status = leaf_pb2.APPLY_STATUS_NOT_OWNER
                response.shards.add(shard=entry.shard, status=status)
                continue
            header = PushHeader(
                request.collection_id,
                request.epoch,
                request.source,
                request.partition,
                request.source_identity,
                entry.from_offset,
                entry.to_offset,
                assignment=request.assignment,
            )
            shard.state = shard.state.informed(self.epoch, self.assignment, header)
            decision = decide(shard.state, header)
            if decision.status == leaf_pb2.APPLY_STATUS_STALE_ASSIGNMENT:
                self.refused.append(request.assignment)
            if decision.accepted:
                shard.pushes.append((shard.state, list(shard.rows), list(shard.quarantine)))
                shard.state = applied(shard.state, header)
                if entry.rows:
                    shard.rows.append(_tagged(from_bytes(entry.rows), request))
                if entry.quarantine:
                    shard.quarantine.append(from_bytes(entry.quarantine))
            response.shards.add(
                shard=entry.shard, status=decision.status, next_offset=decision.next_offset
            )
        if self.lose_answers:
            self.lose_answers -= 1
            raise AlderError(Reason.DEADLINE, "the answer was lost")
        return response

    async def positions(
        self, request: leaf_pb2.PositionsRequest, timeout_s: float | None = None
    ) -> leaf_pb2.PositionsResponse:
        await self._work(timeout_s)
        if self.down:
            raise AlderError(Reason.UNAVAILABLE, "down")
        return leaf_pb2.PositionsResponse(
            shards=[
                leaf_pb2.ShardPositions(shard=n, positions=shard.state.positions.to_proto())
                for n, shard in self.shards.items()
            ]
        )

    async def _work(self, timeout_s: float | None) -> None:
        """Takes a moment, or, while it is stopped, until it is set going or nobody waits."""
        await asyncio.sleep(0)
        if self.stopped is not None:
            try:
                async with asyncio.timeout(timeout_s):
                    await self.stopped.wait()
            except TimeoutError as error:
                raise AlderError(Reason.DEADLINE, "no answer in time") from error

    def lose_last_pushes(self, count: int) -> None:
        """What a crash does: the last commits that were not synced are gone."""
        for shard in self.shards.values():
            for _ in range(min(count, len(shard.pushes))):
                state, shard.rows, shard.quarantine = shard.pushes.pop()
                shard.state = state


def _tagged(table: pa.Table, request: leaf_pb2.ApplyRequest) -> pa.Table:
    born = pa.array([f"{request.source}/{request.partition}"] * table.num_rows)
    return table.append_column("born", born)


class FakeDirectory:
    def __init__(self, leaves: dict[str, FakeLeaf]) -> None:
        self.leaves = leaves

    def leaf(self, node_id: str) -> LeafClient:
        return self.leaves[node_id]

    def tailer(self, node_id: str) -> TailerClient:
        raise AlderError(Reason.UNAVAILABLE, node_id)


class FakeCatalog:
    """Follower and catalog at once."""

    def __init__(self, collection: Collection, tailers: list[str]) -> None:
        role = catalog_pb2.NODE_ROLE_TAILER
        nodes = {name: Node(name, role, "") for name in tailers}
        self.snapshot = Snapshot(1, {collection.name: collection}, nodes)
        self._changed = asyncio.Event()

    async def changed(self) -> None:
        await self._changed.wait()

    def set(self, **changes: object) -> None:
        self.snapshot = replace(self.snapshot, revision=self.snapshot.revision + 1, **changes)
        self._changed.set()
        self._changed = asyncio.Event()

    async def register_partitions(
        self,
        request: catalog_pb2.RegisterPartitionsRequest,
        timeout_s: float | None = None,
    ) -> catalog_pb2.RegisterPartitionsResponse:
        collection = self.snapshot.collections[request.collection]
        source = collection.source(request.source)
        found = map(SourcePartition.from_proto, request.found)
        source = registered_files(source, found, reread=request.reread)
        others = tuple(s for s in collection.sources if s.name != source.name)
        changed = replace(collection, sources=(*others, source))
        self.set(collections={collection.name: changed})
        return catalog_pb2.RegisterPartitionsResponse(source=source.to_proto())


class World:
    def __init__(
        self, shards: int = 3, leaves: int = 2, partitions: int = 1, **options: str
    ) -> None:
        self.log = FakeLog(partitions)
        source = Source(
            "log", "log", "topic-1", tuple(SourcePartition(n) for n in range(partitions))
        )
        sources = [source]
        if url := options.pop("url", ""):
            sources.append(Source("file1", url))
        shard_map = tuple(
            Shard(n, begin, end, f"leaf{n % leaves}")
            for n, (begin, end) in enumerate(split_evenly(shards))
        )
        self.collection = Collection(
            "events", 7, sources=tuple(sources), shards=shard_map, **options
        )
        self.leaves = {
            name: FakeLeaf(1, numbers) for name, numbers in self.collection.shards_by_leaf().items()
        }
        self.catalog = FakeCatalog(self.collection, ["t1", "t2"])

    def tailer(
        self,
        name: str,
        settings: TailerSettings = FAST,
        holds_lease: Callable[[], bool] = lambda: True,
    ) -> Tailer:
        return Tailer(
            name,
            self.catalog,
            self.catalog,
            FakeDirectory(self.leaves),
            self.log,
            settings,
            holds_lease,
        )

    @asynccontextmanager
    async def running(self, settings: TailerSettings = FAST) -> AsyncIterator[list[Tailer]]:
        tailers = [self.tailer(name, settings) for name in ("t1", "t2")]
        for tailer in tailers:
            await tailer.start()
        try:
            yield tailers
        finally:
            for tailer in tailers:
                await tailer.close()

    @property
    def stored(self) -> dict[int, StoredShard]:
        return {n: s for leaf in self.leaves.values() for n, s in leaf.shards.items()}

    def rows(self) -> list[dict[str, object]]:
        tables = [table for shard in self.stored.values() for table in shard.rows]
        rows = [row for table in tables for row in table.to_pylist()]
        return sorted(rows, key=lambda row: (row["born"], row["_offset"]))

    def quarantine(self) -> list[dict[str, object]]:
        tables = [table for shard in self.stored.values() for table in shard.quarantine]
        rows = [row for table in tables for row in table.to_pylist()]
        return sorted(rows, key=lambda row: row["offset"])

    def reached(self, source: str, partition: int, offset: int) -> bool:
        return all(s.state.positions[source, partition] >= offset for s in self.stored.values())


async def eventually(condition: Callable[[], bool | Awaitable[bool]]) -> None:
    for _ in range(2_000):
        reached = condition()
        if await reached if isinstance(reached, Awaitable) else reached:
            return
        await asyncio.sleep(0.005)
    raise AssertionError("the condition was not met in time")


def documents(begin: int, end: int) -> list[bytes]:
    return [json.dumps({"n": n, "text": "x" * (n % 5)}).encode() for n in range(begin, end)]


async def progress(
    tailers: list[Tailer],
) -> dict[tuple[str, int], tailer_pb2.PartitionProgress]:
    responses = [await t.describe(tailer_pb2.DescribeTailerRequest()) for t in tailers]
    return {(p.source, p.partition): p for r in responses for p in r.partitions}


async def contains(text: Awaitable[str], part: str) -> bool:
    return part in await text


async def equals(value: Awaitable[object], expected: object) -> bool:
    return await value == expected


def run(main: Callable[[], object]) -> None:
    asyncio.run(main())


def test_every_record_becomes_one_row_on_its_own_shard() -> None:
    async def main() -> None:
        world = World(shards=3, partitions=2)
        async with world.running():
            world.log.add(*documents(0, 5_000))
            world.log.add(*documents(0, 9_000), partition=1)
            await eventually(lambda: world.reached("log", 0, 5_000))
            await eventually(lambda: world.reached("log", 1, 9_000))
        rows = world.rows()
        assert [row["_offset"] for row in rows] == [*range(5_000), *range(9_000)]
        assert all(json.loads(str(row["_doc"]))["n"] == row["_offset"] for row in rows)
        assert all(row["int:n"] == row["_offset"] for row in rows)
        ends = [end for _, end in split_evenly(3)]
        for number, shard in world.stored.items():
            for table in shard.rows:
                for row in table.to_pylist():
                    partition = int(row["born"].split("/")[1])
                    slot = slots_of_offsets("log", partition, pa.array([row["_offset"]]).to_numpy())
                    assert shard_indexes(slot, ends)[0] == number

    run(main)


def test_single_appends_arrive_one_by_one() -> None:
    async def main() -> None:
        world = World()
        async with world.running() as tailers:
            for n in range(20):
                world.log.add(*documents(n, n + 1))
                await eventually(lambda n=n: world.reached("log", 0, n + 1))

            async def numbers() -> tuple[int, int, int]:
                entry = (await progress(tailers))["log", 0]
                return entry.next_offset, entry.end_offset, entry.records

            # The leaves are there a moment before the tailer has heard of it.
            await eventually(lambda: equals(numbers(), (20, 20, 20)))
        assert len(world.rows()) == 20

    run(main)


def test_lost_answers_and_lost_suffixes_neither_lose_nor_repeat_a_row() -> None:
    async def main() -> None:
        world = World(shards=4)
        small = replace(FAST, batch_rows_max=300)
        async with world.running(small):
            for n in range(10):
                world.log.add(*documents(n * 1_000, (n + 1) * 1_000))
                world.leaves["leaf0"].lose_answers = 2
                await eventually(lambda n=n: world.reached("log", 0, n * 1_000 + 300))
                world.leaves["leaf1"].lose_last_pushes(3)
            await eventually(lambda: world.reached("log", 0, 10_000))
            # Nothing more comes: only the comparison with the leaves can find this loss.
            world.leaves["leaf1"].lose_last_pushes(2)
            assert not world.reached("log", 0, 10_000)
            await eventually(lambda: world.reached("log", 0, 10_000))
        assert [row["_offset"] for row in world.rows()] == list(range(10_000))

    run(main)


def test_a_leaf_that_is_down_is_waited_for_and_named() -> None:
    async def main() -> None:
        world = World()
        async with world.running() as tailers:
            world.log.add(*documents(0, 10))
            await eventually(lambda: world.reached("log", 0, 10))
            world.leaves["leaf1"].down = True
            world.log.add(*documents(10, 20))

            async def error() -> str:
                return (await progress(tailers))["log", 0].error

            await eventually(lambda: contains(error(), "down"))
            world.leaves["leaf1"].down = False
            await eventually(lambda: world.reached("log", 0, 20))
            await eventually(lambda: equals(error(), ""))
        assert [row["_offset"] for row in world.rows()] == list(range(20))

    run(main)


def test_two_tailers_on_one_partition_write_each_row_once() -> None:
    async def main() -> None:
        world = World(shards=3)
        both = [world.tailer("t1"), world.tailer("t1")]
        others = [world.tailer("t2"), world.tailer("t2")]
        for tailer in [*both, *others]:
            await tailer.start()
        for n in range(30):
            world.log.add(*documents(n * 100, n * 100 + 100))
            await asyncio.sleep(0.002)
        await eventually(lambda: world.reached("log", 0, 3_000))
        for tailer in [*both, *others]:
            await tailer.close()
        assert [row["_offset"] for row in world.rows()] == list(range(3_000))

    run(main)


def test_a_tailer_of_an_older_assignment_is_refused_until_it_hears_of_the_newer() -> None:
    async def main() -> None:
        world = World()
        world.catalog.set(assignment=4)
        async with world.running() as tailers:
            world.log.add(*documents(0, 100))
            await eventually(lambda: world.reached("log", 0, 100))
            for leaf in world.leaves.values():
                leaf.assignment = 5
            world.log.add(*documents(100, 200))
            refused = [leaf.refused for leaf in world.leaves.values()]
            await eventually(lambda: all(refused))

            async def error() -> str:
                return (await progress(tailers))["log", 0].error

            await eventually(lambda: contains(error(), "newer assignment"))
            calls = [leaf.calls for leaf in world.leaves.values()]
            await asyncio.sleep(4 * FAST.audit_interval_s)
            assert [leaf.calls for leaf in world.leaves.values()] == calls, "it pushes on"
            assert not world.reached("log", 0, 101)
            world.catalog.set(assignment=5)
            await eventually(lambda: world.reached("log", 0, 200))
            assert await error() == ""
        assert {number for entry in refused for number in entry} == {4}
        assert [row["_offset"] for row in world.rows()] == list(range(200))

    run(main)


def test_a_tailer_without_a_lease_has_no_partition_and_pushes_nothing() -> None:
    async def main() -> None:
        world = World()
        held = [True]
        tailers = [world.tailer(name, FAST, lambda: held[0]) for name in ("t1", "t2")]
        for tailer in tailers:
            await tailer.start()
        world.log.add(*documents(0, 100))
        await eventually(lambda: world.reached("log", 0, 100))
        held[0] = False
        calls = [leaf.calls for leaf in world.leaves.values()]
        world.log.add(*documents(100, 200))

        async def has_none() -> bool:
            return not await progress(tailers)

        await eventually(has_none)
        assert [leaf.calls for leaf in world.leaves.values()] == calls
        request = quarantine_pb2.TailerRedriveRequest(collection="events", collection_id=7)
        with pytest.raises(AlderError) as caught:
            await tailers[0].redrive(request)
        assert caught.value.reason is Reason.STALE_ASSIGNMENT
        held[0] = True
        await eventually(lambda: world.reached("log", 0, 200))
        for tailer in tailers:
            await tailer.close()
        assert [row["_offset"] for row in world.rows()] == list(range(200))

    run(main)


def test_a_new_epoch_moves_shards_to_another_leaf() -> None:
    async def main() -> None:
        world = World(shards=2, leaves=2)
        async with world.running():
            world.log.add(*documents(0, 100))
            await eventually(lambda: world.reached("log", 0, 100))
            moved = world.leaves["leaf1"].shards.pop(1)
            world.leaves["leaf0"].shards[1] = moved
            shards = tuple(replace(s, leaf="leaf0") for s in world.collection.shards)
            for leaf in world.leaves.values():
                leaf.epoch = 2
            changed = replace(world.collection, shards=shards, epoch=2)
            world.log.add(*documents(100, 200))
            await asyncio.sleep(0.02)
            world.catalog.set(collections={"events": changed})
            await eventually(lambda: world.reached("log", 0, 200))
        assert [row["_offset"] for row in world.rows()] == list(range(200))

    run(main)


def test_bad_records_are_in_quarantine_with_their_offset() -> None:
    async def main() -> None:
        world = World()
        cut = Record(b'{"a": "xxxx', original_size_bytes=100_000_000)
        world.log.add(b'{"n":0}', b"{oops", b"[1]", cut, b"", b'{"n":5}')
        async with world.running():
            await eventually(lambda: world.reached("log", 0, 6))
        assert [row["_offset"] for row in world.rows()] == [0, 5]
        refused = world.quarantine()
        assert [entry["offset"] for entry in refused] == [1, 2, 3, 4]
        assert refused[0]["value"] == b"{oops"
        assert "array" in str(refused[1]["reason"])
        assert "100000000 bytes exceeds the limit of 16777216" in str(refused[2]["reason"])
        assert refused[2]["size_bytes"] == 100_000_000

    run(main)


def test_truncated_offsets_are_stated_not_passed_over() -> None:
    async def main() -> None:
        world = World()
        world.log.add(*documents(0, 10))
        world.log.begin = 4
        async with world.running():
            await eventually(lambda: world.reached("log", 0, 10))
        assert [row["_offset"] for row in world.rows()] == [4, 5, 6, 7, 8, 9]
        (entry,) = world.quarantine()
        assert entry["offset"] == 0
        assert "offsets 0 to 3" in str(entry["reason"])

    run(main)


def test_a_defect_stops_one_partition_only_and_is_visible(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = RowBuilder.build

    def broken(self: RowBuilder, raw: RawBatch) -> list[Rows]:
        if b"poison" in raw.records.to_pylist():
            raise ZeroDivisionError
        return whole(self, raw)

    async def main() -> None:
        world = World(partitions=2)
        monkeypatch.setattr(RowBuilder, "build", broken)
        async with world.running() as tailers:
            world.log.add(b"poison")
            world.log.add(*documents(0, 10), partition=1)

            async def error() -> str:
                found = (await progress(tailers)).get(("log", 0))
                return "" if found is None else found.error

            await eventually(lambda: world.reached("log", 1, 10))
            await eventually(lambda: contains(error(), "unexpected failure"))
            monkeypatch.setattr(RowBuilder, "build", whole)
            await eventually(lambda: world.reached("log", 0, 1))
            await eventually(lambda: equals(error(), ""))

    run(main)


def test_a_recreated_topic_is_refused() -> None:
    async def main() -> None:
        world = World()
        world.log.topic_id = "topic-2"
        world.log.add(*documents(0, 10))
        async with world.running() as tailers:

            async def is_refused() -> bool:
                found = (await progress(tailers)).get(("log", 0))
                return found is not None and "another topic" in found.error

            await eventually(is_refused)
            reads = world.log.reads
            await asyncio.sleep(5 * FAST.retry_delay_s_max)
            assert world.log.reads == reads
        assert world.rows() == []

    run(main)


def test_a_keyed_collection_routes_by_key_and_deletes_by_record_key() -> None:
    async def main() -> None:
        world = World(shards=3, key_path="user.id")
        world.log.add(
            b'{"user":{"id":"ann"},"v":1}',
            b'{"user":{"id":5},"v":2}',
            b'{"user":{"id":null},"v":3}',
            b'{"v":4}',
            Record(key=b"ann"),
            b'{"user":{"id":[1, 2]},"v":6}',
            Record(key=b"\xff"),
        )
        async with world.running():
            await eventually(lambda: world.reached("log", 0, 7))
        rows = world.rows()
        assert [(row["_offset"], row["_key"]) for row in rows] == [
            (0, "ann"),
            (1, "5"),
            (4, "ann"),
            (5, "[1,2]"),
        ]
        assert rows[2]["_doc"] is None
        assert [(e["offset"], e["reason"]) for e in world.quarantine()] == [
            (2, "no value at key path 'user.id'"),
            (3, "no value at key path 'user.id'"),
            (6, "the key of a delete is not valid UTF-8"),
        ]
        ends = [end for _, end in split_evenly(3)]
        for number, shard in world.stored.items():
            for table in shard.rows:
                keys = [key.encode() for key in table.column("_key").to_pylist()]
                assert set(shard_indexes(slots_of_keys(keys), ends).tolist()) == {number}

    run(main)


def test_files_are_found_and_read_once(tmp_path: Path) -> None:
    async def main() -> None:
        lines = b"\n".join(documents(0, 1_000)) + b"\n"
        (tmp_path / "a.jsonl").write_bytes(lines)
        (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(lines))
        (tmp_path / "c.csv").write_text("n,name\n1,one\nNA,two\n")
        world = World(url=f"file://{tmp_path}/*")
        async with world.running() as tailers:
            await eventually(lambda: world.reached("file1", 2, 2))
            await eventually(lambda: world.reached("file1", 0, 1_000))
            await eventually(lambda: world.reached("file1", 1, 1_000))
            (tmp_path / "d.jsonl").write_bytes(b'{"late":true}\n')
            await eventually(lambda: world.reached("file1", 3, 1))
            (tmp_path / "d.jsonl").write_bytes(b'{"late":true}\n{"later":true}\n')

            async def error() -> str:
                return (await progress(tailers))["file1", 3].error

            await eventually(lambda: contains(error(), "changed"))

            async def end() -> int:
                return (await progress(tailers))["file1", 0].end_offset

            await eventually(lambda: equals(end(), 1_000))
        rows = world.rows()
        assert len(rows) == 2_003
        by_file = [row for row in rows if row["born"] == "file1/2"]
        assert [(row.get("int:n"), row["string:name"]) for row in by_file] == [
            (1, "one"),
            (None, "two"),
        ]
        mtime_us = (tmp_path / "c.csv").stat().st_mtime_ns // 1_000
        expected = pa.scalar(mtime_us).cast(pa.timestamp("us")).as_py()
        assert {row["_log_time"] for row in by_file} == {expected}

    run(main)


def test_a_source_without_any_file_says_so_until_there_is_one(tmp_path: Path) -> None:
    async def main() -> None:
        world = World(url=f"file://{tmp_path}/later/*.jsonl")
        async with world.running() as tailers:

            async def errors() -> str:
                return "".join(entry.error for entry in (await progress(tailers)).values())

            await eventually(lambda: contains(errors(), "no file"))
            (tmp_path / "later").mkdir()
            (tmp_path / "later" / "a.jsonl").write_text('{"n":1}\n')
            await eventually(lambda: world.reached("file1", 0, 1))
            await eventually(lambda: equals(errors(), ""))

    run(main)


def test_a_dropped_collection_is_not_read_any_more() -> None:
    async def main() -> None:
        world = World()
        async with world.running() as tailers:
            world.log.add(*documents(0, 10))
            await eventually(lambda: world.reached("log", 0, 10))
            world.catalog.set(collections={})

            async def nothing_is_read() -> bool:
                return not await progress(tailers)

            await eventually(nothing_is_read)
            world.log.add(*documents(10, 20))
            await asyncio.sleep(0.05)
        assert len(world.rows()) == 10

    run(main)


@pytest.mark.parametrize("shards", [1, 5])
def test_positions_move_together_for_shards_without_rows(shards: int) -> None:
    async def main() -> None:
        world = World(shards=shards)
        world.log.add(*documents(0, 3))
        async with world.running():
            await eventually(lambda: world.reached("log", 0, 3))
        vectors = {s.state.positions["log", 0] for s in world.stored.values()}
        assert vectors == {3}
        assert PositionVector({("log", 0): 3}).to_proto() == common_pb2.PositionVector(
            positions=[common_pb2.Position(source="log", partition=0, next_offset=3)]
        )

    run(main)


def test_a_changed_file_is_read_again_as_a_partition_of_its_own_by_setting(tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "a.jsonl"
        path.write_text('{"n":1}\n{"n":2}\n')
        world = World(url=f"file://{tmp_path}/*")
        async with world.running(replace(FAST, changed_files="reread")) as tailers:
            await eventually(lambda: world.reached("file1", 0, 2))
            path.write_text('{"n":3}\n{"n":4}\n{"n":5}\n')
            await eventually(lambda: world.reached("file1", 1, 3))

            async def states() -> dict[tuple[str, int], str]:
                return {key: part.error for key, part in (await progress(tailers)).items()}

            # The generation before is not read any more, and is no error.
            await eventually(lambda: equals(states(), {("log", 0): "", ("file1", 1): ""}))
        found = sorted((str(row["born"]), row["int:n"]) for row in world.rows())
        assert found == [*(("file1/0", n) for n in (1, 2)), *(("file1/1", n) for n in (3, 4, 5))]

    run(main)


class MissingFile:
    finite = True

    async def read(self, offset: int, wait_ms: int, leader_epoch: int = -1) -> RawBatch:
        raise AlderError(Reason.UNAVAILABLE, "no such file")

    def close(self) -> None: ...


def test_a_file_that_cannot_be_read_leaves_its_place_to_others() -> None:
    async def main() -> None:
        gate = asyncio.Semaphore(1)
        with ThreadPoolExecutor(1) as pool:
            reader = PartitionReader(MissingFile(), lambda: None, pool, 0, gate)
            with pytest.raises(AlderError, match="no such file"):
                await reader.next(0, (), frozenset())
            assert not gate.locked()
            with pytest.raises(AlderError, match="no such file"):
                await reader.next(0, (), frozenset())

    run(main)


def test_a_paused_source_stays_where_it_is_and_what_is_skipped_is_passed() -> None:
    async def main() -> None:
        world = World(partitions=1)

        def change(paused: bool, *skipped: SkippedRange) -> None:
            (source,) = world.collection.sources
            partition = replace(source.partitions[0], skipped=skipped)
            source = replace(source, paused=paused, partitions=(partition,))
            epoch = world.collection.epoch + 1
            world.collection = replace(world.collection, sources=(source,), epoch=epoch)
            for leaf in world.leaves.values():
                leaf.epoch = epoch
            world.catalog.set(collections={"events": world.collection})

        async with world.running() as tailers:
            world.log.add(*(b'{"n": %d}' % n for n in range(10)))
            await eventually(lambda: len(world.rows()) == 10)
            change(paused=True)
            world.log.add(*(b'{"n": %d}' % n for n in range(10, 30)))

            async def told() -> tuple[bool, int]:
                entry = (await progress(tailers))["log", 0]
                return entry.paused, entry.next_offset

            await eventually(lambda: equals(told(), (True, 10)))
            assert len(world.rows()) == 10
            change(True, SkippedRange(10, 15))
            change(False, SkippedRange(10, 15))
            await eventually(lambda: equals(told(), (False, 30)))
            assert sorted(row["_offset"] for row in world.rows()) == [*range(10), *range(15, 30)]
            # A tailer that sees the seek and the end of the pause at once begins anew, too.
            change(False, SkippedRange(10, 15), SkippedRange(30, 35))
            world.log.add(*(b'{"n": %d}' % n for n in range(30, 40)))
            await eventually(lambda: equals(told(), (False, 40)))
            offsets = sorted(row["_offset"] for row in world.rows())
            assert offsets == [*range(10), *range(15, 30), *range(35, 40)]

    asyncio.run(main())
