from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RecordPosition(_message.Message):
    __slots__ = ("source", "partition", "offset")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    source: str
    partition: int
    offset: int
    def __init__(self, source: _Optional[str] = ..., partition: _Optional[int] = ..., offset: _Optional[int] = ...) -> None: ...

class QuarantineRequest(_message.Message):
    __slots__ = ("collection", "records_max", "after", "only", "dropped")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    RECORDS_MAX_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    ONLY_FIELD_NUMBER: _ClassVar[int]
    DROPPED_FIELD_NUMBER: _ClassVar[int]
    collection: str
    records_max: int
    after: RecordPosition
    only: RecordPosition
    dropped: bool
    def __init__(self, collection: _Optional[str] = ..., records_max: _Optional[int] = ..., after: _Optional[_Union[RecordPosition, _Mapping]] = ..., only: _Optional[_Union[RecordPosition, _Mapping]] = ..., dropped: _Optional[bool] = ...) -> None: ...

class ShardQuarantineRequest(_message.Message):
    __slots__ = ("collection_id", "page")
    COLLECTION_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_FIELD_NUMBER: _ClassVar[int]
    collection_id: int
    page: QuarantineRequest
    def __init__(self, collection_id: _Optional[int] = ..., page: _Optional[_Union[QuarantineRequest, _Mapping]] = ...) -> None: ...

class RedrivenRecord(_message.Message):
    __slots__ = ("position", "reason")
    POSITION_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    position: RecordPosition
    reason: str
    def __init__(self, position: _Optional[_Union[RecordPosition, _Mapping]] = ..., reason: _Optional[str] = ...) -> None: ...

class RedriveResponse(_message.Message):
    __slots__ = ("records",)
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    records: _containers.RepeatedCompositeFieldContainer[RedrivenRecord]
    def __init__(self, records: _Optional[_Iterable[_Union[RedrivenRecord, _Mapping]]] = ...) -> None: ...

class DropQuarantinedResponse(_message.Message):
    __slots__ = ("records",)
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    records: _containers.RepeatedCompositeFieldContainer[RecordPosition]
    def __init__(self, records: _Optional[_Iterable[_Union[RecordPosition, _Mapping]]] = ...) -> None: ...

class TailerRedriveRequest(_message.Message):
    __slots__ = ("collection", "collection_id", "records")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    COLLECTION_ID_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    collection: str
    collection_id: int
    records: _containers.RepeatedCompositeFieldContainer[RecordPosition]
    def __init__(self, collection: _Optional[str] = ..., collection_id: _Optional[int] = ..., records: _Optional[_Iterable[_Union[RecordPosition, _Mapping]]] = ...) -> None: ...

class ShardRedrive(_message.Message):
    __slots__ = ("shard", "rows", "settled_offsets", "quarantine")
    SHARD_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    SETTLED_OFFSETS_FIELD_NUMBER: _ClassVar[int]
    QUARANTINE_FIELD_NUMBER: _ClassVar[int]
    shard: int
    rows: bytes
    settled_offsets: _containers.RepeatedScalarFieldContainer[int]
    quarantine: bytes
    def __init__(self, shard: _Optional[int] = ..., rows: _Optional[bytes] = ..., settled_offsets: _Optional[_Iterable[int]] = ..., quarantine: _Optional[bytes] = ...) -> None: ...

class LeafRedriveRequest(_message.Message):
    __slots__ = ("collection", "collection_id", "epoch", "source", "partition", "source_identity", "from_offset", "to_offset", "shards", "overflow", "assignment")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    COLLECTION_ID_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    SOURCE_IDENTITY_FIELD_NUMBER: _ClassVar[int]
    FROM_OFFSET_FIELD_NUMBER: _ClassVar[int]
    TO_OFFSET_FIELD_NUMBER: _ClassVar[int]
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    OVERFLOW_FIELD_NUMBER: _ClassVar[int]
    ASSIGNMENT_FIELD_NUMBER: _ClassVar[int]
    collection: str
    collection_id: int
    epoch: int
    source: str
    partition: int
    source_identity: str
    from_offset: int
    to_offset: int
    shards: _containers.RepeatedCompositeFieldContainer[ShardRedrive]
    overflow: bool
    assignment: int
    def __init__(self, collection: _Optional[str] = ..., collection_id: _Optional[int] = ..., epoch: _Optional[int] = ..., source: _Optional[str] = ..., partition: _Optional[int] = ..., source_identity: _Optional[str] = ..., from_offset: _Optional[int] = ..., to_offset: _Optional[int] = ..., shards: _Optional[_Iterable[_Union[ShardRedrive, _Mapping]]] = ..., overflow: _Optional[bool] = ..., assignment: _Optional[int] = ...) -> None: ...

class RefusedRow(_message.Message):
    __slots__ = ("offset", "reason")
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    offset: int
    reason: str
    def __init__(self, offset: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class LeafRedriveResponse(_message.Message):
    __slots__ = ("refused",)
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    refused: _containers.RepeatedCompositeFieldContainer[RefusedRow]
    def __init__(self, refused: _Optional[_Iterable[_Union[RefusedRow, _Mapping]]] = ...) -> None: ...

class LeafDropRequest(_message.Message):
    __slots__ = ("collection_id", "records")
    COLLECTION_ID_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    collection_id: int
    records: _containers.RepeatedCompositeFieldContainer[RecordPosition]
    def __init__(self, collection_id: _Optional[int] = ..., records: _Optional[_Iterable[_Union[RecordPosition, _Mapping]]] = ...) -> None: ...

class LeafDropResponse(_message.Message):
    __slots__ = ("records",)
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    records: _containers.RepeatedCompositeFieldContainer[RecordPosition]
    def __init__(self, records: _Optional[_Iterable[_Union[RecordPosition, _Mapping]]] = ...) -> None: ...
