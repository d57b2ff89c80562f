"""B3, B4 and B5: JSONBench's questions hot, while events arrive, and cold."""

from collections.abc import Callable, Mapping

from bench import statistics
from bench.peers.base import Questions, Rows
from bench.questions import NAMES, same
from bench.report import Row, Verdict, at_most
from bench.world import World


def hot(world: World) -> Row:
    """B3: everything in memory, every partial computed."""
    row = Row("B3", "JSONBench's five questions, hot, memoised partials off")
    systems: dict[str, Callable[[str], Rows]] = {
        "alder": world.alder.ask,
        "alder memo": world.alder.ask_memoised,
    }
    systems |= {
        name: peer.ask for name, peer in world.peers().items() if isinstance(peer, Questions)
    }
    taken_ms: dict[str, dict[str, float]] = {name: {} for name in systems}
    for question in NAMES:
        tasks = [question] * world.options.runs
        runs = statistics.interleaved(systems, tasks, world.options.budget_s, warm_up=True)
        expected = runs["duckdb typed"].answers[0]
        for name, run in runs.items():
            taken_ms[name][question] = run.p50_ms
            for answer in run.answers:
                if not same(answer, expected):
                    row.differ(name, question, answer, expected)
                    break
    _compare(row, taken_ms, each=1.0, mean=0.5)
    return row


def _compare(
    row: Row, taken_ms: Mapping[str, Mapping[str, float]], each: float | None, mean: float
) -> None:
    """Lines per question and for the geometric mean, against chdb."""
    for question in NAMES:
        ours = taken_ms["alder"][question]
        peers = {name: run[question] for name, run in taken_ms.items() if name != "alder"}
        target = []
        if each is not None:
            target = [at_most(f"<= {each:g} x chdb", ours, peers.get("chdb"), each)]
        row.compare(question, "ms", ours, peers, target)
    means = {name: statistics.geometric_mean(list(run.values())) for name, run in taken_ms.items()}
    ours = means.pop("alder")
    verdict: Verdict | None = at_most(f"<= {mean:g} x chdb", ours, means.get("chdb"), mean)
    row.compare("geometric mean", "ms", ours, means, [verdict])
