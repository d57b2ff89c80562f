"""Replays one seed of the simulation with its trace: ``python tests/sim/replay.py --seed N``."""

import argparse
import sys

from sim_store import Violation
from sim_world import World


def main() -> int:
    """The exit code: 1 if an invariant is broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, required=True)
    world = World(parser.parse_args().seed)
    failure = ""
    try:
        world.run()
    except Violation as violation:
        failure = str(violation)
    print("\n".join(world.schedule.trace))
    print(f"trace {world.schedule.trace_hash()}; {failure or 'all invariants hold'}")
    return 1 if failure else 0


if __name__ == "__main__":
    sys.exit(main())
