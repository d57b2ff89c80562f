"""Grouping, dictionaries and states against plain Python."""

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from decimal import Decimal
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from alder.v1 import leaf_pb2
from leaf.engine import Cancellation, Engine
from leaf.kernels import numbering
from leaf.kernels.dictionaries import Dictionaries, GlobalDictionary
from leaf.kernels.distinct import Seen
from leaf.kernels.filters import Lookup, _term_mask, _within
from leaf.kernels.grouping import (
    CodePartial,
    Reducer,
    Slot,
    combined_codes,
    grouped,
    merged,
    shared_groups,
    some_groups,
    without_last_key,
)
from leaf.kernels.numbering import counts_of, numbered_values, used_terms
from leaf.kernels.ranking import ranking_of
from leaf.kernels.states import State, state_of, values_of
from leaf.kernels.top import top_groups
from leaf.kernels.unsupported import Unsupported

SIZES = (4, 1000)
REDUCERS = (Reducer.SUM, Reducer.SUM, Reducer.MIN, Reducer.MAX)
INT64 = st.integers(-(2**63), 2**63 - 1)
SMALL = st.integers(-(2**40), 2**40)
Row = tuple[int, int, int]
Model = dict[tuple[int, int], list[int]]
ROWS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 999), SMALL), max_size=60)


def partial_of(rows: Sequence[Row]) -> CodePartial:
    first = np.asarray([row[0] for row in rows], dtype=np.uint8)
    second = np.asarray([row[1] for row in rows], dtype=np.int32)
    numbers = np.asarray([row[2] for row in rows], dtype=np.int64)
    slots = [Slot(Reducer.SUM, None), *(Slot(reducer, numbers) for reducer in REDUCERS[1:])]
    return grouped([first, second], SIZES, slots, len(rows))


def model_of(rows: Sequence[Row]) -> Model:
    groups: Model = {}
    for first, second, number in rows:
        known = groups.setdefault((first, second), [0, 0, number, number])
        known[0] += 1
        known[1] += number
        known[2] = min(known[2], number)
        known[3] = max(known[3], number)
    return groups


def read(partial: CodePartial) -> Model:
    keys = list(zip(*(codes.tolist() for codes in partial.keys), strict=True))
    slots = list(zip(*(slot.tolist() for slot in partial.slots), strict=True))
    assert keys == sorted(keys), "groups must ascend"
    assert len(keys) == partial.groups
    return {key: list(values) for key, values in zip(keys, slots, strict=True)}


@given(ROWS)
def test_grouping_equals_a_dictionary(rows: list[Row]) -> None:
    assert read(partial_of(rows)) == model_of(rows)


@given(st.lists(ROWS, min_size=1, max_size=5))
def test_merging_partials_equals_grouping_everything(parts: list[list[Row]]) -> None:
    together = merged([partial_of(part) for part in parts], SIZES, REDUCERS)
    assert read(together) == model_of([row for part in parts for row in part])


@given(ROWS, st.lists(st.tuples(st.integers(0, 3), st.integers(0, 999), SMALL), max_size=4))
def test_a_small_partial_is_absorbed(many: list[Row], few: list[Row]) -> None:
    for parts in ((many * 5, few), (few, many * 5)):
        together = merged([partial_of(part) for part in parts], SIZES, REDUCERS)
        assert read(together) == model_of([*parts[0], *parts[1]])


@given(st.lists(ROWS, min_size=1, max_size=3))
def test_one_group_without_keys(parts: list[list[Row]]) -> None:
    partials = []
    for rows in parts:
        numbers = np.asarray([row[2] for row in rows], dtype=np.int64)
        slots = [Slot(Reducer.SUM, None), Slot(Reducer.SUM, numbers)]
        partials.append(grouped([], [], slots, len(rows)))
    together = merged(partials, [], [Reducer.SUM, Reducer.SUM])
    rows = [row for part in parts for row in part]
    assert together.groups == 1
    assert [slot.tolist() for slot in together.slots] == [[len(rows)], [sum(r[2] for r in rows)]]


@given(
    st.lists(st.one_of(st.none(), st.integers(-40_000, 40_000), INT64), max_size=40),
    st.integers(1, 3),
    st.data(),
)
def test_slots_of_narrow_numbers_under_masks(
    numbers: list[int | None], parts: int, data: st.DataObject
) -> None:
    kept = data.draw(st.lists(st.booleans(), min_size=len(numbers), max_size=len(numbers)))
    own = [n for n, keep in zip(numbers, kept, strict=True) if keep and n is not None]
    for function, truth in (
        ("sum", Decimal(sum(own)) if own else None),
        ("min", min(own, default=None)),
        ("max", max(own, default=None)),
    ):
        state = state_of(function, pa.decimal128(38, 0) if function == "sum" else pa.int64())
        for keyed in (False, True):
            partials = []
            for part in range(parts):
                values = values_of(pa.array(numbers[part::parts], pa.int64())).narrowed()
                mask = np.asarray(kept[part::parts], dtype=bool)
                keys = [np.ones(len(mask), dtype=np.uint8)] if keyed else []
                slots = state.slots(values, values.valid)
                sizes = [2] if keyed else []
                partials.append(grouped(keys, sizes, slots, len(mask), mask))
            together = merged(partials, sizes, state.reducers)
            told = state.column(together.slots).to_pylist()
            assert told == ([truth] if any(kept) or not keyed else [])


def lookup_of(truth: list[bool], codes: NDArray[np.integer]) -> Lookup:
    return Lookup(
        lambda: codes, lambda: bool((codes[1:] >= codes[:-1]).all()), np.asarray(truth), 0.5
    )


@given(
    st.lists(st.booleans(), min_size=1, max_size=300),
    st.lists(st.integers(0, 299), max_size=60),
)
def test_codes_are_marked_as_their_truth_says(truth: list[bool], codes: list[int]) -> None:
    for kind in (np.uint8, np.uint16, np.int32):
        fitting = [code % min(len(truth), 256) for code in codes]
        lookup = lookup_of(truth, np.asarray(fitting, dtype=kind))
        assert lookup.marked(None).tolist() == [truth[code] for code in fitting]
        rows = np.arange(0, len(codes), 2)
        assert lookup.marked(rows).tolist() == [truth[code] for code in fitting[::2]]


@given(
    st.lists(st.booleans(), min_size=1, max_size=9),
    st.lists(st.integers(0, 8), max_size=40),
    st.booleans(),
    st.lists(st.booleans(), min_size=9, max_size=9),
    st.sampled_from([np.uint8, np.uint16, np.int32]),
)
def test_rows_in_the_order_of_their_codes_are_a_range(
    truth: list[bool],
    codes: list[int],
    ordered: bool,
    other: list[bool],
    kind: type[np.integer],
) -> None:
    fitting = [code % len(truth) for code in codes]
    fitting = sorted(fitting) if ordered else fitting
    neighbours = lookup_of(truth, np.asarray(fitting, dtype=kind)).neighbours()
    one_run = len([run for run, _ in itertools.groupby(truth) if run]) == 1
    assert (neighbours is not None) == (one_run and fitting == sorted(fitting))
    if neighbours is not None:
        met = [row for row, code in enumerate(fitting) if truth[code]]
        assert _within(neighbours, []).tolist() == met
        also = lookup_of(other, np.asarray(codes, dtype=kind))
        assert _within(neighbours, [also]).tolist() == [row for row in met if other[codes[row]]]


@given(ROWS)
def test_the_last_key_is_counted_away(rows: list[Row]) -> None:
    assert distinct_of(without_last_key(partial_of(rows), REDUCERS)) == distinct_model(rows)


@settings(deadline=None)
@given(ROWS, ROWS)
def test_distinct_values_of_a_part_are_counted_once(kept: list[Row], rest: list[Row]) -> None:
    partial, other = partial_of(kept), partial_of(rest)
    _, known = shared_groups(*(combined_codes(one.keys, SIZES) for one in (partial, other)))
    parts = [
        without_last_key(partial, REDUCERS),
        without_last_key(other, REDUCERS, ~known),
    ]
    together = merged(parts, SIZES[:1], [*REDUCERS, Reducer.SUM])
    assert distinct_of(together) == distinct_model([*kept, *rest])


def distinct_of(partial: CodePartial) -> dict[tuple[int], list[int]]:
    return {
        (int(key),): [int(partial.slots[-1][at]), *(int(slot[at]) for slot in partial.slots[:-1])]
        for at, key in enumerate(partial.keys[0])
    }


def distinct_model(rows: Sequence[Row]) -> dict[tuple[int], list[int]]:
    expected: dict[tuple[int], list[int]] = {}
    for first in sorted({row[0] for row in rows}):
        own = [row for row in rows if row[0] == first]
        numbers = [row[2] for row in own]
        values = {row[1] for row in own if row[1]}
        expected[first,] = [len(values), len(own), sum(numbers), min(numbers), max(numbers)]
    return expected


@given(st.lists(st.one_of(st.none(), INT64), min_size=1, max_size=50), st.integers(1, 4))
def test_sums_of_integers_are_exact(numbers: list[int | None], parts: int) -> None:
    state = state_of("sum", pa.decimal128(38, 0))
    average = state_of("avg", pa.struct([("count", pa.uint64()), ("value", pa.decimal128(38, 0))]))
    present = [number for number in numbers if number is not None]
    assert _reduced(state, numbers, parts) == [Decimal(sum(present)) if present else None]
    told = _reduced(average, numbers, parts)
    assert told == [{"count": len(present), "value": Decimal(sum(present))}]


@given(st.lists(st.one_of(st.none(), INT64), min_size=1, max_size=50), st.integers(1, 4))
def test_extremes_leave_nulls_out(numbers: list[int | None], parts: int) -> None:
    present = [number for number in numbers if number is not None]
    for function, truth in (("min", min), ("max", max)):
        told = _reduced(state_of(function, pa.int64()), numbers, parts)
        assert told == [truth(present) if present else None]


def _reduced(state: State, numbers: Sequence[int | None], parts: int) -> list[object]:
    partials = []
    for part in range(parts):
        values = values_of(pa.array(numbers[part::parts], pa.int64()))
        slots = state.slots(values, values.valid)
        partials.append(grouped([], [], slots, len(numbers[part::parts])))
    together = merged(partials, [], state.reducers)
    told: list[object] = state.column(together.slots).to_pylist()
    return told


@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.one_of(st.none(), st.integers(-20, 20)), min_size=257, max_size=270),
    st.integers(0, 12),
    st.booleans(),
    st.one_of(st.none(), st.integers(-22, 22)),
)
def test_the_best_groups_are_chosen_with_all_their_equals(
    numbers: list[int | None], rows: int, descending: bool, threshold: int | None
) -> None:
    wanted = leaf_pb2.TopGroups(columns=["a"], descending=descending, rows=rows)
    engine = Engine(1 << 28)
    table = pa.table({"a": pa.array(numbers, pa.int64())})
    for sql in ("", "a * 2 - 1"):
        wanted.sql = sql
        found = top_groups(wanted, table, engine, Cancellation(), threshold)
        chosen = found.groups
        kept = numbers if chosen is None else [numbers[at] for at in chosen.tolist()]
        present = sorted((n for n in numbers if n is not None), reverse=descending)
        best = present[:rows]
        assert sorted((n for n in kept if n is not None), reverse=descending)[:rows] == best
        if chosen is not None and best:
            values = present if not sql else [n * 2 - 1 for n in present]
            last = best[-1] if not sql else best[-1] * 2 - 1
            if threshold is not None:
                last = min(last, threshold) if descending else max(last, threshold)
            assert len(kept) == sum(n <= last if not descending else n >= last for n in values)
            assert found.worst == values[-1]
    engine.close()


@settings(deadline=None)
@given(
    st.lists(st.one_of(st.none(), st.integers(-9, 9)), max_size=40),
    st.integers(0, 45),
    st.integers(1, 45),
    st.booleans(),
)
def test_a_ranking_knows_the_best_groups_with_all_their_equals(
    numbers: list[int | None], rows: int, ranked_max: int, descending: bool
) -> None:
    ranking = ranking_of(pa.array(numbers, pa.int64()), descending, ranked_max)
    present = sorted((n for n in numbers if n is not None), reverse=descending)
    cut = present[ranked_max : ranked_max + 1]
    whole = [n for n in present[:ranked_max] if n not in cut]
    best = ranking.best(rows)
    assert (best is None) == (not 0 < rows <= len(whole))
    if best is not None:
        expected = {at for at, n in enumerate(numbers) if n in present[:rows]}
        assert set(best.tolist()) == expected
        assert len(best) == len(expected)
    assert ranking.worst == (present[-1] if present else None)
    for threshold in range(-10, 11):
        good = [n >= threshold if descending else n <= threshold for n in whole]
        up_to = ranking.up_to(threshold, descending)
        if up_to is None:
            assert all(good)
            assert len(whole) < len(present)
        else:
            expected = {n for n, is_good in zip(whole, good, strict=True) if is_good}
            assert {numbers[at] for at in up_to.tolist()} == expected
            assert len(up_to) == sum(good)


@settings(deadline=None)
@given(ROWS, ROWS)
def test_candidates_of_two_partials_are_those_of_the_whole(
    kept: list[Row], rest: list[Row]
) -> None:
    partial, other = partial_of(kept), partial_of(rest)
    shared, _ = shared_groups(*(combined_codes(one.keys, SIZES) for one in (partial, other)))
    some = some_groups(partial, shared)
    whole, changed = model_of(kept), model_of(rest)
    assert read(some) == {key: whole[key] for key in whole if key in changed}
    together = read(merged([some, other], SIZES, REDUCERS))
    everything = model_of([*kept, *rest])
    assert together == {key: everything[key] for key in changed}


@settings(deadline=None)
@given(st.lists(st.lists(st.text(max_size=12), unique=True), max_size=8))
def test_a_dictionary_keeps_its_codes(batches: list[list[str]]) -> None:
    dictionary = GlobalDictionary(0, pa.string(), 1 << 20)
    known: dict[str, int] = {}
    for batch in batches:
        codes = dictionary.codes_of(pa.array(batch, pa.string()))
        for value, code in zip(batch, codes.tolist(), strict=True):
            assert known.setdefault(value, code) == code
    assert sorted(known.values()) == list(range(1, len(known) + 1))
    assert dictionary.size == len(known) + 1
    every = np.asarray([0, *known.values()], dtype=np.int32)
    assert dictionary.taken(every).to_pylist() == [None, *known]


def test_equal_hashes_are_not_taken_for_equal_strings(monkeypatch: pytest.MonkeyPatch) -> None:
    def constant(values: pa.Array) -> np.ndarray:
        return np.zeros(len(values), dtype=np.uint64)

    monkeypatch.setattr("leaf.kernels.dictionaries.hash_strings_wide", constant)
    dictionary = GlobalDictionary(0, pa.string(), 1 << 20)
    dictionary.codes_of(pa.array(["a"]))
    with pytest.raises(Unsupported):
        dictionary.codes_of(pa.array(["b"]))
    first = GlobalDictionary(1, pa.string(), 1 << 20)
    assert first.codes_of(pa.array(["a", "b"])).tolist() == [1, 2]
    with pytest.raises(Unsupported):
        first.codes_of(pa.array(["a"]))


def test_a_dropped_dictionary_comes_back_under_another_scope() -> None:
    dictionaries = Dictionaries(2_000)
    first = dictionaries.get("one", pa.string())
    first.codes_of(pa.array(["x" * 1_500]))
    second = dictionaries.get("two", pa.string())
    second.codes_of(pa.array(["y" * 1_500]))
    dictionaries.trim()
    assert dictionaries.get("two", pa.string()) is second
    again = dictionaries.get("one", pa.string())
    assert again is not first
    assert again.scope not in {first.scope, second.scope}
    with pytest.raises(Unsupported):
        again.codes_of(pa.array(["z" * 3_000]))
    assert dictionaries.usage().size_bytes <= 2_000


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_compare_otherwise_are_refused(value: float) -> None:
    with pytest.raises(Unsupported):
        values_of(pa.array([1.0, value]))


PYTHON: dict[str, Callable[[int, list[int]], bool]] = {
    "=": lambda number, wanted: number == wanted[0],
    "<>": lambda number, wanted: number != wanted[0],
    "in": lambda number, wanted: number in wanted,
    "<": lambda number, wanted: number < wanted[0],
    "<=": lambda number, wanted: number <= wanted[0],
    ">": lambda number, wanted: number > wanted[0],
    ">=": lambda number, wanted: number >= wanted[0],
}


@given(
    st.lists(st.none() | st.integers(-130, 130) | INT64, min_size=1, max_size=40),
    st.lists(st.integers(-130, 130) | INT64, min_size=1, max_size=3),
    st.sampled_from(sorted(PYTHON)),
    st.booleans(),
)
def test_numbers_compare_as_in_plain_python(
    values: list[int | None], wanted: list[int], operator: str, small: bool
) -> None:
    """In whatever width they are held, also with constants that the width can't hold."""
    values = [one % 100 if small and one is not None else one for one in values]
    asked = wanted if operator == "in" else wanted[:1]
    term = leaf_pb2.Term(path="n", operator=operator, values_json=[str(one) for one in asked])
    column = values_of(pa.array(values, pa.int64())).narrowed()
    expected = [one is not None and PYTHON[operator](one, asked) for one in values]
    assert _term_mask(column, term).tolist() == expected


@given(
    st.sampled_from([np.uint8, np.uint16, np.int32]),
    st.lists(st.integers(0, 255), max_size=300),
)
def test_codes_are_counted(kind: type[np.integer], codes: list[int]) -> None:
    counts = counts_of(np.asarray(codes, dtype=kind))
    assert {code: n for code, n in enumerate(counts.tolist()) if n} == Counter(codes)


@given(st.lists(st.integers(0, 6), max_size=30))
def test_terms_that_no_row_has_are_left_out(numbers: list[int]) -> None:
    terms = pa.array(list("abcdef"))
    found, own = used_terms(terms, np.asarray(numbers, dtype=np.int32))
    assert found.to_pylist() == [terms[n - 1].as_py() for n in sorted(set(numbers) - {0})]
    again = [None if n == 0 else found[n - 1].as_py() for n in own.tolist()]
    assert again == [None if n == 0 else terms[n - 1].as_py() for n in numbers]


@given(ROWS, st.lists(st.booleans(), min_size=60, max_size=60), st.integers(0, 60))
def test_distinct_values_are_flagged_once(rows: list[Row], kept: list[bool], cut: int) -> None:
    """In two pieces, with rows left out, and 0 for NULL as a value."""
    seen = Seen(SIZES)
    for begin, end in ((0, cut), (cut, len(rows))):
        part, mask = (
            rows[begin:end],
            np.asarray(kept[begin:end], dtype=bool)[: len(rows[begin:end])],
        )
        keys = [np.asarray([row[0] for row in part], dtype=np.uint8),
                np.asarray([row[1] for row in part], dtype=np.int32)]  # fmt: skip
        if part:
            seen.add(keys, len(part), mask)
    counted = [row for row, one in zip(rows, kept, strict=False) if one]
    groups = grouped(
        [np.asarray([row[0] for row in counted], dtype=np.uint8)],
        SIZES[:1],
        [Slot(Reducer.SUM, None)],
        len(counted),
    )
    found = dict(zip(groups.keys[0].tolist(), seen.counts(groups).tolist(), strict=True))
    assert found == {
        key: len({second for first, second, _ in counted if first == key and second})
        for key in {row[0] for row in counted}
    }


@given(
    st.lists(st.none() | st.integers(-5, 90) | st.integers(10**9, 10**9 + 5), max_size=40),
    st.sampled_from([pa.int64(), pa.int32(), pa.timestamp("us"), pa.date32()]),
    st.integers(-(10**8), 10**8),
)
def test_distinct_numbers_are_in_order(
    values: list[int | None], kind: pa.DataType, shift: int
) -> None:
    shifted = [None if value is None else value + shift for value in values]
    plain = pa.int32() if kind.bit_width == 32 else pa.int64()
    with patch.object(numbering, "_ORDERED_MIN", 1):
        terms, numbers = numbered_values(pa.array(shifted, plain).view(kind))
    assert terms.type == kind
    distinct = terms.view(plain).to_pylist()
    assert distinct == sorted({value for value in shifted if value is not None})
    found = [None if number == 0 else distinct[number - 1] for number in numbers.tolist()]
    assert found == shifted
