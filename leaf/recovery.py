"""Opening a shard's store: what was committed before, checked, or a clear refusal.

A leaf does not fsync each push, so RocksDB may come back with less than was written. Losing the end
is harmless: the positions that come back with it say so, and the tailer sends it again. Losing the
middle is not, and shows as a gap in the block numbers between the manifest and the counters; such a
replica is refused, so that it can be emptied and built again from the log, which is the truth.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from alder.errors import AlderError, Reason
from alder.positions import PositionVector
from alder.rocks import Store, StoreMemory, prefix_end
from alder.schema import Schema
from alder.v1 import common_pb2
from leaf import births, layout
from leaf.blocks import SegmentBlocks
from leaf.cache import PageCache
from leaf.layout import Counters, Manifest, StreamRecord
from leaf.segment import Segment
from leaf.tail import TailBlock, TailChunk, appended
from leaf.visibility import Tombstones


@dataclass(frozen=True, slots=True)
class Recovered:
    """The committed state of a store."""

    streams: tuple[StreamRecord, ...]
    counters: Counters
    manifest: Manifest
    schema: Schema
    segments: tuple[Segment, ...]
    tail: tuple[TailChunk, ...]
    tombstones: Tombstones
    rebuild_to: PositionVector = field(default_factory=PositionVector)


def open_replica(
    path: Path, name: str, cache: PageCache, memory: StoreMemory | None
) -> tuple[Store, Recovered]:
    """Opens or creates the store of the shard ``name``.

    Raises AlderError: CORRUPT where it can't be trusted, UNSUPPORTED for another format,
    UNAVAILABLE where another process has it open.
    """
    store = Store(path, layout.FAMILIES, memory=memory)
    try:
        return store, recover(store, name, cache)
    except AlderError:
        store.close()
        raise
    except Exception as error:
        store.close()
        raise AlderError(Reason.CORRUPT, f"the store can't be read: {error}") from error


def last_positions(path: Path) -> PositionVector:
    """Where a closed replica stood, as far as it can still be read."""
    try:
        store = Store(path, layout.FAMILIES)
    except AlderError:
        return PositionVector()
    try:
        streams = _streams(store)
    except AlderError:
        return PositionVector()
    finally:
        store.close()
    return PositionVector(
        {(record.source, record.partition): record.next_offset for record in streams}
    )


def recover(store: Store, name: str, cache: PageCache) -> Recovered:
    """Reads the store of the shard ``name`` and removes what an unfinished seal or merge
    left in it.

    Raises AlderError(CORRUPT) where what is there can't be a prefix of what was committed.
    """
    if store.get(layout.META, layout.FORMAT_KEY) is None:
        return _initialised(store)
    _check_format(store)
    manifest = layout.decode_manifest(_required(store, layout.MANIFEST_KEY))
    counters = layout.decode_counters(_required(store, layout.COUNTERS_KEY))
    schema = Schema.from_proto(
        common_pb2.Schema.FromString(store.get(layout.META, layout.SCHEMA_KEY) or b"")
    )
    streams = _streams(store)
    tail = _tail(store, manifest, counters, len(streams))
    tombstones = _tombstones(store, manifest, counters)
    _remove_orphans(store, manifest)
    segments = tuple(
        Segment(SegmentBlocks(store, name, entry.segment, cache)) for entry in manifest.segments
    )
    rebuild_to = layout.decode_positions(store.get(layout.META, layout.REBUILD_KEY) or b"")
    return Recovered(streams, counters, manifest, schema, segments, tail, tombstones, rebuild_to)


def _initialised(store: Store) -> Recovered:
    for family in layout.FAMILIES:
        if next(iter(store.scan(family)), None) is not None:
            raise AlderError(Reason.CORRUPT, "the store holds data, but not its format")
    empty = Recovered((), Counters(), Manifest(), Schema(), (), (), Tombstones())
    batch = store.batch()
    batch.put(layout.META, layout.FORMAT_KEY, layout.FORMAT)
    batch.put(layout.META, layout.COUNTERS_KEY, layout.encode_counters(empty.counters))
    batch.put(layout.META, layout.MANIFEST_KEY, layout.encode_manifest(empty.manifest))
    store.write(batch, sync=True)
    return empty


def _check_format(store: Store) -> None:
    found = _required(store, layout.FORMAT_KEY)
    if found != layout.FORMAT:
        raise AlderError(
            Reason.UNSUPPORTED,
            f"the shard is stored in format {found.decode(errors='replace')}, this program knows "
            f"format {layout.FORMAT.decode()}; run the version that wrote it",
        )


def _required(store: Store, key: bytes) -> bytes:
    value = store.get(layout.META, key)
    if value is None:
        raise AlderError(Reason.CORRUPT, f"the record {key.decode()!r} of the shard is missing")
    return value


def _streams(store: Store) -> tuple[StreamRecord, ...]:
    prefix = layout.STREAM_PREFIX
    found = list(store.scan(layout.META, prefix, prefix_end(prefix)))
    expected = [layout.stream_key(stream) for stream in range(len(found))]
    if [key for key, _ in found] != expected:
        raise AlderError(Reason.CORRUPT, "a stream's record is missing")
    return tuple(layout.decode_stream(value) for _, value in found)


def _tail(
    store: Store, manifest: Manifest, counters: Counters, streams: int
) -> tuple[TailChunk, ...]:
    tail: tuple[TailChunk, ...] = ()
    number = manifest.sealed_to_block
    for key, value in store.scan(layout.TAIL, layout.number_key(number)):
        if layout.number_of(key) != number:
            raise AlderError(Reason.CORRUPT, f"block {number} of the live tail is missing")
        block = TailBlock.decode(value)
        if block.stream >= streams:
            raise AlderError(Reason.CORRUPT, f"block {number} belongs to an unknown stream")
        if block.table.num_rows:
            tail = appended(tail, TailChunk(number, block.table), 0)
        number += 1
    if number != counters.block_next:
        raise AlderError(Reason.CORRUPT, f"block {number} of the live tail is missing")
    return tail


def _tombstones(store: Store, manifest: Manifest, counters: Counters) -> Tombstones:
    prefix = layout.TOMBSTONE_PREFIX
    found = list(store.scan(layout.META, prefix, prefix_end(prefix)))
    numbers = range(manifest.tombstone_from, counters.tombstone_next)
    expected = [layout.tombstone_key(number) for number in numbers]
    if [key for key, _ in found] != expected:
        raise AlderError(Reason.CORRUPT, "a block of tombstones is missing")
    tombstones = Tombstones()
    for _, value in found:
        tombstones = tombstones.added(layout.decode_deaths(value))
    return tombstones


def _remove_orphans(store: Store, manifest: Manifest) -> None:
    """Removes the blocks of every number that the manifest does not name."""
    ends = [*(layout.number_key(entry.segment) for entry in manifest.segments), _NUMBERS_END]
    batch = store.batch()
    begin = layout.number_key(0)
    for end in sorted(ends):
        for family in layout.SEGMENT_FAMILIES:
            if begin < end and next(iter(store.scan(family, begin, end)), None) is not None:
                batch.delete_range(family, begin, end)
        begin = end if end == _NUMBERS_END else layout.number_key(layout.number_of(end) + 1)
    store.write(batch)


_NUMBERS_END: Final = b"\xff" * 9


def stream_numbers(streams: tuple[StreamRecord, ...]) -> dict[tuple[str, int], int]:
    """The number of each partition. Raises AlderError(LIMIT) where there are too many."""
    if streams:
        births.check(len(streams) - 1, 0, 0)
    return {(record.source, record.partition): n for n, record in enumerate(streams)}
