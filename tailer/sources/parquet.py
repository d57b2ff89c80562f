"""Parquet files. The offset of a record is the number of its row; types are kept as they are."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tailer.sources.lines import broken_reason
from tailer.sources.model import RawBatch, ReadLimits, gap


class ParquetRows:
    """A Parquet file, read row group by row group."""

    def __init__(self, path: str, log_time_us: int, limits: ReadLimits) -> None:
        self._path = path
        self._log_time_us = log_time_us
        self._limits = limits

    def batches(self, offset: int) -> Iterator[RawBatch]:
        """Consecutive batches from the row group that holds ``offset``."""
        row = 0
        try:
            with pq.ParquetFile(self._path, memory_map=True) as file:
                for index in range(file.num_row_groups):
                    group = file.metadata.row_group(index)
                    if row + group.num_rows <= offset:
                        row += group.num_rows
                        continue
                    size = self._rows_per_batch(group)
                    for batch in file.iter_batches(size, row_groups=[index], use_threads=False):
                        yield self._batch(row, pa.Table.from_batches([batch]))
                        row += batch.num_rows
        except FileNotFoundError:
            raise
        except (pa.ArrowException, OSError) as error:
            yield damaged(row, str(error))

    def _rows_per_batch(self, group: pq.RowGroupMetaData) -> int:
        row_bytes: int = max(1, group.total_byte_size // max(1, group.num_rows))
        return max(1, min(self._limits.size_bytes_max // row_bytes, self._limits.rows_max))

    def _batch(self, begin: int, table: pa.Table) -> RawBatch:
        offsets = begin + np.arange(table.num_rows, dtype=np.int64)
        times = np.full(table.num_rows, self._log_time_us, np.int64)
        return RawBatch(begin, begin + table.num_rows, table, offsets, times)


def damaged(offset: int, why: str) -> RawBatch:
    """The rest of a file that can't be read, as one quarantined record."""
    return gap(offset, offset + 1, broken_reason(why))
