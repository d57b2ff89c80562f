"""All kinds of index, and which ones a column gets.

A column gets the first kind of those for its type that can index its values, or the one kind that
the collection's settings name for its path; words and points are indexed beside the values
themselves.
"""

from collections.abc import Mapping
from typing import Final

from alder.indexing import AUTO, NONE
from leaf.format.meta import Block, Index, IndexMeta
from leaf.indexes.elements import ElementIndex
from leaf.indexes.geo import Geo
from leaf.indexes.hashes import Hashes
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
_BESIDE: Final[Mapping[str, PartwiseKind]] = {kind.index: kind for kind in (Text(), Geo())}
"""Kinds that a column has beside its default."""
_ALL: Final[tuple[IndexKind, ...]] = (Terms(), _HASHES, Sorted(), *_BESIDE.values())
KINDS: Final[Mapping[Index, IndexKind]] = {kind.index: kind for kind in _ALL}
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
    beside = _BESIDE.get(wanted)
    if beside is not None:
        metas, blocks = indexed(column)
        built = beside.build(column, NO_OPTIONS)
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
    beside = _BESIDE.get(wanted)
    if beside is not None and tag in beside.tags:
        return beside
    can = tag in _HASHES.tags and (tag != "int" or wanted != AUTO)
    return _HASHES if can and wanted in {AUTO, Index.HASHES, Index.TERMS, *_BESIDE} else None


def _candidates(tag: str, wanted: str) -> tuple[Index, ...]:
    if wanted == AUTO:
        return _BY_TAG.get(tag, ())
    return () if wanted == NONE else (Index(wanted),)


def opened(index: IndexMeta, blocks: ColumnBlocks) -> ColumnIndex:
    """A stored index, for readers. Reads nothing yet."""
    found = KINDS[index.kind].open(blocks, index.details)
    of_lists = blocks.name.startswith("list<") and index.kind is not Index.GEO
    return ElementIndex(found) if of_lists else found
