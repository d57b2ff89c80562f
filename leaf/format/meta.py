"""What a segment says about itself: its columns, how each is stored and indexed, its zones.

Beside it, what every block of a segment is: a value under the segment's number and a suffix.
"""

import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Final

import orjson

from alder.errors import AlderError, Reason
from leaf.format.frame import framed, unframed
from leaf.format.zonemap import Zone

_SUFFIX: Final = struct.Struct(">IBI")
META_SUFFIX: Final = b"\xff" * 4
PAGE: Final = 0
TERMS: Final = 1
TERM_POSTINGS: Final = 2
HASH_PAGE: Final = 3
SORTED_TOP: Final = 4
SORTED_PAGE: Final = 5
TEXT_TOP: Final = 6
TEXT_PAGE: Final = 7
TERM_PAGE: Final = 8
TERM_BITS: Final = 9

TEMPLATES: Final = "_template"
"""The name of the column that says by which template a row's document is made of its columns."""


class Index(StrEnum):
    """The kinds of index, each in a module of leaf/indexes."""

    TERMS = "terms"
    HASHES = "hashes"
    SORTED = "sorted"
    TEXT = "text"
    GEO = "geo"


@dataclass(frozen=True, slots=True)
class Block:
    """A value to be stored under the segment's number followed by ``suffix``."""

    family: str
    suffix: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class IndexMeta:
    """An index of a column; ``details`` are what its kind needs to read its blocks."""

    kind: Index
    details: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ColumnMeta:
    """One column. Pages have ``page_rows`` rows, the last one fewer, and zones ``zone_rows``.

    Zones are whole numbers of pages; one without a value has none. ``coded`` columns hold codes
    into the column's terms.
    """

    number: int
    page_rows: int
    zone_rows: int
    coded: bool
    indexes: tuple[IndexMeta, ...]
    zones: tuple[Zone, ...]

    @property
    def rows(self) -> int:
        """Number of rows of the segment."""
        return (len(self.zones) - 1) * self.zone_rows + self.zones[-1].rows

    @property
    def values(self) -> int:
        """Number of rows that have a value."""
        return sum(zone.rows - zone.nulls for zone in self.zones)

    @property
    def pages(self) -> int:
        """Number of pages, those that are not stored included."""
        return -(-self.rows // self.page_rows)

    def zone_of_page(self, page: int) -> Zone:
        """The zone that a page is a part of."""
        return self.zones[page * self.page_rows // self.zone_rows]

    def rows_of_page(self, page: int) -> int:
        """Number of rows of a page."""
        return min(self.page_rows, self.rows - page * self.page_rows)

    def has(self, kind: Index) -> bool:
        """True if the column has an index of this kind."""
        return any(index.kind is kind for index in self.indexes)


@dataclass(frozen=True, slots=True)
class SegmentMeta:
    """A segment. ``last_births`` is the largest birth of each stream in it.

    Rows are ordered by the paths ``cluster_by``, then by birth.
    """

    rows: int
    last_births: tuple[int, ...]
    columns: Mapping[str, ColumnMeta]
    cluster_by: tuple[str, ...] = ()


def suffix(column: int, part: int, page: int = 0) -> bytes:
    """The key of a block of a column, without the segment's number."""
    return _SUFFIX.pack(column, part, page)


def parts_of(suffix: bytes) -> tuple[int, int, int]:
    """Column, part and page of such a key. Raises AlderError(CORRUPT) for another one."""
    if len(suffix) != _SUFFIX.size:
        raise AlderError(Reason.CORRUPT, f"{suffix!r} is the key of no block")
    column, part, page = _SUFFIX.unpack(suffix)
    return column, part, page


def encode_meta(meta: SegmentMeta) -> bytes:
    """The description as stored."""
    return framed(orjson.dumps(asdict(meta)))


def decode_meta(data: bytes, what: str) -> SegmentMeta:
    """The inverse of :func:`encode_meta`. Raises AlderError(CORRUPT)."""
    try:
        fields = orjson.loads(unframed(data, what))
        columns = {name: _column(entry) for name, entry in fields["columns"].items()}
        return SegmentMeta(
            _count(fields["rows"]),
            tuple(map(_count, fields["last_births"])),
            columns,
            tuple(fields["cluster_by"]),
        )
    except (orjson.JSONDecodeError, AttributeError, TypeError, KeyError, ValueError) as error:
        raise AlderError(Reason.CORRUPT, f"{what} can't be read: {error}") from error


def _column(entry: Mapping[str, Any]) -> ColumnMeta:
    return ColumnMeta(
        number=_count(entry["number"]),
        page_rows=_count(entry["page_rows"], 1),
        zone_rows=_count(entry["zone_rows"], 1),
        coded=bool(entry["coded"]),
        indexes=tuple(_index(index) for index in entry["indexes"]),
        zones=tuple(_zone(zone) for zone in entry["zones"]),
    )


def _index(entry: Mapping[str, Any]) -> IndexMeta:
    details = {name: _count(value) for name, value in entry["details"].items()}
    return IndexMeta(Index(entry["kind"]), details)


def _zone(entry: Mapping[str, Any]) -> Zone:
    zone = Zone(**entry)
    _count(zone.rows)
    _count(zone.nulls)
    return zone


def _count(value: object, least: int = 0) -> int:
    """Raises ValueError for what is no number of at least so much."""
    if type(value) is not int or value < least:
        raise ValueError(f"{value!r} is no number of at least {least}")
    return value
