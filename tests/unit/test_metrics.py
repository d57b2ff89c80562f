"""What Prometheus gets to hear."""

import asyncio
import urllib.request
from contextlib import AsyncExitStack

from jvm import free_port
from prometheus_client.parser import text_string_to_metric_families

from alder.cli.metrics import serve_metrics
from alder.errors import AlderError, Reason
from alder.v1 import tailer_pb2


class Tailer:
    async def describe(
        self, request: tailer_pb2.DescribeTailerRequest, timeout_s: float | None = None
    ) -> tailer_pb2.DescribeTailerResponse:
        ends = [
            tailer_pb2.EndSeen(end_offset=end, age_us=age)
            for end, age in ((5, 9_000_000), (10, 2_500_000), (17, 0))
        ]
        known = tailer_pb2.PartitionProgress(
            collection="c",
            source="kafka1",
            partition=3,
            next_offset=12,
            end_offset=17,
            records=8,
            held_bytes=40,
            quarantined=2,
            ends=ends,
            applied_log_time_us=1_500_000,
        )
        unknown = tailer_pb2.PartitionProgress(
            collection="c", source="file1", end_offset=-1, error="gone"
        )
        return tailer_pb2.DescribeTailerResponse(partitions=[known, unknown])


class Silent(Tailer):
    async def describe(
        self, request: tailer_pb2.DescribeTailerRequest, timeout_s: float | None = None
    ) -> tailer_pb2.DescribeTailerResponse:
        raise AlderError(Reason.UNAVAILABLE, "not now")


def test_partitions_are_told_and_what_is_not_known_is_left_out() -> None:
    def scraped(port: int) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            return str(answer.read().decode())

    async def scenario() -> str:
        async with AsyncExitStack() as stack:
            await serve_metrics(stack, "127.0.0.1", 0, [Silent()])
            await serve_metrics(stack, "127.0.0.1", port := free_port(), [Silent(), Tailer()])
            return await asyncio.to_thread(scraped, port)

    samples = {
        (sample.name, sample.labels.get("source")): sample.value
        for family in text_string_to_metric_families(asyncio.run(scenario()))
        for sample in family.samples
    }
    assert {key: value for key, value in samples.items() if key[0].startswith("alder")} == {
        ("alder_tailer_lag_records", "kafka1"): 5.0,
        ("alder_tailer_lag_seconds", "kafka1"): 2.5,
        ("alder_tailer_applied_timestamp_seconds", "kafka1"): 1.5,
        ("alder_tailer_stalled", "kafka1"): 0.0,
        ("alder_tailer_stalled", "file1"): 1.0,
        ("alder_tailer_held_bytes", "kafka1"): 40.0,
        ("alder_tailer_held_bytes", "file1"): 0.0,
        ("alder_tailer_records_total", "kafka1"): 8.0,
        ("alder_tailer_records_total", "file1"): 0.0,
        ("alder_tailer_quarantined_total", "kafka1"): 2.0,
        ("alder_tailer_quarantined_total", "file1"): 0.0,
    }
    assert samples["process_cpu_seconds_total", None] > 0
