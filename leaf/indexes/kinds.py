"""All kinds of index, and which ones a column gets.

A column gets the first kind of :data:`BY_DEFAULT` that can index its values.
"""

from collections.abc import Mapping
from typing import Final

from leaf.format.meta import Block, Index, IndexMeta
from leaf.indexes.hashes import Hashes
from leaf.indexes.kind import (
    BIRTH,
    NO_OPTIONS,
    Column,
    ColumnBlocks,
    ColumnIndex,
    IndexKind,
    PartwiseKind,
)
from leaf.indexes.terms import Terms

_HASHES: Final = Hashes()
KINDS: Final[Mapping[Index, IndexKind]] = {kind.index: kind for kind in (Terms(), _HASHES)}
BY_DEFAULT: Final = (Index.TERMS, Index.HASHES)

_INDEXED: Final = frozenset({"string", "int", "bool"})
Indexed = tuple[tuple[IndexMeta, ...], tuple[Block, ...]]
"""The indexes of a column as its segment describes them, and their blocks."""


def indexed(column: Column) -> Indexed:
    """The indexes of a column of which all values are at hand."""
    for index in BY_DEFAULT:
        built = KINDS[index].build(column, NO_OPTIONS)
        if built is not None:
            return (built.meta,), built.blocks
    return (), ()


def has_index(tag: str) -> bool:
    """True if columns of this type may have an index."""
    return tag in _INDEXED


def partwise(tag: str) -> PartwiseKind | None:
    """The kind that indexes a column of this type in runs of rows, if there is one."""
    return _HASHES if tag in {"string", BIRTH} else None


def opened(index: IndexMeta, blocks: ColumnBlocks) -> ColumnIndex:
    """A stored index, for readers. Reads nothing yet."""
    return KINDS[index.kind].open(blocks, index.details)
