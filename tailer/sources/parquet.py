"""Parquet: a run is a row group, so that reading may begin at any of them."""

from collections.abc import Iterator
from functools import partial

import pyarrow as pa
import pyarrow.parquet as pq

from tailer.sources.model import ReadLimits
from tailer.sources.storage import StoredFile
from tailer.sources.tables import Run


def parquet_runs(file: StoredFile, limits: ReadLimits) -> Iterator[Run]:
    """The row groups; checksums of pages are verified where there are any."""
    with pq.ParquetFile(file.open(), page_checksum_verification=True) as parquet:
        for index in range(parquet.num_row_groups):
            group = parquet.metadata.row_group(index)
            size = _rows_per_batch(group, limits)
            yield Run(group.num_rows, partial(_read, parquet, index, size))


def _read(parquet: pq.ParquetFile, index: int, rows: int) -> Iterator[pa.RecordBatch]:
    yield from parquet.iter_batches(rows, row_groups=[index], use_threads=False)


def _rows_per_batch(group: pq.RowGroupMetaData, limits: ReadLimits) -> int:
    row_bytes: int = max(1, group.total_byte_size // max(1, group.num_rows))
    return max(1, min(limits.size_bytes_max // row_bytes, limits.rows_max))
