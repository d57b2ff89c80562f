"""Integers in few bytes: distances from the smallest, or steps from one to the next.

Steps serve values that ascend evenly, as times and births do; steps that are all the same take no
room at all. Wider ones than two bytes are kept byte by byte in planes, of which the high ones
compress well.
"""

import struct
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


def decode_integers(body: memoryview, count: int, chosen: Integers | None = None) -> Integers:
    """The inverse of :func:`encode_integers` for ``count`` values, or some of them, by number.

    Raises ValueError.
    """
    if len(body) < _HEADER.size:
        raise ValueError("integers that are cut off")
    stepped, base, first, width = _HEADER.unpack_from(body)
    stored = count - 1 if stepped else count
    if stored < 0 or width > 8 or len(body) != _HEADER.size + stored * width:
        raise ValueError("integers of another length")
    if not stepped:
        distances = from_planes(body[_HEADER.size :], stored, width, chosen)
        return (distances + _wrapped(base)).view(np.int64)
    distances = from_planes(body[_HEADER.size :], stored, width)
    values = np.empty(count, dtype=np.uint64)
    values[0] = _wrapped(first)
    values[1:] = distances + _wrapped(base)
    whole = np.cumsum(values, dtype=np.uint64).view(np.int64)
    return whole if chosen is None else whole[chosen]


def planes_of(values: NDArray[np.uint64]) -> tuple[int, bytes]:
    """The bytes that each of these values needs, and the values in planes of so many."""
    width = _width(int(values.max(initial=0)))
    return width, _planes(values, width)


def from_planes(
    body: memoryview, count: int, width: int, chosen: Integers | None = None
) -> NDArray[np.uint64]:
    """The inverse of :func:`planes_of`, or some of the values, by number. Raises ValueError."""
    if width > 8 or len(body) != count * width:
        raise ValueError("planes of another length")
    some = slice(None) if chosen is None else chosen
    if width in {1, 2}:
        return np.frombuffer(body, f"<u{width}")[some].astype(np.uint64)
    whole = np.zeros((count if chosen is None else len(chosen), 8), dtype=np.uint8)
    for plane in range(width):
        whole[:, plane] = np.frombuffer(body, np.uint8, count, plane * count)[some]
    return whole.view("<u8").reshape(len(whole))


def _planes(values: NDArray[np.uint64], width: int) -> bytes:
    if width == 0:
        return b""
    if width in {1, 2}:
        return values.astype(f"<u{width}").tobytes()
    parts = values.astype("<u8").view(np.uint8).reshape(len(values), 8)
    return np.ascontiguousarray(parts[:, :width].T).tobytes()


def _width(largest: int) -> int:
    return (largest.bit_length() + 7) // 8


def _wrapped(value: int) -> np.uint64:
    """Unsigned arithmetic wraps, so the whole range of int64 fits."""
    return np.uint64(value % (1 << 64))
