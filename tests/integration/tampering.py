"""Damages the store of a stopped shard: so that checksums tell, or so that nothing of it does."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from alder.rocks import Store
from leaf import births, layout
from leaf.blocks import SegmentBlocks
from leaf.cache import PageCache
from leaf.format.meta import META_SUFFIX, TEMPLATES, decode_meta
from leaf.layout import SegmentEntry
from leaf.seal import seal
from leaf.segment import Segment

BLOB_BYTES_MIN = 4_096


def flip_a_byte(shard: Path) -> str:
    """Flips one byte of a stored page, in the file that the store keeps it in; its name."""
    store = Store(shard, layout.FAMILIES)
    pages = [value for key, value in store.scan(layout.COLUMNS) if not key.endswith(META_SUFFIX)]
    store.close()
    page = max(pages, key=len)
    assert len(page) >= BLOB_BYTES_MIN, "too small for a file of its own kind"
    for path in sorted(shard.glob("*.blob")):
        data = bytearray(path.read_bytes())
        place = data.find(page)
        if place >= 0:
            data[place + len(page) // 2] ^= 0x10
            path.write_bytes(data)
            return path.name
    raise AssertionError("the page is in no file")


def rewrite_segment(shard: Path, change: Callable[[pa.Table], pa.Table]) -> int:
    """Seals the largest segment again with other rows, so that it is sound; its number."""
    store = Store(shard, layout.FAMILIES)
    manifest = layout.decode_manifest(store.get(layout.META, layout.MANIFEST_KEY) or b"")
    entry = max(manifest.segments, key=lambda one: one.rows)
    prefix = layout.number_key(entry.segment)
    meta = decode_meta(store.get(layout.COLUMNS, prefix + META_SUFFIX) or b"", "the segment")
    segment = Segment(SegmentBlocks(store, "shard", entry.segment, PageCache(0)))
    names = [name for name in {**meta.columns, "_doc": None} if name != TEMPLATES]
    table = pa.table({name: segment.column(name, None) for name in names})
    sealed = seal([change(table)], meta.cluster_by)
    batch = store.batch()
    for family in layout.SEGMENT_FAMILIES:
        batch.delete_range(family, prefix, layout.number_key(entry.segment + 1))
    for block in sealed.blocks:
        batch.put(block.family, prefix + block.suffix, block.value)
    entries = [
        SegmentEntry(one.segment, sealed.rows, sealed.size_bytes) if one == entry else one
        for one in manifest.segments
    ]
    manifest = replace(manifest, segments=tuple(entries))
    batch.put(layout.META, layout.MANIFEST_KEY, layout.encode_manifest(manifest))
    store.write(batch, sync=True)
    store.close()
    return entry.segment


def without_row(table: pa.Table, row: int) -> pa.Table:
    """All rows but one."""
    return table.filter(pa.array(np.arange(table.num_rows) != row))


def with_document(
    table: pa.Table, row: int, column: str, before: object, after: object
) -> pa.Table:
    """One document has another value, in its text and in its column."""
    documents = table.column("_doc").to_pylist()
    documents[row] = documents[row].replace(str(before), str(after))
    values = table.column(column).to_pylist()
    assert values[row] == before
    values[row] = after
    for name, changed in (("_doc", documents), (column, values)):
        place = table.column_names.index(name)
        table = table.set_column(place, name, pa.array(changed, table.schema.field(name).type))
    return table


def offset_of(table: pa.Table, row: int) -> int:
    """The offset at which a row was born."""
    return int(births.places_of(table.column("_birth").to_numpy())[row])
