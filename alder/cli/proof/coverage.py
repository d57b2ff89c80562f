"""Decides what of a collection is compared: everything, a sample, or what a log still has.

Rows that don't depend on each other can be built from a part of the log, so of a collection without
keys some ranges of offsets will do. Where the last version of a key wins, every version before it
counts: there it is some of the shards, each built from the whole log. A log that has lost its
beginning proves nothing about what was there, and which version of a key is its last one may depend
on that.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Final

from alder.catalog import LOG_SOURCE, Collection
from alder.cli.proof.model import Coverage, Range, Refusal
from alder.positions import PartitionKey, PositionVector

BLOCK_OFFSETS: Final = 4096
"""Consecutive rows without a key that share a slot, so that a block is of one shard."""
BLOCKS_PER_PARTITION_MAX: Final = 1024
OFFSETS_FULL_MAX: Final = 5_000_000
"""Up to so many offsets everything is compared, if nothing else is asked for."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the user asked for; no fraction: as much as :data:`OFFSETS_FULL_MAX` allows."""

    fraction: float | None = None
    shards: tuple[int, ...] = ()
    seed: int = 0


def coverage_of(
    collection: Collection,
    at: PositionVector,
    begins: Mapping[PartitionKey, int],
    unreadable: Mapping[PartitionKey, str],
    wanted: Wanted,
) -> Coverage:
    """What to compare at a cut.

    ``begins`` has the first offset that each partition of the log still has; ``unreadable`` why a
    partition can't be read at all.
    """
    everything = [Range(key, 0, end) for key, end in sorted(at.offsets.items()) if end]
    left, refusals = _left(everything, begins, unreadable)
    shards = tuple(wanted.shards or sorted(shard.shard for shard in collection.shards))
    coverage = Coverage(at, shards, tuple(left), not refusals, True, tuple(refusals))
    if refusals and collection.keyed:
        coverage = _without_beginning(coverage, collection)
    fraction = wanted.fraction
    if fraction is None:
        fraction = min(1.0, OFFSETS_FULL_MAX / max(1, coverage.offsets))
    if fraction < 1 and coverage.ranges:
        coverage = _sampled(coverage, collection, fraction, Random(wanted.seed))
    return coverage


def _left(
    everything: Sequence[Range],
    begins: Mapping[PartitionKey, int],
    unreadable: Mapping[PartitionKey, str],
) -> tuple[list[Range], list[Refusal]]:
    left, refusals = [], []
    for one in everything:
        begin = begins.get(one.key, 0)
        if one.key in unreadable:
            refusals.append(Refusal(str(one), unreadable[one.key]))
        elif begin > one.begin:
            gone = replace(one, end=min(begin, one.end))
            refusals.append(
                Refusal(str(gone), f"the log begins at offset {begin}; retention removed the rest")
            )
            if begin < one.end:
                left.append(replace(one, begin=begin))
        else:
            left.append(one)
    return left, refusals


def _without_beginning(coverage: Coverage, collection: Collection) -> Coverage:
    """Of a keyed collection only documents can be compared, unless dead ones are removed."""
    kept = collection.settings
    if kept.history_us or kept.retain_us:
        why = "which rows were dead when they were removed depends on what can't be read any more"
        refusal = Refusal("all rows", why)
        return replace(coverage, ranges=(), refusals=(*coverage.refusals, refusal))
    why = "which version of a key is its last one depends on what can't be read any more"
    refusal = Refusal("which rows are dead, and answers", why)
    return replace(coverage, deaths=False, refusals=(*coverage.refusals, refusal))


def _sampled(
    coverage: Coverage, collection: Collection, fraction: float, chance: Random
) -> Coverage:
    if collection.keyed:
        count = max(1, round(fraction * len(coverage.shards)))
        if count == len(coverage.shards):
            return coverage
        shards = tuple(sorted(chance.sample(coverage.shards, count)))
        told = f"{count} of {len(coverage.shards)} shards"
        return replace(coverage, shards=shards, sampled=told)
    ranges = [part for one in coverage.ranges for part in _some(one, fraction, chance)]
    offsets = sum(one.offsets for one in ranges)
    told = f"{offsets:,} of {coverage.offsets:,} offsets"
    return replace(coverage, ranges=tuple(ranges), whole=False, sampled=told)


def _some(one: Range, fraction: float, chance: Random) -> list[Range]:
    """Some blocks of a range, joined where they touch; the last one is among them, always.

    A file is read from its beginning, so all of it or nothing is compared.
    """
    if one.key[0] != LOG_SOURCE:
        return [one] if chance.random() < fraction else []
    size = BLOCK_OFFSETS * -(-one.offsets // (BLOCK_OFFSETS * BLOCKS_PER_PARTITION_MAX))
    first, last = one.begin // size, (one.end - 1) // size
    count = round(fraction * (last - first))
    found: list[Range] = []
    for block in [*sorted(chance.sample(range(first, last), min(count, last - first))), last]:
        begin, end = max(one.begin, block * size), min(one.end, (block + 1) * size)
        if found and found[-1].end == begin:
            begin = found.pop().begin
        found.append(Range(one.key, begin, end))
    return found
