"""Records that leave quarantine late: the shard is then as if they had never been in it."""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from leaf_model import Document, content, merge_now, quarantine_bytes, rows_bytes

from alder.catalog import CollectionSettings
from alder.errors import AlderError, Reason
from alder.positions import PositionVector
from leaf.cache import PageCache
from leaf.core import PushHeader
from leaf.quarantine import Page
from leaf.ranges import Floor, Range, RangeReader, RangeSums
from leaf.seal import seal
from leaf.settings import LeafSettings
from leaf.shard import Shard

OFFSETS = 40
PARTITIONS = 2
STEP_US = 2_000_000
"""Between two records, so that log time has steps."""
ALL = Page(1_000, 100)


@contextmanager
def opened(path: Path, keyed: bool, kept: CollectionSettings | None = None) -> Iterator[Shard]:
    settings = LeafSettings(merge_factor=2)
    shard = Shard(path / "1-c" / "0", 1, keyed, settings, PageCache(1 << 20), kept=kept)
    try:
        yield shard
    finally:
        shard.close()


class Records:
    """The documents of two partitions, some of which are bad at first."""

    def __init__(self, chance: random.Random, keyed: bool) -> None:
        self.keyed = keyed
        self.documents: dict[tuple[int, int], Document | None] = {}
        self.keys: dict[tuple[int, int], str] = {}
        self.bad: list[tuple[int, int]] = []
        for partition in range(PARTITIONS):
            for offset in range(OFFSETS):
                place = partition, offset
                gone = keyed and chance.random() < 0.2
                self.documents[place] = None if gone else {"n": offset, f"p{partition}": "x"}
                self.keys[place] = chance.choice("abcdef")
                if chance.random() < 0.3:
                    self.bad.append(place)

    def rows(self, partition: int, offsets: Sequence[int]) -> bytes:
        documents = {offset: self.documents[partition, offset] for offset in offsets}
        keys = {offset: self.keys[partition, offset] for offset in offsets} if self.keyed else None
        times = {offset: (2 * offset + partition) * STEP_US for offset in offsets}
        return rows_bytes(documents, keys, times)

    def push(self, shard: Shard, partition: int, begin: int, end: int, whole: bool) -> None:
        bad = [] if whole else [o for o in range(begin, end) if (partition, o) in self.bad]
        good = [offset for offset in range(begin, end) if offset not in bad]
        waiting = quarantine_bytes([(offset, "bad", b"raw") for offset in bad]) if bad else b""
        header = PushHeader(1, 1, "log", partition, "t", begin, end)
        assert shard.apply(header, 1, self.rows(partition, good), waiting, False).accepted

    def redrive(self, shard: Shard, places: Sequence[tuple[int, int]]) -> None:
        for partition in range(PARTITIONS):
            offsets = sorted(offset for number, offset in places if number == partition)
            if offsets:
                rows = self.rows(partition, offsets)
                header = PushHeader(1, 1, "log", partition, "t", offsets[0], offsets[-1] + 1)
                assert not shard.redrive(header, 1, rows, offsets, b"", False)


def fill(shard: Shard, records: Records, chance: random.Random, whole: bool) -> None:
    at = [0] * PARTITIONS
    while min(at) < OFFSETS:
        partition = chance.choice([p for p in range(PARTITIONS) if at[p] < OFFSETS])
        end = min(at[partition] + chance.randrange(1, 15), OFFSETS)
        records.push(shard, partition, at[partition], end, whole)
        at[partition] = end
        seal_sometimes(shard, chance)


def seal_sometimes(shard: Shard, chance: random.Random) -> None:
    if chance.random() < 0.3 and (plan := shard.begin_seal()) is not None:
        shard.publish_seal(plan, seal([chunk.table for chunk in plan.tail]))
        shard.end_seal(plan)
        merge_now(shard)


def state(shard: Shard) -> tuple[object, ...]:
    view = shard.view
    cut = view.positions
    ranges = [Range(("log", p), 0, OFFSETS) for p in range(PARTITIONS)]
    reader = RangeReader(view, cut, Floor.of(view), ranges, lambda: None)
    sums: list[RangeSums] = reader.read(shard.quarantine.between).sums
    counters = view.counters
    floor = Floor.of(view).positions
    marks = {
        key: [mark for mark in found if mark.place >= floor[key]]
        for key, found in zip(view.streams, view.log_time.streams, strict=False)
        if view.log_time.step_us
    }
    return sums, cut, counters.digest, counters.rows_born, counters.quarantined, marks


@pytest.mark.parametrize("keyed", [False, True])
@pytest.mark.parametrize("kept", [CollectionSettings(), CollectionSettings(history_us=40_000_000)])
@pytest.mark.parametrize("seed", range(4))
def test_redriven_records_leave_no_trace_of_having_been_bad(
    tmp_path: Path, keyed: bool, kept: CollectionSettings, seed: int
) -> None:
    chance = random.Random(seed)
    records = Records(chance, keyed)
    with (
        opened(tmp_path / "redriven", keyed, kept) as shard,
        opened(tmp_path / "clean", keyed, kept) as clean,
    ):
        fill(shard, records, chance, whole=False)
        fill(clean, records, chance, whole=True)
        assert len(shard.quarantine.page(ALL)) == len(records.bad)
        left = chance.sample(records.bad, len(records.bad))
        while left:
            records.redrive(shard, left[:5])
            records.redrive(shard, left[:5])
            left = left[5:]
            seal_sometimes(shard, chance)
        assert shard.quarantine.page(ALL) == []
        assert state(shard) == state(clean)
        if not kept.history_us:
            for _ in range(5):
                cut = PositionVector({("log", p): chance.randrange(OFFSETS + 1) for p in (0, 1)})
                assert content(shard.view, cut) == content(clean.view, cut)
        expected = content(clean.view)
        assert content(shard.view) == expected
        before = state(shard)
    with opened(tmp_path / "redriven", keyed, kept) as shard:
        records.redrive(shard, records.bad)
        assert state(shard) == before
        assert content(shard.view) == expected


def test_an_older_value_does_not_replace_a_newer_one(tmp_path: Path) -> None:
    with opened(tmp_path, True) as shard:
        header = PushHeader(1, 1, "log", 0, "t", 0, 3)
        rows = rows_bytes({0: {"n": 0}, 2: {"n": 2}}, {0: "k", 2: "k"})
        shard.apply(header, 1, rows, quarantine_bytes([(1, "bad", b"{")]), False)
        late = PushHeader(1, 1, "log", 0, "t", 1, 2)
        shard.redrive(late, 1, rows_bytes({1: {"n": 1}}, {1: "k"}), [1], b"", False)
        assert content(shard.view) == [(2, '{"n":2}')]
        assert content(shard.view, PositionVector({("log", 0): 2})) == [(1, '{"n":1}')]
        assert content(shard.view, PositionVector({("log", 0): 1})) == [(0, '{"n":0}')]


def test_a_row_whose_time_others_depend_on_waits_on(tmp_path: Path) -> None:
    with opened(tmp_path, True) as shard:
        header = PushHeader(1, 1, "log", 0, "t", 0, 3)
        rows = rows_bytes({0: {"n": 0}, 2: {"n": 2}}, {0: "k", 2: "l"}, {0: 10, 2: 12})
        shard.apply(header, 1, rows, quarantine_bytes([(1, "bad", b"{")]), False)
        late = PushHeader(1, 1, "log", 0, "t", 1, 2)
        redriven = rows_bytes({1: {"n": 1}}, {1: "m"}, {1: 99})
        refused = shard.redrive(late, 1, redriven, [1], b"", False)
        assert list(refused) == [1]
        assert "log time" in refused[1]
        assert [record.offset for record in shard.quarantine.page(ALL)] == [1]
        assert len(content(shard.view)) == 2


def test_records_that_wait_on_have_their_reason_of_today(tmp_path: Path) -> None:
    with opened(tmp_path, False) as shard:
        header = PushHeader(1, 1, "log", 0, "t", 0, 2)
        shard.apply(header, 1, b"", quarantine_bytes([(0, "old", b"{"), (1, "old", b"[")]), False)
        again = quarantine_bytes([(0, "new", b"{")])
        shard.redrive(header, 1, rows_bytes({1: {"n": 1}}), [1], again, False)
        assert [(r.offset, r.reason) for r in shard.quarantine.page(ALL)] == [(0, "new")]
        assert shard.view.counters.quarantined == 1
        shard.redrive(header, 1, b"", [], quarantine_bytes([(1, "bad again", b"[")]), False)
        assert [r.offset for r in shard.quarantine.page(ALL)] == [0]


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (PushHeader(1, 2, "log", 0, "t", 0, 1, assignment=7), Reason.NOT_OWNER),
        (PushHeader(2, 1, "log", 0, "t", 0, 1, assignment=7), Reason.NOT_OWNER),
        (PushHeader(1, 1, "log", 0, "other", 0, 1, assignment=7), Reason.IDENTITY_CHANGED),
        (PushHeader(1, 1, "log", 0, "t", 0, 3, assignment=7), Reason.UNAVAILABLE),
        (PushHeader(1, 1, "log", 7, "t", 0, 1, assignment=7), Reason.UNAVAILABLE),
        (PushHeader(1, 1, "log", 0, "t", 0, 1, assignment=6), Reason.STALE_ASSIGNMENT),
    ],
)
def test_what_does_not_fit_the_shard_changes_nothing(
    tmp_path: Path, header: PushHeader, reason: Reason
) -> None:
    with opened(tmp_path, False) as shard:
        pushed = PushHeader(1, 1, "log", 0, "t", 0, 2)
        shard.apply(pushed, 1, b"", quarantine_bytes([(0, "bad", b"{")]), False)
        before = shard.view
        with pytest.raises(AlderError) as failure:
            shard.redrive(header, 1, rows_bytes({0: {"n": 0}}), [0], b"", False, 7)
        assert failure.value.reason is reason
        assert shard.view is before


def test_dropped_records_are_marked_and_stay_comparable(tmp_path: Path) -> None:
    with opened(tmp_path, False) as shard:
        header = PushHeader(1, 1, "log", 0, "t", 0, 5)
        records = [(offset, "bad", b"x" * 200) for offset in range(5)]
        shard.apply(header, 1, b"", quarantine_bytes(records), False)
        before = [record.SerializeToString() for record in shard.quarantine.between(
            ("log", 0), 0, 5)]  # fmt: skip
        assert shard.drop_quarantined([("log", 0, 3), ("log", 0, 9), ("no", 0, 1)]) == [
            ("log", 0, 3)
        ]
        assert shard.drop_quarantined([("log", 0, 3)]) == []
        assert shard.view.counters.quarantined == 4
    with opened(tmp_path, False) as shard:
        waiting = shard.quarantine.page(ALL)
        assert [record.offset for record in waiting] == [0, 1, 2, 4]
        assert {len(record.value) for record in waiting} == {100}
        (dropped,) = shard.quarantine.page(Page(1_000, 100, dropped=True))
        assert dropped.offset == 3
        after = [record.SerializeToString() for record in shard.quarantine.between(
            ("log", 0), 0, 5)]  # fmt: skip
        assert after == before
        assert shard.view.counters.quarantined == 4


def test_pages_go_on_where_the_one_before_ended(tmp_path: Path) -> None:
    with opened(tmp_path, False) as shard:
        for partition in (1, 0):
            header = PushHeader(1, 1, "log", partition, "t", 0, 3)
            records = [(offset, "bad", b"x" * 200) for offset in range(3)]
            shard.apply(header, 1, b"", quarantine_bytes(records), False)
        found, after = [], None
        while page := shard.quarantine.page(Page(2, 10, after)):
            found += [(record.partition, record.offset) for record in page]
            after = "log", page[-1].partition, page[-1].offset
        assert found == [(p, offset) for p in (0, 1) for offset in range(3)]
        (whole,) = shard.quarantine.page(Page(2, 10, only=("log", 1, 2)))
        assert (whole.partition, whole.offset, len(whole.value)) == (1, 2, 200)
        assert shard.quarantine.page(Page(2, 10, only=("log", 2, 0))) == []
