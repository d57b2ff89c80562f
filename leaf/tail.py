"""The live tail: pushed rows that no segment holds yet, as blocks on disk and tables in memory.

On disk a block is one push: a header and an Arrow stream under one checksum, numbered without
gaps, because a gap is the only sign that RocksDB lost the middle of an unsynced log. In memory
small tables are merged into larger ones (each merge at least doubles the smaller side, so a row is
copied a logarithmic number of times), because a query pays for every table that it reads.
"""

import struct
import zlib
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from alder.arrow import from_bytes, to_bytes
from alder.errors import AlderError, Reason

_HEADER: Final = struct.Struct(">BIqqI")
_VERSION: Final = 1
MERGED_BYTES_MAX: Final = 16 << 20
"""Merging tables of this size costs more time than it saves the queries that read them."""
COMPRESSED_BYTES_MIN: Final = 64 << 10
"""Compressing a small block costs more time than its bytes are worth."""


@dataclass(frozen=True, slots=True)
class TailBlock:
    """One push to one shard. The table may have no rows."""

    stream: int
    from_offset: int
    to_offset: int
    table: pa.Table

    def encode(self) -> bytes:
        """The block as it is stored."""
        compression = "lz4" if self.table.nbytes >= COMPRESSED_BYTES_MIN else None
        payload = to_bytes(self.table, compression)
        head = _HEADER.pack(_VERSION, self.stream, self.from_offset, self.to_offset, 0)
        checksum = zlib.crc32(payload, zlib.crc32(head))
        return head[:-4] + checksum.to_bytes(4, "big") + payload

    @classmethod
    def decode(cls, data: bytes) -> "TailBlock":
        """The inverse of :meth:`encode`. Raises AlderError(CORRUPT, UNSUPPORTED)."""
        if len(data) < _HEADER.size:
            raise AlderError(Reason.CORRUPT, "a block of the live tail is cut off")
        version, stream, from_offset, to_offset, checksum = _HEADER.unpack_from(data)
        if version != _VERSION:
            raise AlderError(
                Reason.UNSUPPORTED,
                f"a block of the live tail is stored in format {version}, this program knows "
                f"format {_VERSION}; run the version that wrote it",
            )
        payload = data[_HEADER.size :]
        head = _HEADER.pack(version, stream, from_offset, to_offset, 0)
        if zlib.crc32(payload, zlib.crc32(head)) != checksum:
            raise AlderError(Reason.CORRUPT, "a block of the live tail has a wrong checksum")
        return cls(stream, from_offset, to_offset, from_bytes(payload))


class TailChunk:
    """Rows of one or several blocks, the first of which is ``first_block``. Immutable."""

    def __init__(self, first_block: int, table: pa.Table) -> None:
        """``table`` has ``_birth``."""
        self.first_block: Final = first_block
        self.table: Final = table
        self.size_bytes: Final[int] = table.nbytes
        self._births: Final = np.ascontiguousarray(table.column("_birth").to_numpy())

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self._births)

    def births(self) -> NDArray[np.int64]:
        """The births of all rows, in any order."""
        return self._births

    def times(self) -> NDArray[np.int64]:
        """The event times of all rows, in microseconds."""
        return np.asarray(self.table.column("_time").cast(pa.int64()))

    @cached_property
    def time_low_us(self) -> int:
        """The oldest event time."""
        return int(self.times().min())

    @cached_property
    def time_high_us(self) -> int:
        """The newest event time."""
        return int(self.times().max())


def appended(
    tail: tuple[TailChunk, ...], chunk: TailChunk, merge_from_block: int
) -> tuple[TailChunk, ...]:
    """The tail with one more chunk. Chunks that begin before ``merge_from_block`` stay as they are.

    Those are being sealed, and must still be there one by one when their segment replaces them.
    """
    chunks = [*tail, chunk]
    while len(chunks) > 1:
        earlier, later = chunks[-2], chunks[-1]
        too_large = (
            earlier.rows > 2 * later.rows
            or earlier.size_bytes + later.size_bytes > MERGED_BYTES_MAX
        )
        if earlier.first_block < merge_from_block or too_large:
            break
        merged = pa.concat_tables([earlier.table, later.table], promote_options="default")
        chunks[-2:] = [TailChunk(earlier.first_block, merged.combine_chunks())]
    return tuple(chunks)
