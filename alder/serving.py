"""The server side of gRPC: any implementation of a seam becomes a service.

An AlderError becomes the status that a client turns back into the same error; every other exception
is a defect, logged whole and answered with INTERNAL without its text.
"""

import logging
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, Final

import grpc
import grpc.aio
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio

from alder.caller import CALLER
from alder.errors import DETAILS_KEY, AlderError, Reason
from alder.rpc import CHANNEL_OPTIONS, Method, methods

logger = logging.getLogger(__name__)
Context = grpc.aio.ServicerContext[Any, Any]

UNHEARD_MAX: Final = 128
"""Calls that may wait until they are taken up; beyond it they are dropped at random, and all beyond
twice as many. Where they wait longer than their deadlines, nothing that is taken up is answered."""
SERVER_OPTIONS: Final = (
    *CHANNEL_OPTIONS,
    ("grpc.server.max_pending_requests", UNHEARD_MAX),
    ("grpc.server.max_pending_requests_hard_limit", 2 * UNHEARD_MAX),
    ("grpc.so_reuseport", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
)


class Server:
    """A gRPC server that starts as NOT_SERVING; implementations are added before :meth:`start`."""

    def __init__(self) -> None:
        self._server = grpc.aio.server(options=SERVER_OPTIONS)
        self._health = health_aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)

    def add(self, service: ServiceDescriptor, implementation: object) -> None:
        """Serves ``implementation``; its methods have the service's names in snake case.

        Calls of a method that streams its answer, which are those that work, are taken up apart
        from all others: an append does not wait behind queries.
        """
        works: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
        others: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
        for method in methods(service):
            handlers = works if method.server_streaming else others
            name = method.path.rsplit("/", 1)[1]
            handlers[name] = _handler(method, getattr(implementation, method.name))
        generic = grpc.method_handlers_generic_handler(service.full_name, others)
        self._server.add_generic_rpc_handlers((generic,))
        self._server.add_registered_method_handlers(service.full_name, works)

    async def start(self, address: str) -> int:
        """Listens on ``host:port`` (port 0: any free one) and returns the port.

        Raises AlderError(UNAVAILABLE) where the address can't be had.
        """
        await self._health.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
        try:
            port = self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise AlderError(
                Reason.UNAVAILABLE, f"can't listen on {address}: is it taken? Choose another port"
            ) from error
        await self._server.start()
        return port

    async def ready(self) -> None:
        """Reports SERVING from now on."""
        await self._health.set("", health_pb2.HealthCheckResponse.SERVING)

    async def stop(self, grace_s: float) -> None:
        """Refuses new calls, lets running ones end within ``grace_s``, then cancels them."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace_s)


def _handler(method: Method, call: Any) -> "grpc.RpcMethodHandler[Any, Any]":
    async def unary(request: Message | AsyncIterator[Message], context: Context) -> Message:
        CALLER.set(context.peer())
        try:
            response: Message = await call(request, timeout_s=context.time_remaining())
        except Exception as error:
            await _abort(context, method, error)
            raise
        return response

    async def stream(
        request: Message | AsyncIterator[Message], context: Context
    ) -> AsyncIterator[Message]:
        CALLER.set(context.peer())
        try:
            # Closed at once, not when it is collected: what it runs ends with the call.
            async with aclosing(call(request, timeout_s=context.time_remaining())) as responses:
                async for response in responses:
                    yield response
        except AlderError as error:
            # Set, not raised: on its way through gRPC an exception costs a fifth of what it takes
            # to refuse a call.
            context.set_code(error.code)
            context.set_details(error.message)
            context.set_trailing_metadata(_details(error))
        except Exception as error:
            await _abort(context, method, error)
            raise

    names = ("unary", "stream")
    kind = f"{names[method.client_streaming]}_{names[method.server_streaming]}"
    make = getattr(grpc, f"{kind}_rpc_method_handler")
    handler: grpc.RpcMethodHandler[Any, Any] = make(
        stream if method.server_streaming else unary,
        request_deserializer=method.request.FromString,
        response_serializer=method.response.SerializeToString,
    )
    return handler


async def _abort(context: Context, method: Method, error: Exception) -> None:
    if not isinstance(error, AlderError):
        logger.error("%s failed", method.path, exc_info=error)
        error = AlderError(
            Reason.INTERNAL, f"{method.path} failed inside the server; its log says why"
        )
    await context.abort(error.code, error.message, _details(error))


def _details(error: AlderError) -> tuple[tuple[str, bytes], ...]:
    return ((DETAILS_KEY, error.to_status().SerializeToString()),)
