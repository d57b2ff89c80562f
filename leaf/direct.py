"""Runs a fragment without an engine: reads the few rows that indexes leave and compares values.

A fragment that only selects or counts rows by simple conditions costs an engine more to set up than
to run. Where its conditions are terms that mean exactly what they say on the stored values, the
rows left by the indexes are compared here, all conditions over; only where rows are counted, and an
index says that its count is exact, nothing is read (I3). Rows that a segment found by their births
are those of the ids: a birth is what an id says. Whatever is not surely the same as in SQL
(NaN, types that need a cast which may fail, too many rows) is refused before anything is answered,
and an engine runs it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from alder.fieldtypes import ROW_COLUMN
from alder.v1 import leaf_pb2
from leaf.access import Condition, Narrowed, Scope, conditions, narrowed
from leaf.births import Streams, births_of_ids, is_id
from leaf.engine import Cancellation
from leaf.kernels.livetail import Work
from leaf.kernels.unsupported import Unsupported
from leaf.pieces import Piece, births_of
from leaf.rowvalues import RowValues
from leaf.segment import Segment

ROWS_MAX: Final = 1 << 15
"""Rows of sealed segments that are read; for more, an engine costs little beside reading them."""
_COMPARE: Final = {
    "=": pc.equal,
    "<>": pc.not_equal,
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
}
_ORDERED: Final = frozenset({pa.string(), pa.int32(), pa.int64(), pa.float64(), pa.timestamp("us")})


@dataclass(slots=True)
class DirectShard:
    """A shard to read, and how it went.

    ``rows_max`` bounds the rows of sealed segments that are read.
    """

    scope: Scope
    works: Sequence[Work]
    rows_max: int
    rows_read: int = 0
    rows_candidate: int = 0
    segments_pruned: int = 0
    paths: dict[str, None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Found:
    """Rows of a piece that meet all conditions."""

    piece: Piece
    streams: Streams


class _Rows(Protocol):
    """Tells which rows of a piece meet a condition."""

    def mask(self, piece: Piece, streams: Streams) -> NDArray[np.bool_]: ...


def direct_result(
    fragment: leaf_pb2.Fragment,
    shards: Sequence[DirectShard],
    fields: Mapping[str, Iterable[str]],
    keyed: bool,
    cancellation: Cancellation,
) -> pa.Table | None:
    """The result of a fragment; None where an engine must run it.

    Raises AlderError: CORRUPT, DEADLINE, INVALID_ARGUMENT.
    """
    simple = fragment.HasField("selection") or _only_counts(fragment.aggregation)
    narrows = fragment.terms_exact and (fragment.terms or takes_any(fragment))
    if not (simple and narrows):
        return None
    try:
        return _Lookup(fragment, fields, keyed).result(shards, cancellation)
    except (Unsupported, pa.ArrowNotImplementedError):
        return None


def takes_any(fragment: leaf_pb2.Fragment) -> bool:
    """True if any rows are an answer."""
    selection = fragment.selection
    return selection.HasField("limit") and not selection.orders


class _Comparison:
    """One condition over values."""

    def __init__(self, condition: Condition, values: RowValues) -> None:
        """Raises Unsupported where comparing isn't surely what SQL says."""
        kind, constants = values.kind, condition.values
        if kind == pa.bool_():
            fits = condition.operator in {"=", "in", "<>"}
            fits = fits and all(isinstance(one, bool) for one in constants)
        elif kind == pa.string():
            fits = all(isinstance(one, str) for one in constants)
        else:
            allowed = (int, float) if kind == pa.float64() else int
            fits = kind in {pa.int32(), pa.int64(), pa.float64()}
            fits = fits and all(
                isinstance(one, allowed) and not isinstance(one, bool) for one in constants
            )
        if not fits or condition.operator not in {"in", *_COMPARE}:
            raise Unsupported
        self._values = values
        self._operator = condition.operator
        self._constants = pa.array(constants, pa.int64() if kind == pa.int32() else kind)

    def mask(self, piece: Piece, streams: Streams) -> NDArray[np.bool_]:
        """True where the condition holds. Raises Unsupported for NaN, and AlderError(CORRUPT)."""
        kind = self._constants.type
        column = self._values.of(piece, streams).cast(kind)
        if kind == pa.float64() and pc.any(pc.is_nan(column)).as_py():
            raise Unsupported
        if self._operator == "in":
            met = pc.is_in(column, value_set=self._constants)
        else:
            met = _COMPARE[self._operator](column, self._constants[0])
        return np.asarray(pc.fill_null(met, False))


class _Ids:
    """A condition on the ids of rows without a key, which say where the rows were born."""

    def __init__(self, condition: Condition) -> None:
        """Raises Unsupported for a comparison of their order."""
        if condition.operator not in {"=", "in"}:
            raise Unsupported
        self.condition: Final = condition
        self._known: dict[Streams, NDArray[np.int64]] = {}

    def mask(self, piece: Piece, streams: Streams) -> NDArray[np.bool_]:
        """True for the rows born there. Raises AlderError(CORRUPT)."""
        known = self._known.get(streams)
        if known is None:
            ids = [one for one in self.condition.values if isinstance(one, str)]
            known = self._known[streams] = births_of_ids(filter(is_id, ids), streams)
        return np.isin(births_of(piece), known)


class _Lookup:
    """A fragment made ready."""

    def __init__(
        self, fragment: leaf_pb2.Fragment, fields: Mapping[str, Iterable[str]], keyed: bool
    ) -> None:
        """Raises Unsupported for a fragment that is left to an engine."""
        self._fragment = fragment
        self._takes_any = takes_any(fragment)
        self._conditions = conditions(fragment)
        by_name = {one.name: one for one in fragment.columns}
        by_path = {one.path: one for one in fragment.columns}
        if len(self._conditions) < len(fragment.terms):
            raise Unsupported

        def values(binding: leaf_pb2.ColumnBinding | None) -> RowValues:
            if binding is None:
                raise Unsupported
            tags = fields.get(binding.path, ())
            if binding.types and not set(tags) <= set(binding.types):
                raise Unsupported
            return RowValues(binding, tags, keyed)

        self._checks: list[_Rows] = [
            _Ids(one)
            if one.path == "_id" and not keyed
            else _Comparison(one, values(by_path.get(one.path)))
            for one in self._conditions
        ]
        selection = fragment.selection
        self._columns = [values(by_name.get(name)) for name in selection.columns]
        self._orders = [values(by_name.get(one.column)) for one in selection.orders]
        if not all(one.kind in _ORDERED for one in self._orders):
            raise Unsupported

    def result(self, shards: Sequence[DirectShard], cancellation: Cancellation) -> pa.Table:
        """The rows, or their number. Raises Unsupported, and AlderError: CORRUPT, DEADLINE."""
        if not self._fragment.HasField("selection"):
            return self._counted(shards, cancellation)
        left = self._fragment.selection.limit if self._takes_any else None
        found: list[_Found] = []
        for shard in shards:
            for work in shard.works:
                cancellation.check()
                if left is not None and left <= 0:
                    break
                narrow = self._narrowed(work, shard)
                if narrow is not None and not narrow.count:
                    continue
                piece = self._met(work, shard, narrow, left)
                found.append(_Found(piece, shard.scope.streams))
                left = None if left is None else left - piece.rows_count
        return self._selected([one for one in found if one.piece.rows_count])

    def _counted(self, shards: Sequence[DirectShard], cancellation: Cancellation) -> pa.Table:
        """How many rows there are; where an index counts them exactly, nothing is read."""
        count = 0
        for shard in shards:
            for work in shard.works:
                cancellation.check()
                narrow = self._narrowed(work, shard)
                if narrow is not None and narrow.exact and work.piece.rows is None:
                    count += narrow.count
                else:
                    count += self._met(work, shard, narrow, None).rows_count
        names = [call.name for call in self._fragment.aggregation.aggregates]
        column = pa.array([count], pa.int64())
        return pa.Table.from_arrays([column] * len(names), names=names)

    def _narrowed(self, work: Work, shard: DirectShard) -> Narrowed | None:
        """What indexes say of a sealed segment."""
        segment = work.holder.rows
        if not isinstance(segment, Segment):
            return None
        narrow = narrowed(segment, self._conditions, shard.scope)
        shard.paths.update(dict.fromkeys(narrow.paths))
        shard.rows_candidate += narrow.count
        shard.segments_pruned += not narrow.count
        return narrow

    def _met(
        self, work: Work, shard: DirectShard, narrow: Narrowed | None, limit: int | None
    ) -> Piece:
        """The rows of a piece that meet all conditions; with a limit, the first that do."""
        piece, checks = work.piece, self._checks
        if narrow is not None:
            if narrow.count > shard.rows_max and limit is None:
                raise Unsupported
            piece = piece.narrowed(narrow.rows)
            if narrow.rows is not None:
                checks = [one for one in checks if not _is_decided(one, shard.scope)]
        if limit is None:
            return self._checked(piece, shard, checks)
        begin, met, step = 0, 0, 2 * limit
        parts = [np.empty(0, dtype=np.int64)]
        while begin < piece.rows_count and met < limit:
            part = self._checked(piece.between(begin, begin + step), shard, checks)
            parts.append(part.numbers())
            met += part.rows_count
            begin, step = begin + step, 2 * step
        return Piece(piece.holder, np.concatenate(parts)[:limit])

    def _checked(self, piece: Piece, shard: DirectShard, checks: Sequence[_Rows]) -> Piece:
        shard.rows_read += piece.rows_count
        if isinstance(piece.holder, Segment) and shard.rows_read > shard.rows_max:
            raise Unsupported
        for check in checks:
            if piece.rows_count:
                piece = piece.taken(np.flatnonzero(check.mask(piece, shard.scope.streams)))
        return piece

    def _selected(self, found: Sequence[_Found]) -> pa.Table:
        """The columns of the rows found, or of the first of them in their order."""
        names = list(self._fragment.selection.columns)
        if not names:
            return pa.table(
                {ROW_COLUMN: pa.repeat(True, sum(one.piece.rows_count for one in found))}
            )
        schema = pa.schema(list(zip(names, (one.kind for one in self._columns), strict=True)))
        chosen = self._first(found) if self._orders and found else None
        if chosen is not None:
            ends = np.cumsum([one.piece.rows_count for one in found])
            ascending = np.sort(chosen)
            begins = np.searchsorted(ascending, ends - [one.piece.rows_count for one in found])
            parts = np.split(ascending, begins[1:])
            found = [
                _Found(one.piece.taken(part - (end - one.piece.rows_count)), one.streams)
                for one, part, end in zip(found, parts, ends, strict=True)
            ]
        tables = [
            pa.Table.from_arrays(
                [values.of(one.piece, one.streams) for values in self._columns], schema=schema
            )
            for one in found
            if one.piece.rows_count
        ]
        table = tables[0] if len(tables) == 1 else pa.concat_tables([schema.empty_table(), *tables])
        if chosen is None:
            return table
        return table.take(pa.array(np.argsort(np.argsort(chosen))))

    def _first(self, found: Sequence[_Found]) -> NDArray[np.int64]:
        """The places of the rows that come first, in their order. Raises Unsupported for NaN."""
        selection = self._fragment.selection
        columns = [
            pa.chunked_array(
                [chunk for one in found for chunk in values.of(one.piece, one.streams).chunks],
                values.kind,
            )
            for values in self._orders
        ]
        for column in columns:
            if column.type == pa.float64() and pc.any(pc.is_nan(column)).as_py():
                raise Unsupported
        keys = [str(number) for number in range(len(columns))]
        directions = ["descending" if one.descending else "ascending" for one in selection.orders]
        order = pc.sort_indices(
            pa.Table.from_arrays(columns, names=keys),
            sort_keys=list(zip(keys, directions, strict=True)),
        )
        places = np.asarray(order).astype(np.int64)
        return places[: selection.limit] if selection.HasField("limit") else places


def _is_decided(check: _Rows, scope: Scope) -> bool:
    """True for a condition on ids where rows are those that a segment finds by their births."""
    return isinstance(check, _Ids) and scope.births_of(check.condition) is not None


def _only_counts(aggregation: leaf_pb2.Aggregation) -> bool:
    """True if all rows are one group, and only counted."""
    calls = aggregation.aggregates
    return (
        not aggregation.keys
        and bool(calls)
        and all(call.function == "count_star" for call in calls)
    )
