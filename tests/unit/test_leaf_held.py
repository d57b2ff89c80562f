"""Pushes held back until their seal: after a crash the store is a prefix of what was applied."""

import random
import shutil
from pathlib import Path

import pytest
from leaf_model import quarantine_bytes
from test_leaf_shard import content, documents, put, seal_now

import leaf.held
from alder.positions import PositionVector
from leaf.cache import PageCache
from leaf.quarantine import Page
from leaf.seal import seal
from leaf.settings import LeafSettings
from leaf.shard import Shard

PARTITIONS = (0, 1)


@pytest.fixture(autouse=True)
def _hold_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaf.held, "HELD_BYTES_MIN", 1)


class Clock:
    """Stands still until a test moves it."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def shard_at(path: Path, clock: Clock | None = None) -> Shard:
    cache = PageCache(1 << 20)
    return Shard(path, 1, False, LeafSettings(), cache, clock=clock or Clock())


def after_crash(path: Path) -> Shard:
    """What comes back of a store whose process ends here."""
    copy = path.with_name("crashed")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(path, copy)
    return shard_at(copy)


def test_held_rows_are_visible_and_reach_the_store_with_their_seal(tmp_path: Path) -> None:
    shard = shard_at(tmp_path / "live")
    put(shard, documents(0, 5), 0, 6, quarantine=quarantine_bytes([(5, "broken", b"x")]))
    assert len(content(shard)) == 5
    lost = after_crash(tmp_path / "live")
    assert not lost.view.positions.offsets
    lost.close()
    plan = shard.begin_seal()
    assert plan is not None
    put(shard, documents(6, 9), 6, 9)
    shard.publish_seal(plan, seal([chunk.table for chunk in plan.tail]))
    shard.end_seal(plan)
    kept = after_crash(tmp_path / "live")
    assert kept.view.positions["log", 0] == 6
    assert content(kept) == [row for row in content(shard) if row[1] < 6]
    assert [record.reason for record in kept.quarantine.page(Page(9, 100))] == ["broken"]
    kept.close()
    shard.close()
    reopened = shard_at(tmp_path / "live")
    assert [row[1] for row in content(reopened)] == [0, 1, 2, 3, 4, 6, 7, 8]
    reopened.close()


def test_what_no_seal_takes_is_written_after_a_while(tmp_path: Path) -> None:
    clock = Clock()
    shard = shard_at(tmp_path / "live", clock)
    put(shard, documents(0, 5), 0, 5)
    clock.now_s = leaf.held.HELD_S_MAX - 0.1
    put(shard, {}, 5, 7)
    shard.tend()
    early = after_crash(tmp_path / "live")
    assert not early.view.positions.offsets
    early.close()
    clock.now_s = leaf.held.HELD_S_MAX
    shard.tend()
    late = after_crash(tmp_path / "live")
    assert late.view.positions["log", 0] == 7
    assert content(late) == content(shard)
    late.close()
    shard.close()


def test_a_load_that_ended_is_sealed_soon_and_not_written(tmp_path: Path) -> None:
    clock = Clock()
    settings = LeafSettings(seal_rows_min=5)
    shard = Shard(tmp_path / "live", 1, False, settings, PageCache(1 << 20), clock=clock)
    put(shard, documents(0, 5), 0, 5)
    assert not shard.seal_due
    clock.now_s = leaf.held.HELD_S_MAX
    assert shard.seal_due
    shard.tend()
    lost = after_crash(tmp_path / "live")
    assert not lost.view.positions.offsets
    lost.close()
    plan = shard.begin_seal()
    assert plan is not None
    put(shard, documents(5, 9), 5, 9)
    clock.now_s = 2 * leaf.held.HELD_S_MAX
    shard.tend()
    shard.publish_seal(plan, seal([chunk.table for chunk in plan.tail]))
    shard.end_seal(plan)
    assert not shard.seal_due, "too few rows"
    shard.tend()
    kept = after_crash(tmp_path / "live")
    assert content(kept) == content(shard)
    kept.close()
    shard.close()


def test_small_pushes_after_a_load_are_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = shard_at(tmp_path / "live")
    put(shard, documents(0, 5), 0, 5)
    plan = shard.begin_seal()
    assert plan is not None
    monkeypatch.setattr(leaf.held, "HELD_BYTES_MIN", 1 << 20)
    put(shard, documents(5, 6), 5, 6)
    shard.publish_seal(plan, seal([chunk.table for chunk in plan.tail]))
    shard.end_seal(plan)
    shard.tend()
    kept = after_crash(tmp_path / "live")
    assert content(kept) == content(shard)
    kept.close()
    shard.close()


def test_small_pushes_are_written_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaf.held, "HELD_BYTES_MIN", 1 << 20)
    shard = shard_at(tmp_path / "live")
    put(shard, documents(0, 5), 0, 5)
    kept = after_crash(tmp_path / "live")
    assert content(kept) == content(shard)
    kept.close()
    shard.close()


def test_a_seal_takes_what_makes_a_segment(tmp_path: Path) -> None:
    settings = LeafSettings(seal_rows=5)
    shard = Shard(tmp_path / "live", 1, False, settings, PageCache(1 << 20))
    put(shard, documents(0, 9), 0, 9)
    put(shard, {}, 9, 10, quarantine=quarantine_bytes([(9, "broken", b"x")]))
    put(shard, documents(10, 14), 10, 14)
    put(shard, documents(14, 15), 14, 15)
    expected = content(shard)
    plan = shard.begin_seal()
    assert plan is not None
    assert [chunk.rows for chunk in plan.tail] == [9]
    put(shard, documents(15, 19), 15, 19)
    shard.publish_seal(plan, seal([chunk.table for chunk in plan.tail]))
    shard.end_seal(plan)
    assert shard.view.tail_rows == 9
    assert content(shard)[:14] == expected
    kept = after_crash(tmp_path / "live")
    assert content(kept) == expected[:9]
    assert kept.view.positions["log", 0] == 10
    assert [record.offset for record in kept.quarantine.page(Page(9, 100))] == [9]
    kept.close()
    seal_now(shard)
    assert not shard.view.tail
    assert content(shard)[:14] == expected
    shard.close()


@pytest.mark.parametrize("seed", range(4))
def test_a_crash_at_any_moment_leaves_a_prefix(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    clock = Clock()
    live, model = shard_at(tmp_path / "live", clock), {}
    position = dict.fromkeys(PARTITIONS, 0)
    prefixes = [(dict(position), 0, 0)]
    plan = None
    for _ in range(40):
        step = chance.random()
        if step < 0.6:
            partition = chance.choice(PARTITIONS)
            begin = position[partition]
            end = begin + chance.randrange(1, 9)
            rows = documents(begin, end) if chance.random() < 0.8 else {}
            assert put(live, rows, begin, end, partition=partition)[1] == end
            model.update({(partition, offset): rows[offset] for offset in rows})
            position[partition] = end
            counters = live.view.counters
            prefixes.append((dict(position), counters.rows_born, counters.digest))
        elif step < 0.75 and plan is None:
            plan = live.begin_seal()
        elif step < 0.9 and plan is not None:
            if chance.random() < 0.8:
                live.publish_seal(plan, seal([chunk.table for chunk in plan.tail]))
            live.end_seal(plan)
            plan = None
        else:
            clock.now_s += chance.choice([0.1, 4.0])
            live.tend()
        if chance.random() < 0.3:
            check_prefix(tmp_path, prefixes, set(model))
    if plan is not None:
        live.end_seal(plan)
    live.close()
    whole = shard_at(tmp_path / "live")
    assert {(row[0], row[1]) for row in content(whole)} == set(model)
    whole.close()


def check_prefix(
    path: Path,
    prefixes: list[tuple[dict[int, int], int, int]],
    born: set[tuple[int, int]],
) -> None:
    found = after_crash(path / "live")
    positions, counters = found.view.positions, found.view.counters
    matching = [
        at
        for at, rows, digest in prefixes
        if (rows, digest) == (counters.rows_born, counters.digest)
    ]
    assert matching, "rows and digest are those of some prefix"
    # Positions that moved without rows may be behind, never ahead.
    last = max(matching, key=lambda at: sum(at.values()))
    assert all(positions["log", partition] <= last[partition] for partition in PARTITIONS)
    rows = {(partition, offset) for partition, offset, _ in content(found)}
    assert rows == {row for row in born if row[1] < positions["log", row[0]]}
    cut = PositionVector({("log", partition): positions["log", partition] for partition in (0, 1)})
    assert rows == {(row[0], row[1]) for row in content(found, cut)}
    found.close()


def test_a_crash_after_several_seals(tmp_path: Path) -> None:
    shard = shard_at(tmp_path / "live")
    for n in range(4):
        put(shard, documents(10 * n, 10 * n + 10), 10 * n, 10 * n + 10)
        seal_now(shard)
    put(shard, documents(40, 50), 40, 50)
    kept = after_crash(tmp_path / "live")
    assert [row[1] for row in content(kept)] == list(range(40))
    assert put(kept, documents(40, 50), 40, 50)[1] == 50
    assert content(kept) == content(shard)
    assert kept.view.counters == shard.view.counters
    kept.close()
    shard.close()
