"""The partitions of a source. A number names one file, or one partition of one topic, for ever:
positions refer to it.
"""

from collections.abc import Iterable
from dataclasses import replace

from alder.catalog import Source, SourcePartition
from alder.errors import AlderError, Reason
from alder.v1 import catalog_pb2
from controller.settings import ControllerSettings


def registered(
    source: Source,
    request: catalog_pb2.RegisterPartitionsRequest,
    settings: ControllerSettings,
) -> Source:
    """The source with what a tailer found; itself where all of it is known.

    Raises AlderError(INVALID_ARGUMENT, IDENTITY_CHANGED, LIMIT).
    """
    found = [SourcePartition.from_proto(entry) for entry in request.found]
    if source.is_topic:
        return registered_topic(source, request.topic_id, found, settings.files_max)
    if any(not 0 < len(entry.name) <= settings.text_characters_max for entry in found):
        raise AlderError(
            Reason.INVALID_ARGUMENT,
            f"a file's name has 1 to {settings.text_characters_max} characters",
        )
    after = registered_files(source, found, reread=request.reread)
    if len(after.partitions) > settings.files_max:
        raise AlderError(
            Reason.LIMIT, f"a source has at most {settings.files_max} files; join small ones"
        )
    return after


def registered_files(
    source: Source, found: Iterable[SourcePartition], *, reread: bool = False
) -> Source:
    """The source with the files that it did not know; itself where all are known.

    New files get the numbers after the largest, in the order found; so does, with ``reread``, a
    known file that changed. A generation that a file once had does not come back: a tailer that
    tells of it has slept. Raises AlderError(IDENTITY_CHANGED) where a known name comes with another
    identity and ``reread`` is not set.
    """
    known = {entry.name: entry for entry in source.partitions}
    generations = {(entry.name, entry.identity) for entry in source.partitions}
    number = max((entry.partition for entry in source.partitions), default=-1)
    added = []
    for entry in found:
        before = known.get(entry.name)
        if before is not None and before.identity != entry.identity and not reread:
            raise AlderError(
                Reason.IDENTITY_CHANGED,
                f"the file {entry.name} changed after it was registered; files of a source are "
                "not rewritten: give the new content another name",
                source=source.name,
                partition=str(before.partition),
            )
        if (entry.name, entry.identity) not in generations:
            number += 1
            added.append(SourcePartition(number, entry.name, entry.identity))
            known[entry.name] = added[-1]
            generations.add((entry.name, entry.identity))
    if not added:
        return source
    return replace(source, partitions=(*source.partitions, *added))


def registered_topic(
    source: Source, topic_id: str, found: Iterable[SourcePartition], partitions_max: int
) -> Source:
    """The source with the partitions of its topic that it did not know; itself if it knew all.

    What the first registration says of where to begin holds; a partition that came later is read
    from its first record, since what was written to it before it was found belongs here, too. None
    is ever removed: a topic does not shrink, but brokers may list too few. Raises
    AlderError(IDENTITY_CHANGED) for another topic of the same name, INVALID_ARGUMENT for partitions
    that are not numbered from 0 without a gap, LIMIT for too many.
    """
    if source.topic_id and topic_id != source.topic_id:
        raise AlderError(
            Reason.IDENTITY_CHANGED,
            f"the topic of {source.url} was deleted and created again; to read the new one, drop "
            "the collection and create it again",
            source=source.name,
        )
    known = {entry.partition: entry for entry in source.partitions}
    for entry in found:
        begin_offset = 0 if source.topic_id else entry.begin_offset
        known.setdefault(entry.partition, SourcePartition(entry.partition, "", "", begin_offset))
    if sorted(known) != list(range(len(known))) or not known:
        raise AlderError(
            Reason.INVALID_ARGUMENT,
            f"the partitions {sorted(known)} of {source.url} are not those from 0 on; name all",
        )
    if len(known) > partitions_max:
        raise AlderError(Reason.LIMIT, f"a source has at most {partitions_max} partitions")
    if len(known) == len(source.partitions):
        return source
    partitions = tuple(known[number] for number in sorted(known))
    return replace(source, topic_id=topic_id, partitions=partitions)
