"""The baseline: ingest rate, time to visibility and query latency of one server on this machine.

DuckDB does the same work beside it on the same documents, interleaved, so that the figures of two
machines, or of two days, can be compared as ratios. Everything of Alder's goes through gRPC from
this process. Writes `bench/results/spine.json`.
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Final

import duckdb
from rich.console import Console
from rich.table import Table

from alder.client import Connection, connect
from bench.events import events
from bench.server import server

RESULTS: Final = Path(__file__).parent / "results" / "spine.json"
CATCH_UP_S_MAX: Final = 600
QUERIES: Final = {
    "count": "SELECT count(*) AS n FROM bluesky",
    "by collection": """
        SELECT commit.collection AS event, count(*) AS n FROM bluesky
        GROUP BY event ORDER BY n DESC, event""",
    "people by collection": """
        SELECT commit.collection AS event, count(*) AS n, count(DISTINCT did) AS users FROM bluesky
        WHERE kind = 'commit' AND commit.operation = 'create' GROUP BY event ORDER BY n DESC""",
    "first posts": """
        SELECT did, min(time_us) AS first FROM bluesky
        WHERE kind = 'commit' AND commit.operation = 'create'
          AND commit.collection = 'app.bsky.feed.post'
        GROUP BY did ORDER BY first LIMIT 3""",
    "one person": "SELECT count(*) AS n FROM bluesky WHERE did = '{did}'",
}


def timed_ms(run: Callable[..., object], *arguments: object) -> float:
    """Wall time of one call, in milliseconds."""
    begun = time.perf_counter()
    run(*arguments)
    return (time.perf_counter() - begun) * 1e3


def ingest(connection: Connection, documents: list[bytes]) -> dict[str, float]:
    """Appends everything and waits until it is visible; rates in events per second."""
    connection.create_collection("bluesky")
    begun = time.perf_counter()
    token = connection.append("bluesky", documents, timeout_s=CATCH_UP_S_MAX)
    appended_s = time.perf_counter() - begun
    sql = "SELECT count(*) FROM bluesky"
    cursor = connection.execute(sql, min_positions=token, timeout_s=CATCH_UP_S_MAX)
    if cursor.fetchone() != (len(documents),):
        raise SystemExit("not every event is visible")
    searchable_s = time.perf_counter() - begun
    return {
        "appended_per_s": round(len(documents) / appended_s),
        "searchable_per_s": round(len(documents) / searchable_s),
    }


def load_peer(documents: list[bytes], folder: Path) -> tuple[duckdb.DuckDBPyConnection, float]:
    """The same documents in DuckDB, read from a file into a typed table; events per second."""
    path = folder / "events.jsonl"
    path.write_bytes(b"\n".join(documents))
    peer = duckdb.connect(str(folder / "peer.duckdb"))
    begun = time.perf_counter()
    peer.execute(
        f"CREATE TABLE bluesky AS SELECT * FROM read_json('{path}', format='newline_delimited')"
    )
    peer.execute("CHECKPOINT")
    return peer, round(len(documents) / (time.perf_counter() - begun))


def visibility_ms(connection: Connection, samples: int) -> dict[str, float]:
    """From the call of an append of one event until a query has seen it."""
    document = next(events(1, seed=99))

    def once() -> None:
        token = connection.append("bluesky", [document])
        connection.execute("SELECT 1 FROM bluesky LIMIT 1", min_positions=token).fetchall()

    taken = sorted(timed_ms(once) for _ in range(samples))
    return {"p50_ms": taken[len(taken) // 2], "p99_ms": taken[int(len(taken) * 0.99)]}


def compare_queries(
    connection: Connection, peer: duckdb.DuckDBPyConnection, did: str, runs: int
) -> dict[str, dict[str, float]]:
    """Median latency of each query on both, interleaved; the answers must be equal."""
    figures = {}
    for name, template in QUERIES.items():
        sql = template.replace("{did}", did)
        ours, theirs = connection.execute(sql).fetchall(), peer.execute(sql).fetchall()
        if ours != theirs:
            raise SystemExit(f"{name}: {ours!s:.200} is not DuckDB's {theirs!s:.200}")
        taken: tuple[list[float], list[float]] = ([], [])
        for _ in range(runs):
            taken[0].append(timed_ms(lambda text: connection.execute(text).fetchall(), sql))
            taken[1].append(timed_ms(lambda text: peer.execute(text).fetchall(), sql))
        alder_ms, duckdb_ms = (statistics.median(times) for times in taken)
        ratio = alder_ms / duckdb_ms
        figures[name] = {"alder_ms": alder_ms, "duckdb_ms": duckdb_ms, "ratio": ratio}
    return figures


def main() -> None:
    """Runs the benchmark and prints its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--runs", type=int, default=15)
    options = parser.parse_args()
    documents = list(events(options.events))
    with tempfile.TemporaryDirectory(prefix="alder-bench-") as scratch:
        folder = Path(scratch)
        with server(folder / "data") as target, connect(target) as connection:
            figures: dict[str, object] = {"ingest": ingest(connection, documents)}
            peer, peer_per_s = load_peer(documents, folder)
            did = json.loads(documents[0])["did"]
            figures["duckdb_load_per_s"] = peer_per_s
            figures["queries"] = compare_queries(connection, peer, did, options.runs)
            figures["append_to_visible"] = visibility_ms(connection, 100)
    figures |= {
        "events": options.events,
        "bytes_per_event": round(sum(map(len, documents)) / len(documents)),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("duckdb", "pyarrow", "grpcio", "rocksdict")},
        },
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(figures, indent=2) + "\n")
    show(figures)


def show(figures: dict[str, object]) -> None:
    """Prints the figures as a table."""
    table = Table("figure", "value", title="The spine", title_justify="left")
    flat = json.loads(json.dumps(figures), parse_float=lambda text: round(float(text), 2))
    for name, value in flat.items():
        for inner, figure in value.items() if isinstance(value, dict) else [("", value)]:
            table.add_row(f"{name} {inner}".strip(), str(figure))
    Console().print(table)


if __name__ == "__main__":
    main()
