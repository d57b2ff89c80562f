"""Files of JSON lines.

The offset of a record is the number of its line, from 0. Blank lines are no records. Memory is
bounded by the limit on a record: of a longer line only the beginning is kept.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import pyarrow as pa

from tailer.sources.model import Quarantined, RawBatch, ReadLimits, oversize_reason
from tailer.sources.streams import ByteStream

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


class JsonLines:
    """A file with one JSON document per line."""

    def __init__(self, path: str, log_time_us: int, limits: ReadLimits) -> None:
        self._path = path
        self._log_time_us = log_time_us
        self._limits = limits

    def batches(self, offset: int) -> Iterator[RawBatch]:
        """Consecutive batches that cover the file; some may lie before ``offset``."""
        with ByteStream(self._path) as stream:
            splitter = _Splitter(self._limits)
            block = stream.read(len(_BYTE_ORDER_MARK)).removeprefix(_BYTE_ORDER_MARK)
            block += stream.read(self._limits.size_bytes_max)
            while block:
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
        self, begin: int, end: int, lines: Sequence[bytes], refused: tuple[Quarantined, ...]
    ) -> RawBatch:
        first = end - len(lines)
        is_record = np.fromiter((bool(line.strip()) for line in lines), np.bool_, len(lines))
        offsets = first + np.flatnonzero(is_record)
        records = pa.array(lines, pa.binary())
        return RawBatch(
            begin,
            end,
            records if is_record.all() else records.filter(pa.array(is_record)),
            offsets,
            np.full(len(offsets), self._log_time_us, np.int64),
            quarantined=refused,
        )


class _Splitter:
    """Cuts blocks into lines; keeps the unfinished one."""

    def __init__(self, limits: ReadLimits) -> None:
        self.next_line = 0
        self._limits = limits
        self._unfinished = b""
        self._oversize_bytes = 0

    def split(self, block: bytes) -> tuple[list[bytes], tuple[Quarantined, ...]]:
        """The lines that end in this block, and before them a line that was too long."""
        refused: tuple[Quarantined, ...] = ()
        if self._oversize_bytes:
            end = block.find(b"\n")
            self._oversize_bytes += len(block) if end < 0 else end
            if end < 0:
                return [], ()
            refused = (self._oversize(),)
            block = block[end + 1 :]
        *lines, self._unfinished = (self._unfinished + block).split(b"\n")
        if len(self._unfinished) > self._limits.record_size_bytes_max:
            self._oversize_bytes = len(self._unfinished)
            self._unfinished = self._unfinished[: self._limits.prefix_bytes_max]
        self.next_line += len(lines)
        return [line.removesuffix(b"\r") for line in lines], refused

    def finish(self, broken: str) -> tuple[list[bytes], tuple[Quarantined, ...]]:
        """The last line, where no line feed ended it, or where the file broke off."""
        if broken:
            size = self._oversize_bytes or len(self._unfinished)
            kept = self._unfinished[: self._limits.prefix_bytes_max]
            return [], (self._refuse(broken_reason(broken), kept, size),)
        if self._oversize_bytes:
            return [], (self._oversize(),)
        if not self._unfinished:
            return [], ()
        self.next_line += 1
        return [self._unfinished.removesuffix(b"\r")], ()

    def _oversize(self) -> Quarantined:
        size, prefix = self._oversize_bytes, self._unfinished
        self._oversize_bytes, self._unfinished = 0, b""
        reason = oversize_reason(size, self._limits.record_size_bytes_max)
        return self._refuse(reason, prefix, size)

    def _refuse(self, reason: str, value: bytes, size_bytes: int) -> Quarantined:
        self.next_line += 1
        return Quarantined(self.next_line - 1, reason, value, size_bytes)


def broken_reason(why: str) -> str:
    """Why the rest of a file is in quarantine."""
    return f"the file can't be read from here on ({why}); what came before is kept"
