"""Partials of accelerated views on disk: the same answers, whatever became of the rows."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from kernels_model import Asker, documents, sealed, with_rows
from kernels_model import append as append_documents
from leaf_model import NODE, StillCatalog, bound, collection_of, push, rows_bytes, snapshot_of

from alder.arrow import join_chunks
from alder.catalog import Snapshot
from alder.definitions import Definition, Version
from alder.positions import PositionVector
from alder.v1 import catalog_pb2, leaf_pb2
from leaf.service import Leaf
from leaf.settings import LeafSettings

SETTINGS = LeafSettings(seal_rows=40, merge_factor=0, sync_interval_s=0.05, accelerate_every_s=0.05)
Body = Callable[[Leaf, StillCatalog], Awaitable[None]]
FRAGMENT = leaf_pb2.Fragment(
    sql="SELECT c1 AS k0, sum(c0) EXPORT_STATE AS a0, count(*) EXPORT_STATE AS a1 "
    "FROM rows GROUP BY 1",
    columns=[bound("c0", "a", "BIGINT", "int"), bound("c1", "s", "VARCHAR", "string")],
    partial_aggregate=True,
)


def catalog_with(*views: Definition, revision: int = 1, **fields: Any) -> Snapshot:
    known = snapshot_of(collection_of(**fields), revision=revision)
    return replace(known, definitions={view.name: view for view in views})


def view(name: str = "v", versions: int = 1, accelerate: bool = True) -> Definition:
    numbered = tuple(Version(number + 1, "SELECT 1") for number in range(versions))
    return Definition(name, catalog_pb2.DEFINITION_KIND_VIEW, numbered, accelerate)


def with_leaf(
    directory: Path, body: Body, settings: LeafSettings = SETTINGS, **fields: Any
) -> None:
    async def main() -> None:
        catalog = StillCatalog(catalog_with(view(), **fields))
        leaf = Leaf(NODE, directory, catalog, settings, ThreadPoolExecutor(1))
        await leaf.start()
        try:
            await body(leaf, catalog)
        finally:
            await leaf.close()

    asyncio.run(main())


async def keep(
    leaf: Leaf, *fragments: leaf_pb2.Fragment, version: int = 1, revision: int = 1
) -> tuple[int, int]:
    kept = [
        leaf_pb2.KeptFragment(view="v", version=version, revision=revision, fragment=one)
        for one in fragments
    ]
    request = leaf_pb2.KeepPartialsRequest(collection="c", collection_id=1, view="v", kept=kept)
    response = await leaf.keep_partials(request)
    return response.segments_ready, response.segments_total


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    for _ in range(3_000):
        if await condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come to be")


async def kept_all(leaf: Leaf, least: int = 1) -> None:
    """Waits until every sealed segment has its partial on disk."""

    async def done() -> bool:
        ready, total = await keep(leaf, FRAGMENT)
        return ready == total >= least

    await until(done)


async def bytes_on_disk(leaf: Leaf) -> int:
    described = await leaf.describe(leaf_pb2.DescribeLeafRequest())
    return next(one.size_bytes for one in described.caches if one.name == "stored partials")


async def append(leaf: Leaf, begin: int, end: int, keys: int = 0) -> None:
    rows: dict[int, Any] = {n: {"a": n, "s": "xyz"[n % 3]} for n in range(begin, end)}
    names = {n: f"key{n % keys}" for n in rows} if keys else None
    await leaf.apply(push({0: rows_bytes(rows, names)}, begin, end))


async def asked(
    leaf: Leaf, at: int | None = None, **modes: bool
) -> tuple[list[tuple[object, ...]], int]:
    """The finished groups and how many partials came from disk."""
    vector = PositionVector({} if at is None else {("log", 0): at})
    request = leaf_pb2.FragmentRequest(
        collection="c", collection_id=1, epoch=1, shards=[0], fragment=FRAGMENT,
        at=vector.to_proto(), latest=at is None, **modes,
    )  # fmt: skip
    parts, stored = [], 0
    async for response in leaf.execute(request, timeout_s=30):
        parts.append(response.arrow)
        stored += sum(scan.partials_stored for scan in response.trailer.shards)
    return finished(join_chunks(parts)), stored


def finished(partials: pa.Table) -> list[tuple[object, ...]]:
    with duckdb.connect() as engine:
        engine.register("partials", partials)
        return engine.execute(
            "SELECT k0, finalize(combine_aggr(to_aggregate_state(a0, 'sum', ['BIGINT']))), "
            "finalize(combine_aggr(to_aggregate_state(a1, 'count_star', []))) "
            "FROM partials GROUP BY 1 ORDER BY 1"
        ).fetchall()


def test_answers_are_the_same_before_during_and_after_and_over_a_restart(tmp_path: Path) -> None:
    answers = []

    async def first(leaf: Leaf, catalog: StillCatalog) -> None:
        for begin in range(0, 400, 50):
            await append(leaf, begin, begin + 50)
        answers.append((await asked(leaf, no_memoised_partials=True))[0])
        assert await keep(leaf, FRAGMENT) >= (0, 0)
        answers.append((await asked(leaf))[0])
        await kept_all(leaf, least=3)
        answers.append((await asked(leaf))[0])

    async def second(leaf: Leaf, catalog: StillCatalog) -> None:
        rows, stored = await asked(leaf)
        assert stored >= 3, "nothing is in memory after a restart, so what is on disk is used"
        answers.append(rows)
        _, stored = await asked(leaf, no_memoised_partials=True)
        assert stored == 0
        await append(leaf, 400, 410)
        rows, _ = await asked(leaf)
        assert sum(int(str(row[2])) for row in rows) == 410, "the live tail is computed beside them"

    with_leaf(tmp_path, first)
    with_leaf(tmp_path, second)
    assert [answers[0]] * 4 == answers


def test_a_partial_answers_for_its_rows_alone(tmp_path: Path) -> None:
    async def body(leaf: Leaf, catalog: StillCatalog) -> None:
        await append(leaf, 0, 200, keys=150)
        await kept_all(leaf)

    async def again(leaf: Leaf, catalog: StillCatalog) -> None:
        before, stored = await asked(leaf, at=200)
        assert stored
        await append(leaf, 200, 230, keys=150)
        for at in (60, 130, 200, 230, None):
            rows, _ = await asked(leaf, at=at)
            assert rows == (await asked(leaf, at=at, no_memoised_partials=True))[0], at
        assert (await asked(leaf, at=200))[0] == before

    with_leaf(tmp_path, body, key_path="k")
    with_leaf(tmp_path, again, replace(SETTINGS, accelerate_every_s=60), key_path="k")


@pytest.mark.parametrize(
    "after",
    [view(accelerate=False), view(versions=2), view("other")],
    ids=["off", "replaced", "dropped"],
)
def test_what_is_accelerated_no_more_is_removed(tmp_path: Path, after: Definition) -> None:
    async def body(leaf: Leaf, catalog: StillCatalog) -> None:
        await append(leaf, 0, 200)
        await kept_all(leaf)
        assert await bytes_on_disk(leaf)
        catalog.publish(catalog_with(after, revision=2))

        async def gone() -> bool:
            return not await bytes_on_disk(leaf)

        await until(gone)

    with_leaf(tmp_path, body)


def test_a_version_that_the_leaf_has_not_heard_of_yet_is_kept(tmp_path: Path) -> None:
    async def body(leaf: Leaf, catalog: StillCatalog) -> None:
        await append(leaf, 0, 200)

        async def ready() -> bool:
            return (await keep(leaf, FRAGMENT, version=2, revision=2))[0] > 0

        await until(ready)
        assert await keep(leaf) == (0, 0), "another list takes the place of the one before"

    with_leaf(tmp_path, body)


def test_what_is_on_disk_is_bounded(tmp_path: Path) -> None:
    async def body(leaf: Leaf, catalog: StillCatalog) -> None:
        await append(leaf, 0, 200)
        expected, _ = await asked(leaf)
        for _ in range(20):
            await keep(leaf, FRAGMENT)
            await asyncio.sleep(0.01)
        assert (await bytes_on_disk(leaf), (await asked(leaf))[0]) == (0, expected)

    with_leaf(tmp_path, body, replace(SETTINGS, stored_partials_bytes=100))


def test_memory_goes_first_once_it_has_all(tmp_path: Path) -> None:
    async def first(leaf: Leaf, catalog: StillCatalog) -> None:
        await append(leaf, 0, 200)
        await kept_all(leaf)

    async def second(leaf: Leaf, catalog: StillCatalog) -> None:
        expected, stored = await asked(leaf)
        assert stored

        async def warm() -> bool:
            rows, stored = await asked(leaf)
            assert rows == expected
            return not stored

        await until(warm)

    with_leaf(tmp_path, first)
    with_leaf(tmp_path, second)


STATEMENTS = [
    "select kind, count(*), sum(n), avg(f) from c group by 1",
    "select word, count(*) as n from c group by 1 order by n desc, word limit 5",
    "select kind, sum(few) as s from c where n > 0 group by 1 order by s desc limit 2",
    "select count(*), min(big), max(word) from c",
    "select length(word), few, count(*) filter (flag) from c group by all",
]


@pytest.mark.parametrize("sole", [True, False])
def test_kernels_compute_what_is_not_on_disk(tmp_path: Path, sole: bool) -> None:
    rows = documents(700)

    async def first(leaf: Leaf, asker: Asker) -> None:
        fragments = [asker.plan(sql, sole).reads[0].fragment for sql in STATEMENTS]
        await sealed(leaf, 1)

        async def ready() -> bool:
            done, total = await keep(leaf, *fragments, revision=99)
            return done == total >= 2 * len(fragments)

        await until(ready)

    async def second(leaf: Leaf, asker: Asker) -> None:
        cold = [await asker.ask(sql, memoise=True, sole=sole) for sql in STATEMENTS]
        assert all(sum(scan.partials_stored for scan in one.scans) for one in cold)
        assert not any(one.by_kernels for one in cold), "a group may be in several partials"
        await append_documents(leaf, rows[:90], 700, 2)
        for sql, before in zip(STATEMENTS, cold, strict=True):
            for memoise in (True, False):
                at = PositionVector({("log", 0): 700})
                earlier = await asker.ask(sql, memoise=memoise, sole=sole, at=at)
                assert ordered(earlier.rows) == ordered(before.rows), sql
            newest = await asker.ask(sql, memoise=True, sole=sole)
            anew = await asker.ask(sql, sole=sole)
            assert ordered(newest.rows) == ordered(anew.rows), sql

    batches = [rows[begin : begin + 100] for begin in range(0, 700, 100)]
    with_rows(tmp_path, batches, first, seal_rows=100, shards=2)
    with_rows(tmp_path, [], second, seal_rows=100_000, shards=2)


def ordered(rows: list[tuple[object, ...]]) -> list[str]:
    """Rows in an order of their own; sums of floats depend on the order of addition."""
    return sorted(
        repr([f"{one:.9g}" if isinstance(one, float) else one for one in row]) for row in rows
    )
