"""The embedded log: what is acknowledged is there, in order, bounded, and under one identity."""

import asyncio
from pathlib import Path

from log_records import records_of
from log_scenario import Clock, append, bounds, create, message, read, read_all, refused, use

from alder.errors import Reason
from alder.v1 import log_pb2
from controller.log import EmbeddedLog


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
            last = {entry.partition: records_of(entry)[0].value.decode() for entry in call}
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
                found = records_of(await read(log, end - 2, partition))
                seen.extend(r.timestamp_us for r in found)

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
        found = records_of(await read(log, 0, topic_id=second))
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
        assert [r.value for r in records_of(await waiting)] == [b"b"]

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
        assert len(records_of(await read(log, 6))) == 2
        clock.now_us = 2**50
        await log.truncate_expired()
        assert await bounds(log) == [(8, 8), (0, 0)]

    async def reopened(log: EmbeddedLog) -> None:
        assert await bounds(log) == [(8, 8), (0, 0)]
        clock.now_us = 0
        assert await append(log, message("c")) == {0: 9}
        assert records_of(await read(log, 8))[0].timestamp_us > 3_000_001

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
