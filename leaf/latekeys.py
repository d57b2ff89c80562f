"""What late rows do to the keys of a shard: the deaths of each key as if none had been late.

All versions of a key can be found: its entry in the key map has the last one of each stream, and
every other one died of a later one there. So a late version is put among them and the key is
decided anew from its first version on, one stream after the other, by the same rules as any push
(:mod:`leaf.keyed`): what comes of it depends on the versions alone (invariant I1). What it cost is
as the versions that the key has had.
"""

from bisect import bisect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
import pyarrow as pa

from alder.positions import PartitionKey
from leaf.keyed import Resolution, resolve
from leaf.keymap import UNNUMBERED, Version, Versions, decode, parsed
from leaf.visibility import Births, Deaths, Mask, Tombstones, is_member


@dataclass(frozen=True, slots=True)
class Insertion(Resolution):
    """What late rows do to a keyed shard.

    ``replaced`` are earlier deaths (victim, killer) that are none any more. ``refused`` are the
    births of rows that have no place in the order, and change nothing.
    """

    replaced: frozenset[tuple[int, int]]
    refused: frozenset[int]


def insert(
    keys: Sequence[bytes],
    versions: Versions,
    streams: Sequence[PartitionKey],
    tombstones: Tombstones,
    lookup: Callable[[Sequence[bytes]], list[bytes | None]],
    are_rows: Callable[[Births], Mask],
) -> Insertion:
    """Decides rows of one stream that may come later than those after them; keys are distinct.

    ``versions`` (int64) has the columns of :mod:`leaf.keymap`; ``are_rows`` is true for the births
    of documents. A row is refused whose time is later than that of the next version of its key in
    its stream, or whose number a later deletion without one would have had. Raises
    AlderError(CORRUPT) for a broken key map.
    """
    entries = lookup(keys)
    parsed(entries, 0)
    changed: dict[bytes, bytes] = {}
    replaced: set[tuple[int, int]] = set()
    refused: set[int] = set()
    added = _deaths([])
    for key, entry, fields in zip(keys, entries, versions.tolist(), strict=True):
        late = Version(*fields)
        history = _History.of(decode(entry), tombstones)
        if not history.takes(late, are_rows):
            refused.add(late.birth)
            continue
        before = history.deaths(tombstones)
        changed[key], after = history.decided(key, streams)
        pairs = set(zip(before.victims.tolist(), before.killers.tolist(), strict=True))
        remain = set(zip(after.victims.tolist(), after.killers.tolist(), strict=True))
        replaced |= pairs - remain
        new = [
            death
            for death in zip(
                *(getattr(after, name).tolist() for name in _DEATH_COLUMNS), strict=True
            )
            if death[:2] not in pairs
        ]
        added = added.merged(_deaths(new))
    return Insertion(added, changed, frozenset(replaced), frozenset(refused))


_DEATH_COLUMNS: Final = ("victims", "killers", "times", "numbers")


def _deaths(found: Sequence[tuple[int, ...]]) -> Deaths:
    return Deaths(*np.asarray(found, dtype=np.int64).reshape(-1, 4).T)


class _History:
    """The versions of a key by stream, ascending by birth."""

    def __init__(self, streams: dict[int, list[Version]]) -> None:
        self._streams = streams

    @classmethod
    def of(cls, lasts: dict[int, Version], tombstones: Tombstones) -> "_History":
        """All that led to these last ones."""
        streams = {}
        for stream, last in lasts.items():
            found = {last.birth: last}
            waiting = [last]
            while waiting:
                for victim in _victims(waiting.pop(), tombstones):
                    if victim.birth not in found:
                        found[victim.birth] = victim
                        waiting.append(victim)
            streams[stream] = [found[birth] for birth in sorted(found)]
        return cls(streams)

    def takes(self, late: Version, are_rows: Callable[[Births], Mask]) -> bool:
        """Puts a version where it was born; False if it has no place there."""
        mine = self._streams.setdefault(late.stream, [])
        place = bisect([version.birth for version in mine], late.birth)
        before, after = mine[:place], mine[place:]
        if before:
            late = late._replace(time_us=max(late.time_us, *(one.time_us for one in before)))
        if after and late.time_us > after[0].time_us:
            return False
        top = max((one.number for one in before), default=UNNUMBERED)
        is_row = are_rows(np.asarray([one.birth for one in after], dtype=np.int64))
        for one, row in zip(after, is_row.tolist(), strict=True):
            # Such a deletion may have come without a number; it would have the late one's then.
            if not row and one.number == top and late.number > top:
                return False
            top = max(top, one.number)
        mine.insert(place, late)
        return True

    def deaths(self, tombstones: Tombstones) -> Deaths:
        """The deaths of these versions."""
        births = np.sort([one.birth for mine in self._streams.values() for one in mine])
        found = _deaths([])
        for block in tombstones.blocks:
            mask = is_member(block.victims, births)
            columns = (getattr(block, name)[mask] for name in _DEATH_COLUMNS)
            found = found.merged(Deaths(*columns))
        return found

    def decided(self, key: bytes, streams: Sequence[PartitionKey]) -> tuple[bytes, Deaths]:
        """The entry of the key, and who dies, as pushes of one stream after the other decide it."""
        entry: bytes | None = None
        tombstones = Tombstones()
        deaths = _deaths([])
        for mine in self._streams.values():
            keys = pa.array([key.decode()] * len(mine))
            versions = np.asarray(mine, dtype=np.int64)
            found = resolve(keys, versions, streams, tombstones, partial(_single, entry))
            entry = found.keys[key]
            tombstones = tombstones.added(found.deaths)
            deaths = deaths.merged(found.deaths)
        return entry or b"", deaths


def _single(entry: bytes | None, _: Sequence[bytes]) -> list[bytes | None]:
    return [entry]


def _victims(killer: Version, tombstones: Tombstones) -> list[Version]:
    """The versions of the same stream that died of one."""
    found = []
    for block in tombstones.blocks:
        begin, end = np.searchsorted(block.killers_ascending, [killer.birth, killer.birth + 1])
        for death in block.by_killer[begin:end].tolist():
            columns = (block.victims, block.numbers, block.times)
            victim = Version(*(int(column[death]) for column in columns))
            if victim.stream == killer.stream:
                found.append(victim)
    return found
