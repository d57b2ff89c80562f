"""Which collections have equal values on the same leaves, and which groups one leaf has alone."""

from dataclasses import replace

import pytest

from aggregator.planning.spread import Spread, slots_of
from aggregator.planning.strategy import SMALL_ROWS, JoinLimits, Size, may_colocate
from aggregator.statement import tree
from aggregator.statement.names import Field
from alder.catalog import Collection, Shard

FIELDS = {
    "s": Field("k", "VARCHAR", ("string",)),
    "n": Field("k", "BIGINT", ("int",)),
    "f": Field("k", "DOUBLE", ("float",)),
    "mixed": Field("k", "DOUBLE", ("int", "float")),
    "cut": Field("k", "VARCHAR", ("string",), overflow=True),
    "other": Field("o", "VARCHAR", ("string",)),
}


def collection(*leaves: str) -> Collection:
    width = 4096 // len(leaves)
    shards = tuple(Shard(n, n * width, (n + 1) * width, leaf) for n, leaf in enumerate(leaves))
    return Collection("c", 1, shards=shards)


def spread(*leaves: str, keyed: bool = False) -> Spread:
    return Spread(False, "k", keyed, slots_of(collection(*leaves)), FIELDS.get)


def test_neighbouring_ranges_of_a_leaf_are_one() -> None:
    assert slots_of(collection("a", "a", "b", "b")) == slots_of(collection("a", "b"))
    assert slots_of(collection("a", "b", "a", "b")) != slots_of(collection("a", "b"))


@pytest.mark.parametrize("column", ["s", "n"])
def test_columns_that_shard_alike_have_equal_values_together(column: str) -> None:
    own = spread("a", "b")
    assert own.together(column, spread("a", "a", "b", "b"), column)
    assert not own.together(column, spread("b", "a"), column)
    assert not own.together(column, spread("a", "b", "c"), column)
    assert not own.together(column, replace(own, slots=()), column)
    assert not own.together(column, replace(own, sharded_by="o"), column)
    assert not own.together(column, own, "other")


def test_keys_are_spelled_without_quotes() -> None:
    own, keyed = spread("a", "b"), spread("a", "b", keyed=True)
    assert not own.together("s", keyed, "s")
    assert keyed.together("s", keyed, "s")
    assert own.together("n", keyed, "n")


@pytest.mark.parametrize("column", ["f", "mixed", "cut"])
def test_values_that_may_be_spelled_in_two_ways_may_be_apart(column: str) -> None:
    own = spread("a", "b")
    assert not own.together(column, own, column)
    assert not own.counts_once(tree.column(column))


def test_types_that_differ_are_apart() -> None:
    own = spread("a", "b")
    assert not own.together("s", own, "n")


def test_one_leaf_has_everything_together() -> None:
    own = replace(spread("a"), sole=True)
    assert own.together("f", own, "other")
    assert not own.together("f", spread("b"), "other")


def test_groups_of_the_sharding_column_are_whole_but_for_null() -> None:
    own = spread("a", "b")
    key = ("k0", tree.column("s"))
    assert own.over([key], []).groups_whole
    assert not own.over([("k0", tree.column("other"))], []).groups_whole
    assert not own.over([key], []).counts_once(tree.column("other"))
    present = {"type": "OPERATOR_IS_NOT_NULL", "children": [tree.column("s")]}
    assert own.over([key], [present]).counts_once(tree.column("other"))
    absent = {"type": "OPERATOR_IS_NULL", "children": [tree.column("s")]}
    assert not own.over([key], [absent]).counts_once(tree.column("other"))


def test_counts_choose_what_leaves_read_themselves() -> None:
    many, limits = Size(SMALL_ROWS + 1, 8), JoinLimits(broadcast_rows_max=10)
    sizes = {"big": many, "beside": many, "few": Size(10, 8), "more": Size(11, 8)}
    assert may_colocate("big", "beside", ["few"], sizes, limits, "")
    assert not may_colocate("big", "beside", ["more"], sizes, limits, "")
    assert not may_colocate("big", "few", [], sizes, limits, "")
    assert may_colocate("big", "few", [], sizes, limits, "colocated")
    assert not may_colocate("big", "beside", [], sizes, limits, "gather")
