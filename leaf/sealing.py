"""How a seal becomes part of a shard: the plan, the writes, the manifest afterwards.

Blocks of a segment are written in small batches (a large one would hold the interpreter's lock and
the writer's queue) under a number that no manifest names yet. They count from the one commit on
that names the segment and drops the tail blocks it replaces; before it they are garbage that the
next opening removes, after it the tail blocks are.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from alder.rocks import Batch, Store
from leaf import layout
from leaf.layout import Manifest, SegmentEntry
from leaf.seal import SealedSegment
from leaf.tail import TailChunk

BATCH_BYTES_MAX: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class SealPlan:
    """The chunks to be sealed as ``segment``: all tail blocks before ``to_block``."""

    segment: int
    to_block: int
    tail: tuple[TailChunk, ...]


def segment_batches(store: Store, segment: int, sealed: SealedSegment) -> Iterator[Batch]:
    """The writes of a segment's blocks, none much larger than BATCH_BYTES_MAX.

    They begin by clearing the number, which an earlier attempt may have used.
    """
    batch = store.batch()
    prefix = layout.number_key(segment)
    for family in (layout.COLUMNS, layout.POSTINGS):
        batch.delete_range(family, prefix, layout.number_key(segment + 1))
    for block in sealed.blocks:
        batch.put(block.family, prefix + block.suffix, block.value)
        if batch.size_bytes >= BATCH_BYTES_MAX:
            yield batch
            batch = store.batch()
    yield batch


def published(manifest: Manifest, plan: SealPlan, sealed: SealedSegment) -> Manifest:
    """The manifest with the segment in it."""
    entry = SegmentEntry(plan.segment, sealed.rows, sealed.size_bytes)
    return Manifest(plan.to_block, plan.segment + 1, (*manifest.segments, entry))
