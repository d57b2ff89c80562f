"""The first groups by an aggregate that several leaves have parts of, without all groups.

Each leaf sends its first groups. What a group has on a leaf that did not send it lies between two
bounds, so every group that was seen has a lower and an upper one for the whole. The n-th best lower
bound is a threshold: a group that is nowhere among those seen can only reach it if some leaf has a
fair share of it, so each leaf is asked for the groups that have one; in the end all leaves are
asked for the groups whose upper bound reaches the threshold. Their values are exact then, and no
other group can be among the first ones or equal to the last of them.

Source: P. Cao, Z. Wang, "Efficient Top-K Query Calculation in Distributed Networks", PODC 2004
(TPUT), for sums of numbers that are not negative; with the lower bounds of J. Jestes, K. Yi, F. Li,
"Building Wavelet Histograms on Large Data in MapReduce", VLDB 2011, for sums of any integers. Of a
largest (smallest) value every leaf's first groups are enough to know which groups are wanted.

No input or output: who drives it asks the leaves and hands over what they say, all at one cut.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aggregator.planning.spread import TopSearch

CANDIDATES_MAX: Final = 1 << 16
"""Groups that leaves are asked for by name; where more are possible, all groups are to be sent."""
_SUM_MAX: Final = 1 << 53
Numbers = NDArray[np.int64 | np.float64]


@dataclass(frozen=True, slots=True)
class Part:
    """What a leaf sent: its first groups at least.

    ``worst`` bounds what orders the groups that were left out, if any were.
    """

    groups: pa.Table
    left_out: bool = False
    worst: int = 0


@dataclass(frozen=True, slots=True)
class Ask:
    """What leaves are to be asked next, instead of what they sent before."""

    leaves: tuple[str, ...]
    threshold: int | None = None
    keys: pa.Table | None = None


class TooManyCandidates(Exception):
    """The search would not save anything: all groups are to be sent."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """Rows that have a number: their leaf, their group, and the number, larger ones being better.

    ``firsts`` has the place of a row of each group among all that were sent.
    """

    leaves: NDArray[np.intp]
    groups: NDArray[np.intp]
    numbers: Numbers
    firsts: NDArray[np.intp]


class Rounds:
    """One search. First all leaves are asked without more, then what :meth:`ask` says."""

    def __init__(self, search: TopSearch) -> None:
        self._search = search
        self._parts: dict[str, Part] = {}
        self._below: dict[str, int] = {}
        self._has_threshold = not search.adds
        self._keys: pa.Table | None = None

    def take(self, parts: Mapping[str, Part]) -> None:
        """What leaves answered to the last round."""
        self._parts |= parts

    def ask(self) -> Ask | None:
        """The next round; None once the groups are known. Raises TooManyCandidates."""
        open_leaves = [leaf for leaf, part in self._parts.items() if part.left_out]
        if not open_leaves or self._keys is not None:
            return None
        seen = self._seen()
        lower, upper = self._bounds(seen)
        best = _nth_best(lower, self._search.rows)
        if not self._has_threshold:
            self._has_threshold = True
            share = -(-int(best) // len(open_leaves)) if best > 0 else int(best)
            asked = tuple(leaf for leaf in open_leaves if self._unsent_max(leaf, seen) >= share)
            if asked:
                self._below |= dict.fromkeys(asked, share - 1)
                return Ask(asked, threshold=share if self._search.descending else -share)
        candidates = np.flatnonzero(upper >= best)
        if len(candidates) > CANDIDATES_MAX:
            raise TooManyCandidates
        self._keys = self._sent_keys().take(pa.array(seen.firsts[candidates]))
        is_candidate = np.zeros(len(lower), dtype=bool)
        is_candidate[candidates] = True
        counts = np.bincount(seen.leaves[is_candidate[seen.groups]], minlength=len(self._parts))
        have = dict(zip(self._parts, counts.tolist(), strict=True))
        asked = tuple(leaf for leaf in open_leaves if have[leaf] < len(candidates))
        return Ask(asked, keys=self._keys) if asked else None

    def groups(self) -> pa.Table:
        """What the leaves have of the groups that can be among the first ones: all of it."""
        tables = [part.groups for part in self._parts.values()]
        if self._keys is None:
            return pa.concat_tables(tables)
        numbers = _numbered(pa.concat_tables([self._keys, self._sent_keys()]))
        wanted = numbers[: self._keys.num_rows]
        mask = np.isin(numbers[self._keys.num_rows :], wanted)
        return pa.concat_tables(tables).filter(pa.array(mask))

    def _sent_keys(self) -> pa.Table:
        names = list(self._search.keys)
        return pa.concat_tables([part.groups.select(names) for part in self._parts.values()])

    def _seen(self) -> _Seen:
        sizes = [part.groups.num_rows for part in self._parts.values()]
        sent = [part.groups.select([self._search.order]) for part in self._parts.values()]
        numbers, valid = _as_numbers(pa.concat_tables(sent).column(0))
        present = np.flatnonzero(valid)
        found = _numbered(self._sent_keys())[present]
        _, firsts, places = np.unique(found, return_index=True, return_inverse=True)
        return _Seen(
            leaves=np.repeat(np.arange(len(sizes)), sizes)[present],
            groups=places.reshape(-1),
            numbers=numbers[present] if self._search.descending else -numbers[present],
            firsts=present[firsts],
        )

    def _bounds(self, seen: _Seen) -> tuple[Numbers, Numbers]:
        """What each group has at least and at most, over all leaves."""
        count = len(seen.firsts)
        if not self._search.adds:
            best = np.full(count, _least(seen.numbers), dtype=seen.numbers.dtype)
            np.maximum.at(best, seen.groups, seen.numbers)
            return best, best
        least = [self._unsent_min(leaf) for leaf in self._parts]
        most = [max(0, self._unsent_max(leaf, seen)) for leaf in self._parts]
        totals = np.zeros(count, dtype=np.int64)
        np.add.at(totals, seen.groups, seen.numbers.astype(np.int64))
        bounds = []
        for of_leaf in (least, most):
            sent = np.zeros(count, dtype=np.int64)
            np.add.at(sent, seen.groups, np.array(of_leaf, dtype=np.int64)[seen.leaves])
            bounds.append(totals + sum(of_leaf) - sent)
        return bounds[0], bounds[1]

    def _unsent_min(self, leaf: str) -> int:
        part = self._parts[leaf]
        worst = part.worst if self._search.descending else -part.worst
        return min(0, worst) if part.left_out else 0

    def _unsent_max(self, leaf: str, seen: _Seen) -> int:
        """What a group that the leaf did not send may have there."""
        if not self._parts[leaf].left_out:
            return 0
        own = seen.numbers[seen.leaves == list(self._parts).index(leaf)]
        most = int(_nth_best(own, self._search.rows))
        return min(most, self._below.get(leaf, most))


def _as_numbers(column: pa.ChunkedArray) -> tuple[Numbers, NDArray[np.bool_]]:
    """A column as int64 or float64, and where it has a value.

    Raises TooManyCandidates for numbers that can't be added or compared like that.
    """
    valid = np.asarray(column.is_valid())
    kind = column.type
    try:
        if pa.types.is_floating(kind):
            floats = np.asarray(column.cast(pa.float64()).fill_null(0.0))
            if not np.isfinite(floats).all():
                raise TooManyCandidates
            return floats, valid
        if pa.types.is_date32(kind):
            column = column.cast(pa.int32())
        integers = np.asarray(column.cast(pa.int64()).fill_null(0))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise TooManyCandidates from error
    if pa.types.is_decimal(kind) and len(integers) and np.abs(integers).max() > _SUM_MAX:
        raise TooManyCandidates
    return integers, valid


def _least(numbers: Numbers) -> float | int:
    return -np.inf if numbers.dtype == np.float64 else np.iinfo(np.int64).min


def _nth_best(numbers: Numbers, rows: int) -> float | int:
    """The n-th largest, the smallest where there are fewer; there is at least one."""
    place = max(len(numbers) - rows, 0)
    found: float | int = np.partition(numbers, place)[place].item()
    return found


def _numbered(keys: pa.Table) -> NDArray[np.int64]:
    """A number per row, the same for equal keys, NULL being equal to NULL."""
    numbers = np.zeros(keys.num_rows, dtype=np.int64)
    for column in keys.columns:
        encoded = column.combine_chunks().dictionary_encode(null_encoding="encode")
        codes = np.asarray(encoded.indices).astype(np.int64)
        _, numbers = np.unique(numbers * (len(encoded.dictionary) + 1) + codes, return_inverse=True)
    return numbers.reshape(-1)
