"""Columns without what is only a way to keep them; types that are treated alike."""

from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_UUID_BYTES: Final = 16
_UUID_CHARACTERS: Final = 36
_DASHES: Final = (8, 13, 18, 23)
_DIGITS: Final = np.frombuffer(b"0123456789abcdef", np.uint8)


def plain(column: pa.Array) -> pa.Array:
    """Without dictionary encoding, run ends or an extension type around it; a UUID is text."""
    if isinstance(column.type, pa.UuidType):
        return _uuid_texts(column.storage)
    if isinstance(column, pa.ExtensionArray):
        return plain(column.storage)
    if pa.types.is_dictionary(column.type):
        return plain(column.dictionary_decode())
    if pa.types.is_run_end_encoded(column.type):
        return plain(pc.run_end_decode(column))
    return column


def is_string(kind: pa.DataType) -> bool:
    """True for text, however it is kept."""
    types = pa.types
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def _uuid_texts(values: pa.Array) -> pa.Array:
    """Lower-case hexadecimal digits in groups (RFC 9562) of values of 16 bytes."""
    _, data = values.buffers()
    first = values.offset * _UUID_BYTES
    octets = np.frombuffer(data, np.uint8)[first:][: len(values) * _UUID_BYTES]
    nibbles = np.stack([octets >> 4, octets & 15], axis=1).reshape(len(values), -1)
    texts = np.full((len(values), _UUID_CHARACTERS), ord("-"), np.uint8)
    texts[:, np.delete(np.arange(_UUID_CHARACTERS), _DASHES)] = _DIGITS[nibbles]
    fixed = pa.Array.from_buffers(
        pa.binary(_UUID_CHARACTERS), len(values), [None, pa.py_buffer(texts.tobytes())]
    )
    present = values.is_valid()
    return pc.if_else(present, fixed.cast(pa.binary()).cast(pa.string()), None)
