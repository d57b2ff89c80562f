"""A partition of a Kafka topic as a source; offsets are the topic's own.

A batch ends where the consumer's position is, so control records, aborted transactions and what
compaction removed are passed, also at the end of the log where no record follows.

The invariant: a batch holds records of the very topic and history that the collection began to
read. After each read the topic's identity is asked for: what was fetched before came from the topic
that is there now. Each seek tells the leader epoch of the position, so that the brokers refuse it
where the log was cut back meanwhile. Where records are lost, reading stops, or, if the settings say
so, the loss is one record in quarantine.
"""

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Final

import numpy as np
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from alder.catalog import SourcePartition
from alder.errors import AlderError, Reason
from alder.topicurl import TopicUrl
from tailer.sources.kafka.clients import KafkaClients
from tailer.sources.kafka.lost import Expired, judged
from tailer.sources.kafka.records import (
    binary_array,
    columns_of,
    keys_of,
    offsets_of,
    times_of,
    values_of,
)
from tailer.sources.model import (
    PartitionSource,
    Quarantined,
    RawBatch,
    ReadLimits,
    empty_batch,
    gap,
)

_UNKNOWN: Final = -1


class KafkaSource(PartitionSource):
    """One partition. All work is done on a thread of its own, one read after the other."""

    finite = False

    def __init__(
        self,
        clients: KafkaClients,
        url: TopicUrl,
        topic_id: str,
        partition: SourcePartition,
        limits: ReadLimits,
        queue_bytes_max: int,
    ) -> None:
        self._clients = clients
        self._url = url
        self._topic_id = topic_id
        self._partition = partition.partition
        self._begin_offset = partition.begin_offset
        self._limits = limits
        self._queue_bytes_max = queue_bytes_max
        self._thread = ThreadPoolExecutor(1, f"kafka-{url.topic}-{partition.partition}")
        self._format, self._key_format = clients.formats(url)
        self._consumer: Consumer | None = None
        # Where the last batch ended, and whether the consumer goes on there.
        self._end, self._leader_epoch = _UNKNOWN, _UNKNOWN
        self._goes_on = False

    async def read(self, offset: int, wait_ms: int, leader_epoch: int = -1) -> RawBatch:
        """See ``PartitionSource``."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._read, offset, wait_ms, leader_epoch)

    def close(self) -> None:
        """Returns at once; the connection is closed by its own thread."""
        self._thread.submit(self._close)
        self._thread.shutdown(wait=False)

    def _read(self, offset: int, wait_ms: int, leader_epoch: int) -> RawBatch:
        if offset < self._begin_offset:
            return replace(empty_batch(offset), end=self._begin_offset)
        try:
            return self._fetched(offset, wait_ms, leader_epoch)
        except KafkaException as error:
            raise self._clients.unavailable(self._url, str(error.args[0].str())) from error

    def _fetched(self, offset: int, wait_ms: int, leader_epoch: int) -> RawBatch:
        consumer = self._placed(offset, leader_epoch)
        self._goes_on = False
        # With a longer wait for more than one, it would wait until there are as many.
        messages = consumer.consume(1, wait_ms / 1_000)
        if messages:
            messages += consumer.consume(self._limits.rows_max - 1, 0)
        self._check_topic()
        records, trouble = _split(messages)
        if trouble is not None and not records:
            return self._explained(consumer, offset, trouble)
        end, epoch = offset, self._leader_epoch
        if trouble is None:
            (position,) = consumer.position([self._place()])
            if position.offset > offset:
                end, epoch = position.offset, _epoch(position.leader_epoch)
        else:
            # The trouble is met again by the next read, which begins where it is.
            end = int(offsets_of(records[-1:])[0]) + 1
            epoch = _epoch(records[-1].leader_epoch())
        batch = self._batch(consumer, offset, records)
        self._end, self._leader_epoch, self._goes_on = end, epoch, trouble is None
        return replace(batch, end=end, leader_epoch=epoch)

    def _placed(self, offset: int, leader_epoch: int) -> Consumer:
        """A consumer that goes on at ``offset``.

        Each jump takes another one: only where a consumer begins does it have the leader epoch
        compared for certain; one that was refused and is assigned the same place again is not.
        """
        if self._consumer is not None and self._goes_on and self._end == offset:
            return self._consumer
        if leader_epoch == _UNKNOWN and self._end == offset:
            leader_epoch = self._leader_epoch
        self._close()
        self._consumer = self._clients.consumer(self._url, self._queue_bytes_max)
        place = TopicPartition(self._url.topic, self._partition, offset, leader_epoch=leader_epoch)
        self._consumer.assign([place])
        self._end, self._leader_epoch = offset, leader_epoch
        return self._consumer

    def _place(self) -> TopicPartition:
        return TopicPartition(self._url.topic, self._partition)

    def _check_topic(self) -> None:
        topic = self._clients.topic(self._url)
        if topic.topic_id != self._topic_id:
            raise AlderError(
                Reason.IDENTITY_CHANGED,
                f"the topic {self._url.topic} at {self._url.brokers} was deleted and created "
                "again; to read the new one, drop the collection and create it again",
            )
        if self._partition not in topic.partitions:
            raise self._clients.unavailable(
                self._url,
                f"the brokers list {len(topic.partitions)} partitions, without partition "
                f"{self._partition}; it goes on when they list it again",
            )

    def _batch(self, consumer: Consumer, offset: int, records: Sequence[Message]) -> RawBatch:
        _, high = consumer.get_watermark_offsets(self._place(), cached=True)
        batch = empty_batch(offset, source_end=max(high, -1))
        if not records:
            return batch
        values, keys = values_of(records), keys_of(records)
        texts = self._format.texts(values)
        reasons = texts.reasons
        if keys is not None and self._key_format is not None:
            keys, of_keys = self._key_format.texts(keys)
            reasons = of_keys | reasons
        whole = replace(
            batch,
            records=binary_array(texts.texts),
            offsets=offsets_of(records),
            log_times_us=times_of(records),
            keys=keys,
            columns=columns_of(records, keys),
        )
        return self._without_refused(whole, values, reasons) if reasons else whole

    def _without_refused(
        self, batch: RawBatch, values: Sequence[bytes], reasons: Mapping[int, str]
    ) -> RawBatch:
        prefix = self._limits.prefix_bytes_max
        refused = tuple(
            Quarantined(int(batch.offsets[at]), why, values[at][:prefix], len(values[at]))
            for at, why in reasons.items()
        )
        good = np.ones(len(values), dtype=bool)
        good[list(reasons)] = False
        return replace(batch.where(good), quarantined=refused)

    def _explained(self, consumer: Consumer, offset: int, trouble: KafkaError) -> RawBatch:
        """What the trouble means: an error, or the loss as a record where that is wanted."""
        if trouble.code() != KafkaError._AUTO_OFFSET_RESET:
            raise self._clients.unavailable(self._url, trouble.str())
        timeout_s = self._clients.settings.timeout_s
        begin, end = consumer.get_watermark_offsets(self._place(), timeout_s, cached=False)
        what = f"partition {self._partition} of the topic {self._url.topic}"
        lost = judged(offset, begin, end)
        if not isinstance(lost, Expired):
            raise AlderError(
                Reason.OUT_OF_RANGE,
                f"{what} was cut back: it had been read up to offset {offset}, and not all of "
                f"that is in its log any more ({trouble.str()}). The collection has records "
                "that the topic has lost; drop it and create it again",
            )
        reason = (
            f"offsets {offset} to {lost.begin - 1} of {what} were removed by its retention before "
            "they were read"
        )
        if self._clients.settings.lost_records == "quarantine":
            return gap(offset, lost.begin, reason)
        raise AlderError(
            Reason.OUT_OF_RANGE,
            f"{reason}; to go on without them, set kafka.lost_records to quarantine for the "
            "tailers and start them again; lengthen the retention to keep records until they are "
            "read",
        )

    def _close(self) -> None:
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None


def _split(messages: Sequence[Message]) -> tuple[Sequence[Message], KafkaError | None]:
    """The records up to the first error, and that error; the end of the log is none."""
    records: list[Message] = []
    for message, error in zip(messages, map(Message.error, messages), strict=True):
        if error is None:
            records.append(message)
        elif error.code() != KafkaError._PARTITION_EOF:
            return records, error
    return records, None


def _epoch(told: int | None) -> int:
    return _UNKNOWN if told is None or told < 0 else told
