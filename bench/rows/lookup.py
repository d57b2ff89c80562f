"""B7: documents by their identity."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np
import orjson

from bench import echo, statistics
from bench.alder import ids
from bench.peers.base import Lookup
from bench.report import Row, Verdict, at_most
from bench.statistics import Run
from bench.world import COLLECTION, World

BATCH: Final = 1000
_BATCHES: Final = 20


def lookup(world: World) -> Row:
    """B7: one document at a time, then a thousand in one query."""
    row = Row("B7", "documents by _id")
    alder = world.alder
    everyone = world.peers("postgresql", "sqlite")
    peers = {name: peer for name, peer in everyone.items() if isinstance(peer, Lookup)}
    documents = world.file.read_bytes().splitlines()
    rng = np.random.default_rng(3)
    singles = rng.integers(0, len(documents), world.options.lookups).tolist()
    names = dict(zip(singles, ids(COLLECTION, alder.plain, singles), strict=True))
    sql = f"SELECT _doc FROM {COLLECTION} WHERE _id = ?"
    with echo.echo() as call:
        one: dict[str, Callable[[int], str | bytes]] = {
            "alder": lambda wanted: alder.plain.execute(sql, [names[wanted]]).fetchall()[0][0],
            "gRPC echo": lambda _: call(echo.REQUEST),
        }
        one |= {name: peer.one for name, peer in peers.items()}
        runs = statistics.interleaved(one, singles, world.options.budget_s, warm_up=True)
    _check(row, runs, [[documents[wanted]] for wanted in singles], lambda text: [text])
    p50 = {name: run.p50_ms for name, run in runs.items()}
    ours = p50.pop("alder")
    verdict = at_most("<= 2 x echo", ours, p50["gRPC echo"], 2)
    row.compare("one document, p50", "ms", ours, p50, [verdict])
    p99 = {name: statistics.percentile(run.samples_s, 0.99) * 1e3 for name, run in runs.items()}
    row.compare("one document, p99", "ms", p99.pop("alder"), p99)
    _batches(world, row, documents, peers)
    return row


def _batches(
    world: World, row: Row, documents: Sequence[bytes], peers: Mapping[str, Lookup]
) -> None:
    rng = np.random.default_rng(4)
    size = min(BATCH, len(documents))
    batches = [rng.choice(len(documents), size, replace=False).tolist() for _ in range(_BATCHES)]
    names = [ids(COLLECTION, world.alder.plain, batch) for batch in batches]
    sql = f"SELECT _doc FROM {COLLECTION} WHERE _id IN ({', '.join('?' * size)})"

    def ours_many(number: int) -> list[str]:
        rows = world.alder.plain.execute(sql, names[number]).fetchall()
        return [text for (text,) in rows]

    many: dict[str, Callable[[int], list[str]]] = {"alder": ours_many}
    many |= {
        name: lambda number, peer=peer: peer.many(batches[number]) for name, peer in peers.items()
    }
    runs = statistics.interleaved(many, range(_BATCHES), world.options.budget_s, warm_up=True)
    _check(row, runs, [[documents[wanted] for wanted in batch] for batch in batches], list)
    p50 = {name: run.p50_ms for name, run in runs.items()}
    ours = p50.pop("alder")
    theirs = p50.get("postgresql")
    speed = None if theirs is None else theirs / ours
    verdict = None if speed is None else Verdict("speed >= 1.2 x postgresql", speed, speed >= 1.2)
    row.compare(f"{size:,} documents in one query, p50", "ms", ours, p50, [verdict])


def _check(
    row: Row,
    runs: Mapping[str, Run],
    expected: Sequence[Sequence[bytes]],
    texts: Callable[[object], list[str]],
) -> None:
    """Every document that came back must be the file's, whole."""
    for name, run in runs.items():
        if name == "gRPC echo":
            continue
        for answer, wanted in zip(run.answers, expected, strict=False):
            got = sorted(map(_canonical, texts(answer)))
            if got != sorted(map(_canonical, wanted)):
                row.differ(name, "a lookup", got, wanted)
                break


def _canonical(document: str | bytes) -> bytes:
    return orjson.dumps(orjson.loads(document), option=orjson.OPT_SORT_KEYS)
