"""Large pushes that are in memory only until their rows are sealed.

Writing rows that a segment will hold a moment later doubles the work of a bulk load and serves
nobody: what a crash loses is read from the log again. So a large push to a collection in which no
row ever dies is held back, and every push after it, since positions and blocks must reach the store
in order; the commit that publishes their segment then writes all of it but the rows. A load that
has ended is sealed soon; only what is too little for a segment is written as usual.

The invariant: the store holds the state after some prefix of the pushes, exactly (I1, I2).
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from alder.rocks import Batch
from leaf.change import PushWrite

HELD_BYTES_MIN: Final = 1 << 20
"""Smaller pushes are cheap to write, and come from sources that wait for no seal."""
HELD_S_MAX: Final = 3.0
"""Sealing a full live tail takes less."""


@dataclass(frozen=True, slots=True)
class _Held:
    write: PushWrite
    large: bool
    since_s: float


class HeldWrites:
    """What was applied and is not in the store, oldest first.

    Its user keeps threads apart; :attr:`large` and :attr:`due` may be asked from any.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        """``clock`` gives seconds."""
        self._clock = clock
        self._writes: deque[_Held] = deque()
        self._since_s: float | None = None

    def __bool__(self) -> bool:
        return bool(self._writes)

    @property
    def large(self) -> bool:
        """True if a large push is among them; small ones behind one need not wait for a seal."""
        return self._since_s is not None

    @property
    def due(self) -> bool:
        """True if the load seems to have ended: a large push has waited for its seal for long."""
        since_s = self._since_s
        return since_s is not None and self._clock() - since_s >= HELD_S_MAX

    def takes(self, write: PushWrite) -> bool:
        """Whether a push is to be held."""
        return bool(self._writes) or _is_large(write)

    def add(self, write: PushWrite) -> None:
        """Holds a push."""
        self._writes.append(_Held(write, _is_large(write), self._clock()))
        self._look()

    def put_first(self, batch: Batch) -> None:
        """Puts the oldest one into a batch; :meth:`drop_first` once it is committed."""
        self._writes[0].write.put(batch)

    def drop_first(self) -> None:
        """Forgets the oldest one."""
        self._writes.popleft()
        self._look()

    def put_sealed(self, batch: Batch, to_block: int) -> None:
        """Puts those before ``to_block``, whose rows a segment holds, into the batch that names it.

        :meth:`drop_sealed` once it is committed.
        """
        for held in self._writes:
            if held.write.number < to_block:
                held.write.put_without_rows(batch)

    def drop_sealed(self, to_block: int) -> None:
        """Forgets those before ``to_block``."""
        while self._writes and self._writes[0].write.number < to_block:
            self._writes.popleft()
        self._look()

    def _look(self) -> None:
        self._since_s = next((held.since_s for held in self._writes if held.large), None)


def _is_large(write: PushWrite) -> bool:
    return bool(write.block.table.nbytes >= HELD_BYTES_MIN)
