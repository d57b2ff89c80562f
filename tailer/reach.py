"""How far back sources still reach: what a shard can be built from again.

A topic may have lost its beginning to retention, or be another one under its name; a file may be
gone or changed. Nothing is read for it: brokers tell where partitions begin, stores what they have.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from alder.catalog import LOG_SOURCE, Collection, Source
from alder.topicurl import TopicUrl
from tailer.sources.kafka.clients import KafkaClients
from tailer.sources.storage import stored_file

TOLD_MAX: Final = 3
"""So many partitions are named in one sentence."""


@dataclass(frozen=True, slots=True)
class Reach:
    """``begin_offset`` is the first that a partition still has; 0 if it has all that was read.

    ``lost`` says why it has nothing of that any more; empty if it has.
    """

    source: str
    partition: int
    begin_offset: int = 0
    lost: str = ""

    @property
    def whole(self) -> bool:
        """True if nothing is missing."""
        return not self.lost and not self.begin_offset


def reach_of(source: Source, clients: KafkaClients) -> Iterator[Reach]:
    """That of each registered partition of a topic or of files; blocks.

    Raises AlderError(UNAVAILABLE) where brokers don't tell.
    """
    if source.is_topic:
        yield from _reach_of_topic(source, clients)
        return
    for entry in source.partitions:
        yield Reach(source.name, entry.partition, lost=_why_not(entry.name, entry.identity))


def missing_of(collection: Collection, clients: KafkaClients) -> str:
    """What of a collection's topics and files can't be read any more; empty if all can; blocks.

    Raises AlderError(UNAVAILABLE) where brokers don't tell.
    """
    found = [
        _told(source, one)
        for source in collection.sources
        if source.url != LOG_SOURCE
        for one in reach_of(source, clients)
        if not one.whole
    ]
    more = len(found) - TOLD_MAX
    told = ", and ".join(found[:TOLD_MAX])
    return f"{told}, and {more} more partitions are not whole" if more > 0 else told


def _reach_of_topic(source: Source, clients: KafkaClients) -> Iterator[Reach]:
    if not source.partitions:
        return
    url = replace(TopicUrl.parse(source.url), start="earliest")
    topic = clients.topic(url)
    if topic.topic_id != source.topic_id:
        why = f"the topic {url.topic} was deleted and created again"
        yield from (Reach(source.name, one.partition, lost=why) for one in source.partitions)
        return
    listed = tuple(one.partition for one in source.partitions if one.partition in topic.partitions)
    begins = clients.begin_offsets(url, listed)
    for one in source.partitions:
        begin = begins.get(one.partition)
        if begin is None:
            why = f"the brokers don't list partition {one.partition} of the topic {url.topic}"
            yield Reach(source.name, one.partition, lost=why)
        else:
            # What lies before where the collection began was never read.
            yield Reach(source.name, one.partition, begin if begin > one.begin_offset else 0)


def _why_not(name: str, identity: str) -> str:
    """Why a file can't be read as it was registered; empty if it can."""
    try:
        found = stored_file(name).identity()
    except OSError as error:
        return f"the file {name} can't be read: {error.strerror or error}"
    return "" if found == identity else f"the file {name} has changed since it was registered"


def _told(source: Source, one: Reach) -> str:
    if one.lost:
        return one.lost
    topic = TopicUrl.parse(source.url).topic
    return (
        f"partition {one.partition} of the topic {topic} begins at offset {one.begin_offset} by "
        f"now: its offsets up to {one.begin_offset - 1} were removed by its retention"
    )
