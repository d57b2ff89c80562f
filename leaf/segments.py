"""The segments of a store: their numbers, their files, and when those may go.

A number is given out once, and its blocks are deleted when no manifest names it and no reader holds
the segment any more: the collector of unused objects tells, so that a view that is in use needs no
counting of its own. What a crash leaves is removed at the next opening.
"""

import threading
import weakref
from collections.abc import Iterable

from alder.errors import AlderError
from alder.rocks import Store
from leaf.blocks import SegmentBlocks
from leaf.cache import PageCache
from leaf.format.meta import Block
from leaf.sealing import BlockWriter, flush_segments, remove_segments
from leaf.segment import Segment


class SegmentFiles:
    """The segments of one shard. Thread-safe; calls may block on the store."""

    def __init__(self, store: Store, name: str, cache: PageCache, number_next: int) -> None:
        self._store = store
        self._name = name
        self._cache = cache
        self._number_next = number_next
        self._numbering = threading.Lock()
        self._writing = threading.RLock()
        self._unused: list[int] = []

    def new_number(self) -> int:
        """A number that no segment has had since the replica was opened."""
        with self._numbering:
            number, self._number_next = self._number_next, self._number_next + 1
        return number

    def open(self, number: int) -> Segment:
        """A segment on disk, whose blocks are deleted after its last reader. Raises CORRUPT."""
        segment = Segment(SegmentBlocks(self._store, self._name, number, self._cache))
        self.watch(segment, number)
        return segment

    def watch(self, segment: Segment, number: int) -> None:
        """Has the blocks deleted when nobody refers to the segment any more."""
        weakref.finalize(segment, self._unused.append, number).atexit = False

    def writer(self, number: int) -> BlockWriter:
        """Writes a segment little by little; others may be written meanwhile."""
        return BlockWriter(self._store, number, self._writing)

    def write(self, number: int, blocks: Iterable[Block]) -> None:
        """Brings a whole segment to files of its own. Raises AlderError(UNAVAILABLE)."""
        with self._writing:
            flush_segments(self._store)
            writer = self.writer(number)
            writer.put(blocks)
            writer.finish()

    def discard(self, number: int) -> None:
        """Gives up a number whose segment was not published."""
        self._unused.append(number)

    def collect(self) -> None:
        """Deletes what nobody can read any more. Raises UNAVAILABLE; it is tried again then."""
        with self._numbering:
            numbers, self._unused[:] = set(self._unused), []
        try:
            remove_segments(self._store, numbers)
        except AlderError:
            self._unused.extend(numbers)
            raise
