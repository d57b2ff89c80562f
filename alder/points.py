"""Points on Earth: degrees of latitude and longitude, as all tiers read them.

A point is two numbers, or a list ``[longitude, latitude]`` as in GeoJSON (RFC 7946). What is out of
range is no point, and is in no shape.
"""

from dataclasses import dataclass
from typing import Final

LATITUDE_MAX: Final = 90.0
LONGITUDE_MAX: Final = 180.0
OPERATOR: Final = "within"
"""The operator of a term about a list of two coordinates, whose values are those of a box."""
LONGITUDE_PLACE: Final = 1
LATITUDE_PLACE: Final = 2
"""Places in a list, counted from 1 as in SQL."""


@dataclass(frozen=True, slots=True)
class Box:
    """From south to north and from west to east, in degrees, the edges included.

    Where ``west`` is more than ``east``, the box crosses the antimeridian.
    """

    south: float
    west: float
    north: float
    east: float

    @property
    def is_on_earth(self) -> bool:
        """True if all of it is in range, so that what is in it is a point."""
        lats = -LATITUDE_MAX <= self.south <= self.north <= LATITUDE_MAX
        return lats and all(abs(lon) <= LONGITUDE_MAX for lon in (self.west, self.east))

    @property
    def halves(self) -> "tuple[Box, ...]":
        """Boxes that do not cross the antimeridian and together are this one."""
        if self.west <= self.east:
            return (self,)
        return (
            Box(self.south, self.west, self.north, LONGITUDE_MAX),
            Box(self.south, -LONGITUDE_MAX, self.north, self.east),
        )


EARTH: Final = Box(-LATITUDE_MAX, -LONGITUDE_MAX, LATITUDE_MAX, LONGITUDE_MAX)
