"""An even pace: one batch each tick, whatever became of the one before.

A latency counts from the moment at which its batch was due, so a system that falls behind shows
it, instead of slowing the pace down (coordinated omission).
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

TICK_S: Final = 0.025
SENDERS: Final = 16
DRAIN_S_MAX: Final = 10.0


def paced(
    send: Callable[[Sequence[bytes]], None],
    made: Callable[[int, int], Sequence[bytes]],
    rate: float,
    seconds: float,
    tick_s: float = TICK_S,
) -> tuple[list[float], int]:
    """Sends batches of ``rate * tick_s`` documents for so long, from several threads.

    ``made(first, count)`` gives the documents of a batch, ``send`` returns when they are visible.
    Returns the latencies in seconds and the documents sent; a batch that is not through
    ``DRAIN_S_MAX`` after the end counts with what it had waited until then. Raises what ``send``
    raised.
    """
    count = max(round(rate * tick_s), 1)
    ticks = max(round(seconds / tick_s), 1)
    begun = time.perf_counter() + tick_s

    def batch(number: int) -> float:
        documents = made(number * count, count)
        due = begun + number * tick_s
        send(documents)
        return time.perf_counter() - due

    with ThreadPoolExecutor(SENDERS) as pool:
        waiting: list[Future[float]] = []
        for number in range(ticks):
            time.sleep(max(begun + number * tick_s - time.perf_counter(), 0))
            waiting.append(pool.submit(batch, number))
        deadline = time.perf_counter() + DRAIN_S_MAX
        latencies = []
        for number, future in enumerate(waiting):
            done = wait_until(future, deadline)
            late = time.perf_counter() - begun - number * tick_s
            latencies.append(future.result() if done else late)
        unsent = sum(future.cancel() for future in waiting)
    return latencies, (ticks - unsent) * count


def wait_until(future: Future[float], deadline: float) -> bool:
    """True if the future was done by then."""
    try:
        future.exception(max(deadline - time.perf_counter(), 0))
    except TimeoutError:
        return False
    return True
