"""Finishing: the gathered tables through the engine, in a thread, stopped at the deadline."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor

import pyarrow as pa

from aggregator.engine import Engine, Input, run
from aggregator.plan import Plan


async def finish(
    engine: Engine, executor: Executor, plan: Plan, tables: Sequence[pa.Table]
) -> pa.Table:
    """The result of a plan over what its reads gathered.

    A cancelled call interrupts the engine and returns only when its thread is free again.
    """
    inputs = [
        Input(read.table, read.columns, table)
        for read, table in zip(plan.reads, tables, strict=True)
    ]
    cursor = engine.cursor()
    loop = asyncio.get_running_loop()
    work = loop.run_in_executor(executor, run, cursor, plan.sql, inputs, plan.user_names)
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        while not work.done():
            cursor.interrupt()
            await asyncio.wait([work], timeout=0.05)
        if not work.cancelled():
            work.exception()
        raise
    finally:
        cursor.close()
