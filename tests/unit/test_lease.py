"""Who has which partition: leases, assignments, and how partitions are shared out."""

import asyncio
from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from alder.catalog import Node, Snapshot, Source, SourcePartition
from alder.errors import AlderError, Reason
from alder.lease import Lease
from alder.placement import owners
from alder.v1 import catalog_pb2
from controller.catalog import Catalog
from controller.changes import CatalogState, PutNode
from controller.liveness import SWEEPS_PER_LEASE, Liveness
from tailer.fence import Fence
from tailer.service import partitions_of

TAILER = Node("t1", catalog_pb2.NODE_ROLE_TAILER, "h:1")
LEASE_S = 3.0


class Clock:
    def __init__(self) -> None:
        self.now_s = 50.0

    def __call__(self) -> float:
        return self.now_s

    def runs(self, lease: Lease, for_s: float) -> None:
        """The process runs for so long."""
        for _ in range(round(for_s * 10)):
            self.now_s += 0.1
            lease.observe()


def granted(clock: Clock) -> Lease:
    lease = Lease(clock)
    assert not lease.holds()
    lease.renewed(lease.observe(), LEASE_S)
    assert lease.holds()
    return lease


def test_a_process_that_slept_as_long_as_its_lease_has_none_until_it_is_given_one() -> None:
    clock = Clock()
    lease = granted(clock)
    clock.now_s += LEASE_S - 0.1
    assert lease.holds()
    clock.now_s += LEASE_S
    assert not lease.holds()
    clock.runs(lease, 60)
    assert not lease.holds(), "being awake again is no lease"
    lease.renewed(lease.observe(), LEASE_S)
    assert lease.holds()


def test_a_lease_that_runs_out_in_a_sleep_shorter_than_it_is_gone() -> None:
    clock = Clock()
    lease = granted(clock)
    clock.runs(lease, LEASE_S / 3)
    clock.now_s += LEASE_S / 2
    assert lease.holds(), "it has not run out"
    clock.now_s += LEASE_S / 2
    assert not lease.holds()


def test_a_lease_that_was_asked_for_before_the_sleep_is_none() -> None:
    clock = Clock()
    lease = granted(clock)
    asked_s = lease.observe()
    clock.now_s += LEASE_S
    lease.renewed(asked_s, LEASE_S)
    assert not lease.holds()


def test_a_controller_that_is_down_takes_no_lease_away() -> None:
    clock = Clock()
    lease = granted(clock)
    clock.runs(lease, 10 * LEASE_S)
    assert lease.holds()
    lease.end()
    assert not lease.holds()


def test_a_fence_without_a_lease_lets_nothing_pass() -> None:
    async def main() -> None:
        held = [True]
        fence = Fence(lambda: held[0], 3)
        fence.check()
        waiting = asyncio.create_task(fence.newer_than(3))
        fence.follow(2)
        fence.follow(3)
        await asyncio.sleep(0)
        assert not waiting.done()
        fence.follow(4)
        await asyncio.wait_for(waiting, 5)
        assert fence.assignment == 4
        held[0] = False
        with pytest.raises(AlderError) as caught:
            fence.check()
        assert caught.value.reason is Reason.STALE_ASSIGNMENT

    asyncio.run(main())


def test_an_assignment_is_newer_whenever_the_live_tailers_change() -> None:
    leaf = Node("l1", catalog_pb2.NODE_ROLE_LEAF, "h:2")
    state = CatalogState(Snapshot(revision=10, assignment=7))
    for node, is_news in (
        (TAILER, True),
        (leaf, False),
        (replace(TAILER, live=False), True),
        (replace(leaf, live=False), False),
        (TAILER, True),
        (replace(TAILER, address="h:3"), True),
    ):
        after = state.applied([PutNode(node)])
        assert (after.snapshot.assignment > state.snapshot.assignment) is is_news
        assert after.snapshot.assignment <= after.snapshot.revision
        assert Snapshot.from_proto(after.snapshot.to_proto()) == after.snapshot
        state = after


def test_a_restarted_controller_never_gives_an_assignment_again(tmp_path: Path) -> None:
    async def main() -> None:
        newest = 0
        for live in (True, False, True):
            catalog = Catalog(tmp_path / "catalog", 1 << 20, lambda node_id, to=live: to)
            await catalog.begin(await catalog.load())
            assert catalog.state.snapshot.assignment > newest
            change = PutNode(replace(TAILER, live=not live))
            state = await catalog.change(lambda state, change=change: [change])
            newest = state.snapshot.assignment
            await catalog.close()

    asyncio.run(main())


def test_a_partition_has_a_living_tailer_after_a_lease_and_a_sweep(tmp_path: Path) -> None:
    """At any moment of a random life: none idle longer than the lease, and one sweep."""
    source = Source("kafka1", "kafka://h:1/t", "id", tuple(map(SourcePartition, range(8))))
    seed = Random().randrange(1 << 32)
    chance, clock = Random(seed), Clock()
    liveness = Liveness(LEASE_S, clock)
    sweep_s = LEASE_S / SWEEPS_PER_LEASE

    async def main() -> None:
        catalog = Catalog(tmp_path / "catalog", 1 << 20, liveness.holds)
        await catalog.begin(await catalog.load())
        alive: set[str] = {"t0"}
        fed_s: dict[int, float] = dict.fromkeys(range(8), clock.now_s)
        for step in range(600):
            if step % 20 == 10 and (lost := chance.choice([*alive, ""])) and len(alive) > 1:
                alive.discard(lost)
            if step % 20 == 0:
                alive.add(f"t{chance.randrange(4)}")
            if step % 7 == 0:
                liveness.renew(alive)
                for name in alive:
                    await catalog.change(lambda s, n=name: [PutNode(replace(TAILER, node_id=n))])
            clock.now_s += sweep_s
            await liveness.expire(catalog)
            tailers = [n.node_id for n in catalog.state.snapshot.live_nodes(TAILER.role)]
            for name in alive:
                for entry in partitions_of(name, 1, source, tailers):
                    fed_s[entry.partition] = clock.now_s
            idle_s = clock.now_s - min(fed_s.values())
            assert idle_s <= LEASE_S + sweep_s + 1e-6, f"seed {seed}, step {step}: {idle_s}"
        await catalog.close()

    asyncio.run(main())


@pytest.mark.parametrize(("partitions", "tailers"), [(8, 3), (4, 2), (1, 5), (7, 7), (100, 9)])
def test_no_tailer_has_more_than_its_share_of_a_log(partitions: int, tailers: int) -> None:
    nodes = [f"tailer-{n}" for n in range(tailers)]
    share = -(-partitions // tailers)
    for number in range(50):
        things = [f"{number}/kafka1/{n}" for n in range(partitions)]
        found = owners(things, nodes)
        assert list(found) == things
        assert max(Counter(found.values()).values()) <= share
        left = owners(things, nodes[1:])
        moved = [t for t in things if found[t] != left.get(t) and found[t] != nodes[0]]
        if share > 1:
            assert len(moved) <= partitions // 2, "most of what need not move stays"
    assert owners(things, []) == {}


def test_files_that_come_move_none_that_are_there() -> None:
    nodes = ["t1", "t2", "t3"]
    known: set[int] = set()
    for count in (10, 11, 200):
        source = Source("file1", "file:///x", "", tuple(map(SourcePartition, range(count))))
        mine = {entry.partition for entry in partitions_of("t1", 3, source, nodes)}
        assert known <= mine
        known = mine
    everything = [one for node in nodes for one in partitions_of(node, 3, source, nodes)]
    assert sorted(one.partition for one in everything) == list(range(200))
