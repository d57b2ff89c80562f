"""The embedded log: what is acknowledged is there, in order, bounded, and under one identity."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

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
    records = [log_pb2.Record(value=value.encode()) for value in values]
    return log_pb2.AppendRequest(topic=topic, partition=partition, records=records)


async def stream(*messages: log_pb2.AppendRequest) -> AsyncIterator[log_pb2.AppendRequest]:
    for entry in messages:
        yield entry


async def append(log: EmbeddedLog, *messages: log_pb2.AppendRequest) -> dict[int, int]:
    response = await log.append(stream(*messages))
    assert response.records == sum(len(entry.records) for entry in messages)
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


async def read_all(log: EmbeddedLog, partition: int = 0) -> list[log_pb2.Record]:
    records: list[log_pb2.Record] = []
    while found := (await read(log, len(records), partition)).records:
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


def test_records_come_back_whole_and_in_order(tmp_path: Path) -> None:
    async def scenario(log: EmbeddedLog) -> None:
        await create(log, partitions=2)
        records = [
            log_pb2.Record(key=b"k", value=b"one"),
            log_pb2.Record(value=b"", original_size_bytes=99),
            log_pb2.Record(value=b"\x00\xff"),
        ]
        first = log_pb2.AppendRequest(topic="t", partition=1, records=records[:2])
        second = log_pb2.AppendRequest(partition=1, records=records[2:])
        assert await append(log, first, second) == {1: 3}
        found = await read(log, 0, partition=1)
        assert (found.offset, found.end_offset) == (0, 3)
        assert [(r.key, r.value, r.original_size_bytes) for r in found.records] == [
            (b"k", b"one", 0),
            (b"", b"", 99),
            (b"", b"\x00\xff", 0),
        ]
        assert [r.value for r in (await read(log, 2, partition=1)).records] == [b"\x00\xff"]
        assert (await read(log, 0, partition=0)).end_offset == 0
        assert [r.timestamp_us for r in records] == [0, 0, 0], "the caller's message is untouched"

    use(tmp_path, scenario)


def test_each_call_gets_the_token_of_its_own_records(tmp_path: Path) -> None:
    async def scenario(log: EmbeddedLog) -> None:
        await create(log, partitions=2)
        calls = [
            [message(f"{call}.{part}", partition=(call + part) % 2) for part in range(1 + call % 3)]
            for call in range(30)
        ]
        tokens = await asyncio.gather(*(append(log, *call) for call in calls))
        values = [[r.value.decode() for r in await read_all(log, p)] for p in range(2)]
        assert sum(len(found) for found in values) == sum(len(call) for call in calls)
        for call, token in zip(calls, tokens, strict=True):
            last = {entry.partition: entry.records[0].value.decode() for entry in call}
            assert {p: values[p][offset - 1] for p, offset in token.items()} == last

    use(tmp_path, scenario)


def test_the_log_spreads_what_names_no_partition(tmp_path: Path) -> None:
    async def scenario(log: EmbeddedLog) -> None:
        await create(log, partitions=4)
        for _ in range(8):
            await append(log, message("x", partition=-1))
        assert [end for _, end in await bounds(log)] == [2, 2, 2, 2]

    use(tmp_path, scenario)


def test_timestamps_strictly_increase_over_partitions_deletion_and_restart(tmp_path: Path) -> None:
    clock = Clock(5_000)
    seen: list[int] = []

    async def note(log: EmbeddedLog, values: int) -> None:
        for index in range(values):
            token = await append(log, message("a", "b", partition=index % 2))
            for partition, end in token.items():
                seen.extend(r.timestamp_us for r in (await read(log, end - 2, partition)).records)

    async def first(log: EmbeddedLog) -> None:
        await create(log, partitions=2)
        await note(log, 3)
        clock.now_us = 100
        await note(log, 2)

    async def second(log: EmbeddedLog) -> None:
        await note(log, 2)
        await log.delete_topic(log_pb2.DeleteTopicRequest(topic="t"))

    async def third(log: EmbeddedLog) -> None:
        await create(log, partitions=2)
        await note(log, 1)
        clock.now_us = 9_000_000
        await note(log, 1)

    for scenario in (first, second, third):
        use(tmp_path, scenario, clock)
    assert seen[0] == 5_000
    assert seen[-2:] == [9_000_000, 9_000_001]
    assert seen == sorted(set(seen))
    assert len(seen) == 18


def test_reads_are_bounded_but_never_empty(tmp_path: Path) -> None:
    async def scenario(log: EmbeddedLog) -> None:
        await create(log)
        await append(log, message(*("x" * 100 for _ in range(50))), message("y" * 5_000))
        size = log_pb2.Record(value=b"x" * 100, timestamp_us=1_000_000).ByteSize()
        sizes = {1: 1, size: 1, size * 2 - 1: 1, size * 2: 2, size * 7 + 3: 7}
        for size_bytes_max, count in sizes.items():
            for offset in (0, 13):
                found = await read(log, offset, size_bytes_max=size_bytes_max)
                assert len(found.records) == count, size_bytes_max
        assert len((await read(log, 50, size_bytes_max=10)).records) == 1
        assert len((await read(log, 40, size_bytes_max=4_000)).records) == 10

    use(tmp_path, scenario)


def test_a_long_message_becomes_blocks_that_read_as_one(tmp_path: Path) -> None:
    values = [f"{index:04}" * 25 for index in range(200)]

    async def scenario(log: EmbeddedLog) -> None:
        await create(log)
        await append(log, message(*values))
        found = (await read(log, 0)).records
        assert [r.value.decode() for r in found] == values
        times = [r.timestamp_us for r in found]
        assert times == list(range(times[0], times[0] + 200))
        assert [r.value.decode() for r in (await read(log, 77)).records] == values[77:]

    use(tmp_path, scenario, block_bytes_max=1_000)


def test_limits_say_what_to_do_and_leave_the_log_usable(tmp_path: Path) -> None:
    async def scenario(log: EmbeddedLog) -> None:
        await create(log)
        too_long = await refused(append(log, message("ok", "x" * 1_001)), Reason.LIMIT)
        assert "original_size_bytes" in too_long.message
        too_many = await refused(append(log, message(*["x" * 900] * 6)), Reason.LIMIT)
        assert "several messages" in too_many.message
        assert await bounds(log) == [(0, 0)], "nothing of a refused message is taken"
        assert await append(log, message("x" * 990)) == {0: 1}

    use(tmp_path, scenario, record_bytes_max=1_000, message_bytes_max=5_000)


def test_wrong_requests_are_refused(tmp_path: Path) -> None:
    async def scenario(log: EmbeddedLog) -> None:
        await refused(append(log, message("x")), Reason.UNKNOWN_COLLECTION)
        await refused(read(log, 0), Reason.UNKNOWN_COLLECTION)
        await refused(log.offsets(log_pb2.OffsetsRequest(topic="t")), Reason.UNKNOWN_COLLECTION)
        for partitions in (0, -1, 5):
            await refused(create(log, partitions=partitions), Reason.INVALID_ARGUMENT)
        await refused(create(log, retention_ms=-1), Reason.INVALID_ARGUMENT)
        await refused(
            log.create_topic(log_pb2.CreateTopicRequest(partitions=1)), Reason.INVALID_ARGUMENT
        )
        await create(log, partitions=2)
        for partition in (-2, 2):
            await refused(append(log, message("x", partition=partition)), Reason.INVALID_ARGUMENT)
            await refused(read(log, 0, partition=partition), Reason.INVALID_ARGUMENT)
        await refused(read(log, -1), Reason.INVALID_ARGUMENT)
        two_topics = append(log, message("x"), message("x", topic="u"))
        await refused(two_topics, Reason.INVALID_ARGUMENT)
        assert await append(log) == {}

    use(tmp_path, scenario, partitions_max=4)


def test_creating_again_answers_with_the_same_topic(tmp_path: Path) -> None:
    async def scenario(log: EmbeddedLog) -> None:
        known = await create(log, partitions=2)
        await append(log, message("x"))
        request = log_pb2.CreateTopicRequest(topic="t", partitions=3)
        again = await log.create_topic(request)
        assert (again.topic_id, again.partitions) == (known, 2)
        assert await bounds(log) == [(0, 1), (0, 0)]

    use(tmp_path, scenario)


def test_a_topic_created_again_is_another_one(tmp_path: Path) -> None:
    async def scenario(log: EmbeddedLog) -> None:
        first = await create(log)
        await append(log, message("old", "old"))
        await log.delete_topic(log_pb2.DeleteTopicRequest(topic="t"))
        await refused(read(log, 0, topic_id=first), Reason.UNKNOWN_COLLECTION)
        second = await create(log)
        assert second != first
        await refused(read(log, 0, topic_id=first), Reason.IDENTITY_CHANGED)
        assert await bounds(log) == [(0, 0)]
        await append(log, message("new"))
        found = (await read(log, 0, topic_id=second)).records
        assert [r.value for r in found] == [b"new"]
        await log.delete_topic(log_pb2.DeleteTopicRequest(topic="never was"))

    use(tmp_path, scenario)

    async def reopened(log: EmbeddedLog) -> None:
        assert [r.value for r in await read_all(log)] == [b"new"]

    use(tmp_path, reopened)


def test_a_restart_goes_on_where_the_log_ended(tmp_path: Path) -> None:
    topic_ids = []

    async def first(log: EmbeddedLog) -> None:
        topic_ids.append(await create(log, partitions=3))
        await append(log, message("a", "b", partition=0), message("c", partition=2))

    async def second(log: EmbeddedLog) -> None:
        topic_ids.append((await log.offsets(log_pb2.OffsetsRequest(topic="t"))).topic_id)
        assert await bounds(log) == [(0, 2), (0, 0), (0, 1)]
        assert await append(log, message("d", partition=0)) == {0: 3}
        assert [r.value for r in await read_all(log, 0)] == [b"a", b"b", b"d"]

    use(tmp_path, first)
    use(tmp_path, second)
    assert topic_ids[0] == topic_ids[1]


def test_a_reader_waits_for_the_next_record(tmp_path: Path) -> None:
    async def scenario(log: EmbeddedLog) -> None:
        await create(log, partitions=2)
        assert not (await read(log, 0, wait_ms=20)).records
        waiting = asyncio.create_task(read(log, 1, wait_ms=30_000))
        await asyncio.sleep(0.01)
        await append(log, message("other", partition=1))
        await append(log, message("a"))
        await asyncio.sleep(0.01)
        assert not waiting.done(), "offset 0 is not what it waits for"
        await append(log, message("b"))
        assert [r.value for r in (await waiting).records] == [b"b"]

    use(tmp_path, scenario)


def test_deletion_and_closing_wake_readers(tmp_path: Path) -> None:
    async def scenario(log: EmbeddedLog) -> None:
        await create(log)
        waiting = asyncio.create_task(read(log, 0, wait_ms=30_000))
        await asyncio.sleep(0.01)
        await log.delete_topic(log_pb2.DeleteTopicRequest(topic="t"))
        await refused(waiting, Reason.UNKNOWN_COLLECTION)
        await create(log)
        waiting = asyncio.create_task(read(log, 0, wait_ms=30_000))
        await asyncio.sleep(0.01)
        await log.close()
        await refused(waiting, Reason.UNAVAILABLE)
        await refused(append(log, message("x")), Reason.UNAVAILABLE)

    use(tmp_path, scenario)


def test_retention_removes_whole_expired_blocks_only(tmp_path: Path) -> None:
    clock = Clock(0)

    async def scenario(log: EmbeddedLog) -> None:
        await create(log, partitions=2, retention_ms=10)
        for second in range(4):
            clock.now_us = second * 1_000_000
            await append(log, message("a", "b"))
        clock.now_us = 2_010_002
        await log.truncate_expired()
        assert await bounds(log) == [(6, 8), (0, 0)]
        gone = await refused(read(log, 5), Reason.OUT_OF_RANGE)
        assert gone.metadata == {"begin_offset": "6"}
        assert len((await read(log, 6)).records) == 2
        clock.now_us = 2**50
        await log.truncate_expired()
        assert await bounds(log) == [(8, 8), (0, 0)]

    async def reopened(log: EmbeddedLog) -> None:
        assert await bounds(log) == [(8, 8), (0, 0)]
        clock.now_us = 0
        assert await append(log, message("c")) == {0: 9}
        assert (await read(log, 8)).records[0].timestamp_us > 3_000_001

    use(tmp_path, scenario, clock)
    use(tmp_path, reopened, clock)


def test_a_record_of_the_horizon_itself_is_kept(tmp_path: Path) -> None:
    clock = Clock(1_000)

    async def scenario(log: EmbeddedLog) -> None:
        await create(log, retention_ms=1)
        await append(log, message("a"))
        clock.now_us = 2_000
        await log.truncate_expired()
        assert await bounds(log) == [(0, 1)]
        clock.now_us = 2_001
        await log.truncate_expired()
        assert await bounds(log) == [(1, 1)]

    use(tmp_path, scenario, clock)


def test_without_retention_nothing_goes(tmp_path: Path) -> None:
    clock = Clock(0)

    async def scenario(log: EmbeddedLog) -> None:
        await create(log)
        await append(log, message("a"))
        clock.now_us = 2**50
        await log.truncate_expired()
        assert await bounds(log) == [(0, 1)]

    use(tmp_path, scenario, clock)


def test_a_second_process_is_told_so(tmp_path: Path) -> None:
    async def scenario(log: EmbeddedLog) -> None:
        other = EmbeddedLog(tmp_path / "log", Clock())
        error = await refused(other.start(), Reason.UNAVAILABLE)
        assert "another process" in error.message

    use(tmp_path, scenario)
