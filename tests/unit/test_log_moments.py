"""Where the log's partitions stood at a moment: exactly, for ever, and never with a guess."""

import asyncio
import random
from pathlib import Path

from log_records import records_of
from log_scenario import Clock, append, bounds, create, message, read, refused, use

from alder.errors import Reason
from alder.v1 import log_pb2
from controller.log import EmbeddedLog


async def stood(log: EmbeddedLog, moment_us: int) -> tuple[int, list[int]]:
    """How far the moment is ahead, and the offsets at it."""
    request = log_pb2.OffsetsRequest(topic="t", at_timestamp_us=moment_us)
    answer = await log.offsets(request)
    given = [entry.at_offset for entry in answer.partitions if entry.HasField("at_offset")]
    return answer.ahead_us, given


async def times_of(log: EmbeddedLog) -> list[list[int]]:
    """The time of every record by partition."""
    found = []
    for partition, (begin, end) in enumerate(await bounds(log)):
        times: list[int] = []
        while begin + len(times) < end:
            times += [
                record.timestamp_us
                for record in records_of(await read(log, begin + len(times), partition))
            ]
        found.append(times)
    return found


def test_every_moment_is_where_its_first_later_record_is(tmp_path: Path) -> None:
    chance, clock = random.Random(7), Clock(1_000)
    known: dict[int, list[int]] = {}

    async def scenario(log: EmbeddedLog) -> None:
        await create(log, partitions=3)
        for _ in range(25):
            values = ["x" * chance.randrange(1, 400) for _ in range(chance.randrange(1, 30))]
            await append(log, message(*values, partition=chance.randrange(3)))
            clock.now_us += chance.choice((-200, 0, 5, 900))
        times = await times_of(log)
        newest_us = max(part[-1] for part in times)
        assert newest_us - 1_000 < 30_000
        for moment_us in range(990, newest_us + 1):
            ahead_us, offsets = await stood(log, moment_us)
            assert ahead_us == 0
            assert offsets == [sum(one <= moment_us for one in part) for part in times]
            known[moment_us] = offsets

    async def later(log: EmbeddedLog) -> None:
        await append(log, message("more", "and more"))
        for moment_us in chance.sample(sorted(known), 200):
            assert await stood(log, moment_us) == (0, known[moment_us])

    use(tmp_path, scenario, clock, block_bytes_max=2_000)
    use(tmp_path, later, clock)


def test_what_is_asked_for_is_over_and_what_comes_is_later(tmp_path: Path) -> None:
    clock = Clock(1_000)

    async def scenario(log: EmbeddedLog) -> None:
        await create(log)
        await append(log, message("a"))
        assert await stood(log, 5_000) == (4_000, []), "still to come"
        clock.now_us = 5_000
        assert await stood(log, 5_000) == (1, [])
        clock.now_us = 5_001
        assert await stood(log, 5_000) == (0, [1])
        clock.now_us = 3_000
        await append(log, message("b"))
        assert await times_of(log) == [[1_000, 5_001]], "not before a moment that was told as over"
        assert await stood(log, 5_000) == (0, [1])

    use(tmp_path, scenario, clock)


def test_records_on_their_way_to_the_disk_are_waited_for(tmp_path: Path) -> None:
    clock = Clock(1_000)

    async def scenario(log: EmbeddedLog) -> None:
        await create(log)
        for round_ in range(20):
            clock.now_us = 10_000 * (round_ + 1)
            writing = asyncio.ensure_future(append(log, message("x")))
            for _ in range(round_ % 5):
                await asyncio.sleep(0)
            _, (offset,) = await stood(log, clock.now_us - 1)
            assert offset == round_
            clock.now_us += 500
            first = await stood(log, clock.now_us - 1)
            await writing
            assert await stood(log, clock.now_us - 1) == first, "the same moment, the same offsets"

    use(tmp_path, scenario, clock)


def test_moments_before_what_is_left_are_refused(tmp_path: Path) -> None:
    clock = Clock(1_000_000)

    async def scenario(log: EmbeddedLog) -> None:
        await create(log, retention_ms=10)
        await append(log, message("old"))
        clock.now_us += 50_000
        await append(log, message("kept"))
        clock.now_us += 1
        await log.truncate_expired()
        assert await bounds(log) == [(1, 2)]
        request = log_pb2.OffsetsRequest(topic="t", at_timestamp_us=1_000_000)
        await refused(log.offsets(request), Reason.OUT_OF_RANGE)
        assert await stood(log, 1_050_000) == (0, [2])

    use(tmp_path, scenario, clock)
