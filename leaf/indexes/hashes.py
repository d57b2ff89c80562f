"""Hashes: for values that hardly repeat, or elements of lists, the rows of each 32-bit hash.

Such values are strings, and births where rows are not in the order of them.
Answers ``=`` and ``in``, never exactly: values may share a hash. Stored as (hash, row) pairs
sorted by hash in pages named by the hash's top bits (`leaf/format/postings.py`), so that a lookup
reads one small page, and one that finds no entry has ruled out the segment, as a Bloom filter would
have. A clustered static hash index, as in Litwin's linear hashing without the growing.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final

import numpy as np
import pyarrow as pa

from leaf import layout
from leaf.format import postings
from leaf.format.hashing import hash_values
from leaf.format.meta import HASH_PAGE, Block, Index, IndexMeta, suffix
from leaf.indexes.entries import CONTRADICTING, Checked, Entries, compared, entries_of
from leaf.indexes.kind import (
    BIRTH,
    Built,
    Candidates,
    Column,
    ColumnBlocks,
    ColumnIndex,
    Part,
    Scalar,
)
from leaf.indexes.rowset import RowSet, no_rows, of_numbers, union

PATH: Final = "hash pages"
_BITS: Final = "bits"


class Hashes:
    """Implements PartwiseKind."""

    index: Final = Index.HASHES
    tags: Final = frozenset({"string", "int", "list<string>", "list<int>", BIRTH})

    def build(self, column: Column, options: Mapping[str, str]) -> Built | None:
        """None for values of other types."""
        if column.tag not in self.tags:
            return None
        pairs = column.hashes
        if pairs is None:
            (pairs,) = self.part(column.values, 0)
        return _built(column.number, pairs)

    def part(self, values: pa.Array, first_row: int) -> tuple[postings.HashedRows]:
        """The hashes of the entries, and their rows."""
        entries = entries_of(values, first_row)
        return (postings.hashed_rows(hash_values(entries.values), entries.rows),)

    def joined(self, number: int, parts: Sequence[Part]) -> Built:
        """See PartwiseKind."""
        pairs = np.concatenate([part[0] for part in parts]).astype(np.uint64)
        pairs.sort()
        return _built(number, pairs)

    def needed(self, number: int, details: Mapping[str, int]) -> set[bytes]:
        """None: a page without an entry is not stored."""
        return set()

    def open(self, blocks: ColumnBlocks, details: Mapping[str, int]) -> ColumnIndex:
        """See IndexKind."""
        return _HashIndex(blocks, details[_BITS])


class _HashIndex:
    """Implements ColumnIndex."""

    kind: Final = Index.HASHES.value
    path: Final = PATH

    def __init__(self, blocks: ColumnBlocks, bits: int) -> None:
        self._blocks = blocks
        self._bits = bits

    def find(self, operator: str, values: Sequence[Scalar]) -> Candidates | None:
        """See ColumnIndex."""
        if operator not in {"=", "in"}:
            return None
        found = union([self._rows(wanted) for wanted in {_hash(value) for value in values}])
        return Candidates(PATH, found.count, not found.count, 0, lambda: found)

    def check(self, column: pa.Array) -> Checked:
        """See ColumnIndex."""
        blocks = (self._blocks.stored(HASH_PAGE, page) for page in range(1 << self._bits))
        what = self._blocks.what()
        pages = [
            (page, *postings.hash_entries(data, what))
            for page, data in enumerate(blocks)
            if data is not None
        ]
        kept = {kept for _, _, _, kept in pages}
        none = np.empty(0, dtype=np.int64)
        hashes = np.concatenate([none, *(page << kept | hashes for page, hashes, _, kept in pages)])
        rows = np.concatenate([none, *(rows for _, _, rows, _ in pages)]).astype(np.uint32)
        if (hashes[1:] < hashes[:-1]).any() or len(kept) > 1:
            return CONTRADICTING
        real = entries_of(column)
        wanted = hash_values(real.values).astype(np.int64)
        if kept:
            wanted >>= 32 - self._bits - kept.pop()
        return compared(Entries(pa.array(hashes), rows), Entries(pa.array(wanted), real.rows))

    def _rows(self, wanted: int) -> RowSet:
        data = self._blocks.stored(HASH_PAGE, wanted >> (32 - self._bits))
        if data is None:
            return no_rows()
        found = postings.rows_with_hash(data, wanted, self._bits, self._blocks.what())
        return of_numbers(np.unique(found).astype(np.uint32))


def _built(number: int, pairs: postings.HashedRows) -> Built:
    bits = postings.hash_bits(len(pairs))
    blocks = tuple(
        Block(layout.POSTINGS, suffix(number, HASH_PAGE, page), data)
        for page, data in postings.hash_pages(pairs, bits)
    )
    return Built(IndexMeta(Index.HASHES, {_BITS: bits}), blocks)


@lru_cache(maxsize=4096, typed=True)
def _hash(value: Scalar) -> int:
    """Every segment is asked for the same few values."""
    return int(hash_values(pa.array([value]))[0])
