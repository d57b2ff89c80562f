"""One append call: what it has under way, where it wrote, and how its messages become payloads."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from alder import arrow, records
from alder.catalog import LOG_SOURCE
from alder.errors import AlderError, Reason
from alder.v1 import common_pb2, log_pb2
from controller.log.budget import ByteBudget
from controller.log.settings import LogSettings
from controller.log.topics import Partition

ANY_PARTITION: Final = -1
_COMPRESSION: Final = "lz4"
"""Here, where the interpreter's lock is free, and not in the store, which reads while it holds it;
besides, the write-ahead log is half as long then."""


@dataclass(frozen=True, slots=True)
class Payload:
    """Records of one partition that share a block: a table with ``alder.records.SCHEMA``.

    ``size_bytes`` is what they take from the budgets: never 0, so that an empty budget means none
    waits.
    """

    table: pa.Table = field(repr=False)
    size_bytes: int

    @property
    def records(self) -> int:
        """Number of records, at least 1."""
        count: int = self.table.num_rows
        return count


def block_payload(payloads: Sequence[Payload]) -> bytes:
    """The records of consecutive payloads as they lie in a block; for a worker thread."""
    table = pa.concat_tables([payload.table for payload in payloads])
    return arrow.to_bytes(table.combine_chunks(), _COMPRESSION)


class AppendCall:
    """Follows the payloads of one call until the disk has them."""

    def __init__(self, call_bytes_max: int) -> None:
        self.budget = ByteBudget(call_bytes_max)
        self.error: AlderError | None = None
        self._records = 0
        self._next_offsets: dict[int, int] = {}

    def committed(self, partition: int, next_offset: int, records: int) -> None:
        """A payload is on disk, before ``next_offset``."""
        self._records += records
        self._next_offsets[partition] = next_offset

    def failed(self, error: AlderError) -> None:
        """A payload is not (known to be) on disk. The first reason is the one that is told."""
        self.error = self.error or error

    def check(self) -> None:
        """Raises the error of a payload that failed."""
        if self.error is not None:
            raise self.error

    def response(self) -> log_pb2.AppendResponse:
        """The answer, once nothing is under way."""
        positions = [
            common_pb2.Position(source=LOG_SOURCE, partition=partition, next_offset=offset)
            for partition, offset in sorted(self._next_offsets.items())
        ]
        token = common_pb2.PositionVector(positions=positions)
        return log_pb2.AppendResponse(token=token, records=self._records)


@dataclass(slots=True)
class Submission:
    """A payload on its way to a partition on behalf of a call."""

    call: AppendCall = field(repr=False)
    partition: Partition = field(repr=False)
    payload: Payload = field(repr=False)


def payloads(request: log_pb2.AppendRequest, settings: LogSettings) -> list[Payload]:
    """The records of a message in pieces of about ``block_bytes_max``.

    Raises AlderError: LIMIT for a message or a record that is too large, INVALID_ARGUMENT for what
    is not a stream of records.
    """
    data = request.records
    if len(data) > settings.message_bytes_max:
        raise AlderError(
            Reason.LIMIT,
            f"an append message has {len(data)} bytes, the limit is {settings.message_bytes_max}; "
            "send its records in several messages of one call",
        )
    if not data:
        return []
    table = records.decode(data)
    if not table.num_rows:
        return []
    sizes = records.sizes_bytes(table)
    largest = int(sizes.max())
    if largest > settings.record_bytes_max:
        raise AlderError(
            Reason.LIMIT,
            f"a record has {largest} bytes, the limit is {settings.record_bytes_max}; split the "
            "document, or send its beginning with original_size_bytes set to have it quarantined",
        )
    if len(data) <= settings.block_bytes_max:
        return [Payload(table, len(data))]
    return list(_pieces(table, sizes, settings.block_bytes_max))


def _pieces(table: pa.Table, sizes: NDArray[np.int64], block_bytes_max: int) -> Iterator[Payload]:
    ends = np.cumsum(sizes + records.FIXED_BYTES)
    begin, begin_bytes = 0, 0
    while begin < len(ends):
        fitting = int(np.searchsorted(ends, begin_bytes + block_bytes_max, side="right"))
        end = max(fitting, begin + 1)
        end_bytes = int(ends[end - 1])
        yield Payload(table.slice(begin, end - begin), end_bytes - begin_bytes)
        begin, begin_bytes = end, end_bytes
