"""Finishing: the gathered tables through the engine, in a thread, stopped at the deadline."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor

import duckdb
import pyarrow as pa

from aggregator.direct import finished
from aggregator.engine import Engine, Input, run
from aggregator.plan import Plan
from aggregator.scatter import Gathered

_INTERRUPT_EVERY_S = 0.02


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
    """The result without the engine, where one leaf's kernels gave one row per group."""
    if plan.direct is None or len(answers) != 1 or len(answers[0].leaves) != 1:
        return None
    if not all(scan.code_kernels for scan in answers[0].scans):
        return None
    return finished(*plan.direct, answers[0].rows)


def _run_and_close(
    cursor: duckdb.DuckDBPyConnection, plan: Plan, inputs: Sequence[Input]
) -> pa.Table:
    try:
        return run(cursor, plan.sql, inputs, plan.user_names)
    finally:
        cursor.close()
