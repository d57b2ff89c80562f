"""A partition without the ranges that somebody sought past.

What is skipped is part of the catalog, not of where a reader happens to be: whoever reads the
partition, a tailer after a crash, a rebuild or a verification, passes the same offsets (I1).
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

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
        return _up_to(batch, min(begins)) if begins and min(begins) < batch.end else batch

    def close(self) -> None:
        """See ``PartitionSource``."""
        self._reads.close()


def _up_to(batch: RawBatch, end: int) -> RawBatch:
    """The part of a batch before an offset in it; which leader wrote what is there is not known."""
    count = int(np.searchsorted(batch.offsets, end))
    return replace(
        batch,
        end=end,
        records=batch.records.slice(0, count),
        offsets=batch.offsets[:count],
        log_times_us=batch.log_times_us[:count],
        keys=None if batch.keys is None else batch.keys.slice(0, count),
        columns=None if batch.columns is None else batch.columns.slice(0, count),
        quarantined=tuple(entry for entry in batch.quarantined if entry.offset < end),
        leader_epoch=-1,
    )
