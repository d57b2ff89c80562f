"""The rows of a push, checked before anything depends on them.

A shard stores what it is given for ever, so names, types and order are verified here once; later
modules rely on them.
"""

from dataclasses import dataclass, replace
from functools import cache
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from alder.arrow import from_bytes
from alder.errors import AlderError, Reason
from alder.fieldtypes import arrow_type, split_column_name
from leaf.core import PushHeader
from leaf.keymap import UNNUMBERED

SYSTEM_COLUMNS: Final = {
    "_birth": pa.int64(),
    "_time": pa.timestamp("us"),
    "_log_time": pa.timestamp("us"),
    "_doc": pa.string(),
    "_key": pa.string(),
}
"""Columns that rows have beside those of their fields; ``_key`` in keyed collections only."""
ORDINALS: Final = "_ordinal"
"""A pushed column that is not stored: the number of each document within its record (int64), where
one may become several."""
NUMBERS: Final = "_version"
"""A pushed column that is not stored: the number of each row's version (int64), null for a deletion
without one."""

QUARANTINE_SCHEMA: Final = pa.schema(
    [
        ("offset", pa.int64()),
        ("reason", pa.string()),
        ("value", pa.binary()),
        ("size_bytes", pa.int64()),
    ]
)


@dataclass(frozen=True, slots=True)
class PushedRows:
    """Checked rows of a push: ``places`` ascend, the table has all columns that are stored.

    ``places`` (:mod:`leaf.births`) end with ``ordinal_bits`` of the document's ordinal.
    ``numbers`` are those of :class:`leaf.keymap.Version`, ``UNNUMBERED`` where there is none.
    """

    places: NDArray[np.int64]
    table: pa.Table
    numbers: NDArray[np.int64]
    ordinal_bits: int = 0

    @property
    def offsets(self) -> NDArray[np.int64]:
        """The offset of each row's record."""
        return self.places >> self.ordinal_bits

    @property
    def first_places(self) -> NDArray[np.int64]:
        """The place that the first document of each row's record has."""
        return self.offsets << self.ordinal_bits

    def taken(self, rows: NDArray[np.int64]) -> "PushedRows":
        """Some of the rows, by their numbers, which ascend."""
        table = self.table.take(pa.array(rows))
        return replace(self, places=self.places[rows], table=table, numbers=self.numbers[rows])

    @property
    def field_columns(self) -> list[str]:
        """The names of the physical columns that hold a value."""
        names = [name for name in self.table.column_names if name not in SYSTEM_COLUMNS]
        rows = self.table.num_rows
        return [name for name in names if self.table.column(name).null_count < rows]


@cache
def column_type(name: str) -> pa.DataType:
    """The Arrow type of a stored column. Raises ValueError for a name that is no such column."""
    return (
        SYSTEM_COLUMNS[name] if name in SYSTEM_COLUMNS else arrow_type(split_column_name(name)[0])
    )


def parse_rows(
    data: bytes | memoryview, push: PushHeader, keyed: bool, rows_max: int, ordinal_bits: int = 0
) -> PushedRows | None:
    """The rows of a push, None for an empty one.

    With ``ordinal_bits`` they have :data:`ORDINALS`.

    Raises AlderError(INVALID_ARGUMENT) for rows that are not what the contract says, LIMIT for too
    many, CORRUPT for bytes that are no Arrow stream.
    """
    if not data:
        return None
    table = from_bytes(data)
    if table.num_rows == 0:
        return None
    if table.num_rows > rows_max:
        raise AlderError(Reason.LIMIT, f"a push holds at most {rows_max} rows; push fewer at once")
    required = ["_offset", "_time", "_log_time", "_doc", *(["_key"] if keyed else [])]
    required += [ORDINALS] * bool(ordinal_bits)
    missing = [name for name in required if name not in table.column_names]
    if missing or len(set(table.column_names)) != table.num_columns:
        raise _refused(f"they lack the columns {missing}, or hold a column twice")
    places = _checked_places(table, push, ordinal_bits)
    numbers = _checked_numbers(table, keyed)
    stored = (name for name in table.column_names if name not in {*required, NUMBERS})
    kept = [*(name for name in required[1:] if name != ORDINALS), *stored]
    columns = {name: _checked_column(name, table.column(name)) for name in kept}
    if columns["_doc"].null_count and not keyed:
        raise _refused("a row without a document deletes a key, but the collection has no keys")
    if any(columns[name].null_count for name in kept if name in _FULL):
        raise _refused("a time or a key is missing")
    return PushedRows(places, pa.table(columns), numbers, ordinal_bits)


def parse_quarantine(data: bytes | memoryview, push: PushHeader) -> pa.Table:
    """The quarantined records of a push, in :data:`QUARANTINE_SCHEMA`; no rows for none.

    Raises AlderError as :func:`parse_rows`.
    """
    if not data:
        return QUARANTINE_SCHEMA.empty_table()
    table = from_bytes(data)
    try:
        table = table.select(QUARANTINE_SCHEMA.names).cast(QUARANTINE_SCHEMA)
    except (pa.ArrowException, KeyError) as error:
        raise _refused(f"the quarantined records have other columns: {error}") from error
    offsets = table.column("offset").to_numpy()
    if table.num_rows and not (
        offsets.min() >= push.from_offset and offsets.max() < push.to_offset
    ):
        raise _refused("a quarantined record lies outside of the pushed range")
    return table


_FULL: Final = frozenset({"_time", "_log_time", "_key"})


def _checked_places(table: pa.Table, push: PushHeader, ordinal_bits: int) -> NDArray[np.int64]:
    offsets = _numbers_of(table, "_offset")
    places = offsets
    if ordinal_bits:
        ordinals = _numbers_of(table, ORDINALS)
        if ordinals.min() < 0 or ordinals.max() >= 1 << ordinal_bits:
            raise _refused(f"a record becomes at most {1 << ordinal_bits} documents")
        places = offsets << ordinal_bits | ordinals
    inside = offsets[0] >= push.from_offset and offsets[-1] < push.to_offset
    if not inside or not (np.diff(places) > 0).all():
        raise _refused("offsets must ascend and lie inside of the pushed range")
    return places


def _numbers_of(table: pa.Table, name: str) -> NDArray[np.int64]:
    column = table.column(name)
    if column.type != pa.int64() or column.null_count:
        raise _refused(f"{name} must be int64 without nulls")
    numbers: NDArray[np.int64] = np.ascontiguousarray(column.to_numpy())
    return numbers


def _checked_numbers(table: pa.Table, keyed: bool) -> NDArray[np.int64]:
    if NUMBERS not in table.column_names:
        return np.zeros(table.num_rows, dtype=np.int64)
    column = table.column(NUMBERS)
    if not keyed or column.type != pa.int64():
        raise _refused("_version must be int64, and only rows with a key have one")
    if pc.any(pc.and_(pc.is_null(column), pc.is_valid(table.column("_doc")))).as_py():
        raise _refused("a document has no version")
    numbers: NDArray[np.int64] = pc.fill_null(column, UNNUMBERED).to_numpy()
    return numbers


def _checked_column(name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    try:
        expected = column_type(name)
        return column if column.type == expected else _cast(column, expected)
    except (ValueError, pa.ArrowException) as error:
        raise _refused(f"column {name!r} can't be of type {column.type}: {error}") from error


def _cast(column: pa.ChunkedArray, expected: pa.DataType) -> pa.ChunkedArray:
    if pa.types.is_timestamp(column.type) and column.type.tz not in (None, "UTC"):
        raise ValueError("times are in UTC")
    return column.cast(expected)


def _refused(why: str) -> AlderError:
    return AlderError(Reason.INVALID_ARGUMENT, f"the pushed rows are refused: {why}")


def is_marker(table: pa.Table) -> NDArray[np.bool_]:
    """True for the rows that only delete their key."""
    mask: NDArray[np.bool_] = pc.is_null(table.column("_doc")).to_numpy()
    return mask
