"""What is compared: everything, a sample that the seed decides, or what a log still has."""

from collections.abc import Mapping
from itertools import pairwise

import pytest

from alder.catalog import Collection, CollectionSettings, Shard, Source
from alder.cli.proof.coverage import BLOCK_OFFSETS, OFFSETS_FULL_MAX, Wanted, coverage_of
from alder.cli.proof.model import Coverage, Range
from alder.positions import PartitionKey, PositionVector

SHARDS = tuple(Shard(n, n * 10, n * 10 + 10, "leaf") for n in range(8))
LOG = ("log", 0), ("log", 1)
FILE = ("files", 0)


def covered(
    at: Mapping[PartitionKey, int],
    wanted: Wanted,
    begins: Mapping[PartitionKey, int] | None = None,
    unreadable: Mapping[PartitionKey, str] | None = None,
    keyed: bool = False,
    kept: CollectionSettings | None = None,
) -> Coverage:
    collection = Collection(
        "c", 1, "k" if keyed else "", sources=(Source("log", "log"),), shards=SHARDS,
        settings=kept or CollectionSettings(),
    )  # fmt: skip
    return coverage_of(collection, PositionVector(at), begins or {}, unreadable or {}, wanted)


def test_a_small_collection_is_compared_whole() -> None:
    coverage = covered({LOG[0]: 100, LOG[1]: 0, FILE: 7}, Wanted())
    assert coverage.whole
    assert coverage.deaths
    assert coverage.ranges == (Range(FILE, 0, 7), Range(LOG[0], 0, 100))
    assert coverage.shards == tuple(range(8))
    assert not coverage.refusals


@pytest.mark.parametrize("fraction", [None, 0.1, 0.5])
def test_a_sample_is_of_blocks_with_the_last_one_among_them(fraction: float | None) -> None:
    offsets = 4 * OFFSETS_FULL_MAX
    at = {LOG[0]: offsets // 2 + 5, LOG[1]: offsets // 2}
    one, again, other = (covered(at, Wanted(fraction, seed=seed)) for seed in (1, 1, 2))
    assert one == again
    assert one.ranges != other.ranges
    assert not one.whole
    expected = (fraction or 0.25) * offsets
    assert 0.95 * expected <= one.offsets <= 1.05 * expected + 4 * BLOCK_OFFSETS
    for key in LOG:
        ranges = one.ranges_of(key)
        assert ranges[-1].end == at[key]
        assert all(a.end < b.begin for a, b in pairwise(ranges))
        assert all(range_.begin % BLOCK_OFFSETS == 0 for range_ in ranges)
        assert len(ranges) <= 1_024


def test_a_sample_of_a_keyed_collection_is_of_shards() -> None:
    coverage = covered({LOG[0]: 100}, Wanted(0.25, seed=3), keyed=True)
    assert len(coverage.shards) == 2
    assert coverage.ranges == (Range(LOG[0], 0, 100),)
    assert coverage.whole
    assert coverage.sampled == "2 of 8 shards"
    assert covered({LOG[0]: 100}, Wanted(0.01), keyed=True).shards
    assert covered({LOG[0]: 100}, Wanted(1.0, shards=(5,)), keyed=True).shards == (5,)


def test_what_the_log_has_lost_is_refused_and_the_rest_compared() -> None:
    coverage = covered({LOG[0]: 100, LOG[1]: 50}, Wanted(), begins={LOG[0]: 30, LOG[1]: 60})
    assert coverage.ranges == (Range(LOG[0], 30, 100),)
    assert [refusal.part for refusal in coverage.refusals] == [
        "log/0 offsets 0 to 29",
        "log/1 offsets 0 to 49",
    ]
    assert "begins at offset 30" in coverage.refusals[0].why
    assert not coverage.whole


def test_a_file_that_is_gone_is_refused() -> None:
    coverage = covered({LOG[0]: 10, FILE: 20}, Wanted(), unreadable={FILE: "no such file"})
    assert coverage.ranges == (Range(LOG[0], 0, 10),)
    assert [(one.part, one.why) for one in coverage.refusals] == [
        ("files/0 offsets 0 to 19", "no such file")
    ]


def test_which_rows_of_keys_live_is_not_claimed_without_the_beginning() -> None:
    at, begins = {LOG[0]: 100}, {LOG[0]: 30}
    coverage = covered(at, Wanted(), begins, keyed=True)
    assert not coverage.deaths
    assert coverage.ranges == (Range(LOG[0], 30, 100),)
    kept = CollectionSettings(history_us=60_000_000)
    nothing = covered(at, Wanted(), begins, keyed=True, kept=kept)
    assert nothing.ranges == ()
    assert len(nothing.refusals) == 2
