"""Well-known text: the corners of polygons (OGC Simple Feature Access, ISO 19125).

    POLYGON((lon lat, lon lat, ...), (a hole), ...)
    MULTIPOLYGON(((...)), ((...)), ...)

Only the rings are told: what they enclose is what lies within an odd number of them. GEOS reads the
text; the limits come first, because what it makes of a text is as long as the text.
"""

import math
from typing import Final

import numpy as np
import shapely

from alder.errors import AlderError, Reason

CHARACTERS_MAX: Final = 1 << 16
CORNERS_MAX: Final = 512
_CORNERS_MIN: Final = 3
Corner = tuple[float, float]
"""Longitude and latitude."""
Ring = tuple[Corner, ...]
"""Corners of which the last is the first one again."""


def rings(text: str) -> list[Ring]:
    """The rings of a polygon, or of several. Raises AlderError: SYNTAX, LIMIT."""
    if len(text) > CHARACTERS_MAX:
        raise AlderError(Reason.LIMIT, f"a shape has at most {CHARACTERS_MAX} characters")
    with np.errstate(all="ignore"):
        shape = shapely.from_wkt(text, on_invalid="fix")
    if not isinstance(shape, shapely.Polygon | shapely.MultiPolygon) or shape.is_empty:
        raise _malformed(text, "it is not of the form POLYGON((lon lat, lon lat, ...))")
    if shapely.get_num_coordinates(shape) > CORNERS_MAX:
        raise AlderError(Reason.LIMIT, f"a polygon has at most {CORNERS_MAX} corners")
    polygons = shape.geoms if isinstance(shape, shapely.MultiPolygon) else (shape,)
    return [_ring(text, ring) for one in polygons for ring in (one.exterior, *one.interiors)]


def _ring(text: str, ring: shapely.LinearRing) -> Ring:
    corners = tuple((float(lon), float(lat)) for lon, lat, *_ in ring.coords)
    if not all(math.isfinite(lon) and math.isfinite(lat) for lon, lat in corners):
        raise _malformed(text, "a corner is not finite")
    if len(set(corners)) < _CORNERS_MIN:
        raise _malformed(text, "a ring has three corners at least")
    return corners


def _malformed(text: str, why: str) -> AlderError:
    shown = text if len(text) <= 80 else text[:79] + "…"
    return AlderError(Reason.SYNTAX, f"the shape {shown!r} can't be read: {why}")
