"""What a leaf keeps in memory stays within its settings, whatever it is asked."""

import asyncio
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from kernels_model import Asker, append, documents, reference, sealed
from leaf_model import NODE, StillCatalog, collection_of, snapshot_of

from alder.v1 import leaf_pb2
from leaf.service import Leaf
from leaf.settings import LeafSettings

SMALL = LeafSettings(
    seal_rows=60,
    merge_factor=0,
    cache_bytes=20_000,
    codes_bytes=12_000,
    dictionary_bytes=31_000,
    partials_bytes=6_000,
)
BUDGETS = {"pages": 20_000, "codes": 12_000, "dictionaries": 31_000, "partials": 6_000}
KEYS = ["kind", "few", "flag", "n % 7", "length(word)", "word", "n"]
VALUES = ["count(*)", "sum(n)", "max(f)", "min(word)", "count(distinct few)", "avg(big)"]
CONDITIONS = ["", " where n > 100", " where kind = 'a'", " where word like 'w1%'"]
QUERIES = 60


async def usage(leaf: Leaf) -> dict[str, leaf_pb2.CacheDescription]:
    described = await leaf.describe(leaf_pb2.DescribeLeafRequest())
    return {cache.name: cache for cache in described.caches if cache.name != "stored partials"}


def test_caches_keep_to_their_budgets_over_a_random_workload(tmp_path: Path) -> None:
    chance = random.Random(11)
    rows = documents(1_200)
    truth = reference(rows)

    async def main() -> None:
        catalog = StillCatalog(snapshot_of(collection_of()))
        leaf = Leaf(NODE, tmp_path, catalog, SMALL, ThreadPoolExecutor(1))
        await leaf.start()
        try:
            for begin in range(0, len(rows), 60):
                await append(leaf, rows[begin : begin + 60], begin)
                await sealed(leaf, begin // 60 + 1)
            asker = Asker(leaf, [0])
            for _ in range(QUERIES):
                key, value = chance.choice(KEYS), chance.choice(VALUES)
                sql = (
                    f"select {key} as k, {value} as v from c{chance.choice(CONDITIONS)} group by 1"
                )
                kernels = chance.random() < 0.7
                answer = await asker.ask(sql, memoise=True, kernels=kernels)
                expected = truth.execute(sql).fetchall()
                assert len(answer.rows) == len(expected), sql
                for name, cache in (await usage(leaf)).items():
                    assert cache.size_bytes_max == BUDGETS[name]
                    assert cache.size_bytes <= BUDGETS[name], (name, sql)
            caches = await usage(leaf)
            assert caches.keys() == BUDGETS.keys()
            for name, cache in caches.items():
                assert min(cache.hits, cache.misses, cache.evictions) > 0, name
        finally:
            await leaf.close()

    asyncio.run(main())
