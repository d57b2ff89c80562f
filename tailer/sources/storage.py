"""Where files are: on this machine, or in an S3-compatible store.

An error of the place (not of what is in a file) is an OSError with an ``errno``: a later try may
succeed. pyarrow's own complaints about what it reads have none. That is how damage, which goes to
quarantine, and a store that is down, which is waited for, are told apart.
"""

import os
from typing import Protocol

import pyarrow as pa

from alder.files import identity_of
from tailer.sources.s3 import S3_SCHEME, StoredObject


class StoredFile(Protocol):
    """A file that can be opened as often as needed."""

    @property
    def name(self) -> str:
        """Its path or URL."""
        ...

    def identity(self) -> str:
        """What makes it the same file: ``size:mtime_ns``, and more where there is more.

        Raises OSError.
        """
        ...

    def open(self) -> pa.NativeFile:
        """Its bytes, from any place. Raises OSError."""
        ...


class LocalFile:
    """A file of this machine. It is not mapped: one that is cut while it is read would kill us."""

    def __init__(self, path: str) -> None:
        self.name = path

    def identity(self) -> str:
        """``size:mtime_ns``."""
        return identity_of(os.stat(self.name))

    def open(self) -> pa.NativeFile:
        """See ``StoredFile``."""
        return pa.OSFile(self.name)


def stored_file(name: str, identity: str = "") -> StoredFile:
    """The file of a partition; one of a store that tells versions apart is read as ``identity``."""
    if name.startswith(S3_SCHEME):
        return StoredObject(name, identity)
    return LocalFile(name)


def time_us_of(identity: str) -> int:
    """When a file was written, by its identity; microseconds since 1970 UTC."""
    return int(identity.split(":")[1]) // 1_000


def is_damage(error: OSError) -> bool:
    """True if what is in the file can't be read; False if the file itself can't."""
    return error.errno is None
