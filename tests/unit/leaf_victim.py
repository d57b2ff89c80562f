"""A leaf that takes rows, seals, merges and purges until it is killed; says how far it came."""

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from leaf_model import NODE, StillCatalog, collection_of, push, rows_bytes, snapshot_of

from alder.catalog import CollectionSettings
from alder.positions import PositionVector
from alder.v1 import leaf_pb2
from leaf.service import Leaf
from leaf.settings import LeafSettings

ROWS_PER_PUSH = 37
SECOND = 1_000_000
KEPT = CollectionSettings(cluster_by_paths=("s",), history_us=60 * SECOND)


async def main(directory: Path) -> None:
    catalog = StillCatalog(snapshot_of(collection_of(key_path="k", settings=KEPT)))
    settings = LeafSettings(seal_rows=100, sync_interval_s=0.01, merge_factor=3)
    leaf = Leaf(NODE, directory, catalog, settings, ThreadPoolExecutor(1))
    await leaf.start()
    known = await leaf.positions(leaf_pb2.PositionsRequest(collection="c", collection_id=1))
    position = PositionVector.from_proto(known.shards[0].positions)["log", 0]
    while True:
        end = position + ROWS_PER_PUSH
        rows = {offset: {"a": offset, "s": f"s{offset % 5}"} for offset in range(position, end)}
        keys = {offset: f"k{offset // 2}" for offset in rows}
        times = {offset: offset * SECOND for offset in rows}
        response = await leaf.apply(push({0: rows_bytes(rows, keys, times)}, position, end))
        position = response.shards[0].next_offset
        sys.stdout.write(f"{position}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
