"""The memory of Arrow arrays as numpy sees it, without a copy, and back."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def string_parts(values: pa.Array) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Offsets (one more than rows, not from 0 on) and bytes of a string or binary array.

    What a null has between its offsets is anything.
    """
    buffers = values.buffers()
    offsets_buffer, data_buffer = buffers[-2], buffers[-1]
    data = np.frombuffer(data_buffer, dtype=np.uint8) if data_buffer else np.empty(0, np.uint8)
    return _offsets(values, offsets_buffer), data


def texts_at(values: pa.Array, places: Sequence[int]) -> list[bytes]:
    """The bytes of some strings of an array without nulls. Raises IndexError."""
    if not places:
        return []
    if min(places) < 0 or max(places) >= len(values):
        raise IndexError("no string of this number")
    _, offsets_data, data = values.buffers()
    distinct = set(places)
    if 2 * len(distinct) < len(places):
        few = list(distinct)
        by_place = dict(zip(few, texts_at(values, few), strict=True))
        return [by_place[place] for place in places]
    offsets, texts = memoryview(offsets_data).cast("i")[values.offset :], memoryview(data or b"")
    return [texts[offsets[place] : offsets[place + 1]].tobytes() for place in places]


def list_offsets(values: pa.Array) -> NDArray[np.int64]:
    """Offsets (one more than rows, not from 0 on) of a list array into its child values."""
    return _offsets(values, values.buffers()[1])


def string_array(
    kind: pa.DataType, lengths: NDArray[np.int64], data: bytes | NDArray[np.uint8]
) -> pa.Array:
    """A string or binary array without nulls. Raises ValueError where the two don't fit."""
    return pa.Array.from_buffers(
        kind, len(lengths), [None, offsets_buffer(lengths, len(data)), pa.py_buffer(data)]
    )


def offsets_buffer(lengths: NDArray[np.int64], total: int) -> pa.Buffer:
    """The offsets that these lengths give. Raises ValueError where they don't add up to total."""
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    if offsets[-1] != total or total >= 1 << 31 or (len(lengths) and lengths.min() < 0):
        raise ValueError("lengths that don't add up")
    return pa.py_buffer(offsets.astype(np.int32))


def validity(values: pa.Array) -> NDArray[np.bool_]:
    """True where a value is there."""
    mask: NDArray[np.bool_] = values.is_valid().to_numpy(zero_copy_only=False)
    return mask


def _offsets(values: pa.Array, buffer: pa.Buffer | None) -> NDArray[np.int64]:
    if len(values) == 0 or buffer is None:
        return np.zeros(1, dtype=np.int64)
    found = np.frombuffer(buffer, dtype=np.int32)
    return found[values.offset : values.offset + len(values) + 1].astype(np.int64)
