"""Runs a process of the product: starts its parts, says that it is ready, drains on a signal."""

import asyncio
import gc
import logging
import resource
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Final

import uvloop

from alder.allocator import share_memory

Build = Callable[[AsyncExitStack], Awaitable[str]]
"""Starts everything, registers how to end it on the stack, and returns what the ready line says."""

SWITCH_INTERVAL_S: Final = 0.001
"""After this a thread that computes in Python lets the event loop have its turn."""


def run_until_signal(build: Build) -> None:
    """Runs until SIGTERM or SIGINT, then ends the parts in reverse order.

    The one line on standard output is the ready line; all else goes to standard error.
    """
    logging.basicConfig(
        level=logging.INFO,
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    _allow_open_files()
    share_memory()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(build))


def _allow_open_files() -> None:
    """A shard keeps some dozen files open, and soft limits are often as low as 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _run(build: Build) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        ready = await build(stack)
        # Modules and services live as long as the process. Looking through them for garbage again
        # and again would stop all threads for some ten milliseconds each time.
        gc.collect()
        gc.freeze()
        print(ready, flush=True)
        await stop.wait()
        logging.getLogger(__name__).info("draining")
