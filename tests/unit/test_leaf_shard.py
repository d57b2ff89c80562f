"""One shard on a real store: exactly once, recovery, sealing, damage."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from leaf_model import Document, quarantine_bytes, rows_bytes

from alder.errors import AlderError, Reason
from alder.positions import PositionVector
from alder.rocks import Batch, Store
from alder.v1 import leaf_pb2
from leaf import layout
from leaf.cache import PageCache
from leaf.core import PushHeader
from leaf.format.meta import HASH_PAGE
from leaf.pieces import ColumnNeeds, alive_piece, holders, piece_table
from leaf.quarantine import Page
from leaf.recovery import last_positions
from leaf.seal import Block, seal
from leaf.settings import LeafSettings
from leaf.shard import Shard
from leaf.shardatcut import horizon_of

APPLIED = leaf_pb2.APPLY_STATUS_APPLIED
SETTINGS = LeafSettings()


@contextmanager
def opened(path: Path, keyed: bool = False) -> Iterator[Shard]:
    shard = Shard(path / "1-c" / "0", 1, keyed, SETTINGS, PageCache(1 << 20))
    try:
        yield shard
    finally:
        shard.close()


def put(
    shard: Shard,
    documents: dict[int, Document | None],
    begin: int,
    end: int,
    *,
    keys: dict[int, str] | None = None,
    partition: int = 0,
    quarantine: bytes = b"",
    epoch: int = 1,
    identity: str = "t",
) -> tuple[int, int]:
    header = PushHeader(1, epoch, "log", partition, identity, begin, end)
    rows = rows_bytes(documents, keys)
    decision = shard.apply(header, 1, rows, quarantine, False)
    return decision.status, decision.next_offset


def seal_now(shard: Shard) -> None:
    plan = shard.begin_seal()
    assert plan is not None
    shard.publish_seal(plan, seal([chunk.table for chunk in plan.tail]))
    shard.end_seal(plan)


def content(shard: Shard, cut: PositionVector | None = None) -> list[tuple[int, int, str]]:
    """Partition, offset and document of the rows alive."""
    view = shard.view
    needs = ColumnNeeds(("_doc",), partition=True, offset=True)
    found = []
    for holder in holders(view):
        table = piece_table(alive_piece(holder, horizon_of(view, cut)), view.streams, needs)
        columns = [table.column(name).to_pylist() for name in ("_partition", "_offset", "_doc")]
        found.extend(zip(*columns, strict=True))
    return sorted(found)


def documents(begin: int, end: int) -> dict[int, Document | None]:
    return {n: {"a": n, "s": f"s{n % 3}", "u": f"u{n}", "b": n % 2 == 0} for n in range(begin, end)}


def test_a_push_is_applied_once_and_in_order(tmp_path: Path) -> None:
    with opened(tmp_path) as shard:
        assert put(shard, documents(0, 5), 0, 10) == (APPLIED, 10)
        before = shard.view
        mismatch = leaf_pb2.APPLY_STATUS_POSITION_MISMATCH
        assert put(shard, documents(0, 5), 0, 10) == (mismatch, 10)
        assert put(shard, documents(11, 12), 11, 12) == (mismatch, 10)
        assert put(shard, {}, 10, 12, epoch=2) == (leaf_pb2.APPLY_STATUS_STALE_EPOCH, 10)
        changed = leaf_pb2.APPLY_STATUS_IDENTITY_CHANGED
        assert put(shard, {}, 10, 12, identity="other") == (changed, 10)
        assert shard.view is before
        assert put(shard, {}, 10, 12) == (APPLIED, 12)
        assert [row[1] for row in content(shard)] == [0, 1, 2, 3, 4]


def test_rows_that_break_the_contract_are_refused_whole(tmp_path: Path) -> None:
    with opened(tmp_path) as shard:
        for broken, begin, end in [
            (rows_bytes(documents(0, 5)), 0, 3),
            (rows_bytes(documents(0, 5), dict.fromkeys(range(5), "k"))[:-20], 0, 5),
            (rows_bytes({0: None}), 0, 1),
            (b"rubbish", 0, 1),
        ]:
            header = PushHeader(1, 1, "log", 0, "t", begin, end)
            with pytest.raises(AlderError):
                shard.apply(header, 1, broken, b"", False)
        assert not shard.view.positions.offsets
        assert put(shard, documents(0, 5), 0, 5) == (APPLIED, 5)


def test_everything_survives_a_restart(tmp_path: Path) -> None:
    bad = quarantine_bytes([(5, "it is broken", b"\xff"), (7, "also", b"")])
    with opened(tmp_path) as shard:
        put(shard, documents(0, 5), 0, 10, quarantine=bad)
        put(shard, documents(0, 3), 0, 3, partition=1)
        seal_now(shard)
        put(shard, documents(10, 12), 10, 12)
        put(shard, {}, 12, 40)
        expected, view = content(shard), shard.view
    with opened(tmp_path) as shard:
        assert content(shard) == expected
        assert len(expected) == 10
        assert shard.view.positions == view.positions
        assert shard.view.positions["log", 0] == 40
        assert shard.view.schema == view.schema
        assert shard.view.counters == view.counters
        assert len(shard.view.segments) == 1
        records = shard.quarantine.page(Page(10, 100))
        assert [(r.offset, r.reason, r.value) for r in records] == [
            (5, "it is broken", b"\xff"), (7, "also", b""),
        ]  # fmt: skip
        assert put(shard, {}, 40, 41, identity="o")[0] == leaf_pb2.APPLY_STATUS_IDENTITY_CHANGED


def test_sealing_changes_no_answer(tmp_path: Path) -> None:
    chance = random.Random(3)
    with opened(tmp_path / "a") as sealed, opened(tmp_path / "b") as plain:
        position = {0: 0, 1: 0}
        for _ in range(30):
            partition = chance.randrange(2)
            begin = position[partition]
            end = begin + chance.randrange(1, 40)
            rows = {n: documents(n, n + 1)[n] for n in range(begin, end) if chance.random() < 0.8}
            for shard in (sealed, plain):
                assert put(shard, rows, begin, end, partition=partition)[0] == APPLIED
            position[partition] = end
            if chance.random() < 0.2 and sealed.view.tail_rows:
                seal_now(sealed)
        assert len(sealed.view.segments) > 2
        for segment in sealed.view.segments:
            assert (np.diff(segment.births()) > 0).all()
        assert content(sealed) == content(plain)
        assert sealed.view.counters.digest == plain.view.counters.digest
        for _ in range(20):
            cut = PositionVector({("log", p): chance.randrange(position[p] + 5) for p in position})
            assert content(sealed, cut) == content(plain, cut)
            expected = [row for row in content(plain) if row[1] < cut["log", row[0]]]
            assert content(sealed, cut) == expected


def test_pushes_go_on_during_a_seal(tmp_path: Path) -> None:
    with opened(tmp_path) as shard:
        put(shard, documents(0, 5), 0, 5)
        plan = shard.begin_seal()
        assert plan is not None
        assert shard.begin_seal() is None
        put(shard, documents(5, 9), 5, 9)
        before = content(shard)
        shard.publish_seal(plan, seal([chunk.table for chunk in plan.tail]))
        shard.end_seal(plan)
        assert content(shard) == before
        assert shard.view.tail_rows == 4
    with opened(tmp_path) as shard:
        assert content(shard) == before
        assert shard.view.tail_rows == 4


def test_the_digest_depends_on_rows_alone(tmp_path: Path) -> None:
    chance = random.Random(5)
    digests = set()
    for name in "abc":
        with opened(tmp_path / name) as shard:
            begin = 0
            while begin < 200:
                end = min(200, begin + chance.randrange(1, 60))
                put(shard, documents(begin, end), begin, end)
                begin = end
            digests.add(shard.view.counters.digest)
    assert len(digests) == 1
    with opened(tmp_path / "other") as shard:
        put(shard, {**documents(0, 199), 199: {"a": 0}}, 0, 200)
        assert shard.view.counters.digest not in digests


def damage(path: Path, change: Callable[[Store, Batch], None]) -> None:
    store = Store(path / "1-c" / "0", layout.FAMILIES)
    batch = store.batch()
    change(store, batch)
    store.write(batch)
    store.close()


class Damage:
    """Changes a closed store."""

    def __init__(self, family: str, number: int, value: bytes | None) -> None:
        self.family, self.number, self.value = family, number, value

    def __call__(self, store: Store, batch: Batch) -> None:
        key = layout.number_key(self.number)
        assert store.get(self.family, key) is not None
        if self.value is None:
            batch.delete(self.family, key)
        else:
            batch.put(self.family, key, self.value)


@pytest.mark.parametrize(("block", "value"), [(1, None), (2, None), (0, None), (1, b"short")])
def test_a_shard_with_a_hole_in_its_log_is_refused(
    tmp_path: Path, block: int, value: bytes | None
) -> None:
    with opened(tmp_path) as shard:
        for n in range(3):
            put(shard, documents(n, n + 1), n, n + 1)
    damage(tmp_path, Damage(layout.TAIL, block, value))
    assert_refused(tmp_path)
    assert last_positions(tmp_path / "1-c" / "0")["log", 0] == 3


def assert_refused(path: Path) -> None:
    with pytest.raises(AlderError) as raised, opened(path):
        pass
    assert raised.value.reason is Reason.CORRUPT


def test_a_flipped_bit_in_the_tail_is_noticed(tmp_path: Path) -> None:
    with opened(tmp_path) as shard:
        put(shard, documents(0, 3), 0, 3)

    def flip(store: Store, batch: Batch) -> None:
        value = store.get(layout.TAIL, layout.number_key(0)) or b""
        assert b'"s":"s1"' in value
        batch.put(layout.TAIL, layout.number_key(0), value.replace(b'"s":"s1"', b'"s":"s3"'))

    damage(tmp_path, flip)
    assert_refused(tmp_path)


def test_a_damaged_page_is_never_served(tmp_path: Path) -> None:
    with opened(tmp_path) as shard:
        put(shard, documents(0, 50), 0, 50)
        seal_now(shard)

    def flip(store: Store, batch: Batch) -> None:
        for key, value in store.scan(layout.COLUMNS):
            if not key.endswith(b"\xff" * 4):
                changed = bytearray(value)
                changed[-1] ^= 1
                batch.put(layout.COLUMNS, key, bytes(changed))

    damage(tmp_path, flip)
    with opened(tmp_path) as shard:
        with pytest.raises(AlderError) as raised:
            content(shard)
        assert raised.value.reason is Reason.CORRUPT


def test_blocks_of_an_unfinished_seal_are_removed(tmp_path: Path) -> None:
    with opened(tmp_path) as shard:
        put(shard, documents(0, 9), 0, 9)

    def orphan(store: Store, batch: Batch) -> None:
        batch.put(layout.COLUMNS, layout.number_key(0) + b"left", b"over")

    damage(tmp_path, orphan)
    with opened(tmp_path) as shard:
        assert len(content(shard)) == 9
    assert_no_leftover(tmp_path)


def test_a_failed_seal_leaves_nothing_to_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path) as shard:
        put(shard, documents(0, 9), 0, 9)
        plan = shard.begin_seal()
        assert plan is not None
        sealed = seal([chunk.table for chunk in plan.tail])
        leftover = Block(layout.COLUMNS, b"left", b"over")

        def broken(self: Store, family: str) -> None:
            raise AlderError(Reason.UNAVAILABLE, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(Store, "flush", broken)
            with pytest.raises(AlderError):
                shard.publish_seal(plan, replace(sealed, blocks=(*sealed.blocks, leftover)))
        shard.end_seal(plan)
        assert shard.view.tail_rows == 9
        seal_now(shard)
        assert shard.view.tail_rows == 0
        assert len(content(shard)) == 9
    assert_no_leftover(tmp_path)


def assert_no_leftover(path: Path) -> None:
    store = Store(path / "1-c" / "0", layout.FAMILIES)
    assert store.get(layout.COLUMNS, layout.number_key(0) + b"left") is None
    store.close()


def test_a_store_that_cannot_write_keeps_answering(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path) as shard:
        put(shard, documents(0, 3), 0, 3)
        put(shard, {}, 3, 4)
        before = shard.view

        def full(self: Store, batch: Batch, sync: bool = False) -> None:
            raise OSError("No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(Store, "write", full)
            with pytest.raises(AlderError) as raised:
                put(shard, documents(4, 5), 4, 5)
            assert raised.value.reason is Reason.UNAVAILABLE
            assert shard.view is before
            assert len(content(shard)) == 3
        assert put(shard, documents(4, 5), 4, 5) == (APPLIED, 5)
    with opened(tmp_path) as shard:
        assert len(content(shard)) == 4
        assert shard.view.positions["log", 0] == 5


def test_keys_and_deletions_survive_seals_and_restarts(tmp_path: Path) -> None:
    with opened(tmp_path, keyed=True) as shard:
        put(shard, {0: {"a": 0}, 1: {"a": 1}}, 0, 2, keys={0: "x", 1: "y"})
        seal_now(shard)
        put(shard, {2: {"a": 2}}, 2, 3, keys={2: "x"})
        put(shard, {3: None}, 3, 4, keys={3: "y"})
    with opened(tmp_path, keyed=True) as shard:
        assert content(shard) == [(0, 2, '{"a":2}')]
        at = PositionVector({("log", 0): 3})
        assert [row[1] for row in content(shard, at)] == [1, 2]
        at = PositionVector({("log", 0): 2})
        assert [row[1] for row in content(shard, at)] == [0, 1]
        put(shard, {4: {"a": 4}, 5: {"a": 5}}, 4, 6, keys={4: "y", 5: "y"})
        assert [row[1] for row in content(shard)] == [2, 5]


def test_an_old_live_tail_is_sealed_if_it_is_worth_it(tmp_path: Path) -> None:
    now_s = 0.0
    settings = replace(SETTINGS, seal_age_s=60.0, seal_rows_min=5)
    path = tmp_path / "1-c" / "0"
    shard = Shard(path, 1, False, settings, PageCache(1 << 20), clock=lambda: now_s)
    put(shard, documents(0, 4), 0, 4)
    now_s = 61.0
    assert not shard.seal_due, "too few rows"
    put(shard, documents(4, 5), 4, 5)
    assert shard.seal_due
    now_s = 59.0
    assert not shard.seal_due
    now_s = 61.0
    plan = shard.begin_seal()
    assert plan is not None
    put(shard, documents(5, 15), 5, 15)
    shard.publish_seal(plan, seal([chunk.table for chunk in plan.tail]))
    shard.end_seal(plan)
    now_s = 120.0
    assert not shard.seal_due, "what came during the seal is younger"
    now_s = 121.0
    assert shard.seal_due
    seal_now(shard)
    now_s = 500.0
    assert not shard.seal_due
    put(shard, documents(15, 25), 15, 25)
    assert not shard.seal_due, "the age is that of the oldest row"
    now_s = 560.0
    assert shard.seal_due
    shard.close()


def test_a_write_that_failed_is_remembered_until_one_succeeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Store, batch: Batch, sync: bool = False) -> None:
        raise OSError("No space left on device")

    with opened(tmp_path) as shard:
        put(shard, documents(0, 3), 0, 3)
        with monkeypatch.context() as patch:
            patch.setattr(Store, "write", full)
            with pytest.raises(AlderError):
                put(shard, documents(3, 4), 3, 4)
            assert shard.failing
            with pytest.raises(AlderError):
                shard.tend()
            assert shard.failing
        shard.tend()
        assert not shard.failing


def test_a_replica_that_is_built_again_says_so_until_it_is_complete(tmp_path: Path) -> None:
    with opened(tmp_path) as shard:
        assert not shard.rebuilding
        shard.rebuild_to(PositionVector({("log", 0): 4}))
        put(shard, documents(0, 3), 0, 3)
        shard.tend()
        assert shard.rebuilding
    with opened(tmp_path) as shard:
        assert shard.rebuilding
        put(shard, documents(3, 5), 3, 5)
        assert not shard.rebuilding
        shard.tend()
    with opened(tmp_path) as shard:
        assert not shard.rebuilding


@pytest.mark.parametrize("family", layout.SEGMENT_FAMILIES)
def test_scrubbing_finds_damage_and_nothing_else(tmp_path: Path, family: str) -> None:
    with opened(tmp_path, keyed=True) as shard:
        put(shard, documents(0, 50), 0, 50, keys={n: f"k{n}" for n in range(50)})
        assert shard.damage() == ""
        seal_now(shard)
        assert shard.damage() == ""
        blocks = list(shard._replica.store.scan(family))
        for key, value in blocks:
            for broken in (value[:-1] + bytes([value[-1] ^ 1]), value[:5], None):
                batch = shard._replica.store.batch()
                if broken is None:
                    batch.delete(family, key)
                else:
                    batch.put(family, key, broken)
                shard._replica.store.write(batch)
                if broken is not None or key[12:13] != bytes([HASH_PAGE]):
                    assert "segment 0 of shard 1-c/0" in shard.damage()
            batch = shard._replica.store.batch()
            batch.put(family, key, value)
            shard._replica.store.write(batch)
        assert shard.damage() == ""
