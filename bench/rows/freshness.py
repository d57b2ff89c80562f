"""B2: how soon a query sees what was appended, at an even pace, and how fast the pace may be."""

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from bench import statistics
from bench.alder import Alder
from bench.generators import rockbench
from bench.pace import TICK_S, paced
from bench.peers.base import Stream
from bench.peers.kinds import KINDS
from bench.report import Row, Verdict, at_most
from bench.world import World

RATE: Final = 2_000
P99_S_MAX: Final = 1.0
RATE_MAX: Final = 256_000
WARM_S: Final = 2.0
_BODIES: Final = 20_000
_BISECTIONS: Final = 2
_COLLECTION: Final = "rockbench"


@dataclass(slots=True)
class Target:
    """A system that takes batches, and how many documents of them it should have."""

    append: Callable[[Sequence[bytes]], None]
    appended: Callable[[], int]
    sent: int = 0


def freshness(world: World) -> Row:
    """B2: p50 and p99 at 2,000 documents a second, ours and each peer's; then the highest rates."""
    options = world.options
    row = Row("B2", f"append to visible, RockBench documents, {RATE:,}/s evenly paced")
    world.release_all()
    bodies = rockbench.bodies(_BODIES)
    latencies: dict[str, list[float]] = {}
    rates: dict[str, float] = {}
    alder = Alder(world.scratch / "stream-alder")
    try:
        alder.plain.create_collection(_COLLECTION)
        ours = Target(lambda documents: _append(alder, documents), lambda: _appended(alder))
        latencies["alder"] = _run(ours, bodies, RATE, options.stream_s)
        world.say(f"alder: {_said(latencies['alder'])}")
        rates["alder"] = _highest(world, "alder", ours, bodies)
        _check(row, "alder", ours)
    finally:
        alder.stop()
    for name in KINDS:
        with_peer = _peer(world, row, name, bodies, latencies)
        if with_peer is not None:
            rates[name] = with_peer
    _compare(row, latencies, rates)
    return row


def _peer(
    world: World,
    row: Row,
    name: str,
    bodies: Sequence[bytes],
    latencies: dict[str, list[float]],
) -> float | None:
    """A peer's latencies; its highest rate too, if it indexes every field."""
    folder = world.scratch / f"stream-{name.replace(' ', '-')}"
    peer = world.fresh_peer(name, folder)
    if not isinstance(peer, Stream):
        if peer is not None:
            peer.close()
        return None
    target = Target(peer.append, peer.appended)
    rate = None
    try:
        latencies[name] = _run(target, bodies, RATE, world.options.peer_stream_s)
        world.say(f"{name}: {_said(latencies[name])}")
        if peer.indexes_every_field:
            rate = _highest(world, name, target, bodies)
        _check(row, name, target)
    finally:
        peer.close()
        shutil.rmtree(folder, ignore_errors=True)
    return rate


def _append(alder: Alder, documents: Sequence[bytes]) -> None:
    """An append, and a query that waits for its token."""
    token = alder.memoising.append(_COLLECTION, documents)
    sql = f"SELECT 1 FROM {_COLLECTION} LIMIT 1"
    alder.memoising.execute(sql, min_positions=token).fetchall()


def _appended(alder: Alder) -> int:
    return alder.plain.execute(f"SELECT count(*) FROM {_COLLECTION}").fetchall()[0][0]


def _run(target: Target, bodies: Sequence[bytes], rate: float, seconds: float) -> list[float]:
    """Latencies in seconds at a rate, after a little of it that does not count."""

    def made(first: int, count: int) -> Sequence[bytes]:
        return rockbench.stamped(bodies, begun + first, count, time.time_ns() // 1000)

    for duration in (min(WARM_S, seconds / 4), seconds):
        begun = target.sent
        latencies, sent = paced(target.append, made, rate, duration)
        target.sent += sent
    return latencies


def _highest(world: World, name: str, target: Target, bodies: Sequence[bytes]) -> float:
    """The highest rate with a p99 below a second: doubled until it is not, then bisected.

    Where it is not at the first rate, 0 stands for a rate below.
    """
    good, bad, rate = 0.0, None, float(RATE)
    bisections = 0
    while rate <= RATE_MAX and bisections <= _BISECTIONS:
        latencies = _run(target, bodies, rate, world.options.step_s)
        p99_s = statistics.percentile(latencies, 0.99)
        world.say(f"{name}: {rate:,.0f}/s, {_said(latencies)}")
        if p99_s < P99_S_MAX:
            good = rate
        else:
            bad = rate
            if not good:
                break
        rate = rate * 2 if bad is None else (good + bad) / 2
        bisections += bad is not None
    return good


def _check(row: Row, name: str, target: Target) -> None:
    found = target.appended()
    if found != target.sent:
        row.differ(name, "the count of documents sent", found, target.sent)


def _compare(row: Row, latencies: dict[str, list[float]], rates: dict[str, float]) -> None:
    indexers = {name for name, kind in KINDS.items() if kind.indexes_every_field}
    for share, limit_ms in ((0.5, 30.0), (0.99, 100.0)):
        taken = {name: statistics.percentile(run, share) * 1e3 for name, run in latencies.items()}
        ours = taken.pop("alder")
        best = min(taken.values(), default=None)
        best_indexer = min((taken[name] for name in indexers & taken.keys()), default=None)
        verdicts = [
            Verdict(f"<= {limit_ms:g} ms", ours / limit_ms, ours <= limit_ms),
            at_most("<= 0.5 x best peer", ours, best, 0.5),
            at_most("<= 0.5 x best that indexes every field", ours, best_indexer, 0.5),
        ]
        row.compare(f"p{share * 100:g}", "ms", ours, taken, verdicts)
    ours = rates.pop("alder")
    best_rate = max(rates.values(), default=0.0)
    reported = [Verdict("reported", ours / best_rate, None)] if best_rate else []
    row.compare("highest rate with p99 < 1 s", "documents/s", ours, rates, reported)
    row.notes += [
        f"a batch each {TICK_S * 1e3:g} ms; latency from when it was due until it is visible",
        "ours: append, then a query with the append's token as min_positions; peers: their write "
        "returns when a query sees it (opensearch with refresh=true)",
    ]


def _said(latencies: Sequence[float]) -> str:
    p50, p99 = (statistics.percentile(latencies, share) * 1e3 for share in (0.5, 0.99))
    return f"p50 {p50:.1f} ms, p99 {p99:.1f} ms"
