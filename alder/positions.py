"""Position vectors: the next offset per (source, partition), and the cut of several shards.

A vector names a prefix of every partition of a collection's log. A partition that a vector does not
name stands at 0, so that the empty vector is the beginning of the log and vectors of different age
compare.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from alder.v1 import common_pb2

PartitionKey = tuple[str, int]


@dataclass(frozen=True, slots=True)
class PositionVector:
    """An immutable map of (source, partition) to the next offset."""

    offsets: Mapping[PartitionKey, int] = field(default_factory=dict)

    @classmethod
    def from_proto(cls, message: common_pb2.PositionVector) -> "PositionVector":
        """Raises nothing; the last of two entries for one partition counts."""
        return cls({(p.source, p.partition): p.next_offset for p in message.positions})

    def to_proto(self) -> common_pb2.PositionVector:
        """Sorted by source and partition, so that equal vectors have equal bytes."""
        return common_pb2.PositionVector(
            positions=[
                common_pb2.Position(source=source, partition=partition, next_offset=offset)
                for (source, partition), offset in sorted(self.offsets.items())
            ]
        )

    def __getitem__(self, key: PartitionKey) -> int:
        return self.offsets.get(key, 0)

    def __iter__(self) -> Iterator[PartitionKey]:
        return iter(self.offsets)

    def advanced(self, key: PartitionKey, next_offset: int) -> "PositionVector":
        """A copy in which one partition stands at ``next_offset``."""
        return PositionVector({**self.offsets, key: next_offset})

    def reaches(self, other: "PositionVector") -> bool:
        """True if every partition is at least where ``other`` has it."""
        return all(self[key] >= offset for key, offset in other.offsets.items())

    def merged(self, other: "PositionVector") -> "PositionVector":
        """The later position of each partition."""
        keys = {*self.offsets, *other.offsets}
        return PositionVector({key: max(self[key], other[key]) for key in keys})


def cut(vectors: Iterable[PositionVector]) -> PositionVector:
    """The latest vector that all of ``vectors`` have reached: the minimum per partition (I4)."""
    known = list(vectors)
    keys = {key for vector in known for key in vector}
    return PositionVector({key: min(vector[key] for vector in known) for key in keys})
