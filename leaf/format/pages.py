"""Pages: some thousands of values of one column, in the smallest encoding that suits them.

Integers (and what is stored as integers: times, dates, dictionary codes) are kept as the distance
from the page's minimum, in the narrowest unsigned width. Everything else is an Arrow stream. A page
without any value is not stored at all.
"""

import struct
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from alder.arrow import from_bytes, to_bytes
from alder.errors import AlderError, Reason
from leaf.format.frame import framed, unframed

PAGE_ROWS: Final = 8192
_ARROW: Final = b"A"
_NARROWED: Final = b"N"
_HEADER: Final = struct.Struct(">IqB?")
_WIDTHS: Final = (1, 2, 4, 8)


def encode_page(values: pa.Array) -> bytes:
    """A page as stored; the array has at least one value that is not null."""
    integers = _as_integers(values)
    if integers is None:
        return framed(_ARROW + to_bytes(pa.table({"values": values})))
    present = np.asarray(values.is_valid())
    base = int(integers[present].min())
    distances = _distances(integers, base)
    distances[~present] = 0
    width = next(width for width in _WIDTHS if int(distances.max()) < 1 << 8 * width)
    header = _HEADER.pack(len(values), base, width, bool(present.all()))
    bitmap = b"" if present.all() else np.packbits(present, bitorder="little").tobytes()
    return framed(_NARROWED + header + bitmap + distances.astype(f"<u{width}").tobytes())


def decode_page(data: bytes, kind: pa.DataType, what: str) -> pa.Array:
    """The inverse of :func:`encode_page`; ``what`` names the page in errors.

    Raises AlderError(CORRUPT), or UNSUPPORTED for another version of the format.
    """
    payload = unframed(data, what)
    if payload[:1] == _ARROW:
        column = from_bytes(payload[1:]).column("values").combine_chunks()
        return column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
    if payload[:1] != _NARROWED:
        raise AlderError(Reason.CORRUPT, f"{what} has an unknown encoding")
    rows, base, width, full = _HEADER.unpack_from(payload, 1)
    begin = 1 + _HEADER.size
    bitmap = None
    if not full:
        bitmap = pa.py_buffer(payload[begin : begin + (rows + 7) // 8])
        begin += (rows + 7) // 8
    distances = np.frombuffer(payload, dtype=f"<u{width}", count=rows, offset=begin)
    values = (distances.astype(np.uint64) + np.uint64(base % (1 << 64))).view(np.int64)
    stored = values.astype(f"<i{kind.bit_width // 8}")
    return pa.Array.from_buffers(kind, rows, [bitmap, pa.py_buffer(stored)])


def is_integral(kind: pa.DataType) -> bool:
    """True for types whose values are integers of 32 or 64 bits."""
    return bool(
        pa.types.is_signed_integer(kind)
        or pa.types.is_timestamp(kind)
        or pa.types.is_date32(kind)
        or pa.types.is_time64(kind)
    )


def integers_of(values: pa.Array) -> NDArray[np.int64]:
    """The values of an integral array, anything at nulls."""
    raw = values.view(pa.int32() if values.type.bit_width == 32 else pa.int64())
    filled = raw.fill_null(0) if raw.null_count else raw
    return np.asarray(filled).astype(np.int64)


def _as_integers(values: pa.Array) -> NDArray[np.int64] | None:
    return integers_of(values) if is_integral(values.type) else None


def _distances(integers: NDArray[np.int64], base: int) -> NDArray[np.uint64]:
    """Unsigned arithmetic wraps, so the whole range of int64 fits."""
    return integers.view(np.uint64) - np.uint64(base % (1 << 64))
