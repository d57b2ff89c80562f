"""Gathers what a plan reads, in stages where something gathered first saves much of the rest.

All stages read the cut of their query. Rows are counted first, where there may be many; what
follows from the counts is decided in :mod:`aggregator.planning.strategy`. Then each stage asks for
the reads that need nothing which is not gathered: values of a column go along with a read as a
filter, and tables as inputs of its fragment.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from aggregator.execution.scatter import Gathered, gather
from aggregator.planning import strategy
from aggregator.planning.joins import Reduction
from aggregator.planning.plan import COUNT_COLUMN, Plan, Read
from aggregator.planning.strategy import JoinLimits, Size
from aggregator.statement.tablename import TableName
from alder.arrow import to_bytes
from alder.v1 import leaf_pb2

Call = Callable[[Read], Awaitable[Gathered]]
TERMS_MAX: Final = 1000
"""Values that indexes are asked for one by one."""
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
    plan: Plan, call: Call, bounds: Mapping[str, int], limits: JoinLimits, forced: str
) -> Stages:
    """The answers to all reads of a plan, or of another one for the same statement.

    ``bounds``: by collection, at least as many rows as it has. ``forced``: a strategy's name, or
    "". Raises AlderError.
    """
    strategy.check_strategy(forced)
    at_most = {read.table: bounds[read.collection] for read in plan.reads}
    choice = plan.reductions or plan.broadcasts
    if not choice or not strategy.worth_counting(at_most, forced):
        return Stages(plan, tuple(await gather([call(read) for read in plan.reads])))
    counting = [read for read in plan.reads if read.count is not None]
    counts = await gather([_count(call, read, read.count) for read in counting if read.count])
    sizes = {
        read.table: Size(rows, _row_bytes(read))
        for read, rows in zip(counting, counts, strict=True)
    }
    told = [_counted(counting, sizes)]
    by_size = sorted(plan.broadcasts, key=lambda one: -sizes[one[0]].rows)
    reductions = plan.reductions
    for big, other in by_size:
        small = [read.table for read in other.reads if read.table != big]
        if strategy.may_broadcast(big, small, sizes, limits, forced):
            plan = other
            reductions = tuple(one for one in reductions if one.source != big)
            break
    chosen = strategy.chosen_reductions(reductions, sizes, limits, forced)
    return await _in_stages(plan, call, chosen, told)


async def _in_stages(
    plan: Plan, call: Call, chosen: Sequence[Reduction], told: list[str]
) -> Stages:
    reads = {read.table: read for read in plan.reads}
    needs = {
        table: {*read.inputs, *(one.source for one in chosen if one.target == table)}
        for table, read in reads.items()
    }
    answers: dict[str, Gathered] = {}
    for stage in strategy.levels(tuple(reads), needs):
        made = []
        for table in stage:
            own = [one for one in chosen if one.target == table]
            read, sentences = _prepared(reads[table], own, reads, answers, plan.user_names)
            told += sentences
            made.append(read)
        found = await gather([call(read) for read in made])
        for table, read, answer in zip(stage, made, found, strict=True):
            answers[table] = replace(answer, input_bytes=_input_bytes(read.fragment))
    return Stages(plan, tuple(answers[table] for table in reads), tuple(told))


async def _count(call: Call, read: Read, fragment: leaf_pb2.Fragment) -> int:
    counted = await call(replace(read, fragment=fragment, search=None))
    return int(pc.sum(counted.rows.column(COUNT_COLUMN)).as_py() or 0)


def _row_bytes(read: Read) -> int:
    return sum(_NARROW_BYTES if kind in _NARROW else _WIDE_BYTES for _, kind in read.columns)


def _prepared(
    read: Read,
    chosen: Sequence[Reduction],
    reads: Mapping[str, Read],
    answers: Mapping[str, Gathered],
    user_names: Mapping[str, str],
) -> tuple[Read, list[str]]:
    """The read with what goes along, and what to say of it."""
    if not chosen and not read.inputs:
        return read, []
    fragment = leaf_pb2.Fragment()
    fragment.CopyFrom(read.fragment)
    sentences = []
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
        if keys.nbytes > KEY_BYTES_MAX:
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
