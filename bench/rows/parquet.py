"""T5: rows of a Parquet file, against the rate at which the same rows are appended."""

import shutil

from bench import statistics
from bench.alder import Alder
from bench.generators import typed
from bench.report import Row, at_least
from bench.world import World


def files(world: World) -> Row:
    """T5: both until all rows are durable and can be asked for, in turns, each in a new server."""
    options = world.options
    rows = options.parquet_events
    row = Row("T5", f"{rows:,} rows from Parquet, to fully queryable")
    world.say(f"writing {rows:,} typed rows")
    path = typed.write(world.events(rows), world.files / f"jsonbench-{rows}.parquet")
    appended = min(options.events, rows)
    lines = typed.write_lines(
        path, world.files / f"jsonbench-{rows}-{appended}-typed.jsonl", appended
    )
    read, live, original = [], [], []
    for number in range(options.load_rounds):
        folder = world.scratch / f"parquet-{number}"
        alder = Alder(folder)
        try:
            live.append(appended / alder.load_log(lines, appended, "live").visible_s)
            alder.plain.drop_collection("live")
            original.append(
                appended / alder.load_log(world.events(appended), appended, "live").visible_s
            )
            alder.plain.drop_collection("live")
            read.append(rows / alder.load_file(path, rows, "typed").visible_s)
        finally:
            alder.stop()
        shutil.rmtree(folder)
        world.say(
            f"parquet {read[-1]:,.0f} rows/s, live {live[-1]:,.0f}, events {original[-1]:,.0f}"
        )
    ours, rate = statistics.median(read), statistics.median(live)
    row.compare(
        "Parquet, visible", "rows/s", ours, verdicts=[at_least(">= 3 x live", ours, rate, 3)]
    )
    row.compare("live: the same rows appended as JSON, visible", "rows/s", rate)
    row.compare("the events as they were, appended", "events/s", statistics.median(original))
    row.notes.append(
        f"typed as DuckDB finds, all fields in every row: "
        f"{lines.stat().st_size / appended:.0f} bytes as JSON; {appended:,} rows are appended"
    )
    return row
