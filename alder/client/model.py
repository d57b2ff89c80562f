"""What the server tells about collections and itself, as plain values."""

from dataclasses import dataclass

from alder.catalog import Collection, Snapshot
from alder.positions import PositionVector
from alder.v1 import common_pb2, leaf_pb2, query_pb2, tailer_pb2


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


@dataclass(frozen=True, slots=True)
class ShardState:
    """A shard on a leaf."""

    leaf: str
    collection: str
    shard: int
    rows: int
    tail_rows: int
    segments: int
    disk_bytes: int
    quarantined: int
    digest: str
    positions: PositionVector

    @classmethod
    def from_proto(cls, leaf: str, message: leaf_pb2.ShardDescription) -> "ShardState":
        """The entry of a leaf's answer."""
        return cls(
            leaf=leaf,
            collection=message.collection,
            shard=message.shard,
            rows=message.rows,
            tail_rows=message.tail_rows,
            segments=message.segments,
            disk_bytes=message.disk_bytes,
            quarantined=message.quarantined,
            digest=message.digest,
            positions=PositionVector.from_proto(message.positions),
        )


@dataclass(frozen=True, slots=True)
class PartitionLag:
    """How far every shard has read a partition; ``end_offset`` is None where it isn't known."""

    collection: str
    source: str
    partition: int
    next_offset: int
    end_offset: int | None

    @property
    def lag_records(self) -> int:
        """Records not yet visible; 0 where the end isn't known."""
        return 0 if self.end_offset is None else max(self.end_offset - self.next_offset, 0)

    @classmethod
    def from_proto(cls, message: query_pb2.SourceLag) -> "PartitionLag":
        """The entry of a status."""
        end = message.end_offset if message.end_offset >= 0 else None
        return cls(message.collection, message.source, message.partition, message.next_offset, end)


@dataclass(frozen=True, slots=True)
class PartitionProgress:
    """A partition as its tailer sees it; ``error`` says why it stands still."""

    tailer: str
    collection: str
    source: str
    partition: int
    next_offset: int
    records: int
    quarantined: int
    error: str

    @classmethod
    def from_proto(cls, tailer: str, message: tailer_pb2.PartitionProgress) -> "PartitionProgress":
        """The entry of a tailer's answer."""
        return cls(
            tailer=tailer,
            collection=message.collection,
            source=message.source,
            partition=message.partition,
            next_offset=message.next_offset,
            records=message.records,
            quarantined=message.quarantined,
            error=message.error,
        )


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """The state of the cluster; ``unreachable`` names the nodes that did not answer."""

    catalog: Snapshot
    shards: tuple[ShardState, ...]
    tailing: tuple[PartitionProgress, ...]
    lags: tuple[PartitionLag, ...]
    unreachable: tuple[str, ...]

    @classmethod
    def from_proto(cls, message: query_pb2.StatusResponse) -> "ClusterStatus":
        """The answer of a server."""
        return cls(
            catalog=Snapshot.from_proto(message.catalog),
            shards=tuple(
                ShardState.from_proto(leaf.node_id, shard)
                for leaf in message.leaves
                for shard in leaf.shards
            ),
            tailing=tuple(
                PartitionProgress.from_proto(tailer.node_id, partition)
                for tailer in message.tailers
                for partition in tailer.partitions
            ),
            lags=tuple(PartitionLag.from_proto(lag) for lag in message.lags),
            unreachable=tuple(message.unreachable),
        )

    def rows(self, collection: str) -> int:
        """Rows alive in a collection, over the shards that answered."""
        return sum(shard.rows for shard in self.shards if shard.collection == collection)

    def quarantined(self, collection: str) -> int:
        """Records of a collection in quarantine, over the shards that answered."""
        return sum(shard.quarantined for shard in self.shards if shard.collection == collection)

    def lag_records(self, collection: str) -> int:
        """Records of a collection that are not visible yet."""
        return sum(lag.lag_records for lag in self.lags if lag.collection == collection)
