"""Zone maps: the smallest and largest value of a page, to leave out pages that can't match.

A zone never claims more than it knows: long strings are cut (a cut bound is compared with a cut
value), and a page with a NaN, which sorts above everything, has no bounds.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from leaf.format.pages import integers_of, is_integral

STRING_CHARACTERS: Final = 32
Bound = int | float | str


@dataclass(frozen=True, slots=True)
class Zone:
    """One page. Bounds are None where they are not known; times are integers of their unit."""

    rows: int
    nulls: int
    low: Bound | None = None
    high: Bound | None = None

    @property
    def empty(self) -> bool:
        """True if no value is there."""
        return self.nulls == self.rows


def zone_of(values: pa.Array) -> Zone:
    """The zone of a page."""
    nulls = values.null_count
    low: Bound | None = None
    high: Bound | None = None
    if nulls < len(values):
        if is_integral(values.type):
            present = integers_of(values.drop_null())
            low, high = int(present.min()), int(present.max())
        elif pa.types.is_floating(values.type):
            floats = np.asarray(values.drop_null())
            if np.isfinite(floats).all():
                low, high = float(floats.min()), float(floats.max())
        elif pa.types.is_string(values.type):
            bounds = pc.min_max(values)
            low = bounds["min"].as_py()[:STRING_CHARACTERS]
            high = bounds["max"].as_py()[:STRING_CHARACTERS]
    return Zone(len(values), nulls, low, high)


def zone_of_codes(codes: pa.Array, terms: pa.Array) -> Zone:
    """The zone of a page of strings given by codes into terms that ascend."""
    nulls = codes.null_count
    if nulls == len(codes):
        return Zone(len(codes), nulls)
    bounds = pc.min_max(codes)
    low, high = (terms[bounds[end].as_py()].as_py() for end in ("min", "max"))
    return Zone(len(codes), nulls, low[:STRING_CHARACTERS], high[:STRING_CHARACTERS])


def may_hold(zone: Zone, operator: str, value: Bound) -> bool:
    """False only if no value of the page can be ``operator`` (= < <= > >= prefix) ``value``."""
    if zone.empty:
        return False
    if zone.low is None or zone.high is None:
        return True
    if isinstance(value, str):
        if not isinstance(zone.low, str) or not isinstance(zone.high, str):
            return True
        cut = value[:STRING_CHARACTERS]
        end = len(cut) if operator == "prefix" else None
        above, below = zone.low[:end] <= cut, zone.high[:end] >= cut
    else:
        if isinstance(zone.low, str) or isinstance(zone.high, str):
            return True
        above, below = zone.low <= value, zone.high >= value
    if operator in {"<", "<="}:
        return above
    if operator in {">", ">="}:
        return below
    return above and below
