"""Merging segments: which ones (a pure decision), and how one column of the result is made.

Segments are merged by size tiers: a tier holds segments of about the same number of rows, and once
it holds enough of them, some become one of the next tier. So a row is written a logarithmic number
of times, and a query meets a logarithmic number of segments. Where no rows come for a while, what
is left in the tiers is merged too, as long as that makes a segment markedly larger than each of its
parts: what repeats all over a shard has one dictionary then. Births stay what they were, so key map
and tombstones, which name births, are not touched. Dead rows stay, because an older cut may still
ask for them, but for those that no cut can ask for any more (:mod:`leaf.purge`); a segment that has
many of them is written anew, whatever its tier holds.

Columns are made one by one, large ones in runs of pages, from stored blocks alone, so that a worker
process holds neither a store nor more than a part of a segment.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from leaf.cluster import row_order
from leaf.format import dictionary
from leaf.format.meta import TEMPLATES, Block, ColumnMeta
from leaf.format.pages import decode_page
from leaf.indexes.kind import Part, PartwiseKind
from leaf.layout import SegmentEntry
from leaf.rows import column_type
from leaf.seal import (
    Pages,
    coded_column,
    last_births,
    plain_column,
    plain_pages,
    seal_column,
    tag_of,
    template_column,
)

TIER_ROWS_MIN: Final = 1024
"""Segments with fewer rows are all of the lowest tier."""
_AT_REST_RATIO_MAX: Final = 2
"""Rows of a segment for each row of the smaller ones that it is merged with where none come."""


@dataclass(frozen=True, slots=True)
class MergePolicy:
    """``factor`` segments of a tier make one; none gets larger than the limits by merging.

    A factor below 2 means that nothing is merged.
    """

    factor: int
    rows_max: int
    bytes_max: int


def choose_merges(
    segments: Sequence[SegmentEntry],
    policy: MergePolicy,
    droppable: Mapping[int, int],
    at_rest: bool = False,
) -> list[tuple[SegmentEntry, ...]]:
    """Disjoint groups to be merged: of one tier and at least two, or one with much to drop.

    ``droppable`` has the number of rows that may go by segment; where they are half of it, the
    segment is written anew without them. Of the others, one beyond half of a limit is left alone,
    so that any two candidates fit together and a group that a limit cuts short yields a segment
    that is left alone in turn. Where nothing else is to be done and shards are ``at_rest``, no rows
    coming, segments are merged across tiers.
    """
    chosen: list[tuple[SegmentEntry, ...]] = [
        (entry,) for entry in segments if _is_mostly_gone(entry, droppable)
    ]
    if policy.factor < 2:
        return chosen
    tiers: dict[int, list[SegmentEntry]] = {}
    for entry in segments:
        if _is_mostly_gone(entry, droppable):
            continue
        if 2 * entry.rows <= policy.rows_max and 2 * entry.size_bytes <= policy.bytes_max:
            tiers.setdefault(tier_of(entry.rows, policy.factor), []).append(entry)
    for tier in tiers.values():
        while len(tier) >= policy.factor:
            group = _group(tier, policy)
            chosen.append(group)
            tier = tier[len(group) :]
    if not chosen and at_rest:
        group = _group_at_rest(segments, policy)
        return [group] if len(group) > 1 else []
    return chosen


def _is_mostly_gone(entry: SegmentEntry, droppable: Mapping[int, int]) -> bool:
    return 2 * droppable.get(entry.segment, 0) >= entry.rows


def tier_of(rows: int, factor: int) -> int:
    """The tier of a segment."""
    tier, limit = 0, TIER_ROWS_MIN
    while rows >= limit:
        tier, limit = tier + 1, limit * factor
    return tier


def _group(tier: Sequence[SegmentEntry], policy: MergePolicy) -> tuple[SegmentEntry, ...]:
    rows = size_bytes = 0
    group: list[SegmentEntry] = []
    for entry in tier[: policy.factor]:
        rows, size_bytes = rows + entry.rows, size_bytes + entry.size_bytes
        if rows > policy.rows_max or size_bytes > policy.bytes_max:
            break
        group.append(entry)
    return tuple(group)


def _group_at_rest(
    segments: Sequence[SegmentEntry], policy: MergePolicy
) -> tuple[SegmentEntry, ...]:
    """The small ones, and larger ones as long as those before are not much fewer rows."""
    rows = size_bytes = 0
    group: set[int] = set()
    for entry in sorted(segments, key=lambda entry: entry.rows):
        if entry.rows > _AT_REST_RATIO_MAX * rows:
            rows = size_bytes = 0
            group.clear()
        rows, size_bytes = rows + entry.rows, size_bytes + entry.size_bytes
        if rows > policy.rows_max or size_bytes > policy.bytes_max:
            break
        group.add(entry.segment)
    return tuple(entry for entry in segments if entry.segment in group)


@dataclass(frozen=True, slots=True)
class ColumnPart:
    """What one segment stores of a column: its description (None: nothing), terms, some pages."""

    meta: ColumnMeta | None = None
    terms: bytes | None = None
    pages: Mapping[int, bytes] | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """Where the rows of the result come from: ``rows[i]`` of the segment ``segments[i]``."""

    segments: NDArray[np.uint16]
    rows: NDArray[np.uint32]

    def __len__(self) -> int:
        return len(self.rows)

    def part(self, begin: int, end: int) -> "Order":
        """The rows ``[begin, end)`` of the result."""
        return Order(self.segments[begin:end], self.rows[begin:end])


@dataclass(frozen=True, slots=True)
class MergedBirths:
    """The order of the result's rows, and the largest birth of each stream in it."""

    order: Order
    last_births: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class MergedPages:
    """Some pages of the result, and what the index of the column is to know of them."""

    pages: Pages
    part: Part | None


def merge_births(
    parts: Sequence[ColumnPart],
    keys: Mapping[str, Sequence[ColumnPart]],
    dropped: Sequence[NDArray[np.int64]],
    what: str,
) -> MergedBirths:
    """The order by these columns, the most significant first, and then by birth.

    ``dropped`` has the numbers of each segment's rows that are not in the result. Raises
    AlderError(CORRUPT), as everything here that reads pages.
    """
    found = [np.asarray(_pages("_birth", part, what)) for part in parts]
    segments = np.repeat(np.arange(len(found), dtype=np.uint16), [len(part) for part in found])
    rows = np.concatenate([np.arange(len(part), dtype=np.uint32) for part in found])
    births = np.concatenate(found)
    given = Order(segments, rows)
    columns = [_sortable(name, column, given, what) for name, column in keys.items()]
    order = np.asarray(row_order(columns, births))
    begins = np.cumsum([0, *map(len, found)])
    gone = np.zeros(len(births), dtype=bool)
    for begin, numbers in zip(begins, dropped, strict=False):
        gone[begin + numbers] = True
    order = order[~gone[order]]
    births = births[~gone]
    return MergedBirths(Order(segments[order], rows[order]), last_births(births))


def _sortable(name: str, parts: Sequence[ColumnPart], order: Order, what: str) -> pa.Array:
    """Values that are ordered as those of the column are."""
    if tag_of(name) == "string" and _all_coded(parts):
        return _encoded(name, parts, order, what).codes
    return _values(name, parts, order, what)


def merge_column(
    number: int, name: str, parts: Sequence[ColumnPart], order: Order, wanted: str, what: str
) -> tuple[ColumnMeta, tuple[Block, ...]] | None:
    """A column with its index, from all of its pages; None where no row has a value."""
    if name == TEMPLATES:
        templates = _used(_encoded(name, parts, order, what))
        return template_column(number, templates) if len(templates.terms) else None
    if tag_of(name) != "string" or not _all_coded(parts):
        values = _values(name, parts, order, what)
        if values.null_count == len(values):
            return None
        return seal_column(number, tag_of(name), values, wanted)
    encoded = _used(_encoded(name, parts, order, what))
    if not len(encoded.terms):
        return None
    if dictionary.pays(len(order) - encoded.codes.null_count, len(encoded.terms)):
        return coded_column(number, encoded, wanted)
    return plain_column(number, tag_of(name), encoded.terms.take(encoded.codes), wanted)


def merge_pages(
    number: int,
    name: str,
    parts: Sequence[ColumnPart],
    order: Order,
    page_rows: int,
    first_row: int,
    kind: PartwiseKind | None,
    what: str,
) -> MergedPages:
    """The pages of the rows from ``first_row`` of the result on, which begins a zone.

    They are kept as values, and made from the stored pages that they need.
    """
    values = _values(name, parts, order, what)
    pages = plain_pages(number, tag_of(name), values, page_rows, first_row)
    part = None if kind is None else kind.part(values, first_row)
    return MergedPages(pages, part)


def _values(name: str, parts: Sequence[ColumnPart], order: Order, what: str) -> pa.Array:
    """The values of the rows of the result."""
    kind = column_type(name)
    arrays = []
    for part in parts:
        values = _pages(name, part, what)
        if part.meta is not None and part.meta.coded:
            values = _terms(part, what).take(values)
        arrays.append(values)
    return _ordered(kind, arrays, parts, order)


def _encoded(name: str, parts: Sequence[ColumnPart], order: Order, what: str) -> dictionary.Encoded:
    """Coded columns as one, over the terms of all of them."""
    own = [_terms(part, what) for part in parts]
    union = pc.unique(pa.concat_arrays(own))
    union = union.take(pc.array_sort_indices(union))
    arrays = [
        pc.index_in(terms, value_set=union).take(_pages(name, part, what))
        for part, terms in zip(parts, own, strict=True)
    ]
    return dictionary.Encoded(union, _ordered(pa.int32(), arrays, parts, order))


def _used(encoded: dictionary.Encoded) -> dictionary.Encoded:
    """The same values over terms that all occur."""
    occurs = np.bincount(encoded.codes.drop_null(), minlength=len(encoded.terms)) > 0
    if occurs.all():
        return encoded
    places = pa.array(np.cumsum(occurs, dtype=np.int32) - np.int32(1))
    return dictionary.Encoded(encoded.terms.filter(pa.array(occurs)), places.take(encoded.codes))


def _ordered(
    kind: pa.DataType, arrays: Sequence[pa.Array], parts: Sequence[ColumnPart], order: Order
) -> pa.Array:
    """The rows of the result out of the pages at hand, copied only where they are not in a row."""
    places = np.empty(len(order), dtype=np.int64)
    begin = 0
    columns = []
    for segment, (part, values) in enumerate(zip(parts, arrays, strict=True)):
        chosen = order.segments == segment
        if part.meta is None or not part.pages:
            places[chosen] = begin
            columns.append(pa.nulls(1, kind))
        else:
            rows = order.rows[chosen].astype(np.int64)
            ranks = np.searchsorted(sorted(part.pages), rows // part.meta.page_rows)
            places[chosen] = begin + ranks * part.meta.page_rows + rows % part.meta.page_rows
            columns.append(values)
        begin += len(columns[-1])
    whole = pa.concat_arrays(columns)
    if len(places) and (np.diff(places) == 1).all():
        return whole.slice(int(places[0]), len(places))
    return whole.take(pa.array(places))


def _all_coded(parts: Sequence[ColumnPart]) -> bool:
    return all(part.meta is None or part.meta.coded for part in parts)


def _pages(name: str, part: ColumnPart, what: str) -> pa.Array:
    """The pages at hand as they are stored, one after the other; codes of a coded column."""
    if part.meta is None:
        return pa.array([], pa.int32())
    kind = pa.int32() if part.meta.coded else column_type(name)
    pages = []
    for page, data in sorted((part.pages or {}).items()):
        if part.meta.zone_of_page(page).empty:
            pages.append(pa.nulls(part.meta.rows_of_page(page), kind))
        else:
            pages.append(decode_page(data, kind, what))
    return pa.concat_arrays(pages) if pages else pa.array([], kind)


def _terms(part: ColumnPart, what: str) -> pa.Array:
    if part.terms is None:
        return pa.array([], pa.string())
    return dictionary.decode_terms(part.terms, what)
