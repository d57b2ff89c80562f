from alder.v1 import common_pb2 as _common_pb2
from alder.v1 import quarantine_pb2 as _quarantine_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ApplyStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    APPLY_STATUS_UNSPECIFIED: _ClassVar[ApplyStatus]
    APPLY_STATUS_APPLIED: _ClassVar[ApplyStatus]
    APPLY_STATUS_POSITION_MISMATCH: _ClassVar[ApplyStatus]
    APPLY_STATUS_STALE_EPOCH: _ClassVar[ApplyStatus]
    APPLY_STATUS_NOT_OWNER: _ClassVar[ApplyStatus]
    APPLY_STATUS_IDENTITY_CHANGED: _ClassVar[ApplyStatus]
    APPLY_STATUS_STALE_ASSIGNMENT: _ClassVar[ApplyStatus]

class FragmentEngine(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FRAGMENT_ENGINE_UNSPECIFIED: _ClassVar[FragmentEngine]
    FRAGMENT_ENGINE_DUCKDB: _ClassVar[FragmentEngine]
    FRAGMENT_ENGINE_KERNELS: _ClassVar[FragmentEngine]
    FRAGMENT_ENGINE_DIRECT: _ClassVar[FragmentEngine]
    FRAGMENT_ENGINE_STORED: _ClassVar[FragmentEngine]

class IndexVerdict(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    INDEX_VERDICT_UNSPECIFIED: _ClassVar[IndexVerdict]
    INDEX_VERDICT_EQUAL: _ClassVar[IndexVerdict]
    INDEX_VERDICT_DIFFERENT: _ClassVar[IndexVerdict]
    INDEX_VERDICT_DAMAGED: _ClassVar[IndexVerdict]
    INDEX_VERDICT_UNFINISHED: _ClassVar[IndexVerdict]
APPLY_STATUS_UNSPECIFIED: ApplyStatus
APPLY_STATUS_APPLIED: ApplyStatus
APPLY_STATUS_POSITION_MISMATCH: ApplyStatus
APPLY_STATUS_STALE_EPOCH: ApplyStatus
APPLY_STATUS_NOT_OWNER: ApplyStatus
APPLY_STATUS_IDENTITY_CHANGED: ApplyStatus
APPLY_STATUS_STALE_ASSIGNMENT: ApplyStatus
FRAGMENT_ENGINE_UNSPECIFIED: FragmentEngine
FRAGMENT_ENGINE_DUCKDB: FragmentEngine
FRAGMENT_ENGINE_KERNELS: FragmentEngine
FRAGMENT_ENGINE_DIRECT: FragmentEngine
FRAGMENT_ENGINE_STORED: FragmentEngine
INDEX_VERDICT_UNSPECIFIED: IndexVerdict
INDEX_VERDICT_EQUAL: IndexVerdict
INDEX_VERDICT_DIFFERENT: IndexVerdict
INDEX_VERDICT_DAMAGED: IndexVerdict
INDEX_VERDICT_UNFINISHED: IndexVerdict

class ShardRows(_message.Message):
    __slots__ = ("shard", "from_offset", "to_offset", "rows", "quarantine")
    SHARD_FIELD_NUMBER: _ClassVar[int]
    FROM_OFFSET_FIELD_NUMBER: _ClassVar[int]
    TO_OFFSET_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    QUARANTINE_FIELD_NUMBER: _ClassVar[int]
    shard: int
    from_offset: int
    to_offset: int
    rows: bytes
    quarantine: bytes
    def __init__(self, shard: _Optional[int] = ..., from_offset: _Optional[int] = ..., to_offset: _Optional[int] = ..., rows: _Optional[bytes] = ..., quarantine: _Optional[bytes] = ...) -> None: ...

class ApplyRequest(_message.Message):
    __slots__ = ("collection", "collection_id", "epoch", "source", "partition", "source_identity", "shards", "overflow", "leader_epoch", "assignment")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    COLLECTION_ID_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    SOURCE_IDENTITY_FIELD_NUMBER: _ClassVar[int]
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    OVERFLOW_FIELD_NUMBER: _ClassVar[int]
    LEADER_EPOCH_FIELD_NUMBER: _ClassVar[int]
    ASSIGNMENT_FIELD_NUMBER: _ClassVar[int]
    collection: str
    collection_id: int
    epoch: int
    source: str
    partition: int
    source_identity: str
    shards: _containers.RepeatedCompositeFieldContainer[ShardRows]
    overflow: bool
    leader_epoch: int
    assignment: int
    def __init__(self, collection: _Optional[str] = ..., collection_id: _Optional[int] = ..., epoch: _Optional[int] = ..., source: _Optional[str] = ..., partition: _Optional[int] = ..., source_identity: _Optional[str] = ..., shards: _Optional[_Iterable[_Union[ShardRows, _Mapping]]] = ..., overflow: _Optional[bool] = ..., leader_epoch: _Optional[int] = ..., assignment: _Optional[int] = ...) -> None: ...

class ShardApplied(_message.Message):
    __slots__ = ("shard", "status", "next_offset")
    SHARD_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    NEXT_OFFSET_FIELD_NUMBER: _ClassVar[int]
    shard: int
    status: ApplyStatus
    next_offset: int
    def __init__(self, shard: _Optional[int] = ..., status: _Optional[_Union[ApplyStatus, str]] = ..., next_offset: _Optional[int] = ...) -> None: ...

class ApplyResponse(_message.Message):
    __slots__ = ("shards",)
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    shards: _containers.RepeatedCompositeFieldContainer[ShardApplied]
    def __init__(self, shards: _Optional[_Iterable[_Union[ShardApplied, _Mapping]]] = ...) -> None: ...

class PositionsRequest(_message.Message):
    __slots__ = ("collection", "collection_id", "shards", "min_positions", "wait_ms", "known_schema_version")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    COLLECTION_ID_FIELD_NUMBER: _ClassVar[int]
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    MIN_POSITIONS_FIELD_NUMBER: _ClassVar[int]
    WAIT_MS_FIELD_NUMBER: _ClassVar[int]
    KNOWN_SCHEMA_VERSION_FIELD_NUMBER: _ClassVar[int]
    collection: str
    collection_id: int
    shards: _containers.RepeatedScalarFieldContainer[int]
    min_positions: _common_pb2.PositionVector
    wait_ms: int
    known_schema_version: int
    def __init__(self, collection: _Optional[str] = ..., collection_id: _Optional[int] = ..., shards: _Optional[_Iterable[int]] = ..., min_positions: _Optional[_Union[_common_pb2.PositionVector, _Mapping]] = ..., wait_ms: _Optional[int] = ..., known_schema_version: _Optional[int] = ...) -> None: ...

class ShardPositions(_message.Message):
    __slots__ = ("shard", "positions", "rows_stored", "leader_epochs")
    SHARD_FIELD_NUMBER: _ClassVar[int]
    POSITIONS_FIELD_NUMBER: _ClassVar[int]
    ROWS_STORED_FIELD_NUMBER: _ClassVar[int]
    LEADER_EPOCHS_FIELD_NUMBER: _ClassVar[int]
    shard: int
    positions: _common_pb2.PositionVector
    rows_stored: int
    leader_epochs: _containers.RepeatedCompositeFieldContainer[LeaderEpoch]
    def __init__(self, shard: _Optional[int] = ..., positions: _Optional[_Union[_common_pb2.PositionVector, _Mapping]] = ..., rows_stored: _Optional[int] = ..., leader_epochs: _Optional[_Iterable[_Union[LeaderEpoch, _Mapping]]] = ...) -> None: ...

class LeaderEpoch(_message.Message):
    __slots__ = ("source", "partition", "leader_epoch")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    LEADER_EPOCH_FIELD_NUMBER: _ClassVar[int]
    source: str
    partition: int
    leader_epoch: int
    def __init__(self, source: _Optional[str] = ..., partition: _Optional[int] = ..., leader_epoch: _Optional[int] = ...) -> None: ...

class PositionsResponse(_message.Message):
    __slots__ = ("shards", "schema", "reached")
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_FIELD_NUMBER: _ClassVar[int]
    REACHED_FIELD_NUMBER: _ClassVar[int]
    shards: _containers.RepeatedCompositeFieldContainer[ShardPositions]
    schema: _common_pb2.Schema
    reached: bool
    def __init__(self, shards: _Optional[_Iterable[_Union[ShardPositions, _Mapping]]] = ..., schema: _Optional[_Union[_common_pb2.Schema, _Mapping]] = ..., reached: _Optional[bool] = ...) -> None: ...

class ColumnBinding(_message.Message):
    __slots__ = ("name", "path", "sql_type", "types", "overflow")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    SQL_TYPE_FIELD_NUMBER: _ClassVar[int]
    TYPES_FIELD_NUMBER: _ClassVar[int]
    OVERFLOW_FIELD_NUMBER: _ClassVar[int]
    name: str
    path: str
    sql_type: str
    types: _containers.RepeatedScalarFieldContainer[str]
    overflow: bool
    def __init__(self, name: _Optional[str] = ..., path: _Optional[str] = ..., sql_type: _Optional[str] = ..., types: _Optional[_Iterable[str]] = ..., overflow: _Optional[bool] = ...) -> None: ...

class Term(_message.Message):
    __slots__ = ("path", "operator", "values_json")
    PATH_FIELD_NUMBER: _ClassVar[int]
    OPERATOR_FIELD_NUMBER: _ClassVar[int]
    VALUES_JSON_FIELD_NUMBER: _ClassVar[int]
    path: str
    operator: str
    values_json: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, path: _Optional[str] = ..., operator: _Optional[str] = ..., values_json: _Optional[_Iterable[str]] = ...) -> None: ...

class RowValue(_message.Message):
    __slots__ = ("columns", "sql")
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    SQL_FIELD_NUMBER: _ClassVar[int]
    columns: _containers.RepeatedScalarFieldContainer[str]
    sql: str
    def __init__(self, columns: _Optional[_Iterable[str]] = ..., sql: _Optional[str] = ...) -> None: ...

class GroupKey(_message.Message):
    __slots__ = ("name", "value")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: RowValue
    def __init__(self, name: _Optional[str] = ..., value: _Optional[_Union[RowValue, _Mapping]] = ...) -> None: ...

class AggregateCall(_message.Message):
    __slots__ = ("name", "function", "argument", "distinct", "filter")
    NAME_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_FIELD_NUMBER: _ClassVar[int]
    ARGUMENT_FIELD_NUMBER: _ClassVar[int]
    DISTINCT_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    name: str
    function: str
    argument: RowValue
    distinct: bool
    filter: RowCondition
    def __init__(self, name: _Optional[str] = ..., function: _Optional[str] = ..., argument: _Optional[_Union[RowValue, _Mapping]] = ..., distinct: _Optional[bool] = ..., filter: _Optional[_Union[RowCondition, _Mapping]] = ...) -> None: ...

class RowCondition(_message.Message):
    __slots__ = ("value", "terms")
    VALUE_FIELD_NUMBER: _ClassVar[int]
    TERMS_FIELD_NUMBER: _ClassVar[int]
    value: RowValue
    terms: _containers.RepeatedCompositeFieldContainer[Term]
    def __init__(self, value: _Optional[_Union[RowValue, _Mapping]] = ..., terms: _Optional[_Iterable[_Union[Term, _Mapping]]] = ...) -> None: ...

class Aggregation(_message.Message):
    __slots__ = ("keys", "aggregates", "conditions", "top")
    KEYS_FIELD_NUMBER: _ClassVar[int]
    AGGREGATES_FIELD_NUMBER: _ClassVar[int]
    CONDITIONS_FIELD_NUMBER: _ClassVar[int]
    TOP_FIELD_NUMBER: _ClassVar[int]
    keys: _containers.RepeatedCompositeFieldContainer[GroupKey]
    aggregates: _containers.RepeatedCompositeFieldContainer[AggregateCall]
    conditions: _containers.RepeatedCompositeFieldContainer[RowCondition]
    top: TopGroups
    def __init__(self, keys: _Optional[_Iterable[_Union[GroupKey, _Mapping]]] = ..., aggregates: _Optional[_Iterable[_Union[AggregateCall, _Mapping]]] = ..., conditions: _Optional[_Iterable[_Union[RowCondition, _Mapping]]] = ..., top: _Optional[_Union[TopGroups, _Mapping]] = ...) -> None: ...

class TopGroups(_message.Message):
    __slots__ = ("sql", "columns", "descending", "rows", "result", "with_null_keys")
    SQL_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    DESCENDING_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    WITH_NULL_KEYS_FIELD_NUMBER: _ClassVar[int]
    sql: str
    columns: _containers.RepeatedScalarFieldContainer[str]
    descending: bool
    rows: int
    result: str
    with_null_keys: bool
    def __init__(self, sql: _Optional[str] = ..., columns: _Optional[_Iterable[str]] = ..., descending: _Optional[bool] = ..., rows: _Optional[int] = ..., result: _Optional[str] = ..., with_null_keys: _Optional[bool] = ...) -> None: ...

class RowOrder(_message.Message):
    __slots__ = ("column", "descending")
    COLUMN_FIELD_NUMBER: _ClassVar[int]
    DESCENDING_FIELD_NUMBER: _ClassVar[int]
    column: str
    descending: bool
    def __init__(self, column: _Optional[str] = ..., descending: _Optional[bool] = ...) -> None: ...

class Selection(_message.Message):
    __slots__ = ("columns", "orders", "limit")
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    ORDERS_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    columns: _containers.RepeatedScalarFieldContainer[str]
    orders: _containers.RepeatedCompositeFieldContainer[RowOrder]
    limit: int
    def __init__(self, columns: _Optional[_Iterable[str]] = ..., orders: _Optional[_Iterable[_Union[RowOrder, _Mapping]]] = ..., limit: _Optional[int] = ...) -> None: ...

class InputColumn(_message.Message):
    __slots__ = ("name", "sql_type")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SQL_TYPE_FIELD_NUMBER: _ClassVar[int]
    name: str
    sql_type: str
    def __init__(self, name: _Optional[str] = ..., sql_type: _Optional[str] = ...) -> None: ...

class InputTable(_message.Message):
    __slots__ = ("name", "columns", "rows")
    NAME_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    name: str
    columns: _containers.RepeatedCompositeFieldContainer[InputColumn]
    rows: bytes
    def __init__(self, name: _Optional[str] = ..., columns: _Optional[_Iterable[_Union[InputColumn, _Mapping]]] = ..., rows: _Optional[bytes] = ...) -> None: ...

class KeyFilter(_message.Message):
    __slots__ = ("column", "sql_type", "keys")
    COLUMN_FIELD_NUMBER: _ClassVar[int]
    SQL_TYPE_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    column: str
    sql_type: str
    keys: bytes
    def __init__(self, column: _Optional[str] = ..., sql_type: _Optional[str] = ..., keys: _Optional[bytes] = ...) -> None: ...

class JoinedRows(_message.Message):
    __slots__ = ("name", "collection", "collection_id", "epoch", "shards", "at", "columns", "terms", "latest")
    NAME_FIELD_NUMBER: _ClassVar[int]
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    COLLECTION_ID_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    TERMS_FIELD_NUMBER: _ClassVar[int]
    LATEST_FIELD_NUMBER: _ClassVar[int]
    name: str
    collection: str
    collection_id: int
    epoch: int
    shards: _containers.RepeatedScalarFieldContainer[int]
    at: _common_pb2.PositionVector
    columns: _containers.RepeatedCompositeFieldContainer[ColumnBinding]
    terms: _containers.RepeatedCompositeFieldContainer[Term]
    latest: bool
    def __init__(self, name: _Optional[str] = ..., collection: _Optional[str] = ..., collection_id: _Optional[int] = ..., epoch: _Optional[int] = ..., shards: _Optional[_Iterable[int]] = ..., at: _Optional[_Union[_common_pb2.PositionVector, _Mapping]] = ..., columns: _Optional[_Iterable[_Union[ColumnBinding, _Mapping]]] = ..., terms: _Optional[_Iterable[_Union[Term, _Mapping]]] = ..., latest: _Optional[bool] = ...) -> None: ...

class WantedGroups(_message.Message):
    __slots__ = ("threshold", "keys", "all", "apart", "known")
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    ALL_FIELD_NUMBER: _ClassVar[int]
    APART_FIELD_NUMBER: _ClassVar[int]
    KNOWN_FIELD_NUMBER: _ClassVar[int]
    threshold: int
    keys: bytes
    all: bool
    apart: bool
    known: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, threshold: _Optional[int] = ..., keys: _Optional[bytes] = ..., all: _Optional[bool] = ..., apart: _Optional[bool] = ..., known: _Optional[_Iterable[bytes]] = ...) -> None: ...

class Fragment(_message.Message):
    __slots__ = ("sql", "columns", "terms", "partial_aggregate", "aggregation", "selection", "terms_exact", "inputs", "key_filters")
    SQL_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    TERMS_FIELD_NUMBER: _ClassVar[int]
    PARTIAL_AGGREGATE_FIELD_NUMBER: _ClassVar[int]
    AGGREGATION_FIELD_NUMBER: _ClassVar[int]
    SELECTION_FIELD_NUMBER: _ClassVar[int]
    TERMS_EXACT_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    KEY_FILTERS_FIELD_NUMBER: _ClassVar[int]
    sql: str
    columns: _containers.RepeatedCompositeFieldContainer[ColumnBinding]
    terms: _containers.RepeatedCompositeFieldContainer[Term]
    partial_aggregate: bool
    aggregation: Aggregation
    selection: Selection
    terms_exact: bool
    inputs: _containers.RepeatedCompositeFieldContainer[InputTable]
    key_filters: _containers.RepeatedCompositeFieldContainer[KeyFilter]
    def __init__(self, sql: _Optional[str] = ..., columns: _Optional[_Iterable[_Union[ColumnBinding, _Mapping]]] = ..., terms: _Optional[_Iterable[_Union[Term, _Mapping]]] = ..., partial_aggregate: _Optional[bool] = ..., aggregation: _Optional[_Union[Aggregation, _Mapping]] = ..., selection: _Optional[_Union[Selection, _Mapping]] = ..., terms_exact: _Optional[bool] = ..., inputs: _Optional[_Iterable[_Union[InputTable, _Mapping]]] = ..., key_filters: _Optional[_Iterable[_Union[KeyFilter, _Mapping]]] = ...) -> None: ...

class FragmentRequest(_message.Message):
    __slots__ = ("collection", "collection_id", "epoch", "shards", "fragment", "at", "latest", "query_id", "no_memoised_partials", "no_code_kernels", "no_direct_lookup", "no_index_kinds", "except_at", "groups", "joined")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    COLLECTION_ID_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    FRAGMENT_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    LATEST_FIELD_NUMBER: _ClassVar[int]
    QUERY_ID_FIELD_NUMBER: _ClassVar[int]
    NO_MEMOISED_PARTIALS_FIELD_NUMBER: _ClassVar[int]
    NO_CODE_KERNELS_FIELD_NUMBER: _ClassVar[int]
    NO_DIRECT_LOOKUP_FIELD_NUMBER: _ClassVar[int]
    NO_INDEX_KINDS_FIELD_NUMBER: _ClassVar[int]
    EXCEPT_AT_FIELD_NUMBER: _ClassVar[int]
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    JOINED_FIELD_NUMBER: _ClassVar[int]
    collection: str
    collection_id: int
    epoch: int
    shards: _containers.RepeatedScalarFieldContainer[int]
    fragment: Fragment
    at: _common_pb2.PositionVector
    latest: bool
    query_id: str
    no_memoised_partials: bool
    no_code_kernels: bool
    no_direct_lookup: bool
    no_index_kinds: _containers.RepeatedScalarFieldContainer[str]
    except_at: _common_pb2.PositionVector
    groups: WantedGroups
    joined: JoinedRows
    def __init__(self, collection: _Optional[str] = ..., collection_id: _Optional[int] = ..., epoch: _Optional[int] = ..., shards: _Optional[_Iterable[int]] = ..., fragment: _Optional[_Union[Fragment, _Mapping]] = ..., at: _Optional[_Union[_common_pb2.PositionVector, _Mapping]] = ..., latest: _Optional[bool] = ..., query_id: _Optional[str] = ..., no_memoised_partials: _Optional[bool] = ..., no_code_kernels: _Optional[bool] = ..., no_direct_lookup: _Optional[bool] = ..., no_index_kinds: _Optional[_Iterable[str]] = ..., except_at: _Optional[_Union[_common_pb2.PositionVector, _Mapping]] = ..., groups: _Optional[_Union[WantedGroups, _Mapping]] = ..., joined: _Optional[_Union[JoinedRows, _Mapping]] = ...) -> None: ...

class ShardScan(_message.Message):
    __slots__ = ("shard", "positions", "rows_total", "rows_scanned", "segments_total", "segments_pruned", "access_paths", "rows_candidate", "partials_hits", "partials_misses", "engine", "pages_read", "pages_cached", "partials_stored")
    SHARD_FIELD_NUMBER: _ClassVar[int]
    POSITIONS_FIELD_NUMBER: _ClassVar[int]
    ROWS_TOTAL_FIELD_NUMBER: _ClassVar[int]
    ROWS_SCANNED_FIELD_NUMBER: _ClassVar[int]
    SEGMENTS_TOTAL_FIELD_NUMBER: _ClassVar[int]
    SEGMENTS_PRUNED_FIELD_NUMBER: _ClassVar[int]
    ACCESS_PATHS_FIELD_NUMBER: _ClassVar[int]
    ROWS_CANDIDATE_FIELD_NUMBER: _ClassVar[int]
    PARTIALS_HITS_FIELD_NUMBER: _ClassVar[int]
    PARTIALS_MISSES_FIELD_NUMBER: _ClassVar[int]
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    PAGES_READ_FIELD_NUMBER: _ClassVar[int]
    PAGES_CACHED_FIELD_NUMBER: _ClassVar[int]
    PARTIALS_STORED_FIELD_NUMBER: _ClassVar[int]
    shard: int
    positions: _common_pb2.PositionVector
    rows_total: int
    rows_scanned: int
    segments_total: int
    segments_pruned: int
    access_paths: _containers.RepeatedScalarFieldContainer[str]
    rows_candidate: int
    partials_hits: int
    partials_misses: int
    engine: FragmentEngine
    pages_read: int
    pages_cached: int
    partials_stored: int
    def __init__(self, shard: _Optional[int] = ..., positions: _Optional[_Union[_common_pb2.PositionVector, _Mapping]] = ..., rows_total: _Optional[int] = ..., rows_scanned: _Optional[int] = ..., segments_total: _Optional[int] = ..., segments_pruned: _Optional[int] = ..., access_paths: _Optional[_Iterable[str]] = ..., rows_candidate: _Optional[int] = ..., partials_hits: _Optional[int] = ..., partials_misses: _Optional[int] = ..., engine: _Optional[_Union[FragmentEngine, str]] = ..., pages_read: _Optional[int] = ..., pages_cached: _Optional[int] = ..., partials_stored: _Optional[int] = ...) -> None: ...

class FragmentTrailer(_message.Message):
    __slots__ = ("shards", "elapsed_us", "groups_left_out", "groups_worst", "joined", "sealed_name", "sealed_rows", "sealed_known")
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    ELAPSED_US_FIELD_NUMBER: _ClassVar[int]
    GROUPS_LEFT_OUT_FIELD_NUMBER: _ClassVar[int]
    GROUPS_WORST_FIELD_NUMBER: _ClassVar[int]
    JOINED_FIELD_NUMBER: _ClassVar[int]
    SEALED_NAME_FIELD_NUMBER: _ClassVar[int]
    SEALED_ROWS_FIELD_NUMBER: _ClassVar[int]
    SEALED_KNOWN_FIELD_NUMBER: _ClassVar[int]
    shards: _containers.RepeatedCompositeFieldContainer[ShardScan]
    elapsed_us: int
    groups_left_out: bool
    groups_worst: int
    joined: _containers.RepeatedCompositeFieldContainer[ShardScan]
    sealed_name: bytes
    sealed_rows: int
    sealed_known: bool
    def __init__(self, shards: _Optional[_Iterable[_Union[ShardScan, _Mapping]]] = ..., elapsed_us: _Optional[int] = ..., groups_left_out: _Optional[bool] = ..., groups_worst: _Optional[int] = ..., joined: _Optional[_Iterable[_Union[ShardScan, _Mapping]]] = ..., sealed_name: _Optional[bytes] = ..., sealed_rows: _Optional[int] = ..., sealed_known: _Optional[bool] = ...) -> None: ...

class FragmentResponse(_message.Message):
    __slots__ = ("arrow", "trailer")
    ARROW_FIELD_NUMBER: _ClassVar[int]
    TRAILER_FIELD_NUMBER: _ClassVar[int]
    arrow: bytes
    trailer: FragmentTrailer
    def __init__(self, arrow: _Optional[bytes] = ..., trailer: _Optional[_Union[FragmentTrailer, _Mapping]] = ...) -> None: ...

class DescribeLeafRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ShardDescription(_message.Message):
    __slots__ = ("collection", "shard", "rows", "tail_rows", "segments", "disk_bytes", "quarantined", "positions", "digest", "rows_stored", "rows_late", "tombstones", "history_from", "retained_from_us", "damage", "epoch")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    SHARD_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    TAIL_ROWS_FIELD_NUMBER: _ClassVar[int]
    SEGMENTS_FIELD_NUMBER: _ClassVar[int]
    DISK_BYTES_FIELD_NUMBER: _ClassVar[int]
    QUARANTINED_FIELD_NUMBER: _ClassVar[int]
    POSITIONS_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    ROWS_STORED_FIELD_NUMBER: _ClassVar[int]
    ROWS_LATE_FIELD_NUMBER: _ClassVar[int]
    TOMBSTONES_FIELD_NUMBER: _ClassVar[int]
    HISTORY_FROM_FIELD_NUMBER: _ClassVar[int]
    RETAINED_FROM_US_FIELD_NUMBER: _ClassVar[int]
    DAMAGE_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    collection: str
    shard: int
    rows: int
    tail_rows: int
    segments: int
    disk_bytes: int
    quarantined: int
    positions: _common_pb2.PositionVector
    digest: str
    rows_stored: int
    rows_late: int
    tombstones: int
    history_from: _common_pb2.PositionVector
    retained_from_us: int
    damage: str
    epoch: int
    def __init__(self, collection: _Optional[str] = ..., shard: _Optional[int] = ..., rows: _Optional[int] = ..., tail_rows: _Optional[int] = ..., segments: _Optional[int] = ..., disk_bytes: _Optional[int] = ..., quarantined: _Optional[int] = ..., positions: _Optional[_Union[_common_pb2.PositionVector, _Mapping]] = ..., digest: _Optional[str] = ..., rows_stored: _Optional[int] = ..., rows_late: _Optional[int] = ..., tombstones: _Optional[int] = ..., history_from: _Optional[_Union[_common_pb2.PositionVector, _Mapping]] = ..., retained_from_us: _Optional[int] = ..., damage: _Optional[str] = ..., epoch: _Optional[int] = ...) -> None: ...

class CacheDescription(_message.Message):
    __slots__ = ("name", "size_bytes", "size_bytes_max", "hits", "misses", "evictions")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_MAX_FIELD_NUMBER: _ClassVar[int]
    HITS_FIELD_NUMBER: _ClassVar[int]
    MISSES_FIELD_NUMBER: _ClassVar[int]
    EVICTIONS_FIELD_NUMBER: _ClassVar[int]
    name: str
    size_bytes: int
    size_bytes_max: int
    hits: int
    misses: int
    evictions: int
    def __init__(self, name: _Optional[str] = ..., size_bytes: _Optional[int] = ..., size_bytes_max: _Optional[int] = ..., hits: _Optional[int] = ..., misses: _Optional[int] = ..., evictions: _Optional[int] = ...) -> None: ...

class DescribeLeafResponse(_message.Message):
    __slots__ = ("node_id", "shards", "caches")
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    CACHES_FIELD_NUMBER: _ClassVar[int]
    node_id: str
    shards: _containers.RepeatedCompositeFieldContainer[ShardDescription]
    caches: _containers.RepeatedCompositeFieldContainer[CacheDescription]
    def __init__(self, node_id: _Optional[str] = ..., shards: _Optional[_Iterable[_Union[ShardDescription, _Mapping]]] = ..., caches: _Optional[_Iterable[_Union[CacheDescription, _Mapping]]] = ...) -> None: ...

class CheckIndexRequest(_message.Message):
    __slots__ = ("collection", "collection_id", "shards", "seed")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    COLLECTION_ID_FIELD_NUMBER: _ClassVar[int]
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    collection: str
    collection_id: int
    shards: _containers.RepeatedScalarFieldContainer[int]
    seed: int
    def __init__(self, collection: _Optional[str] = ..., collection_id: _Optional[int] = ..., shards: _Optional[_Iterable[int]] = ..., seed: _Optional[int] = ...) -> None: ...

class IndexCheck(_message.Message):
    __slots__ = ("shard", "path", "predicates", "rows_compared", "verdict", "detail")
    SHARD_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    PREDICATES_FIELD_NUMBER: _ClassVar[int]
    ROWS_COMPARED_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    shard: int
    path: str
    predicates: int
    rows_compared: int
    verdict: IndexVerdict
    detail: str
    def __init__(self, shard: _Optional[int] = ..., path: _Optional[str] = ..., predicates: _Optional[int] = ..., rows_compared: _Optional[int] = ..., verdict: _Optional[_Union[IndexVerdict, str]] = ..., detail: _Optional[str] = ...) -> None: ...

class CheckIndexResponse(_message.Message):
    __slots__ = ("checks",)
    CHECKS_FIELD_NUMBER: _ClassVar[int]
    checks: _containers.RepeatedCompositeFieldContainer[IndexCheck]
    def __init__(self, checks: _Optional[_Iterable[_Union[IndexCheck, _Mapping]]] = ...) -> None: ...

class KeptFragment(_message.Message):
    __slots__ = ("view", "version", "revision", "fragment")
    VIEW_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    FRAGMENT_FIELD_NUMBER: _ClassVar[int]
    view: str
    version: int
    revision: int
    fragment: Fragment
    def __init__(self, view: _Optional[str] = ..., version: _Optional[int] = ..., revision: _Optional[int] = ..., fragment: _Optional[_Union[Fragment, _Mapping]] = ...) -> None: ...

class KeepPartialsRequest(_message.Message):
    __slots__ = ("collection", "collection_id", "kept", "view")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    COLLECTION_ID_FIELD_NUMBER: _ClassVar[int]
    KEPT_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELD_NUMBER: _ClassVar[int]
    collection: str
    collection_id: int
    kept: _containers.RepeatedCompositeFieldContainer[KeptFragment]
    view: str
    def __init__(self, collection: _Optional[str] = ..., collection_id: _Optional[int] = ..., kept: _Optional[_Iterable[_Union[KeptFragment, _Mapping]]] = ..., view: _Optional[str] = ...) -> None: ...

class KeepPartialsResponse(_message.Message):
    __slots__ = ("segments_ready", "segments_total")
    SEGMENTS_READY_FIELD_NUMBER: _ClassVar[int]
    SEGMENTS_TOTAL_FIELD_NUMBER: _ClassVar[int]
    segments_ready: int
    segments_total: int
    def __init__(self, segments_ready: _Optional[int] = ..., segments_total: _Optional[int] = ...) -> None: ...
