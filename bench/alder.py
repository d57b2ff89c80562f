"""Alder as the benchmarks use it: `alder serve` in a process of its own, asked through gRPC."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from alder.catalog import CollectionSettings
from alder.client import Connection, connect
from alder.fieldtypes import quote
from bench import questions
from bench.memory import Peak
from bench.peers.base import Rows, Terms, tree_bytes
from bench.server import Server

CATCH_UP_S_MAX: Final = 1800
SETTLE_STEP_S: Final = 0.5
SETTLED_S: Final = 2.5
MERGED_S: Final = 15.0
"""Longer than a leaf rests before it merges what else it would keep apart."""
VISIBLE_STEP_S: Final = 0.05
SEAL_ROWS: Final = 65_536
SEAL_ROWS_MIN: Final = 1024


@dataclass(frozen=True, slots=True)
class Load:
    """How long a load took until all of it was visible, and until nothing was left to seal."""

    visible_s: float
    sealed_s: float
    rss_bytes_max: int


class Alder:
    """One server with the collections that the rows load."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "alder"
        folder.mkdir(parents=True, exist_ok=True)
        self._server = Server(self.data)
        self.target = self._server.target
        self.pid = self._server.start()
        self.plain = self.connection(memoised=False)
        self.memoising = self.connection(memoised=True)

    def connection(self, *, memoised: bool) -> Connection:
        """A connection of its own."""
        made = connect(self.target, timeout_s=CATCH_UP_S_MAX)
        if not memoised:
            made.execute("SET memoise_partials = false")
        return made

    def restart(self) -> None:
        """Stops and starts the server; everything that it had in memory is gone."""
        self._server.stop()
        self.pid = self._server.start()

    def load_file(
        self, path: Path, rows: int, collection: str, cluster_by: tuple[str, ...] = ()
    ) -> Load:
        """Reads the file as a source, without a copy in the log; segments ordered by the paths."""
        settings = CollectionSettings(cluster_by_paths=cluster_by)
        with Peak(self.pid) as peak:
            begun = time.perf_counter()
            self.plain.create_collection(
                collection, source_urls=[f"file://{path}"], settings=settings
            )
            await_rows(self.plain, collection, rows)
            visible_s = time.perf_counter() - begun
            sealed_s = visible_s + await_settled(self.plain, collection, SEAL_ROWS)
        return Load(visible_s, sealed_s, peak.rss_bytes)

    def load_log(self, path: Path, rows: int, collection: str) -> Load:
        """Appends the file to the log, as `alder ingest` does."""
        with Peak(self.pid) as peak:
            begun = time.perf_counter()
            self.plain.create_collection(collection)
            with path.open("rb") as lines:
                token = self.plain.append(collection, lines, timeout_s=CATCH_UP_S_MAX)
            sql = f"SELECT count(*) FROM {quote(collection)}"
            counted = self.plain.execute(sql, min_positions=token).fetchall()
            if counted != [(rows,)]:
                raise RuntimeError(f"{counted} of {rows} events are visible")
            visible_s = time.perf_counter() - begun
            sealed_s = visible_s + await_settled(self.plain, collection, SEAL_ROWS)
        return Load(visible_s, sealed_s, peak.rss_bytes)

    def ask(self, question: str) -> Rows:
        """A question of JSONBench, every partial computed."""
        return questions.plain(self.plain.execute(questions.DUCKDB[question]).fetchall())

    def ask_memoised(self, question: str) -> Rows:
        """The same, with partials of sealed segments from memory."""
        return questions.plain(self.memoising.execute(questions.DUCKDB[question]).fetchall())

    def count(self, collection: str, terms: Terms) -> int:
        """How many documents match."""
        sql = f"SELECT count(*) FROM {collection} WHERE {condition(terms)}"
        return self.plain.execute(sql, [value for _, value in terms]).fetchall()[0][0]

    def newest(self, collection: str, terms: Terms, limit: int) -> list[int]:
        """``time_us`` of the newest matching documents, which are fetched whole."""
        sql = f"SELECT time_us, _doc FROM {collection} WHERE {condition(terms)}"
        sql += f" ORDER BY time_us DESC LIMIT {limit}"
        rows = self.plain.execute(sql, [value for _, value in terms]).fetchall()
        return [row[0] for row in rows]

    def server_ms(self, collection: str, terms: Terms) -> float:
        """What the trailer of a count says of planning, gathering and finishing."""
        sql = f"SELECT count(*) FROM {collection} WHERE {condition(terms)}"
        cursor = self.plain.execute(sql, [value for _, value in terms])
        cursor.fetchall()
        trailer = cursor.trailer
        if trailer is None:
            raise RuntimeError("a result without its trailer")
        return (trailer.plan_s + trailer.scatter_s + trailer.finish_s) * 1e3

    def leaf_bytes(self, collection: str) -> int:
        """Bytes on disk of a collection in the leaves; the log is not counted."""
        return sum(tree_bytes(shards) for shards in self.data.glob(f"leaf-*/*-{collection}"))

    def files(self) -> list[Path]:
        """Every file of the server."""
        return [path for path in self.data.rglob("*") if path.is_file()]

    def stop(self) -> None:
        """Ends it."""
        self.plain.close()
        self.memoising.close()
        self._server.stop()


def await_rows(connection: Connection, collection: str, rows: int) -> None:
    """Waits until a query counts so many rows."""
    deadline = time.monotonic() + CATCH_UP_S_MAX
    sql = f"SELECT count(*) FROM {quote(collection)}"
    while time.monotonic() < deadline:
        if connection.execute(sql).fetchall() == [(rows,)]:
            return
        time.sleep(VISIBLE_STEP_S)
    raise RuntimeError(f"{collection} does not reach {rows} rows")


def await_settled(
    connection: Connection, collection: str, tail_rows_max: int, settled_s: float = SETTLED_S
) -> float:
    """Waits until the live tail is below ``tail_rows_max`` and no change is seen any more.

    Returns the seconds until the last change that it saw.
    """
    begun = time.perf_counter()
    seen: list[object] = []
    changed_s = 0.0
    while time.perf_counter() - begun < CATCH_UP_S_MAX:
        shards = connection.status().shards(collection)
        state = [(shard.segments, shard.tail_rows, shard.disk_bytes) for shard in shards]
        if seen[-1:] != [state]:
            seen = []
            changed_s = time.perf_counter() - begun
        seen.append(state)
        stable = len(seen) > settled_s / SETTLE_STEP_S
        if stable and all(tail < tail_rows_max for _, tail, _ in state):
            return changed_s
        time.sleep(SETTLE_STEP_S)
    raise RuntimeError(f"{collection} does not come to rest: {seen[-1]}")


def condition(terms: Terms) -> str:
    """The terms as SQL with a parameter each."""
    return " AND ".join(f"{'.'.join(map(quote, path.split('.')))} = ?" for path, _ in terms)


def ids(collection: str, connection: Connection, rows: Sequence[int]) -> list[str]:
    """The ``_id`` of rows of a collection that one file fed: a row's number is its offset."""
    sql = f"SELECT _source, _partition FROM {quote(collection)} LIMIT 1"
    [(source, partition)] = connection.execute(sql).fetchall()
    return [f"{source}/{partition}/{row}" for row in rows]
