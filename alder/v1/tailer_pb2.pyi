from alder.v1 import quarantine_pb2 as _quarantine_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ReachRequest(_message.Message):
    __slots__ = ("collection", "collection_id")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    COLLECTION_ID_FIELD_NUMBER: _ClassVar[int]
    collection: str
    collection_id: int
    def __init__(self, collection: _Optional[str] = ..., collection_id: _Optional[int] = ...) -> None: ...

class ReachResponse(_message.Message):
    __slots__ = ("missing",)
    MISSING_FIELD_NUMBER: _ClassVar[int]
    missing: str
    def __init__(self, missing: _Optional[str] = ...) -> None: ...

class DescribeTailerRequest(_message.Message):
    __slots__ = ("collection", "look")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    LOOK_FIELD_NUMBER: _ClassVar[int]
    collection: str
    look: bool
    def __init__(self, collection: _Optional[str] = ..., look: _Optional[bool] = ...) -> None: ...

class EndSeen(_message.Message):
    __slots__ = ("end_offset", "age_us")
    END_OFFSET_FIELD_NUMBER: _ClassVar[int]
    AGE_US_FIELD_NUMBER: _ClassVar[int]
    end_offset: int
    age_us: int
    def __init__(self, end_offset: _Optional[int] = ..., age_us: _Optional[int] = ...) -> None: ...

class PartitionProgress(_message.Message):
    __slots__ = ("collection", "source", "partition", "next_offset", "end_offset", "records", "quarantined", "error", "ends", "applied_log_time_us", "waiting_log_time_us", "paused", "held_bytes")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    NEXT_OFFSET_FIELD_NUMBER: _ClassVar[int]
    END_OFFSET_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    QUARANTINED_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    ENDS_FIELD_NUMBER: _ClassVar[int]
    APPLIED_LOG_TIME_US_FIELD_NUMBER: _ClassVar[int]
    WAITING_LOG_TIME_US_FIELD_NUMBER: _ClassVar[int]
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    HELD_BYTES_FIELD_NUMBER: _ClassVar[int]
    collection: str
    source: str
    partition: int
    next_offset: int
    end_offset: int
    records: int
    quarantined: int
    error: str
    ends: _containers.RepeatedCompositeFieldContainer[EndSeen]
    applied_log_time_us: int
    waiting_log_time_us: int
    paused: bool
    held_bytes: int
    def __init__(self, collection: _Optional[str] = ..., source: _Optional[str] = ..., partition: _Optional[int] = ..., next_offset: _Optional[int] = ..., end_offset: _Optional[int] = ..., records: _Optional[int] = ..., quarantined: _Optional[int] = ..., error: _Optional[str] = ..., ends: _Optional[_Iterable[_Union[EndSeen, _Mapping]]] = ..., applied_log_time_us: _Optional[int] = ..., waiting_log_time_us: _Optional[int] = ..., paused: _Optional[bool] = ..., held_bytes: _Optional[int] = ...) -> None: ...

class DescribeTailerResponse(_message.Message):
    __slots__ = ("node_id", "partitions")
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    node_id: str
    partitions: _containers.RepeatedCompositeFieldContainer[PartitionProgress]
    def __init__(self, node_id: _Optional[str] = ..., partitions: _Optional[_Iterable[_Union[PartitionProgress, _Mapping]]] = ...) -> None: ...
