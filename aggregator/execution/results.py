"""Results of the engine, bounded: what does not fit into a share of memory lies in a file.

Batches are taken from the engine as it makes them. Small results stay in memory; a larger one is
written to a file that has no name any more, and mapped, so that the system can drop its pages; one
beyond the limit is an error.
"""

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa

from alder.errors import AlderError, Reason


def collected(
    schema: pa.Schema,
    batches: Iterable[pa.RecordBatch],
    memory_bytes_max: int,
    size_bytes_max: int,
    directory: Path | None,
) -> pa.Table:
    """The batches as one table, in memory up to a size, beyond it in a file of the directory.

    Without a directory nothing beyond memory is kept. Raises AlderError(LIMIT).
    """
    bound = memory_bytes_max if directory is None else size_bytes_max
    source = _bounded(batches, bound)
    kept: list[pa.RecordBatch] = []
    size_bytes = 0
    for batch in source:
        kept.append(batch)
        size_bytes += batch.nbytes
        if directory is not None and size_bytes > memory_bytes_max:
            return _in_file(schema, kept, source, directory)
    return pa.Table.from_batches(kept, schema=schema)


def _in_file(
    schema: pa.Schema,
    begun: list[pa.RecordBatch],
    rest: Iterator[pa.RecordBatch],
    directory: Path,
) -> pa.Table:
    with tempfile.NamedTemporaryFile(prefix="result-", dir=directory) as file:
        with pa.ipc.new_file(file.name, schema) as writer:
            for batch in begun:
                writer.write_batch(batch)
            begun.clear()
            for batch in rest:
                writer.write_batch(batch)
        return pa.ipc.open_file(pa.memory_map(file.name)).read_all()


def _bounded(batches: Iterable[pa.RecordBatch], size_bytes_max: int) -> Iterator[pa.RecordBatch]:
    size_bytes = 0
    for batch in batches:
        size_bytes += batch.nbytes
        if size_bytes > size_bytes_max:
            raise AlderError(
                Reason.LIMIT,
                f"the result has more than {size_bytes_max >> 20} MiB, which is all that is given; "
                "filter more, aggregate, or add a LIMIT",
            )
        yield batch
