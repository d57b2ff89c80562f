"""Postings: which rows of a segment hold a term.

Where terms repeat, all rows in the order of (term, row) say it exactly, in pages of which each row
is kept as its distance from the one before; how many rows each term has is a block of its own, so
that counting reads no page. Where terms hardly do, hashes with their rows, sorted by hash and in
pages named by the hash's top bits, let a point lookup read one small page and give a superset: of a
hash only so many bits are kept that few other values share them. Both are built by one sort,
without a loop over terms.
"""

import struct
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from alder.errors import AlderError, Reason
from leaf.format.buffers import validity
from leaf.format.frame import framed, framed_plain, unframed
from leaf.format.integers import from_planes, planes_of
from leaf.format.pages import decoding

HASHES_PER_PAGE: Final = 4096
ROWS_PER_PAGE: Final = 8192
"""Of postings of terms."""
ROWS_MAX: Final = 1 << 26
"""Of a segment; a limit for what a damaged block may ask of memory."""
LOW_BITS: Final = 8
"""Bits of a hash that are kept beyond those that would name each row."""
DENSE_SHARE: Final = 32
"""A term that one row in so many has is dense: a bit per row takes no more than its numbers."""
DENSE_MIN: Final = 1024
"""Rows that a dense term has at least."""
_COUNTS_HEADER: Final = struct.Struct(">IB")
_HASH_HEADER: Final = struct.Struct(">IBB")
_ROW_BITS: Final = np.uint64(32)
RowNumbers = NDArray[np.int64]
Bits = NDArray[np.uint8]
"""A bit per row of a segment, the first one the lowest; none is set past the end."""
HashedRows = NDArray[np.uint64]
"""A hash in the upper half, its row in the lower."""


@dataclass(frozen=True, slots=True)
class TermPostings:
    """The rows of term ``t`` are ``rows[offsets[t]:offsets[t + 1]]``, ascending."""

    offsets: NDArray[np.uint32]
    rows: NDArray[np.uint32]

    def rows_of(self, term: int) -> RowNumbers:
        """The rows of a term by its number."""
        begin, end = int(self.offsets[term]), int(self.offsets[term + 1])
        return self.rows[begin:end].astype(np.int64)

    def encode(self) -> tuple[bytes, list[bytes]]:
        """The counts of rows by term, and the pages of rows, as stored.

        :func:`term_offsets` and :func:`term_rows` read them.
        """
        width, counts = planes_of(np.diff(self.offsets).astype(np.uint64))
        top = framed(_COUNTS_HEADER.pack(len(self.offsets) - 1, width) + counts)
        steps = np.diff(self.rows, prepend=np.uint32(0))
        firsts = self.offsets[:-1][np.diff(self.offsets) > 0]
        steps[firsts] = self.rows[firsts]
        steps[::ROWS_PER_PAGE] = self.rows[::ROWS_PER_PAGE]
        pages = []
        for begin in range(0, len(steps), ROWS_PER_PAGE):
            width, rows = planes_of(steps[begin : begin + ROWS_PER_PAGE].astype(np.uint64))
            pages.append(framed(bytes([width]) + rows))
        return top, pages


def is_dense(count: int, rows_count: int) -> bool:
    """True for a term that so many rows of a segment have, which is kept as bits, too."""
    return count >= _dense_min(rows_count)


def are_dense(offsets: NDArray[np.uint32], rows_count: int) -> NDArray[np.bool_]:
    """For each term whether it is."""
    counts = offsets[1:].astype(np.int64) - offsets[:-1]
    dense: NDArray[np.bool_] = counts >= _dense_min(rows_count)
    return dense


def _dense_min(rows_count: int) -> float:
    """The least number of rows of a dense term."""
    return max(DENSE_MIN, rows_count / DENSE_SHARE)


def bits_of(rows: RowNumbers, rows_count: int) -> Bits:
    """The bits of these rows."""
    flags = np.zeros(rows_count, dtype=bool)
    flags[rows] = True
    return np.packbits(flags, bitorder="little")


def encode_bits(bits: Bits) -> bytes:
    """Bits as stored."""
    return framed(bits.tobytes())


def decode_bits(data: bytes, rows_count: int, what: str) -> Bits:
    """The inverse of :func:`encode_bits`. Raises AlderError(CORRUPT)."""
    bits = np.frombuffer(unframed(data, what), np.uint8)
    with decoding(what):
        if len(bits) != -(-rows_count // 8) or (rows_count % 8 and bits[-1] >> rows_count % 8):
            raise ValueError("bits of another number of rows")
    return bits


def term_offsets(data: bytes, what: str) -> NDArray[np.uint32]:
    """Where the rows of each term begin, and the last ones end. Raises AlderError(CORRUPT)."""
    payload = memoryview(unframed(data, what))
    with decoding(what):
        terms_count, width = _COUNTS_HEADER.unpack_from(payload)
        if terms_count > ROWS_MAX or width > 4:
            raise ValueError("more than a segment has")
        counts = from_planes(payload[_COUNTS_HEADER.size :], terms_count, width)
        offsets = np.zeros(terms_count + 1, dtype=np.uint64)
        np.cumsum(counts, out=offsets[1:])
        if offsets[-1] > ROWS_MAX:
            raise ValueError("more rows than a segment has")
    return offsets.astype(np.uint32)


def term_rows(data: bytes, offsets: NDArray[np.uint32], page: int, what: str) -> NDArray[np.uint32]:
    """The rows in a page of postings of terms, whose offsets are known. Raises CORRUPT."""
    payload = memoryview(unframed(data, what))
    begin = page * ROWS_PER_PAGE
    count = min(ROWS_PER_PAGE, int(offsets[-1]) - begin)
    with decoding(what):
        width = payload[0]
        if count <= 0 or width > 4:
            raise ValueError("a page that there is not")
        steps = from_planes(payload[1:], count, width)
        inside = np.searchsorted(offsets, [begin, begin + count], "right")
        firsts = offsets[inside[0] : inside[1]].astype(np.int64) - begin
        firsts = np.concatenate([[0], firsts[firsts < count]])
        rows = np.cumsum(steps, dtype=np.uint64)
        rows -= np.repeat(rows[firsts] - steps[firsts], np.diff(firsts, append=count))
    return rows.astype(np.uint32)


def term_postings(codes: pa.Array, terms_count: int) -> TermPostings:
    """The postings of a column given by codes (null: no term)."""
    rows = np.flatnonzero(validity(codes)).astype(np.uint32)
    present = np.asarray(codes.drop_null())
    counts = np.bincount(present, minlength=terms_count)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.uint32)
    return TermPostings(offsets, rows[_stable_order(present, terms_count)])


def _stable_order(codes: NDArray[np.int32], terms_count: int) -> NDArray[np.int64]:
    """As a stable argsort, in passes over 16 bits, which numpy sorts by counting."""
    order: NDArray[np.int64] = np.argsort(codes.astype(np.uint16), kind="stable")
    if terms_count > 1 << 16:
        high = (codes >> 16).astype(np.uint16)[order]
        order = order[np.argsort(high, kind="stable")]
    return order


def hashed_rows(hashes: NDArray[np.uint32], rows: NDArray[np.uint32]) -> HashedRows:
    """Hashes with their rows, sorted."""
    pairs: HashedRows = (hashes.astype(np.uint64) << _ROW_BITS) | rows
    pairs.sort()
    return pairs


def distinct_hashes(pairs: HashedRows) -> int:
    """How many hashes there are."""
    return 1 + int(np.count_nonzero(np.diff(pairs >> _ROW_BITS))) if len(pairs) else 0


def hash_bits(rows_count: int) -> int:
    """How many top bits of the hash name a page."""
    return max(0, (rows_count - 1) // HASHES_PER_PAGE).bit_length()


def kept_bits(rows_count: int) -> int:
    """How many top bits of the hash are kept, those that name a page included."""
    return min(32, max(0, rows_count - 1).bit_length() + LOW_BITS)


def hash_pages(pairs: HashedRows, bits: int) -> list[tuple[int, bytes]]:
    """The pages of sorted hashes that are not empty, with their names, as stored."""
    kept = max(kept_bits(len(pairs)), bits + LOW_BITS)
    hashes = (pairs >> np.uint64(64 - kept)).astype(np.int64)
    rows = (pairs & np.uint64(0xFFFFFFFF)).astype(np.uint32)
    ends = np.searchsorted(hashes >> (kept - bits), np.arange(1 << bits), side="right")
    hashes &= (1 << (kept - bits)) - 1
    half_bytes = max(1, (int(rows.max(initial=0)).bit_length() + 3) // 4)
    pages, begin = [], 0
    for page, end in enumerate(ends.tolist()):
        if end > begin:
            entries = _packed_hashes(hashes[begin:end], kept - bits)
            header = _HASH_HEADER.pack(end - begin, kept - bits, half_bytes)
            packed = _packed_rows(rows[begin:end], half_bytes)
            pages.append((page, framed_plain(header + entries + packed)))
        begin = end
    return pages


def page_of(hashes: NDArray[np.uint32], bits: int) -> NDArray[np.int64]:
    """The name of the page of each hash."""
    return hashes.astype(np.int64) >> (32 - bits)


def rows_with_hash(data: bytes, wanted: int, bits: int, what: str) -> RowNumbers:
    """The rows of a hash in a stored page, and few others, ascending. Raises CORRUPT."""
    hashes, rows, kept = hash_entries(data, what)
    sought = ((wanted << bits) & 0xFFFFFFFF) >> (32 - kept)
    begin, end = np.searchsorted(hashes, [sought, sought + 1])
    return np.sort(rows[begin:end]).astype(np.int64)


def hash_entries(data: bytes, what: str) -> tuple[NDArray[np.int64], NDArray[np.uint32], int]:
    """The hashes of a stored page, ascending, their rows, and how many bits of a hash that is.

    These bits follow those that name the page. Raises AlderError(CORRUPT).
    """
    payload = memoryview(unframed(data, what))
    try:
        count, kept, half_bytes = _HASH_HEADER.unpack_from(payload)
        if not LOW_BITS <= kept <= 32 or not 0 < half_bytes <= 8 or count > ROWS_MAX:
            raise ValueError("unknown widths")
        middle = _HASH_HEADER.size + (count + (1 << (kept - LOW_BITS)) + 7) // 8
        bits = np.unpackbits(np.frombuffer(payload[_HASH_HEADER.size : middle], np.uint8))
        highs = np.flatnonzero(bits) - np.arange(count)
        lows = np.frombuffer(payload, np.uint8, count, middle)
        hashes = (highs << LOW_BITS) | lows
        return hashes, _unpacked_rows(payload[middle + count :], count, half_bytes), kept
    except (ValueError, struct.error) as error:
        raise AlderError(Reason.CORRUPT, f"{what} can't be decoded: {error}") from error


def _packed_hashes(hashes: NDArray[np.int64], kept: int) -> bytes:
    """Ascending hashes of ``kept`` bits: the low ones as bytes, the high ones as set bits.

    The bit of entry ``i`` with the high part ``h`` is at ``h + i`` (Elias 1974, Fano 1971).
    """
    bits = np.zeros(len(hashes) + (1 << (kept - LOW_BITS)), dtype=np.uint8)
    bits[(hashes >> LOW_BITS) + np.arange(len(hashes))] = 1
    return np.packbits(bits).tobytes() + hashes.astype(np.uint8).tobytes()


def _packed_rows(rows: NDArray[np.uint32], half_bytes: int) -> bytes:
    """Rows in whole bytes, and where half a byte is left, two of them in one."""
    whole = half_bytes // 2
    parts = rows.astype("<u4").view(np.uint8).reshape(len(rows), 4)
    packed = np.ascontiguousarray(parts[:, :whole].T).tobytes()
    if half_bytes % 2:
        halves = np.zeros(len(rows) + len(rows) % 2, dtype=np.uint8)
        halves[: len(rows)] = parts[:, whole]
        packed += (halves[0::2] | (halves[1::2] << 4)).tobytes()
    return packed


def _unpacked_rows(body: memoryview, count: int, half_bytes: int) -> NDArray[np.uint32]:
    """The inverse of :func:`_packed_rows`. Raises ValueError."""
    whole = half_bytes // 2
    if len(body) != count * whole + (half_bytes % 2) * ((count + 1) // 2):
        raise ValueError("rows of another length")
    parts = np.zeros((count, 4), dtype=np.uint8)
    for plane in range(whole):
        parts[:, plane] = np.frombuffer(body, np.uint8, count, plane * count)
    if half_bytes % 2:
        halves = np.frombuffer(body, np.uint8, offset=count * whole)
        parts[:, whole] = np.stack([halves & 15, halves >> 4], axis=1).reshape(-1)[:count]
    return parts.view("<u4").reshape(count)
