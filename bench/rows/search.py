"""B6: documents by one to five ANDed terms, few of many."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import duckdb
import numpy as np
import orjson

from bench import echo, statistics
from bench.alder import MERGED_S, SEAL_ROWS_MIN, Alder, await_settled
from bench.generators.jsonbench import FIRST_EVENT_US, INTERVAL_US
from bench.peers.base import NO_LIMIT_S, Search, Terms, TimedSearch
from bench.report import Row, Verdict, at_most
from bench.statistics import Run
from bench.world import World

PEERS: Final = ("duckdb typed", "chdb", "tantivy", "postgresql", "opensearch")
SELECTIVITY_MAX: Final = 1e-4
LIMIT: Final = 100
PATHS: Final = ("did", "commit.collection", "commit.operation", "kind", "commit.record.$type")
_COLLECTION: Final = "search"
_FREQUENT: Final = {
    "app.bsky.feed.like",
    "app.bsky.graph.follow",
    "app.bsky.feed.post",
    "app.bsky.feed.repost",
}


@dataclass(frozen=True, slots=True)
class Case:
    """A condition and the times of all events that meet it, newest first."""

    terms: tuple[tuple[str, str], ...]
    times_us: tuple[int, ...]


def search(world: World) -> Row:
    """B6: everybody loads the events; then conditions, interleaved, in turns with a bare echo."""
    events = world.options.search_events
    row = Row("B6", f"1 to 5 ANDed terms that <= 0.01 % of {events:,} events meet")
    file = world.events(events)
    world.release_all()
    peers, loaded = _load_peers(world, row, file)
    alder = Alder(world.scratch / "search-alder")
    try:
        load = alder.load_file(file, events, _COLLECTION)
        world.say(f"alder: {events / load.visible_s:,.0f} events/s")
        await_settled(alder.plain, _COLLECTION, SEAL_ROWS_MIN, MERGED_S)
        raw = file.stat().st_size
        row.compare("bytes on disk per raw byte", "", alder.leaf_bytes(_COLLECTION) / raw)
        row.compare("peak memory of the load", "GB", load.rss_bytes_max / 1e9)
        for terms, cases in _cases(world, file).items():
            world.say(f"{len(cases)} conditions of {terms} terms")
            _measure(world, row, alder, peers, loaded, terms, cases)
    finally:
        alder.stop()
        for peer in peers.values():
            peer.close()
    row.notes.append("p50 over different conditions; counts and documents compared with the file")
    row.notes.append("duckdb, chdb and tantivy run in the client's process; ours behind gRPC")
    return row


def _load_peers(world: World, row: Row, file: Path) -> tuple[dict[str, Search], dict[str, int]]:
    peers: dict[str, Search] = {}
    loaded: dict[str, int] = {}
    for name in PEERS:
        peer = world.fresh_peer(name, world.scratch / f"search-{name.replace(' ', '-')}")
        if not isinstance(peer, Search):
            continue
        limit_s = world.options.peer_load_s if peer.indexes_every_field else NO_LIMIT_S
        taken_s, loaded[name] = statistics.timed_s(
            lambda peer=peer, limit_s=limit_s: peer.load(file, limit_s)
        )
        peers[name] = peer
        world.say(f"{name}: {loaded[name]:,} events, {loaded[name] / taken_s:,.0f} events/s")
        if loaded[name] < world.options.search_events:
            row.notes.append(
                f"{name} has only the first {loaded[name]:,} events: its load was ended after "
                f"{taken_s:.0f} s"
            )
    return peers, loaded


def _measure(
    world: World,
    row: Row,
    alder: Alder,
    peers: Mapping[str, Search],
    loaded: Mapping[str, int],
    terms: int,
    cases: Sequence[Case],
) -> None:
    budget_s = world.options.budget_s
    with echo.echo() as call:
        counts: dict[str, Callable[[Case], int | bytes]] = {
            "alder": lambda case: alder.count(_COLLECTION, case.terms),
            "gRPC echo": lambda _: call(echo.REQUEST),
        }
        counts |= {
            name: lambda case, peer=peer: peer.count(case.terms) for name, peer in peers.items()
        }
        runs = statistics.interleaved(counts, cases, budget_s, warm_up=True)
    _check(row, f"count of {terms} terms", runs, loaded, cases, lambda times: len(times))
    p50 = {name: run.p50_ms for name, run in runs.items()}
    ours = p50.pop("alder")
    verdicts = [at_most("<= 2.5 x echo", ours, p50["gRPC echo"], 2.5), *_verdicts(ours, p50)]
    row.compare(f"count, {terms} terms, p50", "ms", ours, p50, verdicts)
    newest: dict[str, Callable[[Case], list[int]]] = {
        "alder": lambda case: alder.newest(_COLLECTION, case.terms, LIMIT)
    }
    newest |= {
        name: lambda case, peer=peer: peer.newest(case.terms, LIMIT) for name, peer in peers.items()
    }
    runs = statistics.interleaved(newest, cases, budget_s, warm_up=True)
    _check(row, f"documents of {terms} terms", runs, loaded, cases, lambda times: times[:LIMIT])
    p50 = {name: run.p50_ms for name, run in runs.items()}
    ours = p50.pop("alder")
    row.compare(f"newest {LIMIT}, {terms} terms, p50", "ms", ours, p50, _verdicts(ours, p50))
    inside: dict[str, Callable[[Case], float]] = {
        "alder": lambda case: alder.server_ms(_COLLECTION, case.terms)
    }
    inside |= {
        name: lambda case, peer=peer: peer.server_ms(case.terms)
        for name, peer in peers.items()
        if isinstance(peer, TimedSearch)
    }
    runs = statistics.interleaved(inside, cases, budget_s, warm_up=True)
    p50 = {name: statistics.median(run.answers) for name, run in runs.items()}
    row.compare(f"count, {terms} terms, time in the server", "ms", p50.pop("alder"), p50)


def _verdicts(ours: float, p50: Mapping[str, float]) -> list[Verdict | None]:
    return [
        at_most("<= 0.05 x duckdb", ours, p50.get("duckdb typed"), 0.05),
        at_most("<= 0.05 x chdb", ours, p50.get("chdb"), 0.05),
        at_most("<= 0.5 x opensearch", ours, p50.get("opensearch"), 0.5),
    ]


def _check(
    row: Row,
    what: str,
    runs: Mapping[str, Run],
    loaded: Mapping[str, int],
    cases: Sequence[Case],
    answer: Callable[[list[int]], object],
) -> None:
    """Every answer against the file, of which a peer may have only the first events."""
    for name, run in runs.items():
        if name == "gRPC echo":
            continue
        bound_us = FIRST_EVENT_US + loaded.get(name, 1 << 40) * INTERVAL_US
        for case, got in zip(cases, run.answers, strict=False):
            expected = answer([time for time in case.times_us if time < bound_us])
            if got != expected:
                row.differ(name, f"{what} {case.terms}", got, expected)
                break


def _cases(world: World, file: Path) -> dict[int, list[Case]]:
    """Conditions by number of terms, drawn from the file and answered by a scan of it."""
    wanted = world.options.searches
    drawn = _sampled(file, 3 * wanted)
    people = list({event["did"] for event in drawn})
    marks = ", ".join("?" * len(people))
    fields = ", ".join(f"j ->> '$.{_quoted(path)}'" for path in PATHS)
    found = duckdb.execute(
        f"SELECT (j ->> '$.time_us')::BIGINT, {fields} FROM (SELECT json AS j FROM "
        f"read_json_objects('{file}', format='newline_delimited')) "
        f"WHERE (j ->> '$.did') IN ({marks}) OR (j ->> '$.commit.operation') = 'delete' "
        f"AND (j ->> '$.commit.collection') NOT IN {tuple(sorted(_FREQUENT))}",
        people,
    ).fetchall()
    found.sort(reverse=True)
    by_person: dict[str, list[tuple]] = {}
    for event in found:
        by_person.setdefault(event[1], []).append(event)
    limit = max(SELECTIVITY_MAX * world.options.search_events, 1)
    cases: dict[int, list[Case]] = {}
    for terms in range(1, len(PATHS) + 1):
        made = {_made(_terms_of(event, terms), by_person[event["did"]]) for event in drawn}
        if terms in (2, 3):
            made |= _rare(found, terms)
        fitting = [case for case in made if 0 < len(case.times_us) <= limit]
        step = max(len(fitting) // wanted, 1)
        cases[terms] = sorted(fitting, key=lambda case: case.terms)[::step][:wanted]
    return cases


def _rare(found: Sequence[tuple], terms: int) -> set[Case]:
    """Conditions of which no term alone is selective: deletions in each rare collection."""
    rest = (("commit.operation", "delete"), ("kind", "commit"))[: terms - 1]
    kinds = {event[2] for event in found if event[3] == "delete"} - _FREQUENT
    return {_made((("commit.collection", kind), *rest), found) for kind in kinds}


def _made(terms: Terms, found: Sequence[tuple]) -> Case:
    """The case of some terms; ``found`` holds every event that meets them, newest first."""
    places = [(1 + PATHS.index(path), value) for path, value in terms]
    times = [event[0] for event in found if all(event[at] == value for at, value in places)]
    return Case(tuple(terms), tuple(times))


def _terms_of(event: Mapping, count: int) -> tuple[tuple[str, str], ...]:
    """The first ``count`` terms of a creation."""
    commit = event["commit"]
    values = (event["did"], commit["collection"], "create", "commit", commit["collection"])
    return tuple(zip(PATHS, values, strict=True))[:count]


def _quoted(path: str) -> str:
    return ".".join(f'"{name}"' for name in path.split("."))


def _sampled(file: Path, wanted: int) -> list[dict]:
    """Creations at random places of the file."""
    rng = np.random.default_rng(11)
    size = file.stat().st_size
    drawn: list[dict] = []
    with file.open("rb") as lines:
        while len(drawn) < wanted:
            lines.seek(int(rng.integers(0, size - 10_000)))
            lines.readline()
            event = orjson.loads(lines.readline())
            if event.get("commit", {}).get("operation") == "create":
                drawn.append(event)
    return drawn
