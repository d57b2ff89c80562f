"""Columns without what is only a way to keep them; types that are treated alike."""

import pyarrow as pa
import pyarrow.compute as pc


def plain(column: pa.Array) -> pa.Array:
    """Without dictionary encoding, run ends or an extension type around it."""
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
