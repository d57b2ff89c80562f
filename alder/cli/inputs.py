"""The documents of a file or of stdin, batch by batch, in bounded memory.

Lines are JSON documents and pass through untouched; CSV and Parquet rows become JSON documents.
What can be read before a file turns out damaged is given first, then the damage is an error, so
that a truncated file loses nothing that it still holds.
"""

import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import duckdb
import pyarrow as pa

from alder.cli import output
from alder.cli.errors import CommandError, one_line
from alder.client.documents import (
    DOCUMENT_BYTES_MAX,
    PREFIX_BYTES,
    Document,
    TruncatedDocument,
)

STDIN: Final = "-"
BLOCK_BYTES: Final = 1 << 20
BATCH_BYTES: Final = 4 << 20
BATCH_ROWS: Final = 10_000
ZSTD_READ_BYTES: Final = 4 << 10
"""pyarrow gives nothing of a read that meets a truncation, so reads are small."""
_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_TYPED: Final = {".parquet": "read_parquet(?)", ".csv": "read_csv(?, sample_size=-1)"}
_TYPED[".tsv"] = _TYPED[".csv"]
_COMPRESSIONS: Final = (".gz", ".zst")


class DamagedInputError(CommandError):
    """A file ends too early or holds what can't be decompressed; all before it was given."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Documents, and how many bytes of the file have been read so far."""

    documents: list[Document]
    position_bytes: int


def size_bytes(name: str) -> int:
    """Size of a file, 0 for stdin. Raises CommandError unless it is there to be read."""
    if name == STDIN:
        return 0
    path = Path(name)
    if path.is_dir():
        raise CommandError(f"{name} is a directory; name its files")
    return path.stat().st_size


def read(name: str) -> Iterator[Batch]:
    """The documents of a file (JSON lines, CSV or Parquet; plain, gzip or zstd) or of ``-``.

    Raises DamagedInputError after the last batch that could be read.
    """
    table_function = None if name == STDIN else _table_function(Path(name))
    if table_function is not None:
        yield from _typed(name, table_function)
    elif name == STDIN:
        # What has come is passed on at once: the next block of a pipe may take its time.
        yield from _json_lines(name, sys.stdin.buffer, batch_bytes=1)
    else:
        with Path(name).open("rb") as file:
            yield from _json_lines(name, file, batch_bytes=BATCH_BYTES)


def _table_function(path: Path) -> str | None:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in _COMPRESSIONS:
        suffixes.pop()
    return _TYPED.get(suffixes[-1]) if suffixes else None


def _json_lines(name: str, file: IO[bytes], batch_bytes: int) -> Iterator[Batch]:
    source = _Blocks(file)
    lines = LineSplitter()
    documents: list[Document] = []
    pending_bytes = 0
    damage: DamagedInputError | None = None
    try:
        for block in _decompressed(name, source):
            documents += lines.feed(block)
            pending_bytes += len(block)
            if documents and pending_bytes >= batch_bytes:
                yield Batch(documents, source.position_bytes)
                documents, pending_bytes = [], 0
    except DamagedInputError as error:
        damage = error
    documents += lines.finish()
    if documents:
        yield Batch(documents, source.position_bytes)
    if damage is not None:
        raise damage


class _Blocks:
    """A file in blocks; a pipe gives what has come without waiting for a full one."""

    def __init__(self, file: IO[bytes]) -> None:
        self._read = getattr(file, "read1", file.read)
        self.position_bytes = 0

    def __iter__(self) -> Iterator[bytes]:
        while block := self._read(BLOCK_BYTES):
            self.position_bytes += len(block)
            yield block


def _decompressed(name: str, source: _Blocks) -> Iterator[bytes]:
    blocks = iter(source)
    head = b""
    for block in blocks:
        head += block
        if len(head) >= len(_ZSTD):
            break
    rest = _chained(head, blocks)
    if head.startswith(_GZIP):
        return _gunzip(name, rest)
    if head.startswith(_ZSTD):
        return _unzstd(name, rest)
    return rest


def _chained(head: bytes, blocks: Iterator[bytes]) -> Iterator[bytes]:
    if head:
        yield head
    yield from blocks


def _gunzip(name: str, blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Concatenated members, as gzip itself reads them; zeros after a member are padding."""
    engine = zlib.decompressobj(wbits=31)
    fresh = False
    try:
        for block in blocks:
            waiting = block
            while waiting:
                if engine.eof:
                    waiting = waiting.lstrip(b"\0")
                    engine, fresh = zlib.decompressobj(wbits=31), True
                    continue
                data = engine.decompress(waiting, BLOCK_BYTES)
                fresh = False
                waiting = engine.unused_data if engine.eof else engine.unconsumed_tail
                if data:
                    yield data
        if not (engine.eof or fresh):
            if data := engine.flush():
                yield data
            raise DamagedInputError(f"{name} is truncated: its gzip data ends too early")
    except zlib.error as error:
        raise DamagedInputError(f"{name} is damaged gzip data: {error}") from error


def _unzstd(name: str, blocks: Iterator[bytes]) -> Iterator[bytes]:
    stream = pa.CompressedInputStream(pa.PythonFile(_BlockFile(blocks), mode="r"), "zstd")
    try:
        while data := stream.read(ZSTD_READ_BYTES):
            yield data
    except (pa.ArrowException, OSError) as error:
        raise DamagedInputError(f"{name} is truncated or damaged zstd data: {error}") from error


class _BlockFile:
    """Blocks as a file that gives at most what is asked for, as pyarrow wants it."""

    closed = False

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._rest = b""

    def read(self, size: int) -> bytes:
        """At most ``size`` bytes; none at the end."""
        if not self._rest:
            self._rest = next(self._blocks, b"")
        data, self._rest = self._rest[:size], self._rest[size:]
        return data


class LineSplitter:
    """Cuts blocks into lines; of one above the limit only the beginning is kept in memory.

    Blank lines hold no document and are left out, a byte order mark at the very beginning too.
    """

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size_bytes = 0
        self._at_start = True

    def feed(self, block: bytes) -> list[Document]:
        """The documents that the block completes."""
        first, *others = block.split(b"\n")
        self._extend(first)
        if not others:
            return []
        documents = self._complete()
        last = others.pop()
        for line in others:
            if line and not line.isspace():
                documents.append(line.removesuffix(b"\r"))
        self._extend(last)
        return documents

    def finish(self) -> list[Document]:
        """The last line, if it had no end."""
        return self._complete()

    def _extend(self, part: bytes) -> None:
        self._size_bytes += len(part)
        if self._size_bytes <= DOCUMENT_BYTES_MAX:
            self._parts.append(part)
        elif self._parts:
            self._parts = [b"".join([*self._parts, part])[:PREFIX_BYTES]]
        else:
            self._parts = [part[:PREFIX_BYTES]]

    def _complete(self) -> list[Document]:
        text = b"".join(self._parts)
        size = self._size_bytes
        self._parts, self._size_bytes = [], 0
        if self._at_start:
            self._at_start = False
            text = text.removeprefix(_BYTE_ORDER_MARK)
        if size > DOCUMENT_BYTES_MAX:
            return [TruncatedDocument(text, size)]
        return [text.removesuffix(b"\r")] if text and not text.isspace() else []


def _typed(name: str, table_function: str) -> Iterator[Batch]:
    with output.text_engine() as engine:
        try:
            rows = f"SELECT * FROM {table_function}"
            schema = engine.sql(f"{rows} LIMIT 0", params=[name]).to_arrow_table().schema
            columns = output.column_names(schema)
            document = output.json_object(schema, columns)
            query = f"SELECT {document} FROM ({rows}) AS t({', '.join(columns)})"
            for batch in engine.sql(query, params=[name]).to_arrow_reader(BATCH_ROWS):
                yield Batch(batch.column(0).to_pylist(), 0)
        except duckdb.InterruptException:
            raise
        except duckdb.Error as error:
            raise DamagedInputError(f"{name} can't be read: {one_line(str(error))}") from error
