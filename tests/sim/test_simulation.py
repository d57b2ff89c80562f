"""Tailers, leaves and the cut of a query under faults, a thousand seeds.

A failing seed replays exactly: ``python tests/sim/replay.py --seed N`` prints its trace.
"""

import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from sim_store import Violation
from sim_world import Rules, World

from alder.positions import PositionVector
from alder.v1 import leaf_pb2
from leaf.core import Decision, PushHeader, ShardState, decide

SEEDS = 1_000
SEEDS_LONG = 20_000
SEEDS_BROKEN = 60


def always_accept(state: ShardState, push: PushHeader) -> Decision:
    return Decision(leaf_pb2.APPLY_STATUS_APPLIED, push.to_offset)


def accept_what_overlaps(state: ShardState, push: PushHeader) -> Decision:
    stored = state.positions[push.key]
    if push.from_offset < stored < push.to_offset:
        return Decision(leaf_pb2.APPLY_STATUS_APPLIED, push.to_offset)
    return decide(state, push)


def forgetful(state: ShardState, push: PushHeader) -> Decision:
    return decide(state, replace(push, assignment=state.assignment))


def newest(asked: Iterable[int], positions: Mapping[int, PositionVector]) -> PositionVector:
    vector = PositionVector()
    for shard in asked:
        vector = vector.merged(positions[shard])
    return vector


def failing(rules: Rules, seeds: range) -> list[int]:
    found = []
    for seed in seeds:
        try:
            World(seed, rules).run()
        except Violation:
            found.append(seed)
    return found


@pytest.mark.timeout(3_600)
def test_every_seed_keeps_the_invariants(pytestconfig: pytest.Config) -> None:
    answered = 0
    seeds = SEEDS_LONG if pytestconfig.getoption("--long") else SEEDS
    for seed in range(seeds):
        world = World(seed)
        try:
            world.run()
        except Violation as violation:
            pytest.fail(f"seed {seed}: {violation}")
        answered += world.queries_answered
    assert answered > 2 * seeds


def test_a_seed_is_a_whole_run() -> None:
    hashes = []
    for _ in range(2):
        world = World(17)
        world.run()
        hashes.append(world.schedule.trace_hash())
    other = World(18)
    other.run()
    assert hashes[0] == hashes[1] != other.schedule.trace_hash()


def test_a_seed_replays_in_another_process() -> None:
    script = Path(__file__).with_name("replay.py")
    root = str(script.parents[2])
    traces = [
        subprocess.run(
            [sys.executable, str(script), "--seed", "17"],
            capture_output=True,
            check=True,
            text=True,
            env={**os.environ, "PYTHONHASHSEED": str(n), "PYTHONPATH": root},
        ).stdout
        for n in (1, 2)
    ]
    world = World(17)
    world.run()
    assert traces[0] == traces[1]
    assert world.schedule.trace_hash() in traces[0]


@pytest.mark.parametrize("broken", [always_accept, accept_what_overlaps])
def test_without_the_position_check_seeds_fail(broken: object) -> None:
    rules = replace(Rules(), decide=broken)
    assert len(failing(rules, range(SEEDS_BROKEN))) > SEEDS_BROKEN // 10


def test_without_the_check_of_assignments_seeds_fail() -> None:
    rules = replace(Rules(), decide=forgetful)
    assert len(failing(rules, range(SEEDS_BROKEN))) > SEEDS_BROKEN // 10


def test_a_cut_that_not_every_shard_has_reached_makes_seeds_fail() -> None:
    rules = Rules(choose_cut=newest, reaches=lambda positions, vector: True)
    assert len(failing(rules, range(SEEDS_BROKEN))) > SEEDS_BROKEN // 10
