"""Which rows of a collection can't matter because of what another one holds.

Where a row reaches the answer only if one of its columns equals a column of another reference, rows
with any other value may stay on the leaves: a semi-join before the join. So it is with a term of a
WHERE, for references that no outer join fills with NULLs, whatever the other side of the equation
belongs to (a table beside it, or a query around it that a subquery refers to); with a term of an
ON, for the sides of the join whose rows need a partner or need one to matter; and with the column
of an ``IN (SELECT ...)``. Dropping such rows of one reference changes nothing of the answer, so the
other may have been reduced before.

Only columns of one type are compared: then equality means at the leaves what it means here.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from aggregator.planning.pushdown import kept_whole
from aggregator.statement import tree
from aggregator.statement.scope import Bindings

_COMPARABLE: Final = frozenset(
    {"VARCHAR", "BIGINT", "INTEGER", "DOUBLE", "BOOLEAN", "DATE", "TIMESTAMP"}
)
_LEFT_NEEDS_PARTNER: Final = frozenset({"INNER", "RIGHT", "SEMI"})
_RIGHT_NEEDS_PARTNER: Final = frozenset({"INNER", "LEFT", "SEMI", "ANTI"})


@dataclass(frozen=True, slots=True)
class Reduction:
    """Rows of the table ``target`` matter only with one of the values of a column of ``source``."""

    target: str
    column: str
    source: str
    source_column: str


def reductions(query: tree.Node, bindings: Bindings) -> tuple[Reduction, ...]:
    """All reductions that a bound statement allows, each once.

    A table that the statement reads in two places is no target.
    """
    finder = _Finder(bindings)
    found: dict[Reduction, None] = {}
    places: Counter[str] = Counter()
    for node in tree.walk(query):
        if node.get("type") == "BASE_TABLE":
            places[node["table_name"]] += 1
        if node.get("type") == "SELECT_NODE" and node["sample"] is None:
            whole = kept_whole(node["from_table"], finder.aliases)
            for condition in tree.conjuncts(node["where_clause"]):
                found |= dict.fromkeys(finder.of_condition(condition, whole))
        if node.get("type") == "JOIN" and node["ref_type"] == "REGULAR":
            whole = finder.needing_partners(node)
            for condition in tree.conjuncts(node["condition"]):
                found |= dict.fromkeys(finder.of_condition(condition, whole))
    return tuple(one for one in found if places[one.target] == 1)


class _Finder:
    """Reads conditions of one statement."""

    def __init__(self, bindings: Bindings) -> None:
        self._bindings = bindings
        self.aliases = {reference.alias for reference in bindings.references}

    def needing_partners(self, join: tree.Node) -> set[str]:
        """The references of a join whose rows matter only where its condition holds for them."""
        found: set[str] = set()
        if join["join_type"] in _LEFT_NEEDS_PARTNER:
            found |= kept_whole(join["left"], self.aliases)
        if join["join_type"] in _RIGHT_NEEDS_PARTNER:
            found |= kept_whole(join["right"], self.aliases)
        return found

    def of_condition(self, condition: tree.Node, whole: set[str]) -> Iterator[Reduction]:
        """What follows of a condition that must hold for rows of the references ``whole``."""
        if condition.get("type") == "COMPARE_EQUAL":
            yield from self._of_pair(condition["left"], condition["right"], whole)
            yield from self._of_pair(condition["right"], condition["left"], whole)
        elif condition.get("type") == "SUBQUERY" and condition["subquery_type"] == "ANY":
            items = condition["subquery"]["node"].get("select_list", [])
            if condition["comparison_type"] == "COMPARE_EQUAL" and len(items) == 1:
                yield from self._of_pair(condition["child"], items[0], whole)

    def _of_pair(
        self, needing: tree.Node, other: tree.Node, whole: set[str]
    ) -> Iterator[Reduction]:
        target = self._bindings.field_at(needing)
        source = self._bindings.field_at(other)
        if target is None or source is None or target[0] is source[0]:
            return
        kind = target[1].sql_type
        if target[0].alias in whole and kind == source[1].sql_type and kind in _COMPARABLE:
            column, source_column = needing["column_names"][1], other["column_names"][1]
            yield Reduction(target[0].table, column, source[0].table, source_column)
