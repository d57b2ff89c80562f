"""Which part of the data an answer must stand for: ``ALL``, ``COVERAGE >= x``, ``STALENESS <= t``.

ALL, the default: every shard answers, or the query fails. COVERAGE: shards that fail may be
missing, as long as those that answer have at least this part of the hash slots of every collection
that is read. STALENESS: a shard that lacks a record older than this counts as missing, too. Joined
by AND, both hold; without COVERAGE nothing may be missing.
"""

import math
import re
from dataclasses import dataclass
from typing import Final

from alder.errors import AlderError, Reason
from alder.periods import parse_period, period_text
from alder.v1 import query_pb2

FORMS: Final = "ALL, COVERAGE >= 0.8, STALENESS <= 5 seconds, or the last two joined by AND"
_COVERAGE: Final = re.compile(r"COVERAGE\s*>=\s*(\d{1,3}|\d*\.\d{1,9})\s*(%?)\Z", re.IGNORECASE)
_STALENESS: Final = re.compile(r"STALENESS\s*<=\s*(\S.*)\Z", re.IGNORECASE)
_AND: Final = re.compile(r"\s+AND\s+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Policy:
    """``coverage_min``: above 0, up to 1. ``staleness_us_max``: microseconds, None for any lag."""

    coverage_min: float = 1.0
    staleness_us_max: int | None = None

    @property
    def tolerant(self) -> bool:
        """True if shards may be missing."""
        return self.coverage_min < 1.0

    @classmethod
    def parse(cls, text: str) -> "Policy":
        """The policy in a text. Raises AlderError(INVALID_ARGUMENT) where it is none."""
        text = text.strip()
        if text.upper() == "ALL":
            return cls()
        coverage: float | None = None
        staleness_us: int | None = None
        for part in _AND.split(text):
            share, bound = _COVERAGE.match(part), _STALENESS.match(part)
            if share is not None and coverage is None:
                coverage = float(share[1]) / (100.0 if share[2] else 1.0)
            elif bound is not None and staleness_us is None:
                staleness_us = _period_us(bound[1])
            else:
                raise _wrong(text)
        return _checked(cls(1.0 if coverage is None else coverage, staleness_us))

    @classmethod
    def from_proto(cls, message: query_pb2.Policy) -> "Policy":
        """The policy of a request. Raises AlderError(INVALID_ARGUMENT) for impossible bounds."""
        coverage = message.coverage_min if message.HasField("coverage_min") else 1.0
        stale = message.staleness_us_max if message.HasField("staleness_us_max") else None
        return _checked(cls(coverage, stale))

    def to_proto(self) -> query_pb2.Policy:
        """The policy as it travels."""
        return query_pb2.Policy(
            coverage_min=self.coverage_min if self.tolerant else None,
            staleness_us_max=self.staleness_us_max,
        )

    def __str__(self) -> str:
        parts = [f"COVERAGE >= {self.coverage_min:g}"] if self.tolerant else []
        if self.staleness_us_max is not None:
            parts.append(f"STALENESS <= {period_text(self.staleness_us_max)}")
        return " AND ".join(parts) or "ALL"


def _period_us(text: str) -> int:
    try:
        return parse_period(text)
    except ValueError as error:
        raise AlderError(Reason.INVALID_ARGUMENT, f"STALENESS: {error}") from error


def _checked(policy: Policy) -> Policy:
    if not (math.isfinite(policy.coverage_min) and 0.0 < policy.coverage_min <= 1.0):
        raise AlderError(
            Reason.INVALID_ARGUMENT, "COVERAGE is a part of the whole, above 0 and up to 1"
        )
    if policy.staleness_us_max is not None and policy.staleness_us_max < 0:
        raise AlderError(Reason.INVALID_ARGUMENT, "STALENESS is a period, not below 0")
    return policy


def _wrong(text: str) -> AlderError:
    return AlderError(Reason.INVALID_ARGUMENT, f"a policy is {FORMS}, not {text[:80]!r}")
