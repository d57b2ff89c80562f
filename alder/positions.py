"""Position vectors: the next offset per (source, partition), and the cut of several shards.

A vector names a prefix of every partition of a collection's log. A partition that a vector does not
name stands at 0, so that the empty vector is the beginning of the log and vectors of different age
compare.

As text a vector is ``log/0:12, log/1:7``, and those of several collections are
``ev=log/0:12, log/1:7; users=log/0:3``.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from alder.errors import AlderError, Reason
from alder.v1 import common_pb2

PartitionKey = tuple[str, int]
EVERY_COLLECTION: Final = ""
"""The name of a collection in a text that names none."""
_POSITION: Final = re.compile(r"\s*(\w+)/(\d{1,9}):(\d{1,18})\s*")
_NAMED: Final = re.compile(r"\s*(\w+)\s*=(.*)", re.DOTALL)


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

    @classmethod
    def from_text(cls, text: str) -> "PositionVector":
        """The inverse of ``str``. Raises AlderError(INVALID_ARGUMENT) for any other text."""
        offsets: dict[PartitionKey, int] = {}
        for part in text.split(",") if text.strip() else []:
            found = _POSITION.fullmatch(part)
            if found is None or (found[1], int(found[2])) in offsets:
                raise AlderError(
                    Reason.INVALID_ARGUMENT,
                    f"{part.strip()[:80]!r} is no position; write each partition once, as in "
                    "'log/0:12, log/1:7', or as results print it",
                )
            offsets[found[1], int(found[2])] = int(found[3])
        return cls(offsets)

    def __str__(self) -> str:
        return ", ".join(
            f"{source}/{partition}:{offset}"
            for (source, partition), offset in sorted(self.offsets.items())
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


def vectors_text(vectors: Mapping[str, PositionVector]) -> str:
    """The vectors of some collections as text; that of EVERY_COLLECTION stands alone."""
    if EVERY_COLLECTION in vectors:
        return str(vectors[EVERY_COLLECTION])
    return "; ".join(f"{name}={vector}" for name, vector in sorted(vectors.items()))


def vectors_of_text(text: str) -> dict[str, PositionVector]:
    """The vectors in a text by collection, one under EVERY_COLLECTION where none is named.

    Raises AlderError(INVALID_ARGUMENT) for a text that :func:`vectors_text` or ``str`` of a vector
    can't have given.
    """
    found: dict[str, PositionVector] = {}
    for part in text.split(";"):
        named = _NAMED.fullmatch(part)
        name, rest = (named[1], named[2]) if named is not None else (EVERY_COLLECTION, part)
        if name in found or (name == EVERY_COLLECTION and ";" in text):
            raise AlderError(
                Reason.INVALID_ARGUMENT,
                f"{text[:80]!r} are no positions; write each collection once, as in "
                "'ev=log/0:12, log/1:7; users=log/0:3'",
            )
        found[name] = PositionVector.from_text(rest)
    return found
