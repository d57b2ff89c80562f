"""A 32-bit hash of strings and of integers, over a whole column at once.

It decides only which rows are looked at, never which match, so it reads no more than the first
bytes of a string and its length. The function is part of the stored format and must not change.
"""

from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

_WORD_BYTES: Final = 8
_WORDS_MAX: Final = 64
_MULTIPLIER: Final = np.uint64(0x9E3779B97F4A7C15)
_SHIFT: Final = np.uint64(29)


def hash_values(values: pa.Array) -> NDArray[np.uint32]:
    """The hashes of an array of strings or of int64 without nulls."""
    if pa.types.is_string(values.type):
        return hash_strings(values)
    state = np.asarray(values).astype(np.int64).view(np.uint64) * _MULTIPLIER
    hashes: NDArray[np.uint32] = (_mixed(state) * _MULTIPLIER >> np.uint64(32)).astype(np.uint32)
    return hashes


def hash_strings(values: pa.Array) -> NDArray[np.uint32]:
    """The hashes of a string array without nulls."""
    hashes: NDArray[np.uint32] = (hash_strings_wide(values) >> np.uint64(32)).astype(np.uint32)
    return hashes


def hash_strings_wide(values: pa.Array) -> NDArray[np.uint64]:
    """64 bits, of which :func:`hash_strings` gives the upper half; not stored anywhere."""
    begins, lengths, data = _buffers(values)
    state = lengths.astype(np.uint64) * _MULTIPLIER
    padded = np.concatenate([data, np.zeros(_WORD_BYTES, dtype=np.uint8)])
    longest = int(lengths.max(initial=0))
    for word in range(min(_WORDS_MAX, -(-longest // _WORD_BYTES))):
        rows = np.flatnonzero(lengths > word * _WORD_BYTES)
        places = begins[rows] + word * _WORD_BYTES
        block = padded[places[:, None] + np.arange(_WORD_BYTES)]
        used = np.minimum(lengths[rows] - word * _WORD_BYTES, _WORD_BYTES)
        block[np.arange(_WORD_BYTES) >= used[:, None]] = 0
        words = block.view("<u8").reshape(-1)
        state[rows] = _mixed((state[rows] ^ words) * _MULTIPLIER)
    return _mixed(state * _MULTIPLIER)


def _mixed(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    mixed: NDArray[np.uint64] = state ^ (state >> _SHIFT)
    return mixed


def _buffers(
    values: pa.Array,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint8]]:
    """Where each string begins, its length in bytes, and the bytes."""
    _, offsets_buffer, data_buffer = values.buffers()
    if len(values) == 0 or offsets_buffer is None:
        empty = np.empty(0, dtype=np.int64)
        return empty, empty, np.empty(0, dtype=np.uint8)
    offsets = np.frombuffer(offsets_buffer, dtype=np.int32)[
        values.offset : values.offset + len(values) + 1
    ].astype(np.int64)
    data = np.frombuffer(data_buffer, dtype=np.uint8) if data_buffer else np.empty(0, np.uint8)
    return offsets[:-1], np.diff(offsets), data
