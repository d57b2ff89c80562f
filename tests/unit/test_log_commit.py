"""Group commit: one sync for many, no acknowledgement before it, bounded memory, fail-stop."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import pytest
from log_records import Record, appended, records_of

from alder.errors import AlderError, Reason
from alder.reads import message_of
from alder.rocks import Batch, Store
from alder.v1 import log_pb2
from controller.log import EmbeddedLog, LogHere, LogSettings
from controller.log.storage import LogStorage, PlacedBlock


class GatedStorage(LogStorage):
    """A store whose writes wait for a gate, and fail when told to."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.gate = threading.Event()
        self.gate.set()
        self.failure: Exception | None = None
        self.groups: list[int] = []

    def write(self, group: Sequence[PlacedBlock]) -> None:
        self.groups.append(sum(placed.records for placed in group))
        assert self.gate.wait(10)
        if self.failure is not None:
            raise self.failure
        super().write(group)


PAYLOAD_BYTES = len(appended(Record(b"x" * 100)))
Scenario = Callable[[EmbeddedLog, GatedStorage], Awaitable[None]]


def use(path: Path, scenario: Scenario, **limits: int) -> None:
    """Runs a scenario on a log with one topic ``t`` of one partition."""

    async def run() -> None:
        opened: list[GatedStorage] = []

        def open_storage(store: Path) -> GatedStorage:
            opened.append(GatedStorage(store))
            return opened[0]

        settings = LogSettings(**limits)
        log = EmbeddedLog(path / "log", lambda: 1, settings, open_storage=open_storage)
        await log.start()
        await log.create_topic(log_pb2.CreateTopicRequest(topic="t", partitions=1))
        try:
            await scenario(log, opened[0])
        finally:
            opened[0].gate.set()
            await log.close()

    asyncio.run(run())


async def stream(*values: str) -> AsyncIterator[log_pb2.AppendRequest]:
    for value in values:
        yield log_pb2.AppendRequest(topic="t", records=appended(Record(value.encode())))


async def end(log: EmbeddedLog) -> int:
    response = await log.offsets(log_pb2.OffsetsRequest(topic="t"))
    return response.partitions[0].end_offset


def test_a_reader_in_the_same_process_gets_what_travels(tmp_path: Path) -> None:
    async def scenario(log: EmbeddedLog, _: GatedStorage) -> None:
        await log.append(stream("a", "b" * 100_000, "c"))
        for offset in range(4):
            request = log_pb2.ReadRequest(topic="t", offset=offset, size_bytes_max=1 << 20)
            here = await LogHere(log).read(request)
            assert message_of(here) == await log.read(request)
            assert [r.value[:1] for r in records_of(message_of(here))] == [b"a", b"b", b"c"][
                offset:
            ]

    use(tmp_path, scenario)


async def values(log: EmbeddedLog) -> list[str]:
    request = log_pb2.ReadRequest(topic="t", size_bytes_max=1 << 20)
    return [record.value.decode() for record in records_of(await log.read(request))]


async def until(condition: Callable[[], bool]) -> None:
    """Waits for what another thread does."""
    async with asyncio.timeout(10):
        while not condition():
            await pause()


async def pause() -> None:
    """Time for everything that can happen to happen."""
    await asyncio.sleep(0.05)


def test_nothing_is_visible_or_acknowledged_before_the_sync(tmp_path: Path) -> None:
    async def scenario(log: EmbeddedLog, storage: GatedStorage) -> None:
        storage.gate.clear()
        appending = asyncio.create_task(log.append(stream("a")))
        await until(lambda: storage.groups == [1])
        assert not appending.done()
        assert await end(log) == 0
        assert await values(log) == []
        storage.gate.set()
        assert (await appending).records == 1
        assert await values(log) == ["a"]

    use(tmp_path, scenario)


def test_a_write_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    write, sync = Store.write, Store.sync

    def noted_write(store: Store, batch: Batch, sync: bool = False) -> None:
        calls.append("write")
        write(store, batch, sync)

    def noted_sync(store: Store) -> None:
        calls.append("sync")
        sync(store)

    async def scenario(log: EmbeddedLog, storage: GatedStorage) -> None:
        monkeypatch.setattr(Store, "write", noted_write)
        monkeypatch.setattr(Store, "sync", noted_sync)
        await log.append(stream("a"))
        assert calls == ["write", "sync"]
        await log.create_topic(log_pb2.CreateTopicRequest(topic="u", partitions=1))
        await log.delete_topic(log_pb2.DeleteTopicRequest(topic="u"))
        assert calls == ["write", "sync"] * 3

    use(tmp_path, scenario)


def test_what_comes_during_a_sync_shares_the_next(tmp_path: Path) -> None:
    async def scenario(log: EmbeddedLog, storage: GatedStorage) -> None:
        storage.gate.clear()
        calls = [asyncio.create_task(log.append(stream(f"v{n:02}"))) for n in range(50)]
        await pause()
        storage.gate.set()
        answers = await asyncio.gather(*calls)
        assert len(storage.groups) <= 2
        assert sum(storage.groups) == 50
        ends = [answer.token.positions[0].next_offset for answer in answers]
        found = await values(log)
        assert [found[position - 1] for position in ends] == [f"v{n:02}" for n in range(50)]

    use(tmp_path, scenario)


def test_a_group_is_bounded(tmp_path: Path) -> None:
    async def scenario(log: EmbeddedLog, storage: GatedStorage) -> None:
        storage.gate.clear()
        calls = [asyncio.create_task(log.append(stream("x" * 100))) for _ in range(40)]
        await pause()
        storage.gate.set()
        await asyncio.gather(*calls)
        assert max(storage.groups) <= 10
        assert len(await values(log)) == 40

    use(tmp_path, scenario, group_bytes_max=10 * PAYLOAD_BYTES)


def test_a_call_is_not_read_while_too_much_of_it_waits(tmp_path: Path) -> None:
    pulled: list[int] = []

    async def many() -> AsyncIterator[log_pb2.AppendRequest]:
        for number in range(200):
            pulled.append(number)
            yield log_pb2.AppendRequest(topic="t", records=appended(Record(b"x" * 100)))

    async def scenario(log: EmbeddedLog, storage: GatedStorage) -> None:
        storage.gate.clear()
        appending = asyncio.create_task(log.append(many()))
        await pause()
        assert len(pulled) <= 11
        storage.gate.set()
        response = await appending
        assert (response.records, len(pulled)) == (200, 200)
        assert response.token.positions[0].next_offset == 200

    use(tmp_path, scenario, call_bytes_max=10 * PAYLOAD_BYTES)


def test_all_calls_together_are_bounded(tmp_path: Path) -> None:
    pulled: list[int] = []

    async def some() -> AsyncIterator[log_pb2.AppendRequest]:
        for number in range(5):
            pulled.append(number)
            yield log_pb2.AppendRequest(topic="t", records=appended(Record(b"x" * 100)))

    async def scenario(log: EmbeddedLog, storage: GatedStorage) -> None:
        storage.gate.clear()
        calls = [asyncio.create_task(log.append(some())) for _ in range(20)]
        await pause()
        assert len(pulled) <= 10 + 20
        storage.gate.set()
        await asyncio.gather(*calls)
        assert await end(log) == 100

    use(tmp_path, scenario, pending_bytes_max=10 * PAYLOAD_BYTES)


def test_after_a_failed_write_the_log_takes_no_more(tmp_path: Path) -> None:
    async def scenario(log: EmbeddedLog, storage: GatedStorage) -> None:
        await log.append(stream("a"))
        storage.failure = AlderError(Reason.UNAVAILABLE, "no space left on device")
        with pytest.raises(AlderError, match="no space left") as caught:
            await log.append(stream("b", "c"))
        assert caught.value.reason is Reason.UNAVAILABLE
        storage.failure = None
        with pytest.raises(AlderError, match="restarted"):
            await log.append(stream("d"))
        assert await values(log) == ["a"]

    async def reopened(log: EmbeddedLog, storage: GatedStorage) -> None:
        assert await values(log) == ["a"]
        assert (await log.append(stream("e"))).token.positions[0].next_offset == 2

    use(tmp_path, scenario)
    use(tmp_path, reopened)


def test_a_defect_in_a_write_is_an_error_not_a_hang(tmp_path: Path) -> None:
    async def scenario(log: EmbeddedLog, storage: GatedStorage) -> None:
        storage.failure = ValueError("a defect")
        async with asyncio.timeout(5):
            with pytest.raises(AlderError) as caught:
                await log.append(stream("a"))
        assert caught.value.reason is Reason.UNAVAILABLE

    use(tmp_path, scenario)


def test_what_an_aborted_call_had_written_stays(tmp_path: Path) -> None:
    async def broken() -> AsyncIterator[log_pb2.AppendRequest]:
        async for request in stream("a", "b"):
            yield request
        await pause()
        raise ConnectionError("the client went away")

    async def scenario(log: EmbeddedLog, storage: GatedStorage) -> None:
        with pytest.raises(ConnectionError):
            await log.append(broken())
        await until(lambda: sum(storage.groups) == 2)
        storage.gate.clear()
        cancelled = asyncio.create_task(log.append(stream("c")))
        await pause()
        cancelled.cancel()
        storage.gate.set()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        await log.append(stream("d"))
        assert await values(log) == ["a", "b", "c", "d"]

    use(tmp_path, scenario)


def test_the_deadline_of_an_append_is_kept(tmp_path: Path) -> None:
    async def endless() -> AsyncIterator[log_pb2.AppendRequest]:
        async for request in stream("a"):
            yield request
        await asyncio.sleep(60)

    async def scenario(log: EmbeddedLog, storage: GatedStorage) -> None:
        with pytest.raises(AlderError) as caught:
            await log.append(endless(), timeout_s=0.05)
        assert caught.value.reason is Reason.DEADLINE

    use(tmp_path, scenario)


def test_what_waits_when_its_topic_goes_is_refused(tmp_path: Path) -> None:
    async def scenario(log: EmbeddedLog, storage: GatedStorage) -> None:
        storage.gate.clear()
        first = asyncio.create_task(log.append(stream("a")))
        await pause()
        deleting = asyncio.create_task(log.delete_topic(log_pb2.DeleteTopicRequest(topic="t")))
        await pause()
        second = asyncio.create_task(log.append(stream("b")))
        await pause()
        storage.gate.set()
        assert (await first).records == 1
        await deleting
        with pytest.raises(AlderError) as caught:
            await second
        assert caught.value.reason is Reason.UNKNOWN_COLLECTION
        assert sum(storage.groups) == 1

    use(tmp_path, scenario)


def test_closing_commits_what_is_queued_and_refuses_the_rest(tmp_path: Path) -> None:
    async def scenario(log: EmbeddedLog, storage: GatedStorage) -> None:
        storage.gate.clear()
        calls = [asyncio.create_task(log.append(stream("x" * 100))) for _ in range(20)]
        await pause()
        closing = asyncio.create_task(log.close())
        await pause()
        storage.gate.set()
        answers = await asyncio.gather(*calls, return_exceptions=True)
        await closing
        refused = [answer for answer in answers if isinstance(answer, AlderError)]
        accepted.append(len(answers) - len(refused))
        assert refused
        assert all(error.reason is Reason.UNAVAILABLE for error in refused)

    async def reopened(log: EmbeddedLog, storage: GatedStorage) -> None:
        assert await end(log) == accepted[0]

    accepted: list[int] = []
    use(tmp_path, scenario, pending_bytes_max=10 * PAYLOAD_BYTES)
    use(tmp_path, reopened)
