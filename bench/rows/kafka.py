"""T1: events of a Kafka topic, until all are durable, indexed and can be asked for."""

import time
from pathlib import Path
from typing import Final

from alder.client import Connection, connect
from bench import statistics
from bench.alder import CATCH_UP_S_MAX, SEAL_ROWS, Alder, await_rows, await_settled
from bench.broker import broker, topic
from bench.cluster import cluster
from bench.report import Row, at_least
from bench.world import World

PARTITIONS: Final = 2
_PUBLISHED: Final = (
    "published by others, on other machines: GlassFlow's pipeline from Kafka into ClickHouse takes "
    "51,000 events/s of 1.5 KB with 11.6 cores (docs.glassflow.dev/architecture/performance); "
    "a Pinot server with text indexes takes less than 2 MB/s per partition, on one thread each "
    "(github.com/apache/pinot/issues/13319)"
)


def stream(world: World) -> Row:
    """T1: in turns with the same events from a file, as in B1."""
    options = world.options
    row = Row("T1", f"{options.events:,} JSONBench events from Kafka, to fully queryable")
    rates: dict[str, list[float]] = {}
    with (
        broker(world.scratch / "kafka") as bootstrap,
        topic(bootstrap, world.file, PARTITIONS) as url,
    ):
        for number in range(options.load_rounds):
            found = _round(world, world.scratch / f"stream-{number}", url)
            for name, rate in found.items():
                rates.setdefault(name, []).append(rate)
            world.say(", ".join(f"{name} {rate:,.0f}" for name, rate in found.items()))
    median = {name: statistics.median(found) for name, found in rates.items()}
    verdict = at_least(">= 0.6 x B1's file", median["kafka"], median["file"], 0.6)
    row.compare("visible", "events/s", median["kafka"], verdicts=[verdict])
    row.compare("until nothing is left to seal or merge", "events/s", median["kafka, settled"])
    row.compare("a file, `alder serve` as in B1", "events/s", median["file"])
    row.compare("a file, the same processes as for Kafka", "events/s", median["file, processes"])
    row.notes.append(
        f"one process each for controller, tailer, leaf and aggregator; {PARTITIONS} partitions, "
        "compressed with lz4; broker and client on the same cores"
    )
    row.notes.append(_PUBLISHED)
    return row


def _round(world: World, folder: Path, url: str) -> dict[str, float]:
    """Events per second of each way, one after the other."""
    events = world.options.events
    rates: dict[str, float] = {}
    alder = Alder(folder / "served")
    try:
        rates["file"] = events / alder.load_file(world.file, events, "events").visible_s
    finally:
        alder.stop()
    with (
        cluster(folder / "processes", 1) as target,
        connect(target, timeout_s=CATCH_UP_S_MAX) as connection,
    ):
        visible_s = _visible_s(connection, "stream", url, events)
        settled_s = visible_s + await_settled(connection, "stream", SEAL_ROWS)
        rates["kafka"], rates["kafka, settled"] = events / visible_s, events / settled_s
        connection.drop_collection("stream")
        rates["file, processes"] = events / _visible_s(
            connection, "file", f"file://{world.file}", events
        )
    return rates


def _visible_s(connection: Connection, collection: str, url: str, events: int) -> float:
    begun = time.perf_counter()
    connection.create_collection(collection, source_urls=[url])
    await_rows(connection, collection, events)
    return time.perf_counter() - begun
