"""A rehearsal of some queries, so that the first real one waits for nothing that happens once.

The engines read their catalogs of functions with their first statements, libraries import what they
need when they need it: tens of milliseconds in a fresh process. The collection is made up, and no
leaf is asked.
"""

from concurrent.futures import Executor
from typing import Final

import pyarrow as pa

from aggregator.execution.engine import Engine, Input
from aggregator.execution.finish import finish
from aggregator.execution.gathered import State
from aggregator.planning.plan import Plan
from aggregator.planning.plans import Plans
from alder.catalog import Collection, Shard
from alder.schema import Schema
from alder.slots import SLOTS
from alder.v1 import query_pb2

_NAME: Final = "rehearsal"
_SCHEMA: Final = Schema().with_columns(["string:key", "int:number"])
_AGGREGATE: Final = (
    f"SELECT key, hour(make_timestamp(number)) AS h, count(*) AS n, sum(number) FROM {_NAME} "
    "WHERE key IN ('one', 'two') GROUP BY key, h ORDER BY n DESC LIMIT 1"
)
_GATHERED: Final = f"SELECT key, rank() OVER (ORDER BY number) FROM {_NAME} WHERE number = 1"


async def rehearse(plans: Plans, engine: Engine, finishing: Executor) -> tuple[Plan, Plan]:
    """Plans an aggregate, and finishes a query to which no leaf gave a row; both plans."""
    aggregate, plan = await _plan(plans, _AGGREGATE), await _plan(plans, _GATHERED)
    nothing = [
        Input(
            read.table,
            read.columns,
            pa.table({name: pa.array([], pa.string()) for name, _ in read.columns}),
        )
        for read in plan.reads
    ]
    await finish(engine, finishing, plan, nothing)
    return aggregate, plan


async def _plan(plans: Plans, sql: str) -> Plan:
    collection = Collection(_NAME, 0, shards=(Shard(0, 0, SLOTS, ""),))
    statement = await plans.statement(sql)
    plan = await plans.plan(
        statement,
        query_pb2.ExecuteRequest(sql=sql),
        {_NAME: collection},
        {0: State({}, _SCHEMA)},
        {},
    )
    if not isinstance(plan, Plan):
        raise AssertionError("a statement without a score asks for no statistics")
    return plan
