"""T4: building a collection anew from its log, against the rate at which it was appended."""

import time
from typing import Final

from alder.cli.rebuild import building
from bench.report import Row, at_least
from bench.world import World

COLLECTION: Final = "rebuilt"


def rebuild(world: World) -> Row:
    """T4: from the command until what was built serves, all queries included."""
    events = world.options.events
    row = Row("T4", f"rebuild of {events:,} JSONBench events from the log, beside what serves")
    taken = world.alder.load_log(world.file, events, COLLECTION)
    live = events / taken.visible_s
    begun = time.perf_counter()
    for _ in building(world.alder.plain, COLLECTION, None):
        pass
    ours = events / (time.perf_counter() - begun)
    counted = world.alder.plain.execute(f"SELECT count(*) FROM {COLLECTION}").fetchall()
    world.alder.plain.drop_collection(COLLECTION)
    if counted != [(events,)]:
        raise RuntimeError(f"{counted} of {events} events are there after the rebuild")
    row.compare("built anew", "events/s", ours, verdicts=[at_least(">= 3 x live", ours, live, 3)])
    row.compare("live: appended to the log, visible", "events/s", live)
    return row
