"""All kinds of index, and which ones a column gets.

A column gets the first kind of those for its type that can index its values, or the one kind that
the collection's settings name for its path; words are indexed beside the values themselves.
"""

from collections.abc import Mapping
from typing import Final

from alder.indexing import AUTO, NONE
from leaf.format.meta import Block, Index, IndexMeta
from leaf.indexes.elements import ElementIndex
from leaf.indexes.hashes import HASHED_TAGS, Hashes
from leaf.indexes.kind import (
    ALWAYS,
    BIRTH,
    NO_OPTIONS,
    Column,
    ColumnBlocks,
    ColumnIndex,
    IndexKind,
    PartwiseKind,
)
from leaf.indexes.ordered import Sorted
from leaf.indexes.terms import Terms
from leaf.indexes.text import Text

_HASHES: Final = Hashes()
_TEXT: Final = Text()
KINDS: Final[Mapping[Index, IndexKind]] = {
    kind.index: kind for kind in (Terms(), _HASHES, Sorted(), _TEXT)
}
_FOR_STRINGS: Final = (Index.TERMS, Index.HASHES)
_BY_TAG: Final[Mapping[str, tuple[Index, ...]]] = {
    "bool": (Index.TERMS,),
    "int": (Index.TERMS, Index.SORTED),
    **dict.fromkeys(["string", "list<string>", "list<int>"], _FOR_STRINGS),
    "list<bool>": (Index.TERMS,),
    **dict.fromkeys(["float", "timestamp", "timestamp_ns", "date", "time"], (Index.SORTED,)),
    BIRTH: (Index.HASHES,),
}
Indexed = tuple[tuple[IndexMeta, ...], tuple[Block, ...]]
"""The indexes of a column as its segment describes them, and their blocks."""


def indexed(column: Column, wanted: str = AUTO) -> Indexed:
    """The indexes of a column of which all values are at hand; ``wanted`` as in its setting."""
    if wanted == Index.TEXT:
        metas, blocks = indexed(column)
        built = _TEXT.build(column, NO_OPTIONS)
        return (
            (metas, blocks) if built is None else ((*metas, built.meta), (*blocks, *built.blocks))
        )
    options = NO_OPTIONS if wanted == AUTO else {ALWAYS: ""}
    for index in _candidates(column.tag, wanted):
        built = KINDS[index].build(column, options)
        if built is not None:
            return (built.meta,), built.blocks
    return (), ()


def has_index(tag: str) -> bool:
    """True if columns of this type may have an index that is made of the whole column."""
    return tag in _BY_TAG and tag != BIRTH


def partwise(tag: str, wanted: str = AUTO) -> PartwiseKind | None:
    """The kind that indexes a column of this type in runs of rows, if there is one."""
    if wanted == Index.TEXT and tag == "string":
        return _TEXT
    can = tag in HASHED_TAGS and (tag != "int" or wanted != AUTO)
    return _HASHES if can and wanted in {AUTO, Index.HASHES, Index.TERMS, Index.TEXT} else None


def _candidates(tag: str, wanted: str) -> tuple[Index, ...]:
    if wanted == AUTO:
        return _BY_TAG.get(tag, ())
    return () if wanted == NONE else (Index(wanted),)


def opened(index: IndexMeta, blocks: ColumnBlocks) -> ColumnIndex:
    """A stored index, for readers. Reads nothing yet."""
    found = KINDS[index.kind].open(blocks, index.details)
    return ElementIndex(found) if blocks.name.startswith("list<") else found
