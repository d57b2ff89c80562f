"""B10: what ingest costs the queries that run meanwhile."""

import time
from collections.abc import Callable
from typing import Final

from bench import statistics
from bench.questions import NAMES
from bench.report import Row, Verdict
from bench.rows.ingest import measured_log_rate
from bench.world import COLLECTION, World
from bench.writer import Writer

SLOTS: Final = 3


def mixed(world: World) -> Row:
    """B10: idle and loaded slots in turns, idle first and last, so that growth weighs on both."""
    options = world.options
    rate = measured_log_rate(world) / 2
    row = Row("B10", f"query p95 while {rate:,.0f} events/s arrive, half of what we can take")
    parts = world.more_parts(SLOTS, round(rate * options.slot_s))
    for memoised in (True, False):
        ask = world.alder.ask_memoised if memoised else world.alder.ask
        idle: list[float] = []
        loaded: list[float] = []
        _ask_until(_after(options.slot_s), ask, idle)
        for part in parts:
            writer = Writer(world.alder.target, COLLECTION, part, rate)
            writer.begin()
            _ask_until(writer.over, ask, loaded)
            late_s = writer.late_s()
            if late_s > 1:
                row.notes.append(f"the writer was {late_s:.1f} s late: the rate was not kept")
            _ask_until(_after(options.slot_s / SLOTS), ask, idle)
        p95 = {
            name: statistics.percentile(run, 0.95) * 1e3
            for name, run in (("loaded", loaded), ("idle", idle))
        }
        ratio = p95["loaded"] / p95["idle"]
        verdict = Verdict("<= 1.5 x idle", ratio, ratio <= 1.5)
        what = f"p95 of the five questions, partials {'on' if memoised else 'off'}"
        row.compare(what, "ms", p95["loaded"], {"idle": p95["idle"]}, [verdict])
    return row


def _after(seconds: float) -> Callable[[], bool]:
    end = time.perf_counter() + seconds
    return lambda: time.perf_counter() >= end


def _ask_until(over: Callable[[], bool], ask: Callable[[str], object], taken: list[float]) -> None:
    """Asks the questions in turns, every question equally often; seconds of each."""
    while not over():
        for question in NAMES:
            seconds, _ = statistics.timed_s(lambda question=question: ask(question))
            taken.append(seconds)
