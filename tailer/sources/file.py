"""A file as a partition: a row's number is its offset, the file's time is the time of its records.

The file is the one that was registered: if its size or time is another, reading stops with an
error, since rows already applied would no longer be those of the file (I1).
"""

import asyncio
import errno
import threading
from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import replace
from typing import Final, Protocol

import numpy as np

from alder.errors import AlderError, Reason
from tailer.sources.arrow import arrow_runs
from tailer.sources.avro import avro_runs
from tailer.sources.csv import CsvRows
from tailer.sources.lines import JsonLines
from tailer.sources.model import PartitionSource, RawBatch, ReadLimits, empty_batch
from tailer.sources.orc import orc_runs
from tailer.sources.parquet import parquet_runs
from tailer.sources.storage import StoredFile, stored_file, time_us_of
from tailer.sources.streams import format_suffix
from tailer.sources.tables import Runs, TableRows

_RUNS: Final[dict[str, Runs]] = {
    ".parquet": parquet_runs,
    ".pq": parquet_runs,
    ".arrow": arrow_runs,
    ".arrows": arrow_runs,
    ".feather": arrow_runs,
    ".ipc": arrow_runs,
    ".orc": orc_runs,
    ".avro": avro_runs,
}


class FileFormat(Protocol):
    """Reads one file."""

    def batches(self, offset: int) -> Iterator[RawBatch]:
        """Consecutive batches, not empty, up to the end; the first may begin before ``offset``.

        What can't be read of the file is in quarantine. Raises OSError.
        """
        ...


class FileSource(PartitionSource):
    """One file."""

    finite = True

    def __init__(self, name: str, identity: str, limits: ReadLimits, executor: Executor) -> None:
        """``name``: a path, or the URL of an object."""
        self._file = stored_file(name, identity)
        self._identity = identity
        self._executor = executor
        self._format = choose_format(self._file, time_us_of(identity), limits)
        self._batches: Iterator[RawBatch] | None = None
        self._position = 0
        # A read that was given up may still be at work in its thread.
        self._reading = threading.Lock()

    async def read(self, offset: int, wait_ms: int, leader_epoch: int = -1) -> RawBatch:
        """See ``PartitionSource``; never waits, since a file doesn't grow."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, self._read_alone, offset)

    def close(self) -> None:
        """Forgets the place in the file."""
        self._batches = None

    def _read_alone(self, offset: int) -> RawBatch:
        with self._reading:
            return self._read(offset)

    def _read(self, offset: int) -> RawBatch:
        try:
            batch = self._next(offset)
            # What was read counts only if it was the registered file then.
            self._check_identity()
        except OSError as error:
            self._batches = None
            raise self._unavailable(error) from error
        return batch

    def _next(self, offset: int) -> RawBatch:
        if self._batches is None or self._position != offset:
            self._batches = self._format.batches(offset)
            self._position = 0
        for batch in self._batches:
            self._position = batch.end
            if batch.end > offset:
                return _from_offset(batch, offset)
        self._batches = None
        return empty_batch(offset, source_end=max(self._position, offset))

    def _unavailable(self, error: OSError) -> AlderError:
        if error.errno == errno.ESTALE:
            return self._changed()
        return AlderError(
            Reason.UNAVAILABLE,
            f"file {self._file.name} can't be read ({error.strerror or error}); "
            "it must stay readable for every tailer",
        )

    def _check_identity(self) -> None:
        if self._file.identity() != self._identity:
            raise self._changed()

    def _changed(self) -> AlderError:
        return AlderError(
            Reason.IDENTITY_CHANGED,
            f"file {self._file.name} changed after it was registered; "
            "write further records to a new file",
        )


def choose_format(file: StoredFile, log_time_us: int, limits: ReadLimits) -> FileFormat:
    """The reader of a file's format, by the suffix of its name."""
    suffix = format_suffix(file.name)
    if suffix in _RUNS:
        return TableRows(_RUNS[suffix], file, log_time_us, limits)
    if suffix in {".csv", ".tsv"}:
        return CsvRows(file, log_time_us, limits)
    return JsonLines(file, log_time_us, limits)


def _from_offset(batch: RawBatch, offset: int) -> RawBatch:
    if batch.begin >= offset:
        return batch
    first = int(np.searchsorted(batch.offsets, offset))
    return replace(
        batch,
        begin=offset,
        records=batch.records.slice(first),
        offsets=batch.offsets[first:],
        log_times_us=batch.log_times_us[first:],
        quarantined=tuple(entry for entry in batch.quarantined if entry.offset >= offset),
    )
