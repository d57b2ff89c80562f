"""The bench: a table of what Alder does beside its peers, in one run on one machine.

``python -m bench.run`` runs every row, ``--only B3,A1`` some, ``--short`` all with sizes that only
show that they work. A full run's figures are written to `bench/results/` row by row; a row that
fails is reported, and the others run.
"""

import os
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from rich.console import Console

from bench import options, page, report
from bench.report import Row
from bench.rows import (
    analytics,
    clients,
    decoding,
    freshness,
    groups,
    ingest,
    kafka,
    lookup,
    mixed,
    parquet,
    rebuild,
    search,
    ssb,
    tpch,
    upserts,
)
from bench.world import World

ORDER: Final[dict[str, Callable[[World], Row]]] = {
    "B1": ingest.load,
    "B3": analytics.hot,
    "B9": ingest.size,
    "B11": ingest.memory,
    "B5": analytics.cold,
    "B7": lookup.lookup,
    "A1": clients.overhead,
    "A2": groups.groups,
    "A3": tpch.tpch,
    "A4": clients.panels,
    "A5": clients.overload,
    "B4": analytics.fresh,
    "B10": mixed.mixed,
    "B2": freshness.freshness,
    "T2": decoding.decode,
    "T4": rebuild.rebuild,
    "B8": ssb.ssb,
    "B6": search.search,
    "T3": upserts.upserts,
    "T1": kafka.stream,
    "T5": parquet.files,
}
"""In the order in which they run: rows that change the collections come after those that don't."""


def main() -> None:
    """Runs the chosen rows and prints the table."""
    given = options.parse()
    console = Console(width=None if os.isatty(1) else 160)
    about = report.machine()
    with tempfile.TemporaryDirectory(prefix="alder-bench-") as name:
        scratch = Path(name)
        scratch.chmod(0o755)
        files = (given.scratch or scratch / "files").resolve()
        files.mkdir(parents=True, exist_ok=True)
        world = World(given.options, scratch, files, console, given.peers)
        try:
            rows = [run(world, row, about, given.results) for row in ORDER if row in given.rows]
        finally:
            world.release_all()
    if given.results is not None:
        page.write(given.results)
    rows.sort(key=lambda row: options.ROWS.index(row.name))
    console.print(about)
    report.show(rows, world.missing, console)


def run(world: World, name: str, about: Mapping[str, object], results: Path | None) -> Row:
    """Runs a row and writes what it found; its failure becomes part of the row."""
    world.say(f"[bold]{name} begins")
    begun = time.monotonic()
    with ThreadPoolExecutor(1) as alone:
        work = alone.submit(ORDER[name], world)
    if error := work.exception():
        world.console.print("".join(traceback.format_exception(error)), markup=False)
        row = Row(name, "failed", errors=[f"{type(error).__name__}: {error!s:.500}"])
    else:
        row = work.result()
    seconds = time.monotonic() - begun
    if results is not None:
        report.save(results, row, about, seconds)
    world.say(f"[bold]{name} ended after {seconds:.0f} s")
    return row


if __name__ == "__main__":
    main()
