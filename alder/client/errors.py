"""The exceptions of DB-API 2.0, each still the AlderError that it came from.

A failed call therefore carries its :class:`~alder.errors.Reason` and can be caught either by the
standard's hierarchy or as an AlderError.
"""

from collections.abc import Mapping
from typing import Final

from alder.errors import AlderError, Reason


class Warning(Exception):  # the standard names it so
    """Never raised; the standard asks for it."""


class Error(AlderError):
    """Base of all errors of a connection; ``reason`` says why, ``message`` what to do."""


class InterfaceError(Error):
    """The client was used in a way that can't work, for example after ``close()``."""


class DatabaseError(Error):
    """Base of the errors that concern the server or its data."""


class DataError(DatabaseError):
    """A value has the wrong type or lies out of range."""


class OperationalError(DatabaseError):
    """The server can't be reached, a deadline passed, a limit was hit: not the query's fault."""


class IntegrityError(DatabaseError):
    """Never raised: collections have no constraints."""


class InternalError(DatabaseError):
    """A defect of the server, or data that fails its checksum."""


class ProgrammingError(DatabaseError):
    """The statement, a name or an argument is wrong."""


class NotSupportedError(DatabaseError):
    """The server or the client doesn't do this."""


_CLASSES: Final[Mapping[Reason, type[Error]]] = {
    Reason.SYNTAX: ProgrammingError,
    Reason.UNSUPPORTED: NotSupportedError,
    Reason.FORBIDDEN: ProgrammingError,
    Reason.UNKNOWN_COLLECTION: ProgrammingError,
    Reason.UNKNOWN_COLUMN: ProgrammingError,
    Reason.WRONG_TYPE: DataError,
    Reason.INVALID_ARGUMENT: ProgrammingError,
    Reason.ALREADY_EXISTS: ProgrammingError,
    Reason.OUT_OF_RANGE: DataError,
    Reason.CONFLICT: OperationalError,
    Reason.NOT_OWNER: OperationalError,
    Reason.STALE_ASSIGNMENT: OperationalError,
    Reason.SCHEMA_CHANGED: OperationalError,
    Reason.IDENTITY_CHANGED: OperationalError,
    Reason.UNAVAILABLE: OperationalError,
    Reason.DEADLINE: OperationalError,
    Reason.CANCELLED: OperationalError,
    Reason.LIMIT: OperationalError,
    Reason.QUARANTINED: OperationalError,
    Reason.OVERLOADED: OperationalError,
    Reason.CORRUPT: InternalError,
    Reason.INTERNAL: InternalError,
}


def as_client_error(error: AlderError) -> Error:
    """The same error as an exception of DB-API 2.0."""
    if isinstance(error, Error):
        return error
    return _CLASSES[error.reason](error.reason, error.message, error.retry_s, **error.metadata)
