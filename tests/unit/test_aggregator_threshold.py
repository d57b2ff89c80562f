"""The search for the first groups over several leaves, against adding everything up."""

import random
from collections import Counter, defaultdict
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.execution.threshold import (
    Ask,
    Part,
    Rounds,
    TooManyCandidates,
)
from aggregator.planning.spread import TopSearch

Key = tuple[str | None, int | None]
Groups = dict[Key, int | None]
"""What a leaf has of each group."""

KEYS = st.tuples(st.sampled_from(["a", "b", "é", "", None]), st.sampled_from([None, 0, 1, 2, 7]))
LEAVES = st.lists(
    st.dictionaries(KEYS, st.one_of(st.none(), st.integers(-6, 9)), max_size=25),
    min_size=1,
    max_size=5,
)


def table(groups: Groups, kind: pa.DataType) -> pa.Table:
    return pa.table(
        {
            "k0": pa.array([key[0] for key in groups], pa.string()),
            "k1": pa.array([key[1] for key in groups], pa.int64()),
            "a0": pa.array(groups.values(), pa.int64()).cast(kind),
            "a1": pa.array([(value or 0) * 10 for value in groups.values()], pa.int64()),
        }
    )


class LeafModel:
    """Sends what it must, and with a seed now and then more."""

    def __init__(
        self, groups: Groups, search: TopSearch, kind: pa.DataType, seed: int | None = None
    ) -> None:
        self.groups = groups
        self._search = search
        self._kind = kind
        self._rng = random.Random(seed)
        self._more = 0.0 if seed is None else 0.1

    def answer(self, threshold: int | None = None, keys: pa.Table | None = None) -> Part:
        sign = 1 if self._search.descending else -1
        ranked = sorted((sign * v for v in self.groups.values() if v is not None), reverse=True)
        rows = self._search.rows
        if len(ranked) <= rows or self._rng.random() < self._more:
            return Part(table(self.groups, self._kind))
        last = ranked[rows - 1]
        if threshold is not None:
            last = min(last, sign * threshold)
        named = set() if keys is None else {tuple(row.values()) for row in keys.to_pylist()}
        sent = {
            key: value
            for key, value in self.groups.items()
            if key in named
            or (value is not None and sign * value >= last)
            or self._rng.random() < self._more
        }
        return Part(
            table(sent, self._kind),
            len(sent) < len(self.groups),
            sign * (ranked[-1] - self._rng.randrange(2)),
        )


def whole(leaves: list[LeafModel], search: TopSearch) -> dict[Key, int | None]:
    parts: dict[Key, list[int]] = defaultdict(list)
    for leaf in leaves:
        for key, value in leaf.groups.items():
            parts[key] += [] if value is None else [value]
    reduced = sum if search.adds else max if search.descending else min
    return {key: reduced(values) if values else None for key, values in parts.items()}


def found(leaves: list[LeafModel], search: TopSearch) -> tuple[pa.Table, list[Ask]]:
    rounds = Rounds(search)
    rounds.take({str(n): leaf.answer() for n, leaf in enumerate(leaves)})
    asked = []
    while (ask := rounds.ask()) is not None:
        asked.append(ask)
        rounds.take({n: leaves[int(n)].answer(ask.threshold, ask.keys) for n in ask.leaves})
    assert len(asked) <= 2
    return rounds.groups(), asked


def check(leaves: list[LeafModel], search: TopSearch, groups: pa.Table) -> None:
    expected = whole(leaves, search)
    sign = 1 if search.descending else -1
    ranked = sorted((sign * v for v in expected.values() if v is not None), reverse=True)
    enough = ranked[search.rows - 1] if len(ranked) >= search.rows else None
    columns = [groups.column(name).to_pylist() for name in ("k0", "k1", "a1")]
    sent = Counter(zip(*columns, strict=True))
    for key, value in expected.items():
        if enough is None or (value is not None and sign * value >= enough):
            parts = [(*key, (leaf.groups[key] or 0) * 10) for leaf in leaves if key in leaf.groups]
            assert {row: sent[row] for row in parts} == Counter(parts), key
    complete = {row[:2] for row in sent}
    for key in complete:
        parts = [(*key, (leaf.groups[key] or 0) * 10) for leaf in leaves if key in leaf.groups]
        assert {row: sent[row] for row in parts} == Counter(parts), "a group is whole or missing"


@settings(deadline=None, max_examples=400)
@given(LEAVES, st.integers(1, 6), st.booleans(), st.booleans(), st.integers(0, 1 << 20))
def test_the_first_groups_and_all_their_equals_are_found_whole(
    parts: list[Groups], rows: int, descending: bool, adds: bool, seed: int
) -> None:
    search = TopSearch(("k0", "k1"), "a0", adds, rows, descending)
    kind = pa.decimal128(38, 0) if adds else pa.float64()
    leaves = [LeafModel(groups, search, kind, seed + n) for n, groups in enumerate(parts)]
    groups, _ = found(leaves, search)
    check(leaves, search, groups)


def test_skewed_counts_take_few_groups() -> None:
    rng = random.Random(1)
    search = TopSearch(("k0", "k1"), "a0", True, 10, True)
    leaves = []
    for _ in range(4):
        counts = Counter(int(rng.paretovariate(0.9)) % 5000 for _ in range(20_000))
        groups: Groups = {(None, key): count for key, count in counts.items()}
        leaves.append(LeafModel(groups, search, pa.int64()))
    groups, asked = found(leaves, search)
    check(leaves, search, groups)
    assert asked[0].threshold is not None
    assert groups.num_rows < 200 < sum(len(leaf.groups) for leaf in leaves)


@pytest.mark.parametrize("value", [Decimal(1 << 60), float("nan"), "text"])
def test_what_can_not_be_added_is_left_to_all_groups(value: object) -> None:
    rounds = Rounds(TopSearch(("k",), "a", True, 1, True))
    groups = pa.table({"k": ["x", "y"], "a": [value, value]})
    rounds.take({"one": Part(groups, True), "two": Part(groups)})
    with pytest.raises(TooManyCandidates):
        rounds.ask()


def test_leaves_that_sent_everything_are_not_asked_again() -> None:
    rounds = Rounds(TopSearch(("k",), "a", True, 1, True))
    groups = pa.table({"k": ["x", "y", None], "a": [3, 2, 9]})
    rounds.take({"one": Part(groups), "two": Part(groups)})
    assert rounds.ask() is None
    assert rounds.groups().num_rows == 6
