"""A1, A4 and A5: what an answer costs besides its data, dashboards of many clients, overload."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import psutil

from bench import clients, dashboards, echo, statistics
from bench.clients import Outcome
from bench.memory import Peak
from bench.report import Row, Verdict, at_most
from bench.world import COLLECTION, World

CLIENTS: Final = 16
RSS_GIB_MAX: Final = 1.5
ANSWER_S_MAX: Final = 1.0
"""In A5 an answer that takes longer is none."""
REFUSED_MS_MAX: Final = 50.0
_CALLS: Final = 1000


def overhead(world: World) -> Row:
    """A1: a query that touches no data, its plan at hand, beside a bare call."""
    row = Row("A1", "a query that touches no data, cached plan")
    plain = world.alder.plain
    with echo.echo() as call:
        systems: dict[str, Callable[[int], object]] = {
            "alder": lambda _: plain.execute("SELECT 1").fetchall(),
            "with a parameter": lambda number: plain.execute("SELECT ? + 1", [number]).fetchall(),
            "gRPC echo": lambda _: call(echo.REQUEST),
        }
        budget_s = world.options.budget_s
        runs = statistics.interleaved(systems, range(_CALLS), budget_s, warm_up=True)
    p50 = {name: run.p50_ms for name, run in runs.items()}
    p99 = {name: statistics.percentile(run.samples_s, 0.99) * 1e3 for name, run in runs.items()}
    ours = p50.pop("alder")
    row.compare("p50", "ms", ours, p50, [at_most("<= 2 x echo", ours, p50["gRPC echo"], 2)])
    row.compare("p99", "ms", p99.pop("alder"), p99)
    if set(map(str, runs["alder"].answers)) != {"[(1,)]"}:
        row.differ("alder", "SELECT 1", runs["alder"].answers[0], [(1,)])
    return row


def panels(world: World) -> Row:
    """A4: 200 statements by 16 clients, each of which asks again once it was answered."""
    row = Row("A4", f"{dashboards.STATEMENTS} statements of dashboards by {CLIENTS} clients")
    path = _statements(world)
    seconds = world.options.clients_s
    pid = world.alder.pid
    before = psutil.Process(pid).memory_info().rss / (1 << 30)
    with Peak(pid) as peak:
        outcome = clients.closed(world.alder.target, path, seconds, CLIENTS, seconds)
    _errors(row, outcome)
    p50, p99 = (statistics.percentile(outcome.answered_ms, share) for share in (0.5, 0.99))
    row.compare("answers per second", "1/s", outcome.rate)
    row.compare("p50", "ms", p50)
    row.compare("p99", "ms", p99, {"p50": p50}, [at_most("<= 5 x p50", p99, p50, 5)])
    used = peak.rss_bytes / (1 << 30)
    verdict = Verdict(f"<= {RSS_GIB_MAX} GiB", used / RSS_GIB_MAX, used <= RSS_GIB_MAX)
    row.compare("peak memory", "GiB", used, {"server before": before}, [verdict])
    return row


def overload(world: World) -> Row:
    """A5: answers per second when more is asked than can be answered."""
    row = Row("A5", "goodput beyond the sustainable rate, open loop")
    path = _statements(world)
    seconds = world.options.clients_s / 3
    target = world.alder.target
    peak = clients.closed(target, path, seconds, CLIENTS, seconds)
    _errors(row, peak)
    row.compare(f"most answers per second, {CLIENTS} clients", "1/s", peak.rate)
    for factor, share in ((1, None), (2, 0.9), (4, 0.8)):
        rate = peak.rate * factor
        outcome = clients.paced(target, path, seconds, rate, ANSWER_S_MAX)
        world.say(
            f"{rate:,.0f}/s: {outcome.rate:,.0f} answered, {len(outcome.refused_ms)} refused, "
            f"{len(outcome.dropped_ms)} dropped, {len(outcome.failed_ms)} failed"
        )
        reached = outcome.rate / peak.rate
        verdict = (
            Verdict("reported", reached, None)
            if share is None
            else Verdict(f">= {share:.0%} of the most", reached, reached >= share)
        )
        row.compare(f"answers within {ANSWER_S_MAX:g} s at {factor} x", "1/s", outcome.rate,
                    {"most": peak.rate}, [verdict])  # fmt: skip
        if turned_away := [*outcome.refused_ms, *outcome.dropped_ms]:
            slowest = statistics.percentile(turned_away, 0.99)
            quick = Verdict(
                f"< {REFUSED_MS_MAX:g} ms", slowest / REFUSED_MS_MAX, slowest < REFUSED_MS_MAX
            )
            row.compare(f"refused or dropped at {factor} x, p99", "ms", slowest, {}, [quick])
        others = {
            "refused": outcome.refused_ms,
            "dropped unheard": outcome.dropped_ms,
            "neither answered nor refused": outcome.failed_ms,
        }
        for what, calls in others.items():
            row.compare(f"{what} at {factor} x", "", len(calls))
    return row


def _statements(world: World) -> Path:
    made = dashboards.statements(COLLECTION, world.options.events)
    return clients.write(world.scratch / "dashboards.jsonl", made)


def _errors(row: Row, outcome: Outcome) -> None:
    failed = len(outcome.failed_ms) + len(outcome.refused_ms) + len(outcome.dropped_ms)
    if failed:
        row.errors.append(f"{failed} queries were not answered: {outcome.messages[:1]}")
