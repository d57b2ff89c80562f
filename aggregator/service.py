"""The aggregator: answers SQL by asking the leaves and finishing what they answer."""

import asyncio
import itertools
import time
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from aggregator import status
from aggregator.acceleration import Accelerator
from aggregator.commands import execute
from aggregator.commands.kinds import always_runs, command_of
from aggregator.commands.model import Answer, Command, Server
from aggregator.execution.model import AggregatorSettings, Run
from aggregator.execution.queries import Queries
from aggregator.protection.admission import Gate, Place
from aggregator.protection.running import Running, Stage
from aggregator.proving import Prover
from aggregator.quarantine import Quarantine
from aggregator.statement.syntax import check_size
from alder.arrow import SMALL_BYTES, stream_pieces, to_bytes
from alder.caller import CALLER
from alder.errors import AlderError, Reason
from alder.interfaces import CatalogClient, LogClient, NodeDirectory
from alder.membership import CatalogFollower
from alder.v1 import common_pb2, quarantine_pb2, query_pb2

__all__ = ["Aggregator", "AggregatorSettings"]


class Aggregator:
    """``alder.interfaces.QueryService``."""

    def __init__(
        self,
        follower: CatalogFollower,
        directory: NodeDirectory,
        log: LogClient,
        settings: AggregatorSettings | None = None,
        *,
        catalog: CatalogClient,
        spill: Path | None = None,
        wall_clock_us: Callable[[], int] = lambda: time.time_ns() // 1000,
        new_query_id: Callable[[], str] | None = None,
    ) -> None:
        """``spill``: a directory for what does not fit into memory; it is emptied at the start."""
        self._follower = follower
        self._directory = directory
        self._log = log
        self._settings = settings or AggregatorSettings()
        self._wall_clock_us = wall_clock_us
        self._new_query_id = new_query_id or _query_ids()
        self._queries = Queries(follower, directory, self._settings, wall_clock_us, log, spill)
        self._running = Running(wall_clock_us)
        self._gate = Gate(self._settings.admission, time.monotonic)
        self._accelerator = Accelerator(self._queries, directory, follower)
        self._server = Server(
            self._queries, follower, log, self._running, catalog, self._accelerator
        )
        self.prover = Prover(self._queries, directory)
        self._accelerating: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Warms the engines up, so that the first query is no slower than the others."""
        await self._queries.start()
        self._accelerating = asyncio.create_task(
            self._accelerator.run_forever(), name="aggregator-acceleration"
        )

    async def close(self) -> None:
        """Waits for running work and releases the engines."""
        if self._accelerating is not None:
            self._accelerating.cancel()
            await asyncio.gather(self._accelerating, return_exceptions=True)
        await self._queries.close()

    async def execute(
        self, request: query_pb2.ExecuteRequest, timeout_s: float | None = None
    ) -> AsyncIterator[query_pb2.ExecuteResponse]:
        """Answers a SELECT, command or saved query: pieces of one Arrow IPC stream, then trailer.

        Each Arrow field has its SQL type under the metadata key ``alder.type``; JSON and VARIANT
        come as JSON text, HUGEINT as decimal128(38, 0).
        """
        check_size(request.sql)
        limit_s = self._limit(timeout_s)
        client = CALLER.get()
        command = self._command(request)
        free = self._needs_no_place(request.sql, command)
        place = None if free else self._gate.place(client, limit_s)
        run = Run(self._new_query_id(), request, request.sql, time.monotonic() + limit_s)
        with self._running.listed(run.query_id, run.sql, client, run.progress) as query:
            try:
                async with asyncio.timeout(limit_s) as deadline:
                    query.runs_until(deadline)
                    answer = await self._answer_at(place, run, command)
                query.runs_until(None)
            except TimeoutError as error:
                query.check()
                raise AlderError(
                    Reason.DEADLINE,
                    "the deadline passed before the answer was complete; ask with a longer timeout",
                ) from error
            run.progress.stage = Stage.SENDING
            trailer = _trailer(run, answer)
            if answer.rows.nbytes <= SMALL_BYTES:
                yield query_pb2.ExecuteResponse(arrow=to_bytes(answer.rows), trailer=trailer)
                return
            pieces = stream_pieces(answer.rows)
            while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
                query.check()
                yield query_pb2.ExecuteResponse(arrow=piece)
            query.check()
            yield query_pb2.ExecuteResponse(trailer=trailer)

    async def describe_collection(
        self, request: query_pb2.DescribeCollectionRequest, timeout_s: float | None = None
    ) -> query_pb2.DescribeCollectionResponse:
        """The fields of a collection as SQL sees them."""
        return await status.described(self._queries, request.name, self._limit(timeout_s))

    async def list_quarantine(
        self, request: quarantine_pb2.QuarantineRequest, timeout_s: float | None = None
    ) -> AsyncIterator[common_pb2.QuarantinedRecord]:
        """A page of the records that could not be decoded, by source, partition and offset."""
        quarantine = await self._quarantine(request, timeout_s)
        for record in await quarantine.page(request):
            yield record

    async def redrive_quarantine(
        self, request: quarantine_pb2.QuarantineRequest, timeout_s: float | None = None
    ) -> quarantine_pb2.RedriveResponse:
        """Applies a page of records that can be decoded by now, where they were born."""
        return await (await self._quarantine(request, timeout_s)).redrive(request)

    async def drop_quarantined(
        self, request: quarantine_pb2.QuarantineRequest, timeout_s: float | None = None
    ) -> quarantine_pb2.DropQuarantinedResponse:
        """Drops a page of records."""
        return await (await self._quarantine(request, timeout_s)).drop(request)

    async def status(
        self, request: query_pb2.StatusRequest, timeout_s: float | None = None
    ) -> query_pb2.StatusResponse:
        """The catalog, and what every node that answers says of itself."""
        limit_s = min(self._limit(timeout_s), 5.0)
        return await status.status(
            self._follower.snapshot, self._directory, self._log, self._wall_clock_us(), limit_s
        )

    async def list_queries(
        self, request: query_pb2.ListQueriesRequest, timeout_s: float | None = None
    ) -> query_pb2.ListQueriesResponse:
        """The queries that run here."""
        return query_pb2.ListQueriesResponse(
            queries=[query.to_proto() for query in self._running.all()]
        )

    async def cancel_query(
        self, request: query_pb2.CancelQueryRequest, timeout_s: float | None = None
    ) -> query_pb2.CancelQueryResponse:
        """Ends a query. Raises AlderError(INVALID_ARGUMENT) if none of that id runs here."""
        self._running.cancel(request.query_id)
        return query_pb2.CancelQueryResponse()

    async def _quarantine(
        self, request: quarantine_pb2.QuarantineRequest, timeout_s: float | None
    ) -> Quarantine:
        return Quarantine(
            self._follower.snapshot,
            await self._queries.collection(request.collection),
            self._directory,
            self._settings.quarantine_records_max,
            self._limit(timeout_s),
        )

    def _command(self, request: query_pb2.ExecuteRequest) -> Command | None:
        if request.HasField("saved_query"):
            return execute.called(request)
        return None if self._queries.knows(request.sql) else command_of(request.sql)

    def _needs_no_place(self, sql: str, command: Command | None) -> bool:
        """True for what costs so little that it is answered however busy the server is."""
        return self._queries.at_hand(sql) if command is None else always_runs(command)

    def _limit(self, timeout_s: float | None) -> float:
        return self._settings.timeout_s_default if timeout_s is None else timeout_s

    async def _answer_at(self, place: Place | None, run: Run, command: Command | None) -> Answer:
        """The answer, once it is its turn; sending it needs no place any more."""
        if place is None:
            return await self._answer(run, command)
        with place:
            await place.turn()
            return await self._answer(run, command)

    async def _answer(self, run: Run, command: Command | None) -> Answer:
        if command is not None:
            return await command.run(run, self._server)
        return Answer.of_query(await self._queries.answer(run))


def _query_ids() -> Callable[[], str]:
    """Gives ids that no other aggregator gives: numbers after 64 bits of chance."""
    begin, numbers = uuid.uuid4().hex[:16], itertools.count()
    return lambda: f"{begin}{next(numbers):016x}"


def _trailer(run: Run, answer: Answer) -> query_pb2.ExecuteTrailer:
    return query_pb2.ExecuteTrailer(
        query_id=run.query_id,
        collections=answer.reads,
        plan_class=answer.plan_class,
        rows=answer.rows.num_rows,
        plan_us=run.plan_us,
        scatter_us=run.scatter_us,
        finish_us=run.finish_us,
        references=answer.references,
    )
