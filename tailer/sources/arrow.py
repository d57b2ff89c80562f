"""Arrow IPC, both of its forms: a run is a record batch.

A file whose end is missing is read like a stream: all batches before the cut are there.
"""

from collections.abc import Iterator
from functools import partial
from typing import Final

import pyarrow as pa

from tailer.sources.model import ReadLimits
from tailer.sources.storage import StoredFile, is_damage
from tailer.sources.streams import ByteStream
from tailer.sources.tables import Run

_MAGIC: Final = b"ARROW1"
_HEAD_BYTES: Final = 8
"""What a file has before what a stream has: the magic bytes and padding."""


def arrow_runs(file: StoredFile, limits: ReadLimits) -> Iterator[Run]:
    """The record batches, which are small enough as they were written."""
    with ByteStream(file) as stream:
        is_file = stream.read(len(_MAGIC)) == _MAGIC
    if not is_file:
        yield Run(None, partial(_streamed, file, 0))
        return
    with file.open() as opened:
        reader = _file_reader(opened)
        if reader is None:
            yield Run(None, partial(_streamed, file, _HEAD_BYTES))
            return
        for index in range(reader.num_record_batches):
            yield Run(None, partial(_one, reader, index))


def _file_reader(opened: pa.NativeFile) -> pa.RecordBatchFileReader | None:
    """None if the file's end is damaged."""
    try:
        return pa.ipc.open_file(opened)
    except pa.ArrowInvalid:
        return None
    except OSError as error:
        if is_damage(error):
            return None
        raise


def _one(reader: pa.RecordBatchFileReader, index: int) -> Iterator[pa.RecordBatch]:
    yield reader.get_batch(index)


def _streamed(file: StoredFile, head_bytes: int) -> Iterator[pa.RecordBatch]:
    with ByteStream(file) as stream:
        stream.read(head_bytes)
        yield from pa.ipc.open_stream(pa.PythonFile(stream, "r"))
        if stream.broken:
            raise pa.ArrowInvalid(stream.broken)
