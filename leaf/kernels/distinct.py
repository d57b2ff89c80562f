"""Counts distinct values without a group for each, where a flag for each pair fits."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from leaf.kernels.grouping import CodePartial, Codes, combinations_of, combined_codes, places_of


class Seen:
    """Which values occur in which group, one flag per pair: small enough to be hit at random."""

    def __init__(self, sizes: Sequence[int]) -> None:
        """``sizes`` are those of the keys, the last one of the values."""
        self._sizes = tuple(sizes)
        self._flags = np.zeros(combinations_of(sizes) + 1, dtype=bool)

    def add(self, keys: Sequence[Codes], rows: int, kept: NDArray[np.bool_] | None) -> None:
        """Takes in the rows that are kept."""
        self._flags[places_of(keys, self._sizes, rows, kept)] = True

    def counts(self, groups: CodePartial) -> NDArray[np.int64]:
        """How many values, NULL aside, each group has."""
        pairs = self._flags[1:].reshape(-1, self._sizes[-1])
        by_group: NDArray[np.int64] = np.count_nonzero(pairs[:, 1:], axis=1).astype(np.int64)
        if not groups.keys:
            return by_group
        found: NDArray[np.int64] = by_group[combined_codes(groups.keys, self._sizes[:-1])]
        return found
