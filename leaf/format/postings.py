"""Postings: which rows of a segment hold a term.

Where terms repeat, all rows in the order of (term, row) plus one offset per term say it exactly.
Where they hardly do, (hash, row) pairs sorted by hash, in pages named by the hash's top bits, let a
point lookup read one small page and give a superset. Both are built by one sort, without a loop
over terms.
"""

import struct
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from leaf.format.frame import framed, unframed

HASHES_PER_PAGE: Final = 4096
_TERM_HEADER: Final = struct.Struct(">II")
_HASH_HEADER: Final = struct.Struct(">I")
RowNumbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class TermPostings:
    """The rows of term ``t`` are ``rows[offsets[t]:offsets[t + 1]]``, ascending."""

    offsets: NDArray[np.uint32]
    rows: NDArray[np.uint32]

    @property
    def size_bytes(self) -> int:
        """Bytes in memory."""
        return self.offsets.nbytes + self.rows.nbytes

    def rows_of(self, term: int) -> RowNumbers:
        """The rows of a term by its number."""
        begin, end = int(self.offsets[term]), int(self.offsets[term + 1])
        return self.rows[begin:end].astype(np.int64)

    def encode(self) -> bytes:
        """The postings as stored."""
        header = _TERM_HEADER.pack(len(self.offsets), len(self.rows))
        arrays = self.offsets.astype("<u4").tobytes() + self.rows.astype("<u4").tobytes()
        return framed(header + arrays)

    @classmethod
    def decode(cls, data: bytes, what: str) -> "TermPostings":
        """The inverse of :meth:`encode`. Raises AlderError(CORRUPT)."""
        payload = unframed(data, what)
        offsets_count, rows_count = _TERM_HEADER.unpack_from(payload)
        begin = _TERM_HEADER.size
        offsets = np.frombuffer(payload, "<u4", offsets_count, begin)
        rows = np.frombuffer(payload, "<u4", rows_count, begin + 4 * offsets_count)
        return cls(offsets, rows)


def term_postings(codes: pa.Array, terms_count: int) -> TermPostings:
    """The postings of a column given by codes (null: no term)."""
    rows = np.flatnonzero(np.asarray(codes.is_valid())).astype(np.uint32)
    present = np.asarray(codes.drop_null())
    order = np.argsort(present, kind="stable")
    counts = np.bincount(present, minlength=terms_count)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.uint32)
    return TermPostings(offsets, rows[order])


def hash_bits(rows_count: int) -> int:
    """How many top bits of the hash name a page."""
    return max(0, (rows_count - 1) // HASHES_PER_PAGE).bit_length()


def hash_pages(
    hashes: NDArray[np.uint32], rows: NDArray[np.uint32], bits: int
) -> list[tuple[int, bytes]]:
    """The pages that are not empty, with their names, as stored."""
    order = np.argsort(hashes, kind="stable")
    hashes, rows = hashes[order], rows[order]
    ends = np.searchsorted(page_of(hashes, bits), np.arange(1 << bits), side="right")
    pages, begin = [], 0
    for page, end in enumerate(ends.tolist()):
        if end > begin:
            arrays = (
                hashes[begin:end].astype("<u4").tobytes() + rows[begin:end].astype("<u4").tobytes()
            )
            pages.append((page, framed(_HASH_HEADER.pack(end - begin) + arrays)))
        begin = end
    return pages


def page_of(hashes: NDArray[np.uint32], bits: int) -> NDArray[np.int64]:
    """The name of the page of each hash."""
    return hashes.astype(np.int64) >> (32 - bits)


def rows_with_hash(data: bytes, wanted: int, what: str) -> RowNumbers:
    """The rows of a hash in a stored page, ascending. Raises AlderError(CORRUPT)."""
    hashes, rows = hash_entries(data, what)
    begin, end = np.searchsorted(hashes, [wanted, wanted + 1])
    return rows[begin:end].astype(np.int64)


def hash_entries(data: bytes, what: str) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """The hashes of a stored page, ascending, and their rows. Raises AlderError(CORRUPT)."""
    payload = unframed(data, what)
    (count,) = _HASH_HEADER.unpack_from(payload)
    hashes = np.frombuffer(payload, "<u4", count, _HASH_HEADER.size)
    rows = np.frombuffer(payload, "<u4", count, _HASH_HEADER.size + 4 * count)
    return hashes, rows
