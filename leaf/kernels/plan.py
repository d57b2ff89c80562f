"""A fragment's aggregation made ready for the kernels: values, states and the result's schema."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from alder import points, words
from alder.fieldtypes import column_name
from alder.v1 import leaf_pb2
from leaf.format.meta import Index
from leaf.kernels.columns import RowValue
from leaf.kernels.filters import RowCondition
from leaf.kernels.grouping import Reducer
from leaf.kernels.states import State, state_of
from leaf.kernels.unsupported import Unsupported

_SEARCHED: Final[Mapping[str, tuple[tuple[str, Index], ...]]] = {
    words.OPERATOR: (("string", Index.TEXT),),
    points.OPERATOR: (("list<float>", Index.GEO), ("list<int>", Index.GEO)),
}
"""By operator of a term: the types of columns, and the kinds of index, that it is about."""


@dataclass(frozen=True, slots=True)
class Call:
    """An aggregate: its state, its argument unless it counts rows, and which rows it takes."""

    state: State
    argument: RowValue | None
    only: RowCondition | None = None


@dataclass(frozen=True, slots=True)
class KernelPlan:
    """What to group by, what to aggregate, what to filter by.

    ``distinct`` is the value whose distinct ones are counted, grouped by like one more key.
    ``calls`` has None in the place of each aggregate that counts them. ``searched`` are stored
    columns and the kinds of index that tell which rows meet a condition on them.
    """

    keys: tuple[RowValue, ...]
    distinct: RowValue | None
    calls: tuple[Call | None, ...]
    conditions: tuple[RowCondition, ...]
    schema: pa.Schema
    top: leaf_pb2.TopGroups | None
    searched: tuple[tuple[str, Index], ...] = ()

    @property
    def grouped_by(self) -> tuple[RowValue, ...]:
        """The keys, and the distinct value behind them."""
        return self.keys if self.distinct is None else (*self.keys, self.distinct)

    @property
    def states(self) -> tuple[Call, ...]:
        """The aggregates that have a state."""
        return tuple(call for call in self.calls if call is not None)

    @property
    def reducers(self) -> list[Reducer]:
        """How the slots of all states reduce, in order."""
        return [reducer for call in self.states for reducer in call.state.reducers]


def kernel_plan(fragment: leaf_pb2.Fragment, schema: pa.Schema) -> KernelPlan:
    """The plan for a fragment whose result has this schema.

    Raises Unsupported for what the kernels don't do.
    """
    bindings = {binding.name: binding for binding in fragment.columns}

    def value(message: leaf_pb2.RowValue) -> RowValue:
        if not message.columns or not set(message.columns) <= set(bindings):
            raise Unsupported
        if len(message.columns) > 1 and not message.sql:
            raise Unsupported
        return RowValue(tuple(bindings[name] for name in message.columns), message.sql)

    def condition(message: leaf_pb2.RowCondition) -> RowCondition:
        return RowCondition(value(message.value), tuple(message.terms))

    wanted = fragment.aggregation
    names = [entry.name for entry in wanted.keys] + [entry.name for entry in wanted.aggregates]
    if names != schema.names:
        raise Unsupported
    kinds = schema.types[len(wanted.keys) :]
    distinct: RowValue | None = None
    calls: list[Call | None] = []
    for entry, kind in zip(wanted.aggregates, kinds, strict=True):
        argument = value(entry.argument) if entry.HasField("argument") else None
        only = condition(entry.filter) if entry.HasField("filter") else None
        if not entry.distinct:
            calls.append(Call(state_of(entry.function, kind), argument, only))
            continue
        if entry.function != "count" or argument is None or only or kind != pa.int64():
            raise Unsupported
        if distinct is not None and distinct.key != argument.key:
            raise Unsupported
        distinct = argument
        calls.append(None)
    return KernelPlan(
        keys=tuple(value(entry.value) for entry in wanted.keys),
        distinct=distinct,
        calls=tuple(calls),
        conditions=tuple(condition(entry) for entry in wanted.conditions),
        schema=schema,
        top=wanted.top if wanted.HasField("top") else None,
        searched=tuple(
            (column_name(tag, term.path), index)
            for term in fragment.terms
            for tag, index in _SEARCHED.get(term.operator, ())
        ),
    )
