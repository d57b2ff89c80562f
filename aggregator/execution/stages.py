"""Gathers what a plan reads, in stages where something gathered first saves much of the rest.

All stages read the cut of their query. Rows are counted first, where there may be many; what
follows from the counts is decided in :mod:`aggregator.planning.strategy`. Then each stage asks for
the reads that need nothing which is not gathered: values of a column go along with a read as a
filter, and tables as inputs of its fragment.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Final

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from aggregator.execution.gathered import Gathered
from aggregator.execution.leafcalls import gather
from aggregator.planning import strategy
from aggregator.planning.joins import Reduction
from aggregator.planning.plan import COUNT_COLUMN, Plan, Read
from aggregator.planning.strategy import JoinLimits, Size
from aggregator.statement.tablename import TableName
from alder.arrow import to_bytes
from alder.v1 import leaf_pb2

Call = Callable[[Read, Read | None, bool], Awaitable[Gathered]]
"""Asks the leaves for a read, which may join its rows with those of another one beside them; the
third says whether what comes may be unfinished."""
TERMS_MAX: Final = 1000
"""Values that indexes are asked for one by one."""
SHARED_ROWS_MAX: Final = 4 << 20
"""Rows of a collection up to which leaves of this process hand them over as they are."""
KEY_BYTES_MAX: Final = 8 << 20
"""Bytes of the values that go along with one read."""
_LISTED: Final = frozenset({"VARCHAR", "BIGINT"})
_WIDE_BYTES: Final = 32
_NARROW_BYTES: Final = 8
_NARROW: Final = frozenset({"BIGINT", "INTEGER", "DOUBLE", "BOOLEAN", "DATE", "TIMESTAMP"})


@dataclass(frozen=True, slots=True)
class Stages:
    """What was gathered for the reads of ``plan``, in their order, and what was decided."""

    plan: Plan
    answers: tuple[Gathered, ...]
    told: tuple[str, ...] = ()


async def gathered_in_stages(
    plan: Plan,
    call: Call,
    bounds: Mapping[str, int],
    limits: JoinLimits,
    forced: str,
    shares_memory: bool = False,
) -> Stages:
    """The answers to all reads of a plan, or of another one for the same statement.

    ``bounds``: by collection, at least as many rows as it has. ``forced``: a strategy's name, or
    "". ``shares_memory``: rows need not travel, so that there is nothing to save unless they are
    very many. Raises AlderError.
    """
    strategy.check_strategy(forced)
    at_most = {read.table: bounds[read.collection] for read in plan.reads}
    choice = plan.reductions or plan.broadcasts or plan.colocated
    few = max(at_most.values(), default=0) <= SHARED_ROWS_MAX
    nothing_to_save = shares_memory and few and not forced
    if not choice or nothing_to_save or not strategy.worth_counting(at_most, forced):
        return Stages(plan, tuple(await gather([call(read, None, True) for read in plan.reads])))
    counting = [read for read in plan.reads if read.count is not None]
    counts = await gather([_count(call, read, read.count) for read in counting if read.count])
    sizes = {
        read.table: Size(rows, _row_bytes(read))
        for read, rows in zip(counting, counts, strict=True)
    }
    told = [_counted(counting, sizes)]
    chosen = strategy.chosen_reductions(plan.reductions, sizes, limits, forced)
    work = _Work(call, chosen, limits, told)
    other = _joined_on_leaves(plan, sizes, limits, forced)
    if other is not None and await work.gather_inputs(other):
        plan = other
    return await work.gather_rest(plan)


def _joined_on_leaves(
    plan: Plan, sizes: Mapping[str, Size], limits: JoinLimits, forced: str
) -> Plan | None:
    """The plan for the leaves of the most rows, if the others are few enough."""
    for big, other in sorted(plan.broadcasts, key=lambda one: -sizes[one[0]].rows):
        small = [read.table for read in other.reads if read.table != big]
        if strategy.may_broadcast(big, small, sizes, limits, forced):
            return other
    for big, other in sorted(plan.colocated, key=lambda one: -sizes[one[0]].rows):
        [read] = [one for one in other.reads if one.table == big]
        if strategy.may_colocate(big, read.joined, read.inputs, sizes, limits, forced):
            return other
    return None


class _Work:
    """The stages of one query: what is gathered so far, by table."""

    def __init__(
        self, call: Call, chosen: Sequence[Reduction], limits: JoinLimits, told: list[str]
    ) -> None:
        self._call = call
        self._chosen = chosen
        self._limits = limits
        self._told = told
        self._answers: dict[str, Gathered] = {}

    async def gather_inputs(self, plan: Plan) -> bool:
        """Gathers what would go along in a plan; False where it is too large for that."""
        inputs = {table for read in plan.reads for table in read.inputs}
        await self._gather(plan, inputs, finished=True)
        size_bytes: int = sum(self._answers[table].rows.nbytes for table in inputs)
        if size_bytes <= self._limits.broadcast_bytes_max:
            return True
        self._told.append(f"no broadcast: {size_bytes} bytes are too many to go along")
        return False

    async def gather_rest(self, plan: Plan) -> Stages:
        """Gathers all that is missing."""
        await self._gather(plan, {read.table for read in plan.reads}, finished=False)
        answers = tuple(self._answers[read.table] for read in plan.reads)
        return Stages(plan, answers, tuple(self._told))

    async def _gather(self, plan: Plan, wanted: Set[str], finished: bool) -> None:
        """``finished``: all of it is needed here, not only what others need."""
        reads = {read.table: read for read in plan.reads}
        beside = {read.joined: read.table for read in plan.reads if read.joined}
        partial = {table for table, read in reads.items() if read.read_class == "a"}
        partial |= set(beside)
        needs: dict[str, set[str]] = {table: set(reads[table].inputs) for table in wanted}
        usable = [
            one
            for one in self._chosen
            if one.target in wanted
            and (one.source in wanted or one.source in self._answers)
            and one.source not in partial
        ]
        for one in usable:
            needs[one.target].add(one.source)
        needed = wanted if finished else {table for of_one in needs.values() for table in of_one}
        for stage in strategy.levels(tuple(reads), needs):
            made = []
            for table in stage:
                if table in wanted and table not in self._answers and table not in beside:
                    own = [one for one in usable if one.target == table]
                    read, told = _prepared(reads[table], own, reads, self._answers, plan)
                    self._told += told
                    made.append(read)
            found = await gather(
                [
                    self._call(read, reads.get(read.joined), read.table not in needed)
                    for read in made
                ]
            )
            for read, answer in zip(made, found, strict=True):
                size_bytes = _input_bytes(read.fragment)
                self._answers[read.table] = replace(answer, input_bytes=size_bytes)
        for table, big in beside.items():
            if big in self._answers:
                self._answers[table] = _read_beside(reads[table], self._answers[big])


async def _count(call: Call, read: Read, fragment: leaf_pb2.Fragment) -> int:
    counted = await call(replace(read, fragment=fragment, search=None), None, False)
    return int(pc.sum(counted.rows.column(COUNT_COLUMN)).as_py() or 0)


def _read_beside(read: Read, answer: Gathered) -> Gathered:
    """What there is of a read whose rows stayed on the leaves: how its shards were read."""
    return Gathered(pa.table({name: pa.nulls(0) for name, _ in read.columns}), answer.joined, ())


def _row_bytes(read: Read) -> int:
    return sum(_NARROW_BYTES if kind in _NARROW else _WIDE_BYTES for _, kind in read.columns)


def _prepared(
    read: Read,
    chosen: Sequence[Reduction],
    reads: Mapping[str, Read],
    answers: Mapping[str, Gathered],
    plan: Plan,
) -> tuple[Read, list[str]]:
    """The read with what goes along, and what to say of it."""
    if not chosen and not read.inputs and not read.joined:
        return read, []
    fragment = leaf_pb2.Fragment()
    fragment.CopyFrom(read.fragment)
    sentences = []
    if read.joined:
        sentences.append(
            f"colocated: the leaves of {_name(read)} join it with their rows of "
            f"{_name(reads[read.joined])}, which are sharded alike"
        )
    user_names = plan.user_names
    left_bytes = KEY_BYTES_MAX
    for table in read.inputs:
        rows = answers[table].rows
        columns = [
            leaf_pb2.InputColumn(name=name, sql_type=kind) for name, kind in reads[table].columns
        ]
        fragment.inputs.add(name=table, columns=columns, rows=to_bytes(rows))
        sentences.append(
            f"broadcast: {rows.num_rows} rows of {_name(reads[table])} go to the leaves of "
            f"{_name(read)}, which join them"
        )
    for one in chosen:
        keys = _keys(answers[one.source].rows.column(one.source_column))
        what = (
            f"{len(keys)} values of {user_names[one.source_column]} in {_name(reads[one.source])}"
        )
        left_bytes -= keys.nbytes
        if left_bytes < 0:
            sentences.append(f"not reduced: {what} are too large to go along")
            continue
        _add_filter(fragment, one.column, keys)
        sentences.append(
            f"reduce: {what} go along as those that {user_names[one.column]} of {_name(read)} "
            "may have"
        )
    return replace(read, fragment=fragment), sentences


def _keys(column: pa.ChunkedArray) -> pa.Array:
    """The distinct values of a column, NULL aside."""
    return column.unique().drop_null()


def _add_filter(fragment: leaf_pb2.Fragment, column: str, keys: pa.Array) -> None:
    """Adds keys as a filter, and for indexes as far as they are few."""
    [binding] = [one for one in fragment.columns if one.name == column]
    table = pa.table({"k": keys})
    fragment.key_filters.add(column=column, sql_type=binding.sql_type, keys=to_bytes(table))
    fragment.terms_exact = False
    if binding.sql_type not in _LISTED or binding.overflow or not len(keys):
        return
    if len(keys) <= TERMS_MAX:
        values = [orjson.dumps(value).decode() for value in keys.to_pylist()]
        fragment.terms.add(path=binding.path, operator="in", values_json=values)
    elif binding.sql_type == "BIGINT":
        ends = pc.min_max(keys).as_py()
        fragment.terms.add(path=binding.path, operator=">=", values_json=[str(ends["min"])])
        fragment.terms.add(path=binding.path, operator="<=", values_json=[str(ends["max"])])


def _input_bytes(fragment: leaf_pb2.Fragment) -> int:
    tables = sum(len(entry.rows) for entry in fragment.inputs)
    return tables + sum(len(entry.keys) for entry in fragment.key_filters)


def _counted(reads: Sequence[Read], sizes: Mapping[str, Size]) -> str:
    counts = ", ".join(f"{sizes[read.table].rows} of {_name(read)}" for read in reads)
    return f"counted rows that meet the conditions: {counts}"


def _name(read: Read) -> str:
    return TableName.decode(read.collection).name
