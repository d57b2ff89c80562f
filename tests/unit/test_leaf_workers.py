"""Workers give what sealing in place gives."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa

from leaf import births
from leaf.seal import seal
from leaf.workers import SealWorkers


def pushed(stream: int, first: int, rows: int) -> pa.Table:
    offsets = np.arange(first, first + rows, dtype=np.int64)
    times = pa.array(offsets).cast(pa.timestamp("us"))
    return pa.table(
        {
            "_birth": births.pack(stream, offsets),
            "_time": times,
            "_log_time": times,
            "_doc": [f'{{"n":{n}}}' for n in offsets.tolist()],
            "int:n": offsets,
        }
    )


def test_rows_of_partitions_that_took_turns_are_sealed_by_births(tmp_path: Path) -> None:
    turns = [(2, 0), (0, 40), (1, 7), (0, 140), (2, 100), (1, 107)]
    tables = [pushed(stream, first, 100) for stream, first in turns]
    with ThreadPoolExecutor(2) as threads:
        workers = SealWorkers(1, tmp_path, threads)
        sealed = asyncio.run(workers.seal(tables, (), (), threads))
    assert sealed == seal(tables)
    assert not list(tmp_path.iterdir())
