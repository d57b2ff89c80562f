"""What a closed shard replica consists of, for people who look for where its bytes are.

Reads every key once, changes nothing, and does not need the catalog: a copy of the directory will
do.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from alder.errors import AlderError, Reason
from alder.positions import PositionVector
from alder.rocks import Store, prefix_end
from leaf import layout
from leaf.blocks import SegmentBlocks
from leaf.cache import PageCache
from leaf.digest import to_hex
from leaf.format import dictionary
from leaf.format.meta import META_SUFFIX, TERMS, SegmentMeta, decode_meta, suffix
from leaf.layout import Manifest, SegmentEntry
from leaf.segment import Segment
from leaf.visibility import Births, is_member

COLUMN_BYTES: Final = 4
"""A block's key has its column's number after that of its segment."""


@dataclass(frozen=True, slots=True)
class FamilySummary:
    """Keys of a column family, and the bytes of keys and values as they are written."""

    family: str
    keys: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class SegmentSummary:
    """A segment; times are microseconds since 1970 UTC, None where no row has one.

    ``dead`` counts the rows that died, whether or not an earlier cut may still ask for them.
    """

    segment: int
    rows: int
    dead: int
    cluster_by: tuple[str, ...]
    size_bytes: int
    columns: int
    time_low_us: int | None
    time_high_us: int | None


@dataclass(frozen=True, slots=True)
class FieldSummary:
    """A stored column over all segments; ``terms`` counts a term once per segment that has it."""

    column: str
    segments: int
    values: int
    columns_bytes: int
    postings_bytes: int
    terms: int
    terms_bytes: int
    indexes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ShardSummary:
    """A replica; ``disk_bytes`` counts files, which may hold what is deleted and not yet freed.

    ``rows_late`` were older than what is retained when they came.
    """

    format: str
    digest: str
    rows_born: int
    rows_late: int
    tombstones: int
    tombstone_blocks: int
    quarantined: int
    tail_blocks: int
    disk_bytes: int
    positions: PositionVector
    families: tuple[FamilySummary, ...]
    segments: tuple[SegmentSummary, ...]
    fields: tuple[FieldSummary, ...]


def inspect_store(path: Path) -> ShardSummary:
    """What the directory of a shard replica holds.

    Raises AlderError: INVALID_ARGUMENT where it is no replica's, UNAVAILABLE where a leaf has it
    open, UNSUPPORTED for another format, CORRUPT.
    """
    if not (path / "CURRENT").is_file():
        raise AlderError(
            Reason.INVALID_ARGUMENT,
            f"{path} is not the directory of a shard; name one like DATA/leaf-0/1-events/0",
        )
    store = Store(path, layout.FAMILIES)
    try:
        return _summary(store)
    finally:
        store.close()


def _summary(store: Store) -> ShardSummary:
    found = store.get(layout.META, layout.FORMAT_KEY)
    if found != layout.FORMAT:
        raise AlderError(
            Reason.UNSUPPORTED,
            f"the shard is stored in format {(found or b'unknown').decode(errors='replace')}, this "
            f"program knows format {layout.FORMAT.decode()}; use the version that wrote it",
        )
    manifest = layout.decode_manifest(_record(store, layout.MANIFEST_KEY))
    counters = layout.decode_counters(_record(store, layout.COUNTERS_KEY))
    prefix = layout.STREAM_PREFIX
    streams = [
        layout.decode_stream(value)
        for _, value in store.scan(layout.META, prefix, prefix_end(prefix))
    ]
    prefix = layout.TOMBSTONE_PREFIX
    deaths = [
        layout.decode_deaths(value)
        for _, value in store.scan(layout.META, prefix, prefix_end(prefix))
    ]
    dead = np.unique(np.concatenate([np.empty(0, np.int64), *(d.victims for d in deaths)]))
    metas = {entry.segment: _meta(store, entry) for entry in manifest.segments}
    return ShardSummary(
        format=layout.FORMAT.decode(),
        digest=to_hex(counters.digest),
        rows_born=counters.rows_born,
        rows_late=counters.rows_late,
        tombstones=sum(map(len, deaths)),
        tombstone_blocks=counters.tombstone_next - manifest.tombstone_from,
        quarantined=counters.quarantined,
        tail_blocks=counters.block_next - manifest.sealed_to_block,
        disk_bytes=store.size_bytes(),
        positions=PositionVector({(s.source, s.partition): s.next_offset for s in streams}),
        families=tuple(_family(store, family) for family in layout.FAMILIES),
        segments=tuple(_segment(store, e, metas[e.segment], dead) for e in manifest.segments),
        fields=_fields(store, manifest, metas),
    )


def _record(store: Store, key: bytes) -> bytes:
    value = store.get(layout.META, key)
    if value is None:
        raise AlderError(Reason.CORRUPT, f"the record {key.decode()!r} of the shard is missing")
    return value


def _meta(store: Store, entry: SegmentEntry) -> SegmentMeta:
    data = store.get(layout.COLUMNS, layout.number_key(entry.segment) + META_SUFFIX)
    return decode_meta(data or b"", f"the description of segment {entry.segment}")


def _family(store: Store, family: str) -> FamilySummary:
    keys = size_bytes = 0
    for key, value in store.scan(family):
        keys, size_bytes = keys + 1, size_bytes + len(key) + len(value)
    return FamilySummary(family, keys, size_bytes)


def _segment(store: Store, entry: SegmentEntry, meta: SegmentMeta, dead: Births) -> SegmentSummary:
    """``dead`` has the births of dead rows, ascending."""
    blocks = SegmentBlocks(store, "inspected", entry.segment, PageCache(0))
    births = Segment(blocks).births()
    zones = meta.columns["_time"].zones if "_time" in meta.columns else ()
    lows = [zone.low for zone in zones if isinstance(zone.low, int)]
    highs = [zone.high for zone in zones if isinstance(zone.high, int)]
    return SegmentSummary(
        segment=entry.segment,
        rows=entry.rows,
        dead=int(is_member(births, dead).sum()) if len(dead) else 0,
        cluster_by=meta.cluster_by,
        size_bytes=entry.size_bytes,
        columns=len(meta.columns),
        time_low_us=min(lows, default=None),
        time_high_us=max(highs, default=None),
    )


def _fields(
    store: Store, manifest: Manifest, metas: Mapping[int, SegmentMeta]
) -> tuple[FieldSummary, ...]:
    """The largest first."""
    sizes: Counter[tuple[str, str]] = Counter()
    terms: Counter[str] = Counter()
    for entry in manifest.segments:
        prefix = layout.number_key(entry.segment)
        columns = metas[entry.segment].columns
        names = {meta.number: name for name, meta in columns.items()}
        terms_keys = {suffix(meta.number, TERMS) for meta in columns.values()}
        for family in layout.SEGMENT_FAMILIES:
            for key, value in store.scan(family, prefix, prefix_end(prefix)):
                block = key[len(prefix) :]
                name = names.get(int.from_bytes(block[:COLUMN_BYTES], "big"))
                if name is None or block == META_SUFFIX:
                    continue
                sizes[name, family] += len(key) + len(value)
                if block in terms_keys:
                    sizes[name, "terms"] += len(value)
                    terms[name] += len(dictionary.decode_terms(value, f"the terms of {name!r}"))
    found = [
        FieldSummary(
            column=name,
            segments=sum(name in meta.columns for meta in metas.values()),
            values=sum(_values(meta, name) for meta in metas.values()),
            columns_bytes=sizes[name, layout.COLUMNS],
            postings_bytes=sizes[name, layout.POSTINGS],
            terms=terms[name],
            terms_bytes=sizes[name, "terms"],
            indexes=tuple(
                sorted(
                    {
                        str(index.kind)
                        for meta in metas.values()
                        if name in meta.columns
                        for index in meta.columns[name].indexes
                    }
                )
            ),
        )
        for name in {name for meta in metas.values() for name in meta.columns}
    ]
    found.sort(key=lambda field: (-field.columns_bytes - field.postings_bytes, field.column))
    return tuple(found)


def _values(meta: SegmentMeta, name: str) -> int:
    column = meta.columns.get(name)
    return 0 if column is None else column.values
