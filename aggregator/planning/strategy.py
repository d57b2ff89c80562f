"""How a join is gathered, chosen by exact counts of the rows that meet the pushed conditions.

Pure functions over counts. A reference of few rows is gathered first, and its values go along to
the leaves that have many: they send only rows with one of them (reduce). Where an aggregate joins
one collection of many rows with few others, these go along whole, and what comes back are states of
groups (broadcast); and where it joins two collections of many rows whose equal values are on the
same leaves, these do it (colocated). Otherwise everything is gathered at once.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from aggregator.planning.joins import Reduction
from alder.errors import AlderError, Reason

STRATEGIES: Final = ("auto", "gather", "reduce", "broadcast", "colocated")
SMALL_ROWS: Final = 20_000
"""Up to so many rows it is quicker to gather than to wait for another round."""
FEWER: Final = 2
"""A source has at most one in so many rows of its target."""


@dataclass(frozen=True, slots=True)
class JoinLimits:
    """What may go along with a fragment: rows of keys, rows and estimated bytes of tables."""

    keys_max: int = 1_000_000
    broadcast_rows_max: int = 200_000
    broadcast_bytes_max: int = 16 << 20


@dataclass(frozen=True, slots=True)
class Size:
    """Rows that a read gives if nothing reduces it, and the estimated bytes of one."""

    rows: int
    row_bytes: int

    @property
    def size_bytes(self) -> int:
        """Estimated bytes of all."""
        return self.rows * self.row_bytes


def check_strategy(name: str) -> None:
    """Raises AlderError(INVALID_ARGUMENT) for a name that is no strategy ("" is auto)."""
    if name and name not in STRATEGIES:
        raise AlderError(
            Reason.INVALID_ARGUMENT, f"{name!r} is no join strategy; use {', '.join(STRATEGIES)}"
        )


def worth_counting(bounds: Mapping[str, int], forced: str) -> bool:
    """True if a strategy can pay: some read may have many rows. ``bounds``: at most so many."""
    return forced not in {"", "auto", "gather"} or any(
        rows > SMALL_ROWS for rows in bounds.values() if forced != "gather"
    )


def chosen_reductions(
    reductions: Iterable[Reduction], sizes: Mapping[str, Size], limits: JoinLimits, forced: str
) -> tuple[Reduction, ...]:
    """The reductions that pay; none in a circle, since each goes from fewer rows to more."""
    if forced == "gather":
        return ()
    found = []
    for one in reductions:
        source, target = sizes[one.source].rows, sizes[one.target].rows
        if forced in {"", "auto"}:
            pays = target > SMALL_ROWS and source * FEWER <= target
        else:
            pays = (source, one.source) < (target, one.target)
        if pays and source <= limits.keys_max:
            found.append(one)
    return tuple(found)


def may_broadcast(
    big: str, small: Sequence[str], sizes: Mapping[str, Size], limits: JoinLimits, forced: str
) -> bool:
    """True if an aggregate shall join ``big`` with all others on its leaves."""
    rows = sum(sizes[table].rows for table in small)
    size_bytes = sum(sizes[table].size_bytes for table in small)
    if rows > limits.broadcast_rows_max or size_bytes > limits.broadcast_bytes_max:
        return False
    if forced in {"", "auto"}:
        return sizes[big].rows > SMALL_ROWS and size_bytes * FEWER <= sizes[big].size_bytes
    return forced == "broadcast"


def may_colocate(
    big: str,
    beside: str,
    small: Sequence[str],
    sizes: Mapping[str, Size],
    limits: JoinLimits,
    forced: str,
) -> bool:
    """True if the leaves of ``big`` shall read ``beside`` themselves, and the others go along."""
    rows = sum(sizes[table].rows for table in small)
    size_bytes = sum(sizes[table].size_bytes for table in small)
    if rows > limits.broadcast_rows_max or size_bytes > limits.broadcast_bytes_max:
        return False
    if forced in {"", "auto"}:
        return sizes[big].rows > SMALL_ROWS and sizes[beside].rows > SMALL_ROWS
    return forced == "colocated"


def levels(
    tables: Sequence[str], needs: Mapping[str, Iterable[str]]
) -> tuple[tuple[str, ...], ...]:
    """The tables in rounds, each after those that it needs; there is no circle among them."""
    rounds: list[tuple[str, ...]] = []
    done: set[str] = set()
    while len(done) < len(tables):
        ready = tuple(
            table for table in tables if table not in done and set(needs.get(table, ())) <= done
        )
        if not ready:
            raise AssertionError("reads wait for each other")
        rounds.append(ready)
        done |= set(ready)
    return tuple(rounds)
