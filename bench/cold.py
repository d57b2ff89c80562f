"""One question after a restart, with nothing of the data in the page cache.

Only the files of the data leave the cache, not the programs': then nobody pays for reading his own
code from the disk, and the figure needs no privileges. Run as a module this is an embedded peer's
restart: a process that opens the peer over its folder, asks once, and prints the seconds and rows.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from bench.peers.base import Questions, Rows
from bench.peers.kinds import KINDS
from bench.statistics import timed_s


def forget(files: Iterable[Path]) -> None:
    """Drops the pages of the files from the page cache, after writing them."""
    os.sync()
    for path in files:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def files(folder: Path) -> list[Path]:
    """All files below a folder."""
    return [path for path in folder.rglob("*") if path.is_file()]


def ask_restarted(name: str, folder: Path, question: str) -> tuple[float, Rows]:
    """An embedded peer's answer in a process of its own, and the seconds it took."""
    command = [sys.executable, "-m", "bench.cold", name, str(folder), question]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{name} could not be asked after a restart: {done.stderr[-500:]}")
    answer = json.loads(done.stdout)
    return answer["seconds"], [tuple(row) for row in answer["rows"]]


def _main(name: str, folder: Path, question: str) -> None:
    peer = KINDS[name](folder)
    if not isinstance(peer, Questions):
        raise SystemExit(f"{name} answers no questions")
    forget(files(folder))
    seconds, rows = timed_s(lambda: peer.ask(question))
    peer.close()
    print(json.dumps({"seconds": seconds, "rows": rows}))


if __name__ == "__main__":
    _main(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
