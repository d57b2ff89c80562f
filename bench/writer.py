"""A client that appends events at an even pace, in a process of its own beside the one that asks.

Arguments: server, collection, file, events per second. It reads the file, prints a line when it is
ready, begins when it is told to by a line, and prints how many seconds the last batch came too late
once the server has acknowledged all.
"""

import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from alder.client import connect

TICK_S: Final = 0.025
STOP_S_MAX: Final = 300


class Writer:
    """A writer's process; :meth:`begin` starts the pace."""

    def __init__(self, target: str, collection: str, path: Path, rate: float) -> None:
        command = [sys.executable, "-m", "bench.writer", target, collection, str(path), str(rate)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "ready\n":
            raise RuntimeError("the writer did not start")

    def begin(self) -> None:
        """Lets it write."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def over(self) -> bool:
        """True once it has written all."""
        return self._process.poll() is not None

    def late_s(self) -> float:
        """Waits for its end; how late its last batch was. Raises RuntimeError if it failed."""
        output, _ = self._process.communicate(timeout=STOP_S_MAX)
        if self._process.returncode:
            raise RuntimeError("the writer failed")
        return float(output)


def _main(target: str, collection: str, path: Path, rate: float) -> None:
    documents = path.read_bytes().splitlines()
    count = max(round(rate * TICK_S), 1)
    batches = [documents[place : place + count] for place in range(0, len(documents), count)]
    with connect(target) as connection:
        print("ready", flush=True)
        sys.stdin.readline()
        begun = time.perf_counter()
        for number, batch in enumerate(batches):
            time.sleep(max(begun + number * TICK_S - time.perf_counter(), 0))
            connection.append(collection, batch)
        print(time.perf_counter() - begun - len(batches) * TICK_S)


if __name__ == "__main__":
    _main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), float(sys.argv[4]))
