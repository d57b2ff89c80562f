"""The embedded log as a source.

Offsets are the log's own. Where the log no longer has the records that are wanted, because its
retention removed them, the gap is one entry in quarantine: it is never passed over in silence.
"""

from collections.abc import Callable

import numpy as np
import pyarrow as pa

from alder.arrow import from_bytes
from alder.errors import AlderError, Reason
from alder.interfaces import LogReader
from alder.reads import Read, ReadFields
from alder.records import KEY, ORIGINAL_SIZE_BYTES, TIMESTAMP_US, VALUE
from alder.v1 import log_pb2
from tailer.sources.model import (
    Quarantined,
    RawBatch,
    ReadLimits,
    empty_batch,
    gap,
    oversize_reason,
)


class LogSource:
    """One partition of a topic."""

    finite = False

    def __init__(
        self,
        log: LogReader,
        topic: str,
        topic_id: str,
        partition: int,
        limits: ReadLimits,
        timeout_s: float,
        size_bytes_max: Callable[[], int],
    ) -> None:
        """``size_bytes_max`` is asked before each read, for what ``limits`` may be too much."""
        self._log = log
        self._topic = topic
        self._topic_id = topic_id
        self._partition = partition
        self._limits = limits
        self._timeout_s = timeout_s
        self._size_bytes_max = size_bytes_max

    async def read(self, offset: int, wait_ms: int, leader_epoch: int = -1) -> RawBatch:
        """See ``PartitionSource``; waits for records without polling."""
        request = log_pb2.ReadRequest(
            topic=self._topic,
            partition=self._partition,
            offset=offset,
            size_bytes_max=min(self._limits.size_bytes_max, self._size_bytes_max()),
            wait_ms=wait_ms,
            topic_id=self._topic_id,
        )
        try:
            response = await self._log.read(request, wait_ms / 1_000 + self._timeout_s)
        except AlderError as error:
            begin = int(error.metadata.get("begin_offset", -1))
            if error.reason is Reason.OUT_OF_RANGE and begin > offset:
                return _truncated(offset, begin)
            raise
        # A message copies its records each time that they are asked for.
        read = Read(response.offset, response.records, response.end_offset)
        if not read.records:
            return empty_batch(offset, read.end_offset)
        return to_batch(offset, read, self._limits)

    def close(self) -> None:
        """Nothing to release."""


def to_batch(offset: int, response: ReadFields, limits: ReadLimits) -> RawBatch:
    """The records of an answer to a read from ``offset``."""
    table = from_bytes(response.records).slice(0, limits.rows_max)
    values, keys = (_whole(table.column(name)) for name in (VALUE, KEY))
    offsets = response.offset + np.arange(table.num_rows, dtype=np.int64)
    times = table.column(TIMESTAMP_US).to_numpy()
    sizes = table.column(ORIGINAL_SIZE_BYTES).fill_null(0).to_numpy()
    is_cut = sizes != 0
    refused: tuple[Quarantined, ...] = ()
    if is_cut.any():
        refused = tuple(
            Quarantined(
                int(offsets[index]),
                oversize_reason(int(sizes[index]), limits.record_size_bytes_max),
                values[index].as_py()[: limits.prefix_bytes_max],
                int(sizes[index]),
            )
            for index in np.flatnonzero(is_cut).tolist()
        )
        is_whole = pa.array(~is_cut)
        values, keys = values.filter(is_whole), keys.filter(is_whole)
        offsets, times = offsets[~is_cut], times[~is_cut]
    return RawBatch(
        begin=offset,
        end=response.offset + table.num_rows,
        records=values,
        offsets=offsets,
        log_times_us=times,
        keys=keys if keys.null_count < len(keys) else None,
        quarantined=refused,
        source_end=response.end_offset,
    )


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _truncated(offset: int, begin: int) -> RawBatch:
    reason = (
        f"offsets {offset} to {begin - 1} were removed from the log before they were read; "
        "lengthen the topic's retention to keep records until they are indexed"
    )
    return gap(offset, begin, reason)
