"""Strings in few bytes: lengths in the narrowest width, then all bytes in one piece.

Strings of one length have no lengths, and the bytes that are the same in all of them (the prefix of
an address, the dashes of a UUID, the year of a time) are kept once.
"""

import re
import struct
from collections.abc import Sequence
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from leaf.format.buffers import offsets_buffer, string_array, string_parts

FIXED_BYTES_MAX: Final = 256
_HEADER: Final = struct.Struct(">BH")
_FIXED: Final = 0
_WIDTHS: Final = (1, 2, 4)
_RUN: Final = re.compile("0+|1+")
Bytes = NDArray[np.uint8]


def encode_strings(values: pa.Array) -> bytes:
    """At least one string or binary value, and no null, as stored."""
    offsets, data = string_parts(values)
    data = data[offsets[0] : offsets[-1]]
    lengths = np.diff(offsets)
    longest = int(lengths.max())
    if longest <= FIXED_BYTES_MAX and longest == int(lengths.min()):
        return _encode_fixed(data.reshape(len(values), longest))
    width = next(width for width in _WIDTHS if longest < 1 << 8 * width)
    return _HEADER.pack(width, 0) + lengths.astype(f"<u{width}").tobytes() + data.tobytes()


def decode_strings(body: memoryview, kind: pa.DataType, count: int) -> pa.Array:
    """The inverse of :func:`encode_strings` for ``count`` values. Raises ValueError."""
    lengths, data = decode_parts(body, count)
    return string_array(kind, lengths, data)


def decode_parts(body: memoryview, count: int) -> tuple[NDArray[np.int64], Bytes]:
    """The lengths and the bytes of stored strings. Raises ValueError."""
    if len(body) < _HEADER.size:
        raise ValueError("strings that are cut off")
    width, length = _HEADER.unpack_from(body)
    body = body[_HEADER.size :]
    if width == _FIXED:
        return np.full(count, length, dtype=np.int64), _decode_fixed(body, count, length)
    if width not in _WIDTHS or len(body) < count * width:
        raise ValueError("strings without lengths")
    lengths = np.frombuffer(body, f"<u{width}", count).astype(np.int64)
    return lengths, np.frombuffer(body, np.uint8, offset=count * width)


class StringPick:
    """Gives some of the stored strings, one by one."""

    def __init__(self, body: bytes, begin: int, count: int) -> None:
        """From ``begin`` on, ``count`` strings are stored. Raises ValueError, struct.error."""
        width, length = _HEADER.unpack_from(body, begin)
        begin += _HEADER.size
        self._body = body
        self._pieces: list[bytes | slice] | None = None
        self._head = b""
        if width == _FIXED:
            self._pieces = self._parse_fixed(begin, count, length)
        elif width not in _WIDTHS or len(body) < begin + count * width:
            raise ValueError("strings without lengths")
        else:
            lengths = np.frombuffer(body, f"<u{width}", count, begin)
            self._begin = begin + count * width
            ends = np.zeros(count + 1, dtype=np.int64)
            np.cumsum(lengths, out=ends[1:])
            if self._begin + ends[-1] != len(body) or len(body) >= 1 << 31:
                raise ValueError("lengths that don't add up")
            self._ends = ends.astype(np.int32)

    def at(self, numbers: Sequence[int]) -> list[bytes]:
        """The strings of these ascending numbers below ``count``."""
        return [self.one(number) for number in numbers]

    def one(self, number: int) -> bytes:
        """The string of this number below ``count``."""
        if self._pieces is None:
            begin, ends = self._begin, self._ends
            return self._body[begin + ends.item(number) : begin + ends.item(number + 1)]
        begin = self._begin + number * self._step
        own = self._head + self._body[begin : begin + self._step]
        if not self._pieces:
            return own
        return b"".join([one if isinstance(one, bytes) else own[one] for one in self._pieces])

    def _parse_fixed(self, begin: int, count: int, length: int) -> list[bytes | slice]:
        """What each string consists of: bytes that all have, and places in its own ones.

        Nothing where that is bytes that all begin with and then its own ones.
        """
        constant = begin + (length + 7) // 8
        mask = int.from_bytes(self._body[begin:constant], "big")
        varies = f"{mask:0{(length + 7) // 8 * 8}b}"[:length]
        self._step = varies.count("1")
        self._begin = constant + length - self._step
        if len(self._body) != self._begin + count * self._step:
            raise ValueError("strings of another length")
        pieces: list[bytes | slice] = []
        place = 0
        for run in _RUN.findall(varies):
            if run[0] == "1":
                pieces.append(slice(place, place + len(run)))
                place += len(run)
            else:
                pieces.append(self._body[constant : constant + len(run)])
                constant += len(run)
        own = slice(0, self._step)
        if pieces == [own]:
            return []
        if len(pieces) == 2 and isinstance(pieces[0], bytes):
            self._head = pieces[0]
            return []
        return pieces


def placed(
    kind: pa.DataType, lengths: NDArray[np.int64], data: Bytes, present: NDArray[np.bool_]
) -> pa.Array:
    """A string array with nulls where ``present`` is false. Raises ValueError."""
    spread = np.zeros(len(present), dtype=np.int64)
    spread[present] = lengths
    bitmap = pa.py_buffer(np.packbits(present, bitorder="little"))
    buffers = [bitmap, offsets_buffer(spread, len(data)), pa.py_buffer(data)]
    return pa.Array.from_buffers(kind, len(present), buffers)


def _encode_fixed(rows: Bytes) -> bytes:
    varies = (rows != rows[0]).any(axis=0)
    head = _HEADER.pack(_FIXED, rows.shape[1]) + np.packbits(varies).tobytes()
    if not varies.all():
        head += rows[0][~varies].tobytes()
        rows = rows[:, varies]
    return head + bytes(rows.tobytes())


def _decode_fixed(body: memoryview, count: int, length: int) -> Bytes:
    mask_bytes = (length + 7) // 8
    mask = np.frombuffer(body[:mask_bytes], np.uint8)
    varies = np.unpackbits(mask)[:length].astype(bool)
    constants, varying = length - int(varies.sum()), int(varies.sum())
    if len(varies) != length or len(body) != mask_bytes + constants + count * varying:
        raise ValueError("strings of another length")
    stored = np.frombuffer(body, np.uint8, count * varying, mask_bytes + constants)
    matrix = stored.reshape(count, varying)
    if not constants:
        return matrix.reshape(-1)
    rows = np.empty((count, length), dtype=np.uint8)
    rows[:, ~varies] = np.frombuffer(body, np.uint8, constants, mask_bytes)
    edges = np.flatnonzero(np.diff(varies.astype(np.int8), prepend=0, append=0))
    begin = 0
    for left, right in edges.reshape(-1, 2).tolist():
        rows[:, left:right] = matrix[:, begin : begin + right - left]
        begin += right - left
    return rows.reshape(-1)
