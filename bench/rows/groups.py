"""A2: the first groups and distinct counts of many, over four shards on four leaf processes."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import duckdb
import numpy as np

from alder.client import Connection, connect
from bench import statistics
from bench.cluster import cluster
from bench.generators import files
from bench.generators.strings import decimals, hashed_words, joined
from bench.report import Row, Verdict
from bench.world import World

LEAVES: Final = 4
ROWS_PER_GROUP: Final = 4
SKEW: Final = 3
"""Group numbers are uniform numbers to this power: few groups have many rows."""
SETTLED_S: Final = 12.0
"""Longer than a leaf rests before it merges what else it would keep apart."""
LOADED_S_MAX: Final = 900
LEAF_SHARE_MAX: Final = 1.15
LEAF_MORE_MS_MAX: Final = 10.0
_COLLECTIONS: Final = {"sharded by the column": "by_user", "not sharded by it": "anyhow"}
_STATEMENTS: Final = {
    "top 10": "SELECT u, count(*) AS n FROM {table} GROUP BY u ORDER BY n DESC, u LIMIT 10",
    "distinct": "SELECT count(DISTINCT u) FROM {table}",
}


@dataclass(slots=True)
class _Samples:
    """Times of one statement, the slowest leaf's own in the same runs, and bytes that travelled."""

    whole_ms: list[float] = field(default_factory=list)
    leaf_ms: list[float] = field(default_factory=list)
    sent_bytes: list[int] = field(default_factory=list)


def groups(world: World) -> Row:
    """A2: both statements over both collections, partials kept and computed anew."""
    count = world.options.groups
    rows = count * ROWS_PER_GROUP
    row = Row("A2", f"top 10 and distinct of {count:,} groups, {rows:,} rows on {LEAVES} leaves")
    path = world.files / f"groups-{count}.jsonl"
    world.say(f"writing {rows:,} rows of {count:,} groups")
    files.write(path, rows, partial(_chunk, count))
    expected = _expected(path)
    with cluster(world.scratch / "groups", LEAVES) as target:
        kept, anew = (connect(target, timeout_s=LOADED_S_MAX) for _ in range(2))
        anew.execute("SET memoise_partials = false")
        for table in _COLLECTIONS.values():
            _load(world, anew, table, path, rows)
        for how, table in _COLLECTIONS.items():
            for what, sql in _STATEMENTS.items():
                for memory, connection in (("", kept), (", partials computed anew", anew)):
                    samples = _measured(world, row, connection, sql.format(table=table),
                                        expected[what])  # fmt: skip
                    _compare(row, f"{what}, {how}{memory}", samples)
        kept.close()
        anew.close()
    row.notes.append("slowest leaf: its own time in the same run, over all rounds of questions")
    return row


def _chunk(count: int, first: int, rows: int) -> bytes:
    rng = np.random.default_rng(first)
    numbers = (rng.random(rows) ** SKEW * count).astype(np.int64)
    # One row of each group, so that there are as many as the row says.
    own = np.arange(first, first + rows) // ROWS_PER_GROUP
    numbers = np.where(np.arange(first, first + rows) % ROWS_PER_GROUP == 0, own, numbers)
    users = hashed_words(numbers, 12, 7)
    values = decimals(rng.integers(0, 1000, rows))
    return files.lines(joined('{"u":"', users, '","n":', values, "}\n"))


def _expected(path: Path) -> Mapping[str, list[tuple[object, ...]]]:
    with duckdb.connect() as engine:
        engine.execute(f"CREATE TABLE t AS SELECT u FROM read_json('{path}')")
        return {
            what: engine.execute(sql.format(table="t")).fetchall()
            for what, sql in _STATEMENTS.items()
        }


def _load(world: World, connection: Connection, table: str, path: Path, rows: int) -> None:
    by = "u" if table == "by_user" else ""
    connection.create_collection(
        table, shard_by_path=by, shards=LEAVES, source_urls=[f"file://{path}"]
    )
    deadline = time.monotonic() + LOADED_S_MAX
    seen: list[object] = []
    while time.monotonic() < deadline:
        shards = connection.status().shards(table)
        state = [(shard.rows, shard.segments, shard.tail_rows) for shard in shards]
        seen = [*seen, state] if seen[-1:] == [state] else [state]
        whole = sum(shard.rows for shard in shards) == rows
        if whole and len(seen) * 0.5 > SETTLED_S:
            world.say(f"{table}: {rows:,} rows in {sum(s.segments for s in shards)} segments")
            return
        time.sleep(0.5)
    raise RuntimeError(f"{table} does not come to rest: {seen[-1:]}")


def _measured(
    world: World, row: Row, connection: Connection, sql: str, expected: list[tuple[object, ...]]
) -> _Samples:
    samples = _Samples()
    connection.execute(sql).fetchall()
    for _ in range(world.options.runs):
        begun = time.perf_counter()
        cursor = connection.execute(sql)
        answer = cursor.fetchall()
        samples.whole_ms.append((time.perf_counter() - begun) * 1e3)
        if answer != expected:
            row.differ("alder", sql, answer, expected)
        if cursor.trailer is not None:
            [read] = cursor.trailer.references
            samples.leaf_ms.append(read.slowest_leaf_s * 1e3)
            samples.sent_bytes.append(read.size_bytes)
    return samples


def _compare(row: Row, what: str, samples: _Samples) -> None:
    ours, leaf = statistics.median(samples.whole_ms), statistics.median(samples.leaf_ms)
    limit = LEAF_SHARE_MAX * leaf + LEAF_MORE_MS_MAX
    verdict = Verdict(
        f"<= {LEAF_SHARE_MAX} x slowest leaf + {LEAF_MORE_MS_MAX:g} ms", ours / limit, ours <= limit
    )
    row.compare(f"{what}, p50", "ms", ours, {"slowest leaf": leaf}, [verdict])
    row.compare(f"{what}, from leaves", "kB", statistics.median(samples.sent_bytes) / 1e3)
