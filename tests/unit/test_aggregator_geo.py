"""Distances and shapes through every class, against plain Python over single points."""

import random
from collections.abc import Iterator

import pytest
from aggregator_model import Cluster, Document
from geo_model import POINTS, Point, distance_m, in_box, in_rings
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.functions import wkt
from aggregator.functions.geo import RADIUS_M, box_around
from alder.errors import AlderError, Reason
from alder.v1 import query_pb2

_RNG = random.Random(3)
PLACES: list[Point] = [
    (47.0, 8.0), (47.5, 8.25), (-90.0, 0.0), (90.0, 12.0), (0.0, 180.0), (0.0, -180.0),
    (10.5, 179.5), (10.5, -179.5), (0.0, 0.0), (52.52, 13.405),
]  # fmt: skip
PLACES += [(_RNG.uniform(-90, 90), _RNG.uniform(-180, 180)) for _ in range(60)]
PLACES += [(47 + _RNG.gauss(0, 1), 8 + _RNG.gauss(0, 1)) for _ in range(60)]
ODD: list[Document] = [
    {"spot": {"lat": 47.0}}, {"spot": {"lon": 8.0}, "p": [8.0]}, {"spot": {"lat": 95, "lon": 8.0}},
    {"spot": {"lat": 47.0, "lon": 200.0}, "p": [200.0, 47.0]}, {"p": [8.0, None, 3.5]}, {"p": []},
    {"spot": None, "p": None}, {},
]  # fmt: skip
SQUARE = "POLYGON((7 46, 9 46, 9 48, 7 48), (7.5 46.5, 8.5 46.5, 8.5 47.25, 7.5 47.25))"
RINGS = [
    [(46, 7), (46, 9), (48, 9), (48, 7)],
    [(46.5, 7.5), (46.5, 8.5), (47.25, 8.5), (47.25, 7.5)],
]
CLASSES = ["", "b", "e"]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    documents: list[Document] = [
        {"n": n, "spot": {"lat": lat, "lon": lon}, "p": [lon, lat]}
        for n, (lat, lon) in enumerate(PLACES)
    ]
    odd = [{"n": len(PLACES) + n, **document} for n, document in enumerate(ODD)]
    made = Cluster({"ev": [*documents, *odd]})
    yield made
    made.close()


def found(cluster: Cluster, condition: str, plan_class: str = "") -> list[int]:
    rows = cluster.rows(f"SELECT n FROM ev WHERE {condition} ORDER BY n", plan_class)
    return [int(str(n)) for (n,) in rows]


@pytest.mark.parametrize("plan_class", CLASSES)
@pytest.mark.parametrize("point", ["spot.lat, spot.lon", "p"])
def test_what_is_within(cluster: Cluster, point: str, plan_class: str) -> None:
    for box in [(46, 7, 48, 9), (-5, 170.5, 15, -179.25), (-90, -180, 90, 180), (47, 8, 47, 8)]:
        expected = [n for n, place in enumerate(PLACES) if in_box(place, *box)]
        inside = ", ".join(map(str, box))
        assert found(cluster, f"geo_within_box({point}, {inside})", plan_class) == expected
    circles = [((47.0, 8.0), 9e4), ((10.0, 179.9), 2.5e5), ((89.0, 0.0), 3e6), ((0.0, 0.0), 3e7)]
    for center, metres in circles:
        expected = [n for n, place in enumerate(PLACES) if distance_m(place, center) <= metres]
        asked = f"geo_within_radius({point}, {center[0]}, {center[1]}, {metres})"
        assert found(cluster, asked, plan_class) == expected
    expected = [n for n, place in enumerate(PLACES) if in_rings(place, RINGS)]
    assert 5 < len(expected) < 60
    assert found(cluster, f"geo_within_polygon({point}, '{SQUARE}')", plan_class) == [
        n for n in expected if PLACES[n] not in RINGS[0]
    ]


def test_a_row_without_a_point_is_outside(cluster: Cluster) -> None:
    everywhere = "geo_within_box(spot.lat, spot.lon, -90, -180, 90, 180)"
    assert found(cluster, f"NOT {everywhere}") == [len(PLACES) + n for n in range(len(ODD))]
    rows = cluster.rows(f"SELECT {everywhere} IS NULL, count(*) FROM ev GROUP BY 1")
    assert rows == [(False, len(PLACES) + len(ODD))]
    sql = f"SELECT geo_distance(spot.lat, spot.lon, 0, 0) FROM ev WHERE n >= {len(PLACES)}"
    assert cluster.rows(sql) == [(None,)] * len(ODD)


def test_a_shape_may_be_given_by_parameters(cluster: Cluster) -> None:
    numbers = [
        query_pb2.Parameter(float_value=47.0),
        query_pb2.Parameter(int_value=8),
        query_pb2.Parameter(float_value=1e-5),
    ]
    sql = "SELECT n FROM ev WHERE geo_within_radius(p, ?, ?, ?)"
    assert cluster.rows(sql, parameters=numbers) == [(0,)]
    shape = query_pb2.Parameter(string_value="POLYGON((7.9 46.9, 8.1 46.9, 8 47.0001))")
    sql = "SELECT n FROM ev WHERE geo_within_polygon(spot.lat, spot.lon, ?) AND n < 10"
    assert cluster.rows(sql, parameters=[shape]) == [(0,)]


def test_the_nearest_come_first(cluster: Cluster) -> None:
    order = sorted(range(len(PLACES)), key=lambda n: distance_m(PLACES[n], (47.1, 8.1)))[:5]
    distance = "geo_distance(p, 47.1, 8.1)"
    sql = f"SELECT n, {distance} FROM ev WHERE {distance} IS NOT NULL ORDER BY 2 LIMIT 5"
    rows = cluster.rows(sql)
    assert [n for n, _ in rows] == order
    for n, metres in rows:
        assert metres == pytest.approx(distance_m(PLACES[int(str(n))], (47.1, 8.1)), rel=1e-9)


def test_distances_known_elsewhere(cluster: Cluster) -> None:
    sql = "SELECT geo_distance(52.52, 13.405, 48.8566, 2.3522) FROM ev LIMIT 1"
    assert cluster.rows(sql)[0][0] == pytest.approx(877_464, rel=1e-4), "from Berlin to Paris"
    assert pytest.approx((2 * 6_378_137 + 6_356_752.3) / 3, abs=0.1) == RADIUS_M


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        ("geo_distance(spot.lat)", Reason.INVALID_ARGUMENT),
        ("geo_within_radius(n, 1, 2)", Reason.INVALID_ARGUMENT),
        ("geo_within_radius(spot.lat, 47, 8, 10)", Reason.WRONG_TYPE),
        ("geo_within_radius(p, 91, 8, 10)", Reason.INVALID_ARGUMENT),
        ("geo_within_radius(p, 47, 8, -1)", Reason.INVALID_ARGUMENT),
        ("geo_within_radius(p, 47, 8, n)", Reason.INVALID_ARGUMENT),
        ("geo_within_box(p, 10, 0, 5, 1)", Reason.INVALID_ARGUMENT),
        ("geo_within_box(p, 0, 0, 5, 181)", Reason.INVALID_ARGUMENT),
        ("geo_within_polygon(p, n)", Reason.INVALID_ARGUMENT),
        ("geo_within_polygon(p, 'POLYGON((0 0, 1 1))')", Reason.SYNTAX),
        ("geo_within_polygon(p, 'POLYGON((170 0, 190 0, 190 5))')", Reason.INVALID_ARGUMENT),
    ],
)
def test_what_is_no_shape_is_refused(cluster: Cluster, call: str, reason: Reason) -> None:
    with pytest.raises(AlderError) as caught:
        cluster.rows(f"SELECT {call} FROM ev")
    assert caught.value.reason is reason


@settings(max_examples=300, deadline=None)
@given(POINTS, POINTS, st.floats(0, 3e7) | st.floats(0, 2e3))
def test_the_box_around_a_circle_holds_it(center: Point, point: Point, metres: float) -> None:
    box = box_around(*center, metres)
    assert box.is_on_earth
    if distance_m(center, point) <= metres:
        assert in_box(point, box.south, box.west, box.north, box.east)


CORNERS = st.tuples(st.integers(-180, 180), st.integers(-90, 90))


@given(st.lists(st.lists(CORNERS, min_size=3, max_size=6, unique=True), min_size=1, max_size=3))
def test_a_polygon_is_read_as_written(drawn: list[list[tuple[int, int]]]) -> None:
    closed = [[*ring, ring[0]] for ring in drawn]
    for rings in (drawn, closed):
        texts = [", ".join(f"{lon} {lat}.0" for lon, lat in ring) for ring in rings]
        shape = ", ".join(f"({text})" for text in texts)
        assert [list(ring) for ring in wkt.rings(f"Polygon ({shape})")] == closed
        parts = ", ".join(f"(({text}))" for text in texts)
        assert [list(ring) for ring in wkt.rings(f"MULTIPOLYGON({parts})")] == closed


@settings(max_examples=300)
@given(st.text("POLYGN()[]0123.,- e", max_size=40) | st.text(max_size=20))
def test_a_hostile_shape_is_refused_or_read(text: str) -> None:
    for shape in (text, f"POLYGON(({text}))", f"POLYGON((0 0, 1 1, {text}))"):
        assert all(ring[0] == ring[-1] and len(ring) > 3 for ring in read_or_refused(shape))


def read_or_refused(shape: str) -> list[wkt.Ring]:
    try:
        return wkt.rings(shape)
    except AlderError as error:
        if error.reason not in {Reason.SYNTAX, Reason.LIMIT}:
            raise
        return []


@pytest.mark.parametrize(
    "text",
    ["", "POINT(1 2)", "POLYGON((0 0, 1 1, 2 2, 3))", "POLYGON((0 0, 1 1, 2 2 2))", "POLYGON()",
     "POLYGON((0 0, 1 1, 2 2)", "POLYGON(0 0, 1 1, 2 2)", "POLYGON[[0 0, 1 1, 2 0]]",
     "MULTIPOLYGON((0 0, 1 1, 2 0))", "POLYGON((1e999 0, 1 1, 2 0))", "POLYGON((0 0,1 1,0 0))"],
)  # fmt: skip
def test_what_is_no_polygon_is_told(text: str) -> None:
    with pytest.raises(AlderError, match="can't be read"):
        wkt.rings(text)


def test_a_polygon_has_a_limit() -> None:
    corners = ", ".join(f"{n / 10} {n % 7}" for n in range(wkt.CORNERS_MAX + 1))
    with pytest.raises(AlderError, match=f"at most {wkt.CORNERS_MAX} corners"):
        wkt.rings(f"POLYGON(({corners}))")
