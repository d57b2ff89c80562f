"""T2: from the text of documents to typed columns, alone on one core."""

import multiprocessing
import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson
import pyarrow as pa

from bench import statistics
from bench.generators import evolving
from bench.report import Row, Verdict
from bench.world import World
from tailer.decode import JsonDecoder
from tailer.settings import TailerSettings

RATE_MIN: Final = 200_000
RUNS: Final = 3
_WAYS: Final = {"as they are": False, "with fields and types that appear": True}


@dataclass(frozen=True, slots=True)
class _Found:
    """What decoding gave: events, values, rejected events, bytes read, CPU seconds of each run."""

    events: int
    values: int
    rejected: int
    size_bytes: int
    cpu_s: Sequence[float]


def decode(world: World) -> Row:
    """T2: in a process of its own, bound to one core; seconds are those of CPU."""
    row = Row("T2", "decode alone: JSON texts to typed columns, one core, nothing dropped")
    spawn = multiprocessing.get_context("spawn")
    for way, changing in _WAYS.items():
        with ProcessPoolExecutor(1, mp_context=spawn) as alone:
            found = alone.submit(_decoded, world.file, changing).result()
        expected = (world.options.events, _values_of(world.file, changing), 0)
        if (found.events, found.values, found.rejected) != expected:
            row.differ("alder", "events, values, rejected", found, expected)
        rate = found.events / statistics.median(found.cpu_s)
        verdicts = [Verdict(f">= {RATE_MIN:,}", rate / RATE_MIN, rate >= RATE_MIN)]
        row.compare(way, "events per second of CPU", rate, verdicts=verdicts if changing else ())
        row.notes.append(f"{way}: {found.size_bytes / found.events:.0f} bytes per event")
    return row


def _decoded(path: Path, changing: bool) -> _Found:
    """Decodes the file in batches as large as a tailer's, each run with a new decoder."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    batches = [pa.array(batch, pa.binary()) for batch in _batches(path, changing)]
    cpu_s = []
    for _ in range(RUNS):
        decoder = JsonDecoder(TailerSettings().decode)
        begun = time.process_time()
        for batch in batches:
            decoder.decode(batch)
        cpu_s.append(time.process_time() - begun)
    decoder = JsonDecoder(TailerSettings().decode)
    results = [decoder.decode(batch) for batch in batches]
    return _Found(
        sum(len(result.kept) for result in results),
        sum(len(column) - column.null_count for one in results for column in one.batch.columns),
        sum(len(result.rejected.rows) for result in results),
        sum(batch.nbytes for batch in batches),
        cpu_s,
    )


def _batches(path: Path, changing: bool) -> list[list[bytes]]:
    size_max = TailerSettings().batch_size_bytes_max
    documents = path.read_bytes().splitlines()
    if changing:
        documents = evolving.evolved(documents)
    batches: list[list[bytes]] = [[]]
    size = 0
    for document in documents:
        size += len(document)
        if size > size_max:
            batches.append([])
            size = len(document)
        batches[-1].append(document)
    return batches


def _values_of(path: Path, changing: bool) -> int:
    """The values of all documents, as another parser sees them: an array counts as one."""
    return sum(_values(orjson.loads(line)) for batch in _batches(path, changing) for line in batch)


def _values(value: object) -> int:
    if isinstance(value, dict) and value:
        return sum(map(_values, value.values()))
    return 0 if value is None else 1
