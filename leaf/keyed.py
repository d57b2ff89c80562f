"""Last write wins: who kills whom in a keyed collection, in whatever order partitions arrive.

The versions of a key are totally ordered by (number of the version field, running maximum of the
log time within the partition, source, partition, offset). Without a version field the first is
always the same, and the order agrees with the offsets inside of a partition. A deletion that came
without a number has the highest one that its partition had of the key until then, so it deletes
all that this partition had.

A version is dead at a cut iff a later one is in the cut. What is recorded for that depends on the
log alone, not on the order of arrival, which keeps replicas equal (I1) and cuts exact (I4):
a version that is the last of its partition when it comes dies once per partition, by its first
successor there; one that is not dies once, by the one that is the last then, and is in no answer.

The key map holds the last version per partition. Keys that one partition has are decided by it
alone, all together; where several have a key, and another one is ahead of the pushed one, its older
versions are found by walking back over the deaths inside that partition.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from alder.positions import PartitionKey
from leaf.births import streams_of
from leaf.keymap import (
    BIRTH,
    NUMBER,
    TIME_US,
    UNNUMBERED,
    KnownKeys,
    Version,
    Versions,
    decode,
    encode,
    encoded,
    parsed,
)
from leaf.visibility import Deaths, Tombstones


@dataclass(frozen=True, slots=True)
class Resolution:
    """What a push does to a keyed shard: new deaths, and new values of the key map."""

    deaths: Deaths
    keys: Mapping[bytes, bytes]


def running_maximum(times_us: NDArray[np.int64], before_us: int) -> NDArray[np.int64]:
    """The running maximum within a partition, given that of the earlier rows."""
    result: NDArray[np.int64] = np.maximum.accumulate(np.maximum(times_us, before_us))
    return result


def resolve(
    keys: pa.Array,
    versions: Versions,
    streams: Sequence[PartitionKey],
    tombstones: Tombstones,
    lookup: Callable[[Sequence[bytes]], list[bytes | None]],
) -> Resolution:
    """Decides a push of one row or more, which belong to one stream and ascend by birth.

    ``keys`` are strings, ``versions`` (int64) has the columns of :mod:`leaf.keymap`. ``streams``
    must include the pushed one. Raises AlderError(CORRUPT) for a broken key map.
    """
    distinct = keys.dictionary_encode()
    names: list[bytes] = distinct.dictionary.cast(pa.binary()).to_pylist()
    owners = distinct.indices.to_numpy().astype(np.int64)
    known = parsed(lookup(names), int(streams_of(versions[:1, BIRTH])[0]))
    is_spread = known.spread[owners]
    deaths, lasts, of = _of_one_stream(versions[~is_spread], owners[~is_spread], known)
    changed = dict(zip([names[key] for key in of.tolist()], encoded(lasts), strict=True))
    if not is_spread.any():
        return Resolution(deaths, changed)
    resolver = _Resolver(streams, tombstones)
    open_keys = {key: decode(known.entries[key]) for key in np.unique(owners[is_spread]).tolist()}
    for key, fields in zip(owners[is_spread].tolist(), versions[is_spread].tolist(), strict=True):
        resolver.add(open_keys[key], Version(*fields))
    changed.update({names[key]: encode(found) for key, found in open_keys.items()})
    return Resolution(deaths.merged(resolver.deaths()), changed)


def _of_one_stream(
    versions: Versions, owners: NDArray[np.int64], known: KnownKeys
) -> tuple[Deaths, Versions, NDArray[np.int64]]:
    """Deaths, and the last versions of keys and which keys, where no other stream has the keys."""
    mine = np.unique(owners)
    mine = mine[known.known[mine]]
    rows, owners = np.concatenate([known.lasts[mine], versions]), np.concatenate([mine, owners])
    order = np.argsort(owners, kind="stable")
    rows, owners = rows[order], owners[order]
    is_first = np.diff(owners, prepend=-1) != 0
    wins = is_first | _is_highest(rows, owners)
    places = np.arange(len(rows))
    lasts = np.maximum.accumulate(np.where(wins, places, 0))
    later = places[~is_first]
    before = lasts[later - 1]
    victims, killers = (np.where(wins[later], *pair) for pair in ((before, later), (later, before)))
    ends = np.flatnonzero(np.diff(owners, append=-1))
    dead = rows[victims]
    deaths = Deaths(dead[:, BIRTH], rows[killers, BIRTH], dead[:, TIME_US], dead[:, NUMBER])
    return deaths, rows[lasts[ends]], owners[ends]


def _is_highest(rows: Versions, owners: NDArray[np.int64]) -> NDArray[np.bool_]:
    """True for the rows above which no earlier one of their key is. Numbers what has no number.

    ``owners`` ascend; rows of a key are in the order in which they came.
    """
    numbers, levels = np.unique(rows[:, NUMBER], return_inverse=True)
    # Levels of a later key are above those of all earlier ones, so one pass serves all keys.
    base = owners * len(numbers)
    tops = np.maximum.accumulate(base + levels)
    unnumbered = rows[:, NUMBER] == UNNUMBERED
    rows[unnumbered, NUMBER] = numbers[(tops - base)[unnumbered]]
    mask: NDArray[np.bool_] = (base + levels == tops) | unnumbered
    return mask


class _Resolver:
    """Decides versions of keys that several streams have, one by one."""

    def __init__(self, streams: Sequence[PartitionKey], tombstones: Tombstones) -> None:
        self._streams = streams
        self._tombstones = tombstones
        self._deaths: list[tuple[int, int, int, int]] = []

    def add(self, lasts: dict[int, Version], version: Version) -> None:
        """One more version of a key, whose last versions per stream are ``lasts``."""
        previous = lasts.get(version.stream)
        if previous is not None and version.number == UNNUMBERED:
            version = version._replace(number=previous.number)
        if previous is not None and self._order(previous) > self._order(version):
            self._die(version, previous)
            return
        self._place(lasts, previous, version)
        lasts[version.stream] = version

    def deaths(self) -> Deaths:
        """All deaths so far."""
        columns = np.asarray(self._deaths, dtype=np.int64).reshape(-1, 4).T
        return Deaths(*columns)

    def _place(
        self, lasts: Mapping[int, Version], previous: Version | None, version: Version
    ) -> None:
        """What a version does that follows ``previous`` in its stream."""
        if previous is not None:
            self._die(previous, version)
        for stream, last in lasts.items():
            if stream != version.stream and (
                previous is None or self._order(last) > self._order(previous)
            ):
                self._meet(last, previous, version)

    def _meet(self, last: Version, previous: Version | None, version: Version) -> None:
        """Decides between ``version`` and the versions of another stream after ``previous``."""
        successor: Version | None = None
        other: Version | None = last
        while other is not None and (
            previous is None or self._order(other) > self._order(previous)
        ):
            if self._order(other) > self._order(version):
                successor = other
            else:
                self._die(other, version)
            other = self._predecessor(other)
        if successor is not None:
            self._die(version, successor)

    def _die(self, victim: Version, killer: Version) -> None:
        self._deaths.append((victim.birth, killer.birth, victim.time_us, victim.number))

    def _order(self, version: Version) -> tuple[int, int, PartitionKey, int]:
        return version.number, version.time_us, self._streams[version.stream], version.birth

    def _predecessor(self, version: Version) -> Version | None:
        """The version of the same key and stream that this one replaced, in an earlier push."""
        for block in self._tombstones.blocks:
            killers = block.killers_ascending
            place = int(np.searchsorted(killers, version.birth))
            while place < len(killers) and killers[place] == version.birth:
                death = int(block.by_killer[place])
                columns = (block.victims, block.numbers, block.times)
                victim = Version(*(int(column[death]) for column in columns))
                # One that was too low when it came was born later than what it died of.
                if victim.stream == version.stream and victim.birth < version.birth:
                    return victim
                place += 1
        return None
