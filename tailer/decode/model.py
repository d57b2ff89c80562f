"""The values that cross the decoder's boundary: limits in, columns and rejected rows out.

Every input row is in exactly one of ``kept`` and ``rejected.rows``: nothing is lost on bad input.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

RowIndices = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """What one document and one collection may hold.

    ``depth_max`` counts containers inside each other, the document itself included;
    ``document_fields_max`` counts keys at every depth; ``collection_fields_max`` counts the
    distinct paths that one decoder makes columns of.
    """

    document_size_bytes_max: int = 16 * 1024 * 1024
    depth_max: int = 100
    document_fields_max: int = 4_000
    collection_fields_max: int = 4_000


@dataclass(frozen=True, slots=True)
class Rejected:
    """Rows for the quarantine: ``rows`` (int32, ascending input indices), one reason for each."""

    rows: npt.NDArray[np.int32]
    reasons: list[str]


@dataclass(frozen=True, slots=True)
class Decoded:
    """The columns of a batch.

    ``batch`` has one column per (tag, path), named by ``alder.fieldtypes.column_name`` and sorted
    by name; each is ``len(kept)`` long and null where the document has no such value. ``kept``
    holds the input indices (int64, ascending) of the rows of ``batch``. ``overflow`` says that a
    path was given no column because ``collection_fields_max`` was reached.
    """

    batch: pa.Table
    kept: RowIndices
    rejected: Rejected
    overflow: bool


def rejected_rows(reasons: dict[int, str]) -> Rejected:
    """``Rejected`` in row order from reasons by input index."""
    rows = sorted(reasons)
    return Rejected(np.asarray(rows, dtype=np.int32), [reasons[row] for row in rows])


def make_table(
    names: Sequence[str], columns: Sequence[pa.ChunkedArray], row_count: int
) -> pa.Table:
    """A table that keeps its number of rows also when it has no column."""
    if names:
        return pa.table(dict(zip(names, columns, strict=True)))
    return pa.table({"": pa.nulls(row_count)}).select([])
