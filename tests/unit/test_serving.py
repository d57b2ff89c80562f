"""Serving and remote clients: a seam behaves over gRPC as it does within a process."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from log_records import Record, appended, records_of

from alder.errors import (
    DETAILS_KEY,
    DROPPED_RETRY_S,
    AlderError,
    Reason,
    Unreachable,
    from_code,
    from_rpc_error,
)
from alder.remote import RemoteCatalog, RemoteLog, open_channel
from alder.rpc import methods
from alder.serving import Server
from alder.v1 import catalog_pb2, common_pb2, log_pb2

LOG = log_pb2.DESCRIPTOR.services_by_name["Log"]
CATALOG = catalog_pb2.DESCRIPTOR.services_by_name["Catalog"]


class FakeLog:
    """Answers by the name of the topic, and notes what it was given."""

    def __init__(self) -> None:
        self.appended: list[int] = []
        self.timeout_s: float | None = None
        self.error = AlderError(Reason.OUT_OF_RANGE, "begins at 7", begin_offset="7")

    async def create_topic(
        self, request: log_pb2.CreateTopicRequest, timeout_s: float | None = None
    ) -> log_pb2.CreateTopicResponse:
        raise ValueError("a secret of the server")

    async def delete_topic(
        self, request: log_pb2.DeleteTopicRequest, timeout_s: float | None = None
    ) -> log_pb2.DeleteTopicResponse:
        await asyncio.sleep(30)
        return log_pb2.DeleteTopicResponse()

    async def append(
        self, requests: AsyncIterator[log_pb2.AppendRequest], timeout_s: float | None = None
    ) -> log_pb2.AppendResponse:
        async for request in requests:
            if request.topic == "refused":
                raise AlderError(Reason.LIMIT, "too much")
            self.appended.append(len(records_of(request)))
        token = common_pb2.PositionVector(
            positions=[common_pb2.Position(source="log", next_offset=sum(self.appended))]
        )
        return log_pb2.AppendResponse(token=token, records=sum(self.appended))

    async def read(
        self, request: log_pb2.ReadRequest, timeout_s: float | None = None
    ) -> log_pb2.ReadResponse:
        self.timeout_s = timeout_s
        return log_pb2.ReadResponse(offset=request.offset + 1, end_offset=9)

    async def offsets(
        self, request: log_pb2.OffsetsRequest, timeout_s: float | None = None
    ) -> log_pb2.OffsetsResponse:
        raise self.error


class FakeCatalog:
    """Has a watch that ends as the revision asks for."""

    def __init__(self) -> None:
        self.watching = 0
        self.left = asyncio.Event()

    async def watch(
        self, request: catalog_pb2.WatchRequest, timeout_s: float | None = None
    ) -> AsyncIterator[catalog_pb2.CatalogSnapshot]:
        self.watching += 1
        try:
            for revision in range(1, 4):
                yield catalog_pb2.CatalogSnapshot(revision=revision)
            if request.revision == 1:
                raise AlderError(Reason.UNAVAILABLE, "closing")
            if request.revision == 2:
                raise ValueError("a secret of the server")
            if request.revision == 3:
                await asyncio.sleep(30)
        finally:
            self.watching -= 1
            self.left.set()

    async def unused(self, request: object, timeout_s: float | None = None) -> object:
        raise NotImplementedError

    create_collection = drop_collection = register_partitions = heartbeat = unused
    define = undefine = accelerate = rebuild = change_sources = unused


Scenario = Callable[[grpc.aio.Channel, FakeLog, FakeCatalog], Awaitable[None]]


def serve(scenario: Scenario) -> None:
    """Runs a scenario against a server on loopback."""

    async def run() -> None:
        log, catalog = FakeLog(), FakeCatalog()
        server = Server()
        server.add(LOG, log)
        server.add(CATALOG, catalog)
        port = await server.start("127.0.0.1:0")
        await server.ready()
        try:
            async with open_channel(f"127.0.0.1:{port}") as channel:
                await scenario(channel, log, catalog)
        finally:
            await server.stop(0)

    asyncio.run(run())


async def refused(call: Awaitable[object]) -> AlderError:
    with pytest.raises(AlderError) as caught:
        await call
    return caught.value


async def requests(*topics: str) -> AsyncIterator[log_pb2.AppendRequest]:
    for topic in topics:
        yield log_pb2.AppendRequest(topic=topic, records=appended(Record(b"x")))


def test_methods_follow_the_contract() -> None:
    found = {method.name: method for method in methods(LOG)}
    assert set(found) == {"create_topic", "delete_topic", "append", "read", "offsets"}
    assert found["append"].client_streaming
    assert not found["append"].server_streaming
    assert found["create_topic"].path == "/alder.v1.Log/CreateTopic"
    assert found["read"].request is log_pb2.ReadRequest
    assert {m.name for m in methods(CATALOG) if m.server_streaming} == {"watch"}


def test_a_call_and_its_deadline_arrive() -> None:
    async def scenario(channel: grpc.aio.Channel, log: FakeLog, catalog: FakeCatalog) -> None:
        remote = RemoteLog(channel)
        response = await remote.read(log_pb2.ReadRequest(offset=4), timeout_s=20)
        assert (response.offset, response.end_offset) == (5, 9)
        assert log.timeout_s is not None
        assert 10 < log.timeout_s < 21
        await remote.read(log_pb2.ReadRequest())
        assert log.timeout_s is None

    serve(scenario)


def test_an_alder_error_arrives_whole() -> None:
    async def scenario(channel: grpc.aio.Channel, log: FakeLog, catalog: FakeCatalog) -> None:
        remote = RemoteLog(channel)
        for reason in Reason:
            log.error = AlderError(reason, f"größer: {reason}", 2.5, begin_offset="7", other="ü")
            error = await refused(remote.offsets(log_pb2.OffsetsRequest()))
            assert (error.reason, error.message) == (reason, f"größer: {reason}")
            assert error.metadata == {"begin_offset": "7", "other": "ü"}
            assert error.retry_s == 2.5
        log.error = AlderError(Reason.LIMIT, "too much")
        assert (await refused(remote.offsets(log_pb2.OffsetsRequest()))).retry_s is None

    serve(scenario)


@pytest.mark.parametrize("letter", ["x", "ü", "🌲"])
def test_a_long_error_arrives_cut_but_with_its_reason(letter: str) -> None:
    async def scenario(channel: grpc.aio.Channel, log: FakeLog, catalog: FakeCatalog) -> None:
        log.error = AlderError(Reason.SYNTAX, letter * 100_000, where=letter * 100_000)
        error = await refused(RemoteLog(channel).offsets(log_pb2.OffsetsRequest()))
        assert error.reason is Reason.SYNTAX
        assert error.message == log.error.message
        assert error.message.startswith(letter * 300)
        assert error.message.endswith("…")
        assert error.metadata == log.error.metadata

    serve(scenario)


def test_a_defect_is_internal_and_keeps_its_text_to_itself(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario(channel: grpc.aio.Channel, log: FakeLog, catalog: FakeCatalog) -> None:
        error = await refused(RemoteLog(channel).create_topic(log_pb2.CreateTopicRequest()))
        assert error.reason is Reason.INTERNAL
        assert "secret" not in error.message
        assert "/alder.v1.Log/CreateTopic failed inside the server" in error.message

        async def watch() -> None:
            async for _ in RemoteCatalog(channel).watch(catalog_pb2.WatchRequest(revision=2)):
                pass

        error = await refused(watch())
        assert error.reason is Reason.INTERNAL
        assert "secret" not in error.message

    with caplog.at_level(logging.ERROR, "alder.serving"):
        serve(scenario)
    assert "a secret of the server" in caplog.text


def test_a_client_stream_is_counted_and_may_be_refused_midway() -> None:
    async def scenario(channel: grpc.aio.Channel, log: FakeLog, catalog: FakeCatalog) -> None:
        remote = RemoteLog(channel)
        response = await remote.append(requests("a", "a", "a"))
        assert response.records == 3
        assert response.token.positions[0].next_offset == 3
        topics = ["a", "refused", *["a"] * 1_000]
        error = await refused(remote.append(requests(*topics)))
        assert (error.reason, error.message) == (Reason.LIMIT, "too much")

    serve(scenario)


def test_what_the_callers_own_stream_raises_is_what_the_caller_gets() -> None:
    async def broken(error: Exception) -> AsyncIterator[log_pb2.AppendRequest]:
        async for request in requests("a"):
            yield request
        raise error

    async def scenario(channel: grpc.aio.Channel, log: FakeLog, catalog: FakeCatalog) -> None:
        with pytest.raises(OSError, match="no such file"):
            await RemoteLog(channel).append(broken(OSError("no such file")))
        error = await refused(RemoteLog(channel).append(broken(AlderError(Reason.LIMIT, "mine"))))
        assert (error.reason, error.message) == (Reason.LIMIT, "mine")

    serve(scenario)


def test_a_server_stream_arrives_and_may_end_in_an_error() -> None:
    async def scenario(channel: grpc.aio.Channel, log: FakeLog, catalog: FakeCatalog) -> None:
        async def watch(revision: int, seen: list[int]) -> None:
            request = catalog_pb2.WatchRequest(revision=revision)
            async for message in RemoteCatalog(channel).watch(request):
                seen.append(message.revision)

        whole: list[int] = []
        await watch(0, whole)
        cut: list[int] = []
        error = await refused(watch(1, cut))
        assert whole == cut == [1, 2, 3]
        assert (error.reason, error.message) == (Reason.UNAVAILABLE, "closing")

    serve(scenario)


def test_leaving_a_stream_ends_it_at_the_server() -> None:
    async def scenario(channel: grpc.aio.Channel, log: FakeLog, catalog: FakeCatalog) -> None:
        stream = RemoteCatalog(channel).watch(catalog_pb2.WatchRequest(revision=3))
        assert (await anext(stream)).revision == 1
        assert catalog.watching == 1
        await stream.aclose()
        await asyncio.wait_for(catalog.left.wait(), 5)
        assert catalog.watching == 0

    serve(scenario)


def test_deadline_and_absence_have_their_reasons() -> None:
    async def scenario(channel: grpc.aio.Channel, log: FakeLog, catalog: FakeCatalog) -> None:
        slow = RemoteLog(channel).delete_topic(log_pb2.DeleteTopicRequest(), timeout_s=0.05)
        assert (await refused(slow)).reason is Reason.DEADLINE
        async with open_channel("127.0.0.1:1") as nowhere:
            error = await refused(RemoteLog(nowhere).read(log_pb2.ReadRequest(), timeout_s=5))
            assert error.reason is Reason.UNAVAILABLE
            assert "check that it runs" in error.message

    serve(scenario)


def test_a_server_that_stops_is_unavailable_to_who_waits() -> None:
    async def run() -> None:
        server = Server()
        server.add(LOG, FakeLog())
        server.add(CATALOG, FakeCatalog())
        port = await server.start("127.0.0.1:0")
        async with open_channel(f"127.0.0.1:{port}") as channel:
            remote = RemoteCatalog(channel)
            stream = remote.watch(catalog_pb2.WatchRequest(revision=3))
            assert (await anext(stream)).revision == 1
            waiting = asyncio.ensure_future(
                RemoteLog(channel).delete_topic(log_pb2.DeleteTopicRequest())
            )
            await asyncio.sleep(0.05)
            await server.stop(0)
            assert (await refused(waiting)).reason is Reason.UNAVAILABLE

            async def rest() -> None:
                async for _ in stream:
                    pass

            assert (await refused(rest())).reason is Reason.UNAVAILABLE

    asyncio.run(run())


def test_health_says_serving_only_when_ready() -> None:
    async def run() -> None:
        server = Server()
        port = await server.start("127.0.0.1:0")
        async with open_channel(f"127.0.0.1:{port}") as channel:
            health = health_pb2_grpc.HealthStub(channel)
            request = health_pb2.HealthCheckRequest()
            before = await health.Check(request)
            await server.ready()
            after = await health.Check(request)
        await server.stop(0)
        assert before.status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert after.status == health_pb2.HealthCheckResponse.SERVING

    asyncio.run(run())


def test_a_taken_address_is_said_so() -> None:
    async def run() -> None:
        first, second = Server(), Server()
        port = await first.start("127.0.0.1:0")
        error = await refused(second.start(f"127.0.0.1:{port}"))
        assert error.reason is Reason.UNAVAILABLE
        assert "Choose another port" in error.message
        await first.stop(0)

    asyncio.run(run())


def test_details_that_are_no_status_are_ignored() -> None:
    metadata = grpc.aio.Metadata((DETAILS_KEY, b"\xff\xff\xff"))
    error = grpc.aio.AioRpcError(
        grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.aio.Metadata(), metadata, details="too big"
    )
    assert from_rpc_error(error).reason is Reason.LIMIT


def test_a_call_that_was_dropped_unheard_says_when_to_come_back() -> None:
    error = from_code(grpc.StatusCode.CANCELLED, "CANCELLED")
    assert not isinstance(error, Unreachable)
    assert (error.reason, error.retry_s) == (Reason.UNAVAILABLE, DROPPED_RETRY_S)
    assert "the server dropped the call" in error.message
