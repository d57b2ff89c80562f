"""The entries of an index: which row has which value, or which element where values are lists.

A row is named once for an element, however often its list has it; NULL is nowhere, whether it is a
value or an element. What GIN does with arrays in PostgreSQL: an index of elements is an index of
values, of which a row may have several.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

_ROW_BITS: Final = 32


@dataclass(frozen=True, slots=True)
class Entries:
    """``values[i]``, which is not null, is at ``rows[i]``; rows ascend, and values of a row differ.

    Booleans are integers.
    """

    values: pa.Array
    rows: NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class Checked:
    """How many entries of an index were compared with its column, and what is wrong.

    ``fault`` is "" for nothing; ``{row}`` in it stands for the row that it is about.
    """

    entries: int
    fault: str = ""
    row: int | None = None


CONTRADICTING: Final = Checked(0, "its entries contradict each other")


def entries_of(values: pa.Array, first_row: int = 0) -> Entries:
    """The entries of some rows of a column, of which the first has this number."""
    if pa.types.is_list(values.type):
        rows = np.asarray(pc.list_parent_indices(values)).astype(np.uint64)
        elements = values.flatten()
        present = np.asarray(elements.is_valid())
        encoded = elements.filter(pa.array(present)).dictionary_encode()
        codes = np.asarray(encoded.indices).astype(np.uint64)
        pairs = np.unique(rows[present] << np.uint64(_ROW_BITS) | codes)
        found = encoded.dictionary.take(pa.array(pairs & np.uint64((1 << _ROW_BITS) - 1)))
        rows = pairs >> np.uint64(_ROW_BITS)
    else:
        found = values.drop_null()
        rows = np.flatnonzero(np.asarray(values.is_valid())).astype(np.uint64)
    if pa.types.is_boolean(found.type):
        found = found.cast(pa.int64())
    return Entries(found, (rows + np.uint64(first_row)).astype(np.uint32))


def compared(stored: Entries, expected: Entries) -> Checked:
    """Compares what an index has, in any order, with what the column has."""
    count = len(pc.unique(stored.values))
    if not np.isin(stored.rows, expected.rows).all():
        return Checked(count, "it names rows that do not exist or have no value")
    missing = np.setdiff1d(expected.rows, stored.rows)
    if len(missing):
        return Checked(count, "no entry leads to {row}", int(missing[0]))
    if len(stored.rows) != len(expected.rows):
        return Checked(count, "it has another number of entries than its column has values")
    one, other = _ordered(stored), _ordered(expected)
    equal = pc.equal(one.values, other.values.cast(one.values.type))
    different = np.flatnonzero((one.rows != other.rows) | ~np.asarray(equal))
    if len(different):
        row = int(one.rows[different[0]])
        return Checked(count, "{row} is filed under another value", row)
    return Checked(count)


def _ordered(entries: Entries) -> Entries:
    """By row, then by value."""
    table = pa.table({"rows": entries.rows, "values": entries.values})
    order = pc.sort_indices(table, [("rows", "ascending"), ("values", "ascending")])
    return Entries(entries.values.take(order), entries.rows[np.asarray(order)])
