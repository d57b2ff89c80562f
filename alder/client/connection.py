"""Connections: queries, appends and the catalog of one server, over one channel.

A connection holds no state of its own besides the channel and its settings (``SET name = value``),
so threads may share it, and it outlives a restart of the server.
"""

import threading
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import Final

from alder.catalog import Collection, CollectionSettings, Snapshot
from alder.client import documents, errors
from alder.client.channel import Channel, resolve_target
from alder.client.cursor import Cursor
from alder.client.documents import Document
from alder.client.model import (
    ClusterStatus,
    CollectionDescription,
    QuarantinedRecord,
    RecordPosition,
    Redriven,
    RunningQuery,
)
from alder.client.parameters import Parameters
from alder.client.results import ResultStream
from alder.client.settings import Change, Settings
from alder.client.token import Token
from alder.errors import Reason
from alder.positions import PositionVector
from alder.v1 import catalog_pb2, quarantine_pb2, query_pb2

QUERY_TIMEOUT_S: Final = 300.0
CATALOG_TIMEOUT_S: Final = 30.0


def connect(target: str | None = None, *, timeout_s: float = QUERY_TIMEOUT_S) -> "Connection":
    """A connection to ``host:port`` or ``alder://host:port``.

    Without a target: the environment's ALDER_SERVER, else 127.0.0.1:7700. The server is first asked
    by the first call. ``timeout_s`` is the deadline of queries that name none. Raises
    ProgrammingError for a malformed target.
    """
    return Connection(Channel(resolve_target(target)), timeout_s)


class Connection:
    """A connection of DB-API 2.0, with appends. Every method raises subclasses of Error."""

    Warning = errors.Warning
    Error = errors.Error
    InterfaceError = errors.InterfaceError
    DatabaseError = errors.DatabaseError
    DataError = errors.DataError
    OperationalError = errors.OperationalError
    IntegrityError = errors.IntegrityError
    InternalError = errors.InternalError
    ProgrammingError = errors.ProgrammingError
    NotSupportedError = errors.NotSupportedError

    def __init__(self, channel: Channel, timeout_s: float = QUERY_TIMEOUT_S) -> None:
        self._channel: Channel | None = channel
        self._timeout_s = timeout_s
        self._settings = Settings()
        self._settings_lock = threading.Lock()

    @property
    def settings(self) -> Settings:
        """What queries are asked with, unless a call says otherwise; changed by SET and RESET."""
        return self._settings

    def change(self, changes: Iterable[Change]) -> None:
        """Changes the settings; the cursor's side of :class:`alder.client.cursor.Queries`."""
        self._open_channel()
        with self._settings_lock:
            for change in changes:
                self._settings = change(self._settings)

    def cursor(self) -> Cursor:
        """A new cursor."""
        self._open_channel()
        return Cursor(self)

    def execute(
        self,
        sql: str,
        params: Parameters = None,
        *,
        min_positions: Token | Iterable[Token] | None = None,
        as_of: Token | str | None = None,
        timeout_s: float | None = None,
        consistency: str | None = None,
        plan_class: str | None = None,
        policy: str | None = None,
    ) -> Cursor:
        """Runs one statement in a new cursor; see :meth:`Cursor.execute`."""
        return self.cursor().execute(
            sql,
            params,
            min_positions=min_positions,
            as_of=as_of,
            timeout_s=timeout_s,
            consistency=consistency,
            plan_class=plan_class,
            policy=policy,
        )

    def run(self, request: query_pb2.ExecuteRequest, timeout_s: float | None) -> ResultStream:
        """Starts a query; the cursor's side of :class:`alder.client.cursor.Queries`."""
        deadline_s = self._timeout_s if timeout_s is None else timeout_s
        return ResultStream(self._open_channel().stream("Query.execute", request, deadline_s))

    def append(
        self,
        collection: str,
        docs: Iterable[Document],
        partition: int | None = None,
        timeout_s: float | None = None,
    ) -> Token:
        """Appends documents and returns once they are on the log's disk.

        A document is a dict, or JSON text as str or bytes, sent as it is; one longer than 16 MiB
        goes to quarantine. They are drawn and sent as a stream, so any number needs little memory.
        Documents of one ``partition`` keep their order; without it the log spreads them. The token,
        given to a query as ``min_positions``, makes it see all of them. After an error some of the
        documents may be in the log.
        """
        channel = self._open_channel()
        requests = documents.messages(collection, docs, partition)
        response = channel.upload("Log.append", requests, timeout_s)
        if response is None:
            return Token()
        return Token({collection: PositionVector.from_proto(response.token)})

    def create_collection(
        self,
        name: str,
        *,
        key_path: str = "",
        time_path: str = "",
        shard_by_path: str = "",
        shards: int | None = None,
        source_urls: Sequence[str] = (),
        log_partitions: int | None = None,
        settings: CollectionSettings | None = None,
        timeout_s: float = CATALOG_TIMEOUT_S,
    ) -> Collection:
        """Creates a collection.

        ``key_path``: where the key is (the last document of a key wins); ``time_path``: the event
        time; ``shard_by_path``: equal values there share a shard; ``source_urls``: ``file://`` with
        globs, or ``kafka://host:port/topic``; ``shards`` and ``log_partitions``: None for the
        server's default; ``settings``: how rows are kept.
        """
        request = catalog_pb2.CreateCollectionRequest(
            name=name,
            key_path=key_path,
            time_path=time_path,
            shard_by_path=shard_by_path,
            shards=_count("shards", shards),
            source_urls=source_urls,
            log_partitions=_count("log_partitions", log_partitions),
            settings=None if settings is None else settings.to_proto(),
        )
        response = self._open_channel().unary("Catalog.create_collection", request, timeout_s)
        return Collection.from_proto(response.collection)

    def rebuild(
        self,
        name: str,
        step: catalog_pb2.RebuildStep,
        *,
        transform_sql: str | None = None,
        collection_id: int = 0,
        timeout_s: float = CATALOG_TIMEOUT_S,
    ) -> Collection:
        """One step of building a collection anew beside the one that serves; see catalog.proto.

        ``transform_sql``: None to keep that of the collection. Returns what is being built after
        the first step, what serves after the others.
        """
        request = catalog_pb2.RebuildRequest(
            name=name, step=step, transform_sql=transform_sql, collection_id=collection_id
        )
        response = self._open_channel().unary("Catalog.rebuild", request, timeout_s)
        return Collection.from_proto(response.collection)

    def change_sources(
        self,
        collection: str,
        sources: Iterable[str] = (),
        *,
        paused: bool | None = None,
        seeks: Iterable[catalog_pb2.PartitionSeek] = (),
        epoch: int = 0,
        timeout_s: float = CATALOG_TIMEOUT_S,
    ) -> Collection:
        """Pauses or resumes sources (none named: all), or seeks in a paused one; see catalog.proto.

        Returns the collection as it is afterwards.
        """
        request = catalog_pb2.ChangeSourcesRequest(
            collection=collection, sources=sources, paused=paused, seeks=seeks, epoch=epoch
        )
        response = self._open_channel().unary("Catalog.change_sources", request, timeout_s)
        return Collection.from_proto(response.collection)

    def drop_collection(self, name: str, timeout_s: float = CATALOG_TIMEOUT_S) -> None:
        """Drops a collection with all its documents."""
        request = catalog_pb2.DropCollectionRequest(name=name)
        self._open_channel().unary("Catalog.drop_collection", request, timeout_s)

    def collections(self, timeout_s: float = CATALOG_TIMEOUT_S) -> list[Collection]:
        """All collections, by name."""
        request = catalog_pb2.WatchRequest()
        snapshots = self._open_channel().stream("Catalog.watch", request, timeout_s)
        try:
            snapshot = Snapshot.from_proto(next(snapshots))
        except StopIteration as error:
            raise errors.OperationalError(
                Reason.UNAVAILABLE, "the server stopped before it gave its catalog; ask again"
            ) from error
        finally:
            snapshots.close()
        return sorted(snapshot.collections.values(), key=lambda collection: collection.name)

    def describe(self, name: str, timeout_s: float | None = None) -> CollectionDescription:
        """A collection and its columns as SQL sees them."""
        request = query_pb2.DescribeCollectionRequest(name=name)
        response = self._open_channel().unary(
            "Query.describe_collection", request, timeout_s or self._timeout_s
        )
        return CollectionDescription.from_proto(response)

    def status(self, timeout_s: float | None = None) -> ClusterStatus:
        """Nodes, shards, rows and lag."""
        response = self._open_channel().unary(
            "Query.status", query_pb2.StatusRequest(), timeout_s or self._timeout_s
        )
        return ClusterStatus.from_proto(response)

    def queries(self, timeout_s: float | None = None) -> list[RunningQuery]:
        """The queries that the server runs, the oldest first; one that waits is one of them."""
        response = self._open_channel().unary(
            "Query.list_queries", query_pb2.ListQueriesRequest(), timeout_s or self._timeout_s
        )
        return [RunningQuery.from_proto(query) for query in response.queries]

    def cancel(self, query_id: str, timeout_s: float | None = None) -> None:
        """Ends a query that the server runs, whoever asked it; it fails with CANCELLED.

        Raises ProgrammingError if none of that id runs there.
        """
        request = query_pb2.CancelQueryRequest(query_id=query_id)
        self._open_channel().unary("Query.cancel_query", request, timeout_s or self._timeout_s)

    def quarantine(
        self,
        name: str,
        records_max: int = 0,
        timeout_s: float | None = None,
        *,
        dropped: bool = False,
    ) -> Iterator[QuarantinedRecord]:
        """The records of a collection that could not be decoded, and wait; 0: all of them.

        They come page by page, with the first bytes of their values; :meth:`quarantined` has all.
        ``dropped``: those that were dropped instead.
        """
        left = _count("records_max", records_max)
        request = quarantine_pb2.QuarantineRequest(collection=name, dropped=dropped)
        while True:
            request.records_max = left
            stream = self._open_channel().stream(
                "Query.list_quarantine", request, timeout_s or self._timeout_s
            )
            last: QuarantinedRecord | None = None
            for message in stream:
                last = QuarantinedRecord.from_proto(message)
                yield last
                left -= bool(records_max)
            if last is None or (records_max and not left):
                return
            request.after.CopyFrom(last.position.to_proto())

    def quarantined(
        self, name: str, position: RecordPosition, timeout_s: float | None = None
    ) -> QuarantinedRecord:
        """One record in quarantine, dropped or not, with all that is kept of its value.

        Raises ProgrammingError if there is none at this position.
        """
        for dropped in (False, True):
            request = quarantine_pb2.QuarantineRequest(
                collection=name, only=position.to_proto(), dropped=dropped
            )
            stream = self._open_channel().stream(
                "Query.list_quarantine", request, timeout_s or self._timeout_s
            )
            for message in stream:
                return QuarantinedRecord.from_proto(message)
        raise errors.ProgrammingError(
            Reason.INVALID_ARGUMENT,
            f"no record of {name} is in quarantine at {position}; list those that are",
        )

    def redrive(
        self,
        name: str,
        positions: Iterable[RecordPosition] | None = None,
        timeout_s: float | None = None,
    ) -> Iterator[Redriven]:
        """Reads records in quarantine again, and applies those that can be decoded by now.

        They become rows where they are in the log, as if they had never been bad. ``positions``:
        None for all that wait. It is done page by page, while the results are drawn.
        """
        for request in _pages(name, positions):
            while True:
                response = self._open_channel().unary(
                    "Query.redrive_quarantine", request, timeout_s or self._timeout_s
                )
                for entry in response.records:
                    yield Redriven(RecordPosition.from_proto(entry.position), entry.reason)
                if not response.records or request.HasField("only"):
                    break
                request.after.CopyFrom(response.records[-1].position)

    def drop_quarantined(
        self,
        name: str,
        positions: Iterable[RecordPosition] | None = None,
        timeout_s: float | None = None,
    ) -> Iterator[RecordPosition]:
        """Drops records from quarantine: they are listed as dropped, and never redriven.

        ``positions``: None for all that wait. It is done page by page, while the results are drawn.
        """
        for request in _pages(name, positions):
            while True:
                response = self._open_channel().unary(
                    "Query.drop_quarantined", request, timeout_s or self._timeout_s
                )
                yield from map(RecordPosition.from_proto, response.records)
                if not response.records or request.HasField("only"):
                    break
                request.after.CopyFrom(response.records[-1])

    def commit(self) -> None:
        """Does nothing: an append is durable when it returns."""
        self._open_channel()

    def rollback(self) -> None:
        """Raises NotSupportedError: the log is never rewritten."""
        raise errors.NotSupportedError(
            Reason.UNSUPPORTED, "there is nothing to roll back: an append is durable at once"
        )

    def close(self) -> None:
        """Cancels what is running; the connection can't be used any more."""
        if self._channel is not None:
            self._channel.close()
        self._channel = None

    def __enter__(self) -> "Connection":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _open_channel(self) -> Channel:
        if self._channel is None:
            raise errors.InterfaceError(
                Reason.INVALID_ARGUMENT, "the connection is closed; connect again"
            )
        return self._channel


def _pages(
    name: str, positions: Iterable[RecordPosition] | None
) -> Iterator[quarantine_pb2.QuarantineRequest]:
    """What asks for the first page, or for each of the positions."""
    if positions is None:
        yield quarantine_pb2.QuarantineRequest(collection=name)
        return
    for position in positions:
        yield quarantine_pb2.QuarantineRequest(collection=name, only=position.to_proto())


def _count(name: str, value: int | None) -> int:
    """A count for the wire, where 0 is the server's default."""
    if value is not None and not 0 <= value < 1 << 31:
        raise errors.ProgrammingError(
            Reason.INVALID_ARGUMENT, f"{name} must be a number from 1 to {(1 << 31) - 1}"
        )
    return value or 0
