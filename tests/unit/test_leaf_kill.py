"""A leaf that is killed has lost nothing that it acknowledged, and holds nothing twice."""

import asyncio
import multiprocessing
import os
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from leaf_model import NODE, StillCatalog, ask, bound, collection_of, push, rows_bytes, snapshot_of
from leaf_victim import KEPT

from alder.positions import PositionVector
from alder.v1 import leaf_pb2
from leaf.service import Leaf
from leaf.settings import LeafSettings

ROUNDS = 4
ROOT = Path(__file__).parents[2]


def run_until_killed(directory: Path, pushes: int) -> int:
    """Lets a leaf acknowledge that many pushes, kills it, returns the last position it said."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests' / 'unit'}"}
    command = [sys.executable, str(Path(__file__).with_name("leaf_victim.py")), str(directory)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as victim:
        assert victim.stdout is not None
        said = [int(victim.stdout.readline()) for _ in range(pushes)]
        victim.kill()
        said.extend(int(line) for line in victim.stdout.read().split("\n")[:-1] if line)
    return said[-1]


async def check(directory: Path, acknowledged: int) -> tuple[int, int]:
    """Everything that was acknowledged is there once; the segments, and how many rows are gone."""
    catalog = StillCatalog(snapshot_of(collection_of(key_path="k", settings=KEPT)))
    leaf = Leaf(NODE, directory, catalog, LeafSettings(seal_rows=200), ThreadPoolExecutor(1))
    await leaf.start()
    known = await leaf.positions(leaf_pb2.PositionsRequest(collection="c", collection_id=1))
    position = PositionVector.from_proto(known.shards[0].positions)["log", 0]
    assert position >= acknowledged
    table, _ = await ask(leaf, "SELECT o FROM rows ORDER BY o", [bound("o", "_offset", "BIGINT")])
    last_of_keys = [n for n in range(position) if n % 2 == 1 or n == position - 1]
    assert table.column("o").to_pylist() == last_of_keys
    described = (await leaf.describe(leaf_pb2.DescribeLeafRequest())).shards[0]
    await leaf.close()
    assert described.rows == len(last_of_keys)
    return described.segments, position - described.rows_stored


def test_kill_nine_loses_and_repeats_nothing(tmp_path: Path) -> None:
    chance = random.Random(8)
    segments = gone = 0
    for _ in range(ROUNDS):
        acknowledged = run_until_killed(tmp_path, chance.randrange(20, 60))
        segments, gone = asyncio.run(check(tmp_path, acknowledged))
    assert segments, "there was something to be killed among"
    assert gone, "something was purged before"


def test_sealing_survives_the_death_of_its_worker(tmp_path: Path) -> None:
    async def main() -> None:
        catalog = StillCatalog(snapshot_of(collection_of()))
        settings = replace(LeafSettings(), seal_rows=10, sync_interval_s=0.05)
        leaf = Leaf(NODE, tmp_path, catalog, settings)
        await leaf.start()
        assert multiprocessing.active_children(), "no seal waits for a process to start"
        for n in range(2):
            rows = {offset: {"a": offset} for offset in range(n * 20, n * 20 + 20)}
            await leaf.apply(push({0: rows_bytes(rows)}, n * 20, n * 20 + 20))
            for _ in range(1_000):
                described = await leaf.describe(leaf_pb2.DescribeLeafRequest())
                if described.shards[0].segments > n:
                    break
                await asyncio.sleep(0.02)
            assert described.shards[0].segments == n + 1
            kill_children()
        table, _ = await ask(
            leaf, "SELECT sum(c0)::BIGINT s FROM rows", [bound("c0", "a", "BIGINT", "int")]
        )
        assert table.to_pylist() == [{"s": 780}]
        await leaf.close()

    asyncio.run(main())


def kill_children() -> None:
    for child in multiprocessing.active_children():
        child.kill()
        child.join()
