"""Columns for some of the rows, put together to columns for all of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from tailer.decode.model import Mask, RowIndices, make_table


@dataclass(frozen=True, slots=True)
class Part:
    """``columns`` by physical name, as long as ``rows`` (ascending row indices)."""

    rows: RowIndices
    columns: dict[str, pa.Array]

    def filter(self, mask: Mask) -> "Part":
        """The rows where the mask is set, without columns that hold nothing for them."""
        selection = pa.array(mask)
        columns = {name: column.filter(selection) for name, column in self.columns.items()}
        filled = {
            name: column for name, column in columns.items() if column.null_count < len(column)
        }
        return Part(self.rows[mask], filled)


NOTHING: Final = Part(np.zeros(0, dtype=np.int64), {})


def interleave(parts: Sequence[Part]) -> Part:
    """One part in row order from parts over different rows."""
    parts = [part for part in parts if len(part.rows)]
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return Part(np.zeros(0, dtype=np.int64), {})
    rows = np.concatenate([part.rows for part in parts])
    order = np.argsort(rows, kind="stable")
    indices = pa.array(order)
    columns = {
        name: pa.concat_arrays(
            [part.columns.get(name, pa.nulls(len(part.rows), column_type)) for part in parts]
        ).take(indices)
        for name, column_type in _types(parts).items()
    }
    return Part(rows[order], columns)


def join_parts(parts: Sequence[Part]) -> tuple[RowIndices, pa.Table]:
    """The rows and a table, columns sorted by name, from parts that follow each other."""
    parts = [part for part in parts if len(part.rows)]
    types = _types(parts)
    # Missing columns share their nulls, so that rare fields of a long batch cost little memory.
    nulls: dict[tuple[int, pa.DataType], pa.Array] = {}
    names = sorted(types)
    columns: list[pa.ChunkedArray] = []
    for name in names:
        chunks: list[pa.Array] = []
        for part in parts:
            key = (len(part.rows), types[name])
            if name in part.columns:
                chunks.append(part.columns[name])
            else:
                chunks.append(_shared_nulls(nulls, key))
        columns.append(pa.chunked_array(chunks, types[name]))
    rows = np.concatenate([np.zeros(0, dtype=np.int64), *(part.rows for part in parts)])
    return rows, make_table(names, columns, len(rows))


def _types(parts: Sequence[Part]) -> dict[str, pa.DataType]:
    return {name: column.type for part in parts for name, column in part.columns.items()}


def _shared_nulls(
    nulls: dict[tuple[int, pa.DataType], pa.Array], key: tuple[int, pa.DataType]
) -> pa.Array:
    if key not in nulls:
        nulls[key] = pa.nulls(*key)
    return nulls[key]
