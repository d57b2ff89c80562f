"""Copies of fixed rows as tables of the engine, for those that are asked for again.

Of rows of Arrow the engine knows how many there are, and converts them at every scan. A
table of its own has statistics, by which it orders joins, and the least and greatest value of each
stretch of rows, by which it skips them. What is fixed never changes, so a copy is right for as long
as it is kept, and nothing is ever invalidated: what is not asked for any more goes first.

A copy costs about what a few scans do. So a column is copied when it is asked for the second time,
and what is asked for once costs nothing.
"""

import itertools
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Final

import duckdb
import pyarrow as pa

from alder.fieldtypes import quote
from alder.fragments import FixedRows
from alder.recent import Recent

_ASKED_MAX: Final = 4096
_COLUMN_BYTES_MIN: Final = 1 << 16
"""What the engine takes for a column of few rows."""
_SOURCE: Final = "copied"


@dataclass(frozen=True, slots=True)
class _Copy:
    """A table, and what its columns are called where the rows are stored, in their order."""

    table: str
    columns: tuple[str, ...]
    size_bytes: int


class Copies:
    """The copies in one database, within a number of bytes. Serves one statement at a time."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._size_bytes = 0
        self._numbers = itertools.count()
        self._asked: Recent[tuple[Hashable, str], None] = Recent(_ASKED_MAX)
        self._copies: OrderedDict[Hashable, _Copy] = OrderedDict()

    def prepare(
        self,
        cursor: duckdb.DuckDBPyConnection,
        wanted: Sequence[tuple[FixedRows, pa.Table]],
    ) -> None:
        """Copies of what one statement reads are made where they pay, and stay until the next.

        Raises what the engine raises where it is interrupted.
        """
        missing: dict[Hashable, dict[str, pa.ChunkedArray]] = {}
        for fixed, rows in wanted:
            columns = missing.setdefault(fixed.name, {})
            if fixed.name in self._copies:
                self._copies.move_to_end(fixed.name)
            for column, values in zip(fixed.columns, rows.columns, strict=True):
                if (fixed.name, column) in self._asked and not self._has(fixed.name, [column]):
                    columns[column] = values.slice(fixed.begin, fixed.rows)
        for fixed, _ in wanted:
            for column in fixed.columns:
                self._asked.put((fixed.name, column), None)
        for name, columns in missing.items():
            if columns:
                self._add(cursor, name, columns, keep=missing.keys())

    def source(self, fixed: FixedRows, names: Sequence[str]) -> str | None:
        """A FROM clause for the rows, their columns under these names; None without a copy."""
        if not self._has(fixed.name, fixed.columns):
            return None
        copy = self._copies[fixed.name]
        called = dict(zip(fixed.columns, names, strict=True))
        aliases = [called.get(column, f"other{at}") for at, column in enumerate(copy.columns)]
        return f"{copy.table} AS physical ({', '.join(map(quote, aliases))})"

    def clear(self, cursor: duckdb.DuckDBPyConnection) -> bool:
        """Drops all copies, if there are any; tells whether."""
        names = list(self._copies)
        for name in names:
            self._drop(cursor, name)
        return bool(names)

    def _has(self, name: Hashable, columns: Iterable[str]) -> bool:
        copy = self._copies.get(name)
        return copy is not None and all(column in copy.columns for column in columns)

    def _add(
        self,
        cursor: duckdb.DuckDBPyConnection,
        name: Hashable,
        columns: Mapping[str, pa.ChunkedArray],
        keep: Set[Hashable],
    ) -> None:
        """Adds columns to a copy, or begins one, if there is room beside those to ``keep``."""
        begun = self._copies.get(name)
        added = pa.table(list(columns.values()), names=[f"n{next(self._numbers)}" for _ in columns])
        size_bytes = sum(max(column.nbytes, _COLUMN_BYTES_MIN) for column in added.columns)
        kept_bytes = sum(one.size_bytes for key, one in self._copies.items() if key in keep)
        if size_bytes + kept_bytes > self._bytes_max:
            return
        for other in [key for key in self._copies if key not in keep]:
            if self._size_bytes + size_bytes > self._bytes_max:
                self._drop(cursor, other)
        table = f"copy{next(self._numbers)}"
        source = _SOURCE if begun is None else f"{begun.table} POSITIONAL JOIN {_SOURCE}"
        cursor.register(_SOURCE, added)
        try:
            cursor.execute(f"CREATE TABLE {table} AS SELECT * FROM {source}").fetchall()
        except duckdb.OutOfMemoryException:
            return
        finally:
            cursor.unregister(_SOURCE)
        known: tuple[str, ...] = ()
        if begun is not None:
            known = begun.columns
            size_bytes += begun.size_bytes
            self._drop(cursor, name)
        self._copies[name] = _Copy(table, (*known, *columns), size_bytes)
        self._size_bytes += size_bytes

    def _drop(self, cursor: duckdb.DuckDBPyConnection, name: Hashable) -> None:
        copy = self._copies.pop(name)
        self._size_bytes -= copy.size_bytes
        cursor.execute(f"DROP TABLE {copy.table}").fetchall()
