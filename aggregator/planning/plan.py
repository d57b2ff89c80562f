"""Plans: what the leaves run and what is left to do here.

Classes: (a) an aggregate over one collection runs as partial states on the leaves; (b) a scan of
one collection runs with its filters, order and limit on the leaves; (e) anything else gathers the
filtered columns and runs whole here. (b) runs the statement here without the conditions, all of
which the leaves have applied, so columns that only they read stay there. (e) runs the same
statement here over what it gathered, so pushing conditions down can only save rows; it is always
right.
"""

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from aggregator.functions import geo, text
from aggregator.planning import aggregate, pushdown
from aggregator.planning.direct import Direct, direct, ending, selected
from aggregator.planning.terms import exact, terms
from aggregator.statement import security, tree
from aggregator.statement.aliases import explicit
from aggregator.statement.bind import Bound
from aggregator.statement.scope import Reference
from aggregator.statement.syntax import Parser
from alder.errors import AlderError, Reason
from alder.fieldtypes import ROW_COLUMN
from alder.v1 import leaf_pb2

CLASSES: Final = frozenset({"a", "b", "e"})
Pushed = Mapping[str, list[tree.Node]]
_FIXED: Final = frozenset({"CONSTANT", "COMPARISON", "CONJUNCTION", "OPERATOR"})


@dataclass(frozen=True, slots=True)
class Read:
    """What one reference to a collection asks of the leaves.

    ``columns`` are the names and SQL types of the gathered table ("": as it arrives).
    """

    collection: str
    table: str
    fragment: leaf_pb2.Fragment
    columns: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """The reads of a statement and the SQL that finishes it over the gathered tables.

    ``direct`` and the SQL types of its columns: how it is finished without the engine; in class a
    only where a leaf has given one row per group. ``constant``: it reads nothing and gives the same
    rows every time.
    """

    plan_class: str
    reads: tuple[Read, ...]
    sql: str
    user_names: Mapping[str, str]
    direct: tuple[Direct, tuple[str, ...]] | None = None
    constant: bool = False


class Planner:
    """Makes plans. Not thread-safe: one thread at a time."""

    def __init__(self, parser: Parser, catalog: security.Catalog) -> None:
        self._parser = parser
        self._catalog = catalog
        self._types = aggregate.Types()

    def close(self) -> None:
        """Releases the engine that tells types."""
        self._types.close()

    def plan(self, bound: Bound, wanted_class: str, sole: Container[str] = ()) -> Plan:
        """The plan; ``wanted_class`` forces a class, "" takes the first that fits.

        ``sole`` are the collections that one leaf has alone.

        Raises AlderError(INVALID_ARGUMENT) where a forced class can't run the statement.
        """
        if wanted_class and wanted_class not in CLASSES:
            raise AlderError(
                Reason.INVALID_ARGUMENT, f"{wanted_class!r} is no planning class; use a, b or e"
            )
        pushed = pushdown.conditions(bound.node, bound.bindings)
        plan = None
        if wanted_class in {"", "a"}:
            plan = self._aggregate(bound, sole)
        if plan is None and wanted_class in {"", "b"}:
            plan = self._scan(bound, pushed)
        if plan is None and wanted_class in {"", "e"}:
            plan = self._gathered(bound, "e", pushed, [])
        if plan is None:
            raise AlderError(
                Reason.INVALID_ARGUMENT, f"this statement can't run through class {wanted_class}"
            )
        return plan

    def _aggregate(self, bound: Bound, sole: Container[str]) -> Plan | None:
        reference = pushdown.single_reference(bound.node, bound.bindings)
        if reference is None or bound.columns is None:
            return None
        split = aggregate.split(
            bound,
            reference,
            self._catalog.aggregates,
            self._parser,
            reference.collection in sole,
        )
        if split is None:
            return None
        columns = [(name, entry.sql_type) for entry, name in reference.columns.items()]
        finished = self._types.finished(split, columns)
        if finished is None:
            return None
        fragment = self._fragment(bound, reference, split.leaf_sql, split.conditions)
        fragment.partial_aggregate = split.partial
        if split.aggregation is not None:
            fragment.aggregation.CopyFrom(split.aggregation)
        read = Read(reference.collection, split.table, fragment, finished.columns)
        direct = None
        if split.direct is not None and not split.distinct_keys:
            direct = split.direct, finished.types
        return Plan("a", (read,), finished.sql, bound.bindings.user_names(), direct)

    def _scan(self, bound: Bound, pushed: Pushed) -> Plan | None:
        reference = pushdown.single_reference(bound.node, bound.bindings)
        node = bound.node
        if reference is None or not _is_scan(node, self._catalog.aggregates):
            return None
        aliases = {reference.alias}
        conditions = tree.conjuncts(node["where_clause"])
        if len(pushed[reference.alias]) != len(conditions):
            return None
        orders, fits = _top(node, aliases)
        if not fits:
            return None
        rest = replace(bound, node={**node, "where_clause": None})
        plan = self._gathered(rest, "b", pushed, orders, _names_in([rest.node, *orders]))
        return replace(plan, direct=_finished_rows(rest, reference))

    def _gathered(
        self,
        bound: Bound,
        plan_class: str,
        pushed: Pushed,
        modifiers: list[tree.Node],
        wanted: Container[str] | None = None,
    ) -> Plan:
        """``wanted`` are the columns that the statement needs of the rows; None: all."""
        reads = []
        for reference in bound.bindings.references:
            conditions = pushed[reference.alias]
            columns = [
                (name, entry.sql_type)
                for entry, name in reference.columns.items()
                if wanted is None or name in wanted
            ]
            names = [name for name, _ in columns]
            items = [tree.column(name) for name in names]
            if not items:
                items = [tree.named(tree.constant("BOOLEAN", "true"), ROW_COLUMN)]
                columns = [(ROW_COLUMN, "BOOLEAN")]
            query = tree.select(
                items,
                tree.table(pushdown.ROWS),
                tree.conjunction(conditions),
                modifiers=modifiers,
            )
            sql = self._parser.to_sql(query)
            fragment = self._fragment(bound, reference, sql, conditions)
            selection = selected(names, modifiers)
            if selection is not None:
                fragment.selection.CopyFrom(selection)
            reads.append(Read(reference.collection, reference.table, fragment, tuple(columns)))
        sql = self._parser.to_sql(bound.node)
        constant = not reads and _is_constant(bound.node)
        return Plan(plan_class, tuple(reads), sql, bound.bindings.user_names(), constant=constant)

    def _fragment(
        self, bound: Bound, reference: Reference, sql: str, conditions: list[tree.Node]
    ) -> leaf_pb2.Fragment:
        return leaf_pb2.Fragment(
            sql=sql,
            columns=[
                leaf_pb2.ColumnBinding(
                    name=name,
                    path=entry.path,
                    sql_type=entry.sql_type,
                    types=entry.types,
                    overflow=entry.overflow,
                )
                for entry, name in reference.columns.items()
            ],
            terms=[
                *terms(conditions, bound.bindings.field_of),
                *text.terms(conditions, bound.bindings.field_of),
                *geo.terms(conditions, bound.bindings.field_of),
            ],
            terms_exact=all(exact(one, bound.bindings.field_of) for one in conditions),
        )


def _finished_rows(bound: Bound, reference: Reference) -> tuple[Direct, tuple[str, ...]] | None:
    """How rows that meet all conditions become the result; None where more is to be computed."""
    end = ending(bound.node, reference.alias)
    if end is None or bound.columns is None:
        return None
    types = {name: entry.sql_type for entry, name in reference.columns.items()}
    found = direct(end, bound.columns, dict.fromkeys(types, ""))
    if found is None or "VARIANT" in types.values():
        return None
    types |= {name: one.sql_type for name, one in found.constants.items()}
    return found, tuple(types[name] for name, _ in found.columns)


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


def _names_in(nodes: Iterable[tree.Node]) -> frozenset[str]:
    """The columns that expressions read."""
    return frozenset(
        part["column_names"][-1]
        for node in nodes
        for part in tree.walk(node)
        if part.get("type") == "COLUMN_REF"
    )


def _is_scan(node: tree.Node, aggregates: frozenset[str]) -> bool:
    if node["group_expressions"] or node["group_sets"] or node["having"] or node["qualify"]:
        return False
    if node["aggregate_handling"] != "STANDARD_HANDLING":
        return False
    if tree.modifier(node, "DISTINCT_MODIFIER") is not None:
        return False
    for part in tree.walk(node):
        if part.get("class") == "WINDOW":
            return False
        if part.get("type") == "FUNCTION":
            name = str(part["function_name"]).lower()
            if name == "unnest" or name in aggregates:
                return False
    return True


def _top(node: tree.Node, aliases: set[str]) -> tuple[list[tree.Node], bool]:
    """Order and limit for the leaves, and whether this is possible at all."""
    limit = tree.modifier(node, "LIMIT_MODIFIER")
    if limit is None:
        return [], True
    count = _rows(limit["limit"])
    offset = 0 if limit["offset"] is None else _rows(limit["offset"])
    if limit["limit_type"] != "ROW_COUNT" or count is None or offset is None:
        return [], False
    top = [{**limit, "limit": tree.constant("INTEGER", str(count + offset)), "offset": None}]
    order = tree.modifier(node, "ORDER_MODIFIER")
    if order is None:
        return top, True
    orders = []
    for entry in order["orders"]:
        term = explicit(entry["expression"], node["select_list"])
        if term is None or pushdown.only_alias(term, aliases) is None:
            return [], False
        orders.append({**entry, "expression": pushdown.over_rows(tree.named(term, ""))})
    return [{**order, "orders": orders}, *top], True


def _rows(node: tree.Node | None) -> int | None:
    found = tree.literal(node) if node is not None else None
    if found is None or found[0] != "INTEGER":
        return None
    return int(found[1]) if 0 <= int(found[1]) < 1 << 62 else None
