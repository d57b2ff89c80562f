"""How the rows of a collection lie on the leaves, and what an aggregate gains by it.

Where one leaf has all rows of a group, it can finish that group: the first groups of all leaves are
among the first ones of each, and distinct values are counted once. So it is where one leaf has the
whole collection, and where rows are sharded by a key of the grouping. Rows without a value are
sharded by something else, so a group of NULL may lie on several leaves. Where rows are sharded by
the values that are counted, each value is counted on one leaf and the counts add up.

Rows are sharded by the text of a value: equal values have equal text only where all are of one type
that has one spelling for each value, which floats have not.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final

from aggregator.planning.terms import terms
from aggregator.statement import tree
from aggregator.statement.names import Field
from alder.v1 import leaf_pb2

INTEGERS: Final = frozenset({"TINYINT", "SMALLINT", "INTEGER", "BIGINT"})
_ONE_SPELLING: Final = frozenset({("string",), ("int",), ("bool",)})
_COUNTS: Final = frozenset({"count", "count_star"})


@dataclass(frozen=True, slots=True)
class TopSearch:
    """The first ``rows`` groups by ``order``, a column of what the leaves send, NULL last.

    ``adds``: a group's number is the sum of those of the leaves, all integers; else their largest
    (smallest, where the smallest come first).
    """

    keys: tuple[str, ...]
    order: str
    adds: bool
    rows: int
    descending: bool


def _no_field(name: str) -> Field | None:
    return None


@dataclass(frozen=True, slots=True)
class Spread:
    """How rows lie on the leaves.

    ``sole``: on one of them. ``sharded_by``: by the values at this path ("": by something else), in
    a ``keyed`` collection all rows have one. ``whole_key``: a key of the grouping, each value of
    which is on one leaf, NULL aside unless there is ``never_null``.
    """

    sole: bool = False
    sharded_by: str = ""
    keyed: bool = False
    field_of: Callable[[str], Field | None] = _no_field
    whole_key: str = ""
    never_null: bool = False

    @property
    def groups_whole(self) -> bool:
        """True if no group with a value of each key is on two leaves."""
        return self.sole or bool(self.whole_key)

    def over(
        self, keys: Iterable[tuple[str, tree.Node]], conditions: Iterable[tree.Node]
    ) -> "Spread":
        """The same with regard to a grouping by keys, of rows that meet conditions."""
        whole = [name for name, node in keys if self._is_sharding(node)]
        known = {term.path for term in terms(conditions, self.field_of) if term.operator != "null"}
        never_null = self.keyed or self.sharded_by in known
        return replace(self, whole_key=whole[0] if whole else "", never_null=never_null)

    def counts_once(self, argument: tree.Node) -> bool:
        """True if counts of distinct values of an expression add up over the leaves."""
        by_group = bool(self.whole_key) and self.never_null
        return self.sole or by_group or self._is_sharding(argument)

    def _is_sharding(self, node: tree.Node) -> bool:
        if not self.sharded_by or node.get("type") != "COLUMN_REF":
            return False
        entry = self.field_of(node["column_names"][-1])
        return (
            entry is not None
            and entry.path == self.sharded_by
            and entry.types in _ONE_SPELLING
            and not entry.overflow
        )


ANYHOW: Final = Spread()


def searched(top: leaf_pb2.TopGroups, functions: dict[str, str]) -> bool:
    """True if the first groups of several leaves can be found by rounds of questions."""
    if top.sql or len(top.columns) != 1:
        return False
    function = functions[top.columns[0]]
    if function in {"min", "max"}:
        return top.descending == (function == "max")
    return top.descending if function in _COUNTS else function == "sum"
