"""B3, B4 and B5: JSONBench's questions hot, while events arrive, and cold."""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from bench import statistics
from bench.alder import await_rows
from bench.cold import ask_restarted, forget
from bench.peers.base import Questions, Rows
from bench.peers.chdb import ChDb
from bench.questions import NAMES, same
from bench.report import Row, Verdict, at_most
from bench.world import COLLECTION, World
from bench.writer import Writer

RATE: Final = 2_000
SLOTS: Final = 3
OURS: Final = frozenset({"alder", "alder memo"})


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
    reference = next((name for name in systems if name not in OURS), None)
    if reference is None:
        row.notes.append("no other system takes part, so no answer was checked")
    taken_ms: dict[str, dict[str, float]] = {name: {} for name in systems}
    for question in NAMES:
        tasks = [question] * world.options.runs
        runs = statistics.interleaved(systems, tasks, world.options.budget_s, warm_up=True)
        expected = runs[reference or "alder"].answers[0]
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


def fresh(world: World) -> Row:
    """B4: the questions again and again while events arrive, partials remembered."""
    options = world.options
    row = Row("B4", f"the same, partials on, while {RATE:,} events/s arrive")
    chdb = world.peer("chdb")
    events = round(RATE * options.slot_s)
    parts = world.more_parts(SLOTS, events)
    alder_ms: dict[str, list[float]] = {question: [] for question in NAMES}
    chdb_ms: dict[str, list[float]] = {question: [] for question in NAMES}
    changed: set[str] = set()
    for part in parts:
        writer = Writer(world.alder.target, COLLECTION, part, RATE)
        writer.begin()
        answers = _ask_until(writer.over, world.alder.ask_memoised, alder_ms)
        changed |= {question for question, seen in answers.items() if len(seen) > 1}
        late_s = writer.late_s()
        if late_s > 1:
            row.notes.append(f"our writer was {late_s:.1f} s late")
        if isinstance(chdb, ChDb):
            with ThreadPoolExecutor(1) as pool:
                inserting = pool.submit(_insert_evenly, chdb, part.read_bytes().splitlines())
                _ask_until(inserting.done, chdb.ask, chdb_ms)
                inserting.result()
    await_rows(world.alder.plain, COLLECTION, options.events + SLOTS * events)
    for question in NAMES:
        if isinstance(chdb, ChDb):
            ours, theirs = world.alder.ask_memoised(question), chdb.ask(question)
            if not same(ours, theirs):
                row.differ("alder", f"{question} after all events", ours, theirs)
    if "Q1" not in changed:
        row.errors.append("the answer to Q1 did not change while events arrived")
    taken = {"alder": alder_ms, "chdb": chdb_ms} if chdb is not None else {"alder": alder_ms}
    medians = {
        name: {question: statistics.median(run) for question, run in runs.items()}
        for name, runs in taken.items()
    }
    _compare(row, medians, each=None, mean=0.1)
    row.notes.append(
        f"{SLOTS} turns of {options.slot_s:g} s each; ours gets a batch each 25 ms from a process "
        "of its own, chdb an insert each second from a thread, as its makers advise"
    )
    return row


def cold(world: World) -> Row:
    """B5: each question is the first one after a restart, with the data not in the page cache."""
    row = Row("B5", "JSONBench's five questions, first run after a restart, data not cached")
    names = list(world.peers("chdb", "duckdb typed"))
    alder = world.alder
    taken_ms: dict[str, dict[str, float]] = {name: {} for name in ("alder", *names)}
    for question in NAMES:
        samples: dict[str, list[float]] = {name: [] for name in taken_ms}
        expected = alder.ask(question)
        for _ in range(world.options.cold_runs):
            alder.restart()
            alder.plain.execute("SELECT 1").fetchall()
            forget(alder.files())
            seconds, rows = statistics.timed_s(lambda question=question: alder.ask(question))
            answers = {"alder": rows}
            samples["alder"].append(seconds * 1e3)
            for name in names:
                seconds, rows = world.reopened(
                    name,
                    lambda folder, name=name, question=question: ask_restarted(
                        name, folder, question
                    ),
                )
                samples[name].append(seconds * 1e3)
                answers[name] = rows
            for name, rows in answers.items():
                if not same(rows, expected):
                    row.differ(name, question, rows, expected)
        for name, values in samples.items():
            taken_ms[name][question] = statistics.median(values)
        world.say(
            f"{question}: {', '.join(f'{n} {t[question]:.0f} ms' for n, t in taken_ms.items())}"
        )
    _compare(row, taken_ms, each=None, mean=0.9)
    return row


def _ask_until(
    over: Callable[[], bool],
    ask: Callable[[str], Rows],
    taken_ms: Mapping[str, list[float]],
) -> dict[str, set[str]]:
    """Asks the questions in turns; the different answers to each."""
    answers: dict[str, set[str]] = {question: set() for question in NAMES}
    while not over():
        for question in NAMES:
            seconds, rows = statistics.timed_s(lambda question=question: ask(question))
            taken_ms[question].append(seconds * 1e3)
            answers[question].add(repr(rows))
    return answers


def _insert_evenly(chdb: ChDb, documents: Sequence[bytes]) -> None:
    """The rate's documents of a second in one insert, each second."""
    begun = time.perf_counter()
    for number, place in enumerate(range(0, len(documents), RATE)):
        time.sleep(max(begun + number - time.perf_counter(), 0))
        chdb.insert_events(documents[place : place + RATE])
    time.sleep(max(begun + len(documents) / RATE - time.perf_counter(), 0))
