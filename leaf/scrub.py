"""Reads everything that a shard stores, and says what is damaged, block by block."""

from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import Final

from alder.errors import AlderError, Reason
from alder.rocks import Store, prefix_end
from leaf import layout
from leaf.format.frame import check_frame
from leaf.format.meta import META_SUFFIX, PAGE, TERMS, ColumnMeta, decode_meta, parts_of, suffix
from leaf.indexes.kinds import KINDS
from leaf.layout import Manifest, SegmentEntry
from leaf.tail import TailBlock

_OF_COLUMNS: Final = frozenset({PAGE, TERMS})
"""Parts of a column that are its values; the others are of indexes."""


class Scrub:
    """One reading of the segments and keys of the shard ``name``; counts what it reads."""

    def __init__(
        self, store: Store, manifest: Manifest, name: str, check: Callable[[], None]
    ) -> None:
        """``check`` is called between blocks, and raises to end the reading."""
        self.blocks = 0
        self.size_bytes = 0
        self._store = store
        self._manifest = manifest
        self._name = name
        self._check = check

    def damages(self) -> Iterator[str]:
        """Whatever is damaged or missing. Blocks for long. Raises AlderError(UNSUPPORTED)."""
        try:
            for _ in chain(*map(self._store.scan, (layout.KEYS, layout.LIVING))):
                self._check()
        except AlderError as error:
            yield f"the key map of shard {self._name}: {_corrupt(error)}"
        for entry in self._manifest.segments:
            yield from self._segment(entry)

    def damages_everywhere(self) -> Iterator[str]:
        """As :meth:`damages`, and what else is stored: the live tail, quarantine, small records.

        Of a live tail there is a sound copy in memory, so its damage is no reason to build a shard
        again.
        """
        yield from self.damages()
        for family in (layout.META, layout.QUARANTINE):
            try:
                for _ in self._store.scan(family):
                    self._check()
            except AlderError as error:
                yield f"the {family} records of shard {self._name}: {_corrupt(error)}"
        first = layout.number_key(self._manifest.sealed_to_block)
        try:
            for key, value in self._store.scan(layout.TAIL, first):
                self._check()
                if damage := _tail_damage(value):
                    yield f"block {layout.number_of(key)} of shard {self._name}: {damage}"
        except AlderError as error:
            yield f"the live tail of shard {self._name}: {_corrupt(error)}"

    def _segment(self, entry: SegmentEntry) -> Iterator[str]:
        what = f"segment {entry.segment} of shard {self._name}"
        prefix = layout.number_key(entry.segment)
        try:
            description = self._store.get(layout.COLUMNS, prefix + META_SUFFIX)
            if description is None:
                raise AlderError(Reason.CORRUPT, f"the description of {what} is missing")
            columns = decode_meta(description, f"the description of {what}").columns
        except AlderError as error:
            yield _corrupt(error)
            return
        named = _Names(columns)
        found: set[bytes] = set()
        size_bytes, sound = 0, True
        for block, value in self._scanned(prefix):
            found.add(block)
            size_bytes += len(value)
            if damage := self._damage(value, f"{named.of(block)} in {what}"):
                sound = False
                yield damage
        # Where the store can't read a block, it ends the scan: the others are read one by one.
        for block in sorted(_needed(columns) - found):
            told = f"{named.of(block)} in {what}"
            family = layout.COLUMNS if parts_of(block)[1] in _OF_COLUMNS else layout.POSTINGS
            try:
                single = self._store.get(family, prefix + block)
            except AlderError as error:
                sound = False
                yield f"{told} can't be read: {_corrupt(error)}"
                continue
            size_bytes += len(single or b"")
            if damage := self._damage(single, told):
                sound = False
                yield damage
        if sound and size_bytes != entry.size_bytes:
            # An index may do without a block, so that nothing else tells of one that is lost.
            yield f"a block of {what} is missing"

    def _scanned(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """The blocks of a segment, of each family up to the first one that can't be read."""
        for family in layout.SEGMENT_FAMILIES:
            try:
                for key, value in self._store.scan(family, prefix, prefix_end(prefix)):
                    yield key[len(prefix) :], value
            except AlderError as error:
                _corrupt(error)

    def _damage(self, value: bytes | None, told: str) -> str:
        if value is None:
            return f"{told} is missing"
        self._check()
        self.blocks += 1
        self.size_bytes += len(value)
        try:
            check_frame(value, told)
        except AlderError as error:
            return _corrupt(error)
        return ""


class _Names:
    """The blocks of a segment as errors name them."""

    def __init__(self, columns: Mapping[str, ColumnMeta]) -> None:
        self._columns = columns
        self._names = {meta.number: name for name, meta in columns.items()}

    def of(self, block: bytes) -> str:
        """A block by its suffix."""
        if block == META_SUFFIX:
            return "the description"
        number, part, page = parts_of(block)
        name = self._names.get(number)
        if name is None:
            return "a block of an unknown column"
        if part == TERMS:
            return f"the terms of column {name!r}"
        if part != PAGE:
            return f"a block of the index of column {name!r}"
        meta = self._columns[name]
        first = page * meta.page_rows
        last = first + meta.rows_of_page(page) - 1
        return f"page {page} of column {name!r} (rows {first} to {last})"


def _needed(columns: Mapping[str, ColumnMeta]) -> set[bytes]:
    """The blocks that must be there, the description left out."""
    needed: set[bytes] = set()
    for meta in columns.values():
        needed |= {
            suffix(meta.number, PAGE, page)
            for page in range(meta.pages)
            if not meta.zone_of_page(page).empty
        }
        if meta.coded:
            needed.add(suffix(meta.number, TERMS))
        for index in meta.indexes:
            needed |= KINDS[index.kind].needed(meta.number, index.details)
    return needed


def _tail_damage(value: bytes) -> str:
    try:
        TailBlock.decode(value)
    except AlderError as error:
        return _corrupt(error)
    return ""


def _corrupt(error: AlderError) -> str:
    """What it says; raised where it is no damage."""
    if error.reason is not Reason.CORRUPT:
        raise error
    return error.message
