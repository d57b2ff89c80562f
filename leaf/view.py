"""What readers of a shard see: one immutable value, replaced after each commit.

A reader takes the view once and then neither waits for a writer nor sees half of a push.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from alder.positions import PartitionKey, PositionVector
from alder.schema import Schema
from leaf.layout import Counters
from leaf.tail import TailChunk
from leaf.visibility import Tombstones


class SealedRows(Protocol):
    """A segment as readers use it."""

    @property
    def rows(self) -> int:
        """Number of rows, dead ones included."""
        ...

    def births(self) -> NDArray[np.int64]:
        """The births of all rows, ascending. Raises AlderError(CORRUPT)."""
        ...

    def has(self, column: str) -> bool:
        """True if a row has a value in this column."""
        ...

    def column(self, name: str, rows: NDArray[np.int64] | None) -> pa.ChunkedArray:
        """A column it has, all of it or the rows of ascending numbers. Raises CORRUPT."""
        ...


@dataclass(frozen=True, slots=True)
class ShardView:
    """A shard at one moment. ``streams`` are the partitions in the order of their numbers."""

    streams: tuple[PartitionKey, ...]
    positions: PositionVector
    segments: tuple[SealedRows, ...]
    tail: tuple[TailChunk, ...]
    tombstones: Tombstones
    schema: Schema
    counters: Counters

    @property
    def tail_rows(self) -> int:
        """Rows that are not sealed."""
        return sum(chunk.rows for chunk in self.tail)

    @property
    def tail_bytes(self) -> int:
        """Bytes of the rows that are not sealed, in memory."""
        return sum(chunk.table.nbytes for chunk in self.tail)
