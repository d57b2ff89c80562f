"""T3: a stream of which every other document replaces one that is there."""

import time
from collections.abc import Sequence
from typing import Final

import numpy as np

from alder.client import Connection
from bench import statistics
from bench.alder import Alder
from bench.peers.postgres import Postgres
from bench.report import Row, at_least
from bench.world import World

COLLECTION: Final = "upserts"
BATCH: Final = 10_000
ROUNDS: Final = 5
"""Stretches of the stream, which ours and the peer take in turns."""
UPSERT_S_MAX: Final = 900
Batch = tuple[list[int], list[bytes]]
"""Keys and documents; no key is twice in a batch, which PostgreSQL refuses."""


def upserts(world: World) -> Row:
    """T3: documents per second, until they are durable and can be asked for."""
    count = world.options.upsert_keys
    row = Row("T3", f"upserts into {count:,} keys, every other one of a key that is there")
    with world.file.open("rb") as file:
        lines = [line for line, _ in zip(file, range(BATCH), strict=False)]
    stream = _stream(count, lines)
    first, rounds = (
        stream[: -(-count // BATCH)],
        np.array_split(np.arange(-(-count // BATCH), len(stream)), ROUNDS),
    )
    alder = Alder(world.scratch / "upserts")
    folder = world.scratch / "upserts-postgresql"
    peer = world.fresh_peer("postgresql", folder)
    try:
        alder.plain.create_collection(COLLECTION, key_path="id")
        ours = [_append(alder.plain, first)]
        theirs = [_upsert(peer, first)] if isinstance(peer, Postgres) else []
        for places in rounds:
            part = [stream[place] for place in places.tolist()]
            ours.append(_append(alder.plain, part))
            if isinstance(peer, Postgres):
                theirs.append(_upsert(peer, part))
            rates = ", ".join(f"{rate:,.0f}" for rate in (ours[-1], *theirs[-1:]))
            world.say(f"upserts/s: {rates}")
        sql = f"SELECT count(*), sum(id), sum(n) FROM {COLLECTION}"
        last = {key: n for n, (keys, _) in enumerate(stream) for key in keys}
        expected = (len(last), sum(last), sum(last.values()))
        _check(row, "alder", alder.plain.execute(sql).fetchall()[0], expected)
        if isinstance(peer, Postgres):
            _check(row, "postgresql", peer.upserted(), expected)
    finally:
        alder.stop()
        if peer is not None:
            peer.close()
    _compare(row, ours, theirs)
    return row


def _check(row: Row, name: str, got: Sequence[int], expected: tuple[int, ...]) -> None:
    if tuple(map(int, got)) != expected:
        row.differ(name, "count, keys and n", got, expected)


def _compare(row: Row, ours: Sequence[float], theirs: Sequence[float]) -> None:
    first = {"postgresql": theirs[0]} if theirs else {}
    row.compare("new keys", "documents/s", ours[0], first)
    rate = statistics.median(ours[1:])
    peers = {"postgresql": statistics.median(theirs[1:])} if theirs else {}
    verdict = at_least(">= 1.2 x postgresql", rate, peers.get("postgresql"), 1.2)
    row.compare("half new, half there", "documents/s", rate, peers, [verdict])
    row.notes.append(f"postgresql: INSERT .. ON CONFLICT of {BATCH:,} rows at a time, jsonb")
    row.notes.append("ours: appended to the log, until all can be asked for, every field indexed")


def _stream(count: int, lines: Sequence[bytes]) -> list[Batch]:
    """``count`` keys in order, then as many documents again: half new keys, half of the first."""
    chance = np.random.default_rng(1)
    batches = [range(begin, min(begin + BATCH, count)) for begin in range(0, count, BATCH)]
    keys = [np.asarray(batch) for batch in batches]
    fresh = count
    for batch in batches:
        half = len(batch) // 2
        there = chance.choice(count, len(batch) - half, replace=False)
        mixed = np.concatenate([there, np.arange(fresh, fresh + half)])
        fresh += half
        keys.append(chance.permutation(mixed))
    return [(ids.tolist(), _documents(ids.tolist(), n, lines)) for n, ids in enumerate(keys)]


def _documents(ids: Sequence[int], number: int, lines: Sequence[bytes]) -> list[bytes]:
    heads = (b'{"id":%d,"n":%d,' % (key, number) for key in ids)
    return [head + line.strip()[1:] for head, line in zip(heads, lines, strict=False)]


def _append(connection: Connection, batches: Sequence[Batch]) -> float:
    """Documents per second from the first byte to the answer of a query that has all of them."""
    begun = time.perf_counter()
    documents = (document for _, batch in batches for document in batch)
    token = connection.append(COLLECTION, documents, timeout_s=UPSERT_S_MAX)
    connection.execute(f"SELECT count(*) FROM {COLLECTION}", min_positions=token).fetchall()
    return sum(len(keys) for keys, _ in batches) / (time.perf_counter() - begun)


def _upsert(peer: Postgres, batches: Sequence[Batch]) -> float:
    begun = time.perf_counter()
    for keys, documents in batches:
        peer.upsert(keys, documents)
    return sum(len(keys) for keys, _ in batches) / (time.perf_counter() - begun)
