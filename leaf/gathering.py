"""The engine's way to run a fragment: rows are gathered in one table, and SQL runs over it.

It can answer every fragment, and is what the other ways are compared with. Indexes leave out rows
that can't match (a superset stays, I3), and the fragment's own predicate decides. What is gathered
is bounded, and checked against the plan: values that it does not know of, because they came since,
fail the fragment, which is then planned again; they are never left out of an answer (I5).
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import reduce
from typing import Final

import pyarrow as pa

from alder.errors import AlderError, Reason
from alder.fragments import FixedRows
from alder.schema import Schema
from alder.v1 import leaf_pb2
from leaf.access import Condition, conditions, narrowed
from leaf.bindings import Projection, engine_names, projection
from leaf.direct import takes_any
from leaf.documentreader import DOCUMENTS
from leaf.engine import Cancellation, EngineInput
from leaf.fragmentmodel import FragmentResult, FragmentTools, Joined
from leaf.inputs import filtered_sql
from leaf.partials import fingerprint, rows_key
from leaf.pieces import ColumnNeeds, Piece, Rows, piece_table, whole_table
from leaf.segment import Segment
from leaf.shardatcut import ShardAtCut, scope_of
from leaf.tail import TailChunk
from leaf.view import ShardView

HANDED_OVER_BYTES_MAX: Final = 256 << 20
"""Rows up to this size are handed over to a caller who can run the fragment; more are filtered."""
PICKED_SHARE: Final = 8
"""More than one row in so many costs more to pick out than to hand over with all others."""
WHOLE_ROWS_MAX: Final = 1 << 15
"""Up to so many rows are handed over whole: to ask an index costs more than to compare them."""


@dataclass(frozen=True, slots=True)
class EngineReading:
    """How the engine is to read one fragment.

    ``memoise``: partials of segments are kept, under ``name``. ``without`` as that of Scope,
    ``unfinished`` as in :class:`leaf.fragmentmodel.FragmentMode`; ``small``: there are so few rows
    that no index is asked.
    """

    fragment: leaf_pb2.Fragment
    inputs: Sequence[EngineInput]
    plan: Projection
    keyed: bool
    tools: FragmentTools
    cancellation: Cancellation
    name: bytes
    memoise: bool
    without: frozenset[str]
    unfinished: bool = False
    small: bool = False

    def leaves_whole(self, segment: Segment, rows: Rows | None) -> bool:
        """True if a segment is handed over whole: to pick that many rows out costs more."""
        return self.unfinished and rows is not None and len(rows) * PICKED_SHARE > segment.rows


class _Kind(IntEnum):
    """What rows of a table are, in their order."""

    SEGMENT = 0
    TAIL = 1
    PICKED = 2


@dataclass(frozen=True, slots=True)
class _Rows:
    """Rows of a piece; ``name`` names those of a whole segment or chunk of a tail.

    ``size_bytes`` are told once, because to count those of many chunks takes time.
    """

    table: pa.Table
    size_bytes: int
    kind: _Kind
    name: Hashable = None


def engine_result(shards: Sequence[ShardAtCut], reading: EngineReading) -> FragmentResult:
    """The answer of these shards by the engine; rows, where ``unfinished`` and few enough.

    Raises AlderError as :func:`leaf.fragment.run_fragment`.
    """
    needs, tools = reading.plan.needs, reading.tools
    gathered: list[_Rows] = []
    partials: list[pa.Table] = []
    scans = []
    size_bytes = kept_bytes = 0
    for shard in shards:
        rest, kept, scan = _read_shard(shard, reading)
        gathered.extend(rest)
        partials.extend(kept)
        scans.append(scan)
        size_bytes += sum(rows.size_bytes for rows in rest)
        kept_bytes += sum(table.nbytes for table in kept)
        _check_size(size_bytes + kept_bytes, tools)
    if gathered or not partials:
        gathered.sort(key=lambda rows: rows.kind)
        empty = needs.schema().empty_table()
        physical = pa.concat_tables([empty, *(rows.table for rows in gathered)])
        _check_watched(reading.plan, physical)
        handed_over = size_bytes <= HANDED_OVER_BYTES_MAX and not partials
        if reading.unfinished and handed_over:
            named = physical.rename_columns(engine_names(physical.num_columns))
            fixed = _fixed(gathered, physical.column_names)
            return FragmentResult(
                named, tuple(scans), projection=reading.plan.select_list, fixed=fixed
            )
        partials.append(_run(physical, reading))
    return FragmentResult(pa.concat_tables(partials), tuple(scans))


def _fixed(gathered: Sequence[_Rows], columns: Sequence[str]) -> tuple[FixedRows, ...]:
    """What never changes: sealed rows together, for they stay, and those of live tails together."""
    found: list[FixedRows] = []
    begin = 0
    for kind in (_Kind.SEGMENT, _Kind.TAIL):
        own = [rows for rows in gathered if rows.kind is kind]
        count = sum(rows.table.num_rows for rows in own)
        if count:
            name = (kind, *(rows.name for rows in own))
            found.append(FixedRows(name, tuple(columns), begin, count))
        begin += count
    return tuple(found)


def _run(physical: pa.Table, reading: EngineReading) -> pa.Table:
    physical = physical.rename_columns(engine_names(physical.num_columns))
    return reading.tools.engine.run(
        physical,
        filtered_sql(reading.plan.sql, reading.fragment.key_filters),
        reading.fragment.sql,
        reading.cancellation,
        reading.inputs,
    )


def _read_shard(
    shard: ShardAtCut, reading: EngineReading
) -> tuple[list[_Rows], list[pa.Table], leaf_pb2.ShardScan]:
    """The rows still to be aggregated, the partials of the others, and how it went."""
    view, needs, partials = shard.view, reading.plan.needs, reading.tools.partials
    tables, kept = list[_Rows](), list[pa.Table]()
    wanted = conditions(reading.fragment)
    scope = scope_of(view, reading.keyed, reading.without)
    rows_scanned = rows_candidate = pruned = 0
    left = _rows_enough(reading.fragment, wanted)
    paths: dict[str, None] = {}
    causes = None if shard.changes is None else shard.changes.causes
    for work in shard.works:
        reading.cancellation.check()
        segment, piece = work.holder.rows, work.piece
        exact = not wanted
        key: Hashable = None
        if isinstance(segment, Segment):
            if reading.memoise and not partials.is_refused(reading.name):
                key = (reading.name, *rows_key(segment, piece))
                found = partials.find(key)
                if isinstance(found, pa.Table):
                    work.hit = True
                    kept.append(found)
                    continue
            narrow = narrowed(segment, () if reading.small else wanted, scope)
            paths.update(dict.fromkeys(narrow.paths))
            rows_candidate += segment.rows if narrow.rows is None else len(narrow.rows)
            pruned += narrow.rows is not None and not len(narrow.rows)
            if not reading.leaves_whole(segment, narrow.rows) or left is not None:
                piece = piece.narrowed(narrow.rows)
            exact = exact or (narrow.exact and narrow.rows is not None)
        if left is not None and exact:
            piece = piece.between(0, left)
            left -= piece.rows_count
        rows_scanned += piece.rows_count
        if key is not None:
            partial = _run(piece_table(piece, view.streams, needs), reading)
            work.missed = partials.keep(reading.name, key, partial, piece.rows_count)
            kept.append(partial)
        elif piece.rows_count:
            tables.append(_rows(view, piece, needs, causes))
    scan = shard.scan()
    scan.rows_scanned = rows_scanned
    scan.rows_candidate = rows_candidate
    scan.segments_pruned = pruned
    scan.access_paths.extend(paths)
    scan.engine = leaf_pb2.FRAGMENT_ENGINE_DUCKDB
    return tables, kept, scan


def _rows(
    view: ShardView,
    piece: Piece,
    needs: ColumnNeeds,
    causes: Callable[[Rows], pa.Array] | None,
) -> _Rows:
    """The rows of a piece; what never changes has all of them, in columns that it has itself."""
    fixed = piece.rows is None and not needs.births and DOCUMENTS not in needs.stored
    if fixed and isinstance(piece.holder, Segment):
        table, size_bytes = whole_table(piece.holder, needs)
        return _Rows(table, size_bytes, _Kind.SEGMENT, (view.replica, piece.holder.number))
    table = piece_table(piece, view.streams, needs, causes)
    if fixed and isinstance(piece.holder, TailChunk):
        return _Rows(table, table.nbytes, _Kind.TAIL, piece.holder.number)
    return _Rows(table, table.nbytes, _Kind.PICKED)


def joined_rows(
    joined: Joined, tools: FragmentTools, cancellation: Cancellation, without: frozenset[str]
) -> tuple[EngineInput, tuple[leaf_pb2.ShardScan, ...]]:
    """Rows of another collection as a table, and how its shards were read.

    Raises AlderError as :func:`leaf.fragment.run_fragment`.
    """
    asked = leaf_pb2.Fragment(columns=joined.message.columns, terms=joined.message.terms)
    check_overflow(joined.views, asked)
    shards = [
        ShardAtCut(number, view, joined.cut, None) for number, view in sorted(joined.views.items())
    ]
    fields = reduce(Schema.merged, (shard.view.schema for shard in shards), Schema()).fields
    plan = projection(asked.columns, fields, joined.keyed)
    reading = EngineReading(asked, (), plan, joined.keyed, tools, cancellation, b"", False, without)
    tables, scans = [plan.needs.schema().empty_table()], []
    for shard in shards:
        rest, _, scan = _read_shard(shard, reading)
        tables += [rows.table for rows in rest]
        scans.append(scan)
    _check_size(sum(table.nbytes for table in tables), tools)
    physical = pa.concat_tables(tables)
    _check_watched(plan, physical)
    known_as = physical.rename_columns(engine_names(physical.num_columns))
    return EngineInput(joined.message.name, known_as, plan.select_list), tuple(scans)


def segment_partial(
    view: ShardView,
    piece: Piece,
    fragment: leaf_pb2.Fragment,
    keyed: bool,
    tools: FragmentTools,
    cancellation: Cancellation,
) -> pa.Table:
    """The partial of a fragment over rows of a segment, by the engine. Raises as run_fragment."""
    check_overflow({0: view}, fragment)
    plan = projection(fragment.columns, view.schema.fields, keyed)
    physical = piece_table(piece, view.streams, plan.needs)
    _check_watched(plan, physical)
    name = fingerprint(fragment, keyed)
    reading = EngineReading(
        fragment, [], plan, keyed, tools, cancellation, name, False, frozenset()
    )
    return _run(physical, reading)


def check_overflow(views: Mapping[int, ShardView], fragment: leaf_pb2.Fragment) -> None:
    """Raises AlderError(SCHEMA_CHANGED) for values without a column that the plan ignores."""
    unaware = any(binding.types and not binding.overflow for binding in fragment.columns)
    if unaware and any(view.schema.overflow for view in views.values()):
        raise AlderError(
            Reason.SCHEMA_CHANGED,
            "the leaf has values without a column, which the plan does not know; plan again",
        )


def _check_watched(plan: Projection, physical: pa.Table) -> None:
    for name in plan.watched:
        if physical.column(name).null_count < physical.num_rows:
            raise AlderError(
                Reason.SCHEMA_CHANGED,
                f"the leaf has values in {name!r} that the plan does not know; plan again",
                column=name,
            )


def _check_size(size_bytes: int, tools: FragmentTools) -> None:
    if size_bytes > tools.scan_bytes_max:
        raise AlderError(
            Reason.LIMIT,
            f"the query reads more than {tools.scan_bytes_max >> 20} MiB on one leaf; "
            "name fewer columns or filter more",
        )


def _rows_enough(fragment: leaf_pb2.Fragment, wanted: Sequence[Condition]) -> int | None:
    """So many rows that surely meet the condition are an answer of a shard; None: all are wanted.

    ``wanted`` are the conditions that indexes know.
    """
    known = fragment.terms_exact and len(wanted) == len(fragment.terms)
    return fragment.selection.limit if known and takes_any(fragment) else None
