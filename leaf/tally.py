"""How many blocks of each segment a query reads, counted by the thread that runs it."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field


@dataclass(slots=True)
class Tally:
    """By scope of a segment: blocks read from the store, and decoded ones that were at hand."""

    read: Counter[int] = field(default_factory=Counter)
    cached: Counter[int] = field(default_factory=Counter)


_current: ContextVar[Tally | None] = ContextVar("tally", default=None)


@contextmanager
def tallying() -> Iterator[Tally]:
    """Counts what this thread reads meanwhile."""
    tally = Tally()
    token = _current.set(tally)
    try:
        yield tally
    finally:
        _current.reset(token)


def note_read(scope: int, blocks: int = 1) -> None:
    """Blocks of a segment were read from the store."""
    tally = _current.get()
    if tally is not None:
        tally.read[scope] += blocks


def note_cached(scope: int, blocks: int = 1) -> None:
    """Decoded blocks of a segment were at hand."""
    tally = _current.get()
    if tally is not None:
        tally.cached[scope] += blocks
