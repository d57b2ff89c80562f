"""One append call: what it has under way, where it wrote, and how its messages become payloads."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from alder.catalog import LOG_SOURCE
from alder.errors import AlderError, Reason
from alder.v1 import common_pb2, log_pb2
from controller.log.budget import ByteBudget
from controller.log.settings import LogSettings
from controller.log.topics import Partition

ANY_PARTITION: Final = -1


@dataclass(frozen=True, slots=True)
class Payload:
    """Records of one partition as they lie in a block."""

    data: bytes
    records: int

    @property
    def size_bytes(self) -> int:
        """What it takes from the budgets; never 0, so that an empty budget means none waits."""
        return len(self.data) or 1


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


def payloads(request: log_pb2.AppendRequest, settings: LogSettings) -> Iterator[Payload]:
    """The records of a message in pieces of about ``block_bytes_max``.

    Raises AlderError(LIMIT) for a message or a record that is too large; no piece of a message has
    been handed out by then.
    """
    data = request.SerializeToString()
    if len(data) > settings.message_bytes_max:
        raise AlderError(
            Reason.LIMIT,
            f"an append message has {len(data)} bytes, the limit is {settings.message_bytes_max}; "
            "send its records in several messages of one call",
        )
    if not request.records:
        return
    if len(data) <= min(settings.block_bytes_max, settings.record_bytes_max):
        yield Payload(data, len(request.records))
        return
    sizes = [record.ByteSize() for record in request.records]
    if max(sizes) > settings.record_bytes_max:
        raise AlderError(
            Reason.LIMIT,
            f"a record has {max(sizes)} bytes, the limit is {settings.record_bytes_max}; split the "
            "document, or send its beginning with original_size_bytes set to have it quarantined",
        )
    yield from _pieces(request, sizes, settings.block_bytes_max)


def _pieces(
    request: log_pb2.AppendRequest, sizes: list[int], block_bytes_max: int
) -> Iterator[Payload]:
    begin = 0
    piece_bytes = 0
    for index, size in enumerate(sizes):
        if index > begin and piece_bytes + size > block_bytes_max:
            yield _piece(request, begin, index)
            begin, piece_bytes = index, 0
        piece_bytes += size
    yield _piece(request, begin, len(sizes))


def _piece(request: log_pb2.AppendRequest, begin: int, end: int) -> Payload:
    part = log_pb2.AppendRequest(records=request.records[begin:end])
    return Payload(part.SerializeToString(), end - begin)
