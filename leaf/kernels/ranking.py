"""The best groups of a partial that is kept, known for the next query.

A query that wants the first groups then looks only at these and at the groups that the rest of its
rows are in; no group of the kept partial that is neither can be among the first ones.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from leaf.kernels.grouping import Numbers
from leaf.kernels.top import ordering_values, worst_of

RANKED_MAX: Final = 1 << 16
"""Groups of a ranking, 24 bytes each."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """Numbers of groups, the best first, and where the run of equals ends that each is in.

    ``numbers`` are what orders them; ``whole`` if no group that has such a number is missing.
    ``worst`` is that of the last of all groups, if it is an integer.
    """

    groups: NDArray[np.intp]
    ends: NDArray[np.intp]
    numbers: Numbers
    whole: bool
    worst: int | None

    @property
    def size_bytes(self) -> int:
        """Bytes in memory."""
        return int(self.groups.nbytes + self.ends.nbytes + self.numbers.nbytes)

    def best(self, rows: int) -> NDArray[np.intp] | None:
        """This many groups and all that are equal to the last; None where they aren't known."""
        if not 0 < rows <= len(self.groups):
            return None
        return self.groups[: self.ends[rows - 1]]

    def up_to(self, threshold: int, descending: bool) -> NDArray[np.intp] | None:
        """The groups that are as good as a threshold; None where not all of them are known."""
        if descending:
            count = len(self.numbers) - np.searchsorted(self.numbers[::-1], threshold, "left")
        else:
            count = np.searchsorted(self.numbers, threshold, "right")
        return None if count == len(self.groups) and not self.whole else self.groups[:count]


NO_RANKING: Final = Ranking(
    np.empty(0, dtype=np.intp), np.empty(0, dtype=np.intp), np.empty(0, np.int64), False, None
)


def ranking_of(order: pa.Array, descending: bool, ranked_max: int = RANKED_MAX) -> Ranking:
    """The ranking by what orders the groups, those with NULL left out; whole runs of equals only.

    Raises Unsupported where the order isn't one of numbers.
    """
    values = ordering_values(order)
    numbers = values.numbers if values.valid is None else values.numbers[values.valid]
    ranks = np.argsort(numbers, kind="stable")
    ranks = (ranks[::-1] if descending else ranks)[: ranked_max + 1]
    best = numbers[ranks]
    changes = np.flatnonzero(best[1:] != best[:-1]) + 1
    starts = np.concatenate([np.zeros(1, np.intp), changes])
    ends = np.append(changes, len(best))
    kept = starts[-1] if len(best) > ranked_max else len(best)
    groups = ranks if values.valid is None else np.flatnonzero(values.valid)[ranks]
    return Ranking(
        groups[:kept].astype(np.intp),
        np.repeat(ends, ends - starts)[:kept].astype(np.intp),
        best[:kept],
        len(ranks) == len(numbers) and kept == len(best),
        worst_of(values, descending),
    )
