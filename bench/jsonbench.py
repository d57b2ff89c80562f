"""JSONBench beside its peers, in one run: load, size, and five questions, hot.

Every system loads the same file of synthetic events; ours is measured through gRPC from this
process, from append to everything visible. Questions run interleaved and every answer must equal
DuckDB's. Writes `bench/results/jsonbench.json`; the figures that count are the ratios.
"""

import argparse
import json
import math
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import psutil
from rich.console import Console
from rich.table import Table

from alder.client import Connection, connect
from bench.events import events
from bench.peers import ALDER_QUESTIONS, Peer, Rows, available
from bench.server import server

RESULTS: Final = Path(__file__).parent / "results" / "jsonbench.json"
CATCH_UP_S_MAX: Final = 900
BATCH: Final = 10_000
Figures = dict[str, dict[str, float]]


def load_alder(connection: Connection, path: Path, count: int) -> float:
    """Appends the file and waits until all of it is visible; seconds."""
    connection.create_collection("bluesky")
    begun = time.perf_counter()
    with path.open("rb") as lines:
        token = connection.append("bluesky", lines, timeout_s=CATCH_UP_S_MAX)
    sql = "SELECT count(*) FROM bluesky"
    cursor = connection.execute(sql, min_positions=token, timeout_s=CATCH_UP_S_MAX)
    if cursor.fetchone() != (count,):
        raise SystemExit("not every event is visible")
    return time.perf_counter() - begun


def await_sealed(connection: Connection, path: Path) -> int:
    """Waits until sealing has come to rest; bytes of the shards on disk."""
    sizes = [-1, -2]
    while sizes[-1] != sizes[-2]:
        time.sleep(2)
        shards = connection.status().shards("bluesky")
        sizes.append(sum(shard.disk_bytes for shard in shards))
    return sum(entry.stat().st_size for entry in path.rglob("*") if entry.is_file())


def same(left: Rows, right: Rows) -> bool:
    """True if both hold the same rows, in any order."""
    return sorted(map(repr, map(tuple, left))) == sorted(map(repr, map(tuple, right)))


def ask_all(target: str, peers: Sequence[Peer], runs: int) -> Mapping[str, dict[str, float]]:
    """Median milliseconds by question and system, interleaved. Ends where an answer differs.

    ``alder`` computes every answer; ``alder (memo)`` may use partials of sealed segments.
    """
    truth = next(peer for peer in peers if peer.name == "duckdb (typed)")
    plain, memoising = connect(target), connect(target)
    plain.execute("SET memoise_partials = false")
    asked: dict[str, Callable[[str], Rows]] = {
        "alder": lambda question: plain.execute(ALDER_QUESTIONS[question]).fetchall(),
        "alder (memo)": lambda question: memoising.execute(ALDER_QUESTIONS[question]).fetchall(),
        **{peer.name: peer.ask for peer in peers if peer.name != "tantivy"},
    }
    figures: Figures = {}
    for question in ALDER_QUESTIONS:
        expected = truth.ask(question)
        taken: dict[str, list[float]] = {name: [] for name in asked}
        for run in range(runs + 1):
            for name, times in taken.items():
                begun = time.perf_counter()
                rows = asked[name](question)
                if run:
                    times.append((time.perf_counter() - begun) * 1e3)
                if not same(rows, expected):
                    raise SystemExit(f"{name} {question}: {rows!s:.300} is not {expected!s:.300}")
        figures[question] = {name: statistics.median(times) for name, times in taken.items()}
    plain.close()
    memoising.close()
    return figures


def geometric_mean(values: Sequence[float]) -> float:
    """The geometric mean."""
    return math.exp(statistics.fmean(math.log(value) for value in values))


def show(figures: Mapping[str, Mapping[str, float]], console: Console) -> None:
    """One row per figure, one column per system, and our ratio to chdb."""
    systems = list(dict.fromkeys(name for row in figures.values() for name in row))
    table = Table("figure", *systems, "alder / chdb")
    for name, row in figures.items():
        ratio = row["alder"] / row["chdb"] if "chdb" in row else math.nan
        cells = [f"{row[system]:,.2f}" if system in row else "" for system in systems]
        table.add_row(name, *cells, f"{ratio:.2f}")
    console.print(table)


def main() -> None:
    """Runs the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--runs", type=int, default=7)
    options = parser.parse_args()
    console = Console(width=140)
    with tempfile.TemporaryDirectory(prefix="alder-bench-") as scratch:
        folder = Path(scratch)
        path = folder / "events.jsonl"
        path.write_bytes(b"\n".join(events(options.events)) + b"\n")
        raw_bytes = path.stat().st_size
        peers, missing = available(folder)
        for name, why in missing.items():
            console.print(f"[yellow]{name} is missing: {why}[/]")
        rates: dict[str, float] = {}
        sizes: dict[str, float] = {}
        with server(folder / "data") as target, connect(target) as connection:
            taken_s = load_alder(connection, path, options.events)
            rates["alder"] = options.events / taken_s
            sizes["alder"] = await_sealed(connection, folder / "data" / "leaf-0") / raw_bytes
            for peer in peers:
                begun = time.perf_counter()
                peer.load(path)
                rates[peer.name] = options.events / (time.perf_counter() - begun)
                sizes[peer.name] = peer.size_bytes() / raw_bytes
                console.print(f"{peer.name} loaded {rates[peer.name]:,.0f} events/s")
            questions = ask_all(target, peers, options.runs)
        for peer in peers:
            peer.close()
    means = {
        name: geometric_mean([row[name] for row in questions.values()]) for name in questions["Q1"]
    }
    figures = {
        "load, events/s": rates,
        "bytes on disk per raw byte": sizes,
        **{f"{name}, ms": row for name, row in questions.items()},
        "geometric mean, ms": means,
    }
    show(figures, console)
    memory_gib = psutil.virtual_memory().total / (1 << 30)
    machine = f"{platform.machine()}, {os.cpu_count()} cores, {memory_gib:.0f} GiB"
    RESULTS.parent.mkdir(exist_ok=True)
    record = {"events": options.events, "machine": machine, "figures": figures}
    RESULTS.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
