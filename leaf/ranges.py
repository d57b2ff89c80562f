"""Digests of what a shard stores, by ranges of offsets at a cut of the log.

Two replicas of which one is built anew from the log are compared by these: a range that differs is
asked for in parts until single rows remain. Whatever is compared is read from the store, never from
the cache of queries. What no answerable cut holds (:mod:`leaf.purge`) may have been removed in one
replica and not in the other, so it is left out by the rule by which it may be removed; where the
history begins by which that is decided, the floor, is the same for both.

Rows that can't be read are told with the offsets within which they were born, and count nowhere.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from alder.errors import AlderError, Reason
from alder.positions import PartitionKey, PositionVector
from alder.v1 import common_pb2
from leaf import births
from leaf.births import Streams
from leaf.cache import PageCache
from leaf.digest import (
    Hashes,
    combined,
    group_sums,
    origins,
    pair_hashes,
    row_hashes,
    seeds_of,
)
from leaf.documentreader import DOCUMENTS
from leaf.pieces import Piece, stored_column
from leaf.segment import Segment
from leaf.tail import TailChunk
from leaf.view import ShardView
from leaf.visibility import Births, Deaths, Mask, before, is_member

BLOCK_ROWS: Final = 8_192
"""Rows of a live tail that are looked at together; of a segment it is a zone."""
ZONE_SHARE: Final = 4
"""From this part of a zone on it is read whole."""
CACHE_BYTES: Final = 32 << 20
"""Decoded pages that are kept while a segment is read: those that several blocks need."""
UNREADABLE_MAX: Final = 256
"""From so many unreadable rows of a block on, more are not told from those beside them."""
RECORDS_AT_ONCE: Final = 64
_DAMAGE: Final = frozenset({Reason.CORRUPT, Reason.UNSUPPORTED})
Quarantine = Callable[[PartitionKey, int, int], Iterable[common_pb2.QuarantinedRecord]]
"""The quarantined records of a partition between two offsets."""


@dataclass(frozen=True, slots=True)
class Range:
    """Offsets ``[begin, end)`` of a partition."""

    key: PartitionKey
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Floor:
    """Where a history begins: every cut of it has what was born before, and rows of an event time
    before ``oldest_us`` are in none of them. None: rows of any age are.
    """

    positions: PositionVector = field(default_factory=PositionVector)
    oldest_us: int | None = None

    @classmethod
    def of(cls, view: ShardView) -> "Floor":
        """That of a shard's own history."""
        ends = view.log_time.floor()
        offsets = view.streams.offsets_of(ends).tolist()
        positions = PositionVector(dict(zip(view.streams, offsets, strict=False)))
        return cls(positions, view.log_time.oldest_us(ends))


@dataclass(slots=True)
class RangeSums:
    """What is in one range: rows, deaths and quarantined records, each with their digest."""

    rows: int = 0
    rows_digest: int = 0
    deaths: int = 0
    deaths_digest: int = 0
    quarantined: int = 0
    quarantined_digest: int = 0


@dataclass(frozen=True, slots=True)
class Row:
    """A stored row with the hash that is compared; ``killers`` ascend."""

    birth: int
    digest: int
    key: str
    document: str


@dataclass(frozen=True, slots=True)
class Damage:
    """Rows of a segment that can't be read; ``births`` are empty where these can't be either."""

    what: str
    segment: int
    rows: int
    births: Births


@dataclass(slots=True)
class RangeReport:
    """What is in some ranges, in their order.

    ``rows`` and ``deaths`` (victim, killer) are there where single ones are asked for.
    """

    sums: list[RangeSums]
    rows: list[Row] = field(default_factory=list)
    deaths: list[tuple[int, int]] = field(default_factory=list)
    quarantined: list[common_pb2.QuarantinedRecord] = field(default_factory=list)
    damaged: list[Damage] = field(default_factory=list)


class RangeReader:
    """Reads some ranges of a view at a cut."""

    def __init__(
        self,
        view: ShardView,
        at: PositionVector,
        floor: Floor,
        ranges: Sequence[Range],
        check: Callable[[], None],
        single: bool = False,
    ) -> None:
        """``check`` is called between two blocks, and raises to end the reading.

        ``single``: rows are also wanted one by one.
        """
        self._view = view
        self._ranges = ranges
        self._check = check
        self._single = single
        self._origins = origins(view.streams)
        self._ends = births.cut_births(view.streams, at)
        self._floor_ends = births.cut_births(view.streams, floor.positions)
        self._oldest_us = floor.oldest_us
        self._dead = self._victims(lambda block: before(block.killers, self._floor_ends))
        self._mortal = self._victims(lambda block: before(block.killers, self._ends))
        self._victims_there = [np.empty(0, dtype=np.int64)]
        self._places = Places(view.streams, ranges)
        self.report = RangeReport([RangeSums() for _ in ranges])

    def read(self, quarantine: Quarantine) -> RangeReport:
        """What is in the ranges. Raises AlderError, but not for damage."""
        if not self._ranges:
            return self.report
        for segment in self._view.segments:
            self._read_segment(segment)
        for chunk in self._view.tail:
            self._read_chunk(chunk)
        self._read_deaths()
        for place, one in enumerate(self._ranges):
            self._read_quarantine(place, one, quarantine)
        return self.report

    def _victims(self, chosen: Callable[[Deaths], Mask]) -> Births:
        """Victims of some deaths, ascending, each once."""
        found = [block.victims[chosen(block)] for block in self._view.tombstones.blocks]
        return np.unique(np.concatenate([np.empty(0, dtype=np.int64), *found]))

    def _read_chunk(self, chunk: TailChunk) -> None:
        wanted = self._wanted(chunk)
        for begin in range(0, len(wanted), BLOCK_ROWS):
            self._check()
            block = wanted[begin : begin + BLOCK_ROWS]
            self._add(chunk, block, stored_column(Piece(chunk, block), DOCUMENTS))

    def _read_segment(self, segment: Segment) -> None:
        """Zone by zone, as far as it can be read."""
        try:
            opened = segment.reopened(PageCache(CACHE_BYTES))
            wanted = self._wanted(opened)
        except AlderError as error:
            if error.reason not in _DAMAGE:
                raise
            nothing = np.empty(0, dtype=np.int64)
            damage = Damage(error.message, segment.number, segment.rows, nothing)
            self.report.damaged.append(damage)
            return
        ends = np.cumsum([zone.rows for zone in opened.zones("_birth")])
        for zone, rows in enumerate(np.split(wanted, np.searchsorted(wanted, ends))[:-1]):
            if not len(rows):
                continue
            self._check()
            found: dict[str, list[Births]] = {}
            self._add_readable(opened, rows, zone, found)
            for what, parts in found.items():
                mine = np.concatenate(parts)
                self.report.damaged.append(Damage(what, segment.number, len(mine), mine))

    def _wanted(self, holder: TailChunk | Segment) -> NDArray[np.int64]:
        """The numbers of the rows that count, ascending. Raises AlderError(CORRUPT)."""
        found = holder.births()
        mask: Mask = before(found, self._ends) & (self._places.of(found) >= 0)
        if len(self._dead):
            mask &= ~is_member(found, self._dead)
        if self._oldest_us is not None and holder.time_low_us < self._oldest_us:
            mask &= holder.times() >= self._oldest_us
        if len(self._mortal):
            self._victims_there.append(found[mask & is_member(found, self._mortal)])
        return np.flatnonzero(mask)

    def _add_readable(
        self,
        segment: Segment,
        rows: NDArray[np.int64],
        zone: int | None,
        found: dict[str, list[Births]],
    ) -> None:
        """Adds the rows of a zone that can be read; finds those that can't, half by half."""
        try:
            self._add(segment, rows, _documents(segment, rows, zone))
        except AlderError as error:
            if error.reason not in _DAMAGE:
                raise
            if len(rows) == 1 or sum(map(len, found.values())) >= UNREADABLE_MAX:
                found.setdefault(error.message, []).append(segment.births()[rows])
                return
            self._check()
            for half in np.array_split(rows, 2):
                self._add_readable(segment, half, None, found)

    def _add(
        self, holder: TailChunk | Segment, rows: NDArray[np.int64], documents: pa.ChunkedArray
    ) -> None:
        """Adds rows of ascending numbers. Raises AlderError(CORRUPT); nothing is added then."""
        mine = holder.births()[rows]
        hashes = row_hashes(self._seeds(mine), documents)
        places = self._places.of(mine)
        if self._single:
            keys = stored_column(Piece(holder, rows), "_key").to_pylist()
            for birth, (high, low), key, document in zip(
                mine.tolist(), hashes.tolist(), keys, documents.to_pylist(), strict=True
            ):
                self.report.rows.append(Row(birth, high << 64 | low, key or "", document))
        for sums, count, digest in self._by_range(hashes, places):
            sums.rows += count
            sums.rows_digest = combined(sums.rows_digest, digest)

    def _by_range(
        self, hashes: Hashes, places: NDArray[np.int64]
    ) -> Iterator[tuple[RangeSums, int, int]]:
        """For each range that has some of these: its sums so far, their number and digest."""
        present, groups, counts = np.unique(places, return_inverse=True, return_counts=True)
        digests = group_sums(hashes, groups.reshape(-1), len(present))
        for place, count, digest in zip(present.tolist(), counts.tolist(), digests, strict=True):
            yield self.report.sums[place], count, digest

    def _read_deaths(self) -> None:
        """Those of the rows that count.

        Of others it depends on what was removed, and when, whether all of their deaths are known.
        """
        there = np.sort(np.concatenate(self._victims_there))
        if not len(there):
            return
        for block in self._view.tombstones.blocks:
            self._check()
            mask = before(block.killers, self._ends) & is_member(block.victims, there)
            victims, killers = block.victims[mask], block.killers[mask]
            places = self._places.of(victims)
            hashes = pair_hashes(self._seeds(victims), self._seeds(killers))
            for sums, count, digest in self._by_range(hashes, places):
                sums.deaths += count
                sums.deaths_digest = combined(sums.deaths_digest, digest)
            if self._single:
                pairs = zip(victims.tolist(), killers.tolist(), strict=True)
                self.report.deaths.extend(pairs)

    def _read_quarantine(self, place: int, one: Range, quarantine: Quarantine) -> None:
        """Some records at a time, since they may be large."""
        origin, sums = origins([one.key])[0], self.report.sums[place]
        waiting = iter(quarantine(one.key, one.begin, one.end))
        while records := list(islice(waiting, RECORDS_AT_ONCE)):
            self._check()
            offsets = np.asarray([record.offset for record in records], dtype=np.int64)
            values = pa.array([quarantined_value(record) for record in records], pa.binary())
            hashes = row_hashes(seeds_of(offsets, origin), pa.chunked_array([values]))
            (digest,) = group_sums(hashes, np.zeros(len(records), np.int64), 1)
            sums.quarantined += len(records)
            sums.quarantined_digest = combined(sums.quarantined_digest, digest)
            if self._single:
                self.report.quarantined.extend(records)

    def _seeds(self, mine: Births) -> Hashes:
        return seeds_of(births.places_of(mine), self._origins[births.streams_of(mine)])


def _documents(segment: Segment, rows: NDArray[np.int64], zone: int | None) -> pa.ChunkedArray:
    """The documents of rows of a zone; of most of them by reading all. Raises CORRUPT."""
    zones = segment.zones("_birth")
    if zone is None or ZONE_SHARE * len(rows) < zones[zone].rows:
        return stored_column(Piece(segment, rows), DOCUMENTS)
    first = sum(one.rows for one in zones[:zone])
    whole = segment.documents(zone)
    return pa.chunked_array([whole.take(pa.array(rows - first))])


class Places:
    """Which of some ranges, that don't overlap, a birth lies in."""

    def __init__(self, streams: Streams, ranges: Sequence[Range]) -> None:
        numbers = {key: number for number, key in enumerate(streams)}
        found = [
            (numbers[one.key] << births.PLACE_BITS, one.begin, one.end, place)
            for place, one in enumerate(ranges)
            if one.key in numbers and one.begin < one.end
        ]
        found.sort()
        firsts, begins, ends, _ = np.asarray(found, dtype=np.int64).reshape(-1, 4).T
        self._begins = firsts | streams.first_places(begins)
        # The end of the last offset of a stream is no birth, so the last one inside is compared.
        last = (1 << streams.ordinal_bits) - 1
        self._lasts = firsts | streams.first_places(ends - 1) | last
        self._numbers = np.asarray([place for *_, place in found], dtype=np.int64)

    def of(self, mine: Births) -> NDArray[np.int64]:
        """The place of the range of each birth, -1 for none."""
        if not len(self._begins):
            return np.full(len(mine), -1, dtype=np.int64)
        at = np.searchsorted(self._begins, mine, side="right") - 1
        inside = (at >= 0) & (mine <= self._lasts[at])
        return np.where(inside, self._numbers[at], -1)


def quarantined_value(record: common_pb2.QuarantinedRecord) -> bytes:
    """What is compared of a quarantined record, besides where it was born."""
    return b"\0".join([record.reason.encode(), str(record.size_bytes).encode(), record.value])
