"""Records in the log: they come back as they were sent, however blocks and reads cut them."""

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from log_records import Record, appended, records_of
from log_scenario import append, create, message, read, read_all, refused, stream, use

from alder import records
from alder.arrow import to_bytes
from alder.errors import Reason
from alder.records import FIXED_BYTES
from alder.v1 import log_pb2
from controller.log import EmbeddedLog, LogSettings
from controller.log.appending import payloads


def test_records_come_back_whole_and_in_order(tmp_path: Path) -> None:
    async def scenario(log: EmbeddedLog) -> None:
        await create(log, partitions=2)
        records = [
            Record(b"one", key=b"k"),
            Record(b"", original_size_bytes=99),
            Record(b"\x00\xff"),
        ]
        first = log_pb2.AppendRequest(topic="t", partition=1, records=appended(*records[:2]))
        second = log_pb2.AppendRequest(partition=1, records=appended(*records[2:]))
        assert await append(log, first, second) == {1: 3}
        found = await read(log, 0, partition=1)
        assert (found.offset, found.end_offset) == (0, 3)
        assert [(r.key, r.value, r.original_size_bytes) for r in records_of(found)] == [
            (b"k", b"one", 0),
            (b"", b"", 99),
            (b"", b"\x00\xff", 0),
        ]
        assert [r.value for r in records_of(await read(log, 2, partition=1))] == [b"\x00\xff"]
        assert (await read(log, 0, partition=0)).end_offset == 0

    use(tmp_path, scenario)


def test_reads_are_bounded_but_never_empty(tmp_path: Path) -> None:
    async def scenario(log: EmbeddedLog) -> None:
        await create(log)
        await append(log, message(*("x" * 100 for _ in range(50))), message("y" * 5_000))
        size = 100 + FIXED_BYTES
        sizes = {1: 1, size: 1, size * 2 - 1: 1, size * 2: 2, size * 7 + 3: 7}
        for size_bytes_max, count in sizes.items():
            for offset in (0, 13):
                found = await read(log, offset, size_bytes_max=size_bytes_max)
                assert len(records_of(found)) == count, size_bytes_max
        assert len(records_of(await read(log, 50, size_bytes_max=10))) == 1
        assert len(records_of(await read(log, 40, size_bytes_max=4_000))) == 10

    use(tmp_path, scenario)


def test_a_long_message_reads_as_one(tmp_path: Path) -> None:
    values = [f"{index:04}" * (1_000 if index == 90 else 25) for index in range(200)]

    async def scenario(log: EmbeddedLog) -> None:
        await create(log)
        await append(log, message(*values))
        found = records_of(await read(log, 0))
        assert [r.value.decode() for r in found] == values
        times = [r.timestamp_us for r in found]
        assert times == list(range(times[0], times[0] + 200))
        assert [r.value.decode() for r in records_of(await read(log, 77))] == values[77:]

    use(tmp_path, scenario, block_bytes_max=1_000)


def test_a_read_joins_blocks_and_ends_with_one(tmp_path: Path) -> None:
    values = [f"{index:03}" for index in range(60)]
    block_bytes = 10 * (3 + FIXED_BYTES)

    async def scenario(log: EmbeddedLog) -> None:
        await create(log)
        for begin in range(0, 60, 10):
            await append(log, message(*values[begin : begin + 10]))
        assert [r.value.decode() for r in await read_all(log)] == values
        times = [r.timestamp_us for r in await read_all(log)]
        assert times == sorted(set(times))
        for size_bytes_max, count in {
            block_bytes: 10,
            3 * block_bytes: 30,
            4 * block_bytes - 1: 30,
            100 * block_bytes: 60,
        }.items():
            found = records_of(await read(log, 0, size_bytes_max=size_bytes_max))
            assert [r.value.decode() for r in found] == values[:count]
        found = records_of(await read(log, 5, size_bytes_max=2 * block_bytes))
        assert [r.value.decode() for r in found] == values[5:20]

    use(tmp_path, scenario)


@pytest.mark.parametrize("block_bytes_max", [1, 50, 124, 1_000, 4_000])
def test_a_long_message_is_cut_into_even_pieces(block_bytes_max: int) -> None:
    size = 100 + FIXED_BYTES
    request = message(*("x" * 100 for _ in range(97)))
    pieces = payloads(request, LogSettings(block_bytes_max=block_bytes_max))
    per_piece = max(1, block_bytes_max // size)
    full, rest = divmod(97, per_piece)
    counts = [per_piece] * full + ([rest] if rest else [])
    assert [piece.records for piece in pieces] == counts
    assert [piece.size_bytes for piece in pieces] == [count * size for count in counts]
    joined = pa.concat_tables([piece.table for piece in pieces])
    assert joined == records.decode(request.records)


def test_what_is_no_record_is_refused_and_leaves_the_log_usable(tmp_path: Path) -> None:
    streams = [
        b"no stream",
        to_bytes(pa.table({"value": pa.array([None], pa.binary())})),
        to_bytes(pa.table({"value": pa.array([b"x"], pa.binary())}), "lz4"),
        to_bytes(pa.table({"value": ["text"]})),
    ]

    async def scenario(log: EmbeddedLog) -> None:
        await create(log)
        for data in streams:
            request = log_pb2.AppendRequest(topic="t", records=data)
            await refused(log.append(stream(request)), Reason.INVALID_ARGUMENT)
        nothing = log_pb2.AppendRequest(topic="t", records=appended())
        assert await append(log, nothing) == {}
        assert await append(log, message("x")) == {0: 1}

    use(tmp_path, scenario)


def test_keys_count_for_the_size_of_a_record(tmp_path: Path) -> None:
    async def scenario(log: EmbeddedLog) -> None:
        await create(log)
        for value, key in ((600, 401), (0, 1_001)):
            data = appended(Record(b"v" * value, key=b"k" * key))
            call = log.append(stream(log_pb2.AppendRequest(topic="t", records=data)))
            await refused(call, Reason.LIMIT)
        data = appended(*(Record(b"v" * 600, key=b"k" * 400) for _ in range(5)))
        request = log_pb2.AppendRequest(topic="t", records=data)
        assert (await log.append(stream(request))).records == 5
        found = records_of(await read(log, 0, size_bytes_max=3 * (1_000 + FIXED_BYTES)))
        assert len(found) == 3

    use(tmp_path, scenario, record_bytes_max=1_000)


def test_small_messages_that_share_a_block_keep_their_columns(tmp_path: Path) -> None:
    sent = [
        [Record(b"a"), Record(b"b")],
        [Record(b"", key=b"k")],
        [Record(b"cut", original_size_bytes=70), Record(b"c")],
        [Record(b"both", key=b"l", original_size_bytes=80)],
    ] * 5

    async def scenario(log: EmbeddedLog) -> None:
        await create(log)
        requests = [log_pb2.AppendRequest(topic="t", records=appended(*part)) for part in sent]
        await append(log, *requests)
        flat = [record for part in sent for record in part]
        for offset in (0, 5, len(flat) - 1):
            found = records_of(await read(log, offset))
            assert [replace(record, timestamp_us=0) for record in found] == flat[offset:]

    use(tmp_path, scenario)
