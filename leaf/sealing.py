"""How a seal becomes part of a shard: the plan, the writes, the manifest afterwards.

Blocks of a segment are written in small batches (a large one would hold the interpreter's lock and
the writer's queue) under a number that no manifest names yet. They count from the one commit on
that names the segment and drops the tail blocks it replaces; before it they are garbage that the
next opening removes, after it the tail blocks are. They do not go through the write-ahead log:
their files are on disk before that commit. Each segment has files of its own, which go at once when
the segment is deleted.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from threading import RLock
from typing import Final

from alder.indexing import IndexSetting
from alder.rocks import Store
from leaf import layout
from leaf.format.meta import Block
from leaf.layout import Manifest, SegmentEntry
from leaf.seal import SealedSegment
from leaf.tail import TailChunk
from leaf.view import ShardView

BATCH_BYTES_MAX: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class SealPlan:
    """The chunks to be sealed as ``segment``: all tail blocks before ``to_block``.

    Rows are ordered by the paths ``cluster_by``; ``indexes`` as those of MergePlan.
    """

    segment: int
    to_block: int
    tail: tuple[TailChunk, ...]
    cluster_by: tuple[str, ...] = ()
    indexes: tuple[IndexSetting, ...] = ()


def tail_to_seal(
    view: ShardView, rows_min: int, bytes_min: int
) -> tuple[tuple[TailChunk, ...], int]:
    """The oldest chunks that make a segment, or all there are, and the first block after them.

    A live tail that has grown far beyond a segment would need many times its memory at once.
    """
    rows = size_bytes = 0
    for index, chunk in enumerate(view.tail):
        if rows >= rows_min or size_bytes >= bytes_min:
            return view.tail[:index], chunk.first_block
        rows += chunk.rows
        size_bytes += chunk.size_bytes
    return view.tail, view.counters.block_next


class BlockWriter:
    """Writes the blocks of a segment that no manifest names yet.

    ``lock`` is the store's, so that a seal and a merge that write at the same time do not share
    files: the one that holds it for long flushes before and after.
    """

    def __init__(self, store: Store, segment: int, lock: RLock) -> None:
        self.segment: Final = segment
        self._store = store
        self._lock = lock
        self._batch = store.batch()
        self._size_bytes = 0

    def put(self, blocks: Iterable[Block]) -> None:
        """Writes blocks, in batches not much larger than BATCH_BYTES_MAX. Raises UNAVAILABLE."""
        prefix = layout.number_key(self.segment)
        for block in blocks:
            self._batch.put(block.family, prefix + block.suffix, block.value)
            self._size_bytes += len(block.value)
            if self._batch.size_bytes >= BATCH_BYTES_MAX:
                self._write()

    def finish(self) -> int:
        """Brings everything to disk and returns its bytes. Raises AlderError(UNAVAILABLE)."""
        self._write()
        flush_segments(self._store)
        return self._size_bytes

    def _write(self) -> None:
        with self._lock:
            self._store.write_unlogged(self._batch)
        self._batch = self._store.batch()


def flush_segments(store: Store) -> None:
    """Brings what was written of segments to disk. Raises AlderError(UNAVAILABLE)."""
    for family in layout.SEGMENT_FAMILIES:
        store.flush(family)


def remove_segments(store: Store, segments: Iterable[int]) -> None:
    """Deletes all blocks under these numbers and frees their room. Raises UNAVAILABLE."""
    ranges = [(layout.number_key(n), layout.number_key(n + 1)) for n in sorted(set(segments))]
    if not ranges:
        return
    batch = store.batch()
    for family in layout.SEGMENT_FAMILIES:
        for begin, end in ranges:
            batch.delete_range(family, begin, end)
    store.write(batch)
    flush_segments(store)
    for family in layout.SEGMENT_FAMILIES:
        for begin, end in ranges:
            store.compact(family, begin, end)


def remove_tail(store: Store, begin: int, end: int) -> None:
    """Frees the room of tail blocks ``[begin, end)``, which are deleted. Raises UNAVAILABLE.

    Flushing every family lets the write-ahead log go, which holds the blocks once more.
    """
    for family in layout.FAMILIES:
        store.flush(family)
    store.compact(layout.TAIL, layout.number_key(begin), layout.number_key(end))


def published(manifest: Manifest, plan: SealPlan, sealed: SealedSegment) -> Manifest:
    """The manifest with the segment in it."""
    entry = SegmentEntry(plan.segment, sealed.rows, sealed.size_bytes)
    number_next = max(manifest.segment_next, plan.segment + 1)
    return replace(
        manifest,
        sealed_to_block=plan.to_block,
        segment_next=number_next,
        segments=(*manifest.segments, entry),
    )
