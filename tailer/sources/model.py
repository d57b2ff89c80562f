"""What a source gives: consecutive records of one partition, with gaps stated, never silent.

The invariant: a batch covers ``[begin, end)`` whole. Every offset in it is a record in ``offsets``,
a refused record in ``quarantined``, or one that does not exist in the source (a blank line, an
offset that the log has truncated).
"""

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Offsets = NDArray[np.int64]
TimesUs = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A record that can't become a row. ``value`` may be its beginning only."""

    offset: int
    reason: str
    value: bytes
    size_bytes: int


@dataclass(frozen=True, slots=True)
class RawBatch:
    """Records of offsets ``[begin, end)``; ``begin == end`` means that there are none yet.

    ``records`` is a binary array of JSON texts, or a table of typed columns. ``offsets`` (int64,
    ascending) and ``log_times_us`` (int64, since 1970 UTC) have one entry per record. ``keys`` are
    the log's own record keys (binary), null or empty where there is none; None where no record has
    one.
    ``columns`` are physical columns of what records have beside their values
    (:data:`alder.paths.RECORD_FIELDS`), one row per record.
    ``source_end`` is the end of the partition as the source knows it, -1 if it does not.
    ``leader_epoch`` says which leader of the log wrote what lies right before ``end``; -1 if it is
    not known, or the source has no leaders.
    """

    begin: int
    end: int
    records: pa.Array | pa.Table
    offsets: Offsets
    log_times_us: TimesUs
    keys: pa.Array | None = None
    columns: pa.Table | None = None
    quarantined: tuple[Quarantined, ...] = ()
    source_end: int = -1
    leader_epoch: int = -1

    def where(self, mask: NDArray[np.bool_]) -> "RawBatch":
        """The records that the mask is true for; the range and what was refused stay."""
        flags = pa.array(mask)
        return replace(
            self,
            records=self.records.filter(flags),
            offsets=self.offsets[mask],
            log_times_us=self.log_times_us[mask],
            keys=None if self.keys is None else self.keys.filter(flags),
            columns=None if self.columns is None else self.columns.filter(flags),
        )

    def before(self, end: int) -> "RawBatch":
        """What comes before an offset in the range; which leader wrote that is not known."""
        quarantined = tuple(entry for entry in self.quarantined if entry.offset < end)
        records = self.where(self.offsets < end)
        return replace(records, end=end, quarantined=quarantined, leader_epoch=-1)


@dataclass(frozen=True, slots=True)
class ReadLimits:
    """Bounds of one read: raw size (one record may exceed it), rows, and the size of a record."""

    size_bytes_max: int
    rows_max: int
    record_size_bytes_max: int
    prefix_bytes_max: int


class PartitionSource(Protocol):
    """A partition that can be read from any offset, as often as needed, with the same result."""

    @property
    def finite(self) -> bool:
        """True if an empty batch means the end, for ever."""
        ...

    async def read(self, offset: int, wait_ms: int, leader_epoch: int = -1) -> RawBatch:
        """Records from ``offset`` on, after at most ``wait_ms`` if there are none yet.

        ``leader_epoch`` is what a batch that ends at ``offset`` says, as far as it is known.
        Raises AlderError: IDENTITY_CHANGED if this is not the topic or file any more that it was
        when it was registered, and others where a later try may succeed.
        """
        ...

    def close(self) -> None:
        """Releases files; the source may not be read afterwards."""
        ...


def empty_batch(offset: int, source_end: int = -1) -> RawBatch:
    """No records yet at this offset."""
    nothing = np.empty(0, dtype=np.int64)
    return RawBatch(
        offset, offset, pa.array([], pa.binary()), nothing, nothing, source_end=source_end
    )


def gap(offset: int, end: int, reason: str) -> RawBatch:
    """Offsets ``[offset, end)`` that the source lost, as one quarantined record."""
    batch = empty_batch(offset)
    refused = Quarantined(offset, reason, b"", 0)
    return replace(batch, end=end, quarantined=(refused,))


def oversize_reason(size_bytes: int, size_bytes_max: int) -> str:
    """Why a record above the limit on documents is in quarantine."""
    return (
        f"record of {size_bytes} bytes exceeds the limit of {size_bytes_max} bytes; "
        "only its beginning is kept"
    )
