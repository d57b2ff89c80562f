"""Runs a fragment over the views of some shards at one cut.

Where indexes leave a few rows, these are read and compared directly; an aggregation that is simple
enough runs in the kernels. For everything else the rows alive at the cut are gathered, narrowed by
what indexes know (a superset, I3), and handed to the engine in one table; the fragment's own
predicate decides. Where results of parts may be put together, those of sealed segments are kept,
and a segment whose result is at hand isn't read.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from types import MappingProxyType
from typing import Final

import pyarrow as pa

from alder.errors import AlderError, Reason
from alder.periods import period_text
from alder.positions import PositionVector
from alder.schema import Schema
from alder.v1 import leaf_pb2
from leaf import births
from leaf.access import Condition, Scope, conditions, narrowed
from leaf.bindings import Projection, engine_names, projection
from leaf.changes import Changes
from leaf.direct import DirectShard, direct_result, takes_any
from leaf.engine import Cancellation, Engine, EngineInput
from leaf.inputs import engine_inputs, filtered_sql
from leaf.kernels.aggregation import LeftOut
from leaf.kernels.columns import Holder, Reading
from leaf.kernels.kernels import Kernels
from leaf.kernels.livetail import Work
from leaf.kernels.top import NO_MORE, Wanted
from leaf.partials import Partials, fingerprint, rows_key
from leaf.pieces import Piece, alive_piece, holders, piece_table
from leaf.segment import Segment
from leaf.stored import StoredPartials
from leaf.tally import tallying
from leaf.view import ShardView
from leaf.visibility import Horizon, horizon

HANDED_OVER_BYTES_MAX: Final = 256 << 20
"""Rows up to this size are handed over to a caller who can run the fragment; more are filtered."""


@dataclass(frozen=True, slots=True)
class FragmentTools:
    """What fragments run with.

    ``scan_bytes_max`` bounds the rows that one may gather, ``input_bytes_max`` the tables that may
    come with one.
    """

    engine: Engine
    kernels: Kernels
    partials: Partials
    scan_bytes_max: int
    input_bytes_max: int = 32 << 20


@dataclass(frozen=True, slots=True)
class FragmentMode:
    """Which of the ways that give the same rows may be taken; ``without`` as that of Scope.

    ``unfinished``: rows may be the answer, over which the caller runs the fragment.
    """

    memoise: bool = True
    kernels: bool = True
    direct: bool = True
    without: frozenset[str] = frozenset()
    unfinished: bool = False


@dataclass(frozen=True, slots=True)
class FragmentResult:
    """The rows of the answer, how each shard was read, and what is known of groups left out.

    ``projection`` is that of :class:`alder.fragments.FragmentAnswer`. ``joined`` is how the shards
    of joined rows were read.
    """

    table: pa.Table
    scans: tuple[leaf_pb2.ShardScan, ...]
    left_out: LeftOut | None = None
    projection: str = ""
    joined: tuple[leaf_pb2.ShardScan, ...] = ()


@dataclass(frozen=True, slots=True)
class Joined:
    """Rows of another collection that a fragment reads as one more table."""

    message: leaf_pb2.JoinedRows
    views: Mapping[int, ShardView]
    cut: PositionVector | None
    keyed: bool


def run_fragment(
    views: Mapping[int, ShardView],
    fragment: leaf_pb2.Fragment,
    cut: PositionVector | None,
    keyed: bool,
    tools: FragmentTools,
    cancellation: Cancellation,
    mode: FragmentMode,
    wanted: Wanted = NO_MORE,
    stored: Mapping[int, StoredPartials] = MappingProxyType({}),
    unless: PositionVector | None = None,
    joined: Joined | None = None,
) -> FragmentResult:
    """The answer of shards at a cut, or at their newest (``cut`` None).

    ``wanted`` are groups that are not to be left out, ``stored`` what shards keep on disk. With
    ``unless`` only rows are read that are not in the answer at that cut, and the engine runs the
    fragment over them. Partials over ``joined`` rows are not kept: they depend on both collections.

    Raises AlderError: SCHEMA_CHANGED where a bound path has values of a type that its binding does
    not list, LIMIT where too much would be read, CORRUPT, and what :meth:`Engine.run` raises.
    """
    _check_overflow(views, fragment)
    if unless is not None:
        mode, stored = replace(mode, memoise=False, kernels=False, direct=False), {}
    inputs = engine_inputs(fragment, tools.input_bytes_max)
    joined_scans: tuple[leaf_pb2.ShardScan, ...] = ()
    if joined is not None:
        table, joined_scans = _joined_rows(joined, tools, cancellation, mode.without)
        inputs = (*inputs, table)
        mode = replace(mode, memoise=False)
    with tallying() as tally:
        shards = [
            _Shard(number, view, cut, unless, stored.get(number))
            for number, view in sorted(views.items())
        ]
        result = _result(shards, fragment, inputs, keyed, tools, cancellation, mode, wanted)
    for shard, scan in zip(shards, result.scans, strict=True):
        scopes = [segment.scope for segment in shard.view.segments]
        scan.pages_read = sum(tally.read[scope] for scope in scopes)
        scan.pages_cached = sum(tally.cached[scope] for scope in scopes)
    return replace(result, joined=joined_scans)


def _joined_rows(
    joined: Joined, tools: FragmentTools, cancellation: Cancellation, without: frozenset[str]
) -> tuple[EngineInput, tuple[leaf_pb2.ShardScan, ...]]:
    """Rows of another collection as a table, and how its shards were read."""
    asked = leaf_pb2.Fragment(columns=joined.message.columns, terms=joined.message.terms)
    _check_overflow(joined.views, asked)
    shards = [
        _Shard(number, view, joined.cut, None) for number, view in sorted(joined.views.items())
    ]
    fields = reduce(Schema.merged, (shard.view.schema for shard in shards), Schema()).fields
    plan = projection(asked.columns, fields, joined.keyed)
    reading = _Reading(asked, (), plan, joined.keyed, tools, cancellation, b"", False, without)
    tables, scans = [plan.needs.schema().empty_table()], []
    for shard in shards:
        rest, _, scan = _read_shard(shard, reading)
        tables += rest
        scans.append(scan)
    _check_size(tables, tools)
    physical = pa.concat_tables(tables)
    _check_watched(plan, physical)
    known_as = physical.rename_columns(engine_names(physical.num_columns))
    return EngineInput(joined.message.name, known_as, plan.select_list), tuple(scans)


def _check_size(tables: Sequence[pa.Table], tools: FragmentTools) -> None:
    if sum(table.nbytes for table in tables) > tools.scan_bytes_max:
        raise AlderError(
            Reason.LIMIT,
            f"the query reads more than {tools.scan_bytes_max >> 20} MiB on one leaf; "
            "name fewer columns or filter more",
        )


class _Shard:
    """A shard at the cut: its pieces, each with what becomes of it."""

    def __init__(
        self,
        number: int,
        view: ShardView,
        cut: PositionVector | None,
        unless: PositionVector | None,
        stored: StoredPartials | None = None,
    ) -> None:
        at = horizon_of(view, cut)
        self.number = number
        self.view = view
        self.stored = stored
        self.kept: list[Work] = []
        self.changes = None if unless is None else Changes.of(view, at, horizon_of(view, unless))
        chosen = partial(alive_piece, at=at) if self.changes is None else self.changes.piece
        self.works = [
            Work(Holder(holder, view.streams, view.replica), chosen(holder))
            for holder in holders(view)
        ]

    def scan(self) -> leaf_pb2.ShardScan:
        """What is known before anything is read."""
        return leaf_pb2.ShardScan(
            shard=self.number,
            positions=self.view.positions.to_proto(),
            rows_total=sum(work.piece.rows_count for work in (*self.works, *self.kept)),
            partials_stored=sum(not work.hit for work in self.kept),
            segments_total=len(self.view.segments),
            partials_hits=sum(work.hit for work in (*self.works, *self.kept)),
            partials_misses=sum(work.missed for work in self.works),
        )


def _result(
    shards: Sequence[_Shard],
    fragment: leaf_pb2.Fragment,
    inputs: Sequence[EngineInput],
    keyed: bool,
    tools: FragmentTools,
    cancellation: Cancellation,
    mode: FragmentMode,
    wanted: Wanted,
) -> FragmentResult:
    """The answer by the first way that can give it; tables beside `rows` are the engine's alone."""
    schemas = [shard.view.schema for shard in shards]
    whole = schemas[0] if len(schemas) == 1 else reduce(Schema.merged, schemas, Schema())
    fields = whole.fields
    if mode.direct and not inputs:
        asked = [DirectShard(_scope(one.view, keyed, mode.without), one.works) for one in shards]
        table = direct_result(fragment, asked, fields, keyed, cancellation)
        if table is not None:
            scans = tuple(map(_direct_scan, shards, asked))
            return FragmentResult(table, scans)
    plan = projection(fragment.columns, fields, keyed)
    if plan.needs.causes and any(shard.changes is None for shard in shards):
        raise AlderError(
            Reason.INVALID_ARGUMENT, "only rows that changed between two cuts have causes"
        )
    name = fingerprint(fragment, keyed)
    kept = _kept(shards, fragment, name, plan, Reading(fields, keyed, cancellation), tools, mode)
    if kept:
        rest = leaf_pb2.Fragment()
        rest.CopyFrom(fragment)
        if rest.HasField("aggregation"):
            rest.aggregation.ClearField("top")
        beside = replace(mode, direct=False, unfinished=False)
        other = _result(shards, rest, inputs, keyed, tools, cancellation, beside, NO_MORE)
        return _beside(kept, shards, other)
    if mode.kernels and not inputs and fragment.HasField("aggregation"):
        kernel_reading = Reading(fields, keyed, cancellation)
        works = [work for shard in shards for work in shard.works]
        found = tools.kernels.aggregate(
            fragment, name, plan, works, kernel_reading, mode.memoise, wanted
        )
        if found is not None:
            table, left_out = found
            scans = tuple(_kernel_scan(shard) for shard in shards)
            return FragmentResult(table, scans, left_out)
    memoise = mode.memoise and fragment.partial_aggregate and not plan.watched
    unfinished = mode.unfinished and not inputs
    reading = _Reading(
        fragment, inputs, plan, keyed, tools, cancellation, name, memoise, mode.without, unfinished
    )
    return _engine_result(shards, reading)


def _kept(
    shards: Sequence[_Shard],
    fragment: leaf_pb2.Fragment,
    name: bytes,
    plan: Projection,
    reading: Reading,
    tools: FragmentTools,
    mode: FragmentMode,
) -> list[pa.Table]:
    """Partials that are on disk, of segments which are no work any more; none if memory has all.

    Memory has merged them already, so it goes first; it is filled in the background then.
    """
    if not mode.memoise or not fragment.partial_aggregate or plan.watched:
        return []
    if not any(shard.stored is not None and name in shard.stored.kept for shard in shards):
        return []
    works = [work for shard in shards for work in shard.works]
    if mode.kernels and tools.kernels.remembers(name, works, reading):
        return []
    tables = []
    for shard in shards:
        rest = []
        for work in shard.works:
            table = None if shard.stored is None else _stored(shard.stored, name, work, tools)
            if table is None:
                rest.append(work)
            else:
                shard.kept.append(work)
                tables.append(table)
        shard.works = rest
        if shard.kept and shard.stored is not None:
            shard.stored.asked_cold(name)
    return tables


def _stored(
    stored: StoredPartials, name: bytes, work: Work, tools: FragmentTools
) -> pa.Table | None:
    """The partial of a piece that is on disk, from memory if it was read already."""
    piece = work.piece
    if not isinstance(piece.holder, Segment) or not stored.has(name, piece):
        return None
    key = (name, *rows_key(piece.holder, piece))
    found = tools.partials.find(key)
    work.hit = isinstance(found, pa.Table)
    if isinstance(found, pa.Table):
        return found
    table = stored.table(name, piece)
    if table is not None:
        tools.partials.put(key, table, table.nbytes)
    return table


def _beside(
    kept: Sequence[pa.Table], shards: Sequence[_Shard], rest: FragmentResult
) -> FragmentResult:
    """Kept partials and the result of the rest; a group may be in several of them."""
    schema = rest.table.schema
    tables = [rest.table, *(table.cast(schema) for table in kept)]
    for shard, scan in zip(shards, rest.scans, strict=True):
        if shard.kept:
            scan.engine = leaf_pb2.FRAGMENT_ENGINE_STORED
    return FragmentResult(pa.concat_tables(tables), rest.scans)


@dataclass(frozen=True, slots=True)
class _Reading:
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


def _direct_scan(shard: _Shard, read: DirectShard) -> leaf_pb2.ShardScan:
    scan = shard.scan()
    scan.rows_scanned = read.rows_read
    scan.rows_candidate = read.rows_candidate
    scan.segments_pruned = read.segments_pruned
    scan.access_paths.extend(read.paths)
    scan.engine = leaf_pb2.FRAGMENT_ENGINE_DIRECT
    return scan


def _kernel_scan(shard: _Shard) -> leaf_pb2.ShardScan:
    scan = shard.scan()
    scan.rows_scanned = scan.rows_candidate = sum(work.rows_matched for work in shard.works)
    scan.engine = leaf_pb2.FRAGMENT_ENGINE_KERNELS
    return scan


def _engine_result(shards: Sequence[_Shard], reading: _Reading) -> FragmentResult:
    needs, tools = reading.plan.needs, reading.tools
    tables = [needs.schema().empty_table()]
    partials: list[pa.Table] = []
    scans = []
    for shard in shards:
        rest, kept, scan = _read_shard(shard, reading)
        tables.extend(rest)
        partials.extend(kept)
        scans.append(scan)
        _check_size((*tables, *partials), tools)
    if len(tables) > 1 or not partials:
        physical = pa.concat_tables(tables)
        _check_watched(reading.plan, physical)
        handed_over = physical.nbytes <= HANDED_OVER_BYTES_MAX and not partials
        if reading.unfinished and handed_over:
            named = physical.rename_columns(engine_names(physical.num_columns))
            return FragmentResult(named, tuple(scans), projection=reading.plan.sql)
        partials.append(_run(physical, reading))
    return FragmentResult(pa.concat_tables(partials), tuple(scans))


def _run(physical: pa.Table, reading: _Reading) -> pa.Table:
    physical = physical.rename_columns(engine_names(physical.num_columns))
    return reading.tools.engine.run(
        physical,
        filtered_sql(reading.plan.sql, reading.fragment.key_filters),
        reading.fragment.sql,
        reading.cancellation,
        reading.inputs,
    )


def _read_shard(
    shard: _Shard, reading: _Reading
) -> tuple[list[pa.Table], list[pa.Table], leaf_pb2.ShardScan]:
    """The rows still to be aggregated, the partials of the others, and how it went."""
    view, needs, partials = shard.view, reading.plan.needs, reading.tools.partials
    tables, kept = [], []
    wanted = conditions(reading.fragment)
    scope = _scope(view, reading.keyed, reading.without)
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
            narrow = narrowed(segment, wanted, scope)
            paths.update(dict.fromkeys(narrow.paths))
            rows_candidate += segment.rows if narrow.rows is None else len(narrow.rows)
            pruned += narrow.rows is not None and not len(narrow.rows)
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
            tables.append(piece_table(piece, view.streams, needs, causes))
    scan = shard.scan()
    scan.rows_scanned = rows_scanned
    scan.rows_candidate = rows_candidate
    scan.segments_pruned = pruned
    scan.access_paths.extend(paths)
    scan.engine = leaf_pb2.FRAGMENT_ENGINE_DUCKDB
    return tables, kept, scan


def _scope(view: ShardView, keyed: bool, without: frozenset[str]) -> Scope:
    return Scope(view.schema.fields, keyed, view.streams, without)


def _rows_enough(fragment: leaf_pb2.Fragment, wanted: Sequence[Condition]) -> int | None:
    """So many rows that surely meet the condition are an answer of a shard; None: all are wanted.

    ``wanted`` are the conditions that indexes know.
    """
    known = fragment.terms_exact and len(wanted) == len(fragment.terms)
    return fragment.selection.limit if known and takes_any(fragment) else None


def horizon_of(view: ShardView, cut: PositionVector | None) -> Horizon:
    """A cut as this shard sees it; None for the shard's newest.

    Raises AlderError(OUT_OF_RANGE) for a cut that lies further back than history reaches.
    """
    ends = births.cut_births(view.streams, view.positions if cut is None else cut)
    missing = view.log_time.missing(ends)
    if missing is not None:
        source, partition = view.streams[missing]
        first = births.offsets_of(view.log_time.floor())[missing]
        raise AlderError(
            Reason.OUT_OF_RANGE,
            f"the answer as of offset {births.offsets_of(ends)[missing]} of {source}/{partition} "
            f"can't be had any more: history reaches back to offset {first}, which is "
            f"{period_text(view.log_time.history_us)} before the newest; ask for a later one",
        )
    return horizon(ends, view.tombstones, view.log_time.oldest_us(ends))


def _check_overflow(views: Mapping[int, ShardView], fragment: leaf_pb2.Fragment) -> None:
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


def segment_partial(
    view: ShardView,
    piece: Piece,
    fragment: leaf_pb2.Fragment,
    keyed: bool,
    tools: FragmentTools,
    cancellation: Cancellation,
) -> pa.Table:
    """The partial of a fragment over rows of a segment, by the engine. Raises as run_fragment."""
    _check_overflow({0: view}, fragment)
    plan = projection(fragment.columns, view.schema.fields, keyed)
    physical = piece_table(piece, view.streams, plan.needs)
    _check_watched(plan, physical)
    name = fingerprint(fragment, keyed)
    reading = _Reading(fragment, [], plan, keyed, tools, cancellation, name, False, frozenset())
    return _run(physical, reading)
