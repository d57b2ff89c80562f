"""A partition without the ranges that somebody sought past.

What is skipped is part of the catalog, not of where a reader happens to be: whoever reads the
partition, a tailer after a crash, a rebuild or a verification, passes the same offsets (I1).
"""

from collections.abc import Sequence
from dataclasses import replace

from alder.catalog import SkippedRange
from tailer.sources.model import PartitionSource, RawBatch, empty_batch


class WithoutSkipped(PartitionSource):
    """Reads what is not in ``skipped``; batches tell the ranges as offsets without records."""

    def __init__(self, reads: PartitionSource, skipped: Sequence[SkippedRange]) -> None:
        self._reads = reads
        self._skipped = skipped

    @property
    def finite(self) -> bool:
        """See ``PartitionSource``."""
        return self._reads.finite

    async def read(self, offset: int, wait_ms: int, leader_epoch: int = -1) -> RawBatch:
        """See ``PartitionSource``."""
        for one in self._skipped:
            if one.begin <= offset < one.end:
                return replace(empty_batch(offset), end=one.end)
        batch = await self._reads.read(offset, wait_ms, leader_epoch)
        begins = [one.begin for one in self._skipped if one.begin > offset]
        return batch.before(min(begins)) if begins and min(begins) < batch.end else batch

    def close(self) -> None:
        """See ``PartitionSource``."""
        self._reads.close()
