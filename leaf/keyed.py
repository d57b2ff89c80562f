"""Last write wins: who kills whom in a keyed collection, in whatever order partitions arrive.

The versions of a key are totally ordered by (running maximum of the log time within the partition,
source, partition, offset), which agrees with the offsets inside of a partition. A version is dead
at a cut iff a later one is in the cut, so it needs exactly one death per partition: by its first
successor there. That set depends on the log alone, not on the order of arrival, which keeps
replicas equal (I1) and cuts exact (I4).

The key map holds the last version per partition. A push in the usual order is decided by it alone;
where another partition is ahead of the pushed one, its older versions are found by walking back
over the deaths inside that partition.
"""

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from alder.errors import AlderError, Reason
from alder.positions import PartitionKey
from leaf.births import OFFSET_BITS
from leaf.visibility import Births, Deaths, Tombstones

_VERSION: Final = struct.Struct(">qq")


class Version(NamedTuple):
    """A row or deletion of a key; ``time_us`` is the running maximum of the log time."""

    birth: int
    time_us: int

    @property
    def stream(self) -> int:
        """The stream that it came in."""
        return self.birth >> OFFSET_BITS


@dataclass(frozen=True, slots=True)
class Resolution:
    """What a push does to a keyed shard: new deaths, and new values of the key map."""

    deaths: Deaths
    keys: Mapping[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Insertion(Resolution):
    """What late rows do to a keyed shard.

    ``replaced`` are earlier deaths (victim, killer) whose victims die by a late row instead.
    ``refused`` are the births of rows that have no place in the order, and change nothing.
    """

    replaced: frozenset[tuple[int, int]]
    refused: frozenset[int]


def running_maximum(times_us: NDArray[np.int64], before_us: int) -> NDArray[np.int64]:
    """The running maximum within a partition, given that of the earlier rows."""
    result: NDArray[np.int64] = np.maximum.accumulate(np.maximum(times_us, before_us))
    return result


def resolve(
    keys: Sequence[bytes],
    births: Births,
    times_us: NDArray[np.int64],
    streams: Sequence[PartitionKey],
    tombstones: Tombstones,
    lookup: Callable[[Sequence[bytes]], list[bytes | None]],
) -> Resolution:
    """Decides a push whose rows belong to one stream and ascend by birth.

    ``streams`` must include the pushed one. Raises AlderError(CORRUPT) for a broken key map.
    """
    distinct = list(dict.fromkeys(keys))
    lasts = {key: _decode(value) for key, value in zip(distinct, lookup(distinct), strict=True)}
    resolver = _Resolver(streams, tombstones)
    for key, birth, time_us in zip(keys, births.tolist(), times_us.tolist(), strict=True):
        resolver.add(lasts[key], Version(birth, time_us))
    return Resolution(
        resolver.deaths(), {key: _encode(versions) for key, versions in lasts.items()}
    )


def insert(
    keys: Sequence[bytes],
    births: Births,
    times_us: NDArray[np.int64],
    streams: Sequence[PartitionKey],
    tombstones: Tombstones,
    lookup: Callable[[Sequence[bytes]], list[bytes | None]],
) -> Insertion:
    """Decides rows of one stream that may come later than those after them; keys are distinct.

    Nothing is left of their having come late. A row is refused whose time is later than that of the
    next version of its key in its stream. Raises AlderError(CORRUPT) for a broken key map.
    """
    lasts = {key: _decode(value) for key, value in zip(keys, lookup(keys), strict=True)}
    resolver = _Resolver(streams, tombstones)
    refused = frozenset(
        birth
        for key, birth, time_us in zip(keys, births.tolist(), times_us.tolist(), strict=True)
        if not resolver.insert(lasts[key], Version(birth, time_us))
    )
    values = {key: _encode(versions) for key, versions in lasts.items() if versions}
    return Insertion(resolver.deaths(), values, frozenset(resolver.replaced), refused)


class _Resolver:
    def __init__(self, streams: Sequence[PartitionKey], tombstones: Tombstones) -> None:
        self._streams = streams
        self._tombstones = tombstones
        self._deaths: list[tuple[int, int, int]] = []
        self.replaced: set[tuple[int, int]] = set()

    def add(self, lasts: dict[int, Version], version: Version) -> None:
        """One more version of a key, whose last versions per stream are ``lasts``."""
        self._place(lasts, lasts.get(version.stream), version)
        lasts[version.stream] = version

    def insert(self, lasts: dict[int, Version], version: Version) -> bool:
        """A version that may come later than the next ones of its key; False if it has no place."""
        successor, previous = None, lasts.get(version.stream)
        while previous is not None and previous.birth > version.birth:
            successor, previous = previous, self._predecessor(previous)
        if previous is not None:
            version = Version(version.birth, max(version.time_us, previous.time_us))
        if successor is None:
            self.add(lasts, version)
            return True
        if version.time_us > successor.time_us:
            return False
        begin = len(self._deaths)
        self._place(lasts, previous, version)
        victims = {victim for victim, _, _ in self._deaths[begin:]} - {version.birth}
        self.replaced.update((victim, successor.birth) for victim in victims)
        self._die(version, successor)
        return True

    def deaths(self) -> Deaths:
        """All deaths so far."""
        columns = np.asarray(self._deaths, dtype=np.int64).reshape(-1, 3).T
        return Deaths(columns[0], columns[1], columns[2])

    def _place(self, lasts: dict[int, Version], previous: Version | None, version: Version) -> None:
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
        self._deaths.append((victim.birth, killer.birth, victim.time_us))

    def _order(self, version: Version) -> tuple[int, PartitionKey, int]:
        return version.time_us, self._streams[version.stream], version.birth

    def _predecessor(self, version: Version) -> Version | None:
        """The version of the same key and stream before this one, both from earlier pushes."""
        for block in self._tombstones.blocks:
            killers = block.killers_ascending
            place = int(np.searchsorted(killers, version.birth))
            while place < len(killers) and killers[place] == version.birth:
                death = int(block.by_killer[place])
                victim = Version(int(block.victims[death]), int(block.times[death]))
                if victim.stream == version.stream:
                    return victim
                place += 1
        return None


def _encode(versions: Mapping[int, Version]) -> bytes:
    return b"".join(_VERSION.pack(*version) for version in versions.values())


def _decode(value: bytes | None) -> dict[int, Version]:
    if value is None:
        return {}
    if len(value) % _VERSION.size:
        raise AlderError(Reason.CORRUPT, "an entry of the key map is cut off")
    versions = (Version(*fields) for fields in _VERSION.iter_unpack(value))
    return {version.stream: version for version in versions}
