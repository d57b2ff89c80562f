"""The state of topics in memory: what may be read, and who waits for more.

The bounds of a partition move only after the disk has what they say, and only on the event loop.
"""

import asyncio
import json
import uuid
from dataclasses import dataclass

from alder.errors import AlderError, Reason


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """What a topic is. ``retention_ms`` 0 keeps records for ever."""

    name: str
    topic_id: uuid.UUID
    partitions: int
    retention_ms: int = 0

    @property
    def key(self) -> bytes:
        """The id as it stands in keys: 16 bytes."""
        return self.topic_id.bytes

    def to_json(self) -> bytes:
        """The topic as it is stored."""
        return json.dumps(
            {
                "name": self.name,
                "topic_id": str(self.topic_id),
                "partitions": self.partitions,
                "retention_ms": self.retention_ms,
            }
        ).encode()

    @classmethod
    def from_json(cls, data: bytes) -> "TopicSpec":
        """The inverse of :meth:`to_json`. Raises AlderError(CORRUPT) for anything else."""
        try:
            fields = json.loads(data)
            topic_id = uuid.UUID(fields["topic_id"])
            return cls(fields["name"], topic_id, fields["partitions"], fields["retention_ms"])
        except (ValueError, KeyError) as error:
            raise AlderError(
                Reason.CORRUPT,
                f"the log is damaged: the entry of a topic can't be read ({error}); restore the "
                "log's directory from a copy",
            ) from error


@dataclass(frozen=True, slots=True)
class Bounds:
    """Records ``[begin, end)`` of a partition can be read."""

    begin: int = 0
    end: int = 0


class Partition:
    """A partition's bounds, and a bell that rings when they or its topic change."""

    def __init__(self, topic: "Topic", number: int, bounds: Bounds) -> None:
        self.topic = topic
        self.number = number
        self.bounds = bounds
        self._changed = asyncio.Event()

    def move(self, bounds: Bounds) -> None:
        """Sets the bounds and wakes who waits."""
        self.bounds = bounds
        self.ring()

    def ring(self) -> None:
        """Wakes who waits."""
        waiting, self._changed = self._changed, asyncio.Event()
        waiting.set()

    async def changed(self) -> None:
        """Waits for the next change."""
        await self._changed.wait()


class Topic:
    """A topic and its partitions. Once deleted, it stays so: a new one is another object."""

    def __init__(self, spec: TopicSpec, bounds: list[Bounds]) -> None:
        self.spec = spec
        self.deleted = False
        self.partitions = [Partition(self, number, entry) for number, entry in enumerate(bounds)]

    def ring(self) -> None:
        """Wakes who waits at any partition."""
        for partition in self.partitions:
            partition.ring()
