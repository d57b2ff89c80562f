"""Hashes: for strings that hardly repeat, and births out of order, the rows of each 32-bit hash.

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
from numpy.typing import NDArray

from leaf import layout
from leaf.format import postings
from leaf.format.hashing import hash_values
from leaf.format.meta import HASH_PAGE, Block, Index, IndexMeta, suffix
from leaf.indexes.kind import (
    BIRTH,
    Built,
    Candidates,
    Checked,
    Column,
    ColumnBlocks,
    ColumnIndex,
    Part,
    Scalar,
    entries_fault,
)
from leaf.indexes.rowset import RowSet, no_rows, of_numbers, union

PATH: Final = "hash pages"
_BITS: Final = "bits"


class Hashes:
    """Implements PartwiseKind."""

    index: Final = Index.HASHES

    def build(self, column: Column, options: Mapping[str, str]) -> Built | None:
        """None for values that are neither strings nor births."""
        if column.tag not in {"string", BIRTH}:
            return None
        values, hashes = column.values, column.hashes
        if hashes is None:
            hashes = hash_values(values.drop_null())
        return self.joined(column.number, [(hashes, _rows_with_value(values, 0))])

    def part(self, values: pa.Array, first_row: int) -> Part:
        """The hashes of the rows that have a value, and these rows."""
        return hash_values(values.drop_null()), _rows_with_value(values, first_row)

    def joined(self, number: int, parts: Sequence[Part]) -> Built:
        """See PartwiseKind."""
        hashes, rows = (np.concatenate([part[place] for part in parts]) for place in (0, 1))
        bits = postings.hash_bits(len(rows))
        blocks = tuple(
            Block(layout.POSTINGS, suffix(number, HASH_PAGE, page), data)
            for page, data in postings.hash_pages(hashes, rows, bits)
        )
        return Built(IndexMeta(Index.HASHES, {_BITS: bits}), blocks)

    def needed(self, number: int, details: Mapping[str, int]) -> set[bytes]:
        """None: a page without an entry is not stored."""
        return set()

    def open(self, blocks: ColumnBlocks, details: Mapping[str, int]) -> ColumnIndex:
        """See IndexKind."""
        return _HashIndex(blocks, details[_BITS])


class _HashIndex:
    """Implements ColumnIndex."""

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
        pages = [postings.hash_entries(data, what) for data in blocks if data is not None]
        fault = Checked(0, "its entries contradict each other")
        if not pages:
            return fault
        hashes, rows = (np.concatenate([page[part] for page in pages]) for part in (0, 1))
        if (hashes[1:] < hashes[:-1]).any():
            return fault
        wanted = np.zeros(len(column), dtype=np.uint32)
        wanted[np.asarray(column.is_valid())] = hash_values(column.drop_null())
        return entries_fault(pa.array(hashes), rows.astype(np.int64), column, pa.array(wanted))

    def _rows(self, wanted: int) -> RowSet:
        data = self._blocks.stored(HASH_PAGE, wanted >> (32 - self._bits))
        if data is None:
            return no_rows()
        found = postings.rows_with_hash(data, wanted, self._blocks.what())
        return of_numbers(found.astype(np.uint32))


def _rows_with_value(values: pa.Array, first_row: int) -> NDArray[np.uint32]:
    rows = np.flatnonzero(np.asarray(values.is_valid())) + first_row
    return rows.astype(np.uint32)


@lru_cache(maxsize=4096)
def _hash(value: Scalar) -> int:
    """Every segment is asked for the same few values."""
    return int(hash_values(pa.array([value]))[0])
