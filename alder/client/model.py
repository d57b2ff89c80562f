"""What the server tells about collections and itself, as plain values."""

from dataclasses import dataclass

from alder.catalog import Collection, Snapshot
from alder.client.errors import ProgrammingError
from alder.errors import Reason
from alder.lag import US_PER_S
from alder.positions import PositionVector
from alder.v1 import common_pb2, leaf_pb2, quarantine_pb2, query_pb2, tailer_pb2


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a collection: its path, its DuckDB type, and the physical types it joins."""

    path: str
    sql_type: str
    types: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CollectionDescription:
    """A collection and its columns; ``overflow``: some paths have no column, only the document."""

    collection: Collection
    columns: tuple[Column, ...]
    overflow: bool

    @classmethod
    def from_proto(cls, message: query_pb2.DescribeCollectionResponse) -> "CollectionDescription":
        """The answer of a server."""
        return cls(
            collection=Collection.from_proto(message.collection),
            columns=tuple(
                Column(column.path, column.sql_type, tuple(column.types))
                for column in message.columns
            ),
            overflow=message.overflow,
        )


@dataclass(frozen=True, slots=True)
class QuarantinedRecord:
    """A record that could not be decoded; ``value`` is its beginning if it was too long."""

    source: str
    partition: int
    offset: int
    reason: str
    value: bytes
    size_bytes: int

    @classmethod
    def from_proto(cls, message: common_pb2.QuarantinedRecord) -> "QuarantinedRecord":
        """The record of a server."""
        return cls(
            source=message.source,
            partition=message.partition,
            offset=message.offset,
            reason=message.reason,
            value=message.value,
            size_bytes=message.size_bytes,
        )

    @property
    def position(self) -> "RecordPosition":
        """Where it is."""
        return RecordPosition(self.source, self.partition, self.offset)


@dataclass(frozen=True, slots=True)
class RecordPosition:
    """Where a record is in the log; as text ``source/partition/offset``."""

    source: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.source}/{self.partition}/{self.offset}"

    @classmethod
    def parse(cls, text: str) -> "RecordPosition":
        """The inverse of ``str``. Raises ProgrammingError."""
        stream, _, offset = text.rpartition("/")
        source, _, partition = stream.rpartition("/")
        if not (source and partition.isdecimal() and offset.isdecimal()):
            raise ProgrammingError(
                Reason.INVALID_ARGUMENT,
                f"{text!r} is no position; write source/partition/offset, such as log/0/17",
            )
        return cls(source, int(partition), int(offset))

    @classmethod
    def from_proto(cls, message: quarantine_pb2.RecordPosition) -> "RecordPosition":
        """The position of a server."""
        return cls(message.source, message.partition, message.offset)

    def to_proto(self) -> quarantine_pb2.RecordPosition:
        """The position as it travels. Raises ProgrammingError where it can't be one."""
        if not (0 <= self.partition < 1 << 31 and 0 <= self.offset < 1 << 63):
            raise ProgrammingError(Reason.INVALID_ARGUMENT, f"{self} is no position of a record")
        return quarantine_pb2.RecordPosition(
            source=self.source, partition=self.partition, offset=self.offset
        )


@dataclass(frozen=True, slots=True)
class Redriven:
    """A record that was redriven; ``reason`` says why it waits on, and is empty if it does not."""

    position: RecordPosition
    reason: str


@dataclass(frozen=True, slots=True)
class RunningQuery:
    """A query that a server runs; ``stage``: how far it is, ``client``: its end of the connection.

    ``started_us`` is in microseconds since 1970 UTC; rows and bytes are what leaves have sent.
    """

    query_id: str
    sql: str
    client: str
    started_us: int
    stage: str
    rows_gathered: int
    size_bytes_gathered: int

    @classmethod
    def from_proto(cls, message: query_pb2.RunningQuery) -> "RunningQuery":
        """The entry of a server's list."""
        return cls(
            query_id=message.query_id,
            sql=message.sql,
            client=message.client,
            started_us=message.started_us,
            stage=message.stage,
            rows_gathered=message.rows_gathered,
            size_bytes_gathered=message.size_bytes_gathered,
        )


@dataclass(frozen=True, slots=True)
class ShardState:
    """A shard on a leaf, as told by `ShardDescription` of leaf.proto."""

    collection: str
    shard: int
    rows: int
    tail_rows: int
    segments: int
    disk_bytes: int
    quarantined: int
    digest: str
    positions: PositionVector
    rows_stored: int
    rows_late: int
    tombstones: int
    history_from: PositionVector
    retained_from_us: int | None
    damage: str
    epoch: int

    @classmethod
    def from_proto(cls, message: leaf_pb2.ShardDescription) -> "ShardState":
        """The entry of a leaf's answer."""
        return cls(
            collection=message.collection,
            shard=message.shard,
            rows=message.rows,
            tail_rows=message.tail_rows,
            segments=message.segments,
            disk_bytes=message.disk_bytes,
            quarantined=message.quarantined,
            digest=message.digest,
            positions=PositionVector.from_proto(message.positions),
            rows_stored=message.rows_stored,
            rows_late=message.rows_late,
            tombstones=message.tombstones,
            history_from=PositionVector.from_proto(message.history_from),
            retained_from_us=(
                message.retained_from_us if message.HasField("retained_from_us") else None
            ),
            damage=message.damage,
            epoch=message.epoch,
        )


@dataclass(frozen=True, slots=True)
class CacheState:
    """A cache of a leaf; the last three count since the leaf started."""

    name: str
    size_bytes: int
    size_bytes_max: int
    hits: int
    misses: int
    evictions: int

    @classmethod
    def from_proto(cls, message: leaf_pb2.CacheDescription) -> "CacheState":
        """The entry of a leaf's answer."""
        return cls(
            name=message.name,
            size_bytes=message.size_bytes,
            size_bytes_max=message.size_bytes_max,
            hits=message.hits,
            misses=message.misses,
            evictions=message.evictions,
        )


@dataclass(frozen=True, slots=True)
class LeafState:
    """A leaf that answered."""

    node_id: str
    shards: tuple[ShardState, ...]
    caches: tuple[CacheState, ...]


@dataclass(frozen=True, slots=True)
class PartitionLag:
    """How far every shard has read a partition; what isn't known is None.

    ``lag_s``: every shard has all records that were appended longer ago. ``applied_log_time_us``:
    the log time of the last record that all have, since 1970 UTC.
    """

    collection: str
    source: str
    partition: int
    next_offset: int
    end_offset: int | None
    lag_s: float | None = None
    applied_log_time_us: int | None = None

    @property
    def lag_records(self) -> int:
        """Records not yet visible; 0 where the end isn't known."""
        return 0 if self.end_offset is None else max(self.end_offset - self.next_offset, 0)

    @classmethod
    def from_proto(cls, message: query_pb2.SourceLag) -> "PartitionLag":
        """The entry of a status."""
        end = message.end_offset if message.end_offset >= 0 else None
        return cls(
            message.collection,
            message.source,
            message.partition,
            message.next_offset,
            end,
            message.lag_us / US_PER_S if message.HasField("lag_us") else None,
            message.applied_log_time_us or None,
        )


@dataclass(frozen=True, slots=True)
class PartitionProgress:
    """A partition as its tailer sees it; ``error`` says why it stands still.

    ``held_bytes``: rows that wait there for a push or for its answer.
    """

    collection: str
    source: str
    partition: int
    next_offset: int
    records: int
    quarantined: int
    error: str
    held_bytes: int

    @classmethod
    def from_proto(cls, message: tailer_pb2.PartitionProgress) -> "PartitionProgress":
        """The entry of a tailer's answer."""
        return cls(
            collection=message.collection,
            source=message.source,
            partition=message.partition,
            next_offset=message.next_offset,
            records=message.records,
            quarantined=message.quarantined,
            error=message.error,
            held_bytes=message.held_bytes,
        )


@dataclass(frozen=True, slots=True)
class TailerState:
    """A tailer that answered."""

    node_id: str
    partitions: tuple[PartitionProgress, ...]


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """The state of the cluster; ``unreachable`` names the nodes that did not answer."""

    catalog: Snapshot
    leaves: tuple[LeafState, ...]
    tailers: tuple[TailerState, ...]
    lags: tuple[PartitionLag, ...]
    unreachable: tuple[str, ...]

    @classmethod
    def from_proto(cls, message: query_pb2.StatusResponse) -> "ClusterStatus":
        """The answer of a server."""
        return cls(
            catalog=Snapshot.from_proto(message.catalog),
            leaves=tuple(
                LeafState(
                    leaf.node_id,
                    tuple(map(ShardState.from_proto, leaf.shards)),
                    tuple(map(CacheState.from_proto, leaf.caches)),
                )
                for leaf in message.leaves
            ),
            tailers=tuple(
                TailerState(
                    tailer.node_id, tuple(map(PartitionProgress.from_proto, tailer.partitions))
                )
                for tailer in message.tailers
            ),
            lags=tuple(PartitionLag.from_proto(lag) for lag in message.lags),
            unreachable=tuple(message.unreachable),
        )

    def shards(self, collection: str) -> list[ShardState]:
        """The shards of a collection that answered."""
        known = (shard for leaf in self.leaves for shard in leaf.shards)
        return [shard for shard in known if shard.collection == collection]

    def rows(self, collection: str) -> int:
        """Rows alive in a collection, over the shards that answered."""
        return sum(shard.rows for shard in self.shards(collection))

    def quarantined(self, collection: str) -> int:
        """Records of a collection in quarantine, over the shards that answered."""
        return sum(shard.quarantined for shard in self.shards(collection))

    def lag_records(self, collection: str) -> int:
        """Records of a collection that are not visible yet."""
        return sum(lag.lag_records for lag in self.lags if lag.collection == collection)
