"""A server in a thread whose Query, Log and Catalog are small models in memory.

SQL runs in DuckDB over the documents of each collection, so that the client's and the command
line's tests check answers; what went over the wire is kept for them to look at.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import duckdb
import orjson
import pyarrow as pa
from log_records import Record, records_of

from alder import arrow
from alder.errors import AlderError, Reason
from alder.serving import Server
from alder.v1 import (
    catalog_pb2,
    common_pb2,
    leaf_pb2,
    log_pb2,
    quarantine_pb2,
    query_pb2,
    tailer_pb2,
)

PAGE_RECORDS = 2


@dataclass
class Model:
    """The state of the fake server, and the errors that a test plants."""

    collections: dict[str, catalog_pb2.Collection] = field(default_factory=dict)
    records: dict[str, list[Record]] = field(default_factory=dict)
    appends: list[log_pb2.AppendRequest] = field(default_factory=list)
    queries: list[query_pb2.ExecuteRequest] = field(default_factory=list)
    timeouts_s: list[float | None] = field(default_factory=list)
    requests: list[object] = field(default_factory=list)
    answer: pa.Table | None = None
    batches: list[pa.RecordBatch] | None = None
    query_error: AlderError | Exception | None = None
    break_answer: bool = False
    append_error_after: int | None = None
    append_goes_on: threading.Event = field(default_factory=threading.Event)
    invisible_answers: int = 0
    quarantined: list[common_pb2.QuarantinedRecord] = field(default_factory=list)
    good_to_offset: int = 0
    hang: bool = False
    shards_missing: list[query_pb2.MissingShard] = field(default_factory=list)
    cancelled: threading.Event = field(default_factory=threading.Event)
    running: list[query_pb2.RunningQuery] = field(default_factory=list)

    def documents(self, name: str) -> list[bytes]:
        return [record.value for record in self.records.get(name, [])]

    def create(self, name: str) -> None:
        shard = catalog_pb2.Shard(shard=0, slot_begin=0, slot_end=4096, leaf="leaf-1")
        source = catalog_pb2.Source(
            name="log", url="log", partitions=[catalog_pb2.SourcePartition(partition=0)]
        )
        self.collections[name] = catalog_pb2.Collection(
            name=name, collection_id=1, sources=[source], shards=[shard], epoch=1
        )


class FakeLog:
    def __init__(self, model: Model) -> None:
        self.model = model

    async def append(
        self, requests: AsyncIterator[log_pb2.AppendRequest], timeout_s: float | None = None
    ) -> log_pb2.AppendResponse:
        topic, count = "", 0
        async for request in requests:
            if count == 0 and not self.model.append_goes_on.is_set():
                await asyncio.to_thread(self.model.append_goes_on.wait, 20)
            topic = topic or request.topic
            if topic not in self.model.collections:
                raise AlderError(Reason.UNKNOWN_COLLECTION, f"there is no collection {topic!r}")
            self.model.appends.append(request)
            limit = self.model.append_error_after
            if limit is not None and len(self.model.appends) > limit:
                raise AlderError(Reason.LIMIT, "the disk is full; make room")
            found = records_of(request)
            self.model.records.setdefault(topic, []).extend(found)
            count += len(found)
        end = len(self.model.records.get(topic, []))
        position = common_pb2.Position(source="log", partition=0, next_offset=end)
        return log_pb2.AppendResponse(
            token=common_pb2.PositionVector(positions=[position]), records=count
        )

    async def create_topic(self, request: object, timeout_s: float | None = None) -> None:
        raise NotImplementedError

    delete_topic = read = offsets = create_topic


class FakeQuery:
    def __init__(self, model: Model) -> None:
        self.model = model

    async def execute(
        self, request: query_pb2.ExecuteRequest, timeout_s: float | None = None
    ) -> AsyncIterator[query_pb2.ExecuteResponse]:
        model = self.model
        model.queries.append(request)
        model.timeouts_s.append(timeout_s)
        if model.query_error is not None:
            raise model.query_error
        if request.min_positions and model.invisible_answers:
            model.invisible_answers -= 1
            raise AlderError(
                Reason.DEADLINE, "log/0 is 5 records behind; ask with a longer timeout"
            )
        table = self._answer(request.sql)
        for piece in arrow.chunks(self._bytes(table), 100_000):
            yield query_pb2.ExecuteResponse(arrow=piece)
        if model.hang:
            try:
                await asyncio.sleep(60)
            finally:
                model.cancelled.set()
        if model.break_answer:
            return
        yield query_pb2.ExecuteResponse(trailer=self._trailer(table.num_rows))

    def _bytes(self, table: pa.Table) -> bytes:
        data = b"".join([_stream(table, self.model.batches)])
        return data[: len(data) // 2] if self.model.break_answer else data

    def _answer(self, sql: str) -> pa.Table:
        if self.model.answer is not None:
            return self.model.answer
        with duckdb.connect() as engine:
            for name in self.model.collections:
                rows = [{"_doc": text.decode()} for text in self.model.documents(name)]
                schema = pa.schema([("_doc", pa.string())])
                engine.register(name, pa.Table.from_pylist(rows, schema=schema))
            try:
                return engine.sql(sql).to_arrow_table()
            except duckdb.Error as error:
                raise AlderError(Reason.SYNTAX, f"the statement is wrong: {error}") from error

    def _trailer(self, rows: int) -> query_pb2.ExecuteTrailer:
        def at(offset: int) -> common_pb2.PositionVector:
            position = common_pb2.Position(source="log", partition=0, next_offset=offset)
            return common_pb2.PositionVector(positions=[position])

        scans = [
            leaf_pb2.ShardScan(
                shard=number,
                positions=at(7 + 3 * number),
                rows_total=10,
                rows_scanned=4,
                segments_total=5,
                segments_pruned=2,
            )
            for number in (0, 1)
        ]
        read = query_pb2.CollectionRead(
            collection="gh",
            positions=at(7),
            shards_asked=[0, 1],
            shards_answered=[0, 1],
            scans=scans,
            shards_missing=self.model.shards_missing,
            coverage=1 - len(self.model.shards_missing) / 2,
        )
        return query_pb2.ExecuteTrailer(
            query_id="q-1",
            collections=[read],
            plan_class="a",
            rows=rows,
            plan_us=1000,
            scatter_us=2000,
            finish_us=500,
        )

    async def describe_collection(
        self, request: query_pb2.DescribeCollectionRequest, timeout_s: float | None = None
    ) -> query_pb2.DescribeCollectionResponse:
        if request.name not in self.model.collections:
            raise AlderError(Reason.UNKNOWN_COLLECTION, f"there is no collection {request.name!r}")
        column = query_pb2.Column(path="actor.login", sql_type="VARCHAR", types=["string"])
        return query_pb2.DescribeCollectionResponse(
            collection=self.model.collections[request.name], columns=[column], overflow=True
        )

    async def list_quarantine(
        self, request: quarantine_pb2.QuarantineRequest, timeout_s: float | None = None
    ) -> AsyncIterator[common_pb2.QuarantinedRecord]:
        self.model.requests.append(request)
        for record in self._page(request):
            yield record

    async def redrive_quarantine(
        self, request: quarantine_pb2.QuarantineRequest, timeout_s: float | None = None
    ) -> quarantine_pb2.RedriveResponse:
        self.model.requests.append(request)
        response = quarantine_pb2.RedriveResponse()
        for record in self._page(request):
            reason = "" if record.offset < self.model.good_to_offset else record.reason
            response.records.add(position=_position(record), reason=reason)
        return response

    async def drop_quarantined(
        self, request: quarantine_pb2.QuarantineRequest, timeout_s: float | None = None
    ) -> quarantine_pb2.DropQuarantinedResponse:
        self.model.requests.append(request)
        positions = map(_position, self._page(request))
        return quarantine_pb2.DropQuarantinedResponse(records=positions)

    def _page(
        self, request: quarantine_pb2.QuarantineRequest
    ) -> list[common_pb2.QuarantinedRecord]:
        def place(one: common_pb2.QuarantinedRecord | quarantine_pb2.RecordPosition) -> object:
            return one.source, one.partition, one.offset

        found = [] if request.dropped else self.model.quarantined
        if request.HasField("only"):
            return [record for record in found if place(record) == place(request.only)]
        if request.HasField("after"):
            places = list(map(place, found))
            found = found[places.index(place(request.after)) + 1 :]
        return found[: min(request.records_max or PAGE_RECORDS, PAGE_RECORDS)]

    async def list_queries(
        self, request: query_pb2.ListQueriesRequest, timeout_s: float | None = None
    ) -> query_pb2.ListQueriesResponse:
        return query_pb2.ListQueriesResponse(queries=self.model.running)

    async def cancel_query(
        self, request: query_pb2.CancelQueryRequest, timeout_s: float | None = None
    ) -> query_pb2.CancelQueryResponse:
        if request.query_id not in {query.query_id for query in self.model.running}:
            raise AlderError(Reason.INVALID_ARGUMENT, f"no query {request.query_id!r} runs here")
        self.model.requests.append(request)
        return query_pb2.CancelQueryResponse()

    async def status(
        self, request: query_pb2.StatusRequest, timeout_s: float | None = None
    ) -> query_pb2.StatusResponse:
        shards = [
            leaf_pb2.ShardDescription(
                collection=name,
                rows=len(self.model.records.get(name, [])),
                quarantined=len(self.model.quarantined),
                disk_bytes=2_000_000,
                digest="0" * 32,
                rows_stored=len(self.model.records.get(name, [])) + 9,
                rows_late=4,
                damage="a page is",
                epoch=collection.epoch,
            )
            for name, collection in self.model.collections.items()
        ]
        node = catalog_pb2.Node(node_id="leaf-1", role=catalog_pb2.NODE_ROLE_LEAF, live=True)
        lost = catalog_pb2.Node(node_id="tailer-1", role=catalog_pb2.NODE_ROLE_TAILER, live=False)
        cache = leaf_pb2.CacheDescription(
            name="pages",
            size_bytes=1_000_000,
            size_bytes_max=2_000_000,
            hits=3,
            misses=4,
            evictions=5,
        )
        progress = tailer_pb2.PartitionProgress(
            collection="gh", source="log", partition=0, next_offset=3, error="the topic changed"
        )
        return query_pb2.StatusResponse(
            catalog=catalog_pb2.CatalogSnapshot(
                revision=4, collections=self.model.collections.values(), nodes=[node, lost]
            ),
            leaves=[leaf_pb2.DescribeLeafResponse(node_id="leaf-1", shards=shards, caches=[cache])],
            tailers=[tailer_pb2.DescribeTailerResponse(node_id="t", partitions=[progress])],
            lags=[
                query_pb2.SourceLag(collection="gh", source="log", next_offset=3, end_offset=8),
                query_pb2.SourceLag(collection="gh", source="file1", next_offset=3, end_offset=-1),
            ],
            unreachable=["tailer-1"],
        )


class FakeCatalog:
    def __init__(self, model: Model) -> None:
        self.model = model

    async def rebuild(
        self, request: catalog_pb2.RebuildRequest, timeout_s: float | None = None
    ) -> catalog_pb2.RebuildResponse:
        self.model.requests.append(request)
        serving = self.model.collections[request.name]
        return catalog_pb2.RebuildResponse(collection=serving)

    async def change_sources(
        self, request: catalog_pb2.ChangeSourcesRequest, timeout_s: float | None = None
    ) -> catalog_pb2.ChangeSourcesResponse:
        self.model.requests.append(request)
        collection = self.model.collections[request.collection]
        if request.HasField("paused"):
            for source in collection.sources:
                source.paused = request.paused
        return catalog_pb2.ChangeSourcesResponse(collection=collection)

    async def create_collection(
        self, request: catalog_pb2.CreateCollectionRequest, timeout_s: float | None = None
    ) -> catalog_pb2.CreateCollectionResponse:
        self.model.requests.append(request)
        if request.name in self.model.collections:
            raise AlderError(Reason.ALREADY_EXISTS, f"there is a collection {request.name!r}")
        self.model.create(request.name)
        return catalog_pb2.CreateCollectionResponse(
            collection=self.model.collections[request.name], revision=2
        )

    async def drop_collection(
        self, request: catalog_pb2.DropCollectionRequest, timeout_s: float | None = None
    ) -> catalog_pb2.DropCollectionResponse:
        if self.model.collections.pop(request.name, None) is None:
            raise AlderError(Reason.UNKNOWN_COLLECTION, f"there is no collection {request.name!r}")
        return catalog_pb2.DropCollectionResponse(revision=3)

    async def register_partitions(self, request: object, timeout_s: float | None = None) -> None:
        raise NotImplementedError

    heartbeat = define = undefine = accelerate = register_partitions

    async def watch(
        self, request: catalog_pb2.WatchRequest, timeout_s: float | None = None
    ) -> AsyncIterator[catalog_pb2.CatalogSnapshot]:
        yield catalog_pb2.CatalogSnapshot(revision=1, collections=self.model.collections.values())
        await asyncio.sleep(60)


def _stream(table: pa.Table, batches: list[pa.RecordBatch] | None) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        for batch in table.to_batches() if batches is None else batches:
            writer.write_batch(batch)
    return bytes(sink.getvalue())


def documents_of(model: Model, name: str) -> list[object]:
    """What was appended to a collection, parsed."""
    return [orjson.loads(text) for text in model.documents(name)]


@contextmanager
def fake_server() -> Iterator[tuple[str, Model]]:
    """Serves a new model; gives its address."""
    model = Model()
    model.append_goes_on.set()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def start() -> tuple[Server, int]:
        server = Server()
        server.add(query_pb2.DESCRIPTOR.services_by_name["Query"], FakeQuery(model))
        server.add(log_pb2.DESCRIPTOR.services_by_name["Log"], FakeLog(model))
        server.add(catalog_pb2.DESCRIPTOR.services_by_name["Catalog"], FakeCatalog(model))
        return server, await server.start("127.0.0.1:0")

    server, port = asyncio.run_coroutine_threadsafe(start(), loop).result(10)
    try:
        yield f"127.0.0.1:{port}", model
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(0), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


def _position(record: common_pb2.QuarantinedRecord) -> quarantine_pb2.RecordPosition:
    return quarantine_pb2.RecordPosition(
        source=record.source, partition=record.partition, offset=record.offset
    )
