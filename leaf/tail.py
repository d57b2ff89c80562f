"""The live tail: pushed rows that no segment holds yet, as blocks on disk and tables in memory.

On disk a block is one push: a header and an Arrow stream under one checksum, numbered without
gaps, because a gap is the only sign that RocksDB lost the middle of an unsynced log. In memory
small tables are merged into larger ones (each merge at least doubles the smaller side, so a row is
copied a logarithmic number of times), because a query pays for every table that it reads.
"""

import itertools
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
from leaf import births

_HEADER: Final = struct.Struct(">BIqqI")
_VERSION: Final = 1
_NUMBERS: Final = itertools.count()
MERGED_BYTES_MAX: Final = 16 << 20
"""Merging tables of this size costs more time than it saves the queries that read them."""
LATEST_ROWS_MAX: Final = 2048
"""Rows of a chunk that are kept a second time, as they came."""
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
    """Rows of one or several blocks, the first of which is ``first_block``. Immutable.

    ``number`` is one that no other chunk of this process has.
    """

    def __init__(
        self, first_block: int, table: pa.Table, latest: tuple["TailChunk", ...] = ()
    ) -> None:
        """``table`` has ``_birth``; ``latest`` are the last pushes in it, where it is of several.

        What is known of a push then serves every query that has seen all before it.
        """
        self.number: Final = next(_NUMBERS)
        self.first_block: Final = first_block
        self.latest: Final = latest
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

    @cached_property
    def last_births(self) -> NDArray[np.int64]:
        """The largest birth of each stream in it."""
        ascending = np.sort(self._births)
        last_of_stream = np.diff(births.streams_of(ascending), append=-1) != 0
        last: NDArray[np.int64] = ascending[last_of_stream]
        return last

    def after(self, rows: int) -> tuple["TailChunk", ...]:
        """Its rows from this number on: the pushes that they came in, where these are at hand."""
        begin = self.rows
        for place, push in reversed(list(enumerate(self.latest))):
            begin -= push.rows
            if begin == rows:
                return self.latest[place:]
        return (TailChunk(self.first_block, self.table.slice(rows)),) if rows else (self,)

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
        table = merged.combine_chunks()
        chunks[-2:] = [TailChunk(earlier.first_block, table, _latest(earlier, later))]
    return tuple(chunks)


def _latest(earlier: TailChunk, later: TailChunk) -> tuple[TailChunk, ...]:
    """The last pushes of two chunks, without a gap, of ``LATEST_ROWS_MAX`` rows at most."""
    pushes = later.latest or (later,)
    if sum(push.rows for push in pushes) == later.rows:
        pushes = (*(earlier.latest or (earlier,)), *pushes)
    rows = np.cumsum([push.rows for push in reversed(pushes)])
    count = int(np.searchsorted(rows, LATEST_ROWS_MAX, side="right"))
    return pushes[len(pushes) - count :]
