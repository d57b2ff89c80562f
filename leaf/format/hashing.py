"""A 32-bit hash of strings and of integers, over a whole column at once.

It decides only which rows are looked at, never which match, so it reads no more than the first
bytes of a string and its length. The function is part of the stored format and must not change.
"""

from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from leaf.format.buffers import string_parts

_WORD_BYTES: Final = 8
_WORDS_MAX: Final = 64
_MULTIPLIER: Final = np.uint64(0x9E3779B97F4A7C15)
_SHIFT: Final = np.uint64(29)
_USED: Final = np.asarray([(1 << 8 * used) - 1 for used in range(_WORD_BYTES + 1)], np.uint64)
"""The bits of a word that its first bytes fill."""


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
    offsets, data = string_parts(values)
    begins, lengths = offsets[:-1], np.diff(offsets)
    state = lengths.astype(np.uint64) * _MULTIPLIER
    padded = np.concatenate([data, np.zeros(_WORD_BYTES, dtype=np.uint8)])
    words_at = np.ndarray((len(data) + 1,), "<u8", padded.data, strides=(1,))
    longest = int(lengths.max(initial=0))
    shortest = int(lengths.min(initial=longest))
    for word in range(min(_WORDS_MAX, -(-longest // _WORD_BYTES))):
        done = word * _WORD_BYTES
        if done < shortest:
            words = words_at[begins + done]
            if shortest < done + _WORD_BYTES:
                words &= _USED[np.minimum(lengths - done, _WORD_BYTES)]
            state = _mixed((state ^ words) * _MULTIPLIER)
            continue
        rows = np.flatnonzero(lengths > done)
        words = words_at[begins[rows] + done]
        words &= _USED[np.minimum(lengths[rows] - done, _WORD_BYTES)]
        state[rows] = _mixed((state[rows] ^ words) * _MULTIPLIER)
    return _mixed(state * _MULTIPLIER)


def _mixed(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    mixed: NDArray[np.uint64] = state ^ (state >> _SHIFT)
    return mixed
