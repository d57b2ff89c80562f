"""Which leaf gets which shard of a new collection: the one with the fewest, so that load evens out.

Pure: the same leaves and loads give the same placement.
"""

import heapq
from collections.abc import Iterable, Mapping

from alder.catalog import Collection, Shard
from alder.slots import split_evenly


def shards_per_leaf(collections: Iterable[Collection]) -> dict[str, int]:
    """How many shards each leaf serves; leaves without one are not named."""
    loads: dict[str, int] = {}
    for collection in collections:
        for shard in collection.shards:
            loads[shard.leaf] = loads.get(shard.leaf, 0) + 1
    return loads


def place_shards(shards: int, leaves: Iterable[str], loads: Mapping[str, int]) -> tuple[Shard, ...]:
    """All slots split into ``shards``, each on the leaf that then has the fewest.

    Raises ValueError where there is no leaf, or ``shards`` is not in 1..4096.
    """
    heap = [(loads.get(leaf, 0), leaf) for leaf in leaves]
    if not heap:
        raise ValueError("shards need a leaf")
    heapq.heapify(heap)
    placed = []
    for number, (begin, end) in enumerate(split_evenly(shards)):
        load, leaf = heap[0]
        heapq.heapreplace(heap, (load + 1, leaf))
        placed.append(Shard(number, begin, end, leaf))
    return tuple(placed)
