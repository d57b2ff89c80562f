"""CHECK INDEX: what the access paths of a shard find, beside what a scan of it finds.

Per sealed segment and field, over all rows, dead ones included, since indexes do not know who is
dead: every entry of every index, and every zone, is compared with the stored column; and predicates
made of values in the column run once through the narrowing that queries use and once through a scan
by the engine. Nothing of this comes from the cache of queries: what is checked is what is on disk.
Then some predicates run over the whole shard in each way that queries may take (`leaf/ways.py`).

A row that a path leaves out is the fault that invariant I3 forbids; one that it offers in vain is
not a fault of a predicate, but it is one of an exact index.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from alder.errors import AlderError, Reason
from alder.fieldtypes import column_name, sql_type
from alder.v1 import leaf_pb2
from leaf.access import Scope, conditions, narrowed
from leaf.bindings import engine_names, projection
from leaf.cache import PageCache
from leaf.engine import Cancellation
from leaf.format.meta import Index
from leaf.fragmentmodel import FragmentTools
from leaf.indexes import zones
from leaf.pieces import Piece, piece_table
from leaf.probes import PROBE_COLUMN, Probe, probes
from leaf.segment import Segment
from leaf.view import ShardView
from leaf.ways import counts

PAGES: Final = "pages"
LIVE_TAIL: Final = "live tail"
CACHE_BYTES: Final = 64 << 20
PREDICATES_PER_SCAN: Final = 32
PREDICATES_PER_SHARD: Final = 2
"""Of each field, for the ways that read the whole shard."""
_DAMAGE: Final = frozenset({Reason.CORRUPT, Reason.UNSUPPORTED})
_RANK: Final = (
    leaf_pb2.INDEX_VERDICT_EQUAL,
    leaf_pb2.INDEX_VERDICT_UNFINISHED,
    leaf_pb2.INDEX_VERDICT_DAMAGED,
    leaf_pb2.INDEX_VERDICT_DIFFERENT,
)
Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Means:
    """What a check works with: ``stop`` is true once its time is over."""

    tools: FragmentTools
    cancellation: Cancellation
    stop: Callable[[], bool]
    values_max: int
    seed: int


@dataclass(frozen=True, slots=True)
class _Target:
    """A path as queries bind it, and the stored columns behind it."""

    binding: leaf_pb2.ColumnBinding
    columns: tuple[str, ...]


@dataclass(slots=True)
class _Tally:
    predicates: int = 0
    rows_compared: int = 0
    verdict: leaf_pb2.IndexVerdict = leaf_pb2.INDEX_VERDICT_EQUAL
    faults: int = 0
    detail: str = ""

    def note(self, verdict: leaf_pb2.IndexVerdict, detail: str) -> None:
        if _RANK.index(verdict) > _RANK.index(self.verdict):
            self.verdict, self.detail = verdict, detail
        self.faults += verdict == leaf_pb2.INDEX_VERDICT_DIFFERENT

    def told(self) -> str:
        return f"{self.detail}, and {self.faults - 1} more" if self.faults > 1 else self.detail


@dataclass(slots=True)
class _Report:
    tallies: dict[str, _Tally] = field(default_factory=dict)

    def of(self, path: str) -> _Tally:
        return self.tallies.setdefault(path, _Tally())

    def messages(self, shard: int) -> list[leaf_pb2.IndexCheck]:
        return [
            leaf_pb2.IndexCheck(
                shard=shard,
                path=path,
                predicates=tally.predicates,
                rows_compared=tally.rows_compared,
                verdict=tally.verdict,
                detail=tally.told(),
            )
            for path, tally in sorted(self.tallies.items())
        ]


def check_shards(
    views: Mapping[int, ShardView], keyed: bool, means: Means
) -> list[leaf_pb2.IndexCheck]:
    """The checks of some shards; see :func:`check_shard`."""
    return [
        check
        for number, view in sorted(views.items())
        for check in check_shard(number, view, keyed, means)
    ]


def check_shard(
    number: int, view: ShardView, keyed: bool, means: Means
) -> list[leaf_pb2.IndexCheck]:
    """One message per access path of a shard, at least one.

    Raises AlderError: DEADLINE once cancelled, LIMIT where a column exceeds the engine's memory.
    """
    report = _Report()
    if not view.segments:
        report.of(LIVE_TAIL).detail = "nothing is sealed; every query scans the live tail"
    targets = _targets(view, keyed)
    first = means.seed % len(targets)
    work = [
        (segment, target)
        for segment in view.segments
        for target in targets[first:] + targets[:first]
    ]
    fresh: dict[int, Segment] = {}
    for done, (segment, target) in enumerate(work):
        means.cancellation.check()
        if means.stop():
            _stopped(report, done, len(work))
            break
        try:
            opened = fresh.get(id(segment))
            if opened is None:
                fresh = {id(segment): segment.reopened(PageCache(CACHE_BYTES))}
                opened = fresh[id(segment)]
            comparison = _Comparison(opened, target, view, keyed, means, report)
            found = comparison.run()
            if segment is view.segments[0]:
                comparison.ways(found)
        except AlderError as error:
            if error.reason not in _DAMAGE:
                raise
            report.of(PAGES).note(leaf_pb2.INDEX_VERDICT_DAMAGED, error.message)
    return report.messages(number)


def _stopped(report: _Report, done: int, count: int) -> None:
    report.of(PAGES)
    for tally in report.tallies.values():
        tally.note(
            leaf_pb2.INDEX_VERDICT_UNFINISHED,
            f"the time ran out after {done} of {count} fields of segments; allow a longer timeout",
        )


def _targets(view: ShardView, keyed: bool) -> list[_Target]:
    """Every field, the time and the identity; at least two."""
    found = [
        _Target(
            leaf_pb2.ColumnBinding(
                name=PROBE_COLUMN, path=path, sql_type=sql_type(tags), types=sorted(tags)
            ),
            tuple(column_name(tag, path) for tag in sorted(tags)),
        )
        for path, tags in sorted(view.schema.fields.items())
    ]
    for path, kind, column in (
        ("_id", "VARCHAR", "_key" if keyed else "_birth"),
        ("_time", "TIMESTAMP", "_time"),
    ):
        binding = leaf_pb2.ColumnBinding(name=PROBE_COLUMN, path=path, sql_type=kind)
        found.append(_Target(binding, (column,)))
    return found


@dataclass(frozen=True, slots=True)
class _Comparison:
    """One field of one segment."""

    segment: Segment
    target: _Target
    view: ShardView
    keyed: bool
    means: Means
    report: _Report

    def run(self) -> Sequence[Probe]:
        """Adds to the report; the predicates that ran. Raises AlderError."""
        stored = [name for name in self.target.columns if self.segment.has(name)]
        columns = {name: self.segment.column(name, None) for name in stored}
        usable = [self._entries(name, values) for name, values in columns.items()]
        if not all(usable):
            return []
        limit, seed = self.means.values_max, self.means.seed
        has = self.segment.has_index
        indexes = {kind for kind in Index for name in stored if has(name, kind)}
        found = probes(self.target.binding, columns, self.view.streams, limit, seed, indexes)
        self._probes(found, columns)
        return found

    def ways(self, found: Sequence[Probe]) -> None:
        """Runs some of the predicates over the whole shard in each way. Raises AlderError."""
        if self.view.schema.overflow:
            return
        step = max(1, len(found) // PREDICATES_PER_SHARD)
        for probe in found[::step][:PREDICATES_PER_SHARD]:
            for way, count, expected in counts(
                self.view, self.keyed, self.target.binding, probe, self.means.tools,
                self.means.cancellation,
            ):  # fmt: skip
                tally = self.report.of(way)
                tally.predicates += 1
                tally.rows_compared += expected
                if count != expected:
                    told = f"{self.target.binding.path}: {probe.told} finds {count} rows, "
                    told += f"a scan {expected}"
                    tally.note(leaf_pb2.INDEX_VERDICT_DIFFERENT, told)

    def _entries(self, name: str, values: pa.ChunkedArray) -> bool:
        """Compares each index with its column, entry by entry; false if one can't be used."""
        column = values.combine_chunks()
        usable = True
        for index in self.segment.indexes(name):
            tally = self.report.of(index.path)
            try:
                checked = index.check(column)
            except AlderError as error:
                if error.reason not in _DAMAGE:
                    raise
                tally.note(leaf_pb2.INDEX_VERDICT_DAMAGED, error.message)
                usable = False
                continue
            tally.predicates += checked.entries
            tally.rows_compared += len(values)
            if checked.fault:
                row = "" if checked.row is None else self._row(checked.row)
                tally.note(*self._differs(checked.fault.replace("{row}", row)))
                usable = usable and index.path == zones.PATH
        return usable

    def _probes(self, found: Sequence[Probe], columns: dict[str, pa.ChunkedArray]) -> None:
        scope = Scope(self.view.schema.fields, self.keyed, self.view.streams)
        read_by_rows = False
        for probe, matches in self._scanned(found):
            fragment = leaf_pb2.Fragment(columns=[self.target.binding], terms=[probe.term])
            by_index = narrowed(self.segment, conditions(fragment), scope)
            for path in by_index.paths:
                tally = self.report.of(path.removesuffix(f"({self.target.binding.path})"))
                tally.predicates += 1
                tally.rows_compared += self.segment.rows
                if by_index.exact and by_index.count != len(matches):
                    told = f"{probe.told} counts {by_index.count} rows, a scan {len(matches)}"
                    tally.note(*self._differs(told))
                if by_index.rows is not None:
                    missing = matches[~np.isin(matches, by_index.rows, assume_unique=True)]
                    if len(missing):
                        row = self._row(int(missing[0]))
                        tally.note(*self._differs(f"{probe.told} leaves out {row}"))
            if by_index.rows is not None and not read_by_rows:
                read_by_rows = True
                self._reading(by_index.rows, columns)

    def _scanned(self, found: Sequence[Probe]) -> Iterator[tuple[Probe, Rows]]:
        """Each probe with the rows that the engine finds without any index."""
        if not found:
            return
        fields = self.view.schema.fields
        plan = projection([self.target.binding], fields, self.keyed)
        table = piece_table(Piece(self.segment, None), self.view.streams, plan.needs)
        physical = table.rename_columns(engine_names(table.num_columns))
        for begin in range(0, len(found), PREDICATES_PER_SCAN):
            some = found[begin : begin + PREDICATES_PER_SCAN]
            items = [f"coalesce({probe.sql}, false) AS m{n}" for n, probe in enumerate(some)]
            sql = f"SELECT {', '.join(items)} FROM rows"
            masks = self.means.tools.engine.run(physical, plan.sql, sql, self.means.cancellation)
            for probe, mask in zip(some, masks.columns, strict=True):
                yield probe, np.flatnonzero(mask.to_numpy())

    def _reading(self, rows: Rows, columns: dict[str, pa.ChunkedArray]) -> None:
        tally = self.report.of(PAGES)
        tally.predicates += 1
        tally.rows_compared += len(rows)
        for name, values in columns.items():
            chosen, scanned = self.segment.column(name, rows), values.take(pa.array(rows))
            if not _same(chosen, scanned):
                tally.note(*self._differs("reading some rows gives other values than a scan"))

    def _row(self, row: int) -> str:
        return self.view.streams.ids_of(self.segment.births()[row : row + 1])[0]

    def _differs(self, what: str) -> tuple[leaf_pb2.IndexVerdict, str]:
        where = f"{self.target.binding.path} in segment {self.segment.number}"
        return leaf_pb2.INDEX_VERDICT_DIFFERENT, f"{where}: {what}"


def _same(some: pa.ChunkedArray, others: pa.ChunkedArray) -> bool:
    """Equal, with every NaN like any other."""
    if some.equals(others):
        return True
    if not pa.types.is_floating(some.type) or some.null_count != others.null_count:
        return False
    return bool(np.array_equal(some.to_numpy(), others.to_numpy(), equal_nan=True))
