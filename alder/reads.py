"""What a read of the log gives, as it is handed over within a process.

Its records are megabytes that a message would copy when they are put in and each time they are
looked at, with the interpreter's lock held. So whoever reads takes whatever has the fields of
``ReadResponse`` (``log.proto``): the message itself, or a :class:`Read` that refers to the records
where they are.
"""

from dataclasses import dataclass
from typing import Protocol

from alder.v1 import log_pb2


class ReadFields(Protocol):
    """The fields of ``ReadResponse``."""

    @property
    def offset(self) -> int: ...
    @property
    def records(self) -> bytes | memoryview: ...
    @property
    def end_offset(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Read:
    """What ``ReadResponse`` says; ``records`` is an Arrow IPC stream or empty."""

    offset: int
    records: bytes | memoryview
    end_offset: int


def message_of(read: ReadFields) -> log_pb2.ReadResponse:
    """A read as it travels."""
    return log_pb2.ReadResponse(
        offset=read.offset, records=bytes(read.records), end_offset=read.end_offset
    )
