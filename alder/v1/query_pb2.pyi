from alder.v1 import catalog_pb2 as _catalog_pb2
from alder.v1 import common_pb2 as _common_pb2
from alder.v1 import leaf_pb2 as _leaf_pb2
from alder.v1 import quarantine_pb2 as _quarantine_pb2
from alder.v1 import tailer_pb2 as _tailer_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Consistency(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CONSISTENCY_UNSPECIFIED: _ClassVar[Consistency]
    CONSISTENCY_CUT: _ClassVar[Consistency]
    CONSISTENCY_LATEST: _ClassVar[Consistency]
CONSISTENCY_UNSPECIFIED: Consistency
CONSISTENCY_CUT: Consistency
CONSISTENCY_LATEST: Consistency

class Parameter(_message.Message):
    __slots__ = ("name", "null_value", "bool_value", "int_value", "float_value", "string_value", "bytes_value", "timestamp_us_value", "date_value", "decimal_value")
    NAME_FIELD_NUMBER: _ClassVar[int]
    NULL_VALUE_FIELD_NUMBER: _ClassVar[int]
    BOOL_VALUE_FIELD_NUMBER: _ClassVar[int]
    INT_VALUE_FIELD_NUMBER: _ClassVar[int]
    FLOAT_VALUE_FIELD_NUMBER: _ClassVar[int]
    STRING_VALUE_FIELD_NUMBER: _ClassVar[int]
    BYTES_VALUE_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_US_VALUE_FIELD_NUMBER: _ClassVar[int]
    DATE_VALUE_FIELD_NUMBER: _ClassVar[int]
    DECIMAL_VALUE_FIELD_NUMBER: _ClassVar[int]
    name: str
    null_value: bool
    bool_value: bool
    int_value: int
    float_value: float
    string_value: str
    bytes_value: bytes
    timestamp_us_value: int
    date_value: int
    decimal_value: str
    def __init__(self, name: _Optional[str] = ..., null_value: _Optional[bool] = ..., bool_value: _Optional[bool] = ..., int_value: _Optional[int] = ..., float_value: _Optional[float] = ..., string_value: _Optional[str] = ..., bytes_value: _Optional[bytes] = ..., timestamp_us_value: _Optional[int] = ..., date_value: _Optional[int] = ..., decimal_value: _Optional[str] = ...) -> None: ...

class MinPositions(_message.Message):
    __slots__ = ("collection", "positions")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    POSITIONS_FIELD_NUMBER: _ClassVar[int]
    collection: str
    positions: _common_pb2.PositionVector
    def __init__(self, collection: _Optional[str] = ..., positions: _Optional[_Union[_common_pb2.PositionVector, _Mapping]] = ...) -> None: ...

class Policy(_message.Message):
    __slots__ = ("coverage_min", "staleness_us_max")
    COVERAGE_MIN_FIELD_NUMBER: _ClassVar[int]
    STALENESS_US_MAX_FIELD_NUMBER: _ClassVar[int]
    coverage_min: float
    staleness_us_max: int
    def __init__(self, coverage_min: _Optional[float] = ..., staleness_us_max: _Optional[int] = ...) -> None: ...

class SavedQuery(_message.Message):
    __slots__ = ("name", "version")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: int
    def __init__(self, name: _Optional[str] = ..., version: _Optional[int] = ...) -> None: ...

class ExecuteRequest(_message.Message):
    __slots__ = ("sql", "parameters", "min_positions", "consistency", "plan_class", "no_memoised_partials", "no_code_kernels", "no_direct_lookup", "no_index_kinds", "policy", "as_of", "saved_query", "join_strategy")
    SQL_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    MIN_POSITIONS_FIELD_NUMBER: _ClassVar[int]
    CONSISTENCY_FIELD_NUMBER: _ClassVar[int]
    PLAN_CLASS_FIELD_NUMBER: _ClassVar[int]
    NO_MEMOISED_PARTIALS_FIELD_NUMBER: _ClassVar[int]
    NO_CODE_KERNELS_FIELD_NUMBER: _ClassVar[int]
    NO_DIRECT_LOOKUP_FIELD_NUMBER: _ClassVar[int]
    NO_INDEX_KINDS_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    AS_OF_FIELD_NUMBER: _ClassVar[int]
    SAVED_QUERY_FIELD_NUMBER: _ClassVar[int]
    JOIN_STRATEGY_FIELD_NUMBER: _ClassVar[int]
    sql: str
    parameters: _containers.RepeatedCompositeFieldContainer[Parameter]
    min_positions: _containers.RepeatedCompositeFieldContainer[MinPositions]
    consistency: Consistency
    plan_class: str
    no_memoised_partials: bool
    no_code_kernels: bool
    no_direct_lookup: bool
    no_index_kinds: _containers.RepeatedScalarFieldContainer[str]
    policy: Policy
    as_of: _containers.RepeatedCompositeFieldContainer[MinPositions]
    saved_query: SavedQuery
    join_strategy: str
    def __init__(self, sql: _Optional[str] = ..., parameters: _Optional[_Iterable[_Union[Parameter, _Mapping]]] = ..., min_positions: _Optional[_Iterable[_Union[MinPositions, _Mapping]]] = ..., consistency: _Optional[_Union[Consistency, str]] = ..., plan_class: _Optional[str] = ..., no_memoised_partials: _Optional[bool] = ..., no_code_kernels: _Optional[bool] = ..., no_direct_lookup: _Optional[bool] = ..., no_index_kinds: _Optional[_Iterable[str]] = ..., policy: _Optional[_Union[Policy, _Mapping]] = ..., as_of: _Optional[_Iterable[_Union[MinPositions, _Mapping]]] = ..., saved_query: _Optional[_Union[SavedQuery, _Mapping]] = ..., join_strategy: _Optional[str] = ...) -> None: ...

class MissingShard(_message.Message):
    __slots__ = ("shard", "leaf", "reason")
    SHARD_FIELD_NUMBER: _ClassVar[int]
    LEAF_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    shard: int
    leaf: str
    reason: str
    def __init__(self, shard: _Optional[int] = ..., leaf: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class CollectionRead(_message.Message):
    __slots__ = ("collection", "positions", "shards_asked", "shards_answered", "scans", "shards_missing", "coverage", "lag_us", "as_of")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    POSITIONS_FIELD_NUMBER: _ClassVar[int]
    SHARDS_ASKED_FIELD_NUMBER: _ClassVar[int]
    SHARDS_ANSWERED_FIELD_NUMBER: _ClassVar[int]
    SCANS_FIELD_NUMBER: _ClassVar[int]
    SHARDS_MISSING_FIELD_NUMBER: _ClassVar[int]
    COVERAGE_FIELD_NUMBER: _ClassVar[int]
    LAG_US_FIELD_NUMBER: _ClassVar[int]
    AS_OF_FIELD_NUMBER: _ClassVar[int]
    collection: str
    positions: _common_pb2.PositionVector
    shards_asked: _containers.RepeatedScalarFieldContainer[int]
    shards_answered: _containers.RepeatedScalarFieldContainer[int]
    scans: _containers.RepeatedCompositeFieldContainer[_leaf_pb2.ShardScan]
    shards_missing: _containers.RepeatedCompositeFieldContainer[MissingShard]
    coverage: float
    lag_us: int
    as_of: str
    def __init__(self, collection: _Optional[str] = ..., positions: _Optional[_Union[_common_pb2.PositionVector, _Mapping]] = ..., shards_asked: _Optional[_Iterable[int]] = ..., shards_answered: _Optional[_Iterable[int]] = ..., scans: _Optional[_Iterable[_Union[_leaf_pb2.ShardScan, _Mapping]]] = ..., shards_missing: _Optional[_Iterable[_Union[MissingShard, _Mapping]]] = ..., coverage: _Optional[float] = ..., lag_us: _Optional[int] = ..., as_of: _Optional[str] = ...) -> None: ...

class ReferenceRead(_message.Message):
    __slots__ = ("collection", "read_class", "rows", "size_bytes", "input_bytes", "slowest_leaf_us")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    READ_CLASS_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    INPUT_BYTES_FIELD_NUMBER: _ClassVar[int]
    SLOWEST_LEAF_US_FIELD_NUMBER: _ClassVar[int]
    collection: str
    read_class: str
    rows: int
    size_bytes: int
    input_bytes: int
    slowest_leaf_us: int
    def __init__(self, collection: _Optional[str] = ..., read_class: _Optional[str] = ..., rows: _Optional[int] = ..., size_bytes: _Optional[int] = ..., input_bytes: _Optional[int] = ..., slowest_leaf_us: _Optional[int] = ...) -> None: ...

class ExecuteTrailer(_message.Message):
    __slots__ = ("query_id", "collections", "plan_class", "rows", "plan_us", "scatter_us", "finish_us", "references")
    QUERY_ID_FIELD_NUMBER: _ClassVar[int]
    COLLECTIONS_FIELD_NUMBER: _ClassVar[int]
    PLAN_CLASS_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    PLAN_US_FIELD_NUMBER: _ClassVar[int]
    SCATTER_US_FIELD_NUMBER: _ClassVar[int]
    FINISH_US_FIELD_NUMBER: _ClassVar[int]
    REFERENCES_FIELD_NUMBER: _ClassVar[int]
    query_id: str
    collections: _containers.RepeatedCompositeFieldContainer[CollectionRead]
    plan_class: str
    rows: int
    plan_us: int
    scatter_us: int
    finish_us: int
    references: _containers.RepeatedCompositeFieldContainer[ReferenceRead]
    def __init__(self, query_id: _Optional[str] = ..., collections: _Optional[_Iterable[_Union[CollectionRead, _Mapping]]] = ..., plan_class: _Optional[str] = ..., rows: _Optional[int] = ..., plan_us: _Optional[int] = ..., scatter_us: _Optional[int] = ..., finish_us: _Optional[int] = ..., references: _Optional[_Iterable[_Union[ReferenceRead, _Mapping]]] = ...) -> None: ...

class ExecuteResponse(_message.Message):
    __slots__ = ("arrow", "trailer")
    ARROW_FIELD_NUMBER: _ClassVar[int]
    TRAILER_FIELD_NUMBER: _ClassVar[int]
    arrow: bytes
    trailer: ExecuteTrailer
    def __init__(self, arrow: _Optional[bytes] = ..., trailer: _Optional[_Union[ExecuteTrailer, _Mapping]] = ...) -> None: ...

class ListQueriesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RunningQuery(_message.Message):
    __slots__ = ("query_id", "sql", "client", "started_us", "stage", "rows_gathered", "size_bytes_gathered")
    QUERY_ID_FIELD_NUMBER: _ClassVar[int]
    SQL_FIELD_NUMBER: _ClassVar[int]
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    STARTED_US_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    ROWS_GATHERED_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_GATHERED_FIELD_NUMBER: _ClassVar[int]
    query_id: str
    sql: str
    client: str
    started_us: int
    stage: str
    rows_gathered: int
    size_bytes_gathered: int
    def __init__(self, query_id: _Optional[str] = ..., sql: _Optional[str] = ..., client: _Optional[str] = ..., started_us: _Optional[int] = ..., stage: _Optional[str] = ..., rows_gathered: _Optional[int] = ..., size_bytes_gathered: _Optional[int] = ...) -> None: ...

class ListQueriesResponse(_message.Message):
    __slots__ = ("queries",)
    QUERIES_FIELD_NUMBER: _ClassVar[int]
    queries: _containers.RepeatedCompositeFieldContainer[RunningQuery]
    def __init__(self, queries: _Optional[_Iterable[_Union[RunningQuery, _Mapping]]] = ...) -> None: ...

class CancelQueryRequest(_message.Message):
    __slots__ = ("query_id",)
    QUERY_ID_FIELD_NUMBER: _ClassVar[int]
    query_id: str
    def __init__(self, query_id: _Optional[str] = ...) -> None: ...

class CancelQueryResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DescribeCollectionRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class Column(_message.Message):
    __slots__ = ("path", "sql_type", "types")
    PATH_FIELD_NUMBER: _ClassVar[int]
    SQL_TYPE_FIELD_NUMBER: _ClassVar[int]
    TYPES_FIELD_NUMBER: _ClassVar[int]
    path: str
    sql_type: str
    types: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, path: _Optional[str] = ..., sql_type: _Optional[str] = ..., types: _Optional[_Iterable[str]] = ...) -> None: ...

class DescribeCollectionResponse(_message.Message):
    __slots__ = ("collection", "columns", "overflow")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    OVERFLOW_FIELD_NUMBER: _ClassVar[int]
    collection: _catalog_pb2.Collection
    columns: _containers.RepeatedCompositeFieldContainer[Column]
    overflow: bool
    def __init__(self, collection: _Optional[_Union[_catalog_pb2.Collection, _Mapping]] = ..., columns: _Optional[_Iterable[_Union[Column, _Mapping]]] = ..., overflow: _Optional[bool] = ...) -> None: ...

class StatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class SourceLag(_message.Message):
    __slots__ = ("collection", "source", "partition", "next_offset", "end_offset", "lag_us", "applied_log_time_us")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    NEXT_OFFSET_FIELD_NUMBER: _ClassVar[int]
    END_OFFSET_FIELD_NUMBER: _ClassVar[int]
    LAG_US_FIELD_NUMBER: _ClassVar[int]
    APPLIED_LOG_TIME_US_FIELD_NUMBER: _ClassVar[int]
    collection: str
    source: str
    partition: int
    next_offset: int
    end_offset: int
    lag_us: int
    applied_log_time_us: int
    def __init__(self, collection: _Optional[str] = ..., source: _Optional[str] = ..., partition: _Optional[int] = ..., next_offset: _Optional[int] = ..., end_offset: _Optional[int] = ..., lag_us: _Optional[int] = ..., applied_log_time_us: _Optional[int] = ...) -> None: ...

class StatusResponse(_message.Message):
    __slots__ = ("catalog", "leaves", "tailers", "lags", "unreachable")
    CATALOG_FIELD_NUMBER: _ClassVar[int]
    LEAVES_FIELD_NUMBER: _ClassVar[int]
    TAILERS_FIELD_NUMBER: _ClassVar[int]
    LAGS_FIELD_NUMBER: _ClassVar[int]
    UNREACHABLE_FIELD_NUMBER: _ClassVar[int]
    catalog: _catalog_pb2.CatalogSnapshot
    leaves: _containers.RepeatedCompositeFieldContainer[_leaf_pb2.DescribeLeafResponse]
    tailers: _containers.RepeatedCompositeFieldContainer[_tailer_pb2.DescribeTailerResponse]
    lags: _containers.RepeatedCompositeFieldContainer[SourceLag]
    unreachable: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, catalog: _Optional[_Union[_catalog_pb2.CatalogSnapshot, _Mapping]] = ..., leaves: _Optional[_Iterable[_Union[_leaf_pb2.DescribeLeafResponse, _Mapping]]] = ..., tailers: _Optional[_Iterable[_Union[_tailer_pb2.DescribeTailerResponse, _Mapping]]] = ..., lags: _Optional[_Iterable[_Union[SourceLag, _Mapping]]] = ..., unreachable: _Optional[_Iterable[str]] = ...) -> None: ...
