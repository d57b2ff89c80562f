"""Rows to shards: the slot of each row, and the rows of each shard in order of their offsets.

A row's slot is a function of the row and the collection's definition alone, so every tailer routes
it to the same shard, in every version (I1).
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from alder.slots import shard_indexes, slots_of_keys, slots_of_offsets

Slots = NDArray[np.int32]
RowIndices = NDArray[np.int64]


def slots_of_texts(texts: pa.Array) -> Slots:
    """The slots of values given as text without nulls; equal values are hashed once."""
    encoded = texts.dictionary_encode()
    slots = slots_of_keys(text.encode() for text in encoded.dictionary.to_pylist())
    chosen: Slots = slots[encoded.indices.to_numpy()]
    return chosen


def slots_of_rows(
    source: str,
    partition: int,
    offsets: NDArray[np.int64],
    keys: pa.Array | None,
    shard_by: pa.Array | None,
) -> Slots:
    """int32 slots, one per row: by key, else by the ``shard_by`` value, else by offset.

    A row without a ``shard_by`` value goes where it would go without the setting.
    """
    if keys is not None:
        return slots_of_texts(keys)
    slots = slots_of_offsets(source, partition, offsets)
    if shard_by is None or shard_by.null_count == len(shard_by):
        return slots
    has_value = pc.is_valid(shard_by)
    slots = slots.copy()
    slots[has_value.to_numpy(zero_copy_only=False)] = slots_of_texts(shard_by.filter(has_value))
    return slots


def rows_by_shard(slots: Slots, slot_ends: Sequence[int]) -> list[RowIndices]:
    """For each shard, the ascending indices of its rows; shards as in ``slot_ends``, ascending."""
    shards = shard_indexes(slots, slot_ends)
    order = np.argsort(shards, kind="stable")
    bounds = np.searchsorted(shards[order], np.arange(len(slot_ends) + 1))
    return [order[bounds[i] : bounds[i + 1]] for i in range(len(slot_ends))]


def take_rows(table: pa.Table, rows: RowIndices) -> pa.Table:
    """The rows at ascending indices; a view without copying where they are consecutive."""
    if len(rows) and rows[-1] - rows[0] + 1 == len(rows):
        return table.slice(rows[0], len(rows))
    return table.take(pa.array(rows))
