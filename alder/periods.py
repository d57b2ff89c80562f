"""Periods of time as people write them: ``30 days``, ``12h``."""

import re
from typing import Final

_MICROS: Final = {
    "second": 1_000_000,
    "minute": 60_000_000,
    "hour": 3_600_000_000,
    "day": 86_400_000_000,
    "week": 7 * 86_400_000_000,
}
_PERIOD: Final = re.compile(r"\s*(\d{1,9})\s*([a-z]+?)s?\s*\Z", re.IGNORECASE)
PERIOD_US_MAX: Final = 1_000 * 366 * _MICROS["day"]


def parse_period(text: str) -> int:
    """Microseconds. Raises ValueError where the text is no period, or one beyond 1,000 years."""
    match = _PERIOD.match(text)
    unit = match[2].lower() if match else ""
    found = [micros for name, micros in _MICROS.items() if unit in {name, name[0]}]
    if match is None or not found:
        raise ValueError(
            f"{text!r} is not a period; give a number of seconds, minutes, hours, days or weeks, "
            "such as '30 days'"
        )
    period_us = int(match[1]) * found[0]
    if period_us > PERIOD_US_MAX:
        raise ValueError(f"{text!r} is longer than 1,000 years")
    return period_us


def period_text(period_us: int) -> str:
    """A period in the largest unit that divides it; in microseconds if none does."""
    for name, micros in reversed(_MICROS.items()):
        if period_us % micros == 0:
            count = period_us // micros
            return f"{count} {name}{'s' if count != 1 else ''}"
    return f"{period_us} us"
