"""The users' side: DB-API 2.0 over gRPC, with Arrow.

``connect()`` gives a connection; its ``execute`` gives a cursor, its ``append`` a token. Errors are
those of the standard, each also an :class:`alder.errors.AlderError` with its reason.
"""

from typing import Final

from alder.client.connection import Connection, connect
from alder.client.cursor import Cursor
from alder.client.documents import TruncatedDocument
from alder.client.errors import (
    DatabaseError,
    DataError,
    Error,
    IntegrityError,
    InterfaceError,
    InternalError,
    NotSupportedError,
    OperationalError,
    ProgrammingError,
    Warning,
)
from alder.client.model import (
    ClusterStatus,
    CollectionDescription,
    PartitionLag,
    QuarantinedRecord,
    RecordPosition,
    Redriven,
    RunningQuery,
)
from alder.client.results import CollectionInfo, ResultInfo
from alder.client.settings import Settings
from alder.client.token import Token
from alder.client.values import (
    BINARY,
    DATETIME,
    NUMBER,
    ROWID,
    STRING,
    Binary,
    Date,
    DateFromTicks,
    Time,
    TimeFromTicks,
    Timestamp,
    TimestampFromTicks,
)

apilevel: Final = "2.0"
threadsafety: Final = 2
paramstyle: Final = "qmark"

__all__ = [
    "BINARY",
    "DATETIME",
    "NUMBER",
    "ROWID",
    "STRING",
    "Binary",
    "ClusterStatus",
    "CollectionDescription",
    "CollectionInfo",
    "Connection",
    "Cursor",
    "DataError",
    "DatabaseError",
    "Date",
    "DateFromTicks",
    "Error",
    "IntegrityError",
    "InterfaceError",
    "InternalError",
    "NotSupportedError",
    "OperationalError",
    "PartitionLag",
    "ProgrammingError",
    "QuarantinedRecord",
    "RecordPosition",
    "Redriven",
    "ResultInfo",
    "RunningQuery",
    "Settings",
    "Time",
    "TimeFromTicks",
    "Timestamp",
    "TimestampFromTicks",
    "Token",
    "TruncatedDocument",
    "Warning",
    "apilevel",
    "connect",
    "paramstyle",
    "threadsafety",
]
