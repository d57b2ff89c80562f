"""The stored blocks of one segment: read when they are needed, kept decoded in the leaf's cache."""

import struct
from collections.abc import Callable, Sequence
from typing import Final, TypeVar, cast

import pyarrow as pa

from alder.errors import AlderError, Reason
from alder.rocks import Store
from leaf import layout
from leaf.cache import PageCache
from leaf.format import dictionary
from leaf.format.meta import TERMS, ColumnMeta, suffix
from leaf.tally import note_cached, note_read

T = TypeVar("T")
_SCOPE: Final = struct.Struct(">Q")


class SegmentBlocks:
    """The blocks of a segment. Thread-safe; calls may block on the store."""

    def __init__(self, store: Store, name: str, number: int, cache: PageCache) -> None:
        """``name`` is that of the shard, for errors."""
        self.number: Final = number
        self.scope: Final = cache.scope()
        """A number that no other opened segment has, to begin names in the cache with."""
        self._store = store
        self._name = name
        self._cache = cache
        # Names are bytes, not tuples, which the collector of garbage would have to look through.
        self._names = _SCOPE.pack(self.scope)

    def reopened(self, cache: PageCache) -> "SegmentBlocks":
        """The same blocks with another cache."""
        return SegmentBlocks(self._store, self._name, self.number, cache)

    def stored(self, family: str, key: bytes) -> bytes | None:
        """A block under the segment's number; None where there is none. Raises CORRUPT."""
        note_read(self.scope)
        try:
            return self._store.get(family, layout.number_key(self.number) + key)
        except Exception as error:
            what = self.what("a block")
            raise AlderError(Reason.CORRUPT, f"{what} can't be read: {error}") from error

    def block(self, family: str, key: bytes) -> bytes:
        """A block that must be there. Raises AlderError(CORRUPT)."""
        data = self.stored(family, key)
        if data is None:
            raise AlderError(Reason.CORRUPT, f"{self.what('a block')} is missing")
        return data

    def columns(self, keys: Sequence[bytes]) -> list[bytes]:
        """Blocks of columns that must be there, all in one read. Raises AlderError(CORRUPT)."""
        prefix = layout.number_key(self.number)
        note_read(self.scope, len(keys))
        try:
            found = self._store.get_many(layout.COLUMNS, [prefix + key for key in keys])
        except Exception as error:
            what = self.what("a block")
            raise AlderError(Reason.CORRUPT, f"{what} can't be read: {error}") from error
        blocks = [data for data in found if data is not None]
        if len(blocks) != len(keys):
            raise AlderError(Reason.CORRUPT, f"{self.what('a block')} is missing")
        return blocks

    def at_hand(self, key: bytes) -> object | None:
        """What was kept under this name, if it is still there."""
        found = self._cache.find(self._names + key)
        if found is not None:
            note_cached(self.scope)
        return found

    def all_at_hand(self, keys: Sequence[bytes]) -> list[object | None]:
        """As :meth:`at_hand` for each of several names."""
        names = self._names
        found = self._cache.find_all([names + key for key in keys])
        note_cached(self.scope, len(found) - found.count(None))
        return found

    def keep(self, key: bytes, value: object, size_bytes: int) -> None:
        """Has :meth:`at_hand` find it, as long as there is room."""
        self._cache.put(self._names + key, value, size_bytes)

    def cached(self, key: bytes, load: Callable[[], T], size_bytes: Callable[[T], int]) -> T:
        """What ``load`` makes of the block ``key``, which need not be a stored one."""
        found = self.at_hand(key)
        if found is not None:
            return cast(T, found)
        made = load()
        self.keep(key, made, size_bytes(made))
        return made

    def terms(self, name: str, meta: ColumnMeta) -> pa.Array:
        """The terms of a column that has some, ascending. Raises AlderError(CORRUPT)."""
        key = suffix(meta.number, TERMS)
        what = self.what(f"the terms of column {name!r}")
        return self.cached(
            key,
            lambda: dictionary.decode_terms(self.block(layout.COLUMNS, key), what),
            lambda array: int(array.nbytes),
        )

    def what(self, part: str) -> str:
        """A part of the segment as errors name it."""
        return f"{part} in segment {self.number} of shard {self._name}"


class IndexBlocks:
    """The blocks of the indexes of one column. Implements leaf.indexes.kind.ColumnBlocks."""

    def __init__(self, blocks: SegmentBlocks, name: str, meta: ColumnMeta, rows: int) -> None:
        self.name: Final = name
        self.meta: Final = meta
        self.rows: Final = rows
        self._blocks = blocks

    def terms(self) -> pa.Array:
        """See ColumnBlocks."""
        return self._blocks.terms(self.name, self.meta)

    def stored(self, part: int, page: int = 0) -> bytes | None:
        """See ColumnBlocks."""
        return self._blocks.stored(layout.POSTINGS, suffix(self.meta.number, part, page))

    def decoded(
        self, part: int, page: int, load: Callable[[bytes, str], T], size_bytes: Callable[[T], int]
    ) -> T:
        """See ColumnBlocks."""
        key = suffix(self.meta.number, part, page)
        return self._blocks.cached(
            key, lambda: load(self._blocks.block(layout.POSTINGS, key), self.what()), size_bytes
        )

    def what(self) -> str:
        """See ColumnBlocks."""
        return self._blocks.what(f"the postings of column {self.name!r}")
