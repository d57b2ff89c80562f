"""Avro object container files, read in order: a run is the whole file.

Values keep their types (see ``avroschema``). Where the schema has none to keep, because it has
unions of several types or UUIDs, or contains itself, rows are read as JSON documents, in which
every value has a type of its own; bytes and decimals are strings there.
"""

import decimal
import struct
import zlib
from collections.abc import Iterator
from functools import partial
from typing import IO, Final, cast

import fastavro
import orjson
import pyarrow as pa

from tailer.sources.avroschema import UntypedError, row_type
from tailer.sources.model import ReadLimits
from tailer.sources.storage import StoredFile
from tailer.sources.streams import ByteStream
from tailer.sources.tables import Records, Run

_DAMAGE: Final = (
    ArithmeticError,
    EOFError,
    LookupError,
    TypeError,
    ValueError,
    decimal.DecimalException,
    struct.error,
    zlib.error,
    fastavro.schema.SchemaParseException,
    fastavro.schema.UnknownType,
)
"""What the reader raises for bytes that it does not understand."""


def avro_runs(file: StoredFile, limits: ReadLimits) -> Iterator[Run]:
    """All rows, in the blocks in which they were written."""
    yield Run(None, partial(_read, file))


def _read(file: StoredFile) -> Iterator[Records]:
    with ByteStream(file) as stream:
        try:
            blocks = fastavro.block_reader(cast("IO[bytes]", stream), return_record_name=False)
            schema = blocks.writer_schema
            kind = _row_type(schema)
            for block in blocks:
                yield _records(list(block), kind)
        except _DAMAGE as error:
            why = stream.broken or f"{type(error).__name__}: {error}"
            raise pa.ArrowInvalid(f"not valid Avro: {why}") from error
        if stream.broken:
            raise pa.ArrowInvalid(stream.broken)


def _row_type(schema: object) -> pa.StructType | None:
    try:
        return row_type(schema)
    except UntypedError:
        return None


def _records(rows: list[object], kind: pa.StructType | None) -> Records:
    if kind is None:
        return pa.array([orjson.dumps(row, default=_text) for row in rows], pa.binary())
    return pa.RecordBatch.from_struct_array(pa.array(rows, kind))


def _text(value: object) -> str:
    """Avro's own JSON encoding of bytes has one character per byte."""
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)
