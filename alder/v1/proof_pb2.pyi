from alder.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class OffsetRange(_message.Message):
    __slots__ = ("source", "partition", "begin_offset", "end_offset")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    BEGIN_OFFSET_FIELD_NUMBER: _ClassVar[int]
    END_OFFSET_FIELD_NUMBER: _ClassVar[int]
    source: str
    partition: int
    begin_offset: int
    end_offset: int
    def __init__(self, source: _Optional[str] = ..., partition: _Optional[int] = ..., begin_offset: _Optional[int] = ..., end_offset: _Optional[int] = ...) -> None: ...

class DigestRequest(_message.Message):
    __slots__ = ("collection", "collection_id", "shard", "at", "floor", "oldest_us", "ranges", "rows")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    COLLECTION_ID_FIELD_NUMBER: _ClassVar[int]
    SHARD_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    FLOOR_FIELD_NUMBER: _ClassVar[int]
    OLDEST_US_FIELD_NUMBER: _ClassVar[int]
    RANGES_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    collection: str
    collection_id: int
    shard: int
    at: _common_pb2.PositionVector
    floor: _common_pb2.PositionVector
    oldest_us: int
    ranges: _containers.RepeatedCompositeFieldContainer[OffsetRange]
    rows: bool
    def __init__(self, collection: _Optional[str] = ..., collection_id: _Optional[int] = ..., shard: _Optional[int] = ..., at: _Optional[_Union[_common_pb2.PositionVector, _Mapping]] = ..., floor: _Optional[_Union[_common_pb2.PositionVector, _Mapping]] = ..., oldest_us: _Optional[int] = ..., ranges: _Optional[_Iterable[_Union[OffsetRange, _Mapping]]] = ..., rows: _Optional[bool] = ...) -> None: ...

class RangeDigest(_message.Message):
    __slots__ = ("rows", "rows_digest", "deaths", "deaths_digest", "quarantined", "quarantined_digest")
    ROWS_FIELD_NUMBER: _ClassVar[int]
    ROWS_DIGEST_FIELD_NUMBER: _ClassVar[int]
    DEATHS_FIELD_NUMBER: _ClassVar[int]
    DEATHS_DIGEST_FIELD_NUMBER: _ClassVar[int]
    QUARANTINED_FIELD_NUMBER: _ClassVar[int]
    QUARANTINED_DIGEST_FIELD_NUMBER: _ClassVar[int]
    rows: int
    rows_digest: str
    deaths: int
    deaths_digest: str
    quarantined: int
    quarantined_digest: str
    def __init__(self, rows: _Optional[int] = ..., rows_digest: _Optional[str] = ..., deaths: _Optional[int] = ..., deaths_digest: _Optional[str] = ..., quarantined: _Optional[int] = ..., quarantined_digest: _Optional[str] = ...) -> None: ...

class StoredRow(_message.Message):
    __slots__ = ("source", "partition", "offset", "digest", "key", "document", "document_bytes", "killers", "quarantined", "ordinal")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    DOCUMENT_FIELD_NUMBER: _ClassVar[int]
    DOCUMENT_BYTES_FIELD_NUMBER: _ClassVar[int]
    KILLERS_FIELD_NUMBER: _ClassVar[int]
    QUARANTINED_FIELD_NUMBER: _ClassVar[int]
    ORDINAL_FIELD_NUMBER: _ClassVar[int]
    source: str
    partition: int
    offset: int
    digest: str
    key: str
    document: str
    document_bytes: int
    killers: _containers.RepeatedScalarFieldContainer[str]
    quarantined: str
    ordinal: int
    def __init__(self, source: _Optional[str] = ..., partition: _Optional[int] = ..., offset: _Optional[int] = ..., digest: _Optional[str] = ..., key: _Optional[str] = ..., document: _Optional[str] = ..., document_bytes: _Optional[int] = ..., killers: _Optional[_Iterable[str]] = ..., quarantined: _Optional[str] = ..., ordinal: _Optional[int] = ...) -> None: ...

class DamagedRows(_message.Message):
    __slots__ = ("what", "segment", "rows", "births")
    WHAT_FIELD_NUMBER: _ClassVar[int]
    SEGMENT_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    BIRTHS_FIELD_NUMBER: _ClassVar[int]
    what: str
    segment: int
    rows: int
    births: _containers.RepeatedCompositeFieldContainer[OffsetRange]
    def __init__(self, what: _Optional[str] = ..., segment: _Optional[int] = ..., rows: _Optional[int] = ..., births: _Optional[_Iterable[_Union[OffsetRange, _Mapping]]] = ...) -> None: ...

class DigestResponse(_message.Message):
    __slots__ = ("positions", "floor", "oldest_us", "total_digest", "rows_born", "ranges", "rows", "damaged")
    POSITIONS_FIELD_NUMBER: _ClassVar[int]
    FLOOR_FIELD_NUMBER: _ClassVar[int]
    OLDEST_US_FIELD_NUMBER: _ClassVar[int]
    TOTAL_DIGEST_FIELD_NUMBER: _ClassVar[int]
    ROWS_BORN_FIELD_NUMBER: _ClassVar[int]
    RANGES_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    DAMAGED_FIELD_NUMBER: _ClassVar[int]
    positions: _common_pb2.PositionVector
    floor: _common_pb2.PositionVector
    oldest_us: int
    total_digest: str
    rows_born: int
    ranges: _containers.RepeatedCompositeFieldContainer[RangeDigest]
    rows: _containers.RepeatedCompositeFieldContainer[StoredRow]
    damaged: _containers.RepeatedCompositeFieldContainer[DamagedRows]
    def __init__(self, positions: _Optional[_Union[_common_pb2.PositionVector, _Mapping]] = ..., floor: _Optional[_Union[_common_pb2.PositionVector, _Mapping]] = ..., oldest_us: _Optional[int] = ..., total_digest: _Optional[str] = ..., rows_born: _Optional[int] = ..., ranges: _Optional[_Iterable[_Union[RangeDigest, _Mapping]]] = ..., rows: _Optional[_Iterable[_Union[StoredRow, _Mapping]]] = ..., damaged: _Optional[_Iterable[_Union[DamagedRows, _Mapping]]] = ...) -> None: ...

class ProbeCondition(_message.Message):
    __slots__ = ("path", "types", "operator", "values_json")
    PATH_FIELD_NUMBER: _ClassVar[int]
    TYPES_FIELD_NUMBER: _ClassVar[int]
    OPERATOR_FIELD_NUMBER: _ClassVar[int]
    VALUES_JSON_FIELD_NUMBER: _ClassVar[int]
    path: str
    types: _containers.RepeatedScalarFieldContainer[str]
    operator: str
    values_json: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, path: _Optional[str] = ..., types: _Optional[_Iterable[str]] = ..., operator: _Optional[str] = ..., values_json: _Optional[_Iterable[str]] = ...) -> None: ...

class ProbeRequest(_message.Message):
    __slots__ = ("collection", "collection_id", "shard", "at", "ranges", "conditions", "scan")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    COLLECTION_ID_FIELD_NUMBER: _ClassVar[int]
    SHARD_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    RANGES_FIELD_NUMBER: _ClassVar[int]
    CONDITIONS_FIELD_NUMBER: _ClassVar[int]
    SCAN_FIELD_NUMBER: _ClassVar[int]
    collection: str
    collection_id: int
    shard: int
    at: _common_pb2.PositionVector
    ranges: _containers.RepeatedCompositeFieldContainer[OffsetRange]
    conditions: _containers.RepeatedCompositeFieldContainer[ProbeCondition]
    scan: bool
    def __init__(self, collection: _Optional[str] = ..., collection_id: _Optional[int] = ..., shard: _Optional[int] = ..., at: _Optional[_Union[_common_pb2.PositionVector, _Mapping]] = ..., ranges: _Optional[_Iterable[_Union[OffsetRange, _Mapping]]] = ..., conditions: _Optional[_Iterable[_Union[ProbeCondition, _Mapping]]] = ..., scan: _Optional[bool] = ...) -> None: ...

class ProbeAnswer(_message.Message):
    __slots__ = ("rows", "digest", "refused")
    ROWS_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    rows: int
    digest: str
    refused: str
    def __init__(self, rows: _Optional[int] = ..., digest: _Optional[str] = ..., refused: _Optional[str] = ...) -> None: ...

class ProbeResponse(_message.Message):
    __slots__ = ("answers",)
    ANSWERS_FIELD_NUMBER: _ClassVar[int]
    answers: _containers.RepeatedCompositeFieldContainer[ProbeAnswer]
    def __init__(self, answers: _Optional[_Iterable[_Union[ProbeAnswer, _Mapping]]] = ...) -> None: ...

class CheckStoredRequest(_message.Message):
    __slots__ = ("collection", "collection_id", "shard")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    COLLECTION_ID_FIELD_NUMBER: _ClassVar[int]
    SHARD_FIELD_NUMBER: _ClassVar[int]
    collection: str
    collection_id: int
    shard: int
    def __init__(self, collection: _Optional[str] = ..., collection_id: _Optional[int] = ..., shard: _Optional[int] = ...) -> None: ...

class CheckStoredResponse(_message.Message):
    __slots__ = ("blocks", "size_bytes", "damage")
    BLOCKS_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    DAMAGE_FIELD_NUMBER: _ClassVar[int]
    blocks: int
    size_bytes: int
    damage: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, blocks: _Optional[int] = ..., size_bytes: _Optional[int] = ..., damage: _Optional[_Iterable[str]] = ...) -> None: ...
