"""The log against kill -9 and damage: all acknowledged records, or an error that says so."""

import asyncio
import os
import random
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from log_records import Record, appended, records_of

from alder import records
from alder.arrow import to_bytes
from alder.errors import AlderError, Reason
from alder.rocks import FamilyOptions, Store
from alder.v1 import log_pb2
from controller.log import EmbeddedLog
from controller.log.block import decode, encode

FAMILIES = {"meta": FamilyOptions(), "blocks": FamilyOptions(blobs=True)}
ROOT = Path(__file__).parents[2]
APPENDER = """
import asyncio, sys
from pathlib import Path
from alder import records as log_records
from alder.v1 import log_pb2
from controller.log import EmbeddedLog

async def main(path, run):
    log = EmbeddedLog(Path(path), lambda: 1)
    await log.start()
    await log.create_topic(log_pb2.CreateTopicRequest(topic="t", partitions=2))

    async def work(task):
        for number in range(100_000):
            values = [f"{run}-{task}-{number}-{n}" for n in range(1 + number % 3)]
            partition = (task + number) % 2
            records = log_records.encode([value.encode() for value in values])
            async def one():
                yield log_pb2.AppendRequest(topic="t", partition=partition, records=records)
            answer = await log.append(one())
            end = answer.token.positions[0].next_offset
            lines = [f"{partition} {end - len(values) + n} {v}\\n" for n, v in enumerate(values)]
            sys.stdout.write("".join(lines))
            sys.stdout.flush()
    await asyncio.gather(*(work(task) for task in range(8)))

asyncio.run(main(sys.argv[1], sys.argv[2]))
"""


def use(path: Path, scenario: Callable[[EmbeddedLog], Awaitable[None]]) -> None:
    async def run() -> None:
        log = EmbeddedLog(path, lambda: 1)
        await log.start()
        try:
            await scenario(log)
        finally:
            await log.close()

    asyncio.run(run())


async def append(log: EmbeddedLog, *values: str) -> None:
    """One block per value."""
    for value in values:

        async def one(value: str = value) -> AsyncIterator[log_pb2.AppendRequest]:
            yield log_pb2.AppendRequest(topic="t", records=appended(Record(value.encode())))

        await log.append(one())


async def read(log: EmbeddedLog, offset: int, partition: int = 0) -> list[str]:
    request = log_pb2.ReadRequest(
        topic="t", partition=partition, offset=offset, size_bytes_max=1 << 20
    )
    return [record.value.decode() for record in records_of(await log.read(request))]


async def fill(log: EmbeddedLog) -> None:
    await log.create_topic(log_pb2.CreateTopicRequest(topic="t", partitions=1))
    await append(log, "a", "b", "c", "d")


def damage(path: Path, change: Callable[[bytes, bytes], tuple[bytes, bytes] | None]) -> None:
    """Changes blocks behind the log's back: ``change`` gives key and value, or None to remove."""
    store = Store(path, FAMILIES)
    for key, value in list(store.scan("blocks")):
        changed = change(key, value)
        batch = store.batch()
        batch.delete("blocks", key)
        if changed is not None:
            batch.put("blocks", *changed)
        store.write(batch, sync=True)
    store.close()


def offset_of(key: bytes) -> int:
    return int.from_bytes(key[-8:], "big")


def flipped_at(offset: int) -> Callable[[bytes, bytes], tuple[bytes, bytes]]:
    def change(key: bytes, value: bytes) -> tuple[bytes, bytes]:
        flipped = value[:-1] + bytes([value[-1] ^ 1])
        return key, flipped if offset_of(key) == offset else value

    return change


def killed_appender(path: Path, run: int, delay_s: float) -> dict[tuple[int, int], str]:
    """Appends in another process, kills it, and returns what it had been acknowledged."""
    process = subprocess.Popen(
        [sys.executable, "-c", APPENDER, str(path), str(run)],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        text=True,
    )
    assert process.stdout is not None
    first = process.stdout.readline()
    time.sleep(delay_s)
    process.kill()
    lines = (first + process.stdout.read()).splitlines(keepends=True)
    process.wait()
    process.stdout.close()
    whole = [line.split() for line in lines if line.endswith("\n")]
    return {(int(partition), int(offset)): value for partition, offset, value in whole}


def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "log"
    acknowledged: dict[tuple[int, int], str] = {}
    moments = random.Random(20)
    for run in range(5):
        mine = killed_appender(path, run, moments.uniform(0, 0.3))
        assert mine
        assert not mine.keys() & acknowledged.keys(), "an offset was given out twice"
        acknowledged |= mine

    async def check(log: EmbeddedLog) -> None:
        found: dict[tuple[int, int], str] = {}
        for partition in range(2):
            offset = 0
            while values := await read(log, offset, partition):
                found |= {(partition, offset + n): value for n, value in enumerate(values)}
                offset += len(values)
        assert acknowledged.items() <= found.items()
        assert len(set(found.values())) == len(found), "a record is there twice"

    use(path, check)


def test_nothing_of_a_deleted_topic_stays_on_disk(tmp_path: Path) -> None:
    async def scenario(log: EmbeddedLog) -> None:
        await fill(log)
        await log.delete_topic(log_pb2.DeleteTopicRequest(topic="t"))

    use(tmp_path, scenario)
    store = Store(tmp_path, FAMILIES)
    assert list(store.scan("blocks")) == []
    assert [key for key, _ in store.scan("meta")] == [b"timestamp"]
    store.close()


def test_a_damaged_block_is_reported_and_never_served(tmp_path: Path) -> None:
    use(tmp_path, fill)
    damage(tmp_path, flipped_at(2))

    async def check(log: EmbeddedLog) -> None:
        assert await read(log, 0) == ["a", "b"], "what is sound before it is served"
        with pytest.raises(AlderError) as caught:
            await read(log, 2)
        assert caught.value.reason is Reason.CORRUPT
        assert caught.value.metadata == {"topic": "t", "partition": "0", "offset": "2"}
        assert await read(log, 3) == ["d"]

    use(tmp_path, check)


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (b"no stream", "not a valid Arrow stream"),
        (to_bytes(pa.table({"value": pa.array([b"c"], pa.binary())})), "don't add up"),
        (to_bytes(records.decode(appended(Record(b"c"), Record(b"d")))), "don't add up"),
    ],
)
def test_a_block_whose_records_are_not_what_was_written_is_reported(
    tmp_path: Path, payload: bytes, why: str
) -> None:
    use(tmp_path, fill)

    def change(key: bytes, value: bytes) -> tuple[bytes, bytes]:
        block = decode("t", key, value)
        changed = replace(block, payload=payload) if offset_of(key) == 2 else block
        return key, encode(key, changed)

    damage(tmp_path, change)

    async def check(log: EmbeddedLog) -> None:
        assert await read(log, 0) == ["a", "b"]
        with pytest.raises(AlderError, match=why) as caught:
            await read(log, 2)
        assert caught.value.reason is Reason.CORRUPT
        assert caught.value.metadata["offset"] == "2"

    use(tmp_path, check)


def test_a_missing_or_misplaced_block_is_reported(tmp_path: Path) -> None:
    use(tmp_path, fill)
    damage(tmp_path, lambda key, value: (key, value) if offset_of(key) != 1 else None)

    async def missing(log: EmbeddedLog) -> None:
        assert await read(log, 0) == ["a"]
        with pytest.raises(AlderError, match=r"offset 1 .* missing"):
            await read(log, 1)

    use(tmp_path, missing)
    second = (2).to_bytes(8, "big")
    damage(
        tmp_path,
        lambda key, value: (
            (key[:-8] + (1).to_bytes(8, "big"), value) if key.endswith(second) else (key, value)
        ),
    )

    async def misplaced(log: EmbeddedLog) -> None:
        with pytest.raises(AlderError, match=r"offset 1 .* checksum"):
            await read(log, 1)

    use(tmp_path, misplaced)


def test_a_damaged_last_block_stops_the_start(tmp_path: Path) -> None:
    use(tmp_path, fill)
    damage(tmp_path, flipped_at(3))

    async def start() -> None:
        log = EmbeddedLog(tmp_path, lambda: 1)
        with pytest.raises(AlderError) as caught:
            await log.start()
        assert caught.value.reason is Reason.CORRUPT
        assert caught.value.metadata["offset"] == "3"

    asyncio.run(start())
    damage(tmp_path, flipped_at(3))

    async def check(log: EmbeddedLog) -> None:
        assert await read(log, 0) == ["a", "b", "c", "d"]

    use(tmp_path, check)


def test_a_damaged_write_ahead_log_stops_the_start(tmp_path: Path) -> None:
    """Replaying up to the damage would silently drop what was acknowledged after it."""
    path = tmp_path / "log"
    killed_appender(path, 0, 0.1)
    wal = max(path.glob("*.log"), key=lambda file: file.stat().st_size)
    data = bytearray(wal.read_bytes())
    data[len(data) // 2] ^= 1
    wal.write_bytes(data)

    async def start() -> None:
        with pytest.raises(AlderError) as caught:
            await EmbeddedLog(path, lambda: 1).start()
        assert caught.value.reason is Reason.CORRUPT

    asyncio.run(start())
