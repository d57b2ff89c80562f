"""Periods come back as they were written, and what is none is refused."""

import pytest

from alder.periods import parse_period, period_text


@pytest.mark.parametrize(
    ("text", "period_us", "told"),
    [
        ("1 second", 1_000_000, "1 second"),
        ("90s", 90_000_000, "90 seconds"),
        (" 2 Minutes ", 120_000_000, "2 minutes"),
        ("24 hours", 86_400_000_000, "1 day"),
        ("30 days", 30 * 86_400_000_000, "30 days"),
        ("14d", 14 * 86_400_000_000, "2 weeks"),
        ("0h", 0, "0 weeks"),
    ],
)
def test_a_period_is_read_and_told(text: str, period_us: int, told: str) -> None:
    assert parse_period(text) == period_us
    assert period_text(period_us) == told
    assert parse_period(told) == period_us


def test_what_no_unit_divides_is_told_in_microseconds() -> None:
    assert period_text(1_500_000) == "1500000 us"


@pytest.mark.parametrize(
    "text", ["", "days", "30", "-1 day", "1.5 days", "3 months", "1 dayz", "1 s s", "999999 weeks"]
)
def test_what_is_no_period_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"period|longer"):
        parse_period(text)
