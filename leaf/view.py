"""What readers of a shard see: one immutable value, replaced after each commit.

A reader takes the view once and then neither waits for a writer nor sees half of a push.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from alder.positions import PartitionKey, PositionVector
from alder.schema import Schema
from leaf.births import Streams
from leaf.layout import Counters
from leaf.logtime import LogTime
from leaf.segment import Segment
from leaf.tail import TailChunk
from leaf.visibility import Tombstones

_REPLICAS: Final = itertools.count()


@dataclass(frozen=True, slots=True)
class ShardView:
    """A shard at one moment. ``streams`` are the partitions in the order of their numbers.

    ``replica`` is a number that all views of one opened replica have and no other has.
    """

    streams: Streams
    positions: PositionVector
    segments: tuple[Segment, ...]
    tail: tuple[TailChunk, ...]
    tombstones: Tombstones
    schema: Schema
    counters: Counters
    log_time: LogTime = field(default_factory=LogTime)
    replica: int = field(default_factory=lambda: next(_REPLICAS))
    leader_epochs: Mapping[PartitionKey, int] = field(default_factory=dict)

    @property
    def tail_rows(self) -> int:
        """Rows that are not sealed."""
        return sum(chunk.rows for chunk in self.tail)

    @property
    def rows_stored(self) -> int:
        """Rows that are here, dead ones included."""
        return self.tail_rows + sum(segment.rows for segment in self.segments)

    @property
    def tail_bytes(self) -> int:
        """Bytes of the rows that are not sealed, in memory."""
        return sum(chunk.size_bytes for chunk in self.tail)
