"""Objects of S3-compatible stores.

Endpoint, region and credentials come from the environment as for other tools of AWS
(``AWS_ENDPOINT_URL``, ``AWS_REGION``, ``AWS_ACCESS_KEY_ID``, ...), so they are never part of a URL,
the catalog or a message. Every read names the entity tag that the object had when it was
registered, so that no byte of another version can be among those read.
"""

import errno
import functools
import io
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import obstore
import pyarrow as pa
from obstore.exceptions import BaseError, PreconditionError
from obstore.store import S3Store

if TYPE_CHECKING:
    from obstore import ObjectMeta

S3_SCHEME: Final = "s3://"
_BLOCK_BYTES: Final = 4 << 20
"""What is read at once where less is asked for: a request costs as much time as a megabyte."""
_LISTED_AT_ONCE: Final = 1000
_CODE: Final = re.compile(r"<Code>(\w+)</Code>")
_DURATION: Final = re.compile(r" in [0-9.]+[a-zµ]*s\b")
_ROLE_PATH: Final = "/latest/api/token"
"""Where a machine is asked for the credentials of its role, which is done for want of others."""
_RETRIES_MAX: Final = 2
_RETRY_S_MAX: Final = 10


class StoredObject:
    """An object at the version that an identity names, or the newest one without."""

    def __init__(self, url: str, identity: str = "") -> None:
        self.name = url
        self._bucket, self._key = split_url(url)
        self._size, _, self._tag = (*identity.split(":", 2), "", "")[:3]

    def identity(self) -> str:
        """``size:mtime_ns:entity tag`` of the newest version."""
        try:
            return _identity_of(obstore.head(_store(self._bucket), self._key))
        except (BaseError, OSError) as error:
            raise _os_error(error) from error

    def open(self) -> pa.NativeFile:
        """See ``StoredFile``; ESTALE where the version is gone."""
        return pa.PythonFile(
            _ObjectReader(self._bucket, self._key, int(self._size), self._tag), "r"
        )


class _ObjectReader(io.RawIOBase):
    """Reads an object in blocks. An OSError of it has an errno."""

    def __init__(self, bucket: str, key: str, size: int, tag: str) -> None:
        super().__init__()
        self._store = _store(bucket)
        self._key, self._size, self._tag = key, size, tag
        self._at = 0
        self._block_at = 0
        self._block = memoryview(b"")

    def readable(self) -> bool:
        """Always true."""
        return True

    def seekable(self) -> bool:
        """Always true."""
        return True

    def tell(self) -> int:
        """Where the next read begins."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Moves there; costs nothing."""
        bases = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}
        self._at = bases[whence] + offset
        return self._at

    def read(self, size: int = -1) -> bytes:
        """``size`` bytes, or fewer at the end."""
        end = self._size if size < 0 else min(self._at + size, self._size)
        if end <= self._at:
            return b""
        if not self._block_at <= self._at <= end <= self._block_at + len(self._block):
            self._fetch(max(end, min(self._at + _BLOCK_BYTES, self._size)))
        first = self._at - self._block_at
        self._at = end
        return bytes(self._block[first : end - self._block_at])

    def _fetch(self, end: int) -> None:
        try:
            found = obstore.get(
                self._store,
                self._key,
                options={"range": (self._at, end), "if_match": self._tag},
            )
            self._block = memoryview(found.bytes())
        except (BaseError, OSError) as error:
            raise _os_error(error) from error
        self._block_at = self._at


def list_objects(bucket: str, folder: str) -> Iterator[tuple[str, str]]:
    """Keys and identities of the objects below a folder (empty: all), page by page.

    Raises OSError.
    """
    try:
        for page in obstore.list(_store(bucket), folder or None, chunk_size=_LISTED_AT_ONCE):
            yield from ((found["path"], _identity_of(found)) for found in page)
    except (BaseError, OSError) as error:
        raise _os_error(error) from error


def split_url(url: str) -> tuple[str, str]:
    """Bucket and key of ``s3://bucket/key``."""
    bucket, _, key = url.removeprefix(S3_SCHEME).partition("/")
    return bucket, key


def _identity_of(found: "ObjectMeta") -> str:
    """What makes it the same object: ``size:mtime_ns:entity tag``."""
    modified_us = found["last_modified"].timestamp() * 1_000_000
    return f"{found['size']}:{round(modified_us) * 1_000}:{found['e_tag'] or ''}"


@functools.cache
def _store(bucket: str) -> S3Store:
    return S3Store(
        bucket,
        retry_config={
            "max_retries": _RETRIES_MAX,
            "retry_timeout": timedelta(seconds=_RETRY_S_MAX),
        },
    )


def _os_error(error: BaseError | OSError) -> OSError:
    """With an errno, and without what differs from try to try.

    Answers of a store are left out but for their code: they may repeat who asked.
    """
    if isinstance(error, FileNotFoundError):
        return FileNotFoundError(errno.ENOENT, "there is no such object")
    said, _, answer = str(error).partition("\n")[0].partition(": <")
    if _ROLE_PATH in said:
        return PermissionError(
            errno.EACCES,
            "there are no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY for the "
            "tailer, or AWS_SKIP_SIGNATURE=true for objects that are open to all",
        )
    code = _CODE.search(answer)
    message = _DURATION.sub("", said) + (f" ({code[1]})" if code else "")
    return OSError(errno.ESTALE if isinstance(error, PreconditionError) else errno.EIO, message)
