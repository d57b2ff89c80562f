"""Files of JSON lines.

The offset of a record is the number of its line, from 0. Blank lines are no records. Memory is
bounded by the limit on a record: of a longer line only the beginning is kept.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tailer.sources.damage import broken_reason
from tailer.sources.model import Quarantined, RawBatch, ReadLimits, oversize_reason
from tailer.sources.storage import StoredFile
from tailer.sources.streams import ByteStream

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_WHITESPACE: Final = (b" ", b"\t", b"\r", b"\x0b", b"\x0c")
_NO_LINES: Final = pa.array([], pa.binary())


class JsonLines:
    """A file with one JSON document per line."""

    def __init__(self, file: StoredFile, log_time_us: int, limits: ReadLimits) -> None:
        self._file = file
        self._log_time_us = log_time_us
        self._limits = limits

    def batches(self, offset: int) -> Iterator[RawBatch]:
        """Consecutive batches that cover the file from ``offset`` on; some may lie before it.

        Whole blocks of lines before it are counted only, which takes a small part of the time.
        """
        with ByteStream(self._file) as stream:
            splitter = _Splitter(self._file.name, self._limits)
            block = stream.read(len(_BYTE_ORDER_MARK)).removeprefix(_BYTE_ORDER_MARK)
            block += stream.read(self._limits.size_bytes_max)
            while block:
                if splitter.passed(block, offset):
                    block = stream.read(self._limits.size_bytes_max)
                    continue
                begin = splitter.next_line
                lines, refused = splitter.split(block)
                if splitter.next_line > begin:
                    yield self._batch(begin, splitter.next_line, lines, refused)
                block = stream.read(self._limits.size_bytes_max)
            begin = splitter.next_line
            lines, refused = splitter.finish(stream.broken)
            if splitter.next_line > begin:
                yield self._batch(begin, splitter.next_line, lines, refused)

    def _batch(
        self, begin: int, end: int, lines: pa.Array, refused: tuple[Quarantined, ...]
    ) -> RawBatch:
        first = end - len(lines)
        is_record = ~_blank(lines)
        offsets = first + np.flatnonzero(is_record)
        return RawBatch(
            begin,
            end,
            lines if is_record.all() else lines.filter(pa.array(is_record)),
            offsets,
            np.full(len(offsets), self._log_time_us, np.int64),
            quarantined=refused,
        )


class _Splitter:
    """Cuts blocks into lines; keeps the unfinished one."""

    def __init__(self, name: str, limits: ReadLimits) -> None:
        self.next_line = 0
        self._name = name
        self._limits = limits
        self._unfinished = b""
        self._oversize_bytes = 0

    def split(self, block: bytes) -> tuple[pa.Array, tuple[Quarantined, ...]]:
        """The lines (binary) that end in this block, and before them a line that was too long."""
        refused: tuple[Quarantined, ...] = ()
        if self._oversize_bytes:
            end = block.find(b"\n")
            self._oversize_bytes += len(block) if end < 0 else end
            if end < 0:
                return _NO_LINES, ()
            refused = (self._oversize(),)
            block = block[end + 1 :]
        finished, line_feed, rest = block.rpartition(b"\n")
        lines = _lines(self._unfinished + finished) if line_feed else _NO_LINES
        self._begin_line(rest if line_feed else self._unfinished + rest)
        self.next_line += len(lines)
        return lines, refused

    def passed(self, block: bytes, offset: int) -> bool:
        """Leaves out the lines that end in this block, if there are any and all are before."""
        if self._oversize_bytes or self.next_line >= offset:
            return False
        feeds = int(np.count_nonzero(np.frombuffer(block, np.uint8) == ord("\n")))
        if not feeds or self.next_line + feeds > offset:
            return False
        self._begin_line(block[block.rfind(b"\n") + 1 :])
        self.next_line += feeds
        return True

    def finish(self, broken: str) -> tuple[pa.Array, tuple[Quarantined, ...]]:
        """The last line, where no line feed ended it, or where the file broke off."""
        if broken:
            size = self._oversize_bytes or len(self._unfinished)
            kept = self._unfinished[: self._limits.prefix_bytes_max]
            return _NO_LINES, (self._refuse(broken_reason(self._name, broken), kept, size),)
        if self._oversize_bytes:
            return _NO_LINES, (self._oversize(),)
        if not self._unfinished:
            return _NO_LINES, ()
        self.next_line += 1
        return _lines(self._unfinished), ()

    def _begin_line(self, text: bytes) -> None:
        """What there is of a line that does not end yet."""
        self._unfinished = text
        if len(text) > self._limits.record_size_bytes_max:
            self._oversize_bytes = len(text)
            self._unfinished = text[: self._limits.prefix_bytes_max]

    def _oversize(self) -> Quarantined:
        size, prefix = self._oversize_bytes, self._unfinished
        self._oversize_bytes, self._unfinished = 0, b""
        reason = oversize_reason(size, self._limits.record_size_bytes_max)
        return self._refuse(reason, prefix, size)

    def _refuse(self, reason: str, value: bytes, size_bytes: int) -> Quarantined:
        self.next_line += 1
        return Quarantined(self.next_line - 1, reason, value, size_bytes)


def _lines(text: bytes) -> pa.Array:
    """The lines of a text (binary) without their ends; after the last one there is no line feed."""
    if b"\r" in text:
        text = text.replace(b"\r\n", b"\n").removesuffix(b"\r")
    feeds = np.flatnonzero(np.frombuffer(text, np.uint8) == ord("\n"))
    ends = np.append(feeds, len(text)) - np.arange(len(feeds) + 1)
    offsets = np.concatenate([[0], ends]).astype(np.int32)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(text.replace(b"\n", b""))]
    return pa.Array.from_buffers(pa.binary(), len(ends), buffers)


def _blank(lines: pa.Array) -> NDArray[np.bool_]:
    """Which lines are nothing but whitespace."""
    begins = pc.binary_slice(lines, 0, 1)
    doubtful = pc.is_in(begins, pa.array([b"", *_WHITESPACE], pa.binary()))
    blank: NDArray[np.bool_] = doubtful.to_numpy(zero_copy_only=False).copy()
    for index in np.flatnonzero(blank).tolist():
        blank[index] = not lines[index].as_py().strip()
    return blank
