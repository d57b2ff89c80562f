"""What a row of the bench found, as a table and as JSON.

Every comparison is a ratio of two figures of one run. A row that failed, a peer that could not run
and an answer that differed are part of the report, never left out.
"""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

import psutil
from rich.console import Console
from rich.markup import escape
from rich.table import Table

_PACKAGES: Final = (
    "duckdb", "pyarrow", "grpcio", "rocksdict", "numpy", "chdb", "tantivy", "psycopg",
)  # fmt: skip

_WORDS: Final[Mapping[bool | None, str]] = {True: "met", False: "missed", None: "reported"}
_COLOURED: Final = {**_WORDS, True: "[green]met", False: "[red]missed"}
_UNCOMPARED: Final = "targets are missing whose peer did not take part"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A figure against its target; ``met`` is None where the target only asks for a report."""

    target: str
    value: float
    met: bool | None


@dataclass(frozen=True, slots=True)
class Line:
    """One measure: ours, each peer's, and what the targets say of it."""

    what: str
    unit: str
    ours: float | None
    peers: Mapping[str, float] = field(default_factory=dict)
    verdicts: Sequence[Verdict] = ()


@dataclass(slots=True)
class Row:
    """A row of the table: B1 and on of the leaf, A1 of the aggregator, T1 of the tailer."""

    name: str
    work: str
    lines: list[Line] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def compare(
        self,
        what: str,
        unit: str,
        ours: float | None,
        peers: Mapping[str, float] | None = None,
        verdicts: Sequence[Verdict | None] = (),
    ) -> None:
        """Adds a line; a verdict that could not be formed is an error, told once per row."""
        found = [verdict for verdict in verdicts if verdict is not None]
        if len(found) < len(verdicts) and _UNCOMPARED not in self.errors:
            self.errors.append(_UNCOMPARED)
        self.lines.append(Line(what, unit, ours, dict(peers or {}), found))

    def differ(self, name: str, what: str, got: object, expected: object) -> None:
        """Notes an answer that is not the expected one."""
        self.errors.append(f"{name} answers {what} with {got!s:.200}, not {expected!s:.200}")


def at_most(target: str, ours: float, theirs: float | None, limit: float) -> Verdict | None:
    """A verdict on ours / theirs, for figures of which less is better."""
    return None if theirs is None else Verdict(target, ours / theirs, ours / theirs <= limit)


def at_least(target: str, ours: float, theirs: float | None, limit: float) -> Verdict | None:
    """A verdict on ours / theirs, for figures of which more is better."""
    return None if theirs is None else Verdict(target, ours / theirs, ours / theirs >= limit)


def machine() -> dict[str, object]:
    """The machine, and the versions of what ran on it."""
    versions = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=Path(__file__).parent, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / (1 << 30)),
        "system": f"{platform.system()} {platform.release()}",
        "versions": versions,
        "alder": described.stdout.strip(),
        "load_average_before": os.getloadavg(),
    }


def save(folder: Path, row: Row, about: Mapping[str, object], seconds: float) -> None:
    """Writes the row's file, as ``b1.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    record = {
        **asdict(row),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds),
        "command": " ".join(["python -m bench.run", *sys.argv[1:]]),
        "machine": about,
    }
    path = folder / f"{row.name.lower()}.json"
    path.write_text(json.dumps(record, indent=2) + "\n")


def show(rows: Sequence[Row], missing: Mapping[str, str], console: Console) -> None:
    """Prints the table, then what is to be said about it."""
    table = Table("", "measure", "ours", "peers", "target", "ratio", "", show_lines=True)
    for row in rows:
        table.add_row(row.name, f"[bold]{escape(row.work)}", "", "", "", "", "")
        for line in row.lines:
            table.add_row("", *cells(line, _COLOURED))
    console.print(table)
    for name, why in missing.items():
        console.print(f"[bold yellow]{name} did not take part:[/] {escape(why)}")
    for row in rows:
        for error in row.errors:
            console.print(f"[bold red]{row.name}:[/] {escape(error)}")
        for note in row.notes:
            console.print(f"[dim]{row.name}: {escape(note)}")


def cells(line: Line, words: Mapping[bool | None, str] = _WORDS) -> list[str]:
    """A line as texts: measure, ours, peers, targets, ratios, verdicts; a line for each of them.

    ``words`` say whether a target is met.
    """
    ours = "" if line.ours is None else f"{_figure(line.ours)} {line.unit}".strip()
    peers = "\n".join(f"{name} {_figure(value)}" for name, value in line.peers.items())
    targets = "\n".join(verdict.target for verdict in line.verdicts)
    values = "\n".join(f"{verdict.value:.3g}" for verdict in line.verdicts)
    return [line.what, ours, peers, targets, values,
            "\n".join(words[verdict.met] for verdict in line.verdicts)]  # fmt: skip


def _figure(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
