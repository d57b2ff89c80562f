"""A3: the 22 queries of TPC-H, hot, four shards: in one process, and on four leaf processes."""

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import duckdb

from alder.client import Connection, connect
from bench import statistics
from bench.alder import Alder
from bench.cluster import cluster
from bench.generators import tpch as generator
from bench.peers.base import Rows
from bench.queries.tpch import queries
from bench.report import Row, at_most
from bench.world import World

SHARDS: Final = 4
LEAVES: Final = 4
LOADED_S_MAX: Final = 600
SETTLED_S: Final = 4.0
SHARE_MAX: Final = 1.5
_DIGITS: Final = 9


@dataclass(slots=True)
class _Asked:
    """A connection, and the bytes that the leaves sent for each query, by its name."""

    connection: Connection
    sql: Mapping[str, str]
    sent_bytes: dict[str, int] = field(default_factory=dict)

    def ask(self, name: str) -> Rows:
        """The answer of a query."""
        cursor = self.connection.execute(self.sql[name])
        rows = cursor.fetchall()
        self.sent_bytes[name] = sum(read.size_bytes for read in cursor.trailer.references)
        return rows


def tpch(world: World) -> Row:
    """A3: loads the tables into both deployments and DuckDB, then asks in turns."""
    scale = world.options.tpch_scale
    sql = queries(scale)
    row = Row("A3", f"TPC-H, scale factor {scale:g}, 22 queries, {SHARDS} shards, hot")
    files = generator.write(world.files / f"tpch-{scale:g}", scale)
    world.release_all()
    with duckdb.connect() as engine:
        for table, file in files.items():
            engine.read_parquet(str(file)).create(table)

        def theirs(name: str) -> Rows:
            return engine.execute(sql[name]).fetchall()

        alder = Alder(world.scratch / "tpch-alder")
        try:
            asked = _Asked(alder.plain, sql)
            _load(world, asked.connection, files, engine)
            _measure(world, row, "standalone", asked, theirs, target=True)
        finally:
            alder.stop()
            shutil.rmtree(world.scratch / "tpch-alder", ignore_errors=True)
        with cluster(world.scratch / "tpch-cluster", LEAVES) as address:
            with connect(address, timeout_s=LOADED_S_MAX) as connection:
                connection.execute("SET memoise_partials = false")
                asked = _Asked(connection, sql)
                _load(world, connection, files, engine)
                _measure(world, row, f"{LEAVES} leaf processes", asked, theirs, target=False)
            for name, size_bytes in asked.sent_bytes.items():
                row.compare(f"{name}, from {LEAVES} leaf processes", "kB", size_bytes / 1e3)
    row.notes.append("duckdb: in process, over tables made of the same files; partials: none kept")
    return row


def _load(
    world: World,
    connection: Connection,
    files: Mapping[str, Path],
    engine: duckdb.DuckDBPyConnection,
) -> None:
    """Makes the collections and waits until all rows are there and nothing moves."""
    for table, file in files.items():
        connection.create_collection(table, shards=SHARDS, source_urls=[f"file://{file}"])
    deadline = time.monotonic() + LOADED_S_MAX
    for table in files:
        counted = engine.execute(f"SELECT count(*) FROM {table}").fetchall()
        while connection.execute(f"SELECT count(*) FROM {table}").fetchall() != counted:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{table} does not reach {counted} rows")
            time.sleep(0.1)
    seen: list[object] = []
    while len(seen) * 0.5 < SETTLED_S and time.monotonic() < deadline:
        shards = [shard for table in files for shard in connection.status().shards(table)]
        state = [(shard.segments, shard.tail_rows) for shard in shards]
        seen = [*seen, state] if seen[-1:] == [state] else [state]
        time.sleep(0.5)
    world.say(f"{len(files)} tables are loaded")


def _measure(
    world: World,
    row: Row,
    where: str,
    asked: _Asked,
    theirs: Callable[[str], Rows],
    target: bool,
) -> None:
    taken: dict[str, list[float]] = {"alder": [], "duckdb": []}
    for name in asked.sql:
        systems = {"alder": asked.ask, "duckdb": theirs}
        tasks = [name] * world.options.runs
        runs = statistics.interleaved(systems, tasks, world.options.budget_s, warm_up=True)
        expected = runs["duckdb"].answers[0]
        for answer in runs["alder"].answers:
            if _plain(answer) != _plain(expected):
                row.differ("alder", f"{name} ({where})", answer, expected)
                break
        for system, run in runs.items():
            taken[system].append(run.p50_ms)
        ours, other = runs["alder"].p50_ms, runs["duckdb"].p50_ms
        row.compare(f"{name}, {where}", "ms", ours, {"duckdb": other})
    ours, other = (statistics.geometric_mean(taken[name]) for name in ("alder", "duckdb"))
    verdicts = [at_most(f"<= {SHARE_MAX:g} x duckdb", ours, other, SHARE_MAX)] if target else []
    row.compare(f"geometric mean, {where}", "ms", ours, {"duckdb": other}, verdicts)


def _plain(rows: Rows) -> list[tuple[object, ...]]:
    """Rows to compare, in their order; floats, which depend on the order of addition, rounded."""
    return [tuple(f"{v:.{_DIGITS}g}" if isinstance(v, float) else v for v in one) for one in rows]
