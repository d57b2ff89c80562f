"""Finishing: the gathered tables through the engine, in a thread, stopped at the deadline."""

import asyncio
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import Final

import duckdb
import pyarrow as pa

from aggregator.execution.engine import Engine, Input, run
from aggregator.execution.gathered import Gathered
from aggregator.planning.direct import finished
from aggregator.planning.plan import Plan, Read
from alder.v1 import leaf_pb2

_INTERRUPT_EVERY_S: Final = 0.02
_GROUPS_FINISHED: Final = frozenset(
    {leaf_pb2.FRAGMENT_ENGINE_KERNELS, leaf_pb2.FRAGMENT_ENGINE_DIRECT}
)
"""Engines that give one row per group."""


class _Interruptible:
    """What runs in another thread, as long as it runs: a closed cursor can't be interrupted."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cursor: duckdb.DuckDBPyConnection | None = None

    @contextmanager
    def on(self, cursor: duckdb.DuckDBPyConnection) -> Iterator[None]:
        """While a statement runs on the cursor."""
        with self._lock:
            self._cursor = cursor
        try:
            yield
        finally:
            with self._lock:
                self._cursor = None

    def interrupt(self) -> None:
        """Interrupts what runs, if anything does."""
        with self._lock:
            if self._cursor is not None:
                self._cursor.interrupt()


async def finish(
    engine: Engine, executor: Executor, plan: Plan, inputs: Sequence[Input]
) -> pa.Table:
    """The result of a plan over the tables that its reads gathered; see :func:`combine`."""
    return await combine(engine, executor, plan.sql, inputs, plan.user_names)


async def combine(
    engine: Engine,
    executor: Executor,
    sql: str,
    inputs: Sequence[Input],
    user_names: Mapping[str, str],
) -> pa.Table:
    """The result of a statement over its inputs; see :func:`aggregator.execution.engine.run`.

    A cancelled call leaves the queue, or interrupts the engine and returns once its thread is free.
    """
    runs = _Interruptible()

    def finished_rows() -> pa.Table:
        with engine.session() as session, runs.on(session.cursor):
            return run(engine, session, sql, inputs, user_names)

    job = executor.submit(finished_rows)
    try:
        return await asyncio.wrap_future(job)
    except asyncio.CancelledError:
        # An interrupt that comes before the engine has begun is lost, hence again and again.
        while not job.done():
            runs.interrupt()
            await asyncio.sleep(_INTERRUPT_EVERY_S)
        raise


def finished_directly(plan: Plan, answers: Sequence[Gathered]) -> pa.Table | None:
    """The result without the engine, where rows or finished groups need only be sorted and cut."""
    if plan.direct is None or len(answers) != 1 or answers[0].pending:
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
