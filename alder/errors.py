"""The one error type of the product, and its form on the wire.

An :class:`AlderError` says in one sentence what is wrong and what to do. On the wire it is a
``google.rpc.Status`` with an ``ErrorInfo``, and a ``RetryInfo`` where it is known when to try
again, so that it arrives at a client as the same error, whatever number of tiers lie between.
"""

import enum
from collections.abc import Mapping
from typing import Final

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

DOMAIN: Final = "alder"
DETAILS_KEY: Final = "grpc-status-details-bin"


class Reason(enum.StrEnum):
    """Why a call failed; clients may decide by it."""

    SYNTAX = "SYNTAX"
    UNSUPPORTED = "UNSUPPORTED"
    FORBIDDEN = "FORBIDDEN"
    UNKNOWN_COLLECTION = "UNKNOWN_COLLECTION"
    UNKNOWN_COLUMN = "UNKNOWN_COLUMN"
    WRONG_TYPE = "WRONG_TYPE"
    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    ALREADY_EXISTS = "ALREADY_EXISTS"
    OUT_OF_RANGE = "OUT_OF_RANGE"
    CONFLICT = "CONFLICT"
    NOT_OWNER = "NOT_OWNER"
    STALE_ASSIGNMENT = "STALE_ASSIGNMENT"
    SCHEMA_CHANGED = "SCHEMA_CHANGED"
    IDENTITY_CHANGED = "IDENTITY_CHANGED"
    UNAVAILABLE = "UNAVAILABLE"
    DEADLINE = "DEADLINE"
    CANCELLED = "CANCELLED"
    LIMIT = "LIMIT"
    QUARANTINED = "QUARANTINED"
    OVERLOADED = "OVERLOADED"
    CORRUPT = "CORRUPT"
    INTERNAL = "INTERNAL"


_CODES: Final[Mapping[Reason, grpc.StatusCode]] = {
    Reason.SYNTAX: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.UNSUPPORTED: grpc.StatusCode.UNIMPLEMENTED,
    Reason.FORBIDDEN: grpc.StatusCode.PERMISSION_DENIED,
    Reason.UNKNOWN_COLLECTION: grpc.StatusCode.NOT_FOUND,
    Reason.UNKNOWN_COLUMN: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.WRONG_TYPE: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.INVALID_ARGUMENT: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.ALREADY_EXISTS: grpc.StatusCode.ALREADY_EXISTS,
    Reason.OUT_OF_RANGE: grpc.StatusCode.OUT_OF_RANGE,
    Reason.CONFLICT: grpc.StatusCode.ABORTED,
    Reason.NOT_OWNER: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.STALE_ASSIGNMENT: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.SCHEMA_CHANGED: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.IDENTITY_CHANGED: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    Reason.DEADLINE: grpc.StatusCode.DEADLINE_EXCEEDED,
    Reason.CANCELLED: grpc.StatusCode.CANCELLED,
    Reason.LIMIT: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.QUARANTINED: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.OVERLOADED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.CORRUPT: grpc.StatusCode.DATA_LOSS,
    Reason.INTERNAL: grpc.StatusCode.INTERNAL,
}
_REASONS_OF_CODES: Final[Mapping[grpc.StatusCode, Reason]] = {
    grpc.StatusCode.UNAVAILABLE: Reason.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED: Reason.DEADLINE,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Reason.LIMIT,
    grpc.StatusCode.CANCELLED: Reason.UNAVAILABLE,
}
_REASONS: Final[Mapping[str, Reason]] = {reason.value: reason for reason in Reason}
DROPPED_RETRY_S: Final = 0.1
"""When to ask again where the server did not even take the call up, and so could not say."""
MESSAGE_BYTES_MAX: Final = 1_500
METADATA_BYTES_MAX: Final = 200
"""gRPC drops an error whose trailing metadata exceeds 8 KiB; it holds the message twice, once
percent-encoded at up to three bytes for one."""


class AlderError(Exception):
    """What went wrong, why, and (in the message) what to do about it.

    ``retry_s``: seconds after which to try again, where that is known.
    """

    def __init__(
        self, reason: Reason, message: str, retry_s: float | None = None, /, **metadata: str
    ) -> None:
        message = _clipped(message, MESSAGE_BYTES_MAX)
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.retry_s = retry_s
        self.metadata = {
            key: _clipped(value, METADATA_BYTES_MAX) for key, value in metadata.items()
        }

    def __reduce__(self) -> tuple[object, ...]:
        """Worker processes raise it too, and an exception is rebuilt from its message otherwise."""
        return _restored, (self.reason, self.message, self.retry_s, self.metadata)

    @property
    def code(self) -> grpc.StatusCode:
        """The gRPC status code of the reason."""
        return _CODES[self.reason]

    def to_status(self) -> Status:
        """The error as it travels in the trailing metadata under :data:`DETAILS_KEY`."""
        code: int = self.code.value[0]
        status = Status(code=code, message=self.message)
        info = ErrorInfo(reason=self.reason.value, domain=DOMAIN, metadata=self.metadata)
        status.details.add().Pack(info)
        if self.retry_s is not None:
            retry = RetryInfo()
            retry.retry_delay.FromMicroseconds(round(self.retry_s * 1e6))
            status.details.add().Pack(retry)
        return status


class Unreachable(AlderError):
    """The call failed, not the server: what became of it there is not known.

    A call that a server drops unheard is none of these: it has run nothing.
    """


def _restored(
    reason: Reason, message: str, retry_s: float | None, metadata: Mapping[str, str]
) -> AlderError:
    return AlderError(reason, message, retry_s, **metadata)


def _clipped(text: str, size_bytes_max: int) -> str:
    data = text.encode(errors="replace")
    if len(data) <= size_bytes_max:
        return data.decode()
    return data[: size_bytes_max - 3].decode(errors="ignore") + "…"


def from_rpc_error(error: grpc.RpcError) -> AlderError:
    """The error that a server raised, or one for a failure of the call itself."""
    if not isinstance(error, grpc.Call | grpc.aio.AioRpcError):
        return AlderError(Reason.INTERNAL, str(error) or "the call failed without a message")
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            restored = _from_details(value)
            if restored is not None:
                return restored
    return from_code(error.code(), error.details() or "the call failed without a message")


def from_code(code: grpc.StatusCode, details: str) -> AlderError:
    """The error for a call that failed without a message of ours: transport, deadline, limits."""
    reason = _REASONS_OF_CODES.get(code, Reason.INTERNAL)
    if code is grpc.StatusCode.CANCELLED:
        return AlderError(
            reason,
            f"the server dropped the call ({details}): too many wait, or it is being stopped; "
            f"ask again in {DROPPED_RETRY_S:g} s",
            DROPPED_RETRY_S,
        )
    if reason is Reason.UNAVAILABLE:
        return Unreachable(
            reason,
            f"the server can't be reached ({details}); check that it runs at this address",
        )
    if reason is Reason.DEADLINE:
        details = "the deadline passed before the answer was complete; ask with a longer timeout"
    return AlderError(reason, details)


def _from_details(details: bytes) -> AlderError | None:
    try:
        status = Status.FromString(details)
        retry_s = None
        for detail in status.details:
            retry = RetryInfo()
            if detail.Unpack(retry):
                retry_s = retry.retry_delay.ToMicroseconds() / 1e6
        for detail in status.details:
            info = ErrorInfo()
            if detail.Unpack(info) and info.domain == DOMAIN:
                reason = _REASONS.get(info.reason, Reason.INTERNAL)
                return AlderError(reason, status.message, retry_s, **dict(info.metadata))
    except DecodeError:
        return None
    return None
