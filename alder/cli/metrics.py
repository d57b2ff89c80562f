"""What a process tells Prometheus: how far its tailers are, and what Python and the system count.

Figures are asked for when they are scraped, from the same description that ``alder status`` shows,
so nothing is counted twice and nothing is kept up to date that nobody reads.
"""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AsyncExitStack
from typing import Final

from prometheus_client import (
    GC_COLLECTOR,
    PLATFORM_COLLECTOR,
    PROCESS_COLLECTOR,
    CollectorRegistry,
    start_http_server,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from alder.errors import AlderError
from alder.interfaces import TailerClient
from alder.lag import US_PER_S
from alder.v1 import tailer_pb2

SCRAPE_S_MAX: Final = 5.0
_LABELS: Final = ("collection", "source", "partition")


async def serve_metrics(
    stack: AsyncExitStack, host: str, port: int, tailers: Sequence[TailerClient]
) -> None:
    """Serves HTTP on a port until the stack ends; nothing for port 0. Raises OSError."""
    if not port:
        return
    registry = CollectorRegistry()
    registry.register(TailerMetrics(tailers, asyncio.get_running_loop()))
    for collector in (PROCESS_COLLECTOR, PLATFORM_COLLECTOR, GC_COLLECTOR):
        registry.register(collector)
    server, thread = start_http_server(port, host, registry)

    def close() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    stack.push_async_callback(asyncio.to_thread, close)


class TailerMetrics(Collector):
    """The partitions of tailers in this process; collected on the thread that is scraped."""

    def __init__(self, tailers: Sequence[TailerClient], loop: asyncio.AbstractEventLoop) -> None:
        self._tailers = tailers
        self._loop = loop

    def collect(self) -> Iterator[Metric]:
        """One family per figure. A tailer that does not answer is left out of this scrape."""
        described = asyncio.run_coroutine_threadsafe(self._describe(), self._loop)
        yield from families(described.result(SCRAPE_S_MAX))

    async def _describe(self) -> list[tailer_pb2.PartitionProgress]:
        found: list[tailer_pb2.PartitionProgress] = []
        for tailer in self._tailers:
            try:
                answer = await tailer.describe(tailer_pb2.DescribeTailerRequest(), SCRAPE_S_MAX)
            except AlderError:
                continue
            found.extend(answer.partitions)
        return found


def families(partitions: Iterable[tailer_pb2.PartitionProgress]) -> list[Metric]:
    """The figures of partitions; one that is not known has no sample."""
    behind = GaugeMetricFamily(
        "alder_tailer_lag_records", "Records that not every shard has.", labels=_LABELS
    )
    lag = GaugeMetricFamily(
        "alder_tailer_lag_seconds",
        "Every shard has all records that were appended longer ago.",
        labels=_LABELS,
    )
    applied = GaugeMetricFamily(
        "alder_tailer_applied_timestamp_seconds",
        "Log time of the last record that every shard has.",
        labels=_LABELS,
    )
    stalled = GaugeMetricFamily(
        "alder_tailer_stalled", "1 where an error keeps the partition where it is.", labels=_LABELS
    )
    held = GaugeMetricFamily(
        "alder_tailer_held_bytes", "Rows that wait for a push or its answer.", labels=_LABELS
    )
    records = CounterMetricFamily(
        "alder_tailer_records", "Records read since the tailer took it over.", labels=_LABELS
    )
    quarantined = CounterMetricFamily(
        "alder_tailer_quarantined", "Those of them that went to quarantine.", labels=_LABELS
    )
    for one in partitions:
        labels = (one.collection, one.source, str(one.partition))
        if one.end_offset >= 0:
            behind.add_metric(labels, max(one.end_offset - one.next_offset, 0))
        ages_us = [end.age_us for end in one.ends if end.end_offset <= one.next_offset]
        if ages_us:
            lag.add_metric(labels, min(ages_us) / US_PER_S)
        if one.applied_log_time_us:
            applied.add_metric(labels, one.applied_log_time_us / US_PER_S)
        stalled.add_metric(labels, float(bool(one.error)))
        held.add_metric(labels, one.held_bytes)
        records.add_metric(labels, one.records)
        quarantined.add_metric(labels, one.quarantined)
    return [behind, lag, applied, stalled, held, records, quarantined]
