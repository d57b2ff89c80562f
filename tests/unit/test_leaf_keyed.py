"""Last write wins, whatever the order in which partitions arrive, at every cut."""

import random
from itertools import groupby

import numpy as np
import pyarrow as pa
import pytest

from alder.positions import PartitionKey, PositionVector
from leaf import births
from leaf.keyed import resolve, running_maximum
from leaf.keymap import UNNUMBERED
from leaf.latekeys import insert
from leaf.purge import deaths_without
from leaf.visibility import Tombstones, alive, horizon

Row = tuple[PartitionKey, int, str, int, int]
"""Partition, offset, key, log time, number of the version or UNNUMBERED."""
PARTITIONS: list[PartitionKey] = [("log", 0), ("log", 1), ("file", 0)]


class Replica:
    """The keyed state of a shard without a store."""

    def __init__(self) -> None:
        self.streams = births.Streams()
        self.tombstones = Tombstones()
        self.keys: dict[bytes, bytes] = {}
        self.latest: dict[PartitionKey, int] = {}
        self.rows: list[tuple[int, Row]] = []

    def push(self, rows: list[Row]) -> None:
        partition = rows[0][0]
        if partition not in self.streams:
            self.streams = self.streams.with_key(partition)
        stream = self.streams.index(partition)
        numbers = births.pack(stream, np.asarray([row[1] for row in rows]))
        times = running_maximum(
            np.asarray([row[3] for row in rows]), self.latest.get(partition, -(1 << 62))
        )
        self.latest[partition] = int(times[-1])
        versions = np.stack([numbers, np.asarray([row[4] for row in rows]), times], axis=1)
        found = resolve(
            pa.array([row[2] for row in rows]), versions, self.streams, self.tombstones,
            lambda keys: [self.keys.get(key) for key in keys],
        )  # fmt: skip
        self.tombstones = self.tombstones.added(found.deaths)
        self.keys.update(found.keys)
        self.rows.extend(zip(numbers.tolist(), rows, strict=True))

    def insert(self, row: Row) -> bool:
        """A row that comes after those that follow it; False if it is refused."""
        stream = self.streams.index(row[0])
        number = births.pack(stream, np.asarray([row[1]]))
        versions = np.asarray([[int(number[0]), row[4], row[3]]])
        rows = [birth for birth, other in self.rows if other[4] != UNNUMBERED]
        found = insert(
            [row[2].encode()], versions, self.streams, self.tombstones,
            lambda keys: [self.keys.get(key) for key in keys], lambda asked: np.isin(asked, rows),
        )  # fmt: skip
        if found.refused:
            assert not len(found.deaths)
            return False
        kept = deaths_without(self.tombstones, found.replaced)
        self.tombstones = Tombstones().added(kept).added(found.deaths)
        self.keys.update(found.keys)
        self.rows.append((int(number[0]), row))
        return True

    def alive_at(self, cut: PositionVector) -> set[Row]:
        at = horizon(births.cut_births(self.streams, cut), self.tombstones)
        mask = alive(np.asarray([birth for birth, _ in self.rows], dtype=np.int64), at)
        return {row for (_, row), lives in zip(self.rows, mask.tolist(), strict=True) if lives}

    def deaths(self) -> set[tuple[PartitionKey, int, PartitionKey, int]]:
        def name(birth: int) -> tuple[PartitionKey, int]:
            return self.streams[birth >> births.PLACE_BITS], birth & births.PLACE_MAX

        return {
            (*name(victim), *name(killer))
            for block in self.tombstones.blocks
            for victim, killer in zip(block.victims.tolist(), block.killers.tolist(), strict=True)
        }


def model_alive(rows: list[Row], cut: PositionVector) -> set[Row]:
    """The greatest version of each key in the cut, by the definition."""
    order: dict[Row, tuple[int, int, PartitionKey, int]] = {}
    highest: dict[PartitionKey, int] = {}
    numbers: dict[tuple[PartitionKey, str], int] = {}
    for row in sorted(rows, key=lambda row: (row[0], row[1])):
        highest[row[0]] = max(highest.get(row[0], row[3]), row[3])
        top = max(numbers.get((row[0], row[2]), row[4]), row[4])
        numbers[row[0], row[2]] = top
        order[row] = (top if row[4] == UNNUMBERED else row[4], highest[row[0]], row[0], row[1])
    inside = sorted(
        (row for row in rows if row[1] < cut[row[0]]), key=lambda row: (row[2], order[row])
    )
    return {list(group)[-1] for _, group in groupby(inside, key=lambda row: row[2])}


def random_rows(chance: random.Random, numbers_max: int = 0) -> list[Row]:
    rows = []
    for partition in PARTITIONS:
        time = 0
        for offset in range(chance.randrange(1, 25)):
            time += chance.randrange(-2, 5)
            number = chance.randrange(-numbers_max, numbers_max + 1)
            if numbers_max and chance.random() < 0.1:
                number = UNNUMBERED
            rows.append((partition, offset, chance.choice("abc"), time, number))
    return rows


def pushed(rows: list[Row], chance: random.Random) -> Replica:
    replica = Replica()
    waiting = {p: [row for row in rows if row[0] == p] for p in PARTITIONS}
    while any(waiting.values()):
        partition = chance.choice([p for p in PARTITIONS if waiting[p]])
        count = chance.randrange(1, 6)
        replica.push(waiting[partition][:count])
        waiting[partition] = waiting[partition][count:]
    return replica


@pytest.mark.parametrize("numbers_max", [0, 2, 20])
@pytest.mark.parametrize("seed", range(40))
def test_every_interleaving_gives_the_same_state_at_every_cut(seed: int, numbers_max: int) -> None:
    chance = random.Random(seed)
    rows = random_rows(chance, numbers_max)
    replicas = [pushed(rows, chance) for _ in range(3)]
    assert replicas[0].deaths() == replicas[1].deaths() == replicas[2].deaths()
    for _ in range(25):
        cut = PositionVector({p: chance.randrange(0, 27) for p in PARTITIONS})
        expected = model_alive(rows, cut)
        for replica in replicas:
            assert replica.alive_at(cut) == expected


def test_a_death_is_recorded_once_per_partition() -> None:
    rows: list[Row] = [(("log", 0), n, "k", n, 0) for n in range(100)]
    replica = pushed(rows, random.Random(0))
    assert len(replica.tombstones) == 99
    assert replica.alive_at(PositionVector({("log", 0): 50})) == {rows[49]}


def test_a_lower_version_loses_whenever_it_comes_and_a_tie_goes_by_the_log() -> None:
    rows: list[Row] = [
        (("log", 0), offset, "k", offset, number) for offset, number in enumerate([5, 3, 7, 7, 6])
    ]
    for seed in range(5):
        replica = pushed(rows, random.Random(seed))
        for end, alive_row in [(1, 0), (2, 0), (3, 2), (4, 3), (5, 3)]:
            assert replica.alive_at(PositionVector({("log", 0): end})) == {rows[alive_row]}


def test_a_deletion_without_a_version_deletes_what_its_partition_has() -> None:
    rows: list[Row] = [
        (("log", 0), offset, "k", offset, number)
        for offset, number in enumerate([5, UNNUMBERED, 4, 5])
    ]
    replica = pushed(rows, random.Random(0))
    for end, alive_row in [(2, 1), (3, 1), (4, 3)]:
        assert replica.alive_at(PositionVector({("log", 0): end})) == {rows[alive_row]}


@pytest.mark.parametrize("numbers_max", [0, 2, 20])
@pytest.mark.parametrize("seed", range(40))
def test_rows_that_come_late_leave_no_trace_of_it(seed: int, numbers_max: int) -> None:
    chance = random.Random(seed)
    rows: list[Row] = []
    for partition in PARTITIONS:
        time = 0
        for offset in range(chance.randrange(2, 25)):
            time += chance.randrange(0, 5)
            number = chance.randrange(-numbers_max, numbers_max + 1)
            if numbers_max and chance.random() < 0.1:
                number = UNNUMBERED
            rows.append((partition, offset, chance.choice("abc"), time, number))
    late = [row for row in rows if row[1] and chance.random() < 0.3]
    replica = pushed([row for row in rows if row not in late], chance)
    chance.shuffle(late)
    refused = [row for row in late if not replica.insert(row)]
    # Only deletions without a number leave a doubt about what they would have been.
    assert numbers_max or not refused
    whole = pushed([row for row in rows if row not in refused], chance)
    assert replica.deaths() == whole.deaths()
    for _ in range(10):
        cut = PositionVector({p: chance.randrange(0, 27) for p in PARTITIONS})
        assert replica.alive_at(cut) == whole.alive_at(cut)


def test_a_late_row_that_would_change_the_order_of_others_is_refused() -> None:
    first, second = PARTITIONS[:2]
    replica = pushed([(first, 0, "k", 1, 0), (first, 2, "k", 3, 0)], random.Random(0))
    replica.push([(second, 0, "k", 4, 0)])
    before = replica.deaths()
    assert not replica.insert((first, 1, "k", 9, 0))
    assert replica.deaths() == before
