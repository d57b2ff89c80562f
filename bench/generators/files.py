"""Files of generated documents: made once per directory, in chunks, by several processes."""

import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final

import pyarrow as pa

CHUNK_ROWS: Final = 100_000


def lines(documents: pa.StringArray) -> bytes:
    """The documents as JSON lines: each must end with its line feed already."""
    whole = pa.concat_arrays([documents])
    _, offsets, data = whole.buffers()
    first = int.from_bytes(memoryview(offsets)[:4], "little")
    last = int.from_bytes(memoryview(offsets)[4 * len(whole) : 4 * len(whole) + 4], "little")
    return bytes(memoryview(data)[first:last])


def write(path: Path, rows: int, chunk: Callable[[int, int], bytes]) -> Path:
    """Writes ``chunk(first row, rows)`` for every chunk, in order, unless the file is there.

    ``chunk`` runs in processes of its own; its result may depend on its arguments alone, so the
    number of processes can't change the file.
    """
    if path.exists():
        return path
    unfinished = path.with_suffix(".unfinished")
    with unfinished.open("wb") as file:
        for part in _parts(rows, chunk):
            file.write(part)
    unfinished.rename(path)
    return path


def _parts(rows: int, chunk: Callable[[int, int], bytes]) -> Iterator[bytes]:
    starts = range(0, rows, CHUNK_ROWS)
    if len(starts) == 1:
        yield chunk(0, rows)
        return
    workers = min(os.cpu_count() or 1, len(starts))
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=spawn) as pool:
        waiting = [
            pool.submit(partial(chunk, start, min(CHUNK_ROWS, rows - start))) for start in starts
        ]
        for index, future in enumerate(waiting):
            yield future.result()
            waiting[index] = None
