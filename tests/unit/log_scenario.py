"""A log for the time of a scenario, and its calls in the short form that tests want."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from log_records import Record, appended, records_of

from alder.errors import AlderError, Reason
from alder.v1 import log_pb2
from controller.log import EmbeddedLog, LogSettings

Scenario = Callable[[EmbeddedLog], Awaitable[None]]


class Clock:
    """A clock that a test sets."""

    def __init__(self, now_us: int = 1_000_000) -> None:
        self.now_us = now_us

    def __call__(self) -> int:
        return self.now_us


def use(path: Path, scenario: Scenario, clock: Clock | None = None, **limits: int) -> None:
    """Runs a scenario on a log that is opened before and closed after."""

    async def run() -> None:
        log = EmbeddedLog(path / "log", clock or Clock(), LogSettings(**limits))
        await log.start()
        try:
            await scenario(log)
        finally:
            await log.close()

    asyncio.run(run())


def message(*values: str, topic: str = "t", partition: int = 0) -> log_pb2.AppendRequest:
    records = appended(*(Record(value.encode()) for value in values))
    return log_pb2.AppendRequest(topic=topic, partition=partition, records=records)


async def stream(*messages: log_pb2.AppendRequest) -> AsyncIterator[log_pb2.AppendRequest]:
    for entry in messages:
        yield entry


async def append(log: EmbeddedLog, *messages: log_pb2.AppendRequest) -> dict[int, int]:
    response = await log.append(stream(*messages))
    assert response.records == sum(len(records_of(entry)) for entry in messages)
    assert all(position.source == "log" for position in response.token.positions)
    return {position.partition: position.next_offset for position in response.token.positions}


async def create(log: EmbeddedLog, partitions: int = 1, retention_ms: int = 0) -> str:
    request = log_pb2.CreateTopicRequest(
        topic="t", partitions=partitions, retention_ms=retention_ms
    )
    return (await log.create_topic(request)).topic_id


async def read(
    log: EmbeddedLog,
    offset: int,
    partition: int = 0,
    size_bytes_max: int = 1 << 20,
    wait_ms: int = 0,
    topic_id: str = "",
) -> log_pb2.ReadResponse:
    return await log.read(
        log_pb2.ReadRequest(
            topic="t",
            partition=partition,
            offset=offset,
            size_bytes_max=size_bytes_max,
            wait_ms=wait_ms,
            topic_id=topic_id,
        )
    )


async def read_all(log: EmbeddedLog, partition: int = 0) -> list[Record]:
    records: list[Record] = []
    while found := records_of(await read(log, len(records), partition)):
        records += found
    return records


async def bounds(log: EmbeddedLog) -> list[tuple[int, int]]:
    response = await log.offsets(log_pb2.OffsetsRequest(topic="t"))
    return [(entry.begin_offset, entry.end_offset) for entry in response.partitions]


async def refused(call: Awaitable[object], reason: Reason) -> AlderError:
    with pytest.raises(AlderError) as caught:
        await call
    assert caught.value.reason is reason
    return caught.value
