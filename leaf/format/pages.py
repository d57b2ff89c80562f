"""Pages: some thousands of values of one column, in the smallest encoding that suits their type.

A page says how many rows it has and which of them have a value, and then holds these values alone:
integers (and what is stored as integers: times, dates, dictionary codes), strings, floats and bits
in layouts of their own, lists as lengths and the values of all lists, what is left as an Arrow
stream.
"""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from alder.arrow import from_bytes, to_bytes
from alder.errors import AlderError, Reason
from leaf.format.buffers import list_offsets, offsets_buffer, string_array, validity
from leaf.format.frame import framed, unframed
from leaf.format.integers import (
    Integers,
    decode_integers,
    encode_integers,
    fill_integers,
    fill_numbers,
    from_planes,
)
from leaf.format.strings import decode_parts, encode_strings, placed

PAGE_ROWS: Final = 8192
VALUES_MAX: Final = 1 << 24
"""Of all lists of a page together; a limit for what a damaged page may ask of memory."""
HEADER: Final = struct.Struct(">BI")
"""Which rows have a value, and the number of rows."""
UNDECODABLE: Final = (ValueError, IndexError, OverflowError, struct.error, pa.ArrowException)
"""What reading a page raises that is not what it should be."""
ALL: Final = 0
SOME: Final = 1
NONE: Final = 2


def encode_page(values: pa.Array) -> bytes:
    """A page as stored."""
    return framed(encode_values(values))


def encode_pages(values: pa.Array, page_rows: int) -> list[bytes]:
    """Consecutive pages of ``page_rows`` rows, the last one of fewer, as stored."""
    if not values.null_count or len(values) <= page_rows:
        begins = range(0, len(values), page_rows)
        return [encode_page(values.slice(begin, page_rows)) for begin in begins]
    valid, present = validity(values), values.drop_null()
    counts = np.concatenate([[0], np.cumsum(valid)])
    pages = []
    for begin in range(0, len(values), page_rows):
        mask = valid[begin : begin + page_rows]
        first, end = int(counts[begin]), int(counts[begin + len(mask)])
        pages.append(framed(_encode(mask, present.slice(first, end - first))))
    return pages


def decode_page(data: bytes, kind: pa.DataType, what: str, rows_max: int = PAGE_ROWS) -> pa.Array:
    """The inverse of :func:`encode_page`; ``what`` names the page in errors.

    Raises AlderError(CORRUPT), or UNSUPPORTED for another version of the format.
    """
    payload = memoryview(unframed(data, what))
    with decoding(what):
        return decode_values(payload, kind, rows_max)


def fill_codes(data: bytes, what: str, terms_count: int, codes: NDArray[np.integer]) -> None:
    """Fills in the codes of a page, counted from 1 on, 0 where a row has none.

    ``codes`` has an entry per row, in a type that ``terms_count`` fits in. Raises
    AlderError(CORRUPT), also for a code without a term, UNSUPPORTED.
    """
    payload = memoryview(unframed(data, what))
    with decoding(what):
        present, count, body = _of_rows(payload, len(codes))
        if present is None:
            fill_numbers(body, codes, terms_count)
            codes += 1
            return
        codes[:] = 0
        if count:
            found = np.empty(count, dtype=codes.dtype)
            fill_numbers(body, found, terms_count)
            found += 1
            codes[present] = found


def fill_page_integers(data: bytes, what: str, values: Integers, valid: NDArray[np.bool_]) -> None:
    """Fills in the integers of a page, and which rows have one; 0 elsewhere.

    The page is of a type that any integer is a value of. Both have an entry per row. Raises
    AlderError(CORRUPT), UNSUPPORTED.
    """
    payload = memoryview(unframed(data, what))
    with decoding(what):
        present, count, body = _of_rows(payload, len(values))
        if present is None:
            valid[:] = True
            fill_integers(body, values)
            return
        valid[:] = present
        values[:] = 0
        if count:
            values[present] = decode_integers(body, count)


def _of_rows(
    payload: memoryview, rows_count: int
) -> tuple[NDArray[np.bool_] | None, int, memoryview]:
    """Which rows have a value (None: all), how many, and the values as stored."""
    rows, present, body = _presence(payload, PAGE_ROWS)
    if rows != rows_count:
        raise ValueError(f"{rows} rows")
    return present, rows if present is None else int(np.count_nonzero(present)), body


@contextmanager
def decoding(what: str) -> Iterator[None]:
    """Tells what can't be decoded. Raises AlderError(CORRUPT)."""
    try:
        yield
    except UNDECODABLE as error:
        raise undecodable(what, error) from error


def undecodable(what: str, error: Exception) -> AlderError:
    """The error for a page that raised one of UNDECODABLE."""
    return AlderError(Reason.CORRUPT, f"{what} can't be decoded: {error}")


def encode_values(values: pa.Array) -> bytes:
    """The values of a page without a frame around them."""
    if values.null_count:
        return _encode(validity(values), values.drop_null())
    return _encode(np.ones(len(values), dtype=bool), values)


def decode_values(payload: memoryview, kind: pa.DataType, rows_max: int) -> pa.Array:
    """The inverse of :func:`encode_values`.

    Raises ValueError, IndexError, struct.error, ArrowException.
    """
    rows, present, body = _presence(payload, rows_max)
    if present is None:
        return _decode_present(body, kind, rows, None)
    count = int(np.count_nonzero(present))
    return _decode_present(body, kind, count, present) if count else pa.nulls(rows, kind)


def _presence(
    payload: memoryview, rows_max: int
) -> tuple[int, NDArray[np.bool_] | None, memoryview]:
    """Number of rows, which of them have a value (None: all), and the values as stored."""
    presence, rows = HEADER.unpack_from(payload)
    if rows > rows_max or presence > NONE:
        raise ValueError(f"{rows} rows, or an unknown encoding")
    body = payload[HEADER.size :]
    if presence == ALL:
        return rows, None, body
    if presence == NONE:
        return rows, np.zeros(rows, dtype=bool), body
    bitmap = np.frombuffer(body[: (rows + 7) // 8], np.uint8)
    present = np.unpackbits(bitmap, bitorder="little")[:rows].view(np.bool_)
    if len(present) != rows:
        raise ValueError("a bitmap that is cut off")
    return rows, present, body[(rows + 7) // 8 :]


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


def _encode(mask: NDArray[np.bool_], present: pa.Array) -> bytes:
    """Rows of which those in the mask have values, and these."""
    if not len(present):
        return HEADER.pack(NONE, len(mask))
    if len(present) == len(mask):
        return HEADER.pack(ALL, len(mask)) + _encode_present(present)
    bitmap = np.packbits(mask, bitorder="little").tobytes()
    return HEADER.pack(SOME, len(mask)) + bitmap + _encode_present(present)


def _encode_present(values: pa.Array) -> bytes:
    kind = values.type
    if is_integral(kind):
        return encode_integers(integers_of(values))
    if is_text(kind):
        return encode_strings(values)
    if pa.types.is_float64(kind):
        planes = np.asarray(values).astype("<f8").view(np.uint8).reshape(len(values), 8).T
        return np.ascontiguousarray(planes).tobytes()
    if pa.types.is_boolean(kind):
        return np.packbits(values.to_numpy(zero_copy_only=False), bitorder="little").tobytes()
    if pa.types.is_list(kind):
        lengths = encode_integers(np.diff(list_offsets(values)))
        return len(lengths).to_bytes(4, "big") + lengths + encode_values(values.flatten())
    return to_bytes(pa.table({"values": values}))


def _decode_present(
    body: memoryview, kind: pa.DataType, count: int, present: NDArray[np.bool_] | None
) -> pa.Array:
    """The ``count`` values that are stored, null where ``present`` is false."""
    if is_text(kind):
        lengths, data = decode_parts(body, count)
        if present is None:
            values = string_array(kind, lengths, data)
        else:
            values = placed(kind, lengths, data, present)
        values.validate(full=True)
        return values
    if pa.types.is_list(kind):
        return _decode_lists(body, kind, count, present)
    if is_integral(kind):
        integers = decode_integers(body, count)
        narrow = integers.astype(f"<i{kind.bit_width // 8}", copy=False)
        moments = _fixed(narrow, kind, present)
        if pa.types.is_time64(kind):
            moments.validate(full=True)
        return moments
    if pa.types.is_float64(kind):
        return _fixed(from_planes(body, count, 8).view("<f8"), kind, present)
    if pa.types.is_boolean(kind):
        bits = np.unpackbits(np.frombuffer(body, np.uint8), bitorder="little")
        if not count <= len(bits) < count + 8:
            raise ValueError("bits of another number")
        return _spread(pa.array(bits[:count].astype(bool)), present)
    try:
        column = from_bytes(body).column("values").combine_chunks()
    except (AlderError, KeyError) as error:
        raise ValueError(str(error)) from error
    values = column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
    if values.type != kind or len(values) != count:
        raise ValueError("values of another type")
    return _spread(values, present)


def _decode_lists(
    body: memoryview, kind: pa.ListType, count: int, present: NDArray[np.bool_] | None
) -> pa.Array:
    begin = 4 + int.from_bytes(body[:4], "big")
    lengths = decode_integers(body[4:begin], count)
    child = decode_values(body[begin:], kind.value_type, VALUES_MAX)
    bitmap = None
    if present is not None:
        spread = np.zeros(len(present), dtype=np.int64)
        spread[present] = lengths
        lengths, bitmap = spread, pa.py_buffer(np.packbits(present, bitorder="little"))
    buffers = [bitmap, offsets_buffer(lengths, len(child))]
    return pa.Array.from_buffers(kind, len(lengths), buffers, children=[child])


def _fixed(
    values: NDArray[np.generic], kind: pa.DataType, present: NDArray[np.bool_] | None
) -> pa.Array:
    if present is None:
        return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(values)])
    spread = np.zeros(len(present), dtype=values.dtype)
    spread[present] = values
    bitmap = pa.py_buffer(np.packbits(present, bitorder="little"))
    return pa.Array.from_buffers(kind, len(present), [bitmap, pa.py_buffer(spread)])


def _spread(values: pa.Array, present: NDArray[np.bool_] | None) -> pa.Array:
    """The values in the places where ``present`` is true, nulls elsewhere."""
    if present is None:
        return values
    places = np.cumsum(present) - 1
    return values.take(pa.array(places, mask=~present))


def is_text(kind: pa.DataType) -> bool:
    """True for types whose values are bytes of any length."""
    return bool(pa.types.is_string(kind) or pa.types.is_binary(kind))
