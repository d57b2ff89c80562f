"""The index of points against plain Python, and shapes over shards, sealed, merged and live."""

import random
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from geo_model import POINTS, Point, distance_m, in_box, in_rings
from hypothesis import given, settings
from hypothesis import strategies as st
from leaf_model import Document
from test_leaf_cluster import merge_now, put, seal_now
from test_leaf_indexes import found_rows, opened
from test_leaf_text_shards import tools

from aggregator.planning.planner import Planner
from aggregator.statement import security
from aggregator.statement.bind import bind
from aggregator.statement.names import Names
from aggregator.statement.syntax import Parser
from alder.catalog import CollectionSettings
from alder.indexing import IndexSetting
from alder.points import Box
from alder.schema import Schema
from alder.v1 import leaf_pb2
from leaf.cache import PageCache
from leaf.check import Means, check_shard
from leaf.engine import Cancellation
from leaf.fragment import run_fragment
from leaf.fragmentmodel import FragmentMode
from leaf.indexes import ordered
from leaf.indexes.geo import PATH, Geo, GeoIndex, cells_of_box
from leaf.indexes.kind import Candidates, Column, Scalar
from leaf.indexes.rowset import of_numbers
from leaf.settings import LeafSettings
from leaf.shard import Shard

FLOATS = pa.list_(pa.float64())
NO_POINTS: list[list[float | None] | None] = [
    None, [], [8.0], [None, 47.0], [8.0, None], [181.0, 0.0], [0.0, -90.5], [float("nan"), 1.0],
]  # fmt: skip
BOXES = st.tuples(POINTS, POINTS).map(
    lambda corners: (
        min(corners[0][0], corners[1][0]), corners[0][1],
        max(corners[0][0], corners[1][0]), corners[1][1],
    )
)  # fmt: skip


@settings(max_examples=80, deadline=None)
@given(
    st.lists(POINTS.map(lambda p: [p[1], p[0]]) | st.sampled_from(NO_POINTS), min_size=1),
    st.lists(BOXES, min_size=1, max_size=4),
    st.data(),
)
def test_every_point_in_a_box_is_found(
    values: list[list[float | None] | None],
    boxes: list[tuple[float, float, float, float]],
    data: st.DataObject,
) -> None:
    column = pa.array(values, FLOATS)
    geo = Geo()
    cut = data.draw(st.integers(0, len(values)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ordered, "PAIRS_PER_PAGE", 4)
        built = geo.joined(0, [geo.part(column.slice(0, cut), 0), geo.part(column.slice(cut), cut)])
        assert built == geo.build(Column(0, "list<float>", column), {})
        index = opened(built, "list<float>", len(values))
        assert index.check(column).fault == ""
        points = {
            row: (value[1], value[0])
            for row, value in enumerate(values)
            if value not in NO_POINTS and value is not None
        }
        for box in boxes:
            found = found_rows(index, "within", box)
            assert found is not None
            assert {row for row, point in points.items() if in_box(point, *box)} <= found
            assert found <= points.keys()
    for operator in ("=", "has", "null", "<"):
        assert index.find(operator, [1.0]) is None


@given(BOXES)
def test_a_box_is_a_few_ranges_apart(box: tuple[float, float, float, float]) -> None:
    ranges = cells_of_box(Box(*box))
    assert 0 < len(ranges) <= 67
    ends = [place for pair in ranges for place in pair]
    assert ends == sorted(ends)
    assert all(after > before + 1 for (_, before), (after, _) in pairwise(ranges))


def test_little_more_than_a_box_is_read() -> None:
    random_points = np.random.default_rng(5).uniform([-180, -90], [180, 90], (100_000, 2))
    column = pa.array(random_points.tolist(), FLOATS)
    index = opened(Geo().build(Column(0, "list<float>", column), {}), "list<float>", len(column))
    for box in [(10, 20, 20, 30), (-3.3, 179, 4.1, -178), (-90, -180, 90, -170)]:
        inside = sum(in_box((lat, lon), *box) for lon, lat in random_points.tolist())
        found = found_rows(index, "within", box)
        assert found is not None
        assert inside <= len(found) <= 1.3 * inside + 20


def test_lists_of_integers_are_points_too() -> None:
    column = pa.array([[8, 47], [8, 46], [1 << 60, 3], None], pa.list_(pa.int64()))
    index = opened(Geo().build(Column(0, "list<int>", column), {}), "list<int>", 4)
    assert index.check(column).fault == ""
    assert found_rows(index, "within", [46.5, 7.5, 47.5, 8.5]) == {0}


@pytest.mark.parametrize(
    ("stored", "fault"),
    [
        ([[8.0, 47.0], [8.0, 47.0]], "{row} is filed under another value"),
        ([[8.0, 47.0], None], "no entry leads to {row}"),
    ],
)
def test_a_check_finds_where_column_and_index_differ(
    stored: list[list[float] | None], fault: str
) -> None:
    built = Geo().build(Column(0, "list<float>", pa.array(stored, FLOATS)), {})
    index = opened(built, "list<float>", 2)
    assert index.check(pa.array([[8.0, 47.0], [9.0, 48.0]], FLOATS)).fault == fault


TRIANGLE = "POLYGON((7.1 46.1, 9.6 47.05, 7.1 48.1))"
RING = [(46.1, 7.1), (47.05, 9.6), (48.1, 7.1)]
SHAPES = {
    "geo_within_box(p, 46.5, 7.5, 48, 9)": lambda at: in_box(at, 46.5, 7.5, 48, 9),
    "geo_within_box(p, -20, 175, 20, -170)": lambda at: in_box(at, -20, 175, 20, -170),
    "geo_within_radius(p, 47, 8, 80000)": lambda at: distance_m(at, (47, 8)) <= 80_000,
    "geo_within_radius(p, -89.5, 0, 400000)": lambda at: distance_m(at, (-89.5, 0)) <= 400_000,
    f"geo_within_polygon(p, '{TRIANGLE}')": lambda at: in_rings(at, [RING]),
    "geo_within_box(p, -90, -180, 90, 180)": lambda at: True,
}


def place(chance: random.Random) -> Point:
    kind = chance.randrange(4)
    if kind == 0:
        return chance.uniform(-90, 90), chance.uniform(-180, 180)
    if kind == 1:
        return chance.uniform(-20, 20), chance.choice([-179.5, 179.5, -180.0, 176.0])
    lat, lon = chance.gauss(47, 0.7), chance.gauss(8, 0.7)
    return (float(round(lat)), float(round(lon))) if kind == 2 else (lat, lon)


def document(chance: random.Random, at: Point, number: int) -> Document:
    if number % 9 == 0:
        return {"n": number}
    lat, lon = at
    whole = lat.is_integer() and lon.is_integer()
    return {"n": number, "p": [int(lon), int(lat)] if whole else [lon, lat]}


@pytest.fixture(scope="module")
def planned() -> Iterator["Planned"]:
    made = Planned()
    yield made
    made.planner.close()


class Planned:
    """Fragments as the aggregator makes them."""

    def __init__(self) -> None:
        self.parser = Parser()
        self.planner = Planner(self.parser, security.Catalog.of_engine())

    def fragment(self, shape: str, counted: bool) -> leaf_pb2.Fragment:
        fields = {"p": frozenset({"list<float>", "list<int>"}), "n": frozenset({"int"})}
        sql = f"SELECT {'count(*)' if counted else 'n'} FROM c WHERE {shape}"
        bound = bind(self.parser.parse(sql).node, sql, {"c": Names(Schema(1, fields))}, self.parser)
        (read,) = self.planner.plan(bound, "a" if counted else "b").reads
        return read.fragment


def test_shapes_find_the_points_of_all_segments(tmp_path: Path, planned: Planned) -> None:
    chance, means, cache = random.Random(6), tools(), PageCache(1 << 20)
    kept = CollectionSettings(indexes=(IndexSetting("p", "geo"),))
    settings_made = LeafSettings(merge_factor=3)
    shard = Shard(tmp_path / "1-c" / "0", 1, False, settings_made, cache, kept=kept)
    places: list[Point | None] = []
    merges = taken = 0
    for step in range(12):
        begin = len(places)
        rows = {}
        for number in range(begin, begin + 40):
            at = place(chance)
            rows[number] = document(chance, at, number)
            places.append(at if "p" in rows[number] else None)
        put(shard, rows, begin, False)
        if step == 11:
            break
        seal_now(shard)
        merges += merge_now(shard)
        if step % 4 != 3:
            continue
        for shape, holds in SHAPES.items():
            expected = [n for n, at in enumerate(places) if at is not None and holds(at)]
            for counted in (False, True):
                fragment = planned.fragment(shape, counted)
                for without in (frozenset[str](), frozenset({"geo"})):
                    mode = FragmentMode(memoise=False, kernels=counted, without=without)
                    arguments = (None, False, means, Cancellation(), mode)
                    result = run_fragment({0: shard.view}, fragment, *arguments)
                    column = result.table.column(0).to_pylist()
                    found = [sum(column)] if counted else sorted(column)
                    assert found == ([len(expected)] if counted else expected), shape
                    paths = {path for scan in result.scans for path in scan.access_paths}
                    taken += f"{PATH}(p)" in paths
                    assert not without or f"{PATH}(p)" not in paths
    assert merges
    assert taken == 4 * len(SHAPES)
    checked_and_broken(shard, Means(means, Cancellation(), lambda: False, 8, 1))
    shard.close()
    means.engine.close()


def checked_and_broken(shard: Shard, means: Means) -> None:
    """CHECK INDEX is silent, and not where the index leaves out a row."""
    found = {one.path: one for one in check_shard(0, shard.view, False, means)}
    assert {one.verdict for one in found.values()} == {leaf_pb2.INDEX_VERDICT_EQUAL}, found
    assert found[PATH].predicates > 8
    right = GeoIndex.find

    def wrong(self: GeoIndex, operator: str, values: Sequence[Scalar]) -> Candidates | None:
        answer = right(self, operator, values)
        if answer is None or not answer.count:
            return answer
        rows = of_numbers(answer.rows().rows()[1:].astype(np.uint32))
        return Candidates(PATH, rows.count, False, 0, lambda: rows)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(GeoIndex, "find", wrong)
        found = {one.path: one for one in check_shard(0, shard.view, False, means)}
    assert found[PATH].verdict == leaf_pb2.INDEX_VERDICT_DIFFERENT
    assert found[PATH].detail.startswith("p in segment ")


def test_two_numbers_are_narrowed_by_their_own_indexes(planned: Planned) -> None:
    fields = {"a.lat": frozenset({"float", "int"}), "a.lon": frozenset({"float"})}
    sql = "SELECT a.lat FROM c WHERE geo_within_radius(a.lat, a.lon, 47, 8, 1000)"
    node = planned.parser.parse(sql).node
    bound = bind(node, sql, {"c": Names(Schema(1, fields))}, planned.parser)
    (read,) = planned.planner.plan(bound, "b").reads
    ranges = [(term.path, term.operator) for term in read.fragment.terms if term.values_json]
    assert ranges == [("a.lat", ">="), ("a.lat", "<="), ("a.lon", ">="), ("a.lon", "<=")]
