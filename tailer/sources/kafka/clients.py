"""The connections of a tailer to Kafka: one consumer per partition, one admin client per cluster.

A consumer of its own gives each partition a queue of its own, so a slow leaf holds back its
partition alone, and no more than the queue's limit is held in memory: fetching pauses, nothing is
dropped. Consumers are assigned partitions and never join a group or commit an offset: how far a
partition was read is known by the leaves alone, together with the rows (I2).
"""

import logging
import threading
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, ConfigResource, OffsetSpec

from alder.errors import AlderError, Reason
from alder.topicurl import TopicUrl
from tailer.settings import KafkaSettings
from tailer.sources.kafka.complaints import Complaints
from tailer.sources.kafka.logins import Login, login_of
from tailer.sources.kafka.registry import SchemaRegistry
from tailer.sources.kafka.values import JsonValues, SchemaKeys, ValueFormat, schema_values

logger = logging.getLogger(__name__)
FETCH_BYTES_MIN: Final = 64 << 10
Property = str | int | float | bool
_NEVER_MS: Final = 86_400_000
_LOG_LEVEL: Final = 2
"""Of librdkafka: what it finds wrong with a connection is told by the calls that need it."""


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as the brokers describe it; ``partitions`` are those that they list now."""

    topic_id: str
    partitions: tuple[int, ...]


class KafkaClients:
    """Makes clients and asks about topics. For use from any thread."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._admins: dict[str, AdminClient] = {}
        self._complaints: defaultdict[str, Complaints] = defaultdict(Complaints)
        self._lock = threading.Lock()

    @property
    def settings(self) -> KafkaSettings:
        """Limits and choices."""
        return self._settings

    def consumer(self, url: TopicUrl, queue_bytes_max: int) -> Consumer:
        """A consumer without an assignment that holds about as many bytes ahead.

        Raises AlderError(INVALID_ARGUMENT) for a login that can't be.
        """
        fetch_bytes = max(queue_bytes_max // 2, FETCH_BYTES_MIN)
        owned: dict[str, Property] = {
            "group.id": "alder",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "check.crcs": True,
            "max.poll.interval.ms": _NEVER_MS,
            "queued.max.messages.kbytes": max(queue_bytes_max >> 10, 1),
            "fetch.message.max.bytes": fetch_bytes,
            # The default lets a full queue run empty before the next fetch.
            "fetch.queue.backoff.ms": 5,
        }
        login = login_of(self._settings.config_file, url.brokers)
        try:
            heard = self._complaints[url.brokers].heard
            return Consumer(_properties(url, login, owned), logger=logger, error_cb=heard)
        except KafkaException as error:
            raise _refused(url, login, error) from error

    def formats(self, url: TopicUrl) -> tuple[ValueFormat, SchemaKeys | None]:
        """How the topic's values become JSON texts, and its keys, unless they are texts.

        Raises AlderError(INVALID_ARGUMENT) for a login of the registry that can't be.
        """
        if not url.registry:
            return JsonValues(), None
        settings = self._settings
        registry = SchemaRegistry(url.registry, settings.config_file, settings.timeout_s)
        values = schema_values(url, registry)
        return values, SchemaKeys(values) if url.keys == "schema" else None

    def topic(self, url: TopicUrl) -> Topic:
        """The topic as it is at this moment.

        Raises AlderError(UNAVAILABLE) where there is none or no broker answers in time.
        """
        asked = TopicCollection([url.topic])
        try:
            answers = self._admin(url).describe_topics(
                asked, request_timeout=self._settings.timeout_s
            )
            described = answers[url.topic].result()
            self._complaints[url.brokers].answered()
        except KafkaException as error:
            raise self.unavailable(url, str(error.args[0].str())) from error
        return Topic(
            str(described.topic_id), tuple(sorted(entry.id for entry in described.partitions))
        )

    def begin_offsets(self, url: TopicUrl, partitions: tuple[int, ...]) -> dict[int, int]:
        """Where each partition begins, or ends for a URL that starts at the latest record.

        Raises AlderError(UNAVAILABLE) unless all of them can be told.
        """
        spec = OffsetSpec.latest() if url.start == "latest" else OffsetSpec.earliest()
        return self._offsets(url, partitions, spec)

    def end_offsets(self, url: TopicUrl, partitions: tuple[int, ...]) -> dict[int, int]:
        """Up to where each partition can be read: transactions that are open end it.

        Raises AlderError(UNAVAILABLE) unless all of them can be told.
        """
        return self._offsets(url, partitions, OffsetSpec.latest())

    def _offsets(
        self, url: TopicUrl, partitions: tuple[int, ...], spec: OffsetSpec
    ) -> dict[int, int]:
        try:
            answers = self._admin(url).list_offsets(
                {TopicPartition(url.topic, number): spec for number in partitions},
                isolation_level=IsolationLevel.READ_COMMITTED,
                request_timeout=self._settings.timeout_s,
            )
            return {entry.partition: answer.result().offset for entry, answer in answers.items()}
        except KafkaException as error:
            raise self.unavailable(url, str(error.args[0].str())) from error

    def is_compacted(self, url: TopicUrl) -> bool:
        """Whether brokers remove records that later ones of their key have replaced.

        Raises AlderError(UNAVAILABLE) where they don't tell.
        """
        resource = ConfigResource(ConfigResource.Type.TOPIC, url.topic)
        try:
            (answer,) = (
                self._admin(url)
                .describe_configs([resource], request_timeout=self._settings.timeout_s)
                .values()
            )
            return "compact" in str(answer.result()["cleanup.policy"].value)
        except KafkaException as error:
            raise self.unavailable(url, str(error.args[0].str())) from error

    def unavailable(self, url: TopicUrl, why: str) -> AlderError:
        """The error for a topic that can't be read at this moment."""
        complaints = self._complaints[url.brokers]
        with self._lock:
            admin = self._admins.get(url.brokers)
        if admin is not None:
            admin.poll(0)
        if complaints.of_settings:
            # The next one is made by the settings as they are by then.
            with self._lock:
                self._admins.pop(url.brokers, None)
        login = login_of(self._settings.config_file, url.brokers)
        told = login.without_secrets(complaints.beside(why))
        return AlderError(
            Reason.UNAVAILABLE, f"the topic {url.topic} at {url.brokers} can't be read: {told}"
        )

    def _admin(self, url: TopicUrl) -> AdminClient:
        with self._lock:
            known = self._admins.get(url.brokers)
            if known is None:
                login = login_of(self._settings.config_file, url.brokers)
                heard = self._complaints[url.brokers].heard
                try:
                    known = AdminClient(_properties(url, login, {}), logger=logger, error_cb=heard)
                except KafkaException as error:
                    raise _refused(url, login, error) from error
                self._admins[url.brokers] = known
        return known


def _properties(url: TopicUrl, login: Login, owned: Mapping[str, Property]) -> dict[str, Property]:
    """Raises AlderError(INVALID_ARGUMENT) for a login with a property that is decided here."""
    base: dict[str, Property] = {
        "bootstrap.servers": url.brokers,
        "client.id": "alder",
        "log_level": _LOG_LEVEL,
        "reconnect.backoff.max.ms": 1_000,
    }
    decided = owned.keys() & login.properties.keys()
    if decided:
        raise AlderError(
            Reason.INVALID_ARGUMENT,
            f"the property {min(decided)} of the brokers {url.brokers} is decided by Alder; "
            "leave it out",
        )
    return {**base, **login.properties, **owned}


def _refused(url: TopicUrl, login: Login, error: KafkaException) -> AlderError:
    why = login.without_secrets(str(error.args[0].str()))
    return AlderError(
        Reason.INVALID_ARGUMENT,
        f"no client for the brokers {url.brokers} with these settings: {why}",
    )
