"""The leaf as its callers see it, on real stores."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from leaf_model import (
    NODE,
    StillCatalog,
    ask,
    bound,
    collection_of,
    push,
    quarantine_bytes,
    rows_bytes,
    snapshot_of,
)

from alder.bounds import TOO_LARGE
from alder.errors import AlderError, Reason
from alder.positions import PositionVector
from alder.v1 import leaf_pb2, proof_pb2, quarantine_pb2
from leaf.service import Leaf
from leaf.settings import LeafSettings

A = bound("c0", "a", "BIGINT", "int")
OFFSET = bound("o", "_offset", "BIGINT")
POSITIONS = leaf_pb2.PositionsRequest(collection="c", collection_id=1)
QUICK = LeafSettings(follow_wait_s=0.05, catch_up_wait_s=0.05)
Body = Callable[[Leaf, StillCatalog], Awaitable[None]]


def with_leaf(directory: Path, body: Body, settings: LeafSettings = QUICK, **fields: Any) -> None:
    async def main() -> None:
        catalog = StillCatalog(snapshot_of(collection_of(**fields)))
        leaf = Leaf(NODE, directory, catalog, settings, ThreadPoolExecutor(1))
        await leaf.start()
        try:
            await body(leaf, catalog)
        finally:
            await leaf.close()

    asyncio.run(main())


def statuses(response: leaf_pb2.ApplyResponse) -> list[tuple[int, int, int]]:
    return [(part.shard, part.status, part.next_offset) for part in response.shards]


def test_rows_come_back_and_survive_a_restart(tmp_path: Path) -> None:
    async def first(leaf: Leaf, catalog: StillCatalog) -> None:
        await leaf.apply(push({0: rows_bytes({0: {"a": 1}, 1: {"a": 2, "s": "x"}})}, 0, 3))
        await leaf.apply(push({0: b""}, 3, 7))
        await second(leaf, catalog)

    async def second(leaf: Leaf, catalog: StillCatalog) -> None:
        columns = [
            A, OFFSET, bound("i", "_id", "VARCHAR"), bound("d", "_doc", "JSON"),
            bound("s", "_source", "VARCHAR"), bound("p", "_partition", "INTEGER"),
            bound("j", "a", "JSON"), bound("t", "_time", "TIMESTAMP"),
        ]  # fmt: skip
        table, trailer = await ask(leaf, "SELECT * FROM rows ORDER BY o", columns)
        rows = table.to_pylist()
        assert [(r["c0"], r["o"], r["i"], r["d"], r["s"], r["p"], r["j"]) for r in rows] == [
            (1, 0, "log/0/0", '{"a":1}', "log", 0, "1"),
            (2, 1, "log/0/1", '{"a":2,"s":"x"}', "log", 0, "2"),
        ]
        assert trailer.shards[0].rows_total == 2
        table, _ = await ask(leaf, "SELECT count(*) n FROM rows")
        assert table.to_pylist() == [{"n": 2}]
        response = await leaf.positions(POSITIONS)
        assert PositionVector.from_proto(response.shards[0].positions)["log", 0] == 7
        fields = {field.path: list(field.types) for field in response.schema.fields}
        assert fields == {"a": ["int"], "s": ["string"]}

    with_leaf(tmp_path, first)
    with_leaf(tmp_path, second)


def test_each_shard_of_a_push_decides_for_itself(tmp_path: Path) -> None:
    async def body(leaf: Leaf, catalog: StillCatalog) -> None:
        await leaf.apply(push({0: b""}, 0, 5))
        response = await leaf.apply(push({0: b"", 1: b"", 7: b""}, 0, 5))
        assert statuses(response) == [
            (0, leaf_pb2.APPLY_STATUS_POSITION_MISMATCH, 5),
            (1, leaf_pb2.APPLY_STATUS_APPLIED, 5),
            (7, leaf_pb2.APPLY_STATUS_NOT_OWNER, 0),
        ]
        stale = await leaf.apply(push({0: b""}, 5, 6, epoch=9))
        assert statuses(stale) == [(0, leaf_pb2.APPLY_STATUS_STALE_EPOCH, 5)]
        other = await leaf.apply(push({0: b""}, 0, 6, collection_id=2))
        assert statuses(other) == [(0, leaf_pb2.APPLY_STATUS_NOT_OWNER, 0)]

    with_leaf(tmp_path, body, shards=2)


def test_a_cut_hides_what_came_later(tmp_path: Path) -> None:
    async def body(leaf: Leaf, catalog: StillCatalog) -> None:
        await leaf.apply(push({0: rows_bytes({n: {"a": n} for n in range(10)})}, 0, 10))
        await leaf.apply(push({0: rows_bytes({0: {"a": 100}})}, 0, 1, partition=1))
        sql = "SELECT sum(c0)::BIGINT s, count(*) n FROM rows"
        for at, expected in [
            ({("log", 0): 4}, (6, 4)),
            ({("log", 0): 4, ("log", 1): 1}, (106, 5)),
            ({}, (None, 0)),
            (None, (145, 11)),
        ]:
            table, _ = await ask(leaf, sql, [A], at=at)
            assert tuple(table.to_pylist()[0].values()) == expected
        error = None
        try:
            await ask(leaf, sql, [A], at={("log", 0): 11})
        except AlderError as raised:
            error = raised
        assert error is not None, "an answer from before the cut would be short of rows"
        assert error.reason is Reason.UNAVAILABLE

    with_leaf(tmp_path, body)


def test_positions_wait_for_a_push(tmp_path: Path) -> None:
    async def body(leaf: Leaf, catalog: StillCatalog) -> None:
        request = leaf_pb2.PositionsRequest(
            collection="c",
            collection_id=1,
            min_positions=PositionVector({("log", 0): 5}).to_proto(),
            wait_ms=20_000,
        )
        waiting = asyncio.create_task(leaf.positions(request))
        await asyncio.sleep(0)
        assert not waiting.done()
        await leaf.apply(push({0: b""}, 0, 5))
        assert (await waiting).reached
        request.min_positions.positions[0].next_offset = 6
        request.wait_ms = 1
        assert not (await leaf.positions(request)).reached

    with_leaf(tmp_path, body)


def test_a_new_type_at_a_bound_path_makes_the_plan_stale(tmp_path: Path) -> None:
    async def body(leaf: Leaf, catalog: StillCatalog) -> None:
        await leaf.apply(push({0: rows_bytes({0: {"a": 1}})}, 0, 1))
        await leaf.apply(push({0: rows_bytes({1: {"a": "x", "b": 1}})}, 1, 2))
        table, _ = await ask(leaf, "SELECT c0 FROM rows", [A], at={("log", 0): 1})
        assert table.to_pylist() == [{"c0": 1}], "the cut does not include the new type"
        both = bound("c0", "a", "VARIANT", "int", "string")
        table, _ = await ask(leaf, "SELECT c0::VARCHAR v FROM rows ORDER BY 1", [both])
        assert table.to_pylist() == [{"v": "1"}, {"v": "x"}]
        with pytest.raises(AlderError) as raised:
            await ask(leaf, "SELECT c0 FROM rows", [A])
        assert raised.value.reason is Reason.SCHEMA_CHANGED

    with_leaf(tmp_path, body)


def test_errors_of_a_query_are_one_sentence(tmp_path: Path) -> None:
    async def body(leaf: Leaf, catalog: StillCatalog) -> None:
        await leaf.apply(push({0: rows_bytes({0: {"a": 1, "s": "x"}})}, 0, 1))
        text = bound("c0", "s", "VARCHAR", "string")
        for sql, reason in [
            ("SELECT c0::BIGINT FROM rows", Reason.WRONG_TYPE),
            ("SELECT sum(c0) FROM rows", Reason.WRONG_TYPE),
            ("SELECT * FROM read_csv('/etc/passwd')", Reason.FORBIDDEN),
            ("SET threads = 8", Reason.INVALID_ARGUMENT),
            ("SELEC", Reason.INVALID_ARGUMENT),
        ]:
            with pytest.raises(AlderError) as raised:
                await ask(leaf, sql, [text])
            assert raised.value.reason is reason, raised.value
            assert "\n" not in raised.value.message
        table, _ = await ask(leaf, "SELECT c0 FROM rows", [text])
        assert table.num_rows == 1

    with_leaf(tmp_path, body)


def test_a_deadline_stops_the_engine(tmp_path: Path) -> None:
    async def body(leaf: Leaf, catalog: StillCatalog) -> None:
        endless = "SELECT count(*) FROM range(1000000000) a, range(1000000000) b WHERE a > b"
        with pytest.raises(AlderError) as raised:
            await ask(leaf, endless, timeout_s=0.2)
        assert raised.value.reason is Reason.DEADLINE
        running = asyncio.create_task(ask(leaf, endless))
        await asyncio.sleep(0.1)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        table, _ = await ask(leaf, "SELECT 1 AS one")
        assert table.to_pylist() == [{"one": 1}]

    with_leaf(tmp_path, body, replace(QUICK, query_threads=1))


def test_who_waits_for_a_thread_leaves_in_time(tmp_path: Path) -> None:
    async def body(leaf: Leaf, catalog: StillCatalog) -> None:
        endless = "SELECT count(*) FROM range(1000000000) a, range(1000000000) b WHERE a > b"
        running = asyncio.create_task(ask(leaf, endless))
        await asyncio.sleep(0.1)
        with pytest.raises(AlderError) as raised:
            await ask(leaf, "SELECT 1 AS one", timeout_s=0.2)
        assert raised.value.reason is Reason.DEADLINE
        waiting = asyncio.create_task(ask(leaf, "SELECT 1 AS one"))
        await asyncio.sleep(0.1)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert not running.done()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    with_leaf(tmp_path, body, replace(QUICK, query_threads=1))


def test_bombs_of_a_fragment_are_limits(tmp_path: Path) -> None:
    async def body(leaf: Leaf, catalog: StillCatalog) -> None:
        counting = "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t)"
        for sql, reason in {
            f"SELECT error('{TOO_LARGE}')": Reason.LIMIT,
            "SELECT list(range) FROM range(1000000000)": Reason.LIMIT,
            f"{counting} SELECT max(n) FROM t": Reason.DEADLINE,
        }.items():
            with pytest.raises(AlderError) as raised:
                await ask(leaf, sql, timeout_s=2.0)
            assert raised.value.reason is reason, raised.value
        table, _ = await ask(leaf, "SELECT 1 AS one")
        assert table.to_pylist() == [{"one": 1}]

    with_leaf(tmp_path, body, replace(QUICK, query_memory_bytes=64 << 20))


def test_queries_at_the_same_time_see_their_own_rows(tmp_path: Path) -> None:
    async def body(leaf: Leaf, catalog: StillCatalog) -> None:
        await leaf.apply(push({0: rows_bytes({n: {"a": n} for n in range(50)})}, 0, 50))
        sql = "SELECT max(c0) m FROM rows"
        answers = await asyncio.gather(
            *(ask(leaf, sql, [A], at={("log", 0): n + 1}) for n in range(50))
        )
        assert [table.to_pylist()[0]["m"] for table, _ in answers] == list(range(50))

    with_leaf(tmp_path, body)


def test_only_the_current_epoch_is_answered(tmp_path: Path) -> None:
    async def body(leaf: Leaf, catalog: StillCatalog) -> None:
        for wrong in [{"epoch": 2}, {"shards": (1,)}, {"collection_id": 5}]:
            with pytest.raises(AlderError) as raised:
                await ask(leaf, "SELECT 1", **wrong)
            assert raised.value.reason is Reason.NOT_OWNER

    with_leaf(tmp_path, body)


def test_shards_come_and_go_with_the_catalog(tmp_path: Path) -> None:
    async def body(leaf: Leaf, catalog: StillCatalog) -> None:
        await leaf.apply(push({0: rows_bytes({0: {"a": 1}})}, 0, 1))
        early = push({0: b""}, 0, 3, collection="d", collection_id=2)
        pushed = asyncio.create_task(leaf.apply(early))
        await asyncio.sleep(0)
        catalog.publish(snapshot_of(collection_of("d", collection_id=2), revision=2))
        assert statuses(await pushed) == [(0, leaf_pb2.APPLY_STATUS_APPLIED, 3)]
        described = await leaf.describe(leaf_pb2.DescribeLeafRequest())
        assert [shard.collection for shard in described.shards] == ["d"]

    with_leaf(tmp_path, body, replace(QUICK, follow_wait_s=20.0))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2-d"]


def test_a_large_tail_is_sealed_by_itself_and_described(tmp_path: Path) -> None:
    async def body(leaf: Leaf, catalog: StillCatalog) -> None:
        for n in range(10):
            rows = {offset: {"a": offset} for offset in range(n * 10, n * 10 + 10)}
            await leaf.apply(push({0: rows_bytes(rows)}, n * 10, n * 10 + 10))
        bad = quarantine_bytes([(103, "broken", b"{")])
        await leaf.apply(push({0: b""}, 100, 104, quarantine=bad))
        for _ in range(2_000):
            if (await described(leaf)).segments:
                break
            await asyncio.sleep(0.01)
        table, trailer = await ask(leaf, "SELECT sum(c0)::BIGINT s FROM rows", [A])
        assert table.to_pylist() == [{"s": 4950}]
        shard = await described(leaf)
        assert (shard.rows, shard.quarantined) == (100, 1)
        assert shard.tail_rows < 100
        assert len(shard.digest) == 32
        assert 1 <= trailer.shards[0].segments_total <= shard.segments
        request = quarantine_pb2.ShardQuarantineRequest(collection_id=1)
        records = [record async for record in leaf.list_quarantine(request)]
        assert [(r.source, r.offset, r.reason, r.value) for r in records] == [
            ("log", 103, "broken", b"{")
        ]

    with_leaf(tmp_path, body, replace(QUICK, seal_rows=25))


async def described(leaf: Leaf) -> leaf_pb2.ShardDescription:
    return (await leaf.describe(leaf_pb2.DescribeLeafRequest())).shards[0]


def test_a_keyed_collection_shows_the_last_write(tmp_path: Path) -> None:
    async def body(leaf: Leaf, catalog: StillCatalog) -> None:
        rows = rows_bytes({0: {"a": 1}, 1: {"a": 2}, 2: {"a": 3}}, {0: "x", 1: "y", 2: "x"})
        await leaf.apply(push({0: rows}, 0, 3))
        await leaf.apply(push({0: rows_bytes({3: None}, {3: "y"})}, 3, 4))
        columns = [A, bound("i", "_id", "VARCHAR")]
        sql = "SELECT i, c0 FROM rows ORDER BY 1"
        table, _ = await ask(leaf, sql, columns)
        assert table.to_pylist() == [{"i": "x", "c0": 3}]
        table, _ = await ask(leaf, sql, columns, at={("log", 0): 3})
        assert table.to_pylist() == [{"i": "x", "c0": 3}, {"i": "y", "c0": 2}]
        assert (await described(leaf)).rows == 1

    with_leaf(tmp_path, body, key_path="k")


def test_nothing_is_answered_after_closing(tmp_path: Path) -> None:
    async def main() -> None:
        leaf = Leaf(NODE, tmp_path, StillCatalog(snapshot_of(collection_of())), QUICK)
        await leaf.start()
        await leaf.close()
        for call in (leaf.positions(POSITIONS), leaf.apply(push({0: b""}, 0, 1))):
            with pytest.raises(AlderError) as raised:
                await call
            assert raised.value.reason is Reason.UNAVAILABLE

    asyncio.run(main())


def test_a_shard_tells_what_it_stores_and_which_rows_meet_conditions(tmp_path: Path) -> None:
    async def body(leaf: Leaf, catalog: StillCatalog) -> None:
        await leaf.apply(push({0: rows_bytes({n: {"a": n % 3} for n in range(9)})}, 0, 9))
        everything = proof_pb2.OffsetRange(source="log", begin_offset=0, end_offset=9)
        which = {"collection": "c", "collection_id": 1}
        digest = proof_pb2.DigestRequest(**which, ranges=[everything], rows=True)
        found = await leaf.prover.digest(digest)
        assert found.ranges[0].rows == found.rows_born == 9
        assert found.ranges[0].rows_digest == found.total_digest
        assert [(row.offset, row.document) for row in found.rows[:2]] == [
            (0, '{"a":0}'),
            (1, '{"a":1}'),
        ]
        conditions = [
            proof_pb2.ProbeCondition(path="a", types=["int"], operator="=", values_json=["1"]),
            proof_pb2.ProbeCondition(path="_id", operator="in", values_json=['"log/0/4"']),
            proof_pb2.ProbeCondition(path="a", types=["string"], operator="not null"),
        ]
        at = PositionVector({("log", 0): 5}).to_proto()
        for scan in (False, True):
            probe = proof_pb2.ProbeRequest(**which, at=at, conditions=conditions, scan=scan)
            answers = (await leaf.prover.probe(probe)).answers
            assert [answer.rows for answer in answers[:2]] == [2, 1]
            assert "plan again" in answers[2].refused
        probe = proof_pb2.ProbeRequest(**which, at=at, conditions=conditions[:1])
        probe.ranges.add(source="log", begin_offset=2, end_offset=5)
        assert [one.rows for one in (await leaf.prover.probe(probe)).answers] == [1]
        stored = await leaf.prover.check_stored(proof_pb2.CheckStoredRequest(**which))
        assert not stored.damage
        for operator in ("; DROP", "like"):
            probe.conditions[0].operator = operator
            with pytest.raises(AlderError) as raised:
                await leaf.prover.probe(probe)
            assert raised.value.reason is Reason.INVALID_ARGUMENT
        digest.at.CopyFrom(PositionVector({("log", 0): 99}).to_proto())
        with pytest.raises(AlderError) as raised:
            await leaf.prover.digest(digest)
        assert raised.value.reason is Reason.UNAVAILABLE

    with_leaf(tmp_path, body)
