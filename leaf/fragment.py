"""Runs a fragment over the views of some shards at one cut, in the first way that can answer it.

Where indexes leave a few rows, these are read and compared directly (:mod:`leaf.direct`); an
aggregation that is simple enough runs in the kernels; everything else is gathered for the engine
(:mod:`leaf.gathering`). All give the same rows, so the choice only decides what an answer costs.
Where results of parts may be put together, those of sealed segments are kept, and a segment whose
result is at hand isn't read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import reduce
from types import MappingProxyType

import pyarrow as pa

from alder.errors import AlderError, Reason
from alder.positions import PositionVector
from alder.schema import Schema
from alder.v1 import leaf_pb2
from leaf.bindings import Projection, projection
from leaf.direct import ROWS_MAX, DirectShard, direct_result, takes_any
from leaf.engine import Cancellation, EngineInput
from leaf.fragmentmodel import FragmentMode, FragmentResult, FragmentTools, Joined
from leaf.gathering import (
    PICKED_SHARE,
    WHOLE_ROWS_MAX,
    EngineReading,
    check_overflow,
    engine_result,
    joined_rows,
)
from leaf.inputs import engine_inputs
from leaf.kernels.columns import Reading
from leaf.kernels.livetail import Work
from leaf.kernels.top import NO_MORE, Wanted
from leaf.partials import fingerprint, rows_key
from leaf.segment import Segment
from leaf.shardatcut import ShardAtCut, scope_of
from leaf.stored import StoredPartials
from leaf.tally import tallying
from leaf.view import ShardView


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
    check_overflow(views, fragment)
    if unless is not None:
        mode, stored = replace(mode, memoise=False, kernels=False, direct=False), {}
    inputs = engine_inputs(fragment, tools.input_bytes_max)
    joined_scans: tuple[leaf_pb2.ShardScan, ...] = ()
    if joined is not None:
        table, joined_scans = joined_rows(joined, tools, cancellation, mode.without)
        inputs = (*inputs, table)
        mode = replace(mode, memoise=False)
    with tallying() as tally:
        shards = [
            ShardAtCut(number, view, cut, unless, stored.get(number))
            for number, view in sorted(views.items())
        ]
        result = _result(shards, fragment, inputs, keyed, tools, cancellation, mode, wanted)
    for shard, scan in zip(shards, result.scans, strict=True):
        scopes = [segment.scope for segment in shard.view.segments]
        scan.pages_read = sum(tally.read[scope] for scope in scopes)
        scan.pages_cached = sum(tally.cached[scope] for scope in scopes)
    return replace(result, joined=joined_scans)


def _result(
    shards: Sequence[ShardAtCut],
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
    columns = Reading(fields, keyed, cancellation)
    unfinished = mode.unfinished and not inputs
    rows_total = sum(work.piece.rows_count for shard in shards for work in shard.works)
    small = unfinished and rows_total <= WHOLE_ROWS_MAX and not takes_any(fragment)
    picks = fragment.HasField("selection") and unfinished and not takes_any(fragment)
    if mode.direct and not inputs and not (picks and small):
        rows_max = min(ROWS_MAX, rows_total // PICKED_SHARE) if picks else ROWS_MAX
        found_directly = _directly(shards, fragment, columns, mode, rows_max)
        if found_directly is not None:
            return found_directly
    plan = projection(fragment.columns, fields, keyed)
    if plan.needs.causes and any(shard.changes is None for shard in shards):
        raise AlderError(
            Reason.INVALID_ARGUMENT, "only rows that changed between two cuts have causes"
        )
    name = fingerprint(fragment, keyed)
    kept = _kept(shards, fragment, name, plan, columns, tools, mode)
    if kept:
        rest = leaf_pb2.Fragment()
        rest.CopyFrom(fragment)
        if rest.HasField("aggregation"):
            rest.aggregation.ClearField("top")
        beside = replace(mode, direct=False, unfinished=False)
        other = _result(shards, rest, inputs, keyed, tools, cancellation, beside, NO_MORE)
        return _beside(kept, shards, other)
    if mode.kernels and not inputs and fragment.HasField("aggregation"):
        works = [work for shard in shards for work in shard.works]
        found = tools.kernels.aggregate(fragment, name, plan, works, columns, mode.memoise, wanted)
        if found is not None:
            scans = tuple(_kernel_scan(shard) for shard in shards)
            return FragmentResult(found.table, scans, found.left_out, apart=found.apart)
    memoise = mode.memoise and fragment.partial_aggregate and not plan.watched
    reading = EngineReading(
        fragment,
        inputs,
        plan,
        keyed,
        tools,
        cancellation,
        name,
        memoise,
        mode.without,
        unfinished,
        small,
    )
    return engine_result(shards, reading)


def _directly(
    shards: Sequence[ShardAtCut],
    fragment: leaf_pb2.Fragment,
    reading: Reading,
    mode: FragmentMode,
    rows_max: int,
) -> FragmentResult | None:
    """The answer from up to so many rows of a shard, if indexes leave no more."""
    asked = [
        DirectShard(scope_of(one.view, reading.keyed, mode.without), one.works, rows_max)
        for one in shards
    ]
    table = direct_result(fragment, asked, reading.fields, reading.keyed, reading.cancellation)
    if table is None:
        return None
    return FragmentResult(table, tuple(map(_direct_scan, shards, asked)))


def _kept(
    shards: Sequence[ShardAtCut],
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
    kept: Sequence[pa.Table], shards: Sequence[ShardAtCut], rest: FragmentResult
) -> FragmentResult:
    """Kept partials and the result of the rest; a group may be in several of them."""
    schema = rest.table.schema
    tables = [rest.table, *(table.cast(schema) for table in kept)]
    for shard, scan in zip(shards, rest.scans, strict=True):
        if shard.kept:
            scan.engine = leaf_pb2.FRAGMENT_ENGINE_STORED
    return FragmentResult(pa.concat_tables(tables), rest.scans)


def _direct_scan(shard: ShardAtCut, read: DirectShard) -> leaf_pb2.ShardScan:
    scan = shard.scan()
    scan.rows_scanned = read.rows_read
    scan.rows_candidate = read.rows_candidate
    scan.segments_pruned = read.segments_pruned
    scan.access_paths.extend(read.paths)
    scan.engine = leaf_pb2.FRAGMENT_ENGINE_DIRECT
    return scan


def _kernel_scan(shard: ShardAtCut) -> leaf_pb2.ShardScan:
    scan = shard.scan()
    scan.rows_scanned = scan.rows_candidate = sum(work.rows_matched for work in shard.works)
    scan.engine = leaf_pb2.FRAGMENT_ENGINE_KERNELS
    return scan
