"""How the rows of a collection lie on the leaves, and what an aggregate gains by it.

Where one leaf has all rows of a group, it can finish that group: the first groups of all leaves are
among the first ones of each, and distinct values are counted once. So it is where one leaf has the
whole collection, and where rows are sharded by a key of the grouping. Rows without a value are
sharded by something else, so a group of NULL may lie on several leaves. Where rows are sharded by
the values that are counted, each value is counted on one leaf and the counts add up.

Rows are sharded by the text of a value: equal values have equal text only where all are of one type
that has one spelling for each value, which floats have not.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from aggregator.planning.terms import terms
from aggregator.statement import tree
from aggregator.statement.names import Field
from alder.catalog import Collection
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
    a ``keyed`` collection all rows have one. ``slots``: leaf, begin and end of ranges of hash
    slots. ``whole_key``: a key of the grouping, each value of which is on one leaf, NULL aside
    unless there is ``never_null``.
    """

    sole: bool = False
    sharded_by: str = ""
    keyed: bool = False
    slots: tuple[tuple[str, int, int], ...] = ()
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
        whole = [name for name, node in keys if self._sharding(node) is not None]
        known = {term.path for term in terms(conditions, self.field_of) if term.operator != "null"}
        never_null = self.keyed or self.sharded_by in known
        return replace(self, whole_key=whole[0] if whole else "", never_null=never_null)

    def counts_once(self, argument: tree.Node) -> bool:
        """True if counts of distinct values of an expression add up over the leaves."""
        by_group = bool(self.whole_key) and self.never_null
        return self.sole or by_group or self._sharding(argument) is not None

    def together(self, column: str, other: "Spread", other_column: str) -> bool:
        """True if rows with equal values in a column of each collection are on one leaf.

        Both are on one leaf alone; or they are sharded by these columns, equal values are spelled
        alike, and a hash slot of the one is where that of the other is. Keys are hashed as they
        are, other strings in quotes.
        """
        if not self.slots or self.slots != other.slots:
            return False
        if self.sole:
            return True
        own = self._sharding(tree.column(column))
        others = other._sharding(tree.column(other_column))
        if own is None or others is None or own.types != others.types:
            return False
        return self.keyed == other.keyed or own.types != ("string",)

    def _sharding(self, node: tree.Node) -> Field | None:
        """The field by which rows are sharded, if an expression is that and nothing more."""
        if not self.sharded_by or node.get("type") != "COLUMN_REF":
            return None
        entry = self.field_of(node["column_names"][-1])
        if entry is None or entry.path != self.sharded_by or entry.overflow:
            return None
        return entry if entry.types in _ONE_SPELLING else None


def slots_of(collection: Collection) -> tuple[tuple[str, int, int], ...]:
    """Where the hash slots of a collection are, neighbouring ranges of a leaf put together."""
    ranges: list[tuple[str, int, int]] = []
    for shard in sorted(collection.shards, key=lambda one: one.slot_begin):
        if ranges and ranges[-1][0] == shard.leaf and ranges[-1][2] == shard.slot_begin:
            ranges[-1] = (shard.leaf, ranges[-1][1], shard.slot_end)
        else:
            ranges.append((shard.leaf, shard.slot_begin, shard.slot_end))
    return tuple(ranges)


ANYHOW: Final = Spread()
NO_SPREADS: Final[Mapping[str, Spread]] = MappingProxyType({})


def searched(top: leaf_pb2.TopGroups, functions: dict[str, str]) -> bool:
    """True if the first groups of several leaves can be found by rounds of questions."""
    if top.sql or len(top.columns) != 1:
        return False
    function = functions[top.columns[0]]
    if function in {"min", "max"}:
        return top.descending == (function == "max")
    return top.descending if function in _COUNTS else function == "sum"
