"""ORC: a run is a stripe."""

import io
from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeVar

import pyarrow as pa
from pyarrow import orc

from tailer.sources.model import ReadLimits
from tailer.sources.storage import StoredFile, is_damage
from tailer.sources.tables import Run

T = TypeVar("T")


def orc_runs(file: StoredFile, limits: ReadLimits) -> Iterator[Run]:
    """The stripes; how many rows one has, only reading tells."""
    with file.open() as opened:
        watched = _Watched(opened)
        stripes = watched.checked(partial(orc.ORCFile, pa.PythonFile(watched, "r")))
        for index in range(stripes.nstripes):
            yield Run(None, partial(_read, watched, stripes, index))


def _read(watched: "_Watched", stripes: orc.ORCFile, index: int) -> Iterator[pa.RecordBatch]:
    yield watched.checked(partial(stripes.read_stripe, index))


class _Watched(io.RawIOBase):
    """Remembers why a file could not be read: the ORC reader hides it behind an error of its own,
    which looks like damage.
    """

    def __init__(self, file: pa.NativeFile) -> None:
        super().__init__()
        self._file = file
        self._failure: OSError | None = None

    def checked(self, work: Callable[[], T]) -> T:
        """Does some work. Raises what really happened."""
        try:
            return work()
        except OSError as error:
            raise self._failure or error from error

    def read(self, size: int = -1) -> bytes:
        """As the file has it."""
        try:
            data: bytes = self._file.read(size)
        except OSError as error:
            self._failure = None if is_damage(error) else error
            raise
        return data

    def readable(self) -> bool:
        """Always true."""
        return True

    def seekable(self) -> bool:
        """Always true."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Moves there."""
        place: int = self._file.seek(offset, whence)
        return place

    def tell(self) -> int:
        """Where the next read begins."""
        place: int = self._file.tell()
        return place
