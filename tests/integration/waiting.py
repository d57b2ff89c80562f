"""Waits for what a server comes to by itself."""

import time
from collections.abc import Callable


def eventually(check: Callable[[], object], what: str, wait_s_max: float = 40.0) -> None:
    """Waits until a check is true, and fails with what it last gave."""
    deadline = time.monotonic() + wait_s_max
    while not (found := check()):
        assert time.monotonic() < deadline, f"{what} did not come about: {found!r}"
        time.sleep(0.1)
