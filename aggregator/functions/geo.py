"""Geography: distances and shapes as plain SQL, and back from that SQL to what an index needs.

`geo_distance` is the length of the great circle on a sphere (the haversine formula, as in Sinnott,
"Virtues of the Haversine", 1984); `geo_within_radius`, `geo_within_box` and `geo_within_polygon`
are conditions. They become expressions of the engine wherever they stand, so they mean the same in
every class, over sealed rows and live ones, with an index and without. Each condition begins with
the box that surrounds its shape, which is what indexes know: ranges of two numbers are ordinary
terms, and those of a list of two are recognised here by their form.

A point without both coordinates, or out of range, is in no shape.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from itertools import pairwise
from typing import Final

import orjson

from aggregator.functions import wkt
from aggregator.functions.lists import DISTANCE, WITHIN_BOX, WITHIN_POLYGON, WITHIN_RADIUS
from aggregator.statement import tree
from aggregator.statement.names import Field
from aggregator.statement.syntax import Parser
from alder.errors import AlderError, Reason
from alder.points import (
    EARTH,
    LATITUDE_MAX,
    LATITUDE_PLACE,
    LONGITUDE_MAX,
    LONGITUDE_PLACE,
    OPERATOR,
    Box,
)
from alder.v1 import leaf_pb2

RADIUS_M: Final = 6_371_008.8
"""The mean radius of Earth (IUGG)."""
MARGIN_DEGREES: Final = 1e-6
"""By so much the box around a circle is wider, so that rounding leaves out nothing."""
_AFTER_THE_POINT: Final[Mapping[str, tuple[str, ...]]] = {
    DISTANCE: ("lat", "lon"),
    WITHIN_RADIUS: ("lat", "lon", "metres"),
    WITHIN_BOX: ("south", "west", "north", "east"),
    WITHIN_POLYGON: ("'POLYGON((lon lat, ...))'",),
}
_LISTS: Final = frozenset({"DOUBLE[]", "BIGINT[]"})
_MAYBE_LISTS: Final = _LISTS | {"JSON", "VARIANT", ""}
_PLACES: Final = {str(place): place for place in (LONGITUDE_PLACE, LATITUDE_PLACE)}
Typed = Callable[[tree.Node], tuple[tree.Node, str]]
"""Binds an expression and tells its SQL type, "" where that isn't known."""
Range = tuple[str, int, float, float]
"""A column of lists, a place in them, and the bounds of what is there."""


def expanded(call: tree.Node, typed: Typed, parser: Parser) -> tree.Node:
    """The expression that a call of one of the functions stands for.

    Raises AlderError: INVALID_ARGUMENT, LIMIT, SYNTAX, WRONG_TYPE.
    """
    name = str(call["function_name"]).lower()
    arguments = tree.arguments(call)
    point_arguments = len(arguments) - len(_AFTER_THE_POINT[name])
    if point_arguments not in {1, 2}:
        rest = ", ".join(_AFTER_THE_POINT[name])
        raise AlderError(
            Reason.INVALID_ARGUMENT,
            f"{name} takes a point, which is lat, lon or a list [lon, lat], and then {rest}",
        )
    named = _point(name, arguments[:point_arguments], typed, parser)
    after = arguments[point_arguments:]
    if name == DISTANCE:
        other = {"lat2": _number(after[0], typed), "lon2": _number(after[1], typed)}
        return _over({**named, **other}, _distance("lat2", "lon2"), parser)
    if name == WITHIN_POLYGON:
        return _over(named, _in_polygon(wkt.rings(_text(after[0]))), parser)
    numbers = [_constant(name, one) for one in after]
    sql = _in_box(_checked(Box(*numbers))) if name == WITHIN_BOX else _in_radius(*numbers)
    return _over(named, sql, parser)


def _point(
    name: str, arguments: Sequence[tree.Node], typed: Typed, parser: Parser
) -> dict[str, tree.Node]:
    """The latitude and the longitude of a point, each a DOUBLE."""
    if len(arguments) == 2:
        return {"lat": _number(arguments[0], typed), "lon": _number(arguments[1], typed)}
    found, sql_type = typed(arguments[0])
    if sql_type not in _MAYBE_LISTS:
        raise AlderError(
            Reason.WRONG_TYPE,
            f"{name} takes lat, lon or a list [lon, lat] of numbers, not {sql_type}",
        )
    if sql_type != "DOUBLE[]":
        found = tree.cast(found, "DOUBLE[]", attempt=True)
    places = {"lat": LATITUDE_PLACE, "lon": LONGITUDE_PLACE}
    return {key: _over({"list": found}, f"list[{place}]", parser) for key, place in places.items()}


def _number(argument: tree.Node, typed: Typed) -> tree.Node:
    found, sql_type = typed(argument)
    return found if sql_type == "DOUBLE" else tree.cast(found, "DOUBLE", attempt=True)


def _constant(name: str, argument: tree.Node) -> float:
    """The value of a literal, which a parameter is, too."""
    inner = argument["child"] if argument.get("type") == "OPERATOR_CAST" else argument
    found = tree.literal(inner)
    try:
        value = float(found[1]) if found is not None else math.nan
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise AlderError(
            Reason.INVALID_ARGUMENT,
            f"{name} takes numbers after the point: literals or parameters, in degrees and metres",
        )
    return value


def _text(argument: tree.Node) -> str:
    found = tree.literal(argument)
    if found is None or found[0] != "STRING":
        raise AlderError(
            Reason.INVALID_ARGUMENT,
            f"{WITHIN_POLYGON} takes a point and a text 'POLYGON((lon lat, lon lat, ...))'",
        )
    return found[1]


def _checked(box: Box) -> Box:
    if not box.is_on_earth:
        raise AlderError(
            Reason.INVALID_ARGUMENT,
            f"{WITHIN_BOX} takes south, west, north, east in degrees: latitudes from -90 to 90, "
            "south first; longitudes from -180 to 180, where a box with west > east crosses 180",
        )
    return box


def _over(named: Mapping[str, tree.Node], sql: str, parser: Parser) -> tree.Node:
    """The tree of an expression in which names stand for other expressions."""

    def replace(node: tree.Node) -> tree.Node:
        if node.get("type") == "COLUMN_REF":
            return named[node["column_names"][0]]
        return tree.mapped(node, replace)

    return replace(parser.parse(f"SELECT {sql}").node["select_list"][0])


def _distance(lat: str, lon: str) -> str:
    """Metres to the point of these names; NULL where a coordinate is missing or out of range."""
    halves = [
        f"pow(sin(radians({one} - {other}) / 2), 2)" for one, other in ((lat, "lat"), (lon, "lon"))
    ]
    square = f"{halves[0]} + cos(radians(lat)) * cos(radians({lat})) * {halves[1]}"
    metres = f"{_decimal(2 * RADIUS_M)}::DOUBLE * asin(least(1::DOUBLE, sqrt({square})))"
    inside = [f"abs({one}) <= {LATITUDE_MAX}" for one in ("lat", lat)]
    inside += [f"abs({one}) <= {LONGITUDE_MAX}" for one in ("lon", lon)]
    return f"CASE WHEN {' AND '.join(inside)} THEN {metres} END"


def _in_box(box: Box) -> str:
    south, west, north, east = map(_decimal, (box.south, box.west, box.north, box.east))
    crosses = box.west > box.east
    lons = f"(lon >= {west} OR lon <= {east})" if crosses else f"lon BETWEEN {west} AND {east}"
    return f"lat IS NOT NULL AND lon IS NOT NULL AND lat BETWEEN {south} AND {north} AND {lons}"


def _in_radius(lat: float, lon: float, metres: float) -> str:
    if abs(lat) > LATITUDE_MAX or abs(lon) > LONGITUDE_MAX or metres < 0:
        raise AlderError(
            Reason.INVALID_ARGUMENT,
            f"{WITHIN_RADIUS} takes a latitude from -90 to 90, a longitude from -180 to 180 and a "
            "distance in metres that is not negative",
        )
    center = f"{_decimal(lat)}::DOUBLE", f"{_decimal(lon)}::DOUBLE"
    return f"{_in_box(box_around(lat, lon, metres))} AND {_distance(*center)} <= {_decimal(metres)}"


def box_around(lat: float, lon: float, metres: float) -> Box:
    """A box that holds every point that is not further away."""
    angle = metres / RADIUS_M
    degrees = math.degrees(angle) + MARGIN_DEGREES
    south, north = lat - degrees, lat + degrees
    if south <= -LATITUDE_MAX or north >= LATITUDE_MAX:
        south, north = max(south, -LATITUDE_MAX), min(north, LATITUDE_MAX)
        return Box(_down(south), -LONGITUDE_MAX, _up(north), LONGITUDE_MAX)
    sine = math.sin(min(angle, math.pi / 2)) / math.cos(math.radians(lat))
    width = math.degrees(math.asin(min(1.0, sine))) + MARGIN_DEGREES
    if width >= LONGITUDE_MAX:
        return Box(_down(south), -LONGITUDE_MAX, _up(north), LONGITUDE_MAX)
    return Box(_down(south), _turned(_down(lon - width)), _up(north), _turned(_up(lon + width)))


def _turned(lon: float) -> float:
    """The same longitude from -180 to 180."""
    if lon < -LONGITUDE_MAX:
        return lon + 2 * LONGITUDE_MAX
    return lon - 2 * LONGITUDE_MAX if lon > LONGITUDE_MAX else lon


def _down(degrees: float) -> float:
    return math.floor(degrees * 1e7) / 1e7


def _up(degrees: float) -> float:
    return math.ceil(degrees * 1e7) / 1e7


def _in_polygon(rings: Sequence[wkt.Ring]) -> str:
    """True where a ray to the east crosses edges an odd number of times."""
    corners = [corner for ring in rings for corner in ring]
    lons, lats = [lon for lon, _ in corners], [lat for _, lat in corners]
    box = Box(min(lats), min(lons), max(lats), max(lons))
    if not box.is_on_earth:
        raise AlderError(
            Reason.INVALID_ARGUMENT,
            "a polygon has longitudes from -180 to 180, which come first, and latitudes from -90 "
            "to 90; write one that crosses 180 as two",
        )
    crossed = [
        _crosses(*sorted(edge, key=lambda corner: corner[1]))
        for ring in rings
        for edge in pairwise(ring)
        if edge[0][1] != edge[1][1]
    ]
    return f"{_in_box(box)} AND list_sum([0, {', '.join(crossed)}]) % 2 = 1"


def _crosses(lower: wkt.Corner, upper: wkt.Corner) -> str:
    """1 where an edge is east of the point, which is not below it nor above it; else 0."""
    (lon, south), (other, north) = lower, upper
    slope = (other - lon) / (north - south)
    east = f"{_decimal(lon)} + (lat - {_decimal(south)}) * {_decimal(slope)}::DOUBLE"
    return f"(lat >= {_decimal(south)} AND lat < {_decimal(north)} AND lon < {east})::INTEGER"


def _decimal(value: float) -> str:
    """A literal without an exponent."""
    return f"{Decimal(repr(value)):f}"


def terms(
    conditions: Iterable[tree.Node], field_of: Callable[[str], Field | None]
) -> list[leaf_pb2.Term]:
    """Boxes of lists of coordinates among conditions that must all hold, for the leaf's indexes."""
    ranges = [found for one in conditions if (found := _range(one)) is not None]
    lats = {column: (low, high) for column, place, low, high in ranges if place == LATITUDE_PLACE}
    lons = {column: (low, high) for column, place, low, high in ranges if place == LONGITUDE_PLACE}
    made = []
    for column, (south, north) in lats.items():
        entry = field_of(column)
        west, east = lons.get(column, (EARTH.west, EARTH.east))
        box = Box(south, west, north, east)
        known = entry is not None and not entry.overflow and entry.sql_type in _LISTS
        if entry is not None and known and column in lons and box.is_on_earth:
            values = [orjson.dumps(one).decode() for one in (south, west, north, east)]
            made.append(leaf_pb2.Term(path=entry.path, operator=OPERATOR, values_json=values))
    return made


def _range(node: tree.Node) -> Range | None:
    """The range that a condition of ours leaves of one place in a list."""
    if node.get("type") == "COMPARE_BETWEEN":
        sides = (node["input"], node["lower"], node["upper"])
    elif node.get("type") == "CONJUNCTION_OR" and [
        child.get("type") for child in node["children"]
    ] == ["COMPARE_GREATERTHANOREQUALTO", "COMPARE_LESSTHANOREQUALTO"]:
        west, east = node["children"]
        if _coordinate(west["left"]) != _coordinate(east["left"]):
            return None
        sides = (west["left"], west["right"], east["right"])
    else:
        return None
    coordinate = _coordinate(sides[0])
    bounds = [tree.literal(side) for side in sides[1:]]
    if coordinate is None or any(one is None or one[0] == "STRING" for one in bounds):
        return None
    low, high = (float(one[1]) for one in bounds if one is not None)
    if low > high and (coordinate[1] == LATITUDE_PLACE or node["type"] == "COMPARE_BETWEEN"):
        return None
    if low <= high and node["type"] != "COMPARE_BETWEEN":
        return None
    return (*coordinate, low, high)


def _coordinate(node: tree.Node) -> tuple[str, int] | None:
    """The column and the place of a coordinate in a list."""
    if node.get("type") != "ARRAY_EXTRACT":
        return None
    base, number = node["children"]
    place = _PLACES.get((tree.literal(number) or ("", ""))[1])
    if base.get("type") == "OPERATOR_CAST":
        base = base["child"]
    if place is None or base.get("type") != "COLUMN_REF":
        return None
    return str(base["column_names"][-1]), place
