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


class _Resolver:
    def __init__(self, streams: Sequence[PartitionKey], tombstones: Tombstones) -> None:
        self._streams = streams
        self._tombstones = tombstones
        self._deaths: list[tuple[int, int, int]] = []

    def add(self, lasts: dict[int, Version], version: Version) -> None:
        """One more version of a key, whose last versions per stream are ``lasts``."""
        previous = lasts.get(version.stream)
        if previous is not None:
            self._die(previous, version)
        for stream, last in lasts.items():
            if stream != version.stream and (
                previous is None or self._order(last) > self._order(previous)
            ):
                self._meet(last, previous, version)
        lasts[version.stream] = version

    def deaths(self) -> Deaths:
        """All deaths so far."""
        columns = np.asarray(self._deaths, dtype=np.int64).reshape(-1, 3).T
        return Deaths(columns[0], columns[1], columns[2])

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
