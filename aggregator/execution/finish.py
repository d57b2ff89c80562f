"""Finishing: the gathered tables through the engine, in a thread, stopped at the deadline."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Final

import duckdb
import pyarrow as pa

from aggregator.execution.engine import Engine, Input, run
from aggregator.execution.scatter import Gathered
from aggregator.planning.direct import finished
from aggregator.planning.plan import Plan, Read
from alder.v1 import leaf_pb2

_INTERRUPT_EVERY_S: Final = 0.02
_GROUPS_FINISHED: Final = frozenset(
    {leaf_pb2.FRAGMENT_ENGINE_KERNELS, leaf_pb2.FRAGMENT_ENGINE_DIRECT}
)
"""Engines that give one row per group."""


async def finish(
    engine: Engine, executor: Executor, plan: Plan, tables: Sequence[pa.Table]
) -> pa.Table:
    """The result of a plan over what its reads gathered.

    A cancelled call leaves the queue, or interrupts the engine and returns once its thread is free.
    """
    inputs = [
        Input(read.table, read.columns, table)
        for read, table in zip(plan.reads, tables, strict=True)
    ]
    cursor = engine.cursor()
    job = executor.submit(_run_and_close, cursor, plan, inputs)
    try:
        return await asyncio.wrap_future(job)
    except asyncio.CancelledError:
        # An interrupt that comes before the engine has begun is lost, hence again and again.
        while not job.done():
            cursor.interrupt()
            await asyncio.sleep(_INTERRUPT_EVERY_S)
        raise


def finished_directly(plan: Plan, answers: Sequence[Gathered]) -> pa.Table | None:
    """The result without the engine, where rows or finished groups need only be sorted and cut."""
    if plan.direct is None or len(answers) != 1:
        return None
    if plan.plan_class == "a" and not _has_finished_groups(plan.reads[0], answers[0]):
        return None
    return finished(*plan.direct, answers[0].rows)


def _has_finished_groups(read: Read, answer: Gathered) -> bool:
    """True if there is one row per group: one leaf gave it, or no two have the same group."""
    if not all(scan.engine in _GROUPS_FINISHED for scan in answer.scans):
        return False
    if len(answer.leaves) == 1:
        return True
    return bool(read.whole_key) and answer.rows.column(read.whole_key).null_count <= 1


def _run_and_close(
    cursor: duckdb.DuckDBPyConnection, plan: Plan, inputs: Sequence[Input]
) -> pa.Table:
    try:
        return run(cursor, plan.sql, inputs, plan.user_names)
    finally:
        cursor.close()
