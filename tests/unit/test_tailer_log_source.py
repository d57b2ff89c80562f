"""The log as a source: the columns of an answer become a batch, cut records go to quarantine."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import cast

from log_records import Record, answered

from alder.catalog import LOG_SOURCE, Source, SourcePartition
from alder.interfaces import LogClient
from alder.v1 import log_pb2
from tailer.core import RANGES_MAX
from tailer.settings import LOG_READ_BYTES_MIN, TailerSettings
from tailer.sources.choose import open_partition
from tailer.sources.kafka.clients import KafkaClients
from tailer.sources.log import to_batch
from tailer.sources.model import RawBatch, ReadLimits


def batch_of(*records: Record, offset: int = 7, rows_max: int = 100) -> RawBatch:
    response = log_pb2.ReadResponse(offset=offset, records=answered(records), end_offset=99)
    limits = ReadLimits(
        size_bytes_max=1 << 20, rows_max=rows_max, record_size_bytes_max=1_000, prefix_bytes_max=4
    )
    return to_batch(offset, response, limits)


class AskedLog:
    """A log without records that keeps what it was asked."""

    def __init__(self) -> None:
        self.asked_bytes: list[int] = []

    async def read(
        self, request: log_pb2.ReadRequest, timeout_s: float | None = None
    ) -> log_pb2.ReadResponse:
        self.asked_bytes.append(request.size_bytes_max)
        return log_pb2.ReadResponse(offset=request.offset, end_offset=request.offset)


def test_many_busy_partitions_read_less_at_once_and_hold_no_more_together() -> None:
    settings = TailerSettings()
    busy = [1]
    partition = SourcePartition(0)
    log = AskedLog()
    reads = open_partition(
        cast(LogClient, log),
        "topic",
        Source("log", LOG_SOURCE, "id", (partition,)),
        partition,
        settings,
        ThreadPoolExecutor(1),
        lambda: busy[0],
        KafkaClients(settings.kafka),
    )
    for busy[0] in (0, 1, 4, 100, 1_000_000):
        asyncio.run(reads.read(0, 0))
        held_bytes = RANGES_MAX * busy[0] * log.asked_bytes[-1]
        assert held_bytes <= settings.read_ahead_bytes_max or busy[0] == 1_000_000
    assert log.asked_bytes == sorted(log.asked_bytes, reverse=True)
    assert log.asked_bytes[1] == settings.batch_size_bytes_max
    assert log.asked_bytes[-1] == LOG_READ_BYTES_MIN


def test_columns_come_through() -> None:
    batch = batch_of(Record(b"one", timestamp_us=5), Record(b"", b"k", timestamp_us=6))
    assert (batch.begin, batch.end, batch.source_end) == (7, 9, 99)
    assert batch.records.to_pylist() == [b"one", b""]
    assert batch.offsets.tolist() == [7, 8]
    assert batch.log_times_us.tolist() == [5, 6]
    assert batch.keys is not None
    assert batch.keys.to_pylist() == [None, b"k"]
    assert batch.quarantined == ()


def test_there_are_no_keys_where_no_record_has_one() -> None:
    assert batch_of(Record(b"a"), Record(b"b")).keys is None


def test_cut_records_are_in_quarantine_and_nowhere_else() -> None:
    batch = batch_of(
        Record(b"a", timestamp_us=1),
        Record(b"beginning", b"k", original_size_bytes=5_000, timestamp_us=2),
        Record(b"c", b"c", timestamp_us=3),
        Record(b"x", original_size_bytes=6_000, timestamp_us=4),
    )
    assert (batch.begin, batch.end) == (7, 11)
    assert batch.records.to_pylist() == [b"a", b"c"]
    assert batch.offsets.tolist() == [7, 9]
    assert batch.log_times_us.tolist() == [1, 3]
    assert batch.keys is not None
    assert batch.keys.to_pylist() == [None, b"c"]
    assert [(q.offset, q.value, q.size_bytes) for q in batch.quarantined] == [
        (8, b"begi", 5_000),
        (10, b"x", 6_000),
    ]
    assert "5000 bytes exceeds the limit of 1000" in batch.quarantined[0].reason


def test_no_more_rows_than_the_limit() -> None:
    batch = batch_of(*(Record(b"%d" % n, timestamp_us=n) for n in range(10)), rows_max=4)
    assert (batch.begin, batch.end) == (7, 11)
    assert batch.records.to_pylist() == [b"0", b"1", b"2", b"3"]
    assert batch.offsets.tolist() == [7, 8, 9, 10]
