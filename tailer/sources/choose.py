"""Chooses the reader of a partition by its source's URL."""

from collections.abc import Callable
from concurrent.futures import Executor

from alder.catalog import LOG_SOURCE, Source, SourcePartition
from alder.errors import AlderError, Reason
from alder.interfaces import LogReader
from alder.topicurl import TopicUrl
from tailer.settings import TailerSettings
from tailer.sources.file import FileSource
from tailer.sources.kafka.clients import KafkaClients
from tailer.sources.kafka.source import KafkaSource
from tailer.sources.listing import FILE_SCHEMES
from tailer.sources.log import LogSource
from tailer.sources.model import PartitionSource, ReadLimits
from tailer.sources.skipped import WithoutSkipped


def open_partition(
    log: LogReader,
    topic: str,
    source: Source,
    partition: SourcePartition,
    settings: TailerSettings,
    executor: Executor,
    busy_partitions: Callable[[], int],
    kafka: KafkaClients,
) -> PartitionSource:
    """The reader of a partition; nothing is opened before the first read.

    It passes what is to be skipped. ``busy_partitions`` tells how many share the memory for what is
    read of logs.
    Raises AlderError: UNSUPPORTED for a URL of another kind, INVALID_ARGUMENT for a wrong one.
    """
    reads = _opened(log, topic, source, partition, settings, executor, busy_partitions, kafka)
    return WithoutSkipped(reads, partition.skipped) if partition.skipped else reads


def _opened(
    log: LogReader,
    topic: str,
    source: Source,
    partition: SourcePartition,
    settings: TailerSettings,
    executor: Executor,
    busy_partitions: Callable[[], int],
    kafka: KafkaClients,
) -> PartitionSource:
    limits = ReadLimits(
        settings.batch_size_bytes_max,
        settings.batch_rows_max,
        settings.decode.document_size_bytes_max,
        settings.quarantine_prefix_bytes_max,
    )
    if source.url == LOG_SOURCE:
        return LogSource(
            log,
            topic,
            source.topic_id,
            partition.partition,
            limits,
            settings.read_timeout_s,
            lambda: settings.log_read_bytes(busy_partitions()),
        )
    if source.url.startswith(FILE_SCHEMES):
        return FileSource(partition.name, partition.identity, limits, executor)
    if source.is_topic:
        # A queue can't be made smaller later, so it is as if all partitions were busy.
        queue_bytes = settings.log_read_bytes(len(source.partitions))
        return KafkaSource(
            kafka, TopicUrl.parse(source.url), source.topic_id, partition, limits, queue_bytes
        )
    raise AlderError(
        Reason.UNSUPPORTED,
        f"source {source.name!r} has the URL {source.url!r}; use 'log', file://, s3:// or kafka://",
    )
