"""CHECK INDEX on a leaf: silent on sound shards, and no planted fault stays hidden."""

import asyncio
import random
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from leaf_model import Document, ask, bound, push, rows_bytes
from numpy.typing import NDArray
from test_leaf_cluster import seal_now as seal_by_settings
from test_leaf_service import QUICK, with_leaf
from test_leaf_shard import SETTINGS, opened, put, seal_now

from alder.catalog import CollectionSettings
from alder.errors import AlderError, Reason
from alder.indexing import IndexSetting
from alder.v1 import leaf_pb2
from leaf import layout
from leaf.cache import PageCache
from leaf.check import Means, check_shard
from leaf.engine import Cancellation, Engine
from leaf.format.frame import framed, unframed
from leaf.format.meta import (
    HASH_PAGE,
    META_SUFFIX,
    SORTED_PAGE,
    TERM_PAGE,
    TERM_POSTINGS,
    SegmentMeta,
    decode_meta,
    encode_meta,
    suffix,
)
from leaf.format.postings import TermPostings, hash_entries, term_offsets, term_rows
from leaf.format.zonemap import Zone
from leaf.fragmentmodel import FragmentResult, FragmentTools
from leaf.indexes import ordered
from leaf.indexes.elements import ElementIndex
from leaf.indexes.kind import Candidates, Scalar
from leaf.indexes.ordered import decode_pairs, encode_pairs
from leaf.indexes.rowset import RowSet, of_numbers
from leaf.indexes.text import _TextIndex
from leaf.indexes.zones import ZoneMap
from leaf.kernels.kernels import Kernels
from leaf.partials import Partials
from leaf.service import Leaf
from leaf.shard import Shard

ROWS = 6_000
EQUAL = leaf_pb2.INDEX_VERDICT_EQUAL
DIFFERENT = leaf_pb2.INDEX_VERDICT_DIFFERENT
DAMAGED = leaf_pb2.INDEX_VERDICT_DAMAGED
UNFINISHED = leaf_pb2.INDEX_VERDICT_UNFINISHED


def document(n: int, chance: random.Random) -> Document:
    values: Document = {
        "kind": f"kind {chance.randrange(300)}",
        "user": f"user {n} 'é'",
        "n": chance.randrange(-5, 5),
        "rising": n,
        "f": chance.choice([0.0, -0.5, float(n)]),
        "flag": chance.random() < 0.5,
        "mixed": chance.choice([n, n / 2]),
        "any": chance.choice([n, f"s{n}"]),
        "tags": ["a", f"t{n % 7}"],
    }
    return {path: value for path, value in values.items() if chance.random() < 0.8}


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed shard with a segment and a live tail."""
    folder = tmp_path_factory.mktemp("stored")
    chance = random.Random(5)
    with opened(folder) as made:
        put(made, {n: document(n, chance) for n in range(ROWS)}, 0, ROWS)
        seal_now(made)
        put(made, {n: document(n, chance) for n in range(ROWS, ROWS + 50)}, ROWS, ROWS + 50)
    return folder


@pytest.fixture
def shard(stored: Path, tmp_path: Path) -> Iterator[Shard]:
    shutil.copytree(stored, tmp_path / "copy")
    with opened(tmp_path / "copy") as made:
        yield made


@pytest.fixture
def tools() -> Iterator[FragmentTools]:
    """Of one leaf: what it keeps in memory is named by segments as one cache has opened them."""
    engine = Engine(1 << 28)
    partials = Partials(1 << 20)
    yield FragmentTools(engine, Kernels(engine, partials, 1 << 24, 1 << 22), partials, 1 << 30)
    engine.close()


def checked(
    shard: Shard, tools: FragmentTools, seed: int = 0, stop: Callable[[], bool] = lambda: False
) -> dict[str, leaf_pb2.IndexCheck]:
    means = Means(tools, Cancellation(), stop, 8, seed)
    return {entry.path: entry for entry in check_shard(3, shard.view, False, means)}


def meta_of(shard: Shard) -> SegmentMeta:
    data = shard._replica.store.get(layout.COLUMNS, layout.number_key(0) + META_SUFFIX)
    assert data is not None
    return decode_meta(data, "it")


def replace_block(
    shard: Shard, column: str, part: int, page: int, change: Callable[[bytes], bytes]
) -> None:
    """Changes a block of the postings; the result has a valid checksum."""
    number = meta_of(shard).columns[column].number
    key = layout.number_key(0) + suffix(number, part, page)
    data = shard._replica.store.get(layout.POSTINGS, key)
    assert data is not None
    batch = shard._replica.store.batch()
    batch.put(layout.POSTINGS, key, change(data))
    shard._replica.store.write(batch)


def replace_zones(shard: Shard, column: str, change: Callable[[Zone], Zone]) -> None:
    meta = meta_of(shard)
    columns = dict(meta.columns)
    zones = tuple(change(zone) for zone in columns[column].zones)
    columns[column] = replace(columns[column], zones=zones)
    batch = shard._replica.store.batch()
    key = layout.number_key(0) + META_SUFFIX
    batch.put(layout.COLUMNS, key, encode_meta(replace(meta, columns=columns)))
    shard._replica.store.write(batch)


@pytest.mark.parametrize("seed", [0, 1, 12345])
def test_a_sound_shard_is_equal_through_every_path(
    shard: Shard, tools: FragmentTools, seed: int
) -> None:
    found = checked(shard, tools, seed)
    assert {entry.verdict for entry in found.values()} == {EQUAL}, found
    assert {entry.shard for entry in found.values()} == {3}
    on_disk = {"births", "postings", "hash pages", "zone map", "pages"}
    assert set(found) == on_disk | {"narrowed scan", "partials", "kernels", "direct lookup"}
    assert found["postings"].predicates > 300
    assert found["hash pages"].predicates > 4_500
    assert found["zone map"].rows_compared > ROWS
    assert all(entry.detail == "" for entry in found.values())


def test_keyed_shards_and_unsealed_ones(tmp_path: Path, tools: FragmentTools) -> None:
    with opened(tmp_path, keyed=True) as made:
        means = Means(tools, Cancellation(), lambda: False, 8, 0)
        (empty,) = check_shard(0, made.view, True, means)
        assert (empty.path, empty.verdict, empty.predicates) == ("live tail", EQUAL, 0)
        rows: dict[int, Document | None] = {n: {"a": n % 3} for n in range(500)}
        put(made, rows, 0, 500, keys={n: f"k{n % 100}" for n in range(500)})
        seal_now(made)
        found = check_shard(0, made.view, True, means)
        assert {entry.verdict for entry in found} == {EQUAL}, found
        assert sum(entry.predicates for entry in found) > 100


Change = Callable[[TermPostings], TermPostings]


def replace_postings(shard: Shard, column: str, change: Change) -> None:
    """Changes the postings of terms; all blocks have valid checksums."""
    meta = meta_of(shard).columns[column]
    store, begin = shard._replica.store, layout.number_key(0)

    def stored(part: int, page: int) -> bytes:
        data = store.get(layout.POSTINGS, begin + suffix(meta.number, part, page))
        assert data is not None
        return data

    offsets = term_offsets(stored(TERM_POSTINGS, 0), "it")
    pages = [stored(TERM_PAGE, page) for page in range(meta.indexes[0].details["pages"])]
    rows = [term_rows(data, offsets, page, "it") for page, data in enumerate(pages)]
    top, pages = change(TermPostings(offsets, np.concatenate(rows))).encode()
    batch = store.batch()
    batch.put(layout.POSTINGS, begin + suffix(meta.number, TERM_POSTINGS), top)
    for page, data in enumerate(pages):
        batch.put(layout.POSTINGS, begin + suffix(meta.number, TERM_PAGE, page), data)
    store.write(batch)


def moved_posting(stored: TermPostings) -> TermPostings:
    """A row of the last term goes over to the first one; counts stay as they are."""
    rows = stored.rows.copy()
    rows[[0, -1]] = rows[[-1, 0]]
    return TermPostings(stored.offsets, rows)


def lost_posting(stored: TermPostings) -> TermPostings:
    offsets = stored.offsets.copy()
    offsets[-1] -= 1
    return TermPostings(offsets, stored.rows[:-1])


def stray_posting(stored: TermPostings) -> TermPostings:
    rows = stored.rows.copy()
    rows[0] = ROWS + 7
    return TermPostings(stored.offsets, rows)


def other_posting(stored: TermPostings) -> TermPostings:
    """As of a dictionary with one term more."""
    return TermPostings(np.append(stored.offsets, stored.offsets[-1:]), stored.rows)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (moved_posting, "is filed under another value"),
        (lost_posting, "no entry leads to log/0/"),
        (stray_posting, "it names rows that do not exist"),
        (other_posting, "its entries contradict each other"),
    ],
)
def test_a_fault_in_postings_is_found(
    shard: Shard, tools: FragmentTools, change: Change, told: str
) -> None:
    replace_postings(shard, "string:kind", change)
    found = checked(shard, tools)
    assert found["postings"].verdict == DIFFERENT
    assert found["postings"].detail.startswith("kind in segment 0: ")
    assert told in found["postings"].detail
    assert {entry.verdict for path, entry in found.items() if path != "postings"} == {EQUAL}


def other_hash(data: bytes) -> bytes:
    payload = bytearray(unframed(data, "it"))
    hashes, rows, _ = hash_entries(data, "it")
    lows = payload.index(hashes.astype(np.uint8).tobytes())
    payload[lows + 100] ^= 1
    changed, same, _ = hash_entries(framed(bytes(payload)), "it")
    assert (changed != hashes).any()
    assert (same == rows).all()
    return framed(bytes(payload))


def unsorted_hashes(data: bytes) -> bytes:
    """Every entry is right, but the two of a hash's first bits have changed places."""
    payload = bytearray(unframed(data, "it"))
    hashes, _, _ = hash_entries(data, "it")
    lows = payload.index(hashes.astype(np.uint8).tobytes())
    differ = (hashes[1:] >> 8 == hashes[:-1] >> 8) & (hashes[1:] != hashes[:-1])
    place = lows + int(np.flatnonzero(differ)[0])
    payload[place], payload[place + 1] = payload[place + 1], payload[place]
    return framed(bytes(payload))


@pytest.mark.parametrize("change", [other_hash, unsorted_hashes])
def test_a_fault_in_hash_pages_is_found(
    shard: Shard, tools: FragmentTools, change: Callable[[bytes], bytes]
) -> None:
    replace_block(shard, "string:user", HASH_PAGE, 1, change)
    found = checked(shard, tools)
    assert found["hash pages"].verdict == DIFFERENT
    assert found["hash pages"].detail.startswith("user in segment 0: ")
    assert {entry.verdict for path, entry in found.items() if path != "hash pages"} == {EQUAL}


def test_a_fault_in_an_index_of_elements_is_found(shard: Shard, tools: FragmentTools) -> None:
    replace_postings(shard, "list<string>:tags", lost_posting)
    found = checked(shard, tools)
    assert found["postings"].verdict == DIFFERENT
    assert found["postings"].detail.startswith("tags in segment 0: ")


def lost_pair(data: bytes) -> bytes:
    keys, rows = decode_pairs(data, "it")
    return encode_pairs(keys[:-1], rows[:-1])


def moved_pair(data: bytes) -> bytes:
    keys, rows = (part.copy() for part in decode_pairs(data, "it"))
    rows[[0, -1]] = rows[[-1, 0]]
    return encode_pairs(keys, rows)


def unsorted_pairs(data: bytes) -> bytes:
    keys, rows = (part.copy() for part in decode_pairs(data, "it"))
    for part in (keys, rows):
        part[[1, -2]] = part[[-2, 1]]
    return encode_pairs(keys, rows)


@pytest.mark.parametrize("change", [lost_pair, moved_pair, unsorted_pairs])
def test_a_fault_in_sorted_values_is_found(
    tmp_path: Path,
    tools: FragmentTools,
    change: Callable[[bytes], bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ordered, "PAGES_PER_VALUE_MAX", 0)
    chance = random.Random(8)
    with opened(tmp_path) as made:
        put(made, {n: {"f": chance.random(), "n": chance.randrange(1 << 60)} for n in range(500)},
            0, 500)  # fmt: skip
        seal_now(made)
        found = checked(made, tools)
        assert {entry.verdict for entry in found.values()} == {EQUAL}, found
        assert found["sorted values"].predicates > 900
        replace_block(made, "float:f", SORTED_PAGE, 0, change)
        found = checked(made, tools)
        assert found["sorted values"].verdict == DIFFERENT
        assert found["sorted values"].detail.startswith("f in segment 0: ")


@pytest.mark.parametrize(
    ("column", "change"),
    [
        ("int:rising", lambda zone: replace(zone, high=zone.high - 1)),
        ("int:rising", lambda zone: replace(zone, low=zone.low + 1)),
        ("string:user", lambda zone: replace(zone, low="v")),
        ("float:f", lambda zone: replace(zone, low=0.0)),
        ("_time", lambda zone: replace(zone, high=0)),
        ("_birth", lambda zone: replace(zone, low=zone.low + 1)),
        ("bool:flag", lambda zone: replace(zone, nulls=zone.nulls + 1)),
    ],
)
def test_a_fault_in_a_zone_is_found(
    shard: Shard, tools: FragmentTools, column: str, change: Callable[[Zone], Zone]
) -> None:
    replace_zones(shard, column, change)
    found = checked(shard, tools)
    assert found["zone map"].verdict == DIFFERENT, found
    path = {"_birth": "_id"}.get(column, column.rpartition(":")[2])
    assert found["zone map"].detail.startswith(f"{path} in segment 0: ")


def test_predicates_alone_find_a_row_that_is_left_out(
    shard: Shard, tools: FragmentTools, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever narrowing does, it is compared with a scan: not only what is stored."""
    from leaf.indexes import terms

    right = terms._rows

    def wrong(slices: Sequence[NDArray[np.uint32]], one: bool) -> RowSet:
        rows = right(slices, one)
        return of_numbers(rows.rows()[:-1].astype(np.uint32))

    monkeypatch.setattr(terms, "_rows", wrong)
    found = checked(shard, tools)
    assert found["postings"].verdict == DIFFERENT
    assert " leaves out log/0/" in found["postings"].detail


@pytest.mark.parametrize(
    ("index", "operator", "path", "told"),
    [
        (ElementIndex, "has", "postings", "tags in segment 0: has "),
        (ElementIndex, "has any", "postings", "tags in segment 0: has any of "),
        (ZoneMap, "prefix", "zone map", "kind in segment 0: starts with 'k"),
        (ZoneMap, "null", "zone map", "f in segment 0: is null "),
        (ZoneMap, "not null", "zone map", "f in segment 0: is not null "),
        (_TextIndex, "match", "text index", "user in segment 0: match "),
    ],
)
def test_every_form_of_condition_is_a_predicate(
    tmp_path: Path,
    tools: FragmentTools,
    monkeypatch: pytest.MonkeyPatch,
    index: type[ElementIndex] | type[ZoneMap] | type[_TextIndex],
    operator: str,
    path: str,
    told: str,
) -> None:
    right = index.find

    def wrong(self: Any, asked: str, values: Sequence[Scalar]) -> Candidates | None:
        found = right(self, asked, values)
        if asked != operator or found is None or not found.count:
            return found
        rows = of_numbers(found.rows().rows()[: found.count // 3].astype(np.uint32))
        return replace(found, count=rows.count, exact=False, rows=lambda: rows)

    chance = random.Random(5)
    kept = CollectionSettings(indexes=(IndexSetting("user", "text"),))
    with closing(Shard(tmp_path / "s", 1, False, SETTINGS, PageCache(1 << 20), kept=kept)) as made:
        put(made, {n: document(n, chance) for n in range(300)}, 0, 300)
        seal_by_settings(made)
        found = checked(made, tools)
        assert {entry.verdict for entry in found.values()} == {EQUAL}, found
        monkeypatch.setattr(index, "find", wrong)
        found = checked(made, tools)
        assert found[path].verdict == DIFFERENT
        assert found[path].detail.startswith(told)
        assert " leaves out log/0/" in found[path].detail


@pytest.mark.parametrize("way", ["narrowed scan", "partials", "kernels", "direct lookup"])
def test_a_way_of_running_that_counts_otherwise_is_found(
    shard: Shard, tools: FragmentTools, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from leaf import ways

    right = ways.run_fragment

    def wrong(*arguments: object) -> FragmentResult:
        fragment, mode = arguments[1], arguments[-1]
        result = right(*arguments)
        here = {
            "narrowed scan": bool(fragment.terms)
            and not (mode.memoise or mode.kernels or mode.direct),
            "direct lookup": mode.direct,
            "partials": mode.memoise,
            "kernels": mode.kernels,
        }
        return replace(result, table=result.table.slice(1)) if here[way] else result

    monkeypatch.setattr(ways, "run_fragment", wrong)
    found = checked(shard, tools)
    assert found[way].verdict == DIFFERENT
    assert re.match(r"_?\w+: .* finds \d+ rows, a scan \d+, and \d+ more", found[way].detail)
    assert {entry.verdict for path, entry in found.items() if path != way} == {EQUAL}


def test_a_damaged_block_is_named_and_the_rest_is_checked(
    shard: Shard, tools: FragmentTools
) -> None:
    replace_block(shard, "string:kind", TERM_POSTINGS, 0, lambda data: data[:-1] + b"x")
    found = checked(shard, tools)
    assert found["postings"].verdict == DAMAGED
    assert "the postings of column 'string:kind'" in found["postings"].detail
    assert found["hash pages"].verdict == EQUAL
    replace_postings(shard, "int:n", moved_posting)
    assert checked(shard, tools)["postings"].verdict == DIFFERENT


def test_what_is_cached_hides_no_fault(shard: Shard, tools: FragmentTools) -> None:
    (segment,) = shard.view.segments
    found = segment.indexes("string:kind")[0].find("=", ["kind 1"])
    assert found is not None
    assert found.rows().count
    replace_postings(shard, "string:kind", moved_posting)
    assert checked(shard, tools)["postings"].verdict == DIFFERENT


def test_the_check_stops_in_time_and_says_so(shard: Shard, tools: FragmentTools) -> None:
    answers = iter([False, False, False] + [True] * 100)
    found = checked(shard, tools, stop=lambda: next(answers))
    assert {entry.verdict for entry in found.values()} == {UNFINISHED}
    assert all("after 3 of 11 fields" in entry.detail for entry in found.values())
    (nothing,) = checked(shard, tools, stop=lambda: True).values()
    assert nothing.verdict == UNFINISHED
    cancellation = Cancellation()
    cancellation.cancel()
    with pytest.raises(AlderError) as caught:
        check_shard(0, shard.view, False, Means(tools, cancellation, lambda: False, 8, 0))
    assert caught.value.reason is Reason.DEADLINE


def test_values_of_every_type_make_no_trouble(tmp_path: Path, tools: FragmentTools) -> None:
    texts = ["", "'", "\n", "\\", "ü" * 40, "a\0b", "x" * 5_000]
    numbers = [0, -(1 << 63), (1 << 63) - 1, 1 << 53]
    floats = [float("nan"), float("inf"), -0.0, 1e308, 0.1]
    with opened(tmp_path) as made:
        rows: dict[int, Document | None] = {
            n: {"s": texts[n % 7], "i": numbers[n % 4], "f": floats[n % 5], "m": floats[n % 5]}
            for n in range(100)
        }
        for n in range(0, 100, 3):
            rows[n] = {"m": n}
        put(made, rows, 0, 100)
        seal_now(made)
        found = checked(made, tools)
        assert {entry.verdict for entry in found.values()} == {EQUAL}, found


async def sealed(leaf: Leaf) -> None:
    shard = leaf._shards.get((1, 0))
    assert shard is not None
    for _ in range(200):
        if shard.view.segments:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("nothing is sealed")


def test_a_fragment_tells_what_narrowed_it(tmp_path: Path) -> None:
    async def body(leaf: Leaf, catalog: object) -> None:
        rows = rows_bytes({n: {"a": n % 3, "u": f"u{n}"} for n in range(3_000)})
        await leaf.apply(push({0: rows}, 0, 3_000))
        await sealed(leaf)
        await leaf.apply(push({0: rows_bytes({3_000: {"a": 0, "z": 1}})}, 3_000, 3_001))
        columns = [
            bound("c0", "a", "BIGINT", "int"), bound("c1", "u", "VARCHAR", "string"),
            bound("c2", "z", "BIGINT", "int"), bound("c3", "_time", "TIMESTAMP"),
        ]  # fmt: skip
        for terms, sql, paths, candidates in [
            ([], "true", [], 3_000),
            ([("a", "=", "1")], "c0 = 1", ["postings(a)"], 1_000),
            ([("u", "=", '"u7"')], "c1 = 'u7'", ["hash pages(u)"], 1),
            ([("a", ">", "0")], "c0 > 0", ["zone map(a)"], 3_000),
            ([("z", "=", "1")], "c2 = 1", ["absence(z)"], 0),
            (
                [("a", "=", "1"), ("_time", "<", '"1970-01-02"')],
                "c0 = 1 AND c3 < TIMESTAMP '1970-01-02'",
                ["postings(a)", "zone map(_time)"],
                1_000,
            ),
        ]:
            asked = [
                leaf_pb2.Term(path=path, operator=operator, values_json=[value])
                for path, operator, value in terms
            ]
            _, trailer = await ask(leaf, f"SELECT c0 FROM rows WHERE {sql}", columns, terms=asked)
            scan = trailer.shards[0]
            assert (list(scan.access_paths), scan.rows_candidate) == (paths, candidates), sql
            assert scan.rows_scanned == candidates + 1, "the live tail is read whole"

    with_leaf(tmp_path, body, replace(QUICK, seal_rows=1_000))


def test_the_service_checks_its_shards(tmp_path: Path) -> None:
    async def body(leaf: Leaf, catalog: object) -> None:
        rows = rows_bytes({n: {"a": n % 3, "u": f"u{n}"} for n in range(3_000)})
        await leaf.apply(push({0: rows, 1: b""}, 0, 3_000))
        await sealed(leaf)
        request = leaf_pb2.CheckIndexRequest(collection="c", collection_id=1, shards=[0, 1])
        response = await leaf.check_index(request, timeout_s=30)
        assert [(c.shard, c.path) for c in response.checks] == [
            (0, "births"), (0, "direct lookup"), (0, "hash pages"), (0, "kernels"),
            (0, "narrowed scan"), (0, "pages"), (0, "partials"),
            (0, "postings"), (0, "zone map"), (1, "live tail"),
        ]  # fmt: skip
        assert {check.verdict for check in response.checks} == {EQUAL}
        with pytest.raises(AlderError) as caught:
            await leaf.check_index(
                leaf_pb2.CheckIndexRequest(collection="d", collection_id=1, shards=[0])
            )
        assert caught.value.reason is Reason.NOT_OWNER

    with_leaf(tmp_path, body, replace(QUICK, seal_rows=1_000), shards=2)
