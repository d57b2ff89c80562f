"""Events of JSONBench as typed rows: a Parquet file, and the same rows as JSON lines."""

from pathlib import Path
from typing import Final

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from tailer.decode import TableDecoder

_BATCH_ROWS: Final = 50_000


def write(events: Path, path: Path) -> Path:
    """The Parquet file of a file of events with the types that DuckDB finds, unless it is there."""
    if not path.exists():
        unfinished = path.with_suffix(".unfinished")
        with duckdb.connect() as connection:
            source = connection.read_json(
                str(events),
                format="newline_delimited",
                sample_size=-1,
                map_inference_threshold=-1,
            )
            source.write_parquet(str(unfinished), compression="zstd")
        unfinished.rename(path)
    return path


def write_lines(typed: Path, path: Path, rows: int) -> Path:
    """The first rows of the Parquet file as JSON lines, unless the file is there.

    Each is the document that the row becomes when it is read from Parquet.
    """
    if not path.exists():
        unfinished = path.with_suffix(".unfinished")
        decoder = TableDecoder()
        left = rows
        with pq.ParquetFile(typed) as file, unfinished.open("wb") as lines:
            for batch in file.iter_batches(min(_BATCH_ROWS, rows)):
                table = pa.Table.from_batches([batch]).slice(0, left)
                texts = decoder.documents(table).to_pylist()
                lines.write("".join(text + "\n" for text in texts).encode())
                left -= len(texts)
                if not left:
                    break
        unfinished.rename(path)
    return path
