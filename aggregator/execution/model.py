"""What a query is on its way: as it was asked, ready to run, answered."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import pyarrow as pa

from aggregator.execution.coverage import WAIT_SHARE, Coverage, Missing, share_of
from aggregator.execution.engine import EngineSettings
from aggregator.execution.gathered import Gathered, State
from aggregator.planning.plan import Plan
from aggregator.planning.strategy import JoinLimits
from aggregator.protection.admission import AdmissionSettings
from aggregator.protection.running import Progress
from aggregator.statement.tablename import AsOf, TableName
from alder.catalog import Collection
from alder.positions import PositionVector
from alder.v1 import query_pb2


@dataclass(frozen=True, slots=True)
class AggregatorSettings:
    """Bounds of an aggregator: bytes, seconds, counts."""

    engine: EngineSettings = field(default_factory=EngineSettings)
    admission: AdmissionSettings = field(default_factory=AdmissionSettings)
    joins: JoinLimits = field(default_factory=JoinLimits)
    gathered_bytes_max: int = 2 << 30
    timeout_s_default: float = 60.0
    killers_refused_s: float = 600.0
    margin_s: float = 0.05
    catalog_wait_s: float = 0.3
    query_threads: int = 4
    plans_max: int = 256
    known_values_bytes: int = 128 << 20
    quarantine_records_max: int = 1_000


@dataclass(slots=True)
class Run:
    """One query on its way: ``sql`` is the SELECT of the request; times add up over the tries."""

    query_id: str
    request: query_pb2.ExecuteRequest
    sql: str
    deadline_s: float
    plan_us: int = 0
    scatter_us: int = 0
    finish_us: int = 0
    progress: Progress = field(default_factory=Progress)
    coverage: Coverage = field(default_factory=Coverage)


@dataclass(frozen=True, slots=True)
class Cut:
    """What a query reads: shards of collections, and up to where.

    Collections and their positions are by the name as written, which says the moment, the rest by
    id. Collections have the covered shards only; ``missing`` are the others, by shard. ``lags_us``:
    microseconds behind the log's end, where they are bounded.
    """

    collections: Mapping[str, Collection]
    states: Mapping[int, State]
    positions: Mapping[str, PositionVector]
    missing: Mapping[int, Mapping[int, Missing]] = field(default_factory=dict)
    lags_us: Mapping[int, float] = field(default_factory=dict)

    def of(self, names: Sequence[str]) -> "Cut":
        """The same cut of some of the collections."""
        return replace(self, collections={name: self.collections[name] for name in names})

    def by_id(self) -> dict[int, Collection]:
        """The collections, each once."""
        return {one.collection_id: one for one in self.collections.values()}

    def rows_stored(self) -> dict[str, int]:
        """By collection as written, at least as many rows as it has in its cut."""
        return {
            name: self.states[one.collection_id].rows_stored
            for name, one in self.collections.items()
        }


@dataclass(frozen=True, slots=True)
class Prepared:
    """A query that is ready to run."""

    plan: Plan
    at: Cut


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer: ``answers`` are in the order of the plan's reads.

    ``told`` says how its joins were gathered and why, one sentence each.
    """

    prepared: Prepared
    answers: Sequence[Gathered]
    result: pa.Table
    told: tuple[str, ...] = ()

    def reads(self) -> list[query_pb2.CollectionRead]:
        """What was read of each collection and moment."""
        prepared = self.prepared
        pairs = list(zip(prepared.plan.reads, self.answers, strict=True))
        alike: dict[tuple[int, AsOf | None], list[str]] = {}
        for name, one in prepared.at.collections.items():
            key = one.collection_id, TableName.decode(name).as_of
            alike.setdefault(key, []).append(name)
        return [
            _collection_read(
                prepared,
                names[0],
                [answer for read, answer in pairs if read.collection in names],
            )
            for names in alike.values()
        ]

    def references(self) -> list[query_pb2.ReferenceRead]:
        """What was asked of the leaves, by each read of the plan."""
        return [
            query_pb2.ReferenceRead(
                collection=self.prepared.at.collections[read.collection].name,
                read_class=read.read_class,
                rows=sum(leaf.rows for leaf in answer.leaves),
                size_bytes=sum(leaf.size_bytes for leaf in answer.leaves),
                input_bytes=answer.input_bytes,
                slowest_leaf_us=max((leaf.elapsed_us for leaf in answer.leaves), default=0),
            )
            for read, answer in zip(self.prepared.plan.reads, self.answers, strict=True)
        ]


def since_us(begin_s: float) -> int:
    """Microseconds since a moment of the monotonic clock."""
    return int((time.monotonic() - begin_s) * 1e6)


def left_s(run: Run, margin_s: float) -> float:
    """Seconds that leaves may take, so that ``margin_s`` is left to finish the answer."""
    left = run.deadline_s - time.monotonic() - margin_s
    if run.coverage.policy.tolerant:
        left *= WAIT_SHARE
    return max(left, 0.001)


def _collection_read(
    prepared: Prepared, name: str, answers: list[Gathered]
) -> query_pb2.CollectionRead:
    collection = prepared.at.collections[name]
    as_of = TableName.decode(name).as_of
    scans = [scan for answer in answers for scan in answer.scans]
    missing = prepared.at.missing.get(collection.collection_id, {})
    lag_us = prepared.at.lags_us.get(collection.collection_id)
    return query_pb2.CollectionRead(
        collection=collection.name,
        as_of="" if as_of is None else str(as_of),
        positions=prepared.at.positions[name].to_proto(),
        shards_asked=sorted([*missing, *(entry.shard for entry in collection.shards)]),
        shards_answered=sorted({scan.shard for scan in scans}),
        scans=scans,
        shards_missing=[
            query_pb2.MissingShard(shard=one.shard, leaf=one.leaf, reason=one.why)
            for _, one in sorted(missing.items())
        ],
        coverage=share_of(collection),
        lag_us=None if lag_us is None else round(lag_us),
    )
