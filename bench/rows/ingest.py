"""B1, B9 and B11: loading a file, what it costs on disk, and in memory."""

from bench import statistics
from bench.alder import MERGED_S, SEAL_ROWS_MIN, await_settled
from bench.memory import Peak
from bench.peers.kinds import KINDS
from bench.questions import NAMES
from bench.report import Row, Verdict, at_least, at_most
from bench.world import COLLECTION, World

_SLOW = ("duckdb typed", "duckdb JSON", "sqlite", "tantivy", "postgresql", "opensearch")


def load(world: World) -> Row:
    """B1: a file of events, until all is durable and queryable."""
    options = world.options
    row = Row("B1", f"ingest {options.events:,} JSONBench events from a file, to fully queryable")
    for _ in range(options.load_rounds):
        world.load_alder()
        if "chdb" not in world.missing:
            world.load_peer("chdb")
    world.peers(*_SLOW)
    log_rate = measured_log_rate(world)
    ours = options.events / statistics.median([load.visible_s for load in world.loads])
    peers = {
        name: options.events / statistics.median(taken) for name, taken in world.peer_load_s.items()
    }
    indexers = [rate for name, rate in peers.items() if KINDS[name].indexes_every_field]
    best = max(indexers, default=None)
    verdicts = [
        at_least(">= 2 x chdb", ours, peers.get("chdb"), 2),
        at_least(">= 5 x best that indexes every field", ours, best, 5),
    ]
    row.compare("visible", "events/s", ours, peers, verdicts)
    sealed = options.events / statistics.median([load.sealed_s for load in world.loads])
    row.compare("until nothing is left to seal or merge", "events/s", sealed)
    row.compare("appended to the log, visible", "events/s", log_rate)
    row.notes += [f"{name}: {KINDS[name].note}" for name in peers]
    order = f"ordered by {options.cluster_by}" if options.cluster_by else "in the file's order"
    row.notes.append(f"ours: a file source, so the file is the log; segments {order}")
    return row


def measured_log_rate(world: World) -> float:
    """Events per second from append to visible, as fast as they are taken; measured once."""
    if world.log_rate is None:
        events = world.options.events
        taken = world.alder.load_log(world.file, events, "through_log")
        world.alder.plain.drop_collection("through_log")
        world.log_rate = events / taken.visible_s
        world.say(f"alder: {world.log_rate:,.0f} events/s through the log")
    return world.log_rate


def size(world: World) -> Row:
    """B9: bytes on disk per byte of the file."""
    row = Row("B9", "bytes on disk per raw byte, documents returnable whole")
    raw_bytes = world.file.stat().st_size
    await_settled(world.alder.plain, COLLECTION, SEAL_ROWS_MIN, MERGED_S)
    ours = world.alder.leaf_bytes(COLLECTION) / raw_bytes
    peers = {name: peer.size_bytes() / raw_bytes for name, peer in world.peers().items()}
    indexers = [value for name, value in peers.items() if KINDS[name].indexes_every_field]
    verdicts = [
        Verdict("<= 0.4", ours, ours <= 0.4),
        at_most("< best that indexes every field", ours, min(indexers, default=None), 1),
    ]
    row.compare("leaf's directory", "", ours, peers, verdicts)
    row.notes.append(f"the file has {raw_bytes / world.options.events:.0f} bytes per event")
    return row


def memory(world: World) -> Row:
    """B11: peak memory of the whole server while it loads and while it answers."""
    row = Row("B11", "peak memory over B1 and B3: all processes of `alder serve`")
    alder = world.alder
    load_gb = max(load.rss_bytes_max for load in world.loads) / 1e9
    with Peak(alder.pid) as peak:
        for question in NAMES:
            for _ in range(world.options.runs):
                alder.ask(question)
                alder.ask_memoised(question)
    queries_gb = peak.rss_bytes / 1e9
    at_1m = world.options.events <= 1_000_000
    for what, value in (("load", load_gb), ("queries", queries_gb)):
        target = Verdict("<= 1.5 GB at 1M events", value / 1.5, value <= 1.5 if at_1m else None)
        row.compare(what, "GB", value, verdicts=[target])
    row.notes.append("resident pages that several processes share count for each of them")
    return row
