"""The kept results as one page, `bench/results/README.md`.

The page holds nothing that the JSON files beside it don't hold, so it is never edited by hand; a
test compares the two.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.options import ROWS
from bench.report import Line, Row, Verdict, cells

NAME: Final = "README.md"
_HEAD: Final = """\
# Results of the bench

Written by `make bench`, as are the JSON files beside it, one per row of the table: figures, ratios
against the targets, machine, versions and command. All figures of a row come from one run; ours are
measured through gRPC, from a client in a process of its own. What explains the missed targets is in
[docs/performance.md](../../docs/performance.md).
"""
_COLUMNS: Final = ("measure", "ours", "beside", "target", "ratio", "")


@dataclass(frozen=True, slots=True)
class Saved:
    """A row as it was saved, and the run that it is of."""

    row: Row
    finished: str
    seconds: int
    command: str
    machine: Mapping[str, object]


def saved(folder: Path) -> list[Saved]:
    """The rows whose files are there, in the order of the table."""
    paths = [folder / f"{name.lower()}.json" for name in ROWS]
    return [_read(path) for path in paths if path.exists()]


def page(rows: Sequence[Saved]) -> str:
    """The page, in Markdown."""
    return "\n".join([_HEAD, *(_section(one) for one in rows)])


def write(folder: Path) -> None:
    """Writes the page of a folder's results into it."""
    (folder / NAME).write_text(page(saved(folder)))


def _read(path: Path) -> Saved:
    told = json.loads(path.read_text())
    lines = [
        Line(**{**line, "verdicts": [Verdict(**verdict) for verdict in line["verdicts"]]})
        for line in told["lines"]
    ]
    row = Row(told["name"], told["work"], lines, told["notes"], told["errors"])
    return Saved(row, told["finished"], told["seconds"], told["command"], told["machine"])


def _section(one: Saved) -> str:
    row, about = one.row, one.machine
    texts = [f"## {row.name}: {row.work}", "", _table_row(_COLUMNS), "|---" * len(_COLUMNS) + "|"]
    texts += [_table_row(cells(line)) for line in row.lines]
    texts.append("")
    texts += [f"- Error: {error}" for error in row.errors]
    texts += [f"- {note}" for note in row.notes]
    texts.append(
        f"- `{one.command}`, commit {about['alder']}, {one.seconds} s, ended {one.finished}; "
        f"{about['processor']}, {about['cores']} cores, {about['memory_gib']} GiB"
    )
    return "\n".join([*texts, ""])


def _table_row(texts: Sequence[str]) -> str:
    told = (text.replace("\n", "<br>").replace("|", "\\|") for text in texts)
    return f"| {' | '.join(told)} |"
