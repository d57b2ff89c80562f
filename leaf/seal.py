"""Sealing: rows in, the blocks of a segment out.

A pure function without a store, so that it can run in another process and be compared with the
rows it came from. Rows are ordered by the paths that the collection is clustered by, then by birth;
a column without a value is left out.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from alder.fieldtypes import split_column_name
from leaf import layout
from leaf.births import streams_of
from leaf.cluster import key_columns, row_order
from leaf.format import dictionary
from leaf.format.hashing import hash_strings
from leaf.format.meta import (
    META_SUFFIX,
    PAGE,
    TERMS,
    Block,
    ColumnMeta,
    SegmentMeta,
    encode_meta,
    suffix,
)
from leaf.format.pages import PAGE_ROWS, encode_page
from leaf.format.zonemap import Zone, zone_of, zone_of_codes
from leaf.indexes.kind import BIRTH, Column
from leaf.indexes.kinds import indexed
from leaf.rows import SYSTEM_COLUMNS

PAGE_BYTES_TARGET: Final = 1 << 20
PAGE_ROWS_MIN: Final = 256
SAMPLE_ROWS: Final = 4096


Pages = tuple[tuple[Zone, ...], tuple[Block, ...]]
"""The zones of all pages, and the pages that hold a value."""


@dataclass(frozen=True, slots=True)
class SealedSegment:
    """All blocks of a segment."""

    rows: int
    blocks: tuple[Block, ...]

    @property
    def size_bytes(self) -> int:
        """Bytes of all blocks."""
        return sum(len(block.value) for block in self.blocks)


def seal(tables: Sequence[pa.Table], cluster_by: Sequence[str] = ()) -> SealedSegment:
    """The segment of these rows, whose births are distinct."""
    table = pa.concat_tables(tables, promote_options="default").combine_chunks()
    births = np.asarray(table.column("_birth"))
    if cluster_by or not (np.diff(births) > 0).all():
        keys = [table.column(name) for name in key_columns(cluster_by, table.column_names)]
        table = table.take(row_order(keys, births)).combine_chunks()
    blocks: list[Block] = []
    columns: dict[str, ColumnMeta] = {}
    for name in table.column_names:
        column = table.column(name)
        if column.null_count == table.num_rows:
            continue
        values = column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)
        tag = tag_of(name, bool(cluster_by))
        columns[name], parts = seal_column(len(columns), tag, values)
        blocks.extend(parts)
    meta = SegmentMeta(table.num_rows, last_births(births), columns, tuple(cluster_by))
    blocks.append(meta_block(meta))
    return SealedSegment(table.num_rows, tuple(blocks))


def last_births(births: NDArray[np.int64]) -> tuple[int, ...]:
    """The largest birth of each stream."""
    births = np.sort(births)
    last = np.diff(streams_of(births), append=-1) != 0
    return tuple(births[last].tolist())


def meta_block(meta: SegmentMeta) -> Block:
    """The description of a segment, without which there is none."""
    return Block(layout.COLUMNS, META_SUFFIX, encode_meta(meta))


def seal_column(number: int, tag: str, values: pa.Array) -> tuple[ColumnMeta, tuple[Block, ...]]:
    """A column with at least one value, with the indexes that suit its values."""
    hashes = None
    if tag == "string":
        hashes = _hashes_if_distinct(values)
        encoded = None if hashes is not None else dictionary.encode_if_it_pays(values)
        if encoded is not None:
            return coded_column(number, encoded)
    return plain_column(number, tag, values, hashes)


def _hashes_if_distinct(values: pa.Array) -> NDArray[np.uint32] | None:
    """The hashes of strings that can't have a dictionary; None where they may.

    Strings are at least as many as their hashes. Hashes are looked at only where a sample hardly
    repeats, because otherwise the dictionary is the cheaper test.
    """
    sample = values.slice(0, SAMPLE_ROWS).drop_null()
    if 2 * pc.count_distinct(sample).as_py() <= len(sample):
        return None
    hashes = hash_strings(values.drop_null())
    return None if dictionary.pays(len(hashes), len(np.unique(hashes))) else hashes


def coded_column(number: int, encoded: dictionary.Encoded) -> tuple[ColumnMeta, tuple[Block, ...]]:
    """A column of strings as codes into its terms."""
    page_rows = page_rows_of(encoded.codes)
    zones, pages = coded_pages(number, encoded, page_rows)
    terms = Block(layout.COLUMNS, suffix(number, TERMS), dictionary.encode_terms(encoded.terms))
    indexes, blocks = indexed(Column(number, "string", encoded))
    return ColumnMeta(number, page_rows, True, indexes, zones), (terms, *blocks, *pages)


def plain_column(
    number: int, tag: str, values: pa.Array, hashes: NDArray[np.uint32] | None = None
) -> tuple[ColumnMeta, tuple[Block, ...]]:
    """A column as its values; ``hashes`` of strings where they are known."""
    page_rows = page_rows_of(values)
    zones, pages = plain_pages(number, tag, values, page_rows)
    indexes, blocks = indexed(Column(number, tag, values, hashes))
    return ColumnMeta(number, page_rows, False, indexes, zones), (*blocks, *pages)


def plain_pages(
    number: int, tag: str, values: pa.Array, page_rows: int, first_page: int = 0
) -> Pages:
    """The pages of values from page ``first_page`` on, kept as they are."""
    return _pages(number, values, page_rows, first_page, lambda page: _zone(tag, page))


def coded_pages(number: int, encoded: dictionary.Encoded, page_rows: int) -> Pages:
    """The pages of a coded column."""
    terms = encoded.terms
    return _pages(number, encoded.codes, page_rows, 0, lambda page: zone_of_codes(page, terms))


def tag_of(name: str, clustered: bool = False) -> str:
    """The type tag of a column; keys are strings to be found, documents are not.

    Births have one of their own where rows are not ordered by them.
    """
    if name == "_birth" and clustered:
        return BIRTH
    if name in SYSTEM_COLUMNS:
        return "string" if name == "_key" else "json" if name == "_doc" else "system"
    return split_column_name(name)[0]


def _pages(
    number: int,
    stored: pa.Array,
    page_rows: int,
    first_page: int,
    zone_of_page: Callable[[pa.Array], Zone],
) -> Pages:
    zones, blocks = [], []
    for page, begin in enumerate(range(0, len(stored), page_rows), first_page):
        values = stored.slice(begin, page_rows)
        zone = zone_of_page(values)
        zones.append(zone)
        if not zone.empty:
            data = encode_page(values)
            blocks.append(Block(layout.COLUMNS, suffix(number, PAGE, page), data))
    return tuple(zones), tuple(blocks)


def page_rows_of(values: pa.Array) -> int:
    """Large values get fewer to a page, so that reading one row stays cheap."""
    rows = PAGE_ROWS
    bytes_per_row = values.nbytes / len(values)
    while rows > PAGE_ROWS_MIN and rows * bytes_per_row > PAGE_BYTES_TARGET:
        rows //= 2
    return rows


def _zone(tag: str, values: pa.Array) -> Zone:
    if tag == "json":
        return Zone(len(values), values.null_count)
    return zone_of(values)
