"""Files as streams of bytes, plain or compressed.

A damaged or cut compressed file gives every byte that can be decompressed, then ends; why it ended
is kept in ``broken``. What it gave before does not depend on the sizes of the reads.
"""

import io
from pathlib import PurePath
from typing import Final

import pyarrow as pa

from tailer.sources.storage import StoredFile, is_damage

_COMPRESSIONS: Final = {".gz": "gzip", ".zst": "zstd"}
_SKIP_BYTES: Final = 1 << 20
_READ_BYTES_MAX: Final = 16 << 20
_SMALLER: Final = 64


def compression_of(path: str) -> str | None:
    """The compression that the name of a file tells, in pyarrow's words."""
    return _COMPRESSIONS.get(PurePath(path).suffix)


def format_suffix(path: str) -> str:
    """The suffix that names the format: the last one, that of a compression left out."""
    pure = PurePath(path)
    return (pure.with_suffix("") if compression_of(path) else pure).suffix.lower()


class ByteStream(io.RawIOBase):
    """Reads a file from its beginning. Raises OSError where the file itself can't be read."""

    def __init__(self, file: StoredFile) -> None:
        super().__init__()
        self.broken = ""
        self._file = file
        self._compression = compression_of(file.name)
        self._position = 0
        self._step = 0
        self._stream = self._open()

    def read(self, size: int = -1) -> bytes:
        """``size`` bytes, or fewer at the end; -1 means all.

        Raises ValueError for another negative size, which damaged data may ask for. It may also ask
        for terabytes, so no more room is taken than there are bytes.
        """
        if size < -1:
            raise ValueError(f"a size of {size} bytes")
        parts: list[bytes] = []
        missing = size
        while missing and not self.broken:
            data = self._read_part(missing)
            if data is not None and not data:
                break
            if data:
                parts.append(data)
                missing -= len(data) if size >= 0 else 0
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def tell(self) -> int:
        """How much was read."""
        return self._position

    def readable(self) -> bool:
        """Always true."""
        return True

    def close(self) -> None:
        """Closes the file."""
        if not self.closed:
            self._stream.close()
        super().close()

    def _read_part(self, size: int) -> bytes | None:
        """Some bytes, none at the end; None if a smaller read must be tried."""
        most = self._step or _READ_BYTES_MAX
        wanted = min(size, most) if size >= 0 else most
        if self._compression is None:
            data: bytes = self._stream.read(wanted)
        else:
            try:
                data = self._stream.read(wanted)
            except OSError as error:
                if not is_damage(error):
                    raise
                self._narrow(wanted, str(error))
                return None
        self._position += len(data)
        return data

    def _open(self) -> pa.NativeFile:
        opened = self._file.open()
        return pa.CompressedInputStream(opened, self._compression) if self._compression else opened

    def _narrow(self, failed_size: int, reason: str) -> None:
        """Comes back to the same place with smaller reads, so that the last good byte is had."""
        if failed_size == 1:
            self.broken = reason
            return
        self._step = max(1, failed_size // _SMALLER)
        self._stream.close()
        self._stream = self._open()
        left = self._position
        while left:
            left -= len(self._stream.read(min(left, _SKIP_BYTES)))
