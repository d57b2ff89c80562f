"""Digests of ranges: those of a plain model, of whatever pieces a shard consists of.

What two replicas tell of the same cut is equal, also where one has purged and the other has not;
one lost row, one altered document and one unreadable page show in the range that has them.
"""

import random
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from leaf_model import quarantine_bytes, rows_bytes
from lifecycle_model import SETTINGS, Model, Replica, rows_of, seal_now

from alder.catalog import CollectionSettings
from alder.positions import PositionVector
from leaf import layout
from leaf.cache import PageCache
from leaf.core import PushHeader
from leaf.digest import combined, digest_rows, group_sums, pair_hashes
from leaf.ranges import Floor, Range, RangeReader, RangeReport
from leaf.settings import LeafSettings
from leaf.shard import Shard
from leaf.shardatcut import horizon_of

NO_FLOOR = Floor()


def opened(path: Path, keyed: bool = False, kept: CollectionSettings | None = None) -> Shard:
    return Shard(path / "0", 1, keyed, LeafSettings(), PageCache(1 << 20), kept=kept)


def feed(shard: Shard, texts: dict[int, str], begin: int, end: int, partition: int = 0) -> None:
    data = rows_bytes({offset: {"t": text} for offset, text in texts.items()})
    header = PushHeader(1, 1, "log", partition, "t", begin, end)
    assert shard.apply(header, 1, data, b"", False).accepted


def read(
    shard: Shard,
    asked: Sequence[Range],
    at: PositionVector | None = None,
    floor: Floor = NO_FLOOR,
    single: bool = False,
) -> RangeReport:
    view = shard.view
    reader = RangeReader(view, at or view.positions, floor, asked, lambda: None, single)
    return reader.read(shard.quarantine.between)


def rows_of_range(report: RangeReport) -> list[tuple[int, int]]:
    return [(sums.rows, sums.rows_digest) for sums in report.sums]


@given(
    st.lists(st.integers(0, (1 << 128) - 1), max_size=40),
    st.lists(st.integers(0, 6), min_size=40, max_size=40),
)
def test_group_sums_are_those_of_integers(hashes: list[int], groups: list[int]) -> None:
    groups = groups[: len(hashes)]
    array = np.asarray([(h >> 64, h & ((1 << 64) - 1)) for h in hashes], np.uint64).reshape(-1, 2)
    expected = [
        sum(h for h, g in zip(hashes, groups, strict=True) if g == n) % (1 << 128) for n in range(7)
    ]
    assert group_sums(array, np.asarray(groups, np.int64), 7) == expected


def test_hashes_of_pairs_differ_by_order_and_member() -> None:
    seeds = np.arange(1_000, dtype=np.uint64)
    pairs = pair_hashes(np.repeat(seeds[:30], 30), np.tile(seeds[:30], 30))
    assert len(np.unique(pairs, axis=0)) == 900


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_ranges_are_those_of_a_plain_model(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    shard = opened(tmp_path_factory.mktemp("ranges"))
    rows: dict[int, dict[int, str]] = {0: {}, 1: {}}
    ends = [0, 0]
    for _ in range(data.draw(st.integers(1, 6))):
        partition = data.draw(st.integers(0, 1))
        begin, count = ends[partition], data.draw(st.integers(0, 12))
        texts = {n: data.draw(st.text(max_size=3)) for n in range(begin, begin + count) if n % 5}
        feed(shard, texts, begin, begin + count, partition)
        rows[partition] |= texts
        ends[partition] = begin + count
        if data.draw(st.booleans()):
            seal_now(shard)
    cut = [data.draw(st.integers(0, end)) for end in ends]
    bounds = sorted(data.draw(st.lists(st.integers(0, 80), min_size=2, max_size=8)))
    asked = [
        Range(("log", partition), low, high)
        for partition in data.draw(st.permutations([0, 1, 7]))
        for low, high in pairwise(bounds)
    ]
    at = PositionVector({("log", number): end for number, end in enumerate(cut)})
    expected = []
    for one in asked:
        partition = one.key[1]
        mine = {
            n: orjson.dumps({"t": text}).decode()
            for n, text in rows.get(partition, {}).items()
            if one.begin <= n < one.end and n < at[one.key]
        }
        documents = pa.chunked_array([pa.array(mine.values(), pa.string())])
        digest = digest_rows("log", partition, np.asarray([*mine], np.int64), documents)
        expected.append((len(mine), digest))
    assert rows_of_range(read(shard, asked, at)) == expected
    whole = [Range(("log", number), 0, 1_000) for number in (0, 1)]
    total = combined(*(digest for _, digest in rows_of_range(read(shard, whole))))
    assert total == shard.view.counters.digest
    shard.close()


@pytest.mark.parametrize("kept", [*SETTINGS, CollectionSettings()])
@pytest.mark.parametrize("keyed", [False, True])
def test_a_replica_built_up_to_a_cut_tells_the_same_as_one_that_has_moved_on(
    tmp_path: Path, kept: CollectionSettings, keyed: bool
) -> None:
    """The first one has purged, merged and restarted meanwhile; the other never does."""
    chance = random.Random(f"{kept.retain_us} {kept.history_us} {keyed}")
    model = Model(rows_of(chance, 2, 200, keyed), kept, keyed)
    serving = Replica(tmp_path / "a", model, chance)
    asked = [Range(("log", s), n, n + 9) for s in (0, 1) for n in range(0, 200, 9)]
    compared = deaths = 0
    for place in range(16):
        for _ in range(3):
            serving.step()
        cut = [max(0, end - chance.randrange(9)) for end in serving.positions]
        at = PositionVector({("log", number): end for number, end in enumerate(cut)})
        floor = Floor.of(serving.shard.view)
        if kept.history_us or kept.retain_us:
            if model.refuses(tuple(serving.positions), tuple(cut)):
                continue
            horizon_of(serving.shard.view, at)
        scratch = Replica(tmp_path / f"b{place}", model, chance)
        while scratch.positions != cut:
            scratch.push_up_to(cut)
        mine, other = (read(one.shard, asked, at, floor) for one in (serving, scratch))
        assert mine.sums == other.sums, (at, floor)
        compared += sum(sums.rows for sums in mine.sums)
        deaths += sum(sums.deaths for sums in mine.sums)
        scratch.shard.close()
    assert compared > 200
    assert bool(deaths) == keyed
    serving.shard.close()


def test_an_altered_document_shows_in_its_range_and_by_name(tmp_path: Path) -> None:
    texts = {n: f"text {n}" for n in range(40)}
    shards = []
    for name, text in (("a", "text 17"), ("b", "text x")):
        shard = opened(tmp_path / name)
        feed(shard, texts | {17: text}, 0, 40)
        seal_now(shard)
        shards.append(shard)
    asked = [Range(("log", 0), n, n + 10) for n in range(0, 40, 10)]
    mine, other = (read(shard, asked) for shard in shards)
    assert [a == b for a, b in zip(mine.sums, other.sums, strict=True)] == [True, False, True, True]
    named = [read(shard, [Range(("log", 0), 17, 18)], single=True).rows for shard in shards]
    assert [row.document for (row,) in named] == ['{"t":"text 17"}', '{"t":"text x"}']
    for shard in shards:
        shard.close()


def test_quarantined_records_count_and_are_named(tmp_path: Path) -> None:
    shard = opened(tmp_path)
    header = PushHeader(1, 1, "log", 0, "t", 0, 9)
    records = quarantine_bytes([(3, "no", b"{"), (7, "neither", b"\xff")])
    assert shard.apply(header, 1, rows_bytes({1: {"a": 1}}), records, False).accepted
    report = read(shard, [Range(("log", 0), 0, 5), Range(("log", 0), 5, 9)], single=True)
    assert [sums.quarantined for sums in report.sums] == [1, 1]
    assert [record.offset for record in report.quarantined] == [3, 7]
    other = opened(tmp_path / "other")
    records = quarantine_bytes([(3, "no", b"{"), (7, "never", b"\xff")])
    assert other.apply(header, 1, rows_bytes({1: {"a": 1}}), records, False).accepted
    again = read(other, [Range(("log", 0), 0, 5), Range(("log", 0), 5, 9)])
    assert report.sums[0] == again.sums[0]
    assert report.sums[1] != again.sums[1]
    for one in (shard, other):
        one.close()


def test_rows_that_cant_be_read_are_told_and_the_others_counted(tmp_path: Path) -> None:
    shard = opened(tmp_path)
    chance = random.Random(3)
    texts = {n: "".join(chance.choices("abcdefgh ", k=400)) for n in range(1_000)}
    feed(shard, texts, 0, 1_000)
    seal_now(shard)
    whole = [Range(("log", 0), 0, 1_000)]
    before = read(shard, whole)
    store = shard._replica.store
    pages = [(key, value) for key, value in store.scan(layout.COLUMNS) if len(value) > 5_000]
    key, value = pages[len(pages) // 2]
    batch = store.batch()
    batch.put(layout.COLUMNS, key, value[:-1] + bytes([value[-1] ^ 1]))
    store.write(batch)
    report = read(shard, whole)
    lost = np.concatenate([damage.births for damage in report.damaged])
    assert 0 < len(lost) < 300
    assert lost.tolist() == list(range(lost[0], lost[-1] + 1))
    assert report.sums[0].rows == 1_000 - len(lost)
    assert all("damaged on disk" in damage.what for damage in report.damaged)
    sound = [Range(("log", 0), 0, int(lost[0])), Range(("log", 0), int(lost[-1]) + 1, 1_000)]
    around = read(shard, sound)
    assert not around.damaged
    assert combined(*(s.rows_digest for s in around.sums)) == report.sums[0].rows_digest
    assert before.sums[0].rows == 1_000
    (damage,) = shard.scrub().damages()
    assert "column 'string:t' (rows " in damage
    shard.close()
