"""Reads records in quarantine again, by the settings of today, and applies them where they were.

A record is read from its source, which has it whole and with its key and time, and takes the same
way as any other; only the last step differs, since the shards are past it already. Its row goes to
the shard of the row and is on disk there before the record leaves the quarantine of another shard,
so a record that is cut off in between waits on, and the next redrive finds its row and lets it go:
nothing is lost and nothing is there twice.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import pyarrow as pa

from alder import catalog
from alder.arrow import to_bytes
from alder.catalog import Source, SourcePartition
from alder.interfaces import PushDirectory
from alder.slots import shard_indexes, slots_of_offsets
from alder.v1 import quarantine_pb2
from tailer.batch import Builder, Rows
from tailer.fence import Fence
from tailer.route import rows_by_shard, take_rows
from tailer.settings import TailerSettings
from tailer.shardrows import without_empty_columns
from tailer.sources.model import Offsets, PartitionSource, RawBatch

GONE: Final = "its source does not have it any more"
Outcomes = dict[int, str]
"""Why the record of each offset waits on; empty if it does not."""


@dataclass(frozen=True, slots=True)
class RedrivenPartition:
    """A partition of a source of a collection, and what reads and builds its records."""

    collection: catalog.Collection
    source: Source
    partition: SourcePartition
    reads: PartitionSource
    make_builder: Callable[[], Builder]


class Redriver:
    """Redrives records of one partition. Raises AlderError as the source and the leaves do."""

    def __init__(
        self,
        what: RedrivenPartition,
        directory: PushDirectory,
        executor: Executor,
        settings: TailerSettings,
        fence: Fence,
    ) -> None:
        self._what = what
        self._fence = fence
        self._directory = directory
        self._executor = executor
        self._settings = settings
        shards = what.collection.shards
        self._slot_ends = [shard.slot_end for shard in shards]
        self._leaf_of = {shard.shard: shard.leaf for shard in shards}
        self._numbers = [shard.shard for shard in shards]

    async def redrive(self, offsets: Collection[int]) -> Outcomes:
        """What became of the record at each offset."""
        outcomes = dict.fromkeys(offsets, GONE)
        left = sorted(outcomes)
        loop = asyncio.get_running_loop()
        builder = self._what.make_builder()
        while left:
            raw = await self._what.reads.read(left[0], self._settings.read_wait_ms)
            if raw.end <= raw.begin:
                break
            wanted = [offset for offset in left if offset < raw.end]
            left = left[len(wanted) :]
            chosen = chosen_of(raw, np.asarray(wanted, dtype=np.int64))
            for rows in await loop.run_in_executor(self._executor, builder.build, chosen):
                outcomes |= await self._apply(rows, present_in(chosen, rows))
        return outcomes

    async def _apply(self, rows: Rows, offsets: Sequence[int]) -> Outcomes:
        """Applies rows, of which ``offsets`` are the records, and lets these go."""
        waiting = zip(
            rows.quarantine.column("offset").to_pylist(),
            rows.quarantine.column("reason").to_pylist(),
            strict=True,
        )
        outcomes = dict.fromkeys(offsets, "") | dict(waiting)
        settled = [offset for offset, reason in outcomes.items() if not reason]
        first, others = self._requests(rows, settled)
        outcomes |= await self._send(rows, first)
        for part in others.values():
            kept = [offset for offset in part.settled_offsets if not outcomes[offset]]
            part.settled_offsets[:] = kept
        outcomes |= await self._send(rows, others)
        return outcomes

    def _requests(
        self, rows: Rows, settled: Sequence[int]
    ) -> tuple["dict[int, quarantine_pb2.ShardRedrive]", "dict[int, quarantine_pb2.ShardRedrive]"]:
        """What each shard applies, and what leaves the quarantine of other shards afterwards."""
        first: defaultdict[int, quarantine_pb2.ShardRedrive] = defaultdict(
            quarantine_pb2.ShardRedrive
        )
        others: defaultdict[int, quarantine_pb2.ShardRedrive] = defaultdict(
            quarantine_pb2.ShardRedrive
        )
        row_shards: defaultdict[int, set[int]] = defaultdict(set)
        row_groups = rows_by_shard(rows.slots, self._slot_ends)
        refused_groups = rows_by_shard(rows.quarantine_slots, self._slot_ends)
        for shard, mine, refused in zip(self._numbers, row_groups, refused_groups, strict=True):
            if len(mine):
                table = without_empty_columns(take_rows(rows.table, mine))
                first[shard].rows = _encoded(table)
                for offset in table.column("_offset").unique().to_pylist():
                    row_shards[offset].add(shard)
            if len(refused):
                first[shard].quarantine = _encoded(take_rows(rows.quarantine, refused))
        for offset, home in self._homes(settled):
            parts = first if row_shards[offset] <= {home} else others
            parts[home].settled_offsets.append(offset)
        return first, others

    def _homes(self, offsets: Sequence[int]) -> Iterator[tuple[int, int]]:
        """The shard in whose quarantine the record of each offset is."""
        wanted = np.asarray(offsets, dtype=np.int64)
        what = self._what
        slots = slots_of_offsets(what.source.name, what.partition.partition, wanted)
        places = shard_indexes(slots, self._slot_ends).tolist()
        yield from zip(offsets, (self._numbers[place] for place in places), strict=True)

    async def _send(
        self, rows: Rows, parts: "Mapping[int, quarantine_pb2.ShardRedrive]"
    ) -> Outcomes:
        by_leaf: defaultdict[str, list[quarantine_pb2.ShardRedrive]] = defaultdict(list)
        for shard, part in parts.items():
            part.shard = shard
            by_leaf[self._leaf_of[shard]].append(part)
        what = self._what
        refused: Outcomes = {}
        for leaf, mine in by_leaf.items():
            request = quarantine_pb2.LeafRedriveRequest(
                collection=what.collection.name,
                collection_id=what.collection.collection_id,
                epoch=what.collection.epoch,
                source=what.source.name,
                partition=what.partition.partition,
                source_identity=what.source.topic_id or what.partition.identity,
                from_offset=rows.range.begin,
                to_offset=rows.range.end,
                shards=mine,
                overflow=rows.overflow,
                assignment=self._fence.assignment,
            )
            self._fence.check()
            timeout_s = self._settings.push_timeout_s
            response = await self._directory.leaf(leaf).redrive(request, timeout_s)
            refused |= {entry.offset: entry.reason for entry in response.refused}
        return refused


def chosen_of(raw: RawBatch, wanted: Offsets) -> RawBatch:
    """The records of a batch at these offsets, which ascend and are in its range."""
    mask = np.isin(raw.offsets, wanted)
    members = set(wanted.tolist())
    return replace(
        raw.where(mask),
        begin=int(wanted[0]),
        end=int(wanted[-1]) + 1,
        quarantined=tuple(entry for entry in raw.quarantined if entry.offset in members),
    )


def present_in(raw: RawBatch, rows: Rows) -> list[int]:
    """The offsets of the records of a batch that lie in the range of rows made of it."""
    found = raw.offsets[(raw.offsets >= rows.range.begin) & (raw.offsets < rows.range.end)]
    return [int(offset) for offset in found]


def _encoded(table: pa.Table) -> bytes:
    return to_bytes(table.combine_chunks())
