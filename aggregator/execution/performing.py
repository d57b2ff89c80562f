"""A query that is ready to run is run: its reads are gathered at its cut, then finished."""

import time
from collections.abc import Container, Sequence
from concurrent.futures import Executor
from dataclasses import replace

import pyarrow as pa

from aggregator.execution.coverage import LeafError
from aggregator.execution.distinctcount import KnownValues, counted
from aggregator.execution.engine import Engine, Input, in_user_names
from aggregator.execution.finish import finish, finished_directly
from aggregator.execution.gathered import Gathered
from aggregator.execution.model import (
    AggregatorSettings,
    Answered,
    Cut,
    Prepared,
    Run,
    left_s,
    since_us,
)
from aggregator.execution.moments import positions_of
from aggregator.execution.scatter import Budget, Scatter
from aggregator.execution.stages import gathered_in_stages
from aggregator.execution.topsearch import first_groups
from aggregator.planning.plan import Plan, Read
from aggregator.protection.killers import Killers
from aggregator.protection.running import Stage
from aggregator.statement.tablename import TableName
from alder.arrow import SMALL_BYTES
from alder.errors import AlderError
from alder.positions import vectors_of_text
from alder.recent import Recent
from alder.v1 import leaf_pb2, query_pb2


class Performer:
    """Runs queries. Belongs to one event loop."""

    def __init__(
        self,
        scatter: Scatter,
        killers: Killers,
        settings: AggregatorSettings,
        engine: Engine,
        finishing: Executor,
    ) -> None:
        self._scatter = scatter
        self._killers = killers
        self._settings = settings
        self._engine = engine
        self._finishing = finishing
        self._known_values = KnownValues(settings.known_values_bytes)
        self._constants: Recent[str, pa.Table] = Recent(settings.plans_max)
        self._instant: Recent[str, None] = Recent(settings.plans_max)

    def at_hand(self, sql: str) -> bool:
        """True for a statement of literals that was answered: its answer costs no work."""
        return sql in self._instant

    async def perform(self, run: Run, prepared: Prepared) -> Answered:
        """The answer of a query. Raises AlderError."""
        plan = prepared.plan
        begin = time.monotonic()
        run.progress.stage = Stage.GATHERING
        budget = Budget(self._settings.gathered_bytes_max, run.progress)
        try:
            unfinished = plan.plan_class != "b" or plan.direct is None
            gathered = await gathered_in_stages(
                plan,
                lambda read, beside, to_finish: self._read(
                    run, prepared.at, read, beside, budget, unfinished and to_finish
                ),
                prepared.at.rows_stored(),
                self._settings.joins,
                run.request.join_strategy,
                all(map(self._scatter.shares_memory, prepared.at.collections.values())),
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

    async def _read(
        self,
        run: Run,
        at: Cut,
        read: Read,
        beside: Read | None,
        budget: Budget,
        unfinished: bool,
    ) -> Gathered:
        collection = at.collections[read.collection]
        request = _request(run, at, read, beside)
        joined = None if beside is None else at.collections[beside.collection]

        def died(leaf: str) -> None:
            self._killers.died(leaf, run.sql, time.monotonic())

        async def call(groups: leaf_pb2.WantedGroups, leaves: Container[str] | None) -> Gathered:
            own = leaf_pb2.FragmentRequest()
            own.CopyFrom(request)
            own.groups.CopyFrom(groups)
            return await self._scatter.run(
                collection, own, left_s(run, self._settings.margin_s), budget, leaves, died
            )

        if read.counted:
            fragment = read.fragment.SerializeToString(deterministic=True)
            keeps = not run.request.no_memoised_partials
            return await counted(
                lambda groups: call(groups, None),
                read.counted,
                (collection.collection_id, fragment),
                self._known_values,
                keeps,
            )
        if read.search is not None and len(collection.shards_by_leaf()) > 1:
            return await first_groups(call, read.search, not request.latest)
        return await self._scatter.run(
            collection,
            request,
            left_s(run, self._settings.margin_s),
            budget,
            died=died,
            unfinished=unfinished,
            joined=joined,
        )


def _request(run: Run, at: Cut, read: Read, beside: Read | None) -> leaf_pb2.FragmentRequest:
    """What a leaf is asked for a read, but for the shards; ``beside`` is joined with it there."""
    collection = at.collections[read.collection]
    request = leaf_pb2.FragmentRequest(
        collection=collection.name,
        collection_id=collection.collection_id,
        epoch=collection.epoch,
        fragment=read.fragment,
        latest=_reads_latest(run, read),
        query_id=run.query_id,
        no_memoised_partials=run.request.no_memoised_partials,
        no_code_kernels=run.request.no_code_kernels,
        no_direct_lookup=run.request.no_direct_lookup,
        no_index_kinds=run.request.no_index_kinds,
    )
    if not request.latest:
        request.at.CopyFrom(at.positions[read.collection].to_proto())
    as_of = TableName.decode(read.collection).as_of
    if as_of is not None and as_of.unless is not None:
        unless = positions_of(vectors_of_text(as_of.unless), collection)
        request.except_at.CopyFrom(unless.to_proto())
    if beside is not None:
        request.joined.CopyFrom(_joined_rows(run, at, beside))
    return request


def _joined_rows(run: Run, at: Cut, beside: Read) -> leaf_pb2.JoinedRows:
    collection = at.collections[beside.collection]
    return leaf_pb2.JoinedRows(
        name=beside.table,
        collection=collection.name,
        collection_id=collection.collection_id,
        epoch=collection.epoch,
        at=at.positions[beside.collection].to_proto(),
        columns=beside.fragment.columns,
        terms=beside.fragment.terms,
        latest=_reads_latest(run, beside),
    )


def _reads_latest(run: Run, read: Read) -> bool:
    """True where a read asks each shard for the newest that it has."""
    pinned = run.request.as_of or TableName.decode(read.collection).as_of is not None
    return run.request.consistency == query_pb2.CONSISTENCY_LATEST and not pinned
