"""The way to a server: its address, and blocking calls that raise the client's errors.

Callers never see a ``grpc.RpcError``: a status that the server sent becomes the error it stands
for, and a failure of the connection itself names the address.
"""

import os
import threading
from collections import deque
from collections.abc import Iterator
from itertools import chain, islice
from typing import Any, Final, cast

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message
from grpc.experimental import ChannelOptions

from alder.client.errors import Error, OperationalError, ProgrammingError, as_client_error
from alder.config import DEFAULT_ADDRESS, SERVER_VARIABLE
from alder.errors import DETAILS_KEY, Reason, from_rpc_error
from alder.rpc import CHANNEL_OPTIONS, methods
from alder.v1 import catalog_pb2, log_pb2, query_pb2

_SCHEME: Final = "alder://"
# Measured: a small query answers in half the time without gRPC's thread per response stream.
_OPTIONS: Final = (*CHANNEL_OPTIONS, (ChannelOptions.SingleThreadedUnaryStream, 1))


def resolve_target(target: str | None) -> str:
    """``host:port`` of ``host:port``, ``alder://host:port`` or None (environment, then default).

    Raises ProgrammingError for anything else.
    """
    given = target or os.environ.get(SERVER_VARIABLE) or DEFAULT_ADDRESS
    address = given.removeprefix(_SCHEME).removesuffix("/")
    host, colon, port = address.rpartition(":")
    bare_v6 = ":" in host and not (host.startswith("[") and host.endswith("]"))
    number = int(port) if port.isascii() and port.isdigit() and len(port) <= 5 else 0
    if not (colon and host and 0 < number < 65536) or bare_v6 or "/" in host or " " in host:
        raise ProgrammingError(
            Reason.INVALID_ARGUMENT,
            f"{given!r} is not a server's address; write host:port, for example {DEFAULT_ADDRESS}",
        )
    return address


class Channel:
    """A gRPC channel to one server and the methods that a client calls. Safe for threads."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._channel = grpc.insecure_channel(address, options=_OPTIONS)
        self._calls: dict[str, Any] = {}
        for module, name in ((query_pb2, "Query"), (log_pb2, "Log"), (catalog_pb2, "Catalog")):
            self._add(module.DESCRIPTOR.services_by_name[name])

    def unary(self, method: str, request: Message, timeout_s: float | None) -> Any:
        """The response of a method such as ``Query.status``."""
        try:
            return self._calls[method](request, timeout=timeout_s)
        except grpc.RpcError as error:
            raise self._error(error) from error

    def stream(self, method: str, request: Message, timeout_s: float | None) -> "ResponseStream":
        """The responses of a method; closing the stream cancels the call."""
        return ResponseStream(self, self._calls[method](request, timeout=timeout_s))

    def upload(self, method: str, requests: Iterator[Message], timeout_s: float | None) -> Any:
        """Streams requests and returns the response; None if there is no request.

        ``requests`` is drawn from in the caller's thread, so that its errors are the caller's; then
        the call is cancelled. At most :data:`_Feed.PENDING_MAX` requests wait to be sent.
        """
        head = list(islice(requests, 2))
        if len(head) < 2:
            return self._upload_one(method, head[0], timeout_s) if head else None
        feed = _Feed()
        call = self._calls[method].future(feed, timeout=timeout_s)
        call.add_done_callback(lambda _: feed.abandon())
        try:
            for request in chain(head, requests):
                if not feed.put(request):
                    break
            feed.end()
            return call.result()
        except grpc.RpcError as error:
            raise self._error(error) from error
        except grpc.FutureCancelledError as error:
            raise OperationalError(Reason.UNAVAILABLE, "the connection was closed") from error
        finally:
            # In this order, or what was sent so far would look like all of it.
            call.cancel()
            feed.abandon()

    def _upload_one(self, method: str, request: Message, timeout_s: float | None) -> Any:
        """Spares a single request, the usual case, the change of threads."""
        try:
            return self._calls[method](iter((request,)), timeout=timeout_s)
        except grpc.RpcError as error:
            raise self._error(error) from error

    def close(self) -> None:
        """Cancels running calls and closes the channel."""
        self._channel.close()

    def _add(self, service: ServiceDescriptor) -> None:
        for method in methods(service):
            names = ("unary", "stream")
            kind = f"{names[method.client_streaming]}_{names[method.server_streaming]}"
            self._calls[f"{service.name}.{method.name}"] = getattr(self._channel, kind)(
                method.path,
                request_serializer=method.request.SerializeToString,
                response_deserializer=method.response.FromString,
            )

    def _error(self, error: grpc.RpcError) -> Error:
        call = cast(grpc.Call, error)
        sent_by_server = any(key == DETAILS_KEY for key, _ in call.trailing_metadata() or ())
        if call.code() is grpc.StatusCode.UNAVAILABLE and not sent_by_server:
            return OperationalError(
                Reason.UNAVAILABLE,
                f"no server answers at {self.address}; start one with `alder serve`, or name "
                f"another one ({SERVER_VARIABLE}, or the option --server)",
            )
        return as_client_error(from_rpc_error(error))


class ResponseStream:
    """Iterator over the responses of one call."""

    def __init__(self, channel: Channel, call: Any) -> None:
        self._channel = channel
        self._call = call

    def __iter__(self) -> "ResponseStream":
        return self

    def __next__(self) -> Any:
        try:
            return next(self._call)
        except grpc.RpcError as error:
            raise self._channel._error(error) from error

    def close(self) -> None:
        """Cancels what is still running."""
        self._call.cancel()


class _Feed:
    """A bounded queue between the thread that makes requests and gRPC's thread that sends them."""

    PENDING_MAX: Final = 4

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._pending: deque[Message] = deque()
        self._ended = False
        self._abandoned = False

    def put(self, request: Message) -> bool:
        """Waits for room; False if the call ended and nothing more will be sent."""
        with self._changed:
            self._changed.wait_for(self._has_room)
            if self._abandoned:
                return False
            self._pending.append(request)
            self._changed.notify_all()
            return True

    def end(self) -> None:
        """No request follows."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def abandon(self) -> None:
        """The call ended: nobody draws requests any more."""
        with self._changed:
            self._abandoned = True
            self._changed.notify_all()

    def _has_room(self) -> bool:
        return self._abandoned or len(self._pending) < self.PENDING_MAX

    def __iter__(self) -> "_Feed":
        return self

    def __next__(self) -> Message:
        with self._changed:
            self._changed.wait_for(lambda: self._abandoned or self._ended or self._pending)
            if self._abandoned or not self._pending:
                raise StopIteration
            request = self._pending.popleft()
            self._changed.notify_all()
            return request
