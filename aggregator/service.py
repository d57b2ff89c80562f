"""The aggregator: answers SQL by asking the leaves and finishing what they answer.

A query runs in this order: parse, check and bind parameters; ask the leaves for positions and
schema; choose the cut; plan against that schema; run the fragments at the cut; finish. The schema
comes in the same answer as the positions, so a plan always knows every field of the rows in its
cut, and a new field needs no second try.
"""

import asyncio
import logging
import time
import uuid
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TypeVar

from aggregator import core, parameters, security, tables
from aggregator.bind import bind
from aggregator.engine import Engine, EngineSettings, in_user_names
from aggregator.finish import finish
from aggregator.names import Names
from aggregator.plan import Plan, Planner
from aggregator.scatter import Budget, Gathered, Scatter, State, gather
from aggregator.status import describe, list_quarantine, status
from aggregator.syntax import Parser, Statement, check_no_show, too_deep
from alder.arrow import chunks, to_bytes
from alder.catalog import Collection
from alder.errors import AlderError, Reason
from alder.interfaces import LogClient, NodeDirectory
from alder.membership import CatalogFollower
from alder.positions import PositionVector
from alder.v1 import common_pb2, leaf_pb2, query_pb2

logger = logging.getLogger(__name__)
K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class AggregatorSettings:
    """Bounds of an aggregator: bytes, seconds, counts."""

    engine: EngineSettings = field(default_factory=EngineSettings)
    gathered_bytes_max: int = 2 << 30
    timeout_s_default: float = 60.0
    margin_s: float = 0.05
    catalog_wait_s: float = 0.3
    query_threads: int = 4
    plans_max: int = 256
    quarantine_records_max: int = 10_000


@dataclass(slots=True)
class _Run:
    """One query on its way."""

    query_id: str
    request: query_pb2.ExecuteRequest
    deadline_s: float
    plan_us: int = 0
    scatter_us: int = 0
    finish_us: int = 0


class Aggregator:
    """``alder.interfaces.QueryService``."""

    def __init__(
        self,
        follower: CatalogFollower,
        directory: NodeDirectory,
        log: LogClient,
        settings: AggregatorSettings | None = None,
        *,
        wall_clock_us: Callable[[], int] = lambda: time.time_ns() // 1000,
        new_query_id: Callable[[], str] = lambda: uuid.uuid4().hex,
    ) -> None:
        self._follower = follower
        self._directory = directory
        self._log = log
        self._settings = settings or AggregatorSettings()
        self._wall_clock_us = wall_clock_us
        self._new_query_id = new_query_id
        self._scatter = Scatter(directory)
        self._revision = 0
        self._planning = ThreadPoolExecutor(1, "alder-plan")
        self._finishing = ThreadPoolExecutor(self._settings.query_threads, "alder-finish")
        self._parser = Parser()
        self._functions = security.Catalog.of_engine()
        self._planner = Planner(self._parser, self._functions)
        self._engine = Engine(self._settings.engine)
        self._statements: OrderedDict[str, Statement] = OrderedDict()
        self._plans: OrderedDict[object, Plan] = OrderedDict()

    async def start(self) -> None:
        """Warms the engines up, so that the first query is no slower than the others."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._planning, self._statement, "SELECT 1")

    async def close(self) -> None:
        """Waits for running work and releases the engines."""
        await asyncio.to_thread(self._planning.shutdown)
        await asyncio.to_thread(self._finishing.shutdown)
        self._planner.close()
        self._parser.close()
        self._engine.close()

    async def execute(
        self, request: query_pb2.ExecuteRequest, timeout_s: float | None = None
    ) -> AsyncIterator[query_pb2.ExecuteResponse]:
        """Answers one SELECT: pieces of one Arrow IPC stream, then the trailer.

        Each Arrow field has its SQL type under the metadata key ``alder.type``; JSON and VARIANT
        come as JSON text, HUGEINT as decimal128(38, 0).
        """
        limit_s = self._settings.timeout_s_default if timeout_s is None else timeout_s
        run = _Run(self._new_query_id(), request, time.monotonic() + limit_s)
        try:
            async with asyncio.timeout(limit_s):
                data, trailer = await self._answer(run)
        except TimeoutError as error:
            raise AlderError(
                Reason.DEADLINE,
                "the deadline passed before the answer was complete; ask with a longer timeout",
            ) from error
        for chunk in chunks(data):
            yield query_pb2.ExecuteResponse(arrow=chunk)
        yield query_pb2.ExecuteResponse(trailer=trailer)

    async def describe_collection(
        self, request: query_pb2.DescribeCollectionRequest, timeout_s: float | None = None
    ) -> query_pb2.DescribeCollectionResponse:
        """The fields of a collection as SQL sees them."""
        collection = await self._collection(request.name)
        state = await self._scatter.state(collection, PositionVector(), self._limit(timeout_s))
        return describe(collection, state.schema)

    async def list_quarantine(
        self, request: query_pb2.QuarantineRequest, timeout_s: float | None = None
    ) -> AsyncIterator[common_pb2.QuarantinedRecord]:
        """Records that could not be decoded, by source, partition and offset."""
        collection = await self._collection(request.collection)
        bound = self._settings.quarantine_records_max
        wanted = min(request.records_max or bound, bound)
        limit_s = self._limit(timeout_s)
        for record in await list_quarantine(self._directory, collection, wanted, limit_s):
            yield record

    async def status(
        self, request: query_pb2.StatusRequest, timeout_s: float | None = None
    ) -> query_pb2.StatusResponse:
        """The catalog, and what every node that answers says of itself."""
        limit_s = min(self._limit(timeout_s), 5.0)
        return await status(self._follower.snapshot, self._directory, self._log, limit_s)

    def _limit(self, timeout_s: float | None) -> float:
        return self._settings.timeout_s_default if timeout_s is None else timeout_s

    async def _answer(self, run: _Run) -> tuple[bytes, query_pb2.ExecuteTrailer]:
        begin = time.monotonic()
        loop = asyncio.get_running_loop()
        statement = await loop.run_in_executor(self._planning, self._statement, run.request.sql)
        run.plan_us += _since_us(begin)
        names = tables.tables(statement.node)
        attempt = 1
        while True:
            try:
                return await self._attempt(run, statement, names)
            except AlderError as error:
                if not core.retries(error, attempt):
                    raise
                logger.info("query %s is planned again: %s", run.query_id, error)
                self._scatter.schemas.keep([])
                await loop.run_in_executor(self._planning, self._plans.clear)
                await self._newer_catalog(0.02 * attempt)
                attempt += 1

    async def _attempt(
        self, run: _Run, statement: Statement, names: list[str]
    ) -> tuple[bytes, query_pb2.ExecuteTrailer]:
        collections = await self._collections(names)
        begin = time.monotonic()
        unique = {entry.collection_id: entry for entry in collections.values()}
        wanted = {
            entry.collection: PositionVector.from_proto(entry.positions)
            for entry in run.request.min_positions
        }
        states = dict(
            zip(
                unique,
                await gather([self._state(run, one, wanted) for one in unique.values()]),
                strict=True,
            )
        )
        run.scatter_us += _since_us(begin)
        begin = time.monotonic()
        loop = asyncio.get_running_loop()
        plan = await loop.run_in_executor(
            self._planning, self._plan, run.request, statement, collections, states
        )
        run.plan_us += _since_us(begin)
        begin = time.monotonic()
        budget = Budget(self._settings.gathered_bytes_max)
        cuts = {
            key: core.choose_cut([shard.shard for shard in one.shards], states[key].positions)
            for key, one in unique.items()
        }
        try:
            answers = await gather(
                [
                    self._read(run, collections[read.collection], read.fragment, cuts, budget)
                    for read in plan.reads
                ]
            )
        except AlderError as error:
            message = in_user_names(error.message, plan.user_names)
            raise AlderError(error.reason, message, **error.metadata) from error
        run.scatter_us += _since_us(begin)
        begin = time.monotonic()
        result = await finish(
            self._engine, self._finishing, plan, [answer.rows for answer in answers]
        )
        data = await asyncio.to_thread(to_bytes, result)
        run.finish_us += _since_us(begin)
        reads = [
            _collection_read(
                one,
                cuts[key],
                [
                    answer
                    for read, answer in zip(plan.reads, answers, strict=True)
                    if collections[read.collection].collection_id == key
                ],
                states[key],
            )
            for key, one in unique.items()
        ]
        return data, query_pb2.ExecuteTrailer(
            query_id=run.query_id,
            collections=reads,
            plan_class=plan.plan_class,
            rows=result.num_rows,
            plan_us=run.plan_us,
            scatter_us=run.scatter_us,
            finish_us=run.finish_us,
        )

    async def _state(
        self, run: _Run, collection: Collection, wanted: dict[str, PositionVector]
    ) -> State:
        left_s = self._left(run)
        vector = wanted.get(collection.name, PositionVector())
        wait_s = left_s - self._settings.margin_s if vector.offsets else 0.0
        return await self._scatter.state(collection, vector, left_s, wait_s)

    async def _read(
        self,
        run: _Run,
        collection: Collection,
        fragment: leaf_pb2.Fragment,
        cuts: dict[int, PositionVector],
        budget: Budget,
    ) -> Gathered:
        latest = run.request.consistency == query_pb2.CONSISTENCY_LATEST
        request = leaf_pb2.FragmentRequest(
            collection=collection.name,
            collection_id=collection.collection_id,
            epoch=collection.epoch,
            fragment=fragment,
            latest=latest,
            query_id=run.query_id,
        )
        if not latest:
            request.at.CopyFrom(cuts[collection.collection_id].to_proto())
        return await self._scatter.run(collection, request, self._left(run), budget)

    def _left(self, run: _Run) -> float:
        left_s = run.deadline_s - time.monotonic() - self._settings.margin_s
        return max(left_s, 0.001)

    def _statement(self, sql: str) -> Statement:
        known = self._statements.get(sql)
        if known is not None:
            self._statements.move_to_end(sql)
            return known
        statement = self._parser.parse(sql)
        check_no_show(statement.node)
        self._functions.check(statement.node)
        _remember(self._statements, sql, statement, self._settings.plans_max)
        return statement

    def _plan(
        self,
        request: query_pb2.ExecuteRequest,
        statement: Statement,
        collections: dict[str, Collection],
        states: dict[int, State],
    ) -> Plan:
        versions = tuple(
            (name, one.collection_id, states[one.collection_id].schema.version)
            for name, one in collections.items()
        )
        values = tuple(entry.SerializeToString() for entry in request.parameters)
        key = (request.sql, request.plan_class, versions, values)
        known = self._plans.get(key)
        if known is not None:
            self._plans.move_to_end(key)
            return known
        try:
            node = parameters.bound(statement, request.parameters)
            by_name = {
                name: Names(states[one.collection_id].schema) for name, one in collections.items()
            }
            bound = bind(node, statement.sql, by_name, self._parser)
            timeless = not security.reads_clock(bound.node)
            fixed = security.with_fixed_clock(bound.node, self._wall_clock_us())
            plan = self._planner.plan(replace(bound, node=fixed), request.plan_class)
        except RecursionError as error:
            raise too_deep() from error
        if timeless:
            _remember(self._plans, key, plan, self._settings.plans_max)
        return plan

    async def _collections(self, names: list[str]) -> dict[str, Collection]:
        snapshot = self._follower.snapshot
        if snapshot.revision != self._revision:
            self._revision = snapshot.revision
            self._scatter.schemas.keep(one.collection_id for one in snapshot.collections.values())
        try:
            return tables.collections_of(names, self._follower.snapshot.collections)
        except AlderError:
            await self._newer_catalog(self._settings.catalog_wait_s)
            return tables.collections_of(names, self._follower.snapshot.collections)

    async def _collection(self, name: str) -> Collection:
        return (await self._collections([name]))[name]

    async def _newer_catalog(self, timeout_s: float) -> None:
        """Waits for a newer snapshot, since a change may be on its way here."""
        known = self._follower.snapshot.revision
        await self._follower.wait_until(lambda snapshot: snapshot.revision > known, timeout_s)


def _since_us(begin_s: float) -> int:
    return int((time.monotonic() - begin_s) * 1e6)


def _remember(cache: OrderedDict[K, V], key: K, value: V, entries_max: int) -> None:
    cache[key] = value
    while len(cache) > entries_max:
        cache.popitem(last=False)


def _collection_read(
    collection: Collection, at: PositionVector, answers: list[Gathered], state: State
) -> query_pb2.CollectionRead:
    scans = [scan for answer in answers for scan in answer.scans]
    return query_pb2.CollectionRead(
        collection=collection.name,
        positions=at.to_proto(),
        shards_asked=sorted(entry.shard for entry in collection.shards),
        shards_answered=sorted({scan.shard for scan in scans}),
        scans=scans,
    )
