"""The log as a service: ``alder.interfaces.LogClient`` over a store of its own.

Bounds, topics and waiters live on the event loop; the store is touched on worker threads only, one
that writes and some that read.
"""

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from alder.errors import AlderError, Reason
from alder.reads import Read, message_of
from alder.v1 import log_pb2
from controller.log.appending import ANY_PARTITION, AppendCall, Submission, payloads
from controller.log.budget import ByteBudget
from controller.log.committer import GroupCommitter, Timestamps
from controller.log.retention import horizon_us
from controller.log.settings import LogSettings
from controller.log.storage import LogStorage, PlacedBlock
from controller.log.topics import Bounds, Partition, Topic, TopicSpec

logger = logging.getLogger(__name__)
_READERS: Final = 2
_ANSWER_MARGIN_S: Final = 0.05
"""A wait ends this long before the deadline, or the answer "nothing yet" would come too late."""
_NAME_CHARACTERS_MAX: Final = 255
_Result = TypeVar("_Result")


class EmbeddedLog:
    """The embedded log. Use between :meth:`start` and :meth:`close`, on one event loop."""

    def __init__(
        self,
        path: Path,
        clock_us: Callable[[], int],
        settings: LogSettings | None = None,
        new_id: Callable[[], uuid.UUID] = uuid.uuid4,
        open_storage: Callable[[Path], LogStorage] = LogStorage,
    ) -> None:
        """``clock_us`` gives microseconds since 1970 UTC; ``path`` is the store's directory."""
        self._path = path
        self._clock_us = clock_us
        self._settings = settings or LogSettings()
        self._new_id = new_id
        self._open_storage = open_storage
        self._topics: dict[str, Topic] = {}
        self._exclusive = asyncio.Lock()
        self._pending = ByteBudget(self._settings.pending_bytes_max)
        self._turn = 0
        self._open = False
        self._changes: set[asyncio.Task[object]] = set()

    async def start(self) -> None:
        """Opens the store and recovers. Raises AlderError(UNAVAILABLE, CORRUPT) where it can't."""
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="log-writer")
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="log-reader")
        self._storage = await self._writing(lambda: self._open_storage(self._path))
        try:
            recovered = await self._writing(self._storage.recover)
        except AlderError:
            await self._writing(self._storage.close)
            raise
        self._topics = {spec.name: Topic(spec, bounds) for spec, bounds in recovered.topics}
        self._timestamps = Timestamps(self._clock_us, recovered.next_timestamp_us)
        self._committer = GroupCommitter(
            self._write_group,
            self._exclusive,
            self._timestamps,
            self._settings.group_bytes_max,
            self._pending.give_back,
        )
        self._open = True
        self._committing = asyncio.create_task(self._committer.run())
        self._retaining = asyncio.create_task(self._retain())

    async def close(self) -> None:
        """Refuses new calls, commits what is queued, and closes the store."""
        if not self._open:
            return
        self._open = False
        for topic in self._topics.values():
            topic.ring()
        self._retaining.cancel()
        self._committer.close()
        await asyncio.gather(self._retaining, self._committing, return_exceptions=True)
        async with self._exclusive:
            await asyncio.to_thread(self._readers.shutdown)
            await self._writing(self._storage.close)
            self._writer.shutdown()

    async def create_topic(
        self, request: log_pb2.CreateTopicRequest, timeout_s: float | None = None
    ) -> log_pb2.CreateTopicResponse:
        """The topic of that name, made unless it exists (whatever its settings then are).

        Raises AlderError(INVALID_ARGUMENT, LIMIT).
        """
        self._check_open()
        if not 0 < len(request.topic) <= _NAME_CHARACTERS_MAX:
            raise AlderError(
                Reason.INVALID_ARGUMENT,
                f"a topic's name has 1 to {_NAME_CHARACTERS_MAX} characters; choose another",
            )
        if not 1 <= request.partitions <= self._settings.partitions_max:
            raise AlderError(
                Reason.INVALID_ARGUMENT,
                f"a topic has 1 to {self._settings.partitions_max} partitions, "
                f"not {request.partitions}",
            )
        if request.retention_ms < 0:
            raise AlderError(
                Reason.INVALID_ARGUMENT, "a retention is not negative; 0 keeps records for ever"
            )
        topic = await self._change(self._create(request))
        return log_pb2.CreateTopicResponse(
            topic_id=str(topic.spec.topic_id), partitions=topic.spec.partitions
        )

    async def delete_topic(
        self, request: log_pb2.DeleteTopicRequest, timeout_s: float | None = None
    ) -> log_pb2.DeleteTopicResponse:
        """Removes a topic and its records, if there is one. Who waits at it is told."""
        self._check_open()
        await self._change(self._delete(request.topic))
        return log_pb2.DeleteTopicResponse()

    async def append(
        self, requests: AsyncIterator[log_pb2.AppendRequest], timeout_s: float | None = None
    ) -> log_pb2.AppendResponse:
        """Appends a stream of messages; answers when all of it is on disk.

        Of a call that failed or was cancelled, what was already taken stays in the log.
        Raises AlderError(UNKNOWN_COLLECTION, INVALID_ARGUMENT, LIMIT, UNAVAILABLE, DEADLINE).
        """
        try:
            async with asyncio.timeout(timeout_s) as deadline:
                return await self._append(requests)
        except TimeoutError as error:
            if not deadline.expired():
                raise
            raise AlderError(
                Reason.DEADLINE,
                "the deadline passed before the records were on disk; some may be in the log",
            ) from error

    async def read(
        self, request: log_pb2.ReadRequest, timeout_s: float | None = None
    ) -> log_pb2.ReadResponse:
        """As :meth:`read_here`, as a message."""
        return message_of(await self.read_here(request, timeout_s))

    async def read_here(self, request: log_pb2.ReadRequest, timeout_s: float | None = None) -> Read:
        """Consecutive records from an offset; waits for one where there is none yet.

        Raises AlderError: UNKNOWN_COLLECTION, IDENTITY_CHANGED (another topic of that name),
        OUT_OF_RANGE (truncated; the metadata's ``begin_offset`` is what is left), CORRUPT.
        """
        partition = self._readable(request)
        wait_s = min(request.wait_ms / 1000, self._settings.wait_s_max)
        if timeout_s is not None:
            wait_s = min(wait_s, timeout_s - _ANSWER_MARGIN_S)
        if wait_s > 0 and partition.bounds.end <= request.offset:
            await self._wait_for(partition, request.offset, wait_s)
            self._check_same(partition, request)
        end = partition.bounds.end
        if end <= request.offset:
            return Read(request.offset, b"", end)
        size_bytes_max = min(request.size_bytes_max, self._settings.read_bytes_max)
        spec = partition.topic.spec
        try:
            records = await asyncio.get_running_loop().run_in_executor(
                self._readers,
                lambda: self._storage.read(
                    spec, partition.number, request.offset, end, size_bytes_max
                ),
            )
        except AlderError:
            self._check_same(partition, request)
            raise
        return Read(request.offset, records, partition.bounds.end)

    async def offsets(
        self, request: log_pb2.OffsetsRequest, timeout_s: float | None = None
    ) -> log_pb2.OffsetsResponse:
        """The bounds of each partition, and where it stood at a moment.

        Raises AlderError: UNKNOWN_COLLECTION, OUT_OF_RANGE (a moment before what is left), CORRUPT.
        """
        topic = self._topic(request.topic)
        response = log_pb2.OffsetsResponse(topic_id=str(topic.spec.topic_id))
        moment_us = request.at_timestamp_us if request.HasField("at_timestamp_us") else None
        if moment_us is not None:
            # What has its time but is not on the disk yet must be visible before the search.
            async with self._exclusive:
                response.ahead_us = self._timestamps.pass_by(moment_us)
        for partition in topic.partitions:
            bounds = partition.bounds
            entry = response.partitions.add(
                partition=partition.number, begin_offset=bounds.begin, end_offset=bounds.end
            )
            if moment_us is not None and not response.ahead_us:
                entry.at_offset = await asyncio.get_running_loop().run_in_executor(
                    self._readers,
                    partial(
                        self._storage.first_after, topic.spec, partition.number, bounds, moment_us
                    ),
                )
        return response

    async def truncate_expired(self) -> None:
        """Removes what each topic's retention lets go."""
        for topic in list(self._topics.values()):
            horizon = horizon_us(self._clock_us(), topic.spec.retention_ms)
            if horizon is None:
                continue
            for partition in topic.partitions:
                await self._truncate(partition, horizon)

    async def _append(
        self, requests: AsyncIterator[log_pb2.AppendRequest]
    ) -> log_pb2.AppendResponse:
        self._check_open()
        call = AppendCall(self._settings.call_bytes_max)
        topic: Topic | None = None
        async for request in requests:
            self._check_open()
            if topic is None:
                topic = self._topic(request.topic)
            elif request.topic not in ("", topic.spec.name):
                raise AlderError(
                    Reason.INVALID_ARGUMENT,
                    f"one append call writes to one topic, not to {topic.spec.name} and "
                    f"{request.topic}; use a call for each",
                )
            partition = self._partition_to_write(topic, request.partition)
            for payload in payloads(request, self._settings):
                await call.budget.take(payload.size_bytes)
                call.check()
                await self._pending.take(payload.size_bytes)
                self._committer.submit(Submission(call, partition, payload))
        await call.budget.emptied()
        call.check()
        return call.response()

    def _partition_to_write(self, topic: Topic, number: int) -> Partition:
        if number == ANY_PARTITION:
            self._turn += 1
            number = self._turn % len(topic.partitions)
        return _partition(topic, number)

    def _topic(self, name: str) -> Topic:
        self._check_open()
        topic = self._topics.get(name)
        if topic is None:
            raise AlderError(
                Reason.UNKNOWN_COLLECTION, f"the log has no topic {name!r}; create the collection"
            )
        return topic

    def _readable(self, request: log_pb2.ReadRequest) -> Partition:
        if request.offset < 0 or request.size_bytes_max < 0 or request.wait_ms < 0:
            raise AlderError(
                Reason.INVALID_ARGUMENT, "offset, size_bytes_max and wait_ms are not negative"
            )
        partition = _partition(self._topic(request.topic), request.partition)
        self._check_same(partition, request)
        return partition

    def _check_same(self, partition: Partition, request: log_pb2.ReadRequest) -> None:
        self._check_open()
        topic = self._topic(request.topic)
        topic_id = str(topic.spec.topic_id)
        if topic is not partition.topic or request.topic_id not in ("", topic_id):
            raise AlderError(
                Reason.IDENTITY_CHANGED,
                f"topic {request.topic} is not the one that was read before: it was deleted and "
                "created again; start over with a new collection",
                topic_id=topic_id,
            )
        if request.offset < partition.bounds.begin:
            raise AlderError(
                Reason.OUT_OF_RANGE,
                f"topic {request.topic}, partition {partition.number} begins at offset "
                f"{partition.bounds.begin} now, {request.offset} was truncated by its retention",
                begin_offset=str(partition.bounds.begin),
            )

    async def _wait_for(self, partition: Partition, offset: int, wait_s: float) -> None:
        try:
            async with asyncio.timeout(wait_s):
                while partition.bounds.end <= offset and self._open and not partition.topic.deleted:
                    await partition.changed()
        except TimeoutError:
            return

    async def _change(self, work: Coroutine[None, None, _Result]) -> _Result:
        """Does ``work`` to its end even if the caller is cancelled: memory and disk must agree."""
        task = asyncio.create_task(work)
        self._changes.add(task)
        task.add_done_callback(self._changes.discard)
        return await asyncio.shield(task)

    async def _create(self, request: log_pb2.CreateTopicRequest) -> Topic:
        async with self._exclusive:
            self._check_open()
            known = self._topics.get(request.topic)
            if known is not None:
                return known
            if len(self._topics) >= self._settings.topics_max:
                raise AlderError(
                    Reason.LIMIT,
                    f"the log has {len(self._topics)} topics, the limit; drop some first",
                )
            spec = TopicSpec(
                request.topic, self._new_id(), request.partitions, request.retention_ms
            )
            await self._writing(lambda: self._storage.put_topic(spec))
            topic = Topic(spec, [Bounds()] * spec.partitions)
            self._topics[spec.name] = topic
            return topic

    async def _delete(self, name: str) -> None:
        async with self._exclusive:
            self._check_open()
            topic = self._topics.pop(name, None)
            if topic is None:
                return
            topic.deleted = True
            topic.ring()
            next_us = self._timestamps.next_us
            try:
                await self._writing(lambda: self._storage.delete_topic(topic.spec, next_us))
            except AlderError:
                topic.deleted = False
                self._topics[name] = topic
                raise

    async def _truncate(self, partition: Partition, horizon: int) -> None:
        spec, bounds = partition.topic.spec, partition.bounds
        until = await asyncio.get_running_loop().run_in_executor(
            self._readers,
            lambda: self._storage.expired_until(spec, partition.number, bounds, horizon),
        )
        async with self._exclusive:
            if until == bounds.begin or partition.topic.deleted:
                return
            next_us = self._timestamps.next_us
            partition.move(Bounds(until, partition.bounds.end))
            await self._writing(
                lambda: self._storage.truncate(spec, partition.number, until, next_us)
            )

    async def _retain(self) -> None:
        while True:
            await asyncio.sleep(self._settings.retention_check_s)
            try:
                await self.truncate_expired()
            except AlderError as error:
                logger.error("expired records could not be removed: %s", error)

    async def _write_group(self, group: Sequence[PlacedBlock]) -> None:
        await self._writing(lambda: self._storage.write(group))

    async def _writing(self, work: Callable[[], _Result]) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._writer, work)

    def _check_open(self) -> None:
        if not self._open:
            raise AlderError(Reason.UNAVAILABLE, "the log is closed; start the server")


def _partition(topic: Topic, number: int) -> Partition:
    if not 0 <= number < len(topic.partitions):
        raise AlderError(
            Reason.INVALID_ARGUMENT,
            f"topic {topic.spec.name} has partitions 0 to {len(topic.partitions) - 1}, "
            f"there is no {number}",
        )
    return topic.partitions[number]
