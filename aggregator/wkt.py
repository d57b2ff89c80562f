"""Well-known text: the corners of polygons (OGC Simple Feature Access, ISO 19125).

    POLYGON((lon lat, lon lat, ...), (a hole), ...)
    MULTIPOLYGON(((...)), ((...)), ...)

Only the rings are told: what they enclose is what lies within an odd number of them.
"""

import math
import re
from collections.abc import Iterator
from typing import Final

import orjson

from alder.errors import AlderError, Reason

CHARACTERS_MAX: Final = 1 << 16
CORNERS_MAX: Final = 512
CORNERS_MIN: Final = 3
_NUMBER: Final = r"([-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?)"
_CORNER: Final = re.compile(rf"(?<![\w.]){_NUMBER}\s+{_NUMBER}(?![\w.])")
_BRACKETS: Final = str.maketrans("()[]", "[]()")
_LEVELS: Final = {"POLYGON": 1, "MULTIPOLYGON": 2}
Corner = tuple[float, float]
"""Longitude and latitude."""
Ring = tuple[Corner, ...]
"""Corners of which the last is the first one again."""


def rings(text: str) -> list[Ring]:
    """The rings of a polygon, or of several. Raises AlderError: SYNTAX, LIMIT."""
    if len(text) > CHARACTERS_MAX:
        raise AlderError(Reason.LIMIT, f"a shape has at most {CHARACTERS_MAX} characters")
    word, parenthesis, body = text.partition("(")
    levels = _LEVELS.get(word.strip().upper())
    corners: list[Corner] = []

    def numbered(match: re.Match[str]) -> str:
        corners.append((float(match[1]), float(match[2])))
        return str(len(corners) - 1)

    nested = _CORNER.sub(numbered, parenthesis + body).translate(_BRACKETS)
    try:
        found = list(_lists(orjson.loads(nested), levels)) if levels else []
    except (orjson.JSONDecodeError, TypeError):
        found = []
    if not found or [number for ring in found for number in ring] != list(range(len(corners))):
        raise _malformed(text, "it is not of the form POLYGON((lon lat, lon lat, ...))")
    if len(corners) > CORNERS_MAX:
        raise AlderError(Reason.LIMIT, f"a polygon has at most {CORNERS_MAX} corners")
    return [_ring(text, [corners[number] for number in ring]) for ring in found]


def _lists(value: object, levels: int) -> Iterator[list[int]]:
    """The lists of numbers so many levels down. Raises TypeError where there is something else."""
    if not isinstance(value, list):
        raise TypeError("no list")
    for inner in value:
        if levels > 1:
            yield from _lists(inner, levels - 1)
        elif isinstance(inner, list):
            yield inner
        else:
            raise TypeError("no list")


def _ring(text: str, corners: list[Corner]) -> Ring:
    if not all(math.isfinite(lon) and math.isfinite(lat) for lon, lat in corners):
        raise _malformed(text, "a corner is not finite")
    if len(set(corners)) < CORNERS_MIN:
        raise _malformed(text, "a ring has three corners at least")
    return tuple(corners) if corners[0] == corners[-1] else (*corners, corners[0])


def _malformed(text: str, why: str) -> AlderError:
    shown = text if len(text) <= 80 else text[:79] + "…"
    return AlderError(Reason.SYNTAX, f"the shape {shown!r} can't be read: {why}")
