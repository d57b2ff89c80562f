"""The catalog's values: collections, sources, shards, nodes, and a snapshot of all of them.

Views and saved queries are values of :mod:`alder.definitions`.

A snapshot is immutable and has a revision; a collection's shard map has an epoch. Tiers hold the
newest snapshot and never change one.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from alder.definitions import Definition
from alder.errors import AlderError, Reason
from alder.indexing import IndexSetting
from alder.v1 import catalog_pb2

LOG_SOURCE: Final = "log"
KAFKA_SCHEME: Final = "kafka://"
DEBEZIUM: Final = "debezium"
_NEXT: Final = "#next"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}\Z")


def next_name(name: str) -> str:
    """The name, which no user gives, of what is built to take the place of a collection."""
    return name + _NEXT


@dataclass(frozen=True, slots=True)
class SkippedRange:
    """Offsets ``[begin, end)``."""

    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class SourcePartition:
    """A log partition (name and identity empty) or a file; offsets before ``begin_offset``, and
    those in ``skipped``, are not read.
    """

    partition: int
    name: str = ""
    identity: str = ""
    begin_offset: int = 0
    skipped: tuple[SkippedRange, ...] = ()

    @classmethod
    def from_proto(cls, message: catalog_pb2.SourcePartition) -> "SourcePartition":
        """The partition in a snapshot or a request."""
        skipped = tuple(SkippedRange(entry.begin, entry.end) for entry in message.skipped)
        return cls(message.partition, message.name, message.identity, message.begin_offset, skipped)


@dataclass(frozen=True, slots=True)
class Source:
    """Where documents come from: the embedded log (url ``log``), files (``file://glob``), or a
    Kafka topic (``kafka://host:port/topic``), whose ``topic_id`` is empty until it is registered.
    While it is ``paused``, nothing of it is read.
    """

    name: str
    url: str
    topic_id: str = ""
    partitions: tuple[SourcePartition, ...] = ()
    paused: bool = False

    @property
    def is_topic(self) -> bool:
        """True for a Kafka topic."""
        return self.url.startswith(KAFKA_SCHEME)

    @property
    def current_partitions(self) -> tuple[SourcePartition, ...]:
        """Those that are read: of the generations of a file, the one that was found last."""
        newest = {entry.name: entry for entry in self.partitions if entry.name}
        return tuple(entry for entry in self.partitions if newest.get(entry.name, entry) is entry)

    @classmethod
    def from_proto(cls, message: catalog_pb2.Source) -> "Source":
        """The source in a snapshot."""
        partitions = tuple(map(SourcePartition.from_proto, message.partitions))
        return cls(message.name, message.url, message.topic_id, partitions, message.paused)

    def to_proto(self) -> catalog_pb2.Source:
        """The source as it travels."""
        return catalog_pb2.Source(
            name=self.name,
            url=self.url,
            topic_id=self.topic_id,
            partitions=[
                catalog_pb2.SourcePartition(
                    partition=entry.partition,
                    name=entry.name,
                    identity=entry.identity,
                    begin_offset=entry.begin_offset,
                    skipped=[
                        catalog_pb2.SkippedRange(begin=one.begin, end=one.end)
                        for one in entry.skipped
                    ],
                )
                for entry in self.partitions
            ],
            paused=self.paused,
        )


@dataclass(frozen=True, slots=True)
class Shard:
    """Slots ``[slot_begin, slot_end)`` of a collection, served by a leaf."""

    shard: int
    slot_begin: int
    slot_end: int
    leaf: str


@dataclass(frozen=True, slots=True)
class CollectionSettings:
    """How a collection's rows are kept; fixed when it is created.

    ``cluster_by_paths``: what the rows of a sealed segment are ordered by; empty: as in the log.
    ``retain_us``: documents of an older event time are gone; 0: none are. ``history_us``: how far
    back a cut may lie; 0: as far as the log, or for a part of the time that documents are retained.
    Both are microseconds of the log's time. ``indexes``: of paths that the default does not suit.
    ``transform_sql``: what makes documents of records (:mod:`alder.transformation`); may be empty.
    ``ordinal_bits``: as many as number the documents of a record; 0 where it becomes one at most.

    What documents of a key mean: ``version_path``: where the version is by which they are ordered;
    empty: the order of the log. ``deleted_path``: documents with true there delete their key.
    ``merge``: each is a JSON merge patch (RFC 7396) of what its key has. ``envelope``: what records
    are wrapped in, :data:`DEBEZIUM` or empty for nothing.
    """

    cluster_by_paths: tuple[str, ...] = ()
    retain_us: int = 0
    history_us: int = 0
    indexes: tuple[IndexSetting, ...] = ()
    version_path: str = ""
    deleted_path: str = ""
    merge: bool = False
    envelope: str = ""
    transform_sql: str = ""
    ordinal_bits: int = 0

    @classmethod
    def from_proto(cls, message: catalog_pb2.CollectionSettings) -> "CollectionSettings":
        """The settings in a snapshot or a request."""
        return cls(
            tuple(message.cluster_by_paths),
            message.retain_us,
            message.history_us,
            tuple(IndexSetting(entry.path, entry.kind) for entry in message.indexes),
            message.version_path,
            message.deleted_path,
            message.merge,
            message.envelope,
            transform_sql=message.transform_sql,
            ordinal_bits=message.ordinal_bits,
        )

    def to_proto(self) -> catalog_pb2.CollectionSettings:
        """The settings as they travel."""
        return catalog_pb2.CollectionSettings(
            cluster_by_paths=self.cluster_by_paths,
            retain_us=self.retain_us,
            history_us=self.history_us,
            indexes=[
                catalog_pb2.IndexSetting(path=entry.path, kind=entry.kind) for entry in self.indexes
            ],
            version_path=self.version_path,
            deleted_path=self.deleted_path,
            merge=self.merge,
            envelope=self.envelope,
            transform_sql=self.transform_sql,
            ordinal_bits=self.ordinal_bits,
        )


@dataclass(frozen=True, slots=True)
class Collection:
    """A collection with its sources and its shard map; shards ascend by slot.

    ``topic`` is that of the embedded log where the collection is built to take the place of the one
    of that name; else it is empty.
    """

    name: str
    collection_id: int
    key_path: str = ""
    time_path: str = ""
    shard_by_path: str = ""
    sources: tuple[Source, ...] = ()
    shards: tuple[Shard, ...] = ()
    epoch: int = 1
    settings: CollectionSettings = CollectionSettings()
    topic: str = ""

    @classmethod
    def from_proto(cls, message: catalog_pb2.Collection) -> "Collection":
        """The collection in a snapshot."""
        return cls(
            name=message.name,
            collection_id=message.collection_id,
            key_path=message.key_path,
            time_path=message.time_path,
            shard_by_path=message.shard_by_path,
            sources=tuple(Source.from_proto(source) for source in message.sources),
            shards=tuple(
                Shard(entry.shard, entry.slot_begin, entry.slot_end, entry.leaf)
                for entry in message.shards
            ),
            epoch=message.epoch,
            settings=CollectionSettings.from_proto(message.settings),
            topic=message.topic,
        )

    def to_proto(self) -> catalog_pb2.Collection:
        """The collection as it travels."""
        return catalog_pb2.Collection(
            name=self.name,
            collection_id=self.collection_id,
            key_path=self.key_path,
            time_path=self.time_path,
            shard_by_path=self.shard_by_path,
            sources=[source.to_proto() for source in self.sources],
            shards=[
                catalog_pb2.Shard(
                    shard=entry.shard,
                    slot_begin=entry.slot_begin,
                    slot_end=entry.slot_end,
                    leaf=entry.leaf,
                )
                for entry in self.shards
            ],
            epoch=self.epoch,
            settings=self.settings.to_proto(),
            topic=self.topic,
        )

    @property
    def keyed(self) -> bool:
        """True if a later document replaces an earlier one of the same key."""
        return bool(self.key_path)

    @property
    def log_topic(self) -> str:
        """The topic of the embedded log that it reads: the same for ever, whatever its name is."""
        return self.topic or self.name

    def source(self, name: str) -> Source:
        """The source of that name. Raises KeyError if there is none."""
        for source in self.sources:
            if source.name == name:
                return source
        raise KeyError(name)

    def shards_by_leaf(self) -> dict[str, list[int]]:
        """The shard numbers that each leaf serves."""
        by_leaf: dict[str, list[int]] = {}
        for entry in self.shards:
            by_leaf.setdefault(entry.leaf, []).append(entry.shard)
        return by_leaf


@dataclass(frozen=True, slots=True)
class Node:
    """A process of the cluster. An empty address: in the controller's own process."""

    node_id: str
    role: catalog_pb2.NodeRole
    address: str
    live: bool = True

    @classmethod
    def from_proto(cls, message: catalog_pb2.Node) -> "Node":
        """The node in a snapshot or a heartbeat."""
        return cls(message.node_id, message.role, message.address, message.live)

    def to_proto(self) -> catalog_pb2.Node:
        """The node as it travels."""
        return catalog_pb2.Node(
            node_id=self.node_id, role=self.role, address=self.address, live=self.live
        )


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The whole catalog at one revision.

    ``assignment`` grows whenever the live tailers change, who share the partitions among them: what
    a tailer does by an older one is refused.
    """

    revision: int = 0
    collections: Mapping[str, Collection] = field(default_factory=dict)
    nodes: Mapping[str, Node] = field(default_factory=dict)
    definitions: Mapping[str, Definition] = field(default_factory=dict)
    assignment: int = 0

    @classmethod
    def from_proto(cls, message: catalog_pb2.CatalogSnapshot) -> "Snapshot":
        """The snapshot that the controller sent."""
        return cls(
            message.revision,
            {entry.name: Collection.from_proto(entry) for entry in message.collections},
            {entry.node_id: Node.from_proto(entry) for entry in message.nodes},
            {entry.name: Definition.from_proto(entry) for entry in message.definitions},
            message.assignment,
        )

    def to_proto(self) -> catalog_pb2.CatalogSnapshot:
        """The snapshot as it travels."""
        return catalog_pb2.CatalogSnapshot(
            revision=self.revision,
            collections=[entry.to_proto() for entry in self.collections.values()],
            nodes=[entry.to_proto() for entry in self.nodes.values()],
            definitions=[entry.to_proto() for entry in self.definitions.values()],
            assignment=self.assignment,
        )

    def live_nodes(self, role: catalog_pb2.NodeRole) -> list[Node]:
        """The nodes of a role whose lease holds, by id."""
        nodes = (node for node in self.nodes.values() if node.role == role and node.live)
        return sorted(nodes, key=lambda node: node.node_id)


def check_collection_name(name: str) -> None:
    """Raises AlderError(INVALID_ARGUMENT) unless the name can be a collection's."""
    if not _NAME.match(name):
        raise AlderError(
            Reason.INVALID_ARGUMENT,
            f"{name!r} can't name a collection; use at most 63 letters, digits and underscores, "
            "not beginning with a digit",
        )
