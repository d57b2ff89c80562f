"""Every kind of index against a plain model: what it finds, what it counts, what it refuses."""

import itertools
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alder.errors import AlderError, Reason
from leaf.format import dictionary, postings
from leaf.format.frame import framed
from leaf.format.meta import TERM_BITS, TERMS, Block, ColumnMeta, suffix
from leaf.format.zonemap import zone_of
from leaf.indexes import kinds, ordered
from leaf.indexes.entries import Entries, compared, entries_of
from leaf.indexes.hashes import Hashes
from leaf.indexes.kind import ALWAYS, Built, Column, ColumnIndex
from leaf.indexes.ordered import decode_pairs, encode_pairs, is_clustered, keys_of
from leaf.indexes.zones import ZoneMap

T = TypeVar("T")
fast = settings(max_examples=80, deadline=None)
INT64 = st.integers(-(1 << 63), (1 << 63) - 1)
FLOATS = st.floats(allow_nan=False) | st.sampled_from([0.0, -0.0, math.inf, -math.inf])


@dataclass(frozen=True)
class Blocks:
    """Blocks in memory. Implements ColumnBlocks."""

    name: str
    meta: ColumnMeta
    rows: int
    blocks: Mapping[bytes, bytes]

    def terms(self) -> pa.Array:
        return dictionary.decode_terms(self.blocks[suffix(0, TERMS)], "it")

    def stored(self, part: int, page: int = 0) -> bytes | None:
        return self.blocks.get(suffix(0, part, page))

    def decoded(
        self, part: int, page: int, load: Callable[[bytes, str], T], size_bytes: Callable[[T], int]
    ) -> T:
        found = load(self.blocks[suffix(0, part, page)], "it")
        assert size_bytes(found) >= 0
        return found

    def what(self) -> str:
        return "it"


def opened(built: Built, tag: str, rows: int) -> ColumnIndex:
    meta = ColumnMeta(0, 8192, 8192, False, (built.meta,), ())
    blocks = {block.suffix: block.value for block in built.blocks}
    assert kinds.KINDS[built.meta.kind].needed(0, built.meta.details) <= blocks.keys()
    return kinds.opened(built.meta, Blocks(f"{tag}:x", meta, rows, blocks))


def found_rows(index: ColumnIndex, operator: str, values: Sequence[object]) -> set[int] | None:
    answer = index.find(operator, values)
    if answer is None:
        return None
    rows = answer.rows().rows().tolist()
    assert rows == sorted(set(rows)), "rows ascend and are distinct"
    assert len(rows) <= answer.count
    assert not answer.exact or len(rows) == answer.count
    return set(rows)


COMPARISONS: dict[str, Callable[[object, object], bool]] = {
    "=": lambda one, other: one == other,
    "<>": lambda one, other: one != other,
    "<": lambda one, other: one < other,
    "<=": lambda one, other: one <= other,
    ">": lambda one, other: one > other,
    ">=": lambda one, other: one >= other,
}


@fast
@given(st.data())
def test_sorted_values_find_exactly_the_rows(data: st.DataObject) -> None:
    tag, kind, one = data.draw(
        st.sampled_from([("int", pa.int64(), INT64), ("float", pa.float64(), FLOATS)])
    )
    small = data.draw(st.booleans())
    drawn = st.integers(-3, 3).map(float if tag == "float" else int) if small else one
    values = data.draw(st.lists(st.none() | drawn, min_size=1, max_size=40))
    if all(value is None for value in values):
        return
    column = pa.array(values, kind)
    rows = np.flatnonzero(np.asarray(column.is_valid())).astype(np.uint32)
    keys = keys_of(column.drop_null())
    order = np.argsort(keys, kind="stable")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ordered, "PAIRS_PER_PAGE", 4)
        built = ordered.built(0, kinds.Index.SORTED, keys[order], rows[order])
        index = opened(built, tag, len(values))
        assert index.check(column).fault == ""
        wanted = data.draw(st.lists(drawn | st.sampled_from([2.5, -1]), min_size=1, max_size=3))
        for operator, holds in COMPARISONS.items():
            expected = {
                row for row, value in enumerate(values)
                if value is not None and holds(value, wanted[0])
            }  # fmt: skip
            assert found_rows(index, operator, wanted[:1]) == expected, operator
        expected = {
            row for row, value in enumerate(values) if value in wanted and value is not None
        }
        assert found_rows(index, "in", wanted) == expected
        assert index.find("has", wanted) is None
        assert index.find("null", []) is None


@fast
@given(st.lists(st.none() | st.sampled_from("abcd"), min_size=1, max_size=40), st.integers(1, 9))
def test_dense_terms_find_exactly_the_rows(values: list[str | None], dense_min: int) -> None:
    column = pa.array(values, pa.string())
    if column.null_count == len(values):
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(postings, "DENSE_MIN", dense_min)
        patch.setattr(postings, "DENSE_SHARE", 5)
        built = kinds.KINDS[kinds.Index.TERMS].build(Column(0, "string", column), {ALWAYS: ""})
        assert built is not None
        index = opened(built, "string", len(values))
        assert index.check(column).fault == ""
        dense = [one for one in "abcd" if values.count(one) >= max(dense_min, len(values) / 5)]
        assert built.meta.details["dense"] == len(dense)
        for wanted in "abcde":
            expected = {row for row, value in enumerate(values) if value == wanted}
            assert found_rows(index, "=", [wanted]) == expected
        if dense:
            moved = suffix(0, TERM_BITS, 0)
            other = postings.encode_bits(postings.bits_of(np.arange(0), len(values)))
            blocks = [
                Block(block.family, block.suffix, other if block.suffix == moved else block.value)
                for block in built.blocks
            ]
            wrong = opened(Built(built.meta, tuple(blocks)), "string", len(values))
            assert wrong.check(column).fault


def test_nan_is_above_everything_as_in_sql() -> None:
    keys = keys_of(pa.array([math.nan, math.inf, 1.0, -1.0, -math.inf, -math.nan]))
    assert keys.argsort(kind="stable").tolist() == [4, 3, 2, 1, 0, 5]
    assert keys[0] == keys[5]


def test_what_is_clustered_has_zone_maps_alone() -> None:
    chance = random.Random(3)
    rising = [n + chance.randrange(100) for n in range(40_000)]
    shuffled = chance.sample(rising, len(rising))
    assert is_clustered(pa.array(rising))
    assert not is_clustered(pa.array(shuffled))
    assert not is_clustered(pa.array([float(n) if n % 7 else None for n in shuffled]))
    assert is_clustered(pa.array(shuffled[:8_000])), "one page"
    metas, _ = kinds.indexed(Column(0, "int", pa.array(rising)))
    assert metas == ()
    metas, blocks = kinds.indexed(Column(0, "int", pa.array(shuffled)))
    assert [meta.kind for meta in metas] == ["sorted"]
    assert sum(len(block.value) for block in blocks) < 6 * len(shuffled)


ELEMENTS = {
    "list<string>": (pa.list_(pa.string()), st.sampled_from(["", "a", "b", "ä", "zz" * 30])),
    "list<int>": (pa.list_(pa.int64()), st.integers(-2, 2) | INT64),
    "list<bool>": (pa.list_(pa.bool_()), st.booleans()),
}


@fast
@given(st.data())
def test_elements_find_every_row_that_has_them(data: st.DataObject) -> None:
    tag = data.draw(st.sampled_from(list(ELEMENTS)))
    kind, one = ELEMENTS[tag]
    lists = st.lists(st.none() | one, max_size=4)
    values = data.draw(st.lists(st.none() | lists, min_size=1, max_size=30))
    column = pa.array(values, kind)
    metas, blocks = kinds.indexed(Column(0, tag, column))
    wanted = data.draw(st.lists(one, min_size=1, max_size=3))
    asked = [int(value) if tag == "list<bool>" else value for value in wanted]
    for meta in metas:
        index = opened(Built(meta, blocks), tag, len(values))
        assert index.check(column).fault == ""
        assert index.find("=", asked[:1]) is None
        for operator, some in (("has", asked[:1]), ("has any", asked)):
            expected = {
                row for row, value in enumerate(values)
                if value is not None and any(element in some for element in value)
            }  # fmt: skip
            found = found_rows(index, operator, some)
            assert found is not None
            assert expected <= found
            assert found == expected or meta.kind == "hashes"


@fast
@given(
    st.lists(st.none() | st.sampled_from(["", "a", "ab", "abc", "b", "ä"]), min_size=1), st.data()
)
def test_terms_find_exactly_the_rows(values: list[str | None], data: st.DataObject) -> None:
    if all(value is None for value in values):
        return
    column = pa.array(values, pa.string())
    encoded = dictionary.encode(column)
    built = kinds.KINDS[kinds.Index.TERMS].build(Column(0, "string", encoded), {})
    assert built is not None
    terms = {suffix(0, TERMS): dictionary.encode_terms(encoded.terms)}
    blocks = {block.suffix: block.value for block in built.blocks} | terms
    meta = ColumnMeta(0, 8192, 8192, True, (built.meta,), ())
    index = kinds.opened(built.meta, Blocks("string:x", meta, len(values), blocks))
    assert index.check(column).fault == ""
    wanted = data.draw(st.lists(st.sampled_from(["", "a", "ab", "b", "c", "ä"]), min_size=1))
    prefix: Callable[[str, str], bool] = str.startswith
    for operator, holds in {**COMPARISONS, "prefix": prefix}.items():
        expected = {
            row for row, value in enumerate(values)
            if value is not None and holds(value, wanted[0])
        }  # fmt: skip
        assert found_rows(index, operator, wanted[:1]) == expected, operator
    expected = {row for row, value in enumerate(values) if value in wanted}
    assert found_rows(index, "in", wanted) == expected


@fast
@given(st.data())
def test_hash_pages_of_runs_find_every_row(data: st.DataObject) -> None:
    """However a column is cut into runs, its index is that of the whole."""
    tag, kind, one = data.draw(
        st.sampled_from(
            [
                ("string", pa.string(), st.text(max_size=3)),
                ("int", pa.int64(), st.integers(-3, 3) | INT64),
                ("list<string>", pa.list_(pa.string()), st.lists(st.sampled_from("abc"))),
            ]
        )
    )
    values = data.draw(st.lists(st.none() | one, min_size=1, max_size=40))
    column = pa.array(values, kind)
    hashes = Hashes()
    cuts = sorted(data.draw(st.sets(st.integers(1, len(values)), max_size=3)) | {0, len(values)})
    parts = [hashes.part(column.slice(a, b - a), a) for a, b in itertools.pairwise(cuts)]
    built = hashes.joined(0, parts)
    assert built == hashes.build(Column(0, tag, column), {})
    index = opened(built, tag, len(values))
    assert index.check(column).fault == ""
    wanted = data.draw(one)
    if isinstance(wanted, list):
        operator, some = "has any", wanted or ["z"]
    else:
        operator, some = "in", [wanted]
    expected = {
        row for row, value in enumerate(values)
        if value is not None and set(value if isinstance(value, list) else [value]) & set(some)
    }  # fmt: skip
    found = found_rows(index, operator, some)
    assert found is not None
    assert expected <= found


ZONED = {
    "int": (pa.int64(), st.integers(-4, 4) | INT64),
    "float": (pa.float64(), FLOATS | st.just(math.nan)),
    "string": (pa.string(), st.text("ab", max_size=36)),
}


@fast
@given(st.data())
def test_zone_maps_leave_no_row_out_and_know_where_none_is(data: st.DataObject) -> None:
    kind, one = ZONED[data.draw(st.sampled_from(list(ZONED)))]
    values = data.draw(st.lists(st.none() | one, min_size=1, max_size=14))
    column = pa.array(values, kind)
    zones = tuple(zone_of(column.slice(at, 4)) for at in range(0, len(values), 4))
    index = ZoneMap(ColumnMeta(0, 4, 4, False, (), zones), len(values))
    assert index.check(column).fault == ""
    wanted = data.draw(one.filter(lambda drawn: drawn == drawn))
    assert index.find("<>", [wanted]) is None
    asked = {
        **{name: holds for name, holds in COMPARISONS.items() if name != "<>"},
        ">": lambda value, other: value != value or value > other,
        ">=": lambda value, other: value != value or value >= other,
    }
    if isinstance(wanted, str):
        asked["prefix"] = str.startswith
    for operator, holds in asked.items():
        expected = {
            row for row, value in enumerate(values) if value is not None and holds(value, wanted)
        }
        found = found_rows(index, operator, [wanted])
        assert found is not None
        assert expected <= found, operator
    for operator, there in (("null", False), ("not null", True)):
        expected = {row for row, value in enumerate(values) if (value is not None) == there}
        answer = index.find(operator, [])
        found = found_rows(index, operator, [])
        assert found is not None
        assert answer is not None
        assert expected <= found
        assert not answer.exact or expected == found
    assert index.find("has", [wanted]) is None


@fast
@given(st.lists(st.none() | st.lists(st.none() | st.sampled_from("abc")), max_size=20), st.data())
def test_entries_are_the_distinct_elements_of_each_row(
    values: list[list[str | None] | None], data: st.DataObject
) -> None:
    expected = sorted(
        (row + 7, element)
        for row, value in enumerate(values)
        for element in {one for one in value or [] if one is not None}
    )
    found = entries_of(pa.array(values, pa.list_(pa.string())), 7)
    pairs = list(zip(found.rows.tolist(), found.values.to_pylist(), strict=True))
    assert sorted(pairs) == expected
    assert [row for row, _ in pairs] == sorted(row for row, _ in pairs)
    shuffled = data.draw(st.permutations(pairs))
    stored = entries_from(shuffled)
    assert compared(stored, found).fault == ""
    if shuffled:
        (row, element), *rest = shuffled
        for faulty in (rest, [(row, element + "x"), *rest], [(row + 100, element), *rest]):
            assert compared(entries_from(faulty), found).fault


def entries_from(pairs: Sequence[tuple[int, str]]) -> Entries:
    rows = np.asarray([row for row, _ in pairs], dtype=np.uint32)
    return Entries(pa.array([value for _, value in pairs], pa.string()), rows)


@fast
@given(st.lists(INT64, min_size=1, max_size=50), st.data())
def test_a_page_of_pairs_comes_back_or_is_refused(keys: list[int], data: st.DataObject) -> None:
    pairs = np.sort(np.asarray(keys, dtype=np.int64)), np.arange(len(keys), dtype=np.uint32)
    found = decode_pairs(encode_pairs(*pairs), "it")
    assert [part.tolist() for part in found] == [part.tolist() for part in pairs]
    with pytest.raises(AlderError) as caught:
        decode_pairs(framed(data.draw(st.binary(max_size=40))), "it")
    assert caught.value.reason is Reason.CORRUPT


def test_a_setting_chooses_the_kind() -> None:
    rising, texts = pa.array(range(9_000)), pa.array([f"t{n}" for n in range(900)])
    repeated = pa.array([f"t{n % 9}" for n in range(900)])
    lists = pa.array([[f"t{n}"] for n in range(900)])
    for tag, values, wanted, expected in [
        ("int", rising, "auto", []),
        ("int", rising, "sorted", ["sorted"]),
        ("int", rising, "terms", ["terms"]),
        ("int", rising, "hashes", ["hashes"]),
        ("string", texts, "auto", ["hashes"]),
        ("string", texts, "terms", ["terms"]),
        ("string", texts, "none", []),
        ("string", texts, "sorted", []),
        ("string", repeated, "hashes", ["hashes"]),
        ("list<string>", lists, "auto", ["hashes"]),
        ("list<string>", lists, "terms", ["terms"]),
        ("list<string>", lists, "none", []),
    ]:
        metas, blocks = kinds.indexed(Column(0, tag, values), wanted)
        assert [str(meta.kind) for meta in metas] == expected, (tag, wanted)
        for meta in metas:
            index = opened(Built(meta, blocks), tag, len(values))
            assert index.check(values).fault == ""
            sought = values[7].as_py()
            operator = "has" if isinstance(sought, list) else "="
            found = found_rows(index, operator, sought if isinstance(sought, list) else [sought])
            assert found is not None
            assert 7 in found
