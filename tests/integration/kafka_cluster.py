"""A Kafka cluster as tests see it: topics, records, and the broker process if it is ours."""

import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from confluent_kafka import KafkaException, Producer, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic, OffsetSpec
from kafka_broker import Broker

TIMEOUT_S: Final = 30.0
PASSWORD: Final = "a secret of this test"
_QUIET: Final = {"log_level": 0, "reconnect.backoff.max.ms": 200}
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Record:
    """What is produced; a value None is a tombstone."""

    value: bytes | None
    key: bytes | None = None
    headers: tuple[tuple[str, bytes | None], ...] = ()
    timestamp_ms: int = 0


@dataclass
class KafkaCluster:
    """Where to connect; the broker and the directory of its certificates if it was started here."""

    bootstrap: str
    broker: Broker | None = None
    certificates: Path | None = None
    admin: AdminClient = field(init=False)

    def __post_init__(self) -> None:
        self.admin = AdminClient({"bootstrap.servers": self.bootstrap, **_QUIET})

    def url(self, topic: str, query: str = "") -> str:
        """The topic as a source."""
        return f"kafka://{self.bootstrap}/{topic}{'?' + query if query else ''}"

    def new_topic(self, partitions: int = 1, **settings: str) -> str:
        """Creates a topic with a name that no other test has; settings with _ for dots."""
        topic = f"events-{uuid.uuid4().hex[:12]}"
        self.create(topic, partitions, **settings)
        return topic

    def create(self, topic: str, partitions: int = 1, **settings: str) -> None:
        """Creates a topic; without a setting for it, nothing is removed for its age."""
        config = {"retention.ms": "-1"}
        config |= {name.replace("_", "."): value for name, value in settings.items()}
        wanted = NewTopic(topic, partitions, 1, config=config)
        self._insist(f"{topic} was not created", lambda: _wait(self.admin.create_topics([wanted])))
        self._insist(f"no leaders for {topic}", lambda: self._ask_leaders(topic, partitions))

    def _ask_leaders(self, topic: str, partitions: int) -> None:
        # A client that found a topic without a leader does not look again before it is told to.
        _wait(self.admin.describe_topics(TopicCollection([topic])))
        asked = {TopicPartition(topic, n): OffsetSpec.latest() for n in range(partitions)}
        _wait(self.admin.list_offsets(asked))

    def _insist(self, failure: str, call: Callable[[], None]) -> None:
        """Calls until it succeeds: a broker that got no CPU for its session is out for a moment."""
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            try:
                return call()
            except (KafkaException, TimeoutError) as error:
                if time.monotonic() > deadline:
                    raise AssertionError(f"{failure}: {error!r}; {self._broker_says()}") from error
                time.sleep(0.05)

    def _broker_says(self) -> str:
        if self.broker is None:
            return f"the broker is {self.bootstrap}"
        return f"the broker's output ends with {self.broker.output.read_text()[-2000:]!r}"

    def delete(self, topic: str) -> None:
        """Deletes a topic."""
        _wait(self.admin.delete_topics([topic]))

    def grow(self, topic: str, partitions: int) -> None:
        """Adds partitions up to that many."""
        _wait(self.admin.create_partitions([NewPartitions(topic, partitions)]))

    def delete_records(self, topic: str, before_offset: int, partition: int = 0) -> None:
        """Does what retention does: the log begins at ``before_offset`` afterwards."""
        _wait(self.admin.delete_records([TopicPartition(topic, partition, before_offset)]))

    def produce(
        self, topic: str, records: Iterable[Record | bytes], partition: int = 0
    ) -> list[int]:
        """Produces in order; the offsets that the records got."""
        offsets: list[int] = []
        producer = self.producer()
        for record in records:
            self.send(producer, topic, record, partition, offsets.append)
        assert producer.flush(TIMEOUT_S) == 0, "the broker did not take all records"
        return offsets

    def producer(self, settings: Mapping[str, object] | None = None) -> Producer:
        """A producer; ``settings`` as librdkafka names them."""
        base = {"bootstrap.servers": self.bootstrap, "linger.ms": 5, **_QUIET}
        return Producer({**base, **(settings or {})})

    def send(
        self,
        producer: Producer,
        topic: str,
        record: Record | bytes,
        partition: int = 0,
        arrived: Callable[[int], None] = lambda offset: None,
    ) -> None:
        """Queues one record; ``arrived`` is told its offset."""
        made = Record(record) if isinstance(record, bytes) else record

        def report(error: object, message: object) -> None:
            assert error is None, error
            arrived(message.offset())

        producer.produce(
            topic,
            made.value,
            made.key,
            partition,
            on_delivery=report,
            timestamp=made.timestamp_ms,
            headers=list(made.headers),
        )
        producer.poll(0)


def _wait(futures: Mapping[object, object]) -> None:
    for future in futures.values():
        future.result(TIMEOUT_S)
