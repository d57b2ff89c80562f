"""What every kind of index has: how it is built, and what it is asked when it is read.

A kind is a stateless object. It makes blocks of a column's values, and opens what it has made as a
:class:`ColumnIndex`, which sees nothing but its own blocks through :class:`ColumnBlocks`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from leaf.format.dictionary import Encoded
from leaf.format.meta import Block, ColumnMeta, Index, IndexMeta
from leaf.format.postings import HashedRows
from leaf.indexes.entries import Checked, Entries, entries_of
from leaf.indexes.rowset import RowSet

T = TypeVar("T")
Scalar = str | int | float
Part = tuple[NDArray[np.generic], ...]
"""What is known of a run of rows of a column; its arrays are the kind's own."""
BIRTH: Final = "birth"
"""The tag of births in a segment whose rows are not ordered by them."""
NO_OPTIONS: Final[Mapping[str, str]] = {}
ALWAYS: Final = "always"
"""The option of an index that somebody has asked for: it is built also where it hardly pays."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column to be indexed, with at least one value.

    ``kept`` is as the column is kept: its values, or codes into its terms. ``hashes`` are those of
    the values that are there, with their rows, where somebody has them already.
    """

    number: int
    tag: str
    kept: pa.Array | Encoded
    hashes: HashedRows | None = None

    @property
    def encoded(self) -> Encoded | None:
        """Terms and codes, where the column is kept so."""
        return self.kept if isinstance(self.kept, Encoded) else None

    @property
    def values(self) -> pa.Array:
        """The values themselves."""
        kept = self.kept
        return kept.terms.take(kept.codes) if isinstance(kept, Encoded) else kept

    @property
    def entries(self) -> Entries:
        """Its values, or the elements of them, and their rows."""
        return entries_of(self.values)


@dataclass(frozen=True, slots=True)
class Built:
    """An index as its segment describes it, and its blocks."""

    meta: IndexMeta
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Candidates:
    """Rows that can meet a condition: at most ``count``, and no others.

    ``exact``: precisely ``count``, and each meets it, so that nothing need be checked again.
    ``unread`` rows have yet to be read or sorted for ``rows`` to give them; it may raise CORRUPT.
    """

    path: str
    count: int
    exact: bool
    unread: int
    rows: Callable[[], RowSet]


class ColumnBlocks(Protocol):
    """The stored blocks of one column of a segment. Everything raises AlderError(CORRUPT)."""

    @property
    def name(self) -> str:
        """The stored column's name."""
        ...

    @property
    def meta(self) -> ColumnMeta:
        """The column's description."""
        ...

    @property
    def rows(self) -> int:
        """Rows of the segment."""
        ...

    def terms(self) -> pa.Array:
        """The terms of its dictionary, ascending."""
        ...

    def stored(self, part: int, page: int = 0) -> bytes | None:
        """A block of the index; None where there is none."""
        ...

    def decoded(
        self, part: int, page: int, load: Callable[[bytes, str], T], size_bytes: Callable[[T], int]
    ) -> T:
        """A block that must be there, from the cache or by ``load``.

        ``load`` gets the block and a name of it for errors.
        """
        ...

    def what(self) -> str:
        """The index's name in errors."""
        ...


class ColumnIndex(Protocol):
    """An index of one column of a segment, as readers use it."""

    @property
    def kind(self) -> str:
        """Its kind as queries take it, of `alder.indexing.ACCESS_KINDS`."""
        ...

    @property
    def path(self) -> str:
        """The name of its access path, as users read it."""
        ...

    def find(self, operator: str, values: Sequence[Scalar]) -> Candidates | None:
        """The candidates of a condition; None where the index knows nothing about it.

        The values are of the column's kind: booleans and times are integers.
        """
        ...

    def check(self, column: pa.Array) -> Checked:
        """Compares every entry with the column, all of it. Raises CORRUPT."""
        ...


class IndexKind(Protocol):
    """One kind of index."""

    @property
    def index(self) -> Index:
        """Its name in descriptions."""
        ...

    def build(self, column: Column, options: Mapping[str, str]) -> Built | None:
        """The index of a column; None where it can't index such values."""
        ...

    def needed(self, number: int, details: Mapping[str, int]) -> set[bytes]:
        """The suffixes of the blocks without which it can't be read, for column ``number``."""
        ...

    def open(self, blocks: ColumnBlocks, details: Mapping[str, int]) -> ColumnIndex:
        """What was built, for readers. Reads nothing yet."""
        ...


class PartwiseKind(IndexKind, Protocol):
    """A kind that can be built from runs of rows, for columns too large to be decoded at once."""

    @property
    def tags(self) -> frozenset[str]:
        """The types of columns that it can index."""
        ...

    def part(self, values: pa.Array, first_row: int) -> Part:
        """What is to be known of a run of rows; it travels between processes."""
        ...

    def joined(self, number: int, parts: Sequence[Part]) -> Built:
        """The index of a column from all of its runs."""
        ...
