"""Class (a): an aggregate over one collection, split between the leaves and here.

The leaves group and export the states of the aggregates; here states of equal keys combine and
finalise, and the select list, HAVING, QUALIFY, ORDER BY and LIMIT run over the finished groups. An
argument of a DISTINCT aggregate becomes one more key on the leaves and is aggregated here. Of
GROUPING SETS, leaves group by all keys, and the smaller sets are made of those groups here. Where a
leaf has all rows of a group, or of each value (:mod:`aggregator.planning.spread`), it counts the
distinct values itself and these counts add up; and where the first groups by an aggregate are
wanted, leaves need not send all groups. Whatever doesn't fit exactly (an aggregate whose state
can't travel, a type that would come out differently) makes no split, and the statement is gathered
whole instead.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from aggregator.planning import pushdown
from aggregator.planning.aggregation import described
from aggregator.planning.direct import Direct, direct, ending, top
from aggregator.planning.fragments import names_in
from aggregator.planning.splitter import GROUPS, Aggregate, NoSplitError, Splitter
from aggregator.planning.spread import ANYHOW, Spread, searched
from aggregator.statement import tree
from aggregator.statement.aliases import explicit, unaliased
from aggregator.statement.bind import Bound
from aggregator.statement.scope import Reference
from aggregator.statement.syntax import Parser
from alder.v1 import leaf_pb2


@dataclass(frozen=True, slots=True)
class Split:
    """A statement in two parts, its columns' types still to be told by the engine.

    ``sets`` and ``groupings`` as those of a Splitter: leaves group by all keys, and the groups are
    put together here. ``marker``: the column that is 0 in those groups of which states count, where
    leaves group by several distinct keys, one after the other.
    """

    table: str
    leaf_sql: str
    probe_sql: str
    direct_sql: str
    outer_sql: str
    keys: tuple[str, ...]
    distinct_keys: tuple[str, ...]
    aggregates: tuple[Aggregate, ...]
    conditions: list[tree.Node]
    spread: Spread = ANYHOW
    aggregation: leaf_pb2.Aggregation | None = None
    direct: Direct | None = None
    sets: tuple[tuple[str, ...], ...] = ()
    groupings: tuple[tuple[str, tuple[str, ...]], ...] = ()
    marker: str = ""

    @property
    def partial(self) -> bool:
        """True if results over parts of the rows may be put together."""
        return not any(aggregate.final for aggregate in self.aggregates)


def split(
    bound: Bound,
    reference: Reference,
    functions: Iterable[str],
    parser: Parser,
    spread: Spread = ANYHOW,
) -> Split | None:
    """The two parts of an aggregate; None where the statement is none or doesn't fit."""
    for known in dict.fromkeys((spread, ANYHOW)):
        try:
            return _split(bound, reference, frozenset(functions), parser, known)
        except NoSplitError:
            continue
    return None


def _split(
    bound: Bound, reference: Reference, functions: frozenset[str], parser: Parser, spread: Spread
) -> Split | None:
    node = bound.node
    items = [
        tree.named(item, name)
        for item, name in zip(node["select_list"], bound.columns or [], strict=True)
    ]
    splitter = Splitter({reference.alias}, functions, bound.bindings.prefix, spread, items)
    for key in _keys(node, items, splitter):
        splitter.add_key(tree.named(key, ""))
    conditions = _conditions(node, splitter)
    splitter.sets = _sets(node, splitter)
    if splitter.sets:
        spread = ANYHOW
    spread = splitter.spread = spread.over(splitter.keys.values(), conditions)
    outer = _outer(node, items, splitter)
    calls = list(splitter.states.values())
    if not calls and not splitter.keys:
        return None
    if splitter.distinct and any(one.final for one, _ in calls):
        # Counts add up over the leaves, not over the values by which these group as well.
        raise NoSplitError
    keys = [*splitter.keys.values(), *splitter.distinct.values()]
    key_items = [tree.named(expression, name) for name, expression in keys]
    probes = [tree.named(entry, name) for name, entry in splitter.arguments.items()]
    probe = [*key_items, *probes] or [tree.constant("INTEGER", "1")]
    whole = {**node, "select_list": items, "from_table": tree.table("rows", reference.alias)}
    marker = f"{splitter.prefix}s" if len(splitter.distinct) > 1 else ""
    made = Split(
        table=reference.table,
        leaf_sql=parser.to_sql(_leaf(splitter, key_items, marker, conditions)),
        probe_sql=parser.to_sql(tree.select(probe, tree.table(pushdown.ROWS))),
        direct_sql=parser.to_sql(whole),
        outer_sql=parser.to_sql(outer),
        keys=tuple(name for name, _ in splitter.keys.values()),
        distinct_keys=tuple(name for name, _ in splitter.distinct.values()),
        aggregates=tuple(aggregate for aggregate, _ in calls),
        conditions=conditions,
        spread=spread,
        sets=splitter.sets,
        groupings=tuple(splitter.groupings.values()),
        marker=marker,
    )
    if marker:
        return made
    states = [(one.column, state) for one, state in calls if not one.key]
    aggregation = described(keys, states, conditions, parser, bound.bindings.field_of)
    made = replace(made, aggregation=aggregation)
    return made if splitter.sets else _with_ending(made, outer, bound, parser)


def _outer(node: tree.Node, items: list[tree.Node], splitter: Splitter) -> tree.Node:
    """The statement over the finished groups."""
    outer_items = [splitter.outer(item) for item in items]
    having = node["having"] and splitter.outer(node["having"])
    modifiers = [
        entry if _orders_by_all(entry) else splitter.outer(entry) for entry in node["modifiers"]
    ]
    outer = tree.select(outer_items, tree.table(GROUPS), having, modifiers=modifiers)
    outer["qualify"] = node["qualify"] and splitter.outer(node["qualify"])
    return outer


def _leaf(
    splitter: Splitter, key_items: list[tree.Node], marker: str, conditions: list[tree.Node]
) -> tree.Node:
    """What the leaves run: keys, then states.

    Several arguments of DISTINCT aggregates are not grouped by together, which would give a group
    for each pair of values, but one after the other; the marker is 0 in the groups of the first.
    """
    states = [
        tree.named(state, aggregate.column)
        for aggregate, state in splitter.states.values()
        if not aggregate.key
    ]
    rows, where = tree.table(pushdown.ROWS), tree.conjunction(conditions)
    if not marker:
        groups = [tree.constant("INTEGER", str(n)) for n in range(1, len(key_items) + 1)]
        return tree.select([*key_items, *states], rows, where, groups)
    read = sorted(names_in(states))
    # What is grouped by is computed before: a part of a key that is another key would stand for it.
    inner = tree.select([*map(tree.column, read), *key_items], rows, where)
    keys = [tree.column(item["alias"]) for item in key_items]
    common = len(splitter.keys)
    first = tree.named(tree.grouping(keys[common]), marker)
    source = tree.subquery_table(inner, pushdown.ROWS)
    leaf = tree.select([*keys, first, *states], source, groups=keys)
    leaf["group_sets"] = [[*range(common), number] for number in range(common, len(keys))]
    return leaf


def _with_ending(made: Split, outer: tree.Node, bound: Bound, parser: Parser) -> Split:
    """The split with what its leaves may leave out, and how it ends without the engine."""
    end = ending(outer, GROUPS)
    if end is None:
        return made
    functions = {one.column: one.function for one in made.aggregates if not one.key}
    ordering = ""
    if made.aggregation is not None and not made.distinct_keys:
        best = top(end, functions, parser, f"{bound.bindings.prefix}o")
        if best is not None and (made.spread.groups_whole or searched(best, functions)):
            best.with_null_keys = bool(made.spread.whole_key) and not made.spread.never_null
            made.aggregation.top.CopyFrom(best)
            ordering = best.result
    results = {**dict.fromkeys(made.keys, ""), **functions}
    return replace(made, direct=direct(end, bound.columns or [], results, ordering))


def _orders_by_all(entry: tree.Node) -> bool:
    orders = entry["orders"] if entry["type"] == "ORDER_MODIFIER" else []
    return len(orders) == 1 and orders[0]["expression"]["type"] == "STAR"


def _keys(node: tree.Node, items: list[tree.Node], splitter: Splitter) -> list[tree.Node]:
    groups = node["group_expressions"]
    distinct = tree.modifier(node, "DISTINCT_MODIFIER")
    if distinct is not None and distinct["distinct_on_targets"]:
        raise NoSplitError

    def aggregates(item: tree.Node) -> bool:
        return any(
            part.get("type") == "FUNCTION"
            and str(part["function_name"]).lower() in splitter.functions
            for part in tree.walk(item)
        )

    if node["aggregate_handling"] == "FORCE_AGGREGATES":
        return [item for item in items if not aggregates(item)]
    if groups:
        found = [explicit(group, items) for group in groups]
        known = [key for key in found if key is not None]
        if len(known) != len(found):
            raise NoSplitError
        return known
    if any(aggregates(item) for item in items) or (node["having"] and aggregates(node["having"])):
        return []
    if distinct is None:
        raise NoSplitError
    return items


def _sets(node: tree.Node, splitter: Splitter) -> tuple[tuple[str, ...], ...]:
    """The columns of the keys of each grouping set; none where all groups have all keys."""
    groups = node["group_expressions"]
    if node["group_sets"] in ([], [list(range(len(groups)))]):
        return ()
    names = [splitter.key_name(explicit(group, splitter.items) or group) for group in groups]
    return tuple(tuple(names[place] for place in places) for places in node["group_sets"])


def _conditions(node: tree.Node, splitter: Splitter) -> list[tree.Node]:
    conditions = []
    for written in tree.conjuncts(node["where_clause"]):
        condition = unaliased(written, node["select_list"])
        if condition is None or pushdown.only_alias(condition, splitter.aliases) is None:
            raise NoSplitError
        if any(
            part.get("type") == "FUNCTION"
            and str(part["function_name"]).lower() in splitter.functions
            for part in tree.walk(condition)
        ):
            raise NoSplitError
        conditions.append(pushdown.over_rows(condition))
    return conditions
