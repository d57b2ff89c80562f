"""The client side of gRPC within a cluster: the seams of ``alder.interfaces`` over a channel."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from types import MappingProxyType
from typing import Any

import grpc
import grpc.aio
from google.protobuf.descriptor import ServiceDescriptor

from alder.errors import AlderError, from_rpc_error
from alder.fragments import FragmentAnswer, Take, joined
from alder.push import PushFields, serialized
from alder.rpc import CHANNEL_OPTIONS, Method, methods
from alder.v1 import (
    catalog_pb2,
    common_pb2,
    leaf_pb2,
    log_pb2,
    proof_pb2,
    quarantine_pb2,
    tailer_pb2,
)

Serializer = Callable[[Any], bytes]


def open_channel(address: str) -> grpc.aio.Channel:
    """A channel to ``host:port``; it connects when it is first used, and again when it broke."""
    return grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS)


class _Stub:
    """Calls the methods of one service by their Python names."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        service: ServiceDescriptor,
        serializers: Mapping[str, Serializer] = MappingProxyType({}),
    ) -> None:
        """``serializers`` of methods whose requests are no messages, by name."""
        self._calls: dict[str, Callable[..., Any]] = {
            method.name: _callable(
                channel, method, serializers.get(method.name, method.request.SerializeToString)
            )
            for method in methods(service)
        }

    async def _unary(self, name: str, request: Any, timeout_s: float | None) -> Any:
        try:
            return await self._calls[name](request, timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error

    async def _stream(self, name: str, request: Any, timeout_s: float | None) -> AsyncIterator[Any]:
        call = self._calls[name](request, timeout=timeout_s)
        try:
            async for response in call:
                yield response
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error
        finally:
            # Who stops reading half-way wants no more: without this the server would work on.
            call.cancel()


def _callable(
    channel: grpc.aio.Channel, method: Method, serializer: Serializer
) -> Callable[..., Any]:
    names = ("unary", "stream")
    kind = f"{names[method.client_streaming]}_{names[method.server_streaming]}"
    made: Callable[..., Any] = getattr(channel, kind)(
        method.path,
        request_serializer=serializer,
        response_deserializer=method.response.FromString,
    )
    return made


class RemoteCatalog(_Stub):
    """``CatalogClient`` over gRPC."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        super().__init__(channel, catalog_pb2.DESCRIPTOR.services_by_name["Catalog"])

    async def create_collection(
        self, request: catalog_pb2.CreateCollectionRequest, timeout_s: float | None = None
    ) -> catalog_pb2.CreateCollectionResponse:
        response: catalog_pb2.CreateCollectionResponse = await self._unary(
            "create_collection", request, timeout_s
        )
        return response

    async def drop_collection(
        self, request: catalog_pb2.DropCollectionRequest, timeout_s: float | None = None
    ) -> catalog_pb2.DropCollectionResponse:
        response: catalog_pb2.DropCollectionResponse = await self._unary(
            "drop_collection", request, timeout_s
        )
        return response

    async def define(
        self, request: catalog_pb2.DefineRequest, timeout_s: float | None = None
    ) -> catalog_pb2.DefineResponse:
        response: catalog_pb2.DefineResponse = await self._unary("define", request, timeout_s)
        return response

    async def undefine(
        self, request: catalog_pb2.UndefineRequest, timeout_s: float | None = None
    ) -> catalog_pb2.UndefineResponse:
        response: catalog_pb2.UndefineResponse = await self._unary("undefine", request, timeout_s)
        return response

    async def accelerate(
        self, request: catalog_pb2.AccelerateRequest, timeout_s: float | None = None
    ) -> catalog_pb2.AccelerateResponse:
        response: catalog_pb2.AccelerateResponse = await self._unary(
            "accelerate", request, timeout_s
        )
        return response

    async def rebuild(
        self, request: catalog_pb2.RebuildRequest, timeout_s: float | None = None
    ) -> catalog_pb2.RebuildResponse:
        response: catalog_pb2.RebuildResponse = await self._unary("rebuild", request, timeout_s)
        return response

    async def register_partitions(
        self, request: catalog_pb2.RegisterPartitionsRequest, timeout_s: float | None = None
    ) -> catalog_pb2.RegisterPartitionsResponse:
        response: catalog_pb2.RegisterPartitionsResponse = await self._unary(
            "register_partitions", request, timeout_s
        )
        return response

    async def change_sources(
        self, request: catalog_pb2.ChangeSourcesRequest, timeout_s: float | None = None
    ) -> catalog_pb2.ChangeSourcesResponse:
        response: catalog_pb2.ChangeSourcesResponse = await self._unary(
            "change_sources", request, timeout_s
        )
        return response

    async def heartbeat(
        self, request: catalog_pb2.HeartbeatRequest, timeout_s: float | None = None
    ) -> catalog_pb2.HeartbeatResponse:
        response: catalog_pb2.HeartbeatResponse = await self._unary("heartbeat", request, timeout_s)
        return response

    def watch(
        self, request: catalog_pb2.WatchRequest, timeout_s: float | None = None
    ) -> AsyncIterator[catalog_pb2.CatalogSnapshot]:
        return self._stream("watch", request, timeout_s)


class RemoteLog(_Stub):
    """``LogClient`` over gRPC."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        super().__init__(channel, log_pb2.DESCRIPTOR.services_by_name["Log"])

    async def create_topic(
        self, request: log_pb2.CreateTopicRequest, timeout_s: float | None = None
    ) -> log_pb2.CreateTopicResponse:
        response: log_pb2.CreateTopicResponse = await self._unary(
            "create_topic", request, timeout_s
        )
        return response

    async def delete_topic(
        self, request: log_pb2.DeleteTopicRequest, timeout_s: float | None = None
    ) -> log_pb2.DeleteTopicResponse:
        response: log_pb2.DeleteTopicResponse = await self._unary(
            "delete_topic", request, timeout_s
        )
        return response

    async def append(
        self, requests: AsyncIterator[log_pb2.AppendRequest], timeout_s: float | None = None
    ) -> log_pb2.AppendResponse:
        """What ``requests`` raises ends the call and is raised here; gRPC alone would hide it
        behind a cancellation that nobody asked for.
        """
        failures: list[Exception] = []

        async def noted() -> AsyncIterator[log_pb2.AppendRequest]:
            try:
                async for request in requests:
                    yield request
            except Exception as error:
                failures.append(error)
                raise

        try:
            response: log_pb2.AppendResponse = await self._unary("append", noted(), timeout_s)
        except (AlderError, asyncio.CancelledError):
            task = asyncio.current_task()
            if failures and not (task and task.cancelling()):
                raise failures[0] from None
            raise
        return response

    async def read(
        self, request: log_pb2.ReadRequest, timeout_s: float | None = None
    ) -> log_pb2.ReadResponse:
        response: log_pb2.ReadResponse = await self._unary("read", request, timeout_s)
        return response

    async def offsets(
        self, request: log_pb2.OffsetsRequest, timeout_s: float | None = None
    ) -> log_pb2.OffsetsResponse:
        response: log_pb2.OffsetsResponse = await self._unary("offsets", request, timeout_s)
        return response


class RemoteLeaf(_Stub):
    """``LeafClient`` over gRPC."""

    shares_memory = False

    def __init__(self, channel: grpc.aio.Channel) -> None:
        service = leaf_pb2.DESCRIPTOR.services_by_name["Leaf"]
        super().__init__(channel, service, {"apply": serialized})

    async def apply(
        self, request: PushFields, timeout_s: float | None = None
    ) -> leaf_pb2.ApplyResponse:
        response: leaf_pb2.ApplyResponse = await self._unary("apply", request, timeout_s)
        return response

    async def positions(
        self, request: leaf_pb2.PositionsRequest, timeout_s: float | None = None
    ) -> leaf_pb2.PositionsResponse:
        response: leaf_pb2.PositionsResponse = await self._unary("positions", request, timeout_s)
        return response

    def execute(
        self, request: leaf_pb2.FragmentRequest, timeout_s: float | None = None
    ) -> AsyncIterator[leaf_pb2.FragmentResponse]:
        return self._stream("execute", request, timeout_s)

    async def answer(
        self,
        request: leaf_pb2.FragmentRequest,
        take: Take,
        timeout_s: float | None = None,
        unfinished: bool = False,
    ) -> FragmentAnswer:
        """Over a wire the answer is always finished."""
        return await joined(self.execute(request, timeout_s), take)

    def list_quarantine(
        self, request: quarantine_pb2.ShardQuarantineRequest, timeout_s: float | None = None
    ) -> AsyncIterator[common_pb2.QuarantinedRecord]:
        return self._stream("list_quarantine", request, timeout_s)

    async def redrive(
        self, request: quarantine_pb2.LeafRedriveRequest, timeout_s: float | None = None
    ) -> quarantine_pb2.LeafRedriveResponse:
        response: quarantine_pb2.LeafRedriveResponse = await self._unary(
            "redrive", request, timeout_s
        )
        return response

    async def drop_quarantined(
        self, request: quarantine_pb2.LeafDropRequest, timeout_s: float | None = None
    ) -> quarantine_pb2.LeafDropResponse:
        response: quarantine_pb2.LeafDropResponse = await self._unary(
            "drop_quarantined", request, timeout_s
        )
        return response

    async def describe(
        self, request: leaf_pb2.DescribeLeafRequest, timeout_s: float | None = None
    ) -> leaf_pb2.DescribeLeafResponse:
        response: leaf_pb2.DescribeLeafResponse = await self._unary("describe", request, timeout_s)
        return response

    async def check_index(
        self, request: leaf_pb2.CheckIndexRequest, timeout_s: float | None = None
    ) -> leaf_pb2.CheckIndexResponse:
        response: leaf_pb2.CheckIndexResponse = await self._unary("check_index", request, timeout_s)
        return response

    async def keep_partials(
        self, request: leaf_pb2.KeepPartialsRequest, timeout_s: float | None = None
    ) -> leaf_pb2.KeepPartialsResponse:
        response: leaf_pb2.KeepPartialsResponse = await self._unary(
            "keep_partials", request, timeout_s
        )
        return response


class RemoteProof(_Stub):
    """``ProofClient`` over gRPC."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        super().__init__(channel, proof_pb2.DESCRIPTOR.services_by_name["Proof"])

    async def digest(
        self, request: proof_pb2.DigestRequest, timeout_s: float | None = None
    ) -> proof_pb2.DigestResponse:
        response: proof_pb2.DigestResponse = await self._unary("digest", request, timeout_s)
        return response

    async def probe(
        self, request: proof_pb2.ProbeRequest, timeout_s: float | None = None
    ) -> proof_pb2.ProbeResponse:
        response: proof_pb2.ProbeResponse = await self._unary("probe", request, timeout_s)
        return response

    async def check_stored(
        self, request: proof_pb2.CheckStoredRequest, timeout_s: float | None = None
    ) -> proof_pb2.CheckStoredResponse:
        response: proof_pb2.CheckStoredResponse = await self._unary(
            "check_stored", request, timeout_s
        )
        return response


class RemoteTailer(_Stub):
    """``TailerClient`` over gRPC."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        super().__init__(channel, tailer_pb2.DESCRIPTOR.services_by_name["Tailer"])

    async def describe(
        self, request: tailer_pb2.DescribeTailerRequest, timeout_s: float | None = None
    ) -> tailer_pb2.DescribeTailerResponse:
        response: tailer_pb2.DescribeTailerResponse = await self._unary(
            "describe", request, timeout_s
        )
        return response

    async def redrive(
        self, request: quarantine_pb2.TailerRedriveRequest, timeout_s: float | None = None
    ) -> quarantine_pb2.RedriveResponse:
        response: quarantine_pb2.RedriveResponse = await self._unary("redrive", request, timeout_s)
        return response

    async def reach(
        self, request: tailer_pb2.ReachRequest, timeout_s: float | None = None
    ) -> tailer_pb2.ReachResponse:
        response: tailer_pb2.ReachResponse = await self._unary("reach", request, timeout_s)
        return response
