"""Runs a fragment over the views of some shards at one cut.

The rows alive at the cut are gathered, narrowed by what indexes know (a superset, I3), and handed
to the engine in one table; the fragment's own predicate decides.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from alder.errors import AlderError, Reason
from alder.positions import PositionVector
from alder.v1 import leaf_pb2
from leaf import births
from leaf.access import Condition, Scope, candidates, conditions
from leaf.bindings import Projection, engine_names, projection
from leaf.engine import Cancellation, Engine
from leaf.pieces import ColumnNeeds, alive_piece, holders, piece_table
from leaf.segment import Segment
from leaf.view import ShardView
from leaf.visibility import Horizon, horizon


@dataclass(frozen=True, slots=True)
class FragmentLimits:
    """What one fragment may use."""

    scan_bytes_max: int


@dataclass(frozen=True, slots=True)
class FragmentResult:
    """The rows of the answer and how each shard was read."""

    table: pa.Table
    scans: tuple[leaf_pb2.ShardScan, ...]


def run_fragment(
    views: Mapping[int, ShardView],
    fragment: leaf_pb2.Fragment,
    cut: PositionVector | None,
    keyed: bool,
    engine: Engine,
    limits: FragmentLimits,
    cancellation: Cancellation,
) -> FragmentResult:
    """The answer of shards at a cut, or at their newest (``cut`` None).

    Raises AlderError: SCHEMA_CHANGED where a bound path has values of a type that its binding does
    not list, LIMIT where too much would be read, CORRUPT, and what :meth:`Engine.run` raises.
    """
    fields: dict[str, set[str]] = {}
    for view in views.values():
        for path, tags in view.schema.fields.items():
            fields.setdefault(path, set()).update(tags)
    _check_overflow(views, fragment)
    plan = projection(fragment.columns, fields, keyed)
    tables = [plan.needs.schema().empty_table()]
    scans = []
    reading = _Reading(cut, plan.needs, conditions(fragment), keyed, cancellation)
    for shard, view in sorted(views.items()):
        pieces, scan = _read_shard(shard, view, reading)
        tables.extend(pieces)
        scans.append(scan)
        if sum(table.nbytes for table in tables) > limits.scan_bytes_max:
            raise AlderError(
                Reason.LIMIT,
                f"the query reads more than {limits.scan_bytes_max >> 20} MiB on one leaf; "
                "name fewer columns or filter more",
            )
    physical = pa.concat_tables(tables)
    _check_watched(plan, physical)
    physical = physical.rename_columns(engine_names(physical.num_columns))
    result = engine.run(physical, plan.sql, fragment.sql, cancellation)
    return FragmentResult(result, tuple(scans))


@dataclass(frozen=True, slots=True)
class _Reading:
    cut: PositionVector | None
    needs: ColumnNeeds
    conditions: tuple[Condition, ...]
    keyed: bool
    cancellation: Cancellation


def _read_shard(
    shard: int, view: ShardView, reading: _Reading
) -> tuple[list[pa.Table], leaf_pb2.ShardScan]:
    tables = []
    at = horizon_of(view, reading.cut)
    scope = Scope(view.schema.fields, reading.keyed, view.streams)
    rows_total = rows_scanned = pruned = 0
    for holder in holders(view):
        reading.cancellation.check()
        piece = alive_piece(holder, at)
        rows_total += piece.rows_count
        if isinstance(holder, Segment):
            found = candidates(holder, reading.conditions, scope)
            pruned += found is not None and not len(found)
            piece = piece.narrowed(found)
        rows_scanned += piece.rows_count
        if piece.rows_count:
            tables.append(piece_table(piece, view.streams, reading.needs))
    scan = leaf_pb2.ShardScan(
        shard=shard,
        positions=view.positions.to_proto(),
        rows_total=rows_total,
        rows_scanned=rows_scanned,
        segments_total=len(view.segments),
        segments_pruned=pruned,
    )
    return tables, scan


def horizon_of(view: ShardView, cut: PositionVector | None) -> Horizon:
    """A cut as this shard sees it; None for the shard's newest."""
    at = view.positions if cut is None else cut
    return horizon(births.cut_births(view.streams, at), view.tombstones)


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
