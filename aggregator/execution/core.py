"""The decisions of a query that have no input or output: cut, completeness, retry.

They keep I4 (one cut of the log), I5 (no silent partial) and I6 (one map epoch): a query answers at
a vector that every shard asked has reached, from every shard of one version of the shard map, or it
fails by name. A simulation drives exactly these functions.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from alder.errors import AlderError, Reason
from alder.positions import PositionVector, cut

ATTEMPTS_MAX: Final = 5
_RETRIED: Final = frozenset({Reason.SCHEMA_CHANGED, Reason.NOT_OWNER})


@dataclass(frozen=True, slots=True)
class Behind:
    """A partition of a shard that has not reached what was asked."""

    shard: int
    source: str
    partition: int
    next_offset: int
    wanted_offset: int


def choose_cut(asked: Iterable[int], positions: Mapping[int, PositionVector]) -> PositionVector:
    """The latest vector that every asked shard has reached.

    Raises AlderError(UNAVAILABLE) if a shard did not tell its positions.
    """
    shards = list(asked)
    check_answers(shards, positions)
    return cut([positions[shard] for shard in shards])


def check_answers(asked: Iterable[int], answered: Iterable[int]) -> None:
    """Raises AlderError(UNAVAILABLE) unless exactly the asked shards answered, once each."""
    wanted, got = sorted(asked), sorted(answered)
    if wanted == got:
        return
    missing = sorted(set(wanted) - set(got))
    extra = sorted(set(got) - set(wanted)) or sorted({one for one in got if got.count(one) > 1})
    what = f"no answer from shards {missing}" if missing else f"unasked answers of shards {extra}"
    raise AlderError(
        Reason.UNAVAILABLE, f"the answer would not be complete: {what}; try again in a moment"
    )


def behind(wanted: PositionVector, positions: Mapping[int, PositionVector]) -> list[Behind]:
    """Where shards have not reached a vector, the furthest behind first."""
    found = [
        Behind(shard, source, partition, vector[source, partition], offset)
        for shard, vector in positions.items()
        for (source, partition), offset in wanted.offsets.items()
        if vector[source, partition] < offset
    ]
    return sorted(found, key=lambda entry: entry.next_offset - entry.wanted_offset)


def not_reached(collection: str, entries: Sequence[Behind]) -> AlderError:
    """The error for positions that were not reached in time."""
    if not entries:
        return AlderError(
            Reason.DEADLINE,
            f"{collection} did not reach the positions asked for in time; allow a longer timeout",
        )
    worst = entries[0]
    return AlderError(
        Reason.DEADLINE,
        f"{collection} did not reach the positions asked for in time: shard {worst.shard} is at "
        f"{worst.next_offset} of {worst.wanted_offset} in partition {worst.partition} of source "
        f"{worst.source}; ask with a longer timeout",
    )


def retries(error: AlderError, attempt: int) -> bool:
    """True if the query may succeed against newer metadata; attempts count from 1."""
    return error.reason in _RETRIED and attempt < ATTEMPTS_MAX
