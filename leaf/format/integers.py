"""Integers in few bytes: distances from the smallest, or steps from one to the next.

Steps serve values that ascend evenly, as times and births do; steps that are all the same take no
room at all. Wider ones than two bytes are kept byte by byte in planes, of which the high ones
compress well.
"""

import struct
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

_HEADER: Final = struct.Struct(">?qqB")
Integers = NDArray[np.int64]


def encode_integers(values: Integers) -> bytes:
    """At least one value, as stored."""
    low, high = int(values.min()), int(values.max())
    unsigned = values.view(np.uint64)
    width = _width(high - low)
    if width and len(values) > 1 and high - low < 1 << 62:
        steps = np.diff(values)
        step_low, step_high = int(steps.min()), int(steps.max())
        step_width = _width(step_high - step_low)
        if step_width < width:
            head = _HEADER.pack(True, step_low, int(values[0]), step_width)
            return head + _planes((steps - step_low).view(np.uint64), step_width)
    return _HEADER.pack(False, low, 0, width) + _planes(unsigned - _wrapped(low), width)


def decode_integers(body: memoryview, count: int) -> Integers:
    """The inverse of :func:`encode_integers` for ``count`` values. Raises ValueError."""
    values = np.empty(count, dtype=np.int64)
    fill_integers(body, values)
    return values


def fill_integers(body: memoryview, values: Integers) -> None:
    """Fills in as many integers as there is room for. Raises ValueError."""
    stepped, base, first, width = _header(body, len(values))
    wrapped = values.view(np.uint64)
    rest = wrapped[1:] if stepped else wrapped
    rest[:] = _stored(body[_HEADER.size :], len(rest), width)
    rest += _wrapped(base)
    if stepped:
        wrapped[0] = _wrapped(first)
        np.cumsum(wrapped, out=wrapped)


def fill_numbers(body: memoryview, numbers: NDArray[np.integer], end: int) -> None:
    """Fills in integers of ``[0, end)``, which fit. Raises ValueError for any other."""
    stepped, base, _, width = _header(body, len(numbers))
    values: NDArray[np.integer]
    if stepped:
        values, base = decode_integers(body, len(numbers)), 0
    else:
        values = _stored(body[_HEADER.size :], len(numbers), width)
    if base + int(values.min()) < 0 or base + int(values.max()) >= end:
        raise ValueError("numbers that there are not")
    numbers[:] = values
    if base:
        numbers += base


class IntegerPick:
    """Gives some of the stored integers, one by one."""

    def __init__(self, body: bytes, begin: int, count: int) -> None:
        """From ``begin`` on, ``count`` integers are stored. Raises ValueError."""
        self._stepped, self._base, self._first, width = _header(memoryview(body)[begin:], count)
        begin += _HEADER.size
        self._wraps = not -(1 << 63) <= self._base <= (1 << 63) - (1 << 8 * width)
        stored = count - 1 if self._stepped else count
        planes, plane_width = (1, width) if width in {1, 2} else (width, 1)
        self._planes = [
            np.frombuffer(body, f"<u{plane_width}", stored, begin + plane * stored)
            for plane in range(planes)
        ]

    def at(self, numbers: Sequence[int]) -> list[int]:
        """The integers of these ascending numbers below ``count``."""
        if self._stepped:
            return list(map(_signed, self._summed(numbers)))
        found = [self._base] * len(numbers)
        for place, plane in enumerate(self._planes):
            shift = 8 * place
            found = [f + (plane.item(n) << shift) for f, n in zip(found, numbers, strict=True)]
        return list(map(_signed, found)) if self._wraps else found

    def one(self, number: int) -> int:
        """The integer of this number below ``count``."""
        (found,) = self.at((number,))
        return found

    def _summed(self, numbers: Sequence[int]) -> Iterator[int]:
        value, before = self._first, 0
        for number in numbers:
            value += self._base * (number - before)
            for place, plane in enumerate(self._planes):
                value += int(plane[before:number].sum(dtype=np.uint64)) << 8 * place
            before = number
            yield value


def _header(body: memoryview, count: int) -> tuple[bool, int, int, int]:
    if len(body) < _HEADER.size:
        raise ValueError("integers that are cut off")
    stepped, base, first, width = _HEADER.unpack_from(body)
    stored = count - 1 if stepped else count
    if stored < 0 or width > 8 or len(body) != _HEADER.size + stored * width:
        raise ValueError("integers of another length")
    return stepped, base, first, width


def planes_of(values: NDArray[np.uint64]) -> tuple[int, bytes]:
    """The bytes that each of these values needs, and the values in planes of so many."""
    width = _width(int(values.max(initial=0)))
    return width, _planes(values, width)


def from_planes(body: memoryview, count: int, width: int) -> NDArray[np.uint64]:
    """The inverse of :func:`planes_of`. Raises ValueError."""
    if width > 8 or len(body) != count * width:
        raise ValueError("planes of another length")
    return _stored(body, count, width).astype(np.uint64, copy=False)


def _stored(body: memoryview, count: int, width: int) -> NDArray[np.unsignedinteger]:
    """The values of planes whose length is right, in the narrowest type."""
    if width == 0:
        return np.zeros(count, dtype=np.uint8)
    if width in {1, 2}:
        return np.frombuffer(body, f"<u{width}")
    kind: type[np.unsignedinteger] = np.uint32 if width <= 4 else np.uint64
    values = np.zeros(count, dtype=kind)
    for plane in reversed(range(width)):
        np.left_shift(values, 8, out=values)
        np.bitwise_or(values, np.frombuffer(body, np.uint8, count, plane * count), out=values)
    return values


def _planes(values: NDArray[np.uint64], width: int) -> bytes:
    if width == 0:
        return b""
    if width in {1, 2}:
        return values.astype(f"<u{width}").tobytes()
    parts = values.astype("<u8").view(np.uint8).reshape(len(values), 8)
    return np.ascontiguousarray(parts[:, :width].T).tobytes()


def _width(largest: int) -> int:
    return (largest.bit_length() + 7) // 8


def _signed(value: int) -> int:
    """What fits in no int64 wraps, as in arrays."""
    return (value + (1 << 63)) % (1 << 64) - (1 << 63)


def _wrapped(value: int) -> np.uint64:
    """Unsigned arithmetic wraps, so the whole range of int64 fits."""
    return np.uint64(value % (1 << 64))
