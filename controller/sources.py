"""What pausing, resuming and seeking change in the catalog. Pure.

Pausing, and seeking, begin another epoch of the collection. So a tailer that has not heard of it
can't push any more where the leaf has, and a leaf that tells its positions in the epoch of the
pause tells where they stay.

To seek is to say that a range of offsets is not read. It is a range that no shard has read anything
of, so what the collection holds stays a function of the log and the catalog (I1), and every record
outside of it is there exactly once (I2).
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from alder.catalog import Collection, SkippedRange, Source, SourcePartition, next_name
from alder.errors import AlderError, Reason
from alder.v1 import catalog_pb2
from controller.changes import CatalogState, Change, PutCollection


def changed(
    state: CatalogState,
    collection: Collection,
    request: catalog_pb2.ChangeSourcesRequest,
    ranges_max: int,
) -> Sequence[Change]:
    """The collection with its sources as they are to be; nothing where they are so.

    Raises AlderError: INVALID_ARGUMENT for a source or a partition that there is not, and for an
    offset that was read already; CONFLICT while the collection is being built anew, for a seek in a
    source that is not paused, and for positions of another epoch; LIMIT.
    """
    if next_name(collection.name) in state.snapshot.collections or collection.topic:
        raise AlderError(
            Reason.CONFLICT,
            f"{collection.log_topic} is being built anew from the same sources; wait until that is "
            f"done, or give it up with `alder rebuild {collection.log_topic} --abort`",
        )
    chosen = _chosen(collection, request.sources)
    sources = list(collection.sources)
    for at, source in enumerate(sources):
        if source.name in chosen:
            if request.HasField("paused"):
                sources[at] = source = replace(source, paused=request.paused)
            if request.seeks:
                _check_seekable(collection, source, chosen, request.epoch)
                sources[at] = _sought(source, request.seeks, ranges_max)
    if tuple(sources) == collection.sources:
        return ()
    return (PutCollection(replace(collection, sources=tuple(sources), epoch=collection.epoch + 1)),)


def check_none_paused(collection: Collection) -> None:
    """Raises AlderError(CONFLICT) if a source is paused: what it has left unread is to stay so."""
    for source in collection.sources:
        if source.paused:
            raise AlderError(
                Reason.CONFLICT,
                f"the source {source.name} of {collection.name} is paused, and building anew would "
                f"read on; let it go on first with `alder source {collection.name} resume`",
            )


def _chosen(collection: Collection, names: Iterable[str]) -> frozenset[str]:
    known = [source.name for source in collection.sources]
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise AlderError(
            Reason.INVALID_ARGUMENT,
            f"the collection {collection.name} has no source {unknown[0]!r}; it has "
            f"{', '.join(known)}",
        )
    return frozenset(names) or frozenset(known)


def _check_seekable(
    collection: Collection, source: Source, chosen: frozenset[str], epoch: int
) -> None:
    if len(chosen) > 1:
        raise AlderError(Reason.INVALID_ARGUMENT, "to seek, name one source")
    if not source.paused:
        raise AlderError(
            Reason.CONFLICT,
            f"the source {source.name} is being read; pause it first with "
            f"`alder source {collection.name} pause {source.name}`",
        )
    if epoch != collection.epoch:
        raise AlderError(Reason.CONFLICT, f"{collection.name} was changed meanwhile; seek again")


def _sought(source: Source, seeks: Iterable[catalog_pb2.PartitionSeek], ranges_max: int) -> Source:
    partitions = {entry.partition: entry for entry in source.partitions}
    for seek in seeks:
        if seek.partition not in partitions:
            raise AlderError(
                Reason.INVALID_ARGUMENT,
                f"the source {source.name} has no partition {seek.partition}",
            )
        partitions[seek.partition] = _passed(source, partitions[seek.partition], seek, ranges_max)
    return replace(
        source, partitions=tuple(partitions[entry.partition] for entry in source.partitions)
    )


def _passed(
    source: Source, entry: SourcePartition, seek: catalog_pb2.PartitionSeek, ranges_max: int
) -> SourcePartition:
    if not 0 <= seek.position <= seek.offset:
        raise AlderError(
            Reason.INVALID_ARGUMENT,
            f"{source.name}/{entry.partition} has been read up to offset {seek.position}, so what "
            f"is from {seek.offset} on is there, once; reading it again would change nothing. To "
            "build everything from the log again, use `alder rebuild`",
        )
    # What was skipped from here on has not been passed yet, and this says anew what is.
    skipped = [
        replace(one, end=min(one.end, seek.position))
        for one in entry.skipped
        if one.begin < seek.position
    ]
    if seek.offset > seek.position:
        begin = seek.position
        if skipped and skipped[-1].end >= begin:
            begin = skipped.pop().begin
        skipped.append(SkippedRange(begin, seek.offset))
    if len(skipped) > ranges_max:
        raise AlderError(
            Reason.LIMIT,
            f"{source.name}/{entry.partition} would have more than {ranges_max} ranges that are "
            "not read",
        )
    return replace(entry, skipped=tuple(skipped))
