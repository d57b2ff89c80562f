"""What has to be asked before a statement can be planned, each by a statement of its own.

They are statistics of texts, for scores, and the values of a PIVOT that does not list them. All are
asked at the cut of the statement, so an answer is of one moment.
"""

import time
from collections.abc import Awaitable, Callable

from aggregator.execution.leafcalls import gather
from aggregator.execution.model import Answered, Cut, Prepared, Run, since_us
from aggregator.functions.textstats import Statistic, Statistics, Wanted
from aggregator.planning.plan import Plan
from aggregator.planning.plans import Known, Plans
from aggregator.statement import parameters
from aggregator.statement.openpivots import OpenPivot
from alder.v1 import query_pb2

Perform = Callable[[Run, Prepared], Awaitable[Answered]]
"""Answers a query that is ready to run."""


class Questions:
    """Plans statements. Belongs to one event loop."""

    def __init__(self, plans: Plans, perform: Perform) -> None:
        self._plans = plans
        self._perform = perform

    async def prepared(self, run: Run, statement: Known, at: Cut) -> Prepared:
        """The statement, ready to run at a cut. Raises AlderError."""
        while statement.open_pivot is not None:
            statement = await self._with_values(run, statement, statement.open_pivot, at)
        return Prepared(await self._plan(run, statement, at), at)

    async def _with_values(
        self,
        run: Run,
        statement: Known,
        pivot: OpenPivot,
        at: Cut,
    ) -> Known:
        """The statement with the values of a PIVOT."""
        question = await self._plans.question(pivot, statement)
        request = query_pb2.ExecuteRequest()
        request.CopyFrom(run.request)
        request.ClearField("parameters")
        request.parameters.extend(
            parameters.only(run.request.parameters, question.statement.parameters)
        )
        sql = question.statement.sql
        inner = Run(run.query_id, request, sql, run.deadline_s, coverage=run.coverage)
        asked = at.of(question.tables)
        plan = await self._plan(inner, question, asked)
        answered = await self._perform(inner, Prepared(plan, asked))
        run.plan_us += inner.plan_us
        run.scatter_us += inner.scatter_us + inner.finish_us
        return await self._plans.answered(pivot, statement, answered.result[0].to_pylist())

    async def _plan(self, run: Run, statement: Known, at: Cut) -> Plan:
        """The plan of a statement, with statistics of texts where it needs them."""
        plan = await self._planned(run, statement, at, {})
        if not isinstance(plan, Plan):
            plan = await self._planned(run, statement, at, await self._statistics(run, plan, at))
        if not isinstance(plan, Plan):
            raise AssertionError("a statement asks for the same statistics whatever they are")
        return plan

    async def _planned(
        self, run: Run, statement: Known, at: Cut, texts: Statistics
    ) -> Plan | Wanted:
        begin = time.monotonic()
        plan = await self._plans.plan(statement, run.request, at.collections, at.states, texts)
        run.plan_us += since_us(begin)
        return plan

    async def _statistics(self, run: Run, wanted: Wanted, at: Cut) -> Statistics:
        """Statistics of texts."""
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
            asked = at.of([one.collection])
            plan = await self._planned(inner, statement, asked, {})
            if not isinstance(plan, Plan):
                raise AssertionError("a statistic has no score")
            answered = await self._perform(inner, Prepared(plan, asked))
            texts, words = (column[0].as_py() for column in answered.result.columns)
            return int(texts), int(words or 0)

        begin = time.monotonic()
        answers = await gather([ask(one) for one in wanted])
        run.scatter_us += since_us(begin)
        return dict(zip(wanted, answers, strict=True))
