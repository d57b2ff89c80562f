"""Statements and plans at hand: what was parsed or planned once is not again.

A statement is known by its text, a plan by the shape of its statement
(:mod:`aggregator.planning.shapes`) and what else it depends on: the schemas, how collections lie on
the leaves, the class asked for. Both are looked up in the event loop; parser and planner work in a
thread of their own.
"""

import asyncio
import json
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from aggregator.execution.gathered import State
from aggregator.functions.bounded import with_bounds
from aggregator.functions.textstats import Statistics, Wanted
from aggregator.planning import shapes
from aggregator.planning.inline import Inliner
from aggregator.planning.plan import Plan
from aggregator.planning.planner import Planner
from aggregator.planning.shapes import Shape, Template
from aggregator.planning.spread import Spread, slots_of
from aggregator.statement import dialect, openpivots, parameters, security, tables, tree, views
from aggregator.statement.bind import Bound, bind
from aggregator.statement.names import Names
from aggregator.statement.openpivots import OpenPivot
from aggregator.statement.syntax import Parser, Statement, too_deep
from aggregator.statement.tablename import TableName
from alder.catalog import Collection
from alder.errors import AlderError, Reason
from alder.recent import Recent
from alder.schema import Schema
from alder.v1 import query_pb2

T = TypeVar("T")
_NO_TEMPLATE: Final = "no template"
_NAMES_MAX: Final = 64
"""Schemas whose names are at hand: they are made field by field."""


@dataclass(frozen=True, slots=True)
class Known:
    """A parsed and allowed statement, its shape, and the names of the collections it reads.

    ``accelerated``: partials of a view in it are kept. ``open_pivot``: one of its PIVOTs, whose
    values are to be asked for first.
    """

    statement: Statement
    shape: Shape
    tables: tuple[str, ...]
    accelerated: bool = False
    open_pivot: OpenPivot | None = None


@dataclass(frozen=True, slots=True)
class _Asked:
    """A plan that is asked for: the values of the shape, and the parameters left in it."""

    known: Known
    plan_class: str
    collections: Mapping[str, Collection]
    states: Mapping[int, State]
    texts: Statistics
    spreads: Mapping[str, Spread]
    values: Sequence[tree.Node | shapes.Literal]
    nodes: Mapping[str, tree.Node]


class Plans:
    """Parses and plans. Its methods belong to one event loop."""

    def __init__(self, plans_max: int, wall_clock_us: Callable[[], int]) -> None:
        self._wall_clock_us = wall_clock_us
        self._thread = ThreadPoolExecutor(1, "alder-plan")
        self._parser = Parser()
        self._functions = security.Catalog.of_engine()
        self._planner = Planner(self._parser, self._functions)
        self._statements: Recent[str, Known] = Recent(plans_max)
        self._expanded: Recent[Hashable, Known] = Recent(plans_max)
        self._plans: Recent[Hashable, Plan | Template | Wanted | str] = Recent(plans_max)
        self._names: Recent[tuple[int, bool], tuple[Schema, Names]] = Recent(_NAMES_MAX)

    async def close(self) -> None:
        """Waits for running work and releases the parser and the planner."""
        await asyncio.to_thread(self._thread.shutdown)
        self._planner.close()
        self._parser.close()

    def forget(self) -> None:
        """Plans everything anew from now on."""
        self._plans.clear()

    async def with_parser(self, call: Callable[[Parser], T]) -> T:
        """The result of a call that needs the parser, which serves one thread at a time."""
        return await self._in_thread(lambda: call(self._parser))

    def knows(self, sql: str) -> bool:
        """True for the text of a statement at hand."""
        return sql in self._statements

    async def statement(self, sql: str) -> Known:
        """A statement. Raises AlderError: SYNTAX, UNSUPPORTED, LIMIT, FORBIDDEN."""
        known = self._statements.get(sql)
        if known is None:
            known = await self._in_thread(lambda: self._parsed(sql))
            self._statements.put(sql, known)
        return known

    async def expanded(self, known: Known, pinned: views.Views) -> Known:
        """A statement with these versions of views in the place of their names.

        Raises AlderError: LIMIT, and what :meth:`statement` raises.
        """
        if not pinned:
            return known
        key = known.statement.sql, frozenset(pinned.items())
        found = self._expanded.get(key)
        if found is None:
            found = await self._in_thread(lambda: self._with_views(known, pinned))
            self._expanded.put(key, found)
        return found

    @property
    def aggregates(self) -> frozenset[str]:
        """The names of all aggregates."""
        return self._functions.aggregates

    def literal_tree(self, known: Known, values: Sequence[query_pb2.Parameter]) -> tree.Node:
        """A statement with its parameters and the clock as literals.

        Raises AlderError: INVALID_ARGUMENT where values and parameters don't match, UNSUPPORTED for
        a PIVOT without IN.
        """
        if known.open_pivot is not None:
            raise AlderError(
                Reason.UNSUPPORTED,
                "PIVOT without IN is not supported here; say the values by ON … IN (…)",
            )
        given = parameters.literals(known.statement, values)
        nodes = {name: parameters.as_node(value) for name, value in given.items()}
        fixed = security.with_fixed_clock(known.statement.node, self._wall_clock_us())
        return parameters.bound(fixed, nodes)

    async def question(self, pivot: OpenPivot, known: Known) -> Known:
        """The statement that asks for the values of an open PIVOT of another one."""
        return await self._in_thread(lambda: self._rewritten(known, pivot.question))

    async def answered(self, pivot: OpenPivot, known: Known, values: Sequence[str | None]) -> Known:
        """The statement with the values of an open PIVOT. Raises AlderError(LIMIT)."""
        node = openpivots.answered(known.statement.node, pivot, values)
        return await self._in_thread(lambda: self._rewritten(known, node))

    async def plan(
        self,
        known: Known,
        request: query_pb2.ExecuteRequest,
        collections: Mapping[str, Collection],
        states: Mapping[int, State],
        texts: Statistics,
    ) -> Plan | Wanted:
        """The plan of a statement against these schemas. Raises AlderError.

        Statistics of texts instead where ``texts`` lacks them, and there is no plan without.
        """
        given = parameters.literals(known.statement, request.parameters)
        values: list[tree.Node | shapes.Literal] = [
            given[value] if isinstance(value, str) else value for value in known.shape.values
        ]
        left_in = sorted(known.shape.parameters)
        others = {name: parameters.as_node(given[name]) for name in left_in}
        versions = tuple(
            (name, one.collection_id, states[one.collection_id].schema.version)
            for name, one in collections.items()
        )
        # Versions count fields, so those of other shards may be equal; their slots are not.
        spreads = {name: _spread(name, one) for name, one in collections.items()}
        asked = _Asked(
            known, request.plan_class, collections, states, texts, spreads, values, others
        )
        left = json.dumps(others) if others else ""
        rest = (
            request.plan_class,
            known.accelerated,
            versions,
            frozenset(texts.items()),
            tuple(spreads.items()),
            left,
        )
        free = [value for value in values if isinstance(value, tuple)]
        kinds = shapes.kinds(free) if len(free) == len(values) else None
        if kinds and not shapes.holds_mark(left):
            key = known.shape.text, kinds, rest
            found = self._plans.get(key)
            if found is None:
                found = await self._in_thread(lambda: self._template(asked, free))
                self._plans.put(key, found)
            if isinstance(found, Template):
                return found.filled(free)
            if isinstance(found, tuple):
                return found
        return await self._exact(asked, (known.shape.text, json.dumps(values), rest))

    async def _exact(self, asked: _Asked, key: object) -> Plan | Wanted:
        """The plan for exactly these values."""
        found = self._plans.get(key)
        if isinstance(found, (Plan, tuple)):
            return found
        plan, timeless = await self._in_thread(lambda: self._whole(asked))
        if timeless:
            self._plans.put(key, plan)
        return plan

    def _parsed(self, sql: str) -> Known:
        try:
            return _known(self._checked(sql))
        except RecursionError as error:
            raise too_deep() from error

    def _checked(self, sql: str) -> Statement:
        """The statement in a text, if it is one SELECT that calls nothing but what it may."""
        statement = dialect.parsed(self._parser, sql)
        self._functions.check(statement.node)
        return statement

    def _rewritten(self, known: Known, node: tree.Node) -> Known:
        parts = tree.walk(node)
        names = frozenset(one["identifier"] for one in parts if one.get("class") == "PARAMETER")
        try:
            made = _known(Statement(self._parser.to_sql(node), node, names))
            return replace(made, accelerated=known.accelerated)
        except RecursionError as error:
            raise too_deep() from error

    def _with_views(self, known: Known, pinned: views.Views) -> Known:
        try:
            expanded = _known(views.expanded(known.statement, pinned, self._checked))
            accelerated = any(view.accelerate for view in pinned.values())
            return replace(expanded, accelerated=accelerated)
        except RecursionError as error:
            raise too_deep() from error

    def _template(self, asked: _Asked, values: Sequence[shapes.Literal]) -> Template | Wanted | str:
        """The template for values of these kinds; else what is missing, or that there is none."""
        try:
            bound = self._bound(asked, shapes.marked(asked.known.shape, values))
        except RecursionError as error:
            raise too_deep() from error
        if bound.bindings.wanted:
            return _wanted(bound)
        if security.reads_clock(bound.node) or not shapes.is_free(bound):
            return _NO_TEMPLATE
        return Template(self._planned(asked, bound))

    def _whole(self, asked: _Asked) -> tuple[Plan | Wanted, bool]:
        """The plan, and whether it stays the same at any time."""
        try:
            bound = self._bound(asked, shapes.whole(asked.known.shape, asked.values))
        except RecursionError as error:
            raise too_deep() from error
        if bound.bindings.wanted:
            return _wanted(bound), True
        return self._planned(asked, bound), not security.reads_clock(bound.node)

    def _bound(self, asked: _Asked, node: tree.Node) -> Bound:
        node = parameters.bound(node, asked.nodes)
        sql = asked.known.statement.sql
        names = {
            name: self._names_of(asked.states[one.collection_id].schema, _reads_changes(name))
            for name, one in asked.collections.items()
        }
        bound = bind(node, sql, names, self._parser, asked.texts)
        if asked.plan_class == "e":
            return bound
        below_groups = not asked.known.accelerated
        return Inliner(self._parser, self._functions.aggregates, below_groups).inlined(bound)

    def _names_of(self, schema: Schema, changes: bool) -> Names:
        """The names of a schema; a schema that is kept here shares its id with no other."""
        key = id(schema), changes
        found = self._names.get(key)
        if found is None:
            found = schema, Names(schema, changes)
            self._names.put(key, found)
        return found[1]

    def _planned(self, asked: _Asked, bound: Bound) -> Plan:
        try:
            fixed = security.with_fixed_clock(bound.node, self._wall_clock_us())
            fixed = with_bounds(fixed, self._parser)
            return self._planner.plan(replace(bound, node=fixed), asked.plan_class, asked.spreads)
        except RecursionError as error:
            raise too_deep() from error

    async def _in_thread(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)


def _spread(name: str, collection: Collection) -> Spread:
    """How a collection lies on the leaves; what changed between two cuts is not joined there."""
    by = collection.key_path or collection.shard_by_path
    sole = len(collection.shards_by_leaf()) == 1
    as_of = TableName.decode(name).as_of
    changes = as_of is not None and as_of.unless is not None
    return Spread(sole, by, collection.keyed, () if changes else slots_of(collection))


def _known(statement: Statement) -> Known:
    shape = shapes.shape_of(statement.sql, statement.node)
    pivot = openpivots.first_open(statement.node)
    return Known(statement, shape, tuple(tables.tables(statement.node)), open_pivot=pivot)


def _reads_changes(name: str) -> bool:
    as_of = TableName.decode(name).as_of
    return as_of is not None and as_of.unless is not None


def _wanted(bound: Bound) -> Wanted:
    return tuple(dict.fromkeys(bound.bindings.wanted))
