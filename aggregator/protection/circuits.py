"""A circuit per leaf: one that has not answered several times in a row is not waited for again.

gRPC fails fast where a connection is refused; a process that hangs, or a host that is gone, takes
every call to its deadline instead. After that happened a few times calls to the leaf fail at once,
with its name, except for one probe after each back-off, which doubles. The first answer closes the
circuit. Time is given to every method.
"""

from dataclasses import dataclass
from typing import Final

from alder.errors import Reason, Unreachable

FAILURES_MAX: Final = 3
PROBE_S: Final = 0.5
PROBE_S_MAX: Final = 5.0


@dataclass(slots=True)
class _Failing:
    failures: int = 0
    probe_at_s: float = 0.0
    probe_s: float = PROBE_S


class Circuits:
    """Which leaves are asked at all."""

    def __init__(self) -> None:
        self._failing: dict[str, _Failing] = {}

    def check(self, leaf: str, now_s: float) -> None:
        """Raises Unreachable for a leaf that is not to be asked now."""
        state = self._failing.get(leaf)
        if state is None or state.failures < FAILURES_MAX:
            return
        if now_s < state.probe_at_s:
            raise Unreachable(
                Reason.UNAVAILABLE,
                f"it did not answer {state.failures} times in a row, and is asked again in "
                f"{state.probe_at_s - now_s:.1f} s; check that it runs",
            )
        self._back_off(state, now_s)

    def answered(self, leaf: str) -> None:
        """The leaf answered, be it with an error."""
        self._failing.pop(leaf, None)

    def failed(self, leaf: str, now_s: float) -> None:
        """Nothing was heard of the leaf."""
        state = self._failing.setdefault(leaf, _Failing())
        state.failures += 1
        if state.failures == FAILURES_MAX:
            self._back_off(state, now_s)

    def _back_off(self, state: _Failing, now_s: float) -> None:
        state.probe_at_s = now_s + state.probe_s
        state.probe_s = min(2 * state.probe_s, PROBE_S_MAX)
