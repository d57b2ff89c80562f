"""What shapes and distances mean, in plain Python over single points."""

import math
from collections.abc import Sequence

from hypothesis import strategies as st

from aggregator.functions.geo import RADIUS_M

Point = tuple[float, float]
"""Latitude and longitude."""
LATITUDES = st.sampled_from([-90.0, 90.0, 0.0, 47.5, 89.9999]) | st.floats(-90, 90)
LONGITUDES = st.sampled_from([-180.0, 180.0, 0.0, 8.25, -179.9999]) | st.floats(-180, 180)
POINTS = st.tuples(LATITUDES, LONGITUDES)
"""Points on Earth, often at the poles and at the antimeridian."""


def distance_m(one: Point, other: Point) -> float:
    """The angle between two vectors from the center of Earth, times its radius."""
    a, b = _vector(one), _vector(other)
    cross = math.hypot(
        a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]
    )
    return RADIUS_M * math.atan2(cross, sum(x * y for x, y in zip(a, b, strict=True)))


def _vector(point: Point) -> tuple[float, float, float]:
    lat, lon = map(math.radians, point)
    return math.cos(lat) * math.cos(lon), math.cos(lat) * math.sin(lon), math.sin(lat)


def in_box(point: Point, south: float, west: float, north: float, east: float) -> bool:
    lat, lon = point
    across = west <= lon <= east if west <= east else lon >= west or lon <= east
    return south <= lat <= north and across


def in_rings(point: Point, rings: Sequence[Sequence[Point]]) -> bool:
    """By the sum of the angles at which a point sees the edges of each ring; not for its edges."""
    inside = False
    for ring in rings:
        turned = 0.0
        for (y1, x1), (y2, x2) in zip(ring, [*ring[1:], ring[0]], strict=True):
            one, other = (x1 - point[1], y1 - point[0]), (x2 - point[1], y2 - point[0])
            cross = one[0] * other[1] - one[1] * other[0]
            turned += math.atan2(cross, one[0] * other[0] + one[1] * other[1])
        inside ^= round(turned / (2 * math.pi)) % 2 == 1
    return inside
