"""A merge from the store's side: reads stored blocks, has them merged elsewhere, writes the result.

Column by column, and large columns by runs of pages, so that memory stays bounded by a run and not
by a segment. Nothing that is written counts before the manifest names the segment, so a merge that
ends early, by an error or a crash, leaves garbage and no change.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, ParamSpec, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from alder.errors import AlderError, Reason
from alder.indexing import IndexSetting
from alder.rocks import Store
from leaf import layout
from leaf.cluster import key_columns
from leaf.format.frame import payload_bytes
from leaf.format.meta import (
    META_SUFFIX,
    PAGE,
    TEMPLATES,
    TERMS,
    ColumnMeta,
    IndexMeta,
    SegmentMeta,
    decode_meta,
    suffix,
)
from leaf.format.zonemap import Zone
from leaf.indexes.kinds import has_index, partwise
from leaf.layout import SegmentEntry
from leaf.merge import ColumnPart, Order, merge_births, merge_column, merge_pages
from leaf.seal import index_of, meta_block, tag_of
from leaf.sealing import BlockWriter

RUN_BYTES_MAX: Final = 8 << 20
"""Stored pages that are merged at once."""
WHOLE_BYTES_MAX: Final = 128 << 20
"""Decoded bytes up to which a column with an index is merged at once, and may have any index."""

P = ParamSpec("P")
T = TypeVar("T")


class Compute(Protocol):
    """Runs a function, perhaps in another process, and waits for what it returns."""

    def __call__(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Raises what the function raises, and AlderError(UNAVAILABLE) where it can't be run."""
        ...


@dataclass(frozen=True, slots=True)
class MergePlan:
    """The segments ``inputs`` become the segment ``segment``, ordered by some paths.

    ``indexes`` are those that the collection's settings name.
    ``dropped`` has the numbers of each input's rows that go; empty: none do.
    """

    segment: int
    inputs: tuple[int, ...]
    cluster_by: tuple[str, ...] = ()
    dropped: tuple[NDArray[np.int64], ...] = ()
    indexes: tuple[IndexSetting, ...] = ()


def merge_stored(
    store: Store, name: str, plan: MergePlan, writer: BlockWriter, compute: Compute
) -> SegmentEntry | None:
    """Merges segments of the shard ``name`` into blocks on disk, which no manifest names yet.

    None where no row is left. Raises AlderError: CORRUPT for a damaged block, UNAVAILABLE where the
    store can't be written, and what ``compute`` raises.
    """
    return _Merge(store, name, plan, writer, compute).run()


class _Merge:
    def __init__(
        self, store: Store, name: str, plan: MergePlan, writer: BlockWriter, compute: Compute
    ) -> None:
        self._store = store
        self._what = f"a block in one of the segments {list(plan.inputs)} of shard {name}"
        self._inputs = plan.inputs
        self._cluster_by = plan.cluster_by
        self._indexes = plan.indexes
        self._dropped = plan.dropped
        self._compute = compute
        self._metas = [
            decode_meta(self._block(segment, META_SUFFIX), self._what) for segment in plan.inputs
        ]
        self._writer = writer

    def run(self) -> SegmentEntry | None:
        parts = [self._part(i, "_birth", None) for i in range(len(self._inputs))]
        names = dict.fromkeys(name for meta in self._metas for name in meta.columns)
        births = self._compute(merge_births, parts, self._keys(names), self._dropped, self._what)
        if not len(births.order):
            return None
        columns: dict[str, ColumnMeta] = {}
        for name in names:
            column = self._column(len(columns), name, births.order)
            if column is not None:
                columns[name] = column
        meta = SegmentMeta(len(births.order), births.last_births, columns, self._cluster_by)
        self._writer.put([meta_block(meta)])
        return SegmentEntry(self._writer.segment, meta.rows, self._writer.finish())

    def _keys(self, names: Iterable[str]) -> dict[str, list[ColumnPart]]:
        """The columns to order rows by, up to the first that is too large to be decoded at once."""
        keys: dict[str, list[ColumnPart]] = {}
        for name in key_columns(self._cluster_by, names):
            parts = self._whole_parts(name)
            if parts is None:
                break
            keys[name] = parts
        return keys

    def _column(self, number: int, name: str, order: Order) -> ColumnMeta | None:
        """A column of the result; None where no row has a value any more."""
        wanted = index_of(name, self._indexes)
        if has_index(tag_of(name)) or name == TEMPLATES:
            parts = self._whole_parts(name)
            if parts is not None:
                merged = self._compute(merge_column, number, name, parts, order, wanted, self._what)
                if merged is None:
                    return None
                self._writer.put(merged[1])
                return merged[0]
        return self._column_in_runs(number, name, order)

    def _whole_parts(self, name: str) -> list[ColumnPart] | None:
        """All of a column; None where it is too large to be decoded at once.

        Templates never are: each seal limits their bytes.
        """
        parts, decoded_bytes = [], 0
        for i in range(len(self._inputs)):
            part = self._part(i, name, None)
            stored = [*(part.pages or {}).values(), part.terms or b""]
            decoded_bytes += sum(map(payload_bytes, stored))
            if decoded_bytes > WHOLE_BYTES_MAX and name != TEMPLATES:
                return None
            parts.append(part)
        return parts

    def _column_in_runs(self, number: int, name: str, order: Order) -> ColumnMeta | None:
        found = [meta.columns[name] for meta in self._metas if name in meta.columns]
        page_rows = min(meta.page_rows for meta in found)
        zone_rows = found[0].zone_rows
        tag = tag_of(name, bool(self._cluster_by))
        kind = partwise(tag, index_of(name, self._indexes))
        zones: list[Zone] = []
        parts_of_index = []
        while (first := len(zones)) * zone_rows < len(order):
            parts, end = self._run(name, order, first, zone_rows)
            merged = self._compute(
                merge_pages,
                number,
                name,
                parts,
                order.part(first * zone_rows, end * zone_rows),
                page_rows,
                first * zone_rows,
                kind,
                self._what,
            )
            zones.extend(merged.pages[0])
            self._writer.put(merged.pages[1])
            if merged.part is not None:
                parts_of_index.append(merged.part)
        if all(zone.empty for zone in zones):
            return None
        indexes: tuple[IndexMeta, ...] = ()
        if kind is not None:
            built = self._compute(kind.joined, number, parts_of_index)
            indexes = (built.meta,)
            self._writer.put(built.blocks)
        return ColumnMeta(number, page_rows, zone_rows, False, indexes, tuple(zones))

    def _run(
        self, name: str, order: Order, first: int, zone_rows: int
    ) -> tuple[list[ColumnPart], int]:
        """The stored pages for a run of zones of the result from ``first`` on, and its end."""
        pages: list[dict[int, bytes]] = [{} for _ in self._inputs]
        stored_bytes, end = 0, first
        while end * zone_rows < len(order) and (end == first or stored_bytes < RUN_BYTES_MAX):
            rows = order.part(end * zone_rows, (end + 1) * zone_rows)
            for i, page in self._pages_of(name, rows):
                if page not in pages[i]:
                    pages[i][page] = self._page(i, name, page)
                    stored_bytes += len(pages[i][page])
            end += 1
        return [self._part(i, name, found) for i, found in enumerate(pages)], end

    def _pages_of(self, name: str, rows: Order) -> list[tuple[int, int]]:
        """The segments and pages that hold these rows."""
        found: list[tuple[int, int]] = []
        for i in np.unique(rows.segments).tolist():
            meta = self._metas[i].columns.get(name)
            if meta is not None:
                numbers = rows.rows[rows.segments == i] // meta.page_rows
                found.extend((i, page) for page in np.unique(numbers).tolist())
        return found

    def _part(self, i: int, name: str, pages: Mapping[int, bytes] | None) -> ColumnPart:
        """A segment's part of a column, with these pages or all."""
        meta = self._metas[i].columns.get(name)
        if meta is None:
            return ColumnPart()
        if pages is None:
            pages = {page: self._page(i, name, page) for page in range(meta.pages)}
        terms = None
        if meta.coded:
            terms = self._block(self._inputs[i], suffix(meta.number, TERMS))
        return ColumnPart(meta, terms, pages)

    def _page(self, i: int, name: str, page: int) -> bytes:
        """A stored page; nothing for one without a value."""
        meta = self._metas[i].columns[name]
        if meta.zone_of_page(page).empty:
            return b""
        return self._block(self._inputs[i], suffix(meta.number, PAGE, page))

    def _block(self, segment: int, key: bytes) -> bytes:
        data = self._store.get(layout.COLUMNS, layout.number_key(segment) + key)
        if data is None:
            raise AlderError(Reason.CORRUPT, f"{self._what} is missing")
        return data


def merged_entries(
    entries: Sequence[SegmentEntry], inputs: Sequence[int], merged: SegmentEntry | None
) -> tuple[SegmentEntry, ...]:
    """A manifest's segments with the merged one, if any, in the place of the first it replaces."""
    replaced = set(inputs)
    found: list[SegmentEntry] = []
    for entry in entries:
        if entry.segment not in replaced:
            found.append(entry)
        elif entry.segment == inputs[0] and merged is not None:
            found.append(merged)
    return tuple(found)
