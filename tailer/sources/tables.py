"""Files of typed rows: Parquet, Arrow IPC, ORC and Avro, each a few runs of rows.

The offset of a record is the number of its row; types are kept as they are. A run that can't be
read is in quarantine as one record; the next one is read if the file tells how many rows were
lost, else nobody knows their offsets. A row with a value that is none, such as text that is not
UTF-8, is in quarantine by itself.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import pyarrow as pa

from tailer.sources.damage import damaged_rest, damaged_rows
from tailer.sources.model import Quarantined, RawBatch, ReadLimits
from tailer.sources.storage import StoredFile, is_damage

_SUSPECT_ROWS: Final = 1024
"""Rows that are looked at together where something is wrong with one of them."""
Records: TypeAlias = "pa.RecordBatch | pa.Array"


@dataclass(frozen=True, slots=True)
class Run:
    """Rows that are read together, as record batches or JSON texts (binary).

    ``rows``: how many there are, None where only reading tells. ``read`` raises pa.ArrowException
    and OSError, and may be left out for rows that nobody wants.
    """

    rows: int | None
    read: Callable[[], Iterator[Records]]


Runs = Callable[[StoredFile, ReadLimits], Iterator[Run]]


class TableRows:
    """A file of a format that gives runs."""

    def __init__(self, runs: Runs, file: StoredFile, log_time_us: int, limits: ReadLimits) -> None:
        self._runs = runs
        self._file = file
        self._log_time_us = log_time_us
        self._limits = limits

    def batches(self, offset: int) -> Iterator[RawBatch]:
        """Consecutive batches from the run that holds ``offset``; see ``FileFormat``."""
        row = 0
        try:
            for run in self._runs(self._file, self._limits):
                if run.rows is not None and row + run.rows <= offset:
                    row += run.rows
                    continue
                for batch in self._run(row, run):
                    yield batch
                    row = batch.end
        except (pa.ArrowException, OSError) as error:
            if isinstance(error, OSError) and not is_damage(error):
                raise
            yield damaged_rest(self._file.name, row, str(error))

    def _run(self, begin: int, run: Run) -> Iterator[RawBatch]:
        row = begin
        why = "it has fewer rows than the file says"
        try:
            for records in run.read():
                yield from self._raw(row, records)
                row += len(records)
        except (pa.ArrowException, OSError) as error:
            if run.rows is None or (isinstance(error, OSError) and not is_damage(error)):
                raise
            why = str(error)
        if run.rows is not None and row < begin + run.rows:
            yield damaged_rows(self._file.name, row, begin + run.rows, why)

    def _raw(self, begin: int, records: Records) -> Iterator[RawBatch]:
        valid = _is_valid(records)
        size = self._rows_at_once(records) if valid else _SUSPECT_ROWS
        for first in range(0, len(records), size):
            piece = records.slice(first, size)
            bad = {} if valid else _bad_rows(piece)
            yield self._batch(begin + first, piece, bad)

    def _rows_at_once(self, records: Records) -> int:
        row_bytes: int = max(1, records.nbytes // max(1, len(records)))
        return max(1, min(self._limits.size_bytes_max // row_bytes, self._limits.rows_max))

    def _batch(self, begin: int, records: Records, bad: dict[int, str]) -> RawBatch:
        end = begin + len(records)
        offsets = begin + np.arange(len(records), dtype=np.int64)
        if bad:
            sound = np.ones(len(records), np.bool_)
            sound[list(bad)] = False
            records, offsets = records.filter(pa.array(sound)), offsets[sound]
        times = np.full(len(offsets), self._log_time_us, np.int64)
        refused = tuple(
            Quarantined(begin + row, f"row {begin + row} of {self._file.name}: {why}", b"", 0)
            for row, why in bad.items()
        )
        table = records if isinstance(records, pa.Array) else pa.Table.from_batches([records])
        return RawBatch(begin, end, table, offsets, times, quarantined=refused)


def _is_valid(records: Records) -> bool:
    return not _complaint(records)


def _complaint(records: Records) -> str:
    """What is wrong with some of the records; empty if nothing is."""
    try:
        records.validate(full=True)
    except pa.ArrowInvalid as error:
        return str(error)
    columns = [] if isinstance(records, pa.Array) else records.columns
    if any(column.null_count > len(column) for column in columns):
        return "more nulls than rows"
    return ""


def _bad_rows(records: Records) -> dict[int, str]:
    """The rows that are not valid, ascending, with what is wrong with them."""
    complaint = _complaint(records)
    if not complaint:
        return {}
    if len(records) == 1:
        return {0: complaint}
    half = len(records) // 2
    later = _bad_rows(records.slice(half))
    return _bad_rows(records.slice(0, half)) | {half + row: why for row, why in later.items()}
