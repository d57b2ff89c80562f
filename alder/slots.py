"""Slots: how rows spread over the shards of a collection.

A collection has 4096 hash slots; a shard is a contiguous range of them. The hash is CRC-32
(ISO-HDLC, as in zlib): stable over versions and machines, because it decides where a row lives.
"""

import itertools
import zlib
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

SLOTS: Final = 4096
OFFSETS_PER_SLOT_RUN: Final = 4096
"""Consecutive offsets of an append-only collection that share a slot: batches stay whole."""


def slot_of_key(key: bytes) -> int:
    """The slot of a key."""
    return zlib.crc32(key) % SLOTS


def slots_of_keys(keys: Iterable[bytes]) -> NDArray[np.int32]:
    """The slots of many keys: int32, one per key."""
    return np.fromiter((zlib.crc32(key) % SLOTS for key in keys), dtype=np.int32)


def slots_of_offsets(source: str, partition: int, offsets: NDArray[np.int64]) -> NDArray[np.int32]:
    """The slots of rows of an append-only collection: int32, one per offset."""
    runs, inverse = np.unique(offsets // OFFSETS_PER_SLOT_RUN, return_inverse=True)
    slots = slots_of_keys(f"{source}/{partition}/{run}".encode() for run in runs.tolist())
    return slots[inverse]


def split_evenly(shards: int) -> list[tuple[int, int]]:
    """The slot ranges ``[begin, end)`` of that many shards, covering all slots.

    Raises ValueError unless 1 <= shards <= SLOTS.
    """
    if not 1 <= shards <= SLOTS:
        raise ValueError(f"a collection has 1 to {SLOTS} shards, not {shards}")
    bounds = [SLOTS * index // shards for index in range(shards + 1)]
    return list(itertools.pairwise(bounds))


def shard_indexes(slots: NDArray[np.int32], slot_ends: Sequence[int]) -> NDArray[np.int64]:
    """For each slot, the index of its shard, given the shards' ``slot_end`` in ascending order."""
    return np.searchsorted(np.asarray(slot_ends, dtype=np.int64), slots, side="right")
