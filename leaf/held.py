"""Large pushes that are in memory only until their rows are sealed.

Writing rows that a segment will hold a moment later doubles the work of a bulk load and serves
nobody: what a crash loses is read from the log again. So a large push to a collection in which no
row ever dies is held back, and every push after it, since positions and blocks must reach the store
in order; the commit that publishes their segment then writes all of it but the rows. What is not
sealed after a while, because the load has ended, is written as usual.

The invariant: the store holds the state after some prefix of the pushes, exactly (I1, I2).
"""

from collections import deque
from collections.abc import Callable
from typing import Final

from alder.rocks import Batch
from leaf.change import PushWrite

HELD_BYTES_MIN: Final = 1 << 20
"""Smaller pushes are cheap to write, and come from sources that wait for no seal."""
HELD_S_MAX: Final = 3.0
"""Sealing a full live tail takes less."""


class HeldWrites:
    """What was applied and is not in the store, oldest first. Its user keeps threads apart."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """``clock`` gives seconds."""
        self._clock = clock
        self._writes: deque[tuple[PushWrite, float]] = deque()

    def __bool__(self) -> bool:
        return bool(self._writes)

    @property
    def due(self) -> bool:
        """True if the oldest has waited for its seal long enough."""
        return bool(self._writes) and self._clock() - self._writes[0][1] >= HELD_S_MAX

    def takes(self, write: PushWrite) -> bool:
        """Whether a push is to be held."""
        return bool(self._writes) or write.block.table.nbytes >= HELD_BYTES_MIN

    def add(self, write: PushWrite) -> None:
        """Holds a push."""
        self._writes.append((write, self._clock()))

    def put_all(self, batch: Batch) -> None:
        """Puts all of them into a batch; :meth:`clear` once it is committed."""
        for write, _ in self._writes:
            write.put(batch)

    def clear(self) -> None:
        """Forgets what has been written."""
        self._writes.clear()

    def put_sealed(self, batch: Batch, to_block: int) -> None:
        """Puts those before ``to_block``, whose rows a segment holds, into the batch that names it.

        :meth:`drop_sealed` once it is committed.
        """
        for write, _ in self._writes:
            if write.number < to_block:
                write.put_without_rows(batch)

    def drop_sealed(self, to_block: int) -> None:
        """Forgets those before ``to_block``."""
        while self._writes and self._writes[0][0].number < to_block:
            self._writes.popleft()
