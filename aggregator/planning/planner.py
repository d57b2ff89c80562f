"""Makes plans.

Classes of what a statement reads: (a) an aggregate over one collection runs as partial states on
the leaves; (b) rows of one collection are filtered, ordered and limited on the leaves; (e) filtered
columns are gathered. A statement that is one SELECT over one collection is of class (a) or (b)
itself. Any other is of class (e), runs here over what its reads gathered, and each SELECT in it
that reads one collection alone takes the first class that fits it: that SELECT is replaced in the
statement by the one that finishes its partials.

Leaves have applied every condition that moved down, so it is not evaluated again here and columns
that only such conditions read stay there. Where class (e) is forced, nothing but rows is asked for
and the statement runs as it is: this is always right, and what the others are compared with.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from aggregator.planning import aggregate, broadcast, fragments, pushdown, scan
from aggregator.planning.direct import Direct
from aggregator.planning.finishing import Types
from aggregator.planning.joins import reductions
from aggregator.planning.plan import Plan, Read
from aggregator.planning.pruning import Pruning
from aggregator.planning.spread import ANYHOW, NO_SPREADS, Spread
from aggregator.statement import security, tree
from aggregator.statement.bind import Bound
from aggregator.statement.scope import Bindings, Reference
from aggregator.statement.stars import default_name
from aggregator.statement.syntax import Parser
from alder.errors import AlderError, Reason

CLASSES: Final = frozenset({"a", "b", "e"})
_FIXED: Final = frozenset({"CONSTANT", "COMPARISON", "CONJUNCTION", "OPERATOR"})


@dataclass(frozen=True, slots=True)
class _Aggregated:
    """An aggregate over one collection; ``sql`` and ``direct`` as those of a :class:`Plan`."""

    read: Read
    sql: str
    direct: tuple[Direct, tuple[str, ...]] | None


class Planner:
    """Makes plans. Not thread-safe: one thread at a time."""

    def __init__(self, parser: Parser, catalog: security.Catalog) -> None:
        self._parser = parser
        self._catalog = catalog
        self._types = Types()

    def close(self) -> None:
        """Releases the engine that tells types."""
        self._types.close()

    def plan(
        self, bound: Bound, wanted_class: str, spreads: Mapping[str, Spread] = NO_SPREADS
    ) -> Plan:
        """The plan; ``wanted_class`` forces a class, "" takes the first that fits.

        ``spreads`` tell how collections lie on the leaves.

        Raises AlderError(INVALID_ARGUMENT) where a forced class can't run the statement.
        """
        if wanted_class and wanted_class not in CLASSES:
            raise AlderError(
                Reason.INVALID_ARGUMENT, f"{wanted_class!r} is no planning class; use a, b or e"
            )
        plan = None
        if wanted_class in {"", "a"}:
            plan = self._aggregate(bound, spreads)
        if plan is None and wanted_class in {"", "b"}:
            plan = self._scan(bound)
        if plan is None and wanted_class == "":
            plan = self._in_parts(bound, spreads)
        if plan is None and wanted_class == "e":
            plan = self._gathered(bound)
        if plan is None:
            raise AlderError(
                Reason.INVALID_ARGUMENT, f"this statement can't run through class {wanted_class}"
            )
        return plan

    def _aggregate(self, bound: Bound, spreads: Mapping[str, Spread]) -> Plan | None:
        made = self._aggregated(bound, spreads)
        if made is None:
            return None
        return Plan("a", (made.read,), made.sql, bound.bindings.user_names(), made.direct)

    def _aggregated(self, bound: Bound, spreads: Mapping[str, Spread]) -> _Aggregated | None:
        """The parts of a query that is an aggregate over one collection; None for any other."""
        reference = pushdown.lone_reference(bound.node, bound.bindings)
        if reference is None or bound.columns is None:
            return None
        spread = spreads.get(reference.collection, ANYHOW)
        split = aggregate.split(
            bound,
            reference,
            self._catalog.aggregates,
            self._parser,
            replace(spread, field_of=bound.bindings.field_of),
        )
        if split is None:
            return None
        columns = [(name, entry.sql_type) for entry, name in reference.columns.items()]
        finished = self._types.finished(split, columns)
        if finished is None:
            return None
        fragment = fragments.fragment(bound.bindings, reference, split.leaf_sql, split.conditions)
        fragment.partial_aggregate = split.partial
        if split.aggregation is not None:
            fragment.aggregation.CopyFrom(split.aggregation)
        read = Read(
            reference.collection,
            split.table,
            "a",
            fragment,
            finished.columns,
            split.spread.whole_key,
            finished.search,
            counted=finished.counted,
        )
        direct = None
        if split.direct is not None and not split.distinct_keys:
            direct = split.direct, finished.types
        return _Aggregated(read, finished.sql, direct)

    def _scan(self, bound: Bound) -> Plan | None:
        reference = pushdown.lone_reference(bound.node, bound.bindings)
        if reference is None or not scan.picks_rows(bound.node, self._catalog.aggregates):
            return None
        pushed = pushdown.pushed(bound.node, bound.bindings)
        orders = self._best(pushed.rest, reference)
        if orders is None:
            return None
        wanted = fragments.names_in([pushed.rest, *orders])
        conditions = pushed.conditions[reference.alias]
        read = fragments.rows(
            self._parser, "b", bound.bindings, reference, conditions, orders, wanted
        )
        found = scan.finished_rows(replace(bound, node=pushed.rest), reference)
        return replace(self._finished(bound, pushed.rest, [read]), plan_class="b", direct=found)

    def _best(self, rest: tree.Node, reference: Reference) -> list[tree.Node] | None:
        """Order and limit of a SELECT for the leaves; None where they don't know all of it."""
        if rest["where_clause"] or not scan.picks_rows(rest, self._catalog.aggregates):
            return None
        return scan.top(rest, reference.alias)

    def _in_parts(self, bound: Bound, spreads: Mapping[str, Spread]) -> Plan:
        """Class (e), in which each SELECT over one collection is of the class that fits it."""
        made: dict[str, Read] = {}

        def part(node: tree.Node) -> tree.Node:
            found = self._part(node, bound.bindings, spreads)
            if found is None:
                return tree.mapped(node, part)
            made[found.read.table] = found.read
            return self._parser.parse(found.sql).node

        tables = frozenset(reference.table for reference in bound.bindings.references)
        node = Pruning(self._catalog.aggregates, tables).pruned(part(bound.node))
        pushed = pushdown.pushed(node, bound.bindings)
        best: dict[str, list[tree.Node]] = {}
        for node in tree.walk(pushed.rest):
            reference = pushdown.lone_reference(node, bound.bindings)
            orders = None if reference is None else self._best(node, reference)
            if reference is not None and orders is not None:
                best[reference.table] = orders
        wanted = fragments.names_in(
            [pushed.rest, *(one for orders in best.values() for one in orders)]
        )
        reads = [
            made.get(reference.table)
            or fragments.rows(
                self._parser,
                "b" if reference.table in best else "e",
                bound.bindings,
                reference,
                pushed.conditions[reference.alias],
                best.get(reference.table, []),
                wanted,
            )
            for reference in bound.bindings.references
        ]
        plan = self._finished(bound, pushed.rest, reads)
        whole = [read for read in reads if read.table not in made and not best.get(read.table)]
        plan = self._with_reductions(plan, bound, pushed, whole)
        if bound.columns is None:
            return plan
        known = {
            name: replace(one, field_of=bound.bindings.field_of) for name, one in spreads.items()
        }
        broadcasts: list[tuple[str, Plan]] = []
        colocated: list[tuple[str, Plan]] = []
        for one in broadcast.joins(bound, pushed, plan.reductions, known):
            other = self._joined(bound, pushed, plan, one)
            if other is not None:
                found = colocated if one.beside else broadcasts
                found.append((one.big.table, other))
        if broadcasts and not plan.reductions:
            plan = replace(plan, reads=self._counting(plan, bound, pushed))
        return replace(plan, broadcasts=tuple(broadcasts), colocated=tuple(colocated))

    def _joined(
        self, bound: Bound, pushed: pushdown.Pushed, plan: Plan, one: broadcast.Joined
    ) -> Plan | None:
        """The plan in which the leaves of one collection join it with all others."""
        split = aggregate.split(one.bound, one.big, self._catalog.aggregates, self._parser)
        if split is None:
            return None
        leaf = broadcast.over_join(self._parser.parse(split.leaf_sql).node, one.join)
        split = replace(split, aggregation=None, direct=None)
        columns = [
            (name, entry.sql_type)
            for reference in bound.bindings.references
            for entry, name in reference.columns.items()
        ]
        finished = self._types.finished(split, columns)
        if finished is None:
            return None
        conditions = pushed.conditions[one.big.alias]
        fragment = fragments.fragment(
            bound.bindings, one.big, self._parser.to_sql(leaf), conditions
        )
        fragment.partial_aggregate = True
        reads = {read.table: read for read in plan.reads}
        beside = "" if one.beside is None else one.beside.table
        away = {one.big.table, beside}
        reads[one.big.table] = replace(
            reads[one.big.table],
            read_class="a",
            fragment=fragment,
            columns=finished.columns,
            counted=finished.counted,
            inputs=tuple(table for table in reads if table not in away),
            joined=beside,
        )
        names, left = plan.user_names, plan.reductions
        return Plan("a", tuple(reads.values()), finished.sql, names, reductions=left)

    def _with_reductions(
        self, plan: Plan, bound: Bound, pushed: pushdown.Pushed, whole: Sequence[Read]
    ) -> Plan:
        """The plan with what allows to choose how its joins are gathered.

        ``whole`` are the reads that give all rows which meet their conditions.
        """
        columns = {read.table: {name for name, _ in read.columns} for read in whole}
        found = tuple(
            one
            for one in reductions(pushed.rest, bound.bindings)
            if one.target in columns and one.source_column in columns.get(one.source, ())
        )
        if not found:
            return plan
        return replace(plan, reads=self._counting(plan, bound, pushed), reductions=found)

    def _counting(self, plan: Plan, bound: Bound, pushed: pushdown.Pushed) -> tuple[Read, ...]:
        """The reads of a plan, those of rows with a fragment that counts them."""
        references = {one.table: one for one in bound.bindings.references}
        return tuple(
            read
            if read.read_class == "a"
            else replace(
                read,
                count=fragments.count(
                    self._parser,
                    bound.bindings,
                    references[read.table],
                    pushed.conditions[references[read.table].alias],
                ),
            )
            for read in plan.reads
        )

    def _part(
        self, node: tree.Node, bindings: Bindings, spreads: Mapping[str, Spread]
    ) -> _Aggregated | None:
        if node.get("type") != "SELECT_NODE":
            return None
        items = node["select_list"]
        if any(item["type"] == "STAR" for item in items):
            return None
        if pushdown.lone_reference(node, bindings) is None:
            return None
        names = [item["alias"] or default_name(item, self._parser) for item in items]
        return self._aggregated(Bound(node, bindings, names), spreads)

    def _gathered(self, bound: Bound) -> Plan:
        """Class (e) that gathers rows only and leaves the statement as it is."""
        pushed = pushdown.pushed(bound.node, bound.bindings, only_where=True)
        reads = [
            fragments.rows(
                self._parser, "e", bound.bindings, reference, pushed.conditions[reference.alias]
            )
            for reference in bound.bindings.references
        ]
        return self._finished(bound, bound.node, reads)

    def _finished(self, bound: Bound, rest: tree.Node, reads: Sequence[Read]) -> Plan:
        """A statement over what its reads gather, as class (e)."""
        constant = not reads and _is_constant(rest)
        names = bound.bindings.user_names()
        return Plan("e", tuple(reads), self._parser.to_sql(rest), names, constant=constant)


def _is_constant(node: tree.Node) -> bool:
    """True for a SELECT of literals and operators.

    More may depend on the moment without a sign of it, as ``age(TIMESTAMP '2000-01-01')`` does.
    """
    return (
        node["type"] == "SELECT_NODE"
        and node["from_table"]["type"] == "EMPTY"
        and node["sample"] is None
        and all(
            part["class"] in _FIXED or bool(part.get("is_operator"))
            for part in tree.walk(node)
            if "class" in part
        )
    )
