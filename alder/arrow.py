"""Arrow IPC as bytes: how rows travel between tiers and how a stream is cut into messages."""

from collections.abc import Iterable, Iterator
from typing import Final

import pyarrow as pa

from alder.errors import AlderError, Reason

SQL_TYPE_KEY: Final = b"alder.type"
"""Metadata key under which each field of a result has its SQL type."""

CHUNK_BYTES: Final = 1 << 20
"""Size of one message of a stream: larger ones stall the event loop of the receiver."""

SMALL_BYTES: Final = 64 << 10
"""Up to this size a table is written or read in less time than another thread needs to begin."""


def to_bytes(table: pa.Table | pa.RecordBatch, compression: str | None = None) -> bytes:
    """One Arrow IPC stream; ``compression`` is None, ``lz4`` or ``zstd``."""
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write(table)
    return bytes(sink.getvalue())


def stream_pieces(table: pa.Table, size_bytes: int = CHUNK_BYTES) -> Iterator[bytes]:
    """One Arrow IPC stream in pieces of about that size, each made when it is asked for.

    So a large table is never there a second time.
    """
    rows = max(1, table.num_rows * size_bytes // max(table.nbytes, 1))
    sink = _Sink()
    with pa.ipc.new_stream(pa.PythonFile(sink, mode="w"), table.schema) as writer:
        for batch in table.to_batches(max_chunksize=rows):
            writer.write_batch(batch)
            if sink.size_bytes >= size_bytes:
                yield from chunks(sink.taken(), size_bytes)
    yield from chunks(sink.taken(), size_bytes)


class _Sink:
    """A file for Arrow that keeps what is written until it is taken."""

    closed = False

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self.size_bytes = 0

    def write(self, data: bytes) -> int:
        """Keeps it."""
        self._parts.append(data)
        self.size_bytes += len(data)
        return len(data)

    def flush(self) -> None:
        """Does nothing: what is written is there."""

    def close(self) -> None:
        """Does nothing: what is written stays until it is taken."""

    def taken(self) -> bytes:
        """What was written since the last time."""
        data = b"".join(self._parts)
        self._parts.clear()
        self.size_bytes = 0
        return data


def to_memory(table: pa.Table) -> memoryview:
    """As :func:`to_bytes`; a large table is written once, into memory of the right size."""
    if table.nbytes <= SMALL_BYTES:
        return memoryview(to_bytes(table))
    size = pa.MockOutputStream()
    _write(table, size)
    buffer = pa.allocate_buffer(size.size())
    _write(table, pa.FixedSizeBufferWriter(buffer))
    return memoryview(buffer)


def from_bytes(data: bytes | memoryview) -> pa.Table:
    """The table of one Arrow IPC stream. Raises AlderError(CORRUPT) where it is not one."""
    try:
        with pa.ipc.open_stream(pa.py_buffer(data)) as reader:
            table = reader.read_all()
        table.validate(full=True)
    except (pa.ArrowException, OSError) as error:
        raise AlderError(
            Reason.CORRUPT, f"the rows are not a valid Arrow stream: {error}"
        ) from error
    return table


def _write(table: pa.Table, sink: pa.NativeFile) -> None:
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write(table)


def chunks(data: bytes, size_bytes: int = CHUNK_BYTES) -> Iterator[bytes]:
    """``data`` in pieces of at most ``size_bytes``."""
    view = memoryview(data)
    for begin in range(0, len(data), size_bytes):
        yield bytes(view[begin : begin + size_bytes])


def join_chunks(parts: Iterable[bytes]) -> pa.Table:
    """The inverse of :func:`chunks` and :func:`to_bytes` together."""
    return from_bytes(b"".join(parts))
