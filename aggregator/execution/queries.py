"""One query from its text to its answer: parse, cut, plan, scatter, finish.

A query runs in this order: parse, check and bind parameters; ask the leaves for positions and
schema; choose the cut; plan against that schema; run the fragments at the cut; finish. The schema
comes in the same answer as the positions, so a plan always knows every field of the rows in its
cut, and a new field needs no second try.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Container, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import pyarrow as pa

from aggregator.execution import core
from aggregator.execution.coverage import (
    WAIT_SHARE,
    Coverage,
    LeafError,
    Missing,
    leaf_of,
    share_of,
)
from aggregator.execution.engine import Engine, EngineSettings, Input, in_user_names
from aggregator.execution.finish import combine, finish, finished_directly
from aggregator.execution.moments import Moment, moment_of, positions_of
from aggregator.execution.rehearsal import rehearse
from aggregator.execution.scatter import Budget, Gathered, Scatter, State, gather
from aggregator.execution.stages import gathered_in_stages
from aggregator.execution.staleness import leave_out_stale
from aggregator.execution.topsearch import first_groups
from aggregator.functions.textstats import Statistic, Statistics, Wanted
from aggregator.planning.plan import Plan, Read
from aggregator.planning.plans import Known, Plans
from aggregator.planning.strategy import JoinLimits
from aggregator.protection.admission import AdmissionSettings
from aggregator.protection.killers import Killers
from aggregator.protection.running import Progress, Stage
from aggregator.statement import parameters, tables, tree, views
from aggregator.statement.openpivots import OpenPivot
from aggregator.statement.syntax import Parser
from aggregator.statement.tablename import AsOf, TableName
from alder.arrow import SMALL_BYTES
from alder.catalog import Collection
from alder.errors import AlderError
from alder.interfaces import LogClient, NodeDirectory
from alder.membership import CatalogFollower
from alder.policy import Policy
from alder.positions import PositionVector, vectors_of_text
from alder.recent import Recent
from alder.v1 import leaf_pb2, query_pb2

logger = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class AggregatorSettings:
    """Bounds of an aggregator: bytes, seconds, counts."""

    engine: EngineSettings = field(default_factory=EngineSettings)
    admission: AdmissionSettings = field(default_factory=AdmissionSettings)
    joins: JoinLimits = field(default_factory=JoinLimits)
    gathered_bytes_max: int = 2 << 30
    timeout_s_default: float = 60.0
    killers_refused_s: float = 600.0
    margin_s: float = 0.05
    catalog_wait_s: float = 0.3
    query_threads: int = 4
    plans_max: int = 256
    quarantine_records_max: int = 10_000


@dataclass(slots=True)
class Run:
    """One query on its way: ``sql`` is the SELECT of the request; times add up over the tries."""

    query_id: str
    request: query_pb2.ExecuteRequest
    sql: str
    deadline_s: float
    plan_us: int = 0
    scatter_us: int = 0
    finish_us: int = 0
    progress: Progress = field(default_factory=Progress)
    coverage: Coverage = field(default_factory=Coverage)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A query that is ready to run.

    Collections and their cuts are by the name as written, which says the moment, the rest by
    id. Collections have the covered shards only; ``missing`` are the others, by shard. ``lags_us``:
    microseconds behind the log's end, where they are bounded.
    """

    plan: Plan
    collections: Mapping[str, Collection]
    states: Mapping[int, State]
    cuts: Mapping[str, PositionVector]
    missing: Mapping[int, Mapping[int, Missing]] = field(default_factory=dict)
    lags_us: Mapping[int, float] = field(default_factory=dict)

    def by_id(self) -> dict[int, Collection]:
        """The collections, each once."""
        return {one.collection_id: one for one in self.collections.values()}

    def rows_stored(self) -> dict[str, int]:
        """By collection as written, at least as many rows as it has in its cut."""
        return {
            name: self.states[one.collection_id].rows_stored
            for name, one in self.collections.items()
        }


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer: ``answers`` are in the order of the plan's reads.

    ``told`` says how its joins were gathered and why, one sentence each.
    """

    prepared: Prepared
    answers: Sequence[Gathered]
    result: pa.Table
    told: tuple[str, ...] = ()

    def reads(self) -> list[query_pb2.CollectionRead]:
        """What was read of each collection and moment."""
        prepared = self.prepared
        pairs = list(zip(prepared.plan.reads, self.answers, strict=True))
        alike: dict[tuple[int, AsOf | None], list[str]] = {}
        for name, one in prepared.collections.items():
            key = one.collection_id, TableName.decode(name).as_of
            alike.setdefault(key, []).append(name)
        return [
            _collection_read(
                prepared,
                names[0],
                [answer for read, answer in pairs if read.collection in names],
            )
            for names in alike.values()
        ]

    def references(self) -> list[query_pb2.ReferenceRead]:
        """What was asked of the leaves, by each read of the plan."""
        return [
            query_pb2.ReferenceRead(
                collection=self.prepared.collections[read.collection].name,
                read_class=read.read_class,
                rows=sum(leaf.rows for leaf in answer.leaves),
                size_bytes=sum(leaf.size_bytes for leaf in answer.leaves),
                input_bytes=answer.input_bytes,
                slowest_leaf_us=max((leaf.elapsed_us for leaf in answer.leaves), default=0),
            )
            for read, answer in zip(self.prepared.plan.reads, self.answers, strict=True)
        ]


class Queries:
    """Prepares and runs queries. Its methods belong to one event loop."""

    def __init__(
        self,
        follower: CatalogFollower,
        directory: NodeDirectory,
        settings: AggregatorSettings,
        wall_clock_us: Callable[[], int],
        log: LogClient,
        spill: Path | None,
    ) -> None:
        """``spill`` is a directory of the node for what does not fit into memory, if it has one."""
        self._follower = follower
        self._settings = settings
        self._log = log
        self._wall_clock_us = wall_clock_us
        self.scatter = Scatter(directory)
        self.killers = Killers(settings.killers_refused_s)
        self._revision = 0
        self._plans = Plans(settings.plans_max, wall_clock_us)
        self._constants: Recent[str, pa.Table] = Recent(settings.plans_max)
        self._instant: Recent[str, None] = Recent(settings.plans_max)
        self._finishing = ThreadPoolExecutor(self._settings.query_threads, "alder-finish")
        self._engine = Engine(self._settings.engine, spill)

    async def start(self) -> None:
        """Warms the engines up, so that the first query is no slower than the others."""
        await asyncio.to_thread(self._engine.start)
        await rehearse(self._plans, self._engine, self._finishing)

    async def close(self) -> None:
        """Waits for running work and releases the engines."""
        await self._plans.close()
        await asyncio.to_thread(self._finishing.shutdown)
        self._engine.close()

    async def prepare(self, run: Run) -> Prepared:
        """The plan of a query and the cut that it would read."""

        async def nothing_more(prepared: Prepared) -> Prepared:
            return prepared

        return await self._trying(run, nothing_more)

    async def answer(self, run: Run) -> Answered:
        """The answer of a query."""
        return await self._trying(run, lambda prepared: self._perform(run, prepared))

    async def statement(self, sql: str) -> Known:
        """A checked statement, its views by name. Raises AlderError as :meth:`Plans.statement`."""
        return await self._plans.statement(sql)

    async def views(self, names: Sequence[str]) -> views.Views:
        """The versions of views that a query reads from its begin to its end."""
        try:
            return views.pinned(names, self._follower.snapshot)
        except AlderError:
            await self._newer_catalog(self._settings.catalog_wait_s)
            return views.pinned(names, self._follower.snapshot)

    async def columns(self, run: Run) -> pa.Schema:
        """The columns of a query's result, by the engine's judgement; no rows are asked for."""
        request = query_pb2.ExecuteRequest()
        request.CopyFrom(run.request)
        request.plan_class = "e"
        prepared = await self.prepare(replace(run, request=request))
        inputs = [
            Input(read.table, read.columns, pa.table({n: pa.nulls(0) for n, _ in read.columns}))
            for read in prepared.plan.reads
        ]
        result = await finish(self._engine, self._finishing, prepared.plan, inputs)
        return result.schema

    async def with_parser(self, call: Callable[[Parser], T]) -> T:
        """The result of a call that needs the parser, which serves one thread at a time."""
        return await self._plans.with_parser(call)

    @property
    def aggregates(self) -> frozenset[str]:
        """The names of all aggregates."""
        return self._plans.aggregates

    async def literal_tree(self, sql: str, values: Sequence[query_pb2.Parameter]) -> tree.Node:
        """A SELECT over collections alone: views, parameters and the clock are what they are now.

        Raises AlderError as for a query that is refused before it runs.
        """
        known = await self._plans.statement(sql)
        known = await self._plans.expanded(known, await self.views(known.tables))
        return self._plans.literal_tree(known, values)

    async def combined(self, sql: str, inputs: Sequence[Input]) -> pa.Table:
        """The result of a SELECT of ours over tables at hand. Raises AlderError."""
        return await combine(self._engine, self._finishing, sql, inputs, {})

    def knows(self, sql: str) -> bool:
        """True if this text is a SELECT that is parsed already, and so no command."""
        return self._plans.knows(sql)

    def at_hand(self, sql: str) -> bool:
        """True for a statement of literals that was answered: its answer costs no work."""
        return sql in self._instant

    async def collection(self, name: str) -> Collection:
        """The collection of that name. Raises AlderError(UNKNOWN_COLLECTION)."""
        return (await self._collections([name]))[name]

    def left_s(self, run: Run) -> float:
        """Seconds that leaves may take, so that the answer can still be finished."""
        left_s = run.deadline_s - time.monotonic() - self._settings.margin_s
        if run.coverage.policy.tolerant:
            left_s *= WAIT_SHARE
        return max(left_s, 0.001)

    async def _trying(self, run: Run, step: Callable[[Prepared], Awaitable[T]]) -> T:
        """Prepares the query and takes a step with it, again where metadata moved meanwhile."""
        begin = time.monotonic()
        run.progress.stage = Stage.PLANNING
        run.coverage = Coverage(Policy.from_proto(run.request.policy))
        statement = await self._plans.statement(run.sql)
        statement = await self._plans.expanded(statement, await self.views(statement.tables))
        run.plan_us += since_us(begin)
        on_trial = self.killers.check(run.sql, time.monotonic())
        ended_well = False
        try:
            done = await self._attempts(run, statement, step)
            ended_well = True
            return done
        finally:
            if on_trial:
                self.killers.tried(run.sql, ended_well)

    async def _attempts(
        self, run: Run, statement: Known, step: Callable[[Prepared], Awaitable[T]]
    ) -> T:
        attempt = 1
        while True:
            try:
                return await step(await self._prepared(run, statement))
            except AlderError as error:
                if not core.retries(error, attempt):
                    if isinstance(error, LeafError) and run.coverage.goes_on_without(error):
                        self.killers.check(run.sql, time.monotonic())
                        continue
                    raise
                logger.info("query %s is planned again: %s", run.query_id, error)
                self.scatter.schemas.keep([])
                self._plans.forget()
                await self._newer_catalog(0.02 * attempt)
                attempt += 1

    async def _prepared(self, run: Run, statement: Known) -> Prepared:
        collections = await self._collections(statement.tables)
        begin = time.monotonic()
        moments = await self._moments(run, collections)
        unique = {entry.collection_id: entry for entry in collections.values()}
        wanted = _wanted(run.request, collections, moments)
        states = dict(
            zip(
                unique,
                await gather([self._state(run, one, wanted[key]) for key, one in unique.items()]),
                strict=True,
            )
        )
        lags_us: dict[int, float] = {}
        if run.coverage.policy.staleness_us_max is not None:
            now_us, left_s = self._wall_clock_us(), self.left_s(run)
            for key, one in unique.items():
                lags_us[key] = await leave_out_stale(
                    self._log, one, states[key].positions, run.coverage, now_us, left_s
                )
            if any(states[key].missing != set(run.coverage.of(one)) for key, one in unique.items()):
                return await self._prepared(run, statement)
        run.scatter_us += since_us(begin)
        missing = {key: run.coverage.of(one) for key, one in unique.items()}
        collections = {name: run.coverage.covered(one) for name, one in collections.items()}
        unique = {entry.collection_id: entry for entry in collections.values()}
        self.killers.answered(leaf_of(one.leaf) for key in unique.values() for one in key.shards)
        newest = {
            key: core.choose_cut([shard.shard for shard in one.shards], states[key].positions)
            for key, one in unique.items()
        }
        cuts = {
            name: moments[name].cut(newest[one.collection_id])
            if name in moments
            else newest[one.collection_id]
            for name, one in collections.items()
        }
        while statement.open_pivot is not None:
            statement = await self._with_values(
                run, statement, statement.open_pivot, collections, states, cuts
            )
        plan = await self._plan(run, statement, collections, states, cuts)
        return Prepared(plan, collections, states, cuts, missing, lags_us)

    async def _with_values(
        self,
        run: Run,
        statement: Known,
        pivot: OpenPivot,
        collections: dict[str, Collection],
        states: dict[int, State],
        cuts: Mapping[str, PositionVector],
    ) -> Known:
        """The statement with the values of a PIVOT, which are asked for at the cut."""
        question = await self._plans.question(pivot, statement)
        request = query_pb2.ExecuteRequest()
        request.CopyFrom(run.request)
        request.ClearField("parameters")
        request.parameters.extend(
            parameters.only(run.request.parameters, question.statement.parameters)
        )
        sql = question.statement.sql
        inner = Run(run.query_id, request, sql, run.deadline_s, coverage=run.coverage)
        asked = {name: one for name, one in collections.items() if name in question.tables}
        plan = await self._plan(inner, question, asked, states, cuts)
        answered = await self._perform(inner, Prepared(plan, asked, states, cuts))
        run.plan_us += inner.plan_us
        run.scatter_us += inner.scatter_us + inner.finish_us
        return await self._plans.answered(pivot, statement, answered.result[0].to_pylist())

    async def _plan(
        self,
        run: Run,
        statement: Known,
        collections: dict[str, Collection],
        states: dict[int, State],
        cuts: Mapping[str, PositionVector],
    ) -> Plan:
        """The plan of a statement, with statistics of texts where it needs them."""
        plan = await self._planned(run, statement, collections, states, {})
        if not isinstance(plan, Plan):
            known = await self._statistics(run, plan, collections, states, cuts)
            plan = await self._planned(run, statement, collections, states, known)
        if not isinstance(plan, Plan):
            raise AssertionError("a statement asks for the same statistics whatever they are")
        return plan

    async def _moments(self, run: Run, collections: Mapping[str, Collection]) -> dict[str, Moment]:
        """The moment of each name that has one: its own, or that of the request."""
        vectors = {
            entry.collection: PositionVector.from_proto(entry.positions)
            for entry in run.request.as_of
        }

        async def moment(name: str, collection: Collection) -> Moment | None:
            as_of = TableName.decode(name).as_of
            if as_of is not None:
                deadline_s = time.monotonic() + self.left_s(run)
                return await moment_of(as_of, collection, self._log, deadline_s)
            return Moment(positions_of(vectors, collection)) if vectors else None

        found = await gather([moment(name, one) for name, one in collections.items()])
        return {name: one for name, one in zip(collections, found, strict=True) if one is not None}

    async def _planned(
        self,
        run: Run,
        statement: Known,
        collections: dict[str, Collection],
        states: dict[int, State],
        texts: Statistics,
    ) -> Plan | Wanted:
        begin = time.monotonic()
        plan = await self._plans.plan(statement, run.request, collections, states, texts)
        run.plan_us += since_us(begin)
        return plan

    async def _statistics(
        self,
        run: Run,
        wanted: Wanted,
        collections: dict[str, Collection],
        states: dict[int, State],
        cuts: Mapping[str, PositionVector],
    ) -> Statistics:
        """Statistics of texts at the cut, each by a statement of its own."""
        request = query_pb2.ExecuteRequest(
            consistency=run.request.consistency,
            no_memoised_partials=run.request.no_memoised_partials,
            no_code_kernels=run.request.no_code_kernels,
            no_direct_lookup=run.request.no_direct_lookup,
            no_index_kinds=run.request.no_index_kinds,
            as_of=run.request.as_of,
        )

        async def ask(one: Statistic) -> tuple[int, int]:
            inner = Run(run.query_id, request, one.sql, run.deadline_s)
            statement = await self._plans.statement(one.sql)
            asked = {one.collection: collections[one.collection]}
            plan = await self._planned(inner, statement, asked, states, {})
            if not isinstance(plan, Plan):
                raise AssertionError("a statistic has no score")
            answered = await self._perform(inner, Prepared(plan, asked, states, cuts))
            texts, words = (column[0].as_py() for column in answered.result.columns)
            return int(texts), int(words or 0)

        begin = time.monotonic()
        answers = await gather([ask(one) for one in wanted])
        run.scatter_us += since_us(begin)
        return dict(zip(wanted, answers, strict=True))

    async def _perform(self, run: Run, prepared: Prepared) -> Answered:
        plan = prepared.plan
        begin = time.monotonic()
        run.progress.stage = Stage.GATHERING
        budget = Budget(self._settings.gathered_bytes_max, run.progress)
        try:
            unfinished = plan.plan_class != "b" or plan.direct is None
            gathered = await gathered_in_stages(
                plan,
                lambda read, beside, to_finish: self._read(
                    run, prepared, read, beside, budget, unfinished and to_finish
                ),
                prepared.rows_stored(),
                self._settings.joins,
                run.request.join_strategy,
                all(map(self.scatter.shares_memory, prepared.collections.values())),
            )
        except LeafError:
            raise
        except AlderError as error:
            message = in_user_names(error.message, plan.user_names)
            raise AlderError(error.reason, message, **error.metadata) from error
        run.scatter_us += since_us(begin)
        begin = time.monotonic()
        run.progress.stage = Stage.FINISHING
        result = await self._finished(run, gathered.plan, gathered.answers)
        run.finish_us += since_us(begin)
        prepared = replace(prepared, plan=gathered.plan)
        return Answered(prepared, gathered.answers, result, gathered.told)

    async def _finished(self, run: Run, plan: Plan, answers: Sequence[Gathered]) -> pa.Table:
        """The rows of a plan; small ones that are always the same are kept as the plan is."""
        if plan.constant:
            kept = self._constants.get(plan.sql)
            if kept is not None:
                return kept
        direct = not run.request.no_direct_lookup
        result = finished_directly(plan, answers) if direct else None
        if result is None:
            inputs = [
                Input(read.table, read.columns, answer.finished, answer.pending)
                for read, answer in zip(plan.reads, answers, strict=True)
            ]
            result = await finish(self._engine, self._finishing, plan, inputs)
        if plan.constant and result.nbytes <= SMALL_BYTES:
            self._constants.put(plan.sql, result)
            if not run.request.parameters:
                self._instant.put(run.sql, None)
        return result

    async def _state(self, run: Run, collection: Collection, wanted: PositionVector) -> State:
        left_s = self.left_s(run)
        wait_s = left_s - self._settings.margin_s if wanted.offsets else 0.0
        return await self.scatter.state(collection, wanted, left_s, wait_s, run.coverage)

    async def _read(
        self,
        run: Run,
        prepared: Prepared,
        read: Read,
        beside: Read | None,
        budget: Budget,
        unfinished: bool,
    ) -> Gathered:
        collection, cut = prepared.collections[read.collection], prepared.cuts[read.collection]
        latest = _reads_latest(run, read)
        as_of = TableName.decode(read.collection).as_of
        request = leaf_pb2.FragmentRequest(
            collection=collection.name,
            collection_id=collection.collection_id,
            epoch=collection.epoch,
            fragment=read.fragment,
            latest=latest,
            query_id=run.query_id,
            no_memoised_partials=run.request.no_memoised_partials,
            no_code_kernels=run.request.no_code_kernels,
            no_direct_lookup=run.request.no_direct_lookup,
            no_index_kinds=run.request.no_index_kinds,
        )
        if not latest:
            request.at.CopyFrom(cut.to_proto())
        if as_of is not None and as_of.unless is not None:
            unless = positions_of(vectors_of_text(as_of.unless), collection)
            request.except_at.CopyFrom(unless.to_proto())
        other = None
        if beside is not None:
            other = prepared.collections[beside.collection]
            request.joined.CopyFrom(
                leaf_pb2.JoinedRows(
                    name=beside.table,
                    collection=other.name,
                    collection_id=other.collection_id,
                    epoch=other.epoch,
                    at=prepared.cuts[beside.collection].to_proto(),
                    columns=beside.fragment.columns,
                    terms=beside.fragment.terms,
                    latest=_reads_latest(run, beside),
                )
            )

        def died(leaf: str) -> None:
            self.killers.died(leaf, run.sql, time.monotonic())

        async def call(groups: leaf_pb2.WantedGroups, leaves: Container[str] | None) -> Gathered:
            own = leaf_pb2.FragmentRequest()
            own.CopyFrom(request)
            own.groups.CopyFrom(groups)
            return await self.scatter.run(collection, own, self.left_s(run), budget, leaves, died)

        if read.search is not None and len(collection.shards_by_leaf()) > 1:
            return await first_groups(call, read.search, not latest)
        return await self.scatter.run(
            collection,
            request,
            self.left_s(run),
            budget,
            died=died,
            unfinished=unfinished,
            joined=other,
        )

    async def _collections(self, names: Sequence[str]) -> dict[str, Collection]:
        snapshot = self._follower.snapshot
        if snapshot.revision != self._revision:
            self._revision = snapshot.revision
            self.scatter.schemas.keep(one.collection_id for one in snapshot.collections.values())
        try:
            return tables.collections_of(names, self._follower.snapshot.collections)
        except AlderError:
            await self._newer_catalog(self._settings.catalog_wait_s)
            return tables.collections_of(names, self._follower.snapshot.collections)

    async def _newer_catalog(self, timeout_s: float) -> None:
        """Waits for a newer snapshot, since a change may be on its way here."""
        known = self._follower.snapshot.revision
        await self._follower.wait_until(lambda snapshot: snapshot.revision > known, timeout_s)


def _wanted(
    request: query_pb2.ExecuteRequest,
    collections: Mapping[str, Collection],
    moments: Mapping[str, Moment],
) -> dict[int, PositionVector]:
    """What the shards of each collection must have reached, by id.

    A moment is read as it was, so what its reader must see of later ones is not asked for.
    """
    least = {
        entry.collection: PositionVector.from_proto(entry.positions)
        for entry in request.min_positions
    }
    wanted = {one.collection_id: PositionVector() for one in collections.values()}
    for name, one in collections.items():
        moment = moments.get(name)
        vector = least.get(one.name, PositionVector()) if moment is None else moment.reached
        wanted[one.collection_id] = wanted[one.collection_id].merged(vector)
    return wanted


def _reads_latest(run: Run, read: Read) -> bool:
    """True where a read asks each shard for the newest that it has."""
    pinned = run.request.as_of or TableName.decode(read.collection).as_of is not None
    return run.request.consistency == query_pb2.CONSISTENCY_LATEST and not pinned


def since_us(begin_s: float) -> int:
    """Microseconds since a moment of the monotonic clock."""
    return int((time.monotonic() - begin_s) * 1e6)


def _collection_read(
    prepared: Prepared, name: str, answers: list[Gathered]
) -> query_pb2.CollectionRead:
    collection = prepared.collections[name]
    as_of = TableName.decode(name).as_of
    scans = [scan for answer in answers for scan in answer.scans]
    missing = prepared.missing.get(collection.collection_id, {})
    lag_us = prepared.lags_us.get(collection.collection_id)
    return query_pb2.CollectionRead(
        collection=collection.name,
        as_of="" if as_of is None else str(as_of),
        positions=prepared.cuts[name].to_proto(),
        shards_asked=sorted([*missing, *(entry.shard for entry in collection.shards)]),
        shards_answered=sorted({scan.shard for scan in scans}),
        scans=scans,
        shards_missing=[
            query_pb2.MissingShard(shard=one.shard, leaf=one.leaf, reason=one.why)
            for _, one in sorted(missing.items())
        ],
        coverage=share_of(collection),
        lag_us=None if lag_us is None else round(lag_us),
    )
