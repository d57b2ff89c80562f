"""Sealing: rows in, the blocks of a segment out.

A pure function without a store, so that it can run in another process and be compared with the
rows it came from. Rows are ordered by the paths that the collection is clustered by, then by birth;
a column without a value is left out.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from alder.fieldtypes import split_column_name
from alder.indexing import AUTO, IndexSetting, wanted_kind
from leaf import layout
from leaf.births import streams_of
from leaf.cluster import key_columns, row_order
from leaf.documents import templated
from leaf.format import dictionary, postings
from leaf.format.buffers import validity
from leaf.format.hashing import hash_strings
from leaf.format.meta import (
    META_SUFFIX,
    PAGE,
    TEMPLATES,
    TERMS,
    Block,
    ColumnMeta,
    SegmentMeta,
    encode_meta,
    suffix,
)
from leaf.format.pages import PAGE_ROWS, encode_pages
from leaf.format.zonemap import Zone, zone_of, zone_of_codes
from leaf.indexes.kind import BIRTH, Column
from leaf.indexes.kinds import indexed
from leaf.rows import SYSTEM_COLUMNS

PAGE_BYTES_TARGET: Final = 24 << 10
PAGE_ROWS_MIN: Final = 16
_SYSTEM_TAGS: Final = {"_key": "string", "_doc": "json", "_time": "timestamp"}

Pages = tuple[tuple[Zone, ...], tuple[Block, ...]]
"""Zones of PAGE_ROWS rows each, and the pages of those that hold a value."""


@dataclass(frozen=True, slots=True)
class SealedSegment:
    """All blocks of a segment."""

    rows: int
    blocks: tuple[Block, ...]

    @property
    def size_bytes(self) -> int:
        """Bytes of all blocks."""
        return sum(len(block.value) for block in self.blocks)


def seal(
    tables: Sequence[pa.Table],
    cluster_by: Sequence[str] = (),
    indexes: Sequence[IndexSetting] = (),
) -> SealedSegment:
    """The segment of these rows, whose births are distinct."""
    table = pa.concat_tables(tables, promote_options="default").combine_chunks()
    births = np.asarray(table.column("_birth"))
    if cluster_by or not (np.diff(births) > 0).all():
        keys = [table.column(name) for name in key_columns(cluster_by, table.column_names)]
        table = table.take(row_order(keys, births)).combine_chunks()
    blocks: list[Block] = []
    columns: dict[str, ColumnMeta] = {}
    arrays = {
        name: column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)
        for name, column in zip(table.column_names, table.columns, strict=True)
        if column.null_count < table.num_rows
    }
    if "_doc" in arrays:
        fields = {name: arrays[name] for name in arrays if name not in SYSTEM_COLUMNS}
        documents = templated(arrays.pop("_doc"), fields)
        if documents.templates is not None:
            columns[TEMPLATES], parts = template_column(len(columns), documents.templates)
            blocks.extend(parts)
        if documents.texts is not None:
            arrays["_doc"] = documents.texts
    for name, values in arrays.items():
        tag = tag_of(name, bool(cluster_by))
        wanted = index_of(name, indexes)
        columns[name], parts = seal_column(len(columns), tag, values, wanted)
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


def seal_column(
    number: int, tag: str, values: pa.Array, wanted: str
) -> tuple[ColumnMeta, tuple[Block, ...]]:
    """A column with at least one value, with the kind of index that is wanted for its path."""
    if tag != "string":
        return plain_column(number, tag, values, wanted)
    pairs = _hashes_if_distinct(values)
    encoded = None if pairs is not None else dictionary.encode_if_it_pays(values)
    return (
        plain_column(number, tag, values, wanted, pairs)
        if encoded is None
        else coded_column(number, encoded, wanted)
    )


def _hashes_if_distinct(values: pa.Array) -> postings.HashedRows | None:
    """The hashes of strings that can't have a dictionary; None where they may.

    Strings are at least as many as their hashes. Hashes are looked at only where a sample hardly
    repeats, because otherwise the dictionary is the cheaper test.
    """
    present = values.drop_null()
    if not dictionary.repeats_little(present):
        return None
    rows = np.flatnonzero(validity(values)).astype(np.uint32)
    pairs = postings.hashed_rows(hash_strings(present), rows)
    return None if dictionary.pays(len(pairs), postings.distinct_hashes(pairs)) else pairs


def coded_column(
    number: int, encoded: dictionary.Encoded, wanted: str
) -> tuple[ColumnMeta, tuple[Block, ...]]:
    """A column of strings as codes into its terms."""
    terms = encoded.terms
    zones, pages = _pages(
        number, encoded.codes, PAGE_ROWS, 0, lambda zone: zone_of_codes(zone, terms)
    )
    indexes, blocks = indexed(Column(number, "string", encoded), wanted)
    meta = ColumnMeta(number, PAGE_ROWS, PAGE_ROWS, True, indexes, zones)
    return meta, (_terms_block(number, terms), *blocks, *pages)


def template_column(
    number: int, encoded: dictionary.Encoded
) -> tuple[ColumnMeta, tuple[Block, ...]]:
    """The templates of documents, by which nobody looks for rows."""
    zones, pages = _pages(number, encoded.codes, PAGE_ROWS, 0, _zone_without_bounds)
    meta = ColumnMeta(number, PAGE_ROWS, PAGE_ROWS, True, (), zones)
    return meta, (_terms_block(number, encoded.terms), *pages)


def plain_column(
    number: int,
    tag: str,
    values: pa.Array,
    wanted: str,
    hashes: postings.HashedRows | None = None,
) -> tuple[ColumnMeta, tuple[Block, ...]]:
    """A column as its values; ``hashes`` of strings where they are known."""
    page_rows = page_rows_of(values)
    zones, pages = plain_pages(number, tag, values, page_rows)
    indexes, blocks = indexed(Column(number, tag, values, hashes), wanted)
    return ColumnMeta(number, page_rows, PAGE_ROWS, False, indexes, zones), (*blocks, *pages)


def plain_pages(
    number: int, tag: str, values: pa.Array, page_rows: int, first_row: int = 0
) -> Pages:
    """The pages of values from row ``first_row`` on, which begins a zone, kept as they are."""
    zone_of_rows = _zone_without_bounds if tag == "json" else zone_of
    return _pages(number, values, page_rows, first_row, zone_of_rows)


def _terms_block(number: int, terms: pa.Array) -> Block:
    return Block(layout.COLUMNS, suffix(number, TERMS), dictionary.encode_terms(terms))


def index_of(name: str, indexes: Iterable[IndexSetting]) -> str:
    """The kind of index that is wanted for a column."""
    if name in SYSTEM_COLUMNS:
        return AUTO
    return wanted_kind(indexes, split_column_name(name)[1])


def tag_of(name: str, clustered: bool = False) -> str:
    """The type tag of a column; keys are strings to be found, documents are not, nor log times.

    Births have one of their own where rows are not ordered by them.
    """
    if name == "_birth" and clustered:
        return BIRTH
    if name in SYSTEM_COLUMNS:
        return _SYSTEM_TAGS.get(name, "system")
    return split_column_name(name)[0]


def _pages(
    number: int,
    stored: pa.Array,
    page_rows: int,
    first_row: int,
    zone_of_rows: Callable[[pa.Array], Zone],
) -> Pages:
    zones, blocks = [], []
    for begin in range(0, len(stored), PAGE_ROWS):
        rows = stored.slice(begin, PAGE_ROWS)
        zone = zone_of_rows(rows)
        zones.append(zone)
        if zone.empty:
            continue
        first_page = (first_row + begin) // page_rows
        for page, data in enumerate(encode_pages(rows, page_rows), first_page):
            blocks.append(Block(layout.COLUMNS, suffix(number, PAGE, page), data))
    return tuple(zones), tuple(blocks)


def page_rows_of(values: pa.Array) -> int:
    """Long values get fewer to a page, so that reading one row stays cheap."""
    rows = PAGE_ROWS
    if pa.types.is_primitive(values.type):
        return rows
    bytes_per_row = values.nbytes / len(values)
    while rows > PAGE_ROWS_MIN and rows * bytes_per_row > PAGE_BYTES_TARGET:
        rows //= 2
    return rows


def _zone_without_bounds(values: pa.Array) -> Zone:
    return Zone(len(values), values.null_count)
