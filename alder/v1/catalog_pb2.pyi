from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class NodeRole(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    NODE_ROLE_UNSPECIFIED: _ClassVar[NodeRole]
    NODE_ROLE_LEAF: _ClassVar[NodeRole]
    NODE_ROLE_TAILER: _ClassVar[NodeRole]
    NODE_ROLE_AGGREGATOR: _ClassVar[NodeRole]

class DefinitionKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DEFINITION_KIND_UNSPECIFIED: _ClassVar[DefinitionKind]
    DEFINITION_KIND_VIEW: _ClassVar[DefinitionKind]
    DEFINITION_KIND_QUERY: _ClassVar[DefinitionKind]

class RebuildStep(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REBUILD_STEP_UNSPECIFIED: _ClassVar[RebuildStep]
    REBUILD_STEP_BEGIN: _ClassVar[RebuildStep]
    REBUILD_STEP_FINISH: _ClassVar[RebuildStep]
    REBUILD_STEP_ABORT: _ClassVar[RebuildStep]
NODE_ROLE_UNSPECIFIED: NodeRole
NODE_ROLE_LEAF: NodeRole
NODE_ROLE_TAILER: NodeRole
NODE_ROLE_AGGREGATOR: NodeRole
DEFINITION_KIND_UNSPECIFIED: DefinitionKind
DEFINITION_KIND_VIEW: DefinitionKind
DEFINITION_KIND_QUERY: DefinitionKind
REBUILD_STEP_UNSPECIFIED: RebuildStep
REBUILD_STEP_BEGIN: RebuildStep
REBUILD_STEP_FINISH: RebuildStep
REBUILD_STEP_ABORT: RebuildStep

class Node(_message.Message):
    __slots__ = ("node_id", "role", "address", "live")
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    LIVE_FIELD_NUMBER: _ClassVar[int]
    node_id: str
    role: NodeRole
    address: str
    live: bool
    def __init__(self, node_id: _Optional[str] = ..., role: _Optional[_Union[NodeRole, str]] = ..., address: _Optional[str] = ..., live: _Optional[bool] = ...) -> None: ...

class SourcePartition(_message.Message):
    __slots__ = ("partition", "name", "identity", "begin_offset", "skipped")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    BEGIN_OFFSET_FIELD_NUMBER: _ClassVar[int]
    SKIPPED_FIELD_NUMBER: _ClassVar[int]
    partition: int
    name: str
    identity: str
    begin_offset: int
    skipped: _containers.RepeatedCompositeFieldContainer[SkippedRange]
    def __init__(self, partition: _Optional[int] = ..., name: _Optional[str] = ..., identity: _Optional[str] = ..., begin_offset: _Optional[int] = ..., skipped: _Optional[_Iterable[_Union[SkippedRange, _Mapping]]] = ...) -> None: ...

class SkippedRange(_message.Message):
    __slots__ = ("begin", "end")
    BEGIN_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    begin: int
    end: int
    def __init__(self, begin: _Optional[int] = ..., end: _Optional[int] = ...) -> None: ...

class Source(_message.Message):
    __slots__ = ("name", "url", "topic_id", "partitions", "paused")
    NAME_FIELD_NUMBER: _ClassVar[int]
    URL_FIELD_NUMBER: _ClassVar[int]
    TOPIC_ID_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    name: str
    url: str
    topic_id: str
    partitions: _containers.RepeatedCompositeFieldContainer[SourcePartition]
    paused: bool
    def __init__(self, name: _Optional[str] = ..., url: _Optional[str] = ..., topic_id: _Optional[str] = ..., partitions: _Optional[_Iterable[_Union[SourcePartition, _Mapping]]] = ..., paused: _Optional[bool] = ...) -> None: ...

class Shard(_message.Message):
    __slots__ = ("shard", "slot_begin", "slot_end", "leaf")
    SHARD_FIELD_NUMBER: _ClassVar[int]
    SLOT_BEGIN_FIELD_NUMBER: _ClassVar[int]
    SLOT_END_FIELD_NUMBER: _ClassVar[int]
    LEAF_FIELD_NUMBER: _ClassVar[int]
    shard: int
    slot_begin: int
    slot_end: int
    leaf: str
    def __init__(self, shard: _Optional[int] = ..., slot_begin: _Optional[int] = ..., slot_end: _Optional[int] = ..., leaf: _Optional[str] = ...) -> None: ...

class IndexSetting(_message.Message):
    __slots__ = ("path", "kind")
    PATH_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    path: str
    kind: str
    def __init__(self, path: _Optional[str] = ..., kind: _Optional[str] = ...) -> None: ...

class CollectionSettings(_message.Message):
    __slots__ = ("cluster_by_paths", "retain_us", "history_us", "indexes", "version_path", "deleted_path", "merge", "envelope", "transform_sql", "ordinal_bits")
    CLUSTER_BY_PATHS_FIELD_NUMBER: _ClassVar[int]
    RETAIN_US_FIELD_NUMBER: _ClassVar[int]
    HISTORY_US_FIELD_NUMBER: _ClassVar[int]
    INDEXES_FIELD_NUMBER: _ClassVar[int]
    VERSION_PATH_FIELD_NUMBER: _ClassVar[int]
    DELETED_PATH_FIELD_NUMBER: _ClassVar[int]
    MERGE_FIELD_NUMBER: _ClassVar[int]
    ENVELOPE_FIELD_NUMBER: _ClassVar[int]
    TRANSFORM_SQL_FIELD_NUMBER: _ClassVar[int]
    ORDINAL_BITS_FIELD_NUMBER: _ClassVar[int]
    cluster_by_paths: _containers.RepeatedScalarFieldContainer[str]
    retain_us: int
    history_us: int
    indexes: _containers.RepeatedCompositeFieldContainer[IndexSetting]
    version_path: str
    deleted_path: str
    merge: bool
    envelope: str
    transform_sql: str
    ordinal_bits: int
    def __init__(self, cluster_by_paths: _Optional[_Iterable[str]] = ..., retain_us: _Optional[int] = ..., history_us: _Optional[int] = ..., indexes: _Optional[_Iterable[_Union[IndexSetting, _Mapping]]] = ..., version_path: _Optional[str] = ..., deleted_path: _Optional[str] = ..., merge: _Optional[bool] = ..., envelope: _Optional[str] = ..., transform_sql: _Optional[str] = ..., ordinal_bits: _Optional[int] = ...) -> None: ...

class Collection(_message.Message):
    __slots__ = ("name", "collection_id", "key_path", "time_path", "shard_by_path", "sources", "shards", "epoch", "settings", "topic")
    NAME_FIELD_NUMBER: _ClassVar[int]
    COLLECTION_ID_FIELD_NUMBER: _ClassVar[int]
    KEY_PATH_FIELD_NUMBER: _ClassVar[int]
    TIME_PATH_FIELD_NUMBER: _ClassVar[int]
    SHARD_BY_PATH_FIELD_NUMBER: _ClassVar[int]
    SOURCES_FIELD_NUMBER: _ClassVar[int]
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    name: str
    collection_id: int
    key_path: str
    time_path: str
    shard_by_path: str
    sources: _containers.RepeatedCompositeFieldContainer[Source]
    shards: _containers.RepeatedCompositeFieldContainer[Shard]
    epoch: int
    settings: CollectionSettings
    topic: str
    def __init__(self, name: _Optional[str] = ..., collection_id: _Optional[int] = ..., key_path: _Optional[str] = ..., time_path: _Optional[str] = ..., shard_by_path: _Optional[str] = ..., sources: _Optional[_Iterable[_Union[Source, _Mapping]]] = ..., shards: _Optional[_Iterable[_Union[Shard, _Mapping]]] = ..., epoch: _Optional[int] = ..., settings: _Optional[_Union[CollectionSettings, _Mapping]] = ..., topic: _Optional[str] = ...) -> None: ...

class QueryParameter(_message.Message):
    __slots__ = ("name", "default_sql")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_SQL_FIELD_NUMBER: _ClassVar[int]
    name: str
    default_sql: str
    def __init__(self, name: _Optional[str] = ..., default_sql: _Optional[str] = ...) -> None: ...

class DefinitionVersion(_message.Message):
    __slots__ = ("version", "sql", "columns", "parameters", "reads")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SQL_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    READS_FIELD_NUMBER: _ClassVar[int]
    version: int
    sql: str
    columns: _containers.RepeatedScalarFieldContainer[str]
    parameters: _containers.RepeatedCompositeFieldContainer[QueryParameter]
    reads: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, version: _Optional[int] = ..., sql: _Optional[str] = ..., columns: _Optional[_Iterable[str]] = ..., parameters: _Optional[_Iterable[_Union[QueryParameter, _Mapping]]] = ..., reads: _Optional[_Iterable[str]] = ...) -> None: ...

class Definition(_message.Message):
    __slots__ = ("name", "kind", "versions", "accelerate")
    NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    ACCELERATE_FIELD_NUMBER: _ClassVar[int]
    name: str
    kind: DefinitionKind
    versions: _containers.RepeatedCompositeFieldContainer[DefinitionVersion]
    accelerate: bool
    def __init__(self, name: _Optional[str] = ..., kind: _Optional[_Union[DefinitionKind, str]] = ..., versions: _Optional[_Iterable[_Union[DefinitionVersion, _Mapping]]] = ..., accelerate: _Optional[bool] = ...) -> None: ...

class CatalogSnapshot(_message.Message):
    __slots__ = ("revision", "collections", "nodes", "definitions", "assignment")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    COLLECTIONS_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    DEFINITIONS_FIELD_NUMBER: _ClassVar[int]
    ASSIGNMENT_FIELD_NUMBER: _ClassVar[int]
    revision: int
    collections: _containers.RepeatedCompositeFieldContainer[Collection]
    nodes: _containers.RepeatedCompositeFieldContainer[Node]
    definitions: _containers.RepeatedCompositeFieldContainer[Definition]
    assignment: int
    def __init__(self, revision: _Optional[int] = ..., collections: _Optional[_Iterable[_Union[Collection, _Mapping]]] = ..., nodes: _Optional[_Iterable[_Union[Node, _Mapping]]] = ..., definitions: _Optional[_Iterable[_Union[Definition, _Mapping]]] = ..., assignment: _Optional[int] = ...) -> None: ...

class CreateCollectionRequest(_message.Message):
    __slots__ = ("name", "key_path", "time_path", "shard_by_path", "shards", "source_urls", "log_partitions", "settings")
    NAME_FIELD_NUMBER: _ClassVar[int]
    KEY_PATH_FIELD_NUMBER: _ClassVar[int]
    TIME_PATH_FIELD_NUMBER: _ClassVar[int]
    SHARD_BY_PATH_FIELD_NUMBER: _ClassVar[int]
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    SOURCE_URLS_FIELD_NUMBER: _ClassVar[int]
    LOG_PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    name: str
    key_path: str
    time_path: str
    shard_by_path: str
    shards: int
    source_urls: _containers.RepeatedScalarFieldContainer[str]
    log_partitions: int
    settings: CollectionSettings
    def __init__(self, name: _Optional[str] = ..., key_path: _Optional[str] = ..., time_path: _Optional[str] = ..., shard_by_path: _Optional[str] = ..., shards: _Optional[int] = ..., source_urls: _Optional[_Iterable[str]] = ..., log_partitions: _Optional[int] = ..., settings: _Optional[_Union[CollectionSettings, _Mapping]] = ...) -> None: ...

class CreateCollectionResponse(_message.Message):
    __slots__ = ("collection", "revision")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    collection: Collection
    revision: int
    def __init__(self, collection: _Optional[_Union[Collection, _Mapping]] = ..., revision: _Optional[int] = ...) -> None: ...

class DropCollectionRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class DropCollectionResponse(_message.Message):
    __slots__ = ("revision",)
    REVISION_FIELD_NUMBER: _ClassVar[int]
    revision: int
    def __init__(self, revision: _Optional[int] = ...) -> None: ...

class RebuildRequest(_message.Message):
    __slots__ = ("name", "step", "transform_sql", "collection_id")
    NAME_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    TRANSFORM_SQL_FIELD_NUMBER: _ClassVar[int]
    COLLECTION_ID_FIELD_NUMBER: _ClassVar[int]
    name: str
    step: RebuildStep
    transform_sql: str
    collection_id: int
    def __init__(self, name: _Optional[str] = ..., step: _Optional[_Union[RebuildStep, str]] = ..., transform_sql: _Optional[str] = ..., collection_id: _Optional[int] = ...) -> None: ...

class RebuildResponse(_message.Message):
    __slots__ = ("collection", "revision")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    collection: Collection
    revision: int
    def __init__(self, collection: _Optional[_Union[Collection, _Mapping]] = ..., revision: _Optional[int] = ...) -> None: ...

class DefineRequest(_message.Message):
    __slots__ = ("name", "kind", "definition", "or_replace", "if_not_exists")
    NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    DEFINITION_FIELD_NUMBER: _ClassVar[int]
    OR_REPLACE_FIELD_NUMBER: _ClassVar[int]
    IF_NOT_EXISTS_FIELD_NUMBER: _ClassVar[int]
    name: str
    kind: DefinitionKind
    definition: DefinitionVersion
    or_replace: bool
    if_not_exists: bool
    def __init__(self, name: _Optional[str] = ..., kind: _Optional[_Union[DefinitionKind, str]] = ..., definition: _Optional[_Union[DefinitionVersion, _Mapping]] = ..., or_replace: _Optional[bool] = ..., if_not_exists: _Optional[bool] = ...) -> None: ...

class DefineResponse(_message.Message):
    __slots__ = ("version", "revision")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    version: int
    revision: int
    def __init__(self, version: _Optional[int] = ..., revision: _Optional[int] = ...) -> None: ...

class UndefineRequest(_message.Message):
    __slots__ = ("name", "kind", "if_exists")
    NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    IF_EXISTS_FIELD_NUMBER: _ClassVar[int]
    name: str
    kind: DefinitionKind
    if_exists: bool
    def __init__(self, name: _Optional[str] = ..., kind: _Optional[_Union[DefinitionKind, str]] = ..., if_exists: _Optional[bool] = ...) -> None: ...

class UndefineResponse(_message.Message):
    __slots__ = ("revision",)
    REVISION_FIELD_NUMBER: _ClassVar[int]
    revision: int
    def __init__(self, revision: _Optional[int] = ...) -> None: ...

class AccelerateRequest(_message.Message):
    __slots__ = ("name", "accelerate")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ACCELERATE_FIELD_NUMBER: _ClassVar[int]
    name: str
    accelerate: bool
    def __init__(self, name: _Optional[str] = ..., accelerate: _Optional[bool] = ...) -> None: ...

class AccelerateResponse(_message.Message):
    __slots__ = ("revision",)
    REVISION_FIELD_NUMBER: _ClassVar[int]
    revision: int
    def __init__(self, revision: _Optional[int] = ...) -> None: ...

class RegisterPartitionsRequest(_message.Message):
    __slots__ = ("collection", "source", "found", "topic_id", "reread")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    FOUND_FIELD_NUMBER: _ClassVar[int]
    TOPIC_ID_FIELD_NUMBER: _ClassVar[int]
    REREAD_FIELD_NUMBER: _ClassVar[int]
    collection: str
    source: str
    found: _containers.RepeatedCompositeFieldContainer[SourcePartition]
    topic_id: str
    reread: bool
    def __init__(self, collection: _Optional[str] = ..., source: _Optional[str] = ..., found: _Optional[_Iterable[_Union[SourcePartition, _Mapping]]] = ..., topic_id: _Optional[str] = ..., reread: _Optional[bool] = ...) -> None: ...

class RegisterPartitionsResponse(_message.Message):
    __slots__ = ("source",)
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    source: Source
    def __init__(self, source: _Optional[_Union[Source, _Mapping]] = ...) -> None: ...

class PartitionSeek(_message.Message):
    __slots__ = ("partition", "position", "offset")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    partition: int
    position: int
    offset: int
    def __init__(self, partition: _Optional[int] = ..., position: _Optional[int] = ..., offset: _Optional[int] = ...) -> None: ...

class ChangeSourcesRequest(_message.Message):
    __slots__ = ("collection", "sources", "paused", "seeks", "epoch")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    SOURCES_FIELD_NUMBER: _ClassVar[int]
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    SEEKS_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    collection: str
    sources: _containers.RepeatedScalarFieldContainer[str]
    paused: bool
    seeks: _containers.RepeatedCompositeFieldContainer[PartitionSeek]
    epoch: int
    def __init__(self, collection: _Optional[str] = ..., sources: _Optional[_Iterable[str]] = ..., paused: _Optional[bool] = ..., seeks: _Optional[_Iterable[_Union[PartitionSeek, _Mapping]]] = ..., epoch: _Optional[int] = ...) -> None: ...

class ChangeSourcesResponse(_message.Message):
    __slots__ = ("collection", "revision")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    collection: Collection
    revision: int
    def __init__(self, collection: _Optional[_Union[Collection, _Mapping]] = ..., revision: _Optional[int] = ...) -> None: ...

class HeartbeatRequest(_message.Message):
    __slots__ = ("node", "leaving")
    NODE_FIELD_NUMBER: _ClassVar[int]
    LEAVING_FIELD_NUMBER: _ClassVar[int]
    node: Node
    leaving: bool
    def __init__(self, node: _Optional[_Union[Node, _Mapping]] = ..., leaving: _Optional[bool] = ...) -> None: ...

class HeartbeatResponse(_message.Message):
    __slots__ = ("lease_ms", "revision")
    LEASE_MS_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    lease_ms: int
    revision: int
    def __init__(self, lease_ms: _Optional[int] = ..., revision: _Optional[int] = ...) -> None: ...

class WatchRequest(_message.Message):
    __slots__ = ("revision",)
    REVISION_FIELD_NUMBER: _ClassVar[int]
    revision: int
    def __init__(self, revision: _Optional[int] = ...) -> None: ...
