"""The frame around every stored block: version, checksum, compression.

Nothing is decoded before its checksum has been found right, so a damaged block becomes an error and
never an answer. A payload that compression does not make smaller is kept as it is. Each thread has
contexts of zstd of its own: to make one takes longer than to decompress a small page.
"""

import struct
import threading
import zlib
from typing import Final

import zstandard

from alder.errors import AlderError, Reason

VERSION: Final = 4
_HEADER: Final = struct.Struct(">BII")
_LEVEL: Final = 1
"""Higher levels of zstd take several times as long for columns that get no smaller."""


class _Contexts(threading.local):
    """Those of a thread."""

    def __init__(self) -> None:
        self.compressor = zstandard.ZstdCompressor(level=_LEVEL)
        self.decompressor = zstandard.ZstdDecompressor()


_CONTEXTS: Final = _Contexts()


def framed(payload: bytes) -> bytes:
    """The payload, compressed where that makes it smaller, as it is stored."""
    body = _CONTEXTS.compressor.compress(payload) if payload else b""
    return _with_head(payload, body if len(body) < len(payload) else payload)


def framed_plain(payload: bytes) -> bytes:
    """As :func:`framed` for what is known not to get smaller."""
    return _with_head(payload, payload)


def unframed(data: bytes, what: str) -> bytes:
    """The inverse of :func:`framed`; ``what`` names the block in errors.

    Raises AlderError(CORRUPT) for a damaged block, UNSUPPORTED for one of another version.
    """
    check_frame(data, what)
    size_bytes = payload_bytes(data)
    body = memoryview(data)[_HEADER.size :]
    if len(body) == size_bytes:
        return bytes(body)
    try:
        if zstandard.frame_content_size(body) != size_bytes:
            raise AlderError(Reason.CORRUPT, f"{what} can't be decompressed: it has another size")
        return _CONTEXTS.decompressor.decompress(body)
    except zstandard.ZstdError as error:
        raise AlderError(Reason.CORRUPT, f"{what} can't be decompressed: {error}") from error


def check_frame(data: bytes, what: str) -> None:
    """Raises what :func:`unframed` would, without decoding."""
    if len(data) < _HEADER.size:
        raise _corrupt(what)
    version, _, checksum = _HEADER.unpack_from(data)
    if version != VERSION:
        raise AlderError(
            Reason.UNSUPPORTED,
            f"{what} is stored in format {version}, this program knows format {VERSION}; "
            "run the version that wrote it",
        )
    body = memoryview(data)[_HEADER.size :]
    if zlib.crc32(body, zlib.crc32(data[: _HEADER.size - 4])) != checksum:
        raise _corrupt(what)


def payload_bytes(data: bytes) -> int:
    """Bytes of a block once it is decoded; 0 for what is no frame."""
    return int(_HEADER.unpack_from(data)[1]) if len(data) >= _HEADER.size else 0


def _with_head(payload: bytes, body: bytes) -> bytes:
    head = _HEADER.pack(VERSION, len(payload), 0)[:-4]
    return head + zlib.crc32(body, zlib.crc32(head)).to_bytes(4, "big") + body


def _corrupt(what: str) -> AlderError:
    return AlderError(
        Reason.CORRUPT,
        f"{what} is damaged on disk; the leaf builds the replica again if the log reaches back",
    )
