"""Records of the log as Arrow columns: as they are appended, as they lie on disk, as they are read.

A record is never an object of its own: whoever passes records on handles columns. What a stranger
sends is taken only with exactly these columns, and only uncompressed, so that the memory it needs
is bounded by the size of the message; :func:`decode` ensures both before it reads a row.
"""

import struct
from collections.abc import Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from alder import arrow
from alder.errors import AlderError, Reason

VALUE: Final = "value"
KEY: Final = "key"
ORIGINAL_SIZE_BYTES: Final = "original_size_bytes"
TIMESTAMP_US: Final = "timestamp_us"
SCHEMA: Final = pa.schema(
    [
        pa.field(VALUE, pa.binary(), nullable=False),
        pa.field(KEY, pa.binary()),
        pa.field(ORIGINAL_SIZE_BYTES, pa.int64()),
    ]
)
"""What an append may hold; ``value`` alone is enough."""
TIMESTAMP: Final = pa.field(TIMESTAMP_US, pa.int64(), nullable=False)
"""What a read adds."""
FIXED_BYTES: Final = 24
"""What a record takes beside its value and key: two ends, original size, timestamp."""
_NAMES: Final = ", ".join(f"{field.name} {field.type}" for field in SCHEMA)
_MESSAGE_HEADER: Final = 2
_BATCH_COMPRESSION: Final = 3


def encode(values: Sequence[bytes], original_sizes_bytes: Sequence[int] = ()) -> bytes:
    """Records without keys for an append; the sizes, if any, are as many as the values."""
    columns = {VALUE: pa.array(values, pa.binary())}
    if original_sizes_bytes:
        columns[ORIGINAL_SIZE_BYTES] = pa.array(original_sizes_bytes, pa.int64())
    return arrow.to_bytes(pa.table(columns))


def decode(data: bytes | memoryview) -> pa.Table:
    """The table of an append's records, with the columns of :data:`SCHEMA`, each in one chunk.

    Raises AlderError(INVALID_ARGUMENT) for everything that the contract does not allow.
    """
    try:
        _check_messages(data)
        table = arrow.from_bytes(data)
    except AlderError as error:
        raise AlderError(Reason.INVALID_ARGUMENT, f"{error.message}; {_advice()}") from error
    except (pa.ArrowException, OSError, ValueError, struct.error) as error:
        raise AlderError(
            Reason.INVALID_ARGUMENT, f"the records are no Arrow stream ({error}); {_advice()}"
        ) from error
    columns = dict(zip(table.column_names, table.columns, strict=True))
    table = pa.Table.from_arrays(
        [_whole(columns.get(field.name), field, table.num_rows) for field in SCHEMA], schema=SCHEMA
    )
    if table.column(VALUE).null_count:
        raise AlderError(
            Reason.INVALID_ARGUMENT,
            "a record's value is null; send an empty value, with a key, to delete a document",
        )
    if pc.any(pc.less(table.column(ORIGINAL_SIZE_BYTES), 0)).as_py():
        raise AlderError(
            Reason.INVALID_ARGUMENT, "an original_size_bytes is negative; leave it null for none"
        )
    return table


def sizes_bytes(table: pa.Table) -> NDArray[np.int64]:
    """Length of value and key of each record of a table with :data:`SCHEMA`."""
    sizes: NDArray[np.int64] = _lengths(table.column(VALUE)).astype(np.int64)
    keys = table.column(KEY)
    return sizes + _lengths(keys) if keys.null_count < len(keys) else sizes


def _lengths(column: pa.ChunkedArray) -> NDArray[np.int32]:
    lengths: NDArray[np.int32] = pc.binary_length(column).fill_null(0).to_numpy()
    return lengths


def _whole(column: pa.ChunkedArray | None, field: pa.Field, rows: int) -> pa.Array:
    if column is None:
        return pa.nulls(rows, field.type)
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _check_messages(data: bytes | memoryview) -> None:
    """Refuses other columns, dictionaries and compression, which could ask for any memory."""
    with pa.ipc.open_stream(pa.py_buffer(data)) as stream:
        schema = stream.schema
    allowed = {field.name: field.type for field in SCHEMA}
    found = [(field.name, field.type) for field in schema]
    names = [name for name, _ in found]
    if len(set(names)) < len(names) or VALUE not in names:
        raise AlderError(
            Reason.INVALID_ARGUMENT, f"the records lack the column {VALUE}, or one is there twice"
        )
    for name, kind in found:
        if allowed.get(name) != kind:
            raise AlderError(
                Reason.INVALID_ARGUMENT, f"the records have a column {name!r} of type {kind}"
            )
    _, *batches = pa.ipc.MessageReader.open_stream(pa.py_buffer(data))
    for message in batches:
        if message.type != "record batch" or _is_compressed(bytes(message.metadata)):
            raise AlderError(
                Reason.INVALID_ARGUMENT, "the records are compressed or hold more than batches"
            )


def _is_compressed(metadata: bytes) -> bool:
    """Whether the header of a record batch, a flatbuffer that Arrow has verified, says so."""
    (message,) = struct.unpack_from("<I", metadata)
    header = _flatbuffer_field(metadata, message, _MESSAGE_HEADER)
    (distance,) = struct.unpack_from("<I", metadata, header)
    return _flatbuffer_field(metadata, header + distance, _BATCH_COMPRESSION) != 0


def _flatbuffer_field(data: bytes, table: int, number: int) -> int:
    """Where a field of the table at ``table`` is; 0 if it is not set."""
    (back,) = struct.unpack_from("<i", data, table)
    vtable = table - back
    (vtable_bytes,) = struct.unpack_from("<H", data, vtable)
    entry = 4 + 2 * number
    if entry >= vtable_bytes:
        return 0
    (distance,) = struct.unpack_from("<H", data, vtable + entry)
    return table + distance if distance else 0


def _advice() -> str:
    return f"send one uncompressed Arrow IPC stream with the columns {_NAMES}"
