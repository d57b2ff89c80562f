"""One query from its text to its answer: parse, cut, plan, scatter, finish.

A query runs in this order: parse, check and bind parameters; ask the leaves for positions and
schema; choose the cut; plan against that schema; run the fragments at the cut; finish. The schema
comes in the same answer as the positions, so a plan always knows every field of the rows in its
cut, and a new field needs no second try.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pyarrow as pa

from aggregator.execution import core
from aggregator.execution.coverage import Coverage, LeafError
from aggregator.execution.cuts import Cuts
from aggregator.execution.engine import Engine, Input
from aggregator.execution.finish import combine, finish
from aggregator.execution.metadata import Metadata
from aggregator.execution.model import (
    AggregatorSettings,
    Answered,
    Prepared,
    Run,
    left_s,
    since_us,
)
from aggregator.execution.performing import Performer
from aggregator.execution.questions import Questions
from aggregator.execution.rehearsal import rehearse
from aggregator.execution.scatter import Scatter
from aggregator.execution.staleness import Witnesses
from aggregator.planning.plans import Known, Plans
from aggregator.protection.killers import Killers
from aggregator.protection.running import Stage
from aggregator.statement import tree, views
from aggregator.statement.syntax import Parser
from alder.catalog import Collection
from alder.errors import AlderError
from alder.interfaces import LogClient, NodeDirectory
from alder.membership import CatalogFollower
from alder.policy import Policy
from alder.v1 import catalog_pb2, query_pb2

logger = logging.getLogger(__name__)
T = TypeVar("T")


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
        self._settings = settings
        self.scatter = Scatter(directory)
        self.killers = Killers(settings.killers_refused_s)
        self._plans = Plans(settings.plans_max, wall_clock_us)
        self._finishing = ThreadPoolExecutor(settings.query_threads, "alder-finish")
        self._engine = Engine(settings.engine, spill)
        self._metadata = Metadata(follower, self.scatter.schemas, settings.catalog_wait_s)

        def witnesses() -> Witnesses:
            tailers = follower.snapshot.live_nodes(catalog_pb2.NODE_ROLE_TAILER)
            return Witnesses(log, directory, [node.node_id for node in tailers])

        self._cuts = Cuts(self.scatter, log, self.killers, settings, wall_clock_us, witnesses)
        self._performer = Performer(
            self.scatter, self.killers, settings, self._engine, self._finishing
        )
        self._questions = Questions(self._plans, self._performer.perform)

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
        return await self._trying(run, lambda prepared: self._performer.perform(run, prepared))

    async def statement(self, sql: str) -> Known:
        """A checked statement, its views by name. Raises AlderError as :meth:`Plans.statement`."""
        return await self._plans.statement(sql)

    async def views(self, names: Sequence[str]) -> views.Views:
        """The versions of views that a query reads from its begin to its end."""
        return await self._metadata.views(names)

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
        return self._performer.at_hand(sql)

    async def collection(self, name: str) -> Collection:
        """The collection of that name. Raises AlderError(UNKNOWN_COLLECTION)."""
        return (await self._metadata.collections([name]))[name]

    def left_s(self, run: Run) -> float:
        """Seconds that leaves may take, so that the answer can still be finished."""
        return left_s(run, self._settings.margin_s)

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
                collections = await self._metadata.collections(statement.tables)
                at = await self._cuts.cut(run, collections)
                return await step(await self._questions.prepared(run, statement, at))
            except AlderError as error:
                if not core.retries(error, attempt):
                    if isinstance(error, LeafError) and run.coverage.goes_on_without(error):
                        self.killers.check(run.sql, time.monotonic())
                        continue
                    raise
                logger.info("query %s is planned again: %s", run.query_id, error)
                self.scatter.schemas.keep([])
                self._plans.forget()
                await self._metadata.newer(0.02 * attempt)
                attempt += 1
