"""A tailer whose clock stands still, as one does while a machine is suspended.

It can't notice that it was stopped for longer than its lease, so only the leaves can refuse it:
``python suspended_tailer.py tailer --config FILE``.
"""

import sys
from pathlib import Path

from alder.cli.composition import tailer_node
from alder.cli.running import run_until_signal
from alder.config import load_node
from alder.lease import Lease


def main() -> None:
    """Runs until a signal, as ``alder tailer`` does."""
    config = load_node(Path(sys.argv[-1]))
    run_until_signal(lambda stack: tailer_node(stack, config, Lease(lambda: 0.0)))


if __name__ == "__main__":
    main()
