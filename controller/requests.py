"""Checks of what users ask the catalog for, and the collection that a request describes. Pure."""

import difflib
import re
from collections.abc import Iterable, Sequence
from typing import Final

from alder import paths
from alder.catalog import (
    DEBEZIUM,
    KAFKA_SCHEME,
    LOG_SOURCE,
    Collection,
    CollectionSettings,
    Source,
    SourcePartition,
    check_collection_name,
)
from alder.errors import AlderError, Reason
from alder.indexing import IndexSetting, check_index_settings
from alder.periods import PERIOD_US_MAX
from alder.slots import SLOTS
from alder.topicurl import TopicUrl
from alder.v1 import catalog_pb2
from controller.settings import ControllerSettings

PERIOD_US_MIN: Final = 60_000_000
_FILE: Final = re.compile(r"file:///.|s3://[a-z0-9][a-z0-9.-]+/.")


def check_create(
    request: catalog_pb2.CreateCollectionRequest, settings: ControllerSettings
) -> None:
    """Raises AlderError(INVALID_ARGUMENT, LIMIT) unless such a collection can be."""
    check_collection_name(request.name)
    if not 0 <= request.shards <= SLOTS:
        raise AlderError(
            Reason.INVALID_ARGUMENT, f"a collection has 1 to {SLOTS} shards, not {request.shards}"
        )
    if request.log_partitions < 0:
        raise AlderError(Reason.INVALID_ARGUMENT, "a topic has at least 1 partition")
    for what, path in (
        ("key", request.key_path),
        ("time", request.time_path),
        ("shard-by", request.shard_by_path),
    ):
        _check_path(what, path, settings.text_characters_max)
    if request.key_path and request.shard_by_path not in {"", request.key_path}:
        raise AlderError(
            Reason.INVALID_ARGUMENT,
            "a collection with a key spreads by its key, so that all documents of a key meet in "
            "one shard; leave --shard-by out",
        )
    _check_keyed(request, settings)
    _check_cluster_by(request.settings.cluster_by_paths, settings)
    check_index_settings(
        [IndexSetting(entry.path, entry.kind) for entry in request.settings.indexes],
        settings.index_settings_max,
        settings.text_characters_max,
    )
    _check_period("documents are retained", request.settings.retain_us)
    _check_period("history reaches back", request.settings.history_us)
    _check_urls(request.source_urls, settings)


def _check_keyed(
    request: catalog_pb2.CreateCollectionRequest, settings: ControllerSettings
) -> None:
    kept = request.settings
    _check_path("version", kept.version_path, settings.text_characters_max)
    _check_path("deleted", kept.deleted_path, settings.text_characters_max)
    if kept.envelope not in {"", DEBEZIUM}:
        raise AlderError(
            Reason.INVALID_ARGUMENT, f"{kept.envelope!r} is no envelope; give {DEBEZIUM}"
        )
    wanted = {
        "--version": kept.version_path,
        "--deleted": kept.deleted_path,
        "--merge": kept.merge,
        "--envelope": kept.envelope,
    }
    given = [option for option, value in wanted.items() if value]
    if given and not request.key_path:
        raise AlderError(
            Reason.INVALID_ARGUMENT,
            f"{given[0]} is for collections with a key; say with --key where it is",
        )
    if kept.envelope and (kept.merge or kept.deleted_path):
        raise AlderError(
            Reason.INVALID_ARGUMENT,
            "an envelope has whole documents and says itself what is deleted; leave --merge and "
            "--deleted out",
        )
    if kept.merge and request.log_partitions > 1:
        raise AlderError(
            Reason.INVALID_ARGUMENT,
            "patches of a key have to be in one partition, and the log spreads documents; leave "
            "--partitions out, so that there is one",
        )


def check_transformed(kept: CollectionSettings) -> None:
    """Raises AlderError(UNSUPPORTED) for a transformation that such a collection can't have."""
    if kept.envelope and kept.transform_sql:
        raise AlderError(
            Reason.UNSUPPORTED,
            "a transformation takes records as they are, and they are in an envelope here; "
            "leave it out and use a view",
        )
    if kept.merge and kept.ordinal_bits:
        raise AlderError(
            Reason.UNSUPPORTED,
            "a record that becomes several documents is refused whole or not at all, which patches "
            "of several keys can't be; leave --merge out, or unnest in a view",
        )


def _check_period(what: str, period_us: int) -> None:
    if period_us and not PERIOD_US_MIN <= period_us <= PERIOD_US_MAX:
        raise AlderError(
            Reason.INVALID_ARGUMENT, f"{what} for a minute at least and 1,000 years at most"
        )


def _check_cluster_by(cluster_by: Sequence[str], settings: ControllerSettings) -> None:
    if len(cluster_by) > settings.cluster_by_max:
        raise AlderError(
            Reason.LIMIT, f"rows are ordered by at most {settings.cluster_by_max} paths"
        )
    if len(set(cluster_by)) < len(cluster_by):
        raise AlderError(Reason.INVALID_ARGUMENT, "a cluster-by path is given twice")
    for path in cluster_by:
        if not path:
            raise AlderError(Reason.INVALID_ARGUMENT, "a cluster-by path is empty")
        if path in paths.SYSTEM_FIELDS and path != "_time":
            raise AlderError(
                Reason.INVALID_ARGUMENT,
                f"rows can't be ordered by {path}; name fields of the documents, or _time",
            )
        _check_path("cluster-by", path, settings.text_characters_max)


def _check_path(what: str, path: str, characters_max: int) -> None:
    if len(path) > characters_max:
        raise AlderError(Reason.LIMIT, f"a path has at most {characters_max} characters")
    if path:
        try:
            paths.split(path)
        except ValueError as error:
            raise AlderError(Reason.INVALID_ARGUMENT, f"the {what} path: {error}") from error


def _check_urls(urls: Iterable[str], settings: ControllerSettings) -> None:
    known: set[str] = set()
    for url in urls:
        if url.startswith(KAFKA_SCHEME):
            TopicUrl.parse(url)
        elif not _FILE.match(url):
            raise AlderError(
                Reason.INVALID_ARGUMENT,
                f"{url!r} can't be a source; give files as file:///directory/*.jsonl, with an "
                "absolute path, or s3://bucket/prefix/*.jsonl, and a Kafka topic as "
                "kafka://host:port/topic",
            )
        if len(url) > settings.text_characters_max:
            raise AlderError(
                Reason.LIMIT,
                f"a source's URL has at most {settings.text_characters_max} characters",
            )
        if url in known:
            raise AlderError(Reason.INVALID_ARGUMENT, f"the source {url!r} is given twice")
        known.add(url)
    if len(known) > settings.sources_max:
        raise AlderError(
            Reason.LIMIT,
            f"a collection has at most {settings.sources_max} sources; use globs for files",
        )


def log_partitions(
    request: catalog_pb2.CreateCollectionRequest, settings: ControllerSettings
) -> int:
    """Partitions of the topic: one where the order of documents says which of a key is the last."""
    default = 1 if request.key_path else settings.log_partitions_default
    return request.log_partitions or default


def sources(urls: Iterable[str], topic_id: str, log_partitions: int) -> tuple[Source, ...]:
    """The log, then files as ``file1``, ``file2``, ..., and topics as ``kafka1``, ..., as given."""
    log = Source(
        LOG_SOURCE,
        LOG_SOURCE,
        topic_id,
        tuple(SourcePartition(number) for number in range(log_partitions)),
    )
    given = list(urls)
    topics = [url for url in given if url.startswith(KAFKA_SCHEME)]
    files = [url for url in given if url not in topics]
    return (
        log,
        *(Source(f"file{number}", url) for number, url in enumerate(files, start=1)),
        *(Source(f"kafka{number}", url) for number, url in enumerate(topics, start=1)),
    )


def already_exists(name: str) -> AlderError:
    """The error for a second collection of a name."""
    return AlderError(
        Reason.ALREADY_EXISTS, f"the collection {name} exists; drop it first or choose another name"
    )


def unknown_collection(name: str, collections: Iterable[str]) -> AlderError:
    """The error for a name that is not a collection's, with the nearest one that is."""
    near = difflib.get_close_matches(name, sorted(collections), n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return AlderError(Reason.UNKNOWN_COLLECTION, f"there is no collection {name!r}{hint}")


def found_source(collection: Collection, name: str) -> Source:
    """The source of that name, whose partitions tailers find. Raises
    AlderError(INVALID_ARGUMENT) for the embedded log, and where there is none.
    """
    for source in collection.sources:
        if source.name == name and source.name != LOG_SOURCE:
            return source
    raise AlderError(
        Reason.INVALID_ARGUMENT,
        f"the collection {collection.name} has no source {name!r} of files or topics",
    )
