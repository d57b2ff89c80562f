"""Merging segments changes how rows are kept, and no answer."""

import os
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import ParamSpec, TypeVar

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from leaf_model import Document, content, merge_now, rows_bytes

import leaf.sealing
from alder.errors import AlderError, Reason
from alder.positions import PositionVector
from alder.rocks import Store
from leaf import layout, merging
from leaf import seal as sealing
from leaf.access import Condition, Scope, candidates
from leaf.births import PLACE_BITS
from leaf.blocks import SegmentBlocks
from leaf.cache import PageCache
from leaf.core import PushHeader
from leaf.format.frame import unframed
from leaf.layout import SegmentEntry
from leaf.merge import MergePolicy, choose_merges, tier_of
from leaf.merging import MergePlan, merge_stored
from leaf.seal import seal
from leaf.segment import Segment
from leaf.segments import SegmentFiles
from leaf.settings import LeafSettings
from leaf.shard import Shard
from leaf.workers import SealWorkers

P = ParamSpec("P")
T = TypeVar("T")
SETTINGS = LeafSettings(merge_factor=3)
fast = settings(max_examples=40, deadline=None)

ENTRIES = st.lists(st.tuples(st.integers(1, 70_000), st.integers(1, 10_000)), max_size=40).map(
    lambda sizes: [SegmentEntry(n, rows, size) for n, (rows, size) in enumerate(sizes)]
)
POLICIES = st.builds(
    MergePolicy, st.integers(2, 9), st.integers(1_000, 200_000), st.integers(100, 100_000)
)


def compute(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    return function(*args, **kwargs)


@settings(deadline=None)
@given(ENTRIES, POLICIES)
def test_chosen_merges_are_disjoint_and_within_limits(
    entries: list[SegmentEntry], policy: MergePolicy
) -> None:
    chosen = choose_merges(entries, policy, {})
    named = [entry for group in chosen for entry in group]
    assert len({entry.segment for entry in named}) == len(named)
    assert set(named) <= set(entries)
    for group in chosen:
        assert 2 <= len(group) <= policy.factor
        assert sum(entry.rows for entry in group) <= policy.rows_max
        assert sum(entry.size_bytes for entry in group) <= policy.bytes_max
        assert len({tier_of(entry.rows, policy.factor) for entry in group}) == 1


@settings(deadline=None)
@given(ENTRIES, POLICIES)
def test_merging_ends_with_few_segments_of_each_tier(
    entries: list[SegmentEntry], policy: MergePolicy
) -> None:
    written = 0
    while chosen := choose_merges(entries, policy, {}):
        group = chosen[0]
        rows, size = (sum(getattr(e, name) for e in group) for name in ("rows", "size_bytes"))
        written += rows
        merged = SegmentEntry(len(entries) + 1_000 + written, rows, size)
        entries = [entry for entry in entries if entry not in group] + [merged]
    small = [
        tier_of(entry.rows, policy.factor)
        for entry in entries
        if 2 * entry.rows <= policy.rows_max and 2 * entry.size_bytes <= policy.bytes_max
    ]
    assert all(small.count(tier) < policy.factor for tier in small)
    tiers = 2 + tier_of(policy.rows_max, policy.factor)
    assert written <= tiers * policy.factor * sum(entry.rows for entry in entries)


@settings(deadline=None)
@given(ENTRIES, POLICIES)
def test_at_rest_no_segment_is_written_often(
    entries: list[SegmentEntry], policy: MergePolicy
) -> None:
    number = len(entries)
    while chosen := choose_merges(entries, policy, {}, at_rest=True):
        group = chosen[0]
        rows, size = (sum(getattr(e, name) for e in group) for name in ("rows", "size_bytes"))
        assert len(group) > 1
        assert rows <= policy.rows_max
        assert size <= policy.bytes_max
        if not choose_merges(entries, policy, {}):
            assert 3 * max(entry.rows for entry in group) <= 2 * rows
        number += 1
        entries = [entry for entry in entries if entry not in group] + [
            SegmentEntry(number, rows, size)
        ]


def test_at_rest_segments_of_all_tiers_become_one() -> None:
    policy = MergePolicy(8, 1 << 20, 1 << 30)
    entries = [SegmentEntry(0, 574_916, 1)]
    entries += [SegmentEntry(n, 72_000, 1) for n in range(1, 7)]
    assert choose_merges(entries, policy, {}) == []
    assert choose_merges(entries, policy, {}, at_rest=True) == [tuple(entries)]
    lone = [SegmentEntry(0, 574_916, 1), SegmentEntry(1, 100_000, 1)]
    assert choose_merges(lone, policy, {}, at_rest=True) == []
    assert choose_merges(entries, replace(policy, factor=0), {}, at_rest=True) == []


def test_nothing_is_merged_where_it_is_turned_off_or_too_few() -> None:
    entries = [SegmentEntry(n, 10, 10) for n in range(7)]
    policy = MergePolicy(8, 1_000, 1_000)
    assert choose_merges(entries, policy, {}) == []
    entries.append(SegmentEntry(7, 10, 10))
    assert choose_merges(entries, policy, {}) == [tuple(entries)]
    assert choose_merges(entries, replace(policy, factor=0), {}) == []
    assert choose_merges(entries, replace(policy, rows_max=19), {}) == []
    assert [len(g) for g in choose_merges(entries, replace(policy, rows_max=45), {})] == [4]


VALUES: dict[str, st.SearchStrategy[object]] = {
    "string:few": st.sampled_from(["", "a", "b", "ä", "zz" * 30]),
    "string:many": st.text(st.characters(codec="utf-8"), max_size=12),
    "string:some": st.sampled_from([f"value {n}" for n in range(40)]),
    "int:few": st.integers(-2, 2),
    "int:many": st.integers(-(1 << 63), (1 << 63) - 1),
    "float:f": st.floats(allow_nan=False),
    "bool:b": st.booleans(),
    "list<string>:l": st.lists(st.sampled_from("xyz"), max_size=3),
}
TYPES = {
    "string": pa.string(),
    "int": pa.int64(),
    "float": pa.float64(),
    "bool": pa.bool_(),
    "list<string>": pa.list_(pa.string()),
}


@st.composite
def parts(draw: st.DrawFn) -> list[pa.Table]:
    """Tables with distinct births of two streams, each with some of the columns."""
    rows = draw(st.integers(2, 90))
    births = np.sort(np.asarray(draw(st.permutations(range(rows)))))
    births = np.where(births % 3 == 0, births, births + (1 << PLACE_BITS))
    segment_of = np.asarray(draw(st.lists(st.integers(0, 3), min_size=rows, max_size=rows)))
    if draw(st.booleans()):
        segment_of = np.sort(segment_of)
    tables = []
    for segment in np.unique(segment_of).tolist():
        chosen = np.sort(births[segment_of == segment])
        columns = {
            "_birth": pa.array(chosen),
            "_time": pa.array(chosen % 1_000, pa.timestamp("us")),
            "_doc": pa.array([f'{{"n":{birth}}}' for birth in chosen.tolist()], pa.string()),
        }
        for name in draw(st.lists(st.sampled_from(list(VALUES)), unique=True)):
            one = st.none() | VALUES[name]
            values = draw(st.lists(one, min_size=len(chosen), max_size=len(chosen)))
            columns[name] = pa.array(values, TYPES[name.partition(":")[0]])
        tables.append(pa.table(columns))
    return tables


@contextmanager
def store_of(path: Path) -> Iterator[Store]:
    store = Store(path, layout.FAMILIES)
    try:
        yield store
    finally:
        store.close()


class MemoryStore:
    """What segments need of a store."""

    def __init__(self) -> None:
        self.blocks: dict[tuple[str, bytes], bytes] = {}

    def get(self, family: str, key: bytes) -> bytes | None:
        return self.blocks.get((family, key))

    def get_many(self, family: str, keys: Sequence[bytes]) -> list[bytes | None]:
        return [self.get(family, key) for key in keys]

    def batch(self) -> "MemoryBatch":
        return MemoryBatch()

    def write_unlogged(self, batch: "MemoryBatch") -> None:
        self.blocks |= batch.blocks

    def flush(self, family: str) -> None:
        pass


class MemoryBatch:
    def __init__(self) -> None:
        self.blocks: dict[tuple[str, bytes], bytes] = {}
        self.size_bytes = 0

    def put(self, family: str, key: bytes, value: bytes) -> None:
        assert (family, key) not in self.blocks
        self.blocks[family, key] = value
        self.size_bytes += len(value)


def same_segment(merged: Segment, whole: Segment, table: pa.Table) -> None:
    """Both give the same columns, and find the same rows by every value."""
    assert merged.rows == whole.rows
    assert merged.births().tolist() == whole.births().tolist()
    assert merged.last_births.tolist() == whole.last_births.tolist()
    for row, birth in enumerate(merged.births().tolist()):
        assert merged.born(np.asarray([birth])).rows().tolist() == [row]
    for name in table.column_names:
        assert merged.has(name) == whole.has(name), name
        if not whole.has(name):
            continue
        values = merged.column(name, None).to_pylist()
        assert values == whole.column(name, None).to_pylist()
        column = merged.column(name, None).combine_chunks()
        assert {index.check(column).fault for index in merged.indexes(name)} == {""}
        if name.partition(":")[0] not in {"string", "int", "bool"}:
            continue
        for value in {value for value in values if value is not None}:
            asked = [int(value) if not isinstance(value, str) else value]
            rows = {row for row, other in enumerate(values) if other == value}
            answers = (index.find("=", asked) for index in merged.indexes(name))
            found = set(next(one for one in answers if one is not None).rows().rows().tolist())
            assert rows <= found
            if name == "string:few":
                assert rows == found


@pytest.mark.parametrize(
    ("small", "cluster_by"),
    [(False, ()), (True, ()), (False, ("many", "f")), (False, ("few", "l", "b", "_time"))],
)
def test_merged_segments_equal_one_that_was_sealed_whole(
    small: bool, cluster_by: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealing, "PAGE_ROWS", 16)
    if small:
        monkeypatch.setattr(merging, "RUN_BYTES_MAX", 1)
        monkeypatch.setattr(merging, "WHOLE_BYTES_MAX", 400)
    cache = PageCache(0)

    @fast
    @given(parts())
    def check(tables: list[pa.Table]) -> None:
        store = MemoryStore()
        files = SegmentFiles(store, "s", cache, 0)
        numbers = [files.new_number() for _ in tables]
        for number, table in zip(numbers, tables, strict=True):
            files.write(number, seal([table], cluster_by).blocks)
        target, beside = files.new_number(), files.new_number()
        plan = MergePlan(target, tuple(numbers), cluster_by)
        entry = merge_stored(store, "s", plan, files.writer(target), compute)
        table = pa.concat_tables(tables, promote_options="default")
        files.write(beside, seal(tables, cluster_by).blocks)
        merged, whole = (
            Segment(SegmentBlocks(store, "s", number, cache)) for number in (target, beside)
        )
        assert entry.rows == table.num_rows
        prefix = layout.number_key(target)
        blocks = [data for (_, key), data in store.blocks.items() if key.startswith(prefix)]
        assert entry.size_bytes == sum(map(len, blocks))
        same_segment(merged, whole, table)

    check()


@contextmanager
def opened(path: Path, keyed: bool = False) -> Iterator[Shard]:
    shard = Shard(path / "1-c" / "0", 1, keyed, SETTINGS, PageCache(1 << 20))
    try:
        yield shard
    finally:
        shard.close()


def put(
    shard: Shard, documents: dict[int, Document | None], begin: int, end: int, keyed: bool = False
) -> None:
    header = PushHeader(1, 1, "log", 0, "t", begin, end)
    keys = {offset: f"k{offset % 17}" for offset in documents} if keyed else None
    assert shard.apply(header, 1, rows_bytes(documents, keys), b"", False).accepted


def seal_now(shard: Shard) -> None:
    plan = shard.begin_seal()
    assert plan is not None
    shard.publish_seal(plan, seal([chunk.table for chunk in plan.tail]))
    shard.end_seal(plan)


def documents(begin: int, end: int) -> dict[int, Document | None]:
    return {n: {"a": n, "s": f"s{n % 3}", "u": f"u{n}"} for n in range(begin, end)}


@pytest.mark.parametrize("keyed", [False, True])
def test_merging_changes_no_answer_at_any_cut(tmp_path: Path, keyed: bool) -> None:
    chance = random.Random(4)
    with opened(tmp_path / "a", keyed) as merged, opened(tmp_path / "b", keyed) as plain:
        position = merges = 0
        for _ in range(40):
            end = position + chance.randrange(1, 30)
            for shard in (merged, plain):
                put(shard, documents(position, end), position, end, keyed)
            position = end
            if chance.random() < 0.6:
                seal_now(merged)
                merges += merge_now(merged)
        assert merges >= 5
        assert len(merged.view.segments) < 10
        assert content(merged.view) == content(plain.view)
        assert merged.view.counters.digest == plain.view.counters.digest
        for _ in range(30):
            cut = PositionVector({("log", 0): chance.randrange(position + 5)})
            assert content(merged.view, cut) == content(plain.view, cut)
        scope = Scope(merged.view.schema.fields, keyed, merged.view.streams)
        for n in chance.sample(range(position), 20):
            for segment in merged.view.segments:
                found = candidates(segment, [Condition("u", "=", (f"u{n}",))], scope)
                values = segment.column("string:u", None).to_pylist()
                assert found is not None
                assert set(found.tolist()) >= {r for r, v in enumerate(values) if v == f"u{n}"}
        before = content(merged.view)
    with opened(tmp_path / "a", keyed) as merged:
        assert content(merged.view) == before
        segments = len(merged.view.segments)
        put(merged, documents(position, position + 1), position, position + 1, keyed)
        seal_now(merged)
        assert len(merged.view.segments) == segments + 1


def numbers_stored(path: Path) -> set[int]:
    with store_of(path / "1-c" / "0") as store:
        return numbers_in(store)


def numbers_in(store: Store) -> set[int]:
    families = (layout.COLUMNS, layout.POSTINGS)
    return {layout.number_of(key) for family in families for key, _ in store.scan(family)}


def fill(shard: Shard, segments: int, begin: int = 0) -> int:
    for n in range(begin, begin + segments):
        put(shard, documents(n * 10, n * 10 + 10), n * 10, n * 10 + 10)
        seal_now(shard)
    return (begin + segments) * 10


def test_a_view_in_use_survives_a_merge(tmp_path: Path) -> None:
    with opened(tmp_path) as shard:
        fill(shard, 3)
        held = shard.view
        before = content(held)
        assert merge_now(shard)
        assert len(shard.view.segments) == 1
        shard.collect()
        assert numbers_in(shard._replica.store) == {0, 1, 2, 3}
        shard._cache = PageCache(0)
        assert content(held) == before == content(shard.view)
        del held
        shard.collect()
        assert numbers_in(shard._replica.store) == {3}
        assert content(shard.view) == before
    with opened(tmp_path) as shard:
        assert content(shard.view) == before


def test_the_disk_space_of_merged_segments_comes_back(tmp_path: Path) -> None:
    chance = random.Random(2)
    with opened(tmp_path) as shard:
        for n in range(3):
            text = chance.randbytes(200_000).hex()
            rows = {n: {"t": text[i : i + 50_000]} for i, n in enumerate(range(n * 4, n * 4 + 4))}
            put(shard, rows, n * 4, n * 4 + 4)
            seal_now(shard)
        before = content(shard.view)
        size = blobs_bytes(tmp_path)
        assert merge_now(shard)
        shard.collect()
        assert blobs_bytes(tmp_path) < 1.4 * size
        assert content(shard.view) == before


def blobs_bytes(path: Path) -> int:
    return sum(entry.stat().st_size for entry in (path / "1-c" / "0").glob("*.blob"))


def test_pushes_and_seals_go_on_during_a_merge(tmp_path: Path) -> None:
    with opened(tmp_path) as shard:
        end = fill(shard, 3)
        plan = shard.compaction.begin()
        assert plan is not None
        assert shard.compaction.begin() is None

        def busy(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
            if not shard.view.tail_rows and len(shard.view.segments) < 5:
                n = len(shard.view.segments)
                put(shard, documents(n * 10, n * 10 + 10), n * 10, n * 10 + 10)
                seal_now(shard)
            return function(*args, **kwargs)

        shard.compaction.merge(plan, busy)
        shard.compaction.end(plan)
        assert [segment.rows for segment in shard.view.segments] == [30, 10, 10]
        expected = list(range(end + 20))
        assert [row[0] for row in content(shard.view)] == expected
    with opened(tmp_path) as shard:
        assert [row[0] for row in content(shard.view)] == expected


def failing(calls: Iterator[int], function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    if next(calls, None) is None:
        raise AlderError(Reason.UNAVAILABLE, "the worker died")
    return function(*args, **kwargs)


def test_a_merge_that_fails_changes_nothing(tmp_path: Path) -> None:
    with opened(tmp_path) as shard:
        fill(shard, 3)
        before = shard.view
        expected = content(before)
        for allowed in range(4):
            plan = shard.compaction.begin()
            assert plan is not None
            calls = iter(range(allowed))

            with pytest.raises(AlderError):
                shard.compaction.merge(plan, partial(failing, calls))
            shard.compaction.end(plan)
            assert shard.view is before
        shard.collect()
        assert numbers_in(shard._replica.store) == {0, 1, 2}
        assert merge_now(shard)
        assert content(shard.view) == expected


def test_what_a_crash_leaves_of_a_merge_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leaf.sealing, "BATCH_BYTES_MAX", 1)

    class Crash(BaseException):
        pass

    shard = Shard(tmp_path / "1-c" / "0", 1, False, SETTINGS, PageCache(0))
    fill(shard, 3)
    expected = content(shard.view)
    plan = shard.compaction.begin()
    assert plan is not None
    done: Sequence[str] = []

    def crashing(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        if len(done) == 5:
            raise Crash
        done.append("")
        return function(*args, **kwargs)

    with pytest.raises(Crash):
        shard.compaction.merge(plan, crashing)
    for family in layout.SEGMENT_FAMILIES:
        shard._replica.store.flush(family)
    assert numbers_in(shard._replica.store) == {0, 1, 2, 3}
    shard._replica.store.close()
    del shard
    with opened(tmp_path) as shard:
        assert content(shard.view) == expected
        assert numbers_in(shard._replica.store) == {0, 1, 2}
        assert merge_now(shard)
        assert content(shard.view) == expected
    with opened(tmp_path) as shard:
        assert numbers_in(shard._replica.store) == {3}
        assert content(shard.view) == expected


def test_a_merge_runs_in_a_process_of_its_own(tmp_path: Path) -> None:
    workers = SealWorkers(1, tmp_path)
    with opened(tmp_path) as shard:
        fill(shard, 3)
        expected = content(shard.view)
        with workers.merging() as in_worker:
            assert in_worker(os.getpid) != os.getpid()
            with pytest.raises(AlderError) as raised:
                in_worker(unframed, b"damaged", "the page")
            assert raised.value.reason is Reason.CORRUPT
            plan = shard.compaction.begin()
            assert plan is not None
            shard.compaction.merge(plan, in_worker)
            shard.compaction.end(plan)
            assert content(shard.view) == expected
            with pytest.raises(AlderError) as raised:
                in_worker(os._exit, 1)
            assert raised.value.reason is Reason.UNAVAILABLE
        workers.stop()
        with workers.merging() as in_worker, pytest.raises(AlderError, match="stopping"):
            in_worker(os.getpid)
