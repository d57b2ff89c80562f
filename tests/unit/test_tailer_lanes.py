"""A leaf that does not answer holds back nobody, costs no memory, and catches up by itself."""

import asyncio
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from test_tailer_service import FAST, World, eventually

from alder.v1 import tailer_pb2
from tailer.lanes import falling_behind
from tailer.service import Tailer

SETTINGS = replace(
    FAST,
    slow_leaf_s=0.1,
    ask_timeout_s=0.3,
    push_timeout_s=0.5,
    batch_rows_max=50,
    batch_size_bytes_max=64 << 10,
)


async def partition(tailers: list[Tailer]) -> tailer_pb2.PartitionProgress:
    told = [await one.describe(tailer_pb2.DescribeTailerRequest()) for one in tailers]
    (found,) = [entry for answer in told for entry in answer.partitions if entry.partition == 0]
    return found


def positions(world: World, leaf: str) -> set[int]:
    return {shard.state.positions["log", 0] for shard in world.leaves[leaf].shards.values()}


def add(world: World, begin: int, end: int) -> None:
    world.log.add(*(b'{"n": %d, "text": "%s"}' % (n, b"x" * 400) for n in range(begin, end)))


def test_others_go_on_without_a_stopped_leaf_and_it_is_fed_from_where_it_stands() -> None:
    async def main() -> None:
        world = World(shards=4, leaves=2, shard_by_path="n")
        async with world.running(SETTINGS) as tailers:
            add(world, 0, 100)
            await eventually(lambda: world.reached("log", 0, 100))
            slow = world.leaves["leaf1"]
            slow.stopped = asyncio.Event()
            held = [0]

            async def reached(end: int) -> bool:
                held.append((await partition(tailers)).held_bytes)
                return positions(world, "leaf0") == {end}

            for begin in range(100, 5_100, 500):
                add(world, begin, begin + 500)
                await eventually(lambda end=begin + 500: reached(end))
            told = await partition(tailers)
            assert told.next_offset == 100, "the shard that is furthest behind counts"
            assert "no answer in time" in told.error
            assert 0 < max(held) < 4 * 500 * 600, "a few ranges, however much waits"
            assert positions(world, "leaf1") == {100}
            slow.stopped.set()
            slow.stopped = None
            add(world, 5_100, 5_200)
            await eventually(lambda: world.reached("log", 0, 5_200))
            assert [row["_offset"] for row in world.rows()] == list(range(5_200))

            async def together() -> bool:
                return (await partition(tailers)).error == "" and slow.calls > 0

            await eventually(together)
            add(world, 5_200, 5_300)
            await eventually(lambda: world.reached("log", 0, 5_300))
            assert [row["_offset"] for row in world.rows()] == list(range(5_300))

    asyncio.run(main())


def test_a_leaf_that_is_gone_from_the_start_holds_nobody_back() -> None:
    async def main() -> None:
        world = World(shards=2, leaves=2, partitions=2)
        world.leaves["leaf1"].down = True
        async with world.running(SETTINGS):
            add(world, 0, 200)
            await eventually(lambda: positions(world, "leaf0") == {200})
            world.leaves["leaf1"].down = False
            await eventually(lambda: world.reached("log", 0, 200))
            assert [row["_offset"] for row in world.rows()] == list(range(200))

    asyncio.run(main())


def test_when_all_are_silent_nobody_waits_for_another_one() -> None:
    async def main() -> None:
        world = World(shards=2, leaves=2)
        leaves = list(world.leaves.values())
        async with world.running(SETTINGS):
            add(world, 0, 50)
            await eventually(lambda: world.reached("log", 0, 50))
            for leaf in leaves:
                leaf.stopped = asyncio.Event()
            add(world, 50, 100)
            await asyncio.sleep(3 * SETTINGS.slow_leaf_s)
            for leaf in leaves:
                assert leaf.stopped is not None
                leaf.stopped.set()
                leaf.stopped = None
            await eventually(lambda: world.reached("log", 0, 100))
            assert [row["_offset"] for row in world.rows()] == list(range(100))

    asyncio.run(main())


@given(
    st.frozensets(st.sampled_from("abcd"), min_size=1),
    st.dictionaries(st.sampled_from("abcd"), st.floats(0, 10)),
)
def test_somebody_always_stays(leaves: frozenset[str], silent_s: dict[str, float]) -> None:
    slow = falling_behind(leaves, silent_s, 2.0)
    assert slow < leaves
    assert all(silent_s[leaf] > 2.0 for leaf in slow)
    if slow:
        assert all(silent_s.get(leaf, 0.0) <= 2.0 for leaf in leaves - slow)
