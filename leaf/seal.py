"""Sealing: rows in, the blocks of a segment out.

A pure function without a store, so that it can run in another process and be compared with the
rows it came from. Rows are sorted by birth; a column without a value is left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from alder.arrow import from_bytes
from alder.fieldtypes import split_column_name
from leaf import layout
from leaf.births import streams_of
from leaf.format import dictionary, postings
from leaf.format.hashing import hash_strings
from leaf.format.meta import (
    HASH_PAGE,
    META_SUFFIX,
    PAGE,
    TERM_POSTINGS,
    TERMS,
    ColumnMeta,
    Index,
    SegmentMeta,
    encode_meta,
    suffix,
)
from leaf.format.pages import PAGE_ROWS, encode_page
from leaf.format.zonemap import Zone, zone_of
from leaf.rows import SYSTEM_COLUMNS

PAGE_BYTES_TARGET: Final = 1 << 20
PAGE_ROWS_MIN: Final = 256
_INDEXED_TAGS: Final = frozenset({"string", "int", "bool"})


@dataclass(frozen=True, slots=True)
class Block:
    """A value to be stored under the segment's number followed by ``suffix``."""

    family: str
    suffix: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class SealedSegment:
    """All blocks of a segment."""

    rows: int
    blocks: tuple[Block, ...]

    @property
    def size_bytes(self) -> int:
        """Bytes of all blocks."""
        return sum(len(block.value) for block in self.blocks)


def seal_streams(parts: Sequence[bytes]) -> SealedSegment:
    """Seals tables given as Arrow streams: what a worker process is asked for."""
    return seal([from_bytes(part) for part in parts])


def seal(tables: Sequence[pa.Table]) -> SealedSegment:
    """The segment of these rows, whose births are distinct."""
    table = pa.concat_tables(tables, promote_options="default").combine_chunks()
    births = np.asarray(table.column("_birth"))
    if not (np.diff(births) > 0).all():
        table = table.take(pa.array(np.argsort(births, kind="stable"))).combine_chunks()
        births = np.asarray(table.column("_birth"))
    blocks: list[Block] = []
    columns: dict[str, ColumnMeta] = {}
    for name in table.column_names:
        column = table.column(name)
        if column.null_count == table.num_rows:
            continue
        values = column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)
        columns[name], parts = _seal_column(len(columns), name, values)
        blocks.extend(parts)
    changes = np.flatnonzero(np.diff(streams_of(births)))
    last_births = births[[*changes.tolist(), len(births) - 1]]
    meta = SegmentMeta(table.num_rows, tuple(last_births.tolist()), columns)
    blocks.append(Block(layout.COLUMNS, META_SUFFIX, encode_meta(meta)))
    return SealedSegment(table.num_rows, tuple(blocks))


def _seal_column(number: int, name: str, values: pa.Array) -> tuple[ColumnMeta, list[Block]]:
    tag = _tag_of(name)
    blocks: list[Block] = []
    index, bits, coded = Index.NONE, 0, False
    stored = values
    if tag in _INDEXED_TAGS:
        terms = dictionary.encode(values.cast(pa.int64()) if tag == "bool" else values)
        if dictionary.pays(len(values) - values.null_count, len(terms.terms)):
            index, coded = Index.TERMS, tag == "string"
            stored = terms.codes if coded else values
            blocks = _term_blocks(number, terms)
        elif tag == "string":
            index = Index.HASHES
            bits = postings.hash_bits(len(values) - values.null_count)
            blocks = _hash_blocks(number, values, bits)
    page_rows = _page_rows(stored)
    zones = []
    for page, begin in enumerate(range(0, len(values), page_rows)):
        zone = _zone(tag, values.slice(begin, page_rows))
        zones.append(zone)
        if not zone.empty:
            data = encode_page(stored.slice(begin, page_rows))
            blocks.append(Block(layout.COLUMNS, suffix(number, PAGE, page), data))
    return ColumnMeta(number, page_rows, coded, index, bits, tuple(zones)), blocks


def _tag_of(name: str) -> str:
    """The type tag of a column; keys are strings to be found, documents are not."""
    if name in SYSTEM_COLUMNS:
        return "string" if name == "_key" else "json" if name == "_doc" else "system"
    return split_column_name(name)[0]


def _term_blocks(number: int, encoded: dictionary.Encoded) -> list[Block]:
    rows = postings.term_postings(encoded.codes, len(encoded.terms))
    terms = dictionary.encode_terms(encoded.terms)
    return [
        Block(layout.COLUMNS, suffix(number, TERMS), terms),
        Block(layout.POSTINGS, suffix(number, TERM_POSTINGS), rows.encode()),
    ]


def _hash_blocks(number: int, values: pa.Array, bits: int) -> list[Block]:
    rows = np.flatnonzero(np.asarray(values.is_valid())).astype(np.uint32)
    pages = postings.hash_pages(hash_strings(values.drop_null()), rows, bits)
    return [Block(layout.POSTINGS, suffix(number, HASH_PAGE, page), data) for page, data in pages]


def _page_rows(values: pa.Array) -> int:
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
