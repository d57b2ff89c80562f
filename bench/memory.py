"""The peak memory of a process with all its children."""

import contextlib
import threading
from types import TracebackType
from typing import Final

import psutil

INTERVAL_S: Final = 0.1


class Peak:
    """Samples, as a context, the resident memory of a process and its children.

    Pages that processes share count for each of them, so the figure is an upper bound.
    """

    def __init__(self, pid: int) -> None:
        self._root = psutil.Process(pid)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self.rss_bytes = 0

    def __enter__(self) -> "Peak":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._over.wait(INTERVAL_S):
            with contextlib.suppress(psutil.NoSuchProcess):
                self.rss_bytes = max(self.rss_bytes, tree_rss_bytes(self._root))


def tree_rss_bytes(root: psutil.Process) -> int:
    """Resident bytes of a process and its children at this moment.

    A child that has not begun its own program runs in its parent's memory, which counts once.
    """
    total = root.memory_info().rss
    command = root.cmdline()
    for process in root.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.cmdline() != command:
                total += process.memory_info().rss
    return total
