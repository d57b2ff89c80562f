"""A log that tests append to, real leaves that it is pushed to in any order, an aggregator.

Beside it what an answer must be: rows alive at a vector, found by reading the log in plain Python.
"""

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from zlib import crc32

import pyarrow as pa
from aggregator_model import CatalogModel, DirectoryModel
from leaf_model import Document, merge_now, push, rows_bytes

from aggregator.service import Aggregator, AggregatorSettings
from alder.arrow import join_chunks
from alder.catalog import (
    LOG_SOURCE,
    Collection,
    CollectionSettings,
    Shard,
    Snapshot,
    Source,
    SourcePartition,
)
from alder.positions import PositionVector
from alder.slots import split_evenly
from alder.v1 import log_pb2, query_pb2
from leaf.seal import seal
from leaf.service import Leaf
from leaf.settings import LeafSettings
from leaf.shard import Shard as LeafShard

T = TypeVar("T")
Rows = list[tuple[object, ...]]


@dataclass(frozen=True, slots=True)
class Record:
    """A record of the log; ``document`` None deletes its key."""

    partition: int
    offset: int
    time_us: int
    key: str
    document: Document | None

    @property
    def row_id(self) -> str:
        """How it is named."""
        return f"log/{self.partition}/{self.offset}"


@dataclass
class LogModel:
    """``LogClient`` that knows where its partitions stood at any time up to ``now_us``."""

    partitions: list[list[Record]]
    now_us: int = 0

    async def offsets(
        self, request: log_pb2.OffsetsRequest, timeout_s: float | None = None
    ) -> log_pb2.OffsetsResponse:
        moment_us = request.at_timestamp_us
        ahead_us = max(0, moment_us + 1 - self.now_us)
        self.now_us += 1_000
        return log_pb2.OffsetsResponse(
            ahead_us=ahead_us,
            partitions=[
                log_pb2.PartitionOffsets(
                    partition=number,
                    end_offset=len(records),
                    at_offset=sum(record.time_us <= moment_us for record in records),
                )
                for number, records in enumerate(self.partitions)
            ],
        )


@dataclass
class Travel:
    """Collection ``c`` with its log, which ``append`` writes and ``catch_up`` brings to leaves."""

    directory: Path
    keyed: bool = False
    partitions: int = 2
    shards: int = 3
    leaves: int = 2
    settings: CollectionSettings = field(default_factory=CollectionSettings)
    step_us: int = 1_000

    def __post_init__(self) -> None:
        self._runner = asyncio.Runner()
        self.log = LogModel([[] for _ in range(self.partitions)])
        self.pushed = {n: [0] * self.partitions for n in range(self.shards)}
        placed = [f"leaf-{number % self.leaves}" for number in range(self.shards)]
        shards = tuple(
            Shard(number, begin, end, placed[number])
            for number, (begin, end) in enumerate(split_evenly(self.shards))
        )
        parts = tuple(map(SourcePartition, range(self.partitions)))
        sources = (Source(LOG_SOURCE, "log", "t", parts),)
        self.collection = Collection(
            "c",
            1,
            key_path="k" if self.keyed else "",
            sources=sources,
            shards=shards,
            settings=self.settings,
        )
        catalog = CatalogModel()
        self.follower = catalog.follower
        self.follower.snapshot = Snapshot(1, {"c": self.collection}, {})
        quick = LeafSettings(
            follow_wait_s=0.05,
            catch_up_wait_s=0.05,
            seal_rows_min=1 << 30,
            merge_factor=2,
            merge_rest_s=0.0,
        )
        self.leaf_of = {
            name: Leaf(name, self.directory / name, self.follower, quick, ThreadPoolExecutor(1))
            for name in sorted(set(placed))
        }
        self.aggregator = Aggregator(
            self.follower,
            DirectoryModel(self.leaf_of),
            self.log,
            AggregatorSettings(catalog_wait_s=0.0),
            catalog=catalog,
        )
        for leaf in self.leaf_of.values():
            self.run(leaf.start())

    def __enter__(self) -> "Travel":
        return self

    def __exit__(self, *error: object) -> None:
        self.run(self.aggregator.close())
        for leaf in self.leaf_of.values():
            self.run(leaf.close())
        self._runner.close()

    def run(self, call: Coroutine[object, object, T]) -> T:
        """The result of a coroutine, in this system's loop."""
        return self._runner.run(call)

    def append(self, document: Document | None, *, partition: int = 0, key: str = "") -> Record:
        """One more record, ``step_us`` after the one before."""
        self.log.now_us += self.step_us
        records = self.log.partitions[partition]
        time_us = self.log.now_us - 1
        record = Record(partition, len(records), time_us, key, document)
        records.append(record)
        return record

    def ends(self) -> PositionVector:
        """The end of the log."""
        offsets = {(LOG_SOURCE, n): len(part) for n, part in enumerate(self.log.partitions)}
        return PositionVector(offsets)

    def shard_of(self, record: Record) -> int:
        """The shard that keeps a record."""
        name = record.key if self.keyed else record.row_id
        return crc32(name.encode()) % self.shards

    def push(self, shard: int, partition: int, to_offset: int) -> None:
        """Brings a shard to an offset of a partition."""
        self.run(self.pushing(shard, partition, to_offset))

    async def pushing(self, shard: int, partition: int, to_offset: int) -> None:
        """As :meth:`push`, while queries run."""
        begin = self.pushed[shard][partition]
        own = [
            record
            for record in self.log.partitions[partition][begin:to_offset]
            if self.shard_of(record) == shard
        ]
        keys = {record.offset: record.key for record in own} if self.keyed else None
        times = {record.offset: record.time_us for record in own}
        data = rows_bytes({record.offset: record.document for record in own}, keys, times)
        self.pushed[shard][partition] = to_offset
        leaf = self.leaf_of[self.collection.shards[shard].leaf]
        message = push({shard: data}, begin, to_offset, partition=partition)
        answer = await leaf.apply(message)
        assert answer.shards[0].next_offset == to_offset

    def catch_up(self) -> None:
        """Brings every shard to the end of the log."""
        for shard in range(self.shards):
            for partition, records in enumerate(self.log.partitions):
                if self.pushed[shard][partition] < len(records):
                    self.push(shard, partition, len(records))

    def stores(self) -> list[LeafShard]:
        """The shards as their leaves keep them."""
        leaves = self.leaf_of.values()
        return [shard for leaf in leaves for shard in leaf._shards.all().values()]

    def seal(self) -> None:
        """Makes segments of all live tails."""
        for shard in self.stores():
            plan = shard.begin_seal()
            if plan is not None:
                tables = [chunk.table for chunk in plan.tail]
                shard.publish_seal(plan, seal(tables, plan.cluster_by, plan.indexes))
                shard.end_seal(plan)

    def merge(self) -> None:
        """Purges, and makes the merges that are due."""
        for shard in self.stores():
            shard.compaction.purge()
            while merge_now(shard):
                pass

    def ask(
        self, sql: str, timeout_s: float = 20, **request: object
    ) -> tuple[pa.Table, query_pb2.ExecuteTrailer]:
        """The result of a query and its trailer."""
        return self.run(self.asking(sql, timeout_s, **request))

    async def asking(
        self, sql: str, timeout_s: float = 20, **request: object
    ) -> tuple[pa.Table, query_pb2.ExecuteTrailer]:
        """As :meth:`ask`, while other things run."""
        message = query_pb2.ExecuteRequest(sql=sql, **request)
        parts = []
        trailer = query_pb2.ExecuteTrailer()
        async for response in self.aggregator.execute(message, timeout_s=timeout_s):
            parts.append(response.arrow)
            if response.HasField("trailer"):
                trailer = response.trailer
        return join_chunks(parts), trailer

    def rows(self, sql: str, **request: object) -> Rows:
        """The rows of a query, sorted."""
        table, _ = self.ask(sql, **request)
        return sorted_rows(table)

    def alive(self, at: PositionVector) -> list[Record]:
        """The records that are rows at a cut, by the log alone."""
        inside = [
            r
            for part in self.log.partitions
            for r in part
            if r.offset < at[LOG_SOURCE, r.partition]
        ]
        if not self.keyed:
            return inside
        last: dict[str, Record] = {}
        for record in sorted(inside, key=lambda r: (r.time_us, r.partition, r.offset)):
            last[record.key] = record
        return [record for record in last.values() if record.document is not None]


def sorted_rows(table: pa.Table) -> Rows:
    """Rows in an order that depends on nothing else."""
    columns = [column.to_pylist() for column in table.columns]
    return sorted(zip(*columns, strict=True), key=repr)


def cut_of(trailer: query_pb2.ExecuteTrailer, place: int = 0) -> PositionVector:
    """The cut of a collection in a trailer."""
    return PositionVector.from_proto(trailer.collections[place].positions)
