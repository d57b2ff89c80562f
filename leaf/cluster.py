"""Clustering: in which order the rows of a segment lie.

Rows are ordered by some paths in turn, and then by birth. Values of a path are ordered by type
first, because a path may hold several and they have no order in common (numbers of different types
neither), then by value; NaN follows all other numbers. Rows without a value, or with one that has
no order (lists, JSON), come last. The order decides where rows lie, so that equal values lie
together and zone maps leave out more; no answer depends on it.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from alder.fieldtypes import split_column_name
from leaf.rows import SYSTEM_COLUMNS

_KINDS: Final = (
    "bool",
    "int",
    "decimal",
    "float",
    "timestamp",
    "timestamp_ns",
    "date",
    "time",
    "string",
    "binary",
)
"""Types that have an order, as they follow each other."""


def key_columns(paths: Sequence[str], stored: Iterable[str]) -> list[str]:
    """The stored columns that rows are ordered by, the most significant first."""
    found: dict[str, list[tuple[int, str]]] = {path: [] for path in paths}
    for name in stored:
        if name in SYSTEM_COLUMNS:
            if name in found:
                found[name].append((0, name))
            continue
        tag, path = split_column_name(name)
        kind = tag.partition("(")[0]
        if path in found and kind in _KINDS:
            found[path].append((_KINDS.index(kind), name))
    return [name for columns in found.values() for _, name in sorted(columns)]


def row_order(keys: Sequence[pa.Array | pa.ChunkedArray], births: NDArray[np.int64]) -> pa.Array:
    """The rows in their order, by these columns and then by birth; births are distinct."""
    if not keys:
        return pa.array(np.argsort(births, kind="stable"))
    columns = [*keys, pa.array(births)]
    table = pa.table(columns, names=[str(number) for number in range(len(columns))])
    order = [(name, "ascending") for name in table.column_names]
    return pc.sort_indices(table, sort_keys=order)
