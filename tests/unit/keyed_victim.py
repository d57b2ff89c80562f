"""A replica that is fed a keyed log until it is killed; says how far it came."""

import random
import sys
from pathlib import Path

from keyed_model import Fed, random_log
from test_keyed_differential import KINDS, RECORDS


def main(path: Path, kind: str) -> None:
    log = random_log(random.Random(7), 4 * RECORDS, KINDS[kind])
    chance = random.Random()
    replica = Fed(path, KINDS[kind], log)
    while any(replica.positions()[stream] < len(log[stream]) for stream in log):
        replica.push(chance.choice(list(log)), 3)
        replica.shake(chance)
        replica.shard.sync()
        sys.stdout.write(f"{replica.positions()}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
