"""Runs a call of the event loop on worker threads, so that the loop only decides and waits.

What a call works on, a shard above all, stays in use until the call has ended, whatever became of
the caller: one that is cancelled or out of time still waits for its thread before it lets go. Else
a shard could be closed below a thread that reads it.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Final, TypeVar

from leaf.engine import Cancellation

T = TypeVar("T")
INTERRUPT_INTERVAL_S: Final = 0.05


async def uninterrupted(threads: Executor, call: Callable[[], T]) -> T:
    """Runs a call that can't be interrupted. Raises what it raises."""
    future = asyncio.get_running_loop().run_in_executor(threads, call)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await asyncio.wait({future})
        raise


async def interruptible(
    threads: Executor, call: Callable[[], T], cancellation: Cancellation, timeout_s: float | None
) -> T:
    """Runs a call that gives way once ``cancellation`` says so.

    One that still waits for a thread when its time is over leaves the queue at once.

    Raises AlderError(DEADLINE), and what the call raises.
    """
    job = threads.submit(call)
    future = asyncio.wrap_future(job)
    try:
        await asyncio.wait({future}, timeout=timeout_s)
    finally:
        if not job.cancel():
            while not future.done():
                cancellation.cancel()
                await asyncio.wait({future}, timeout=INTERRUPT_INTERVAL_S)
            # A caller that went away asks for no result, which would be logged as an error.
            future.exception()
    if job.cancelled():
        cancellation.cancel()
        cancellation.check()
    return future.result()
