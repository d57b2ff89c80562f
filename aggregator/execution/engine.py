"""The engine: DuckDB in this process, shut off from files, settings and the network.

One database for the aggregator and one cursor per query; the tables of a query are temporary views
of its cursor, so queries never see each other's. What the engine says when it fails becomes one
sentence in the user's words.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import duckdb
import pyarrow as pa

from alder.arrow import SQL_TYPE_KEY
from alder.errors import AlderError, Reason
from alder.fieldtypes import quote

"""Metadata of a result's Arrow field: the SQL type of the column."""


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """Bounds of the engine: memory in bytes, number of threads."""

    memory_bytes_max: int = 2 << 30
    threads: int = 2


@dataclass(frozen=True, slots=True)
class Input:
    """A gathered table and the SQL types to which its columns are restored ("": as it came)."""

    name: str
    columns: tuple[tuple[str, str], ...]
    rows: pa.Table


class Engine:
    """One in-memory database. Methods block: call them in a thread."""

    def __init__(self, settings: EngineSettings) -> None:
        self._connection = duckdb.connect(
            ":memory:",
            config={
                "threads": settings.threads,
                "memory_limit": f"{settings.memory_bytes_max // (1 << 20)}MiB",
                "enable_external_access": False,
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
                "python_enable_replacements": False,
                "temp_directory": "",
            },
        )
        self._connection.execute("SET lock_configuration = true").fetchall()

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A cursor for one query; interrupt() on it may be called from another thread."""
        return self._connection.cursor()

    def close(self) -> None:
        """Releases the database."""
        self._connection.close()


def run(
    cursor: duckdb.DuckDBPyConnection,
    sql: str,
    inputs: Sequence[Input],
    user_names: Mapping[str, str],
) -> pa.Table:
    """The result of a statement over its inputs, each field with its SQL type as metadata.

    VARIANT leaves as JSON text, since no client reads it. Raises AlderError.
    """
    try:
        for entry in inputs:
            register(cursor, entry)
        relation = cursor.sql(sql)
        names = list(relation.columns)
        types = [str(entry) for entry in relation.types]
        if any("VARIANT" in entry for entry in types):
            relation = cursor.sql(_variant_as_json(sql, types))
            types = [str(entry) for entry in relation.types]
        table = relation.to_arrow_table()
    except duckdb.Error as error:
        raise translated(error, user_names) from error
    fields = [
        table.schema.field(index).with_name(name).with_metadata({SQL_TYPE_KEY: sql_type.encode()})
        for index, (name, sql_type) in enumerate(zip(names, types, strict=True))
    ]
    return pa.Table.from_arrays(table.columns, schema=pa.schema(fields))


def _variant_as_json(sql: str, types: Sequence[str]) -> str:
    """The statement with each VARIANT cast to JSON.

    Its columns get names of ours in between, since several may have the same name.
    """
    columns = [f"r{position}" for position in range(len(types))]
    items = [
        f"CAST({column} AS JSON)" if "VARIANT" in sql_type else column
        for column, sql_type in zip(columns, types, strict=True)
    ]
    return f"SELECT {', '.join(items)} FROM ({sql}) AS result({', '.join(columns)})"


def register(cursor: duckdb.DuckDBPyConnection, entry: Input) -> None:
    """Makes a table known to a cursor under its name, with its SQL types restored."""
    raw = f"{entry.name}_raw"
    cursor.register(raw, entry.rows)
    columns = [
        f"CAST({quote(name)} AS {sql_type}) AS {quote(name)}" if sql_type else quote(name)
        for name, sql_type in entry.columns
    ]
    view = f"CREATE OR REPLACE TEMP VIEW {quote(entry.name)} AS SELECT {', '.join(columns)}"
    cursor.execute(f"{view} FROM {quote(raw)}").fetchall()


_REASONS: Final[Sequence[tuple[type[duckdb.Error], Reason]]] = (
    (duckdb.OutOfMemoryException, Reason.LIMIT),
    (duckdb.InterruptException, Reason.DEADLINE),
    (duckdb.ConversionException, Reason.WRONG_TYPE),
    (duckdb.OutOfRangeException, Reason.OUT_OF_RANGE),
    (duckdb.BinderException, Reason.WRONG_TYPE),
    (duckdb.CatalogException, Reason.UNSUPPORTED),
    (duckdb.NotImplementedException, Reason.UNSUPPORTED),
    (duckdb.ParserException, Reason.SYNTAX),
    (duckdb.InvalidInputException, Reason.INVALID_ARGUMENT),
    (duckdb.PermissionException, Reason.FORBIDDEN),
    (duckdb.InternalException, Reason.INTERNAL),
)
_KIND = re.compile(r"^[A-Z][A-Za-z ]* Error: ")
_NO_COLUMN = re.compile(r"Referenced (column|table) |does not have a column named")
_SETTING = re.compile(r",? or SET [^.]*\.| ?Use \"SET [^\"]*\"[^.]*\.?")
_OURS = re.compile(r'"?__t_*\d+"?\.')


def translated(error: duckdb.Error, user_names: Mapping[str, str]) -> AlderError:
    """An engine's error as one sentence in the user's names."""
    reason = next(
        (why for kind, why in _REASONS if isinstance(error, kind)), Reason.INVALID_ARGUMENT
    )
    if reason is Reason.LIMIT:
        return AlderError(
            reason,
            "the query needs more memory than the server allows; "
            "filter more, group by fewer values or read fewer columns",
        )
    if reason is Reason.DEADLINE:
        return AlderError(
            reason, "the query was stopped at its deadline; ask with a longer timeout"
        )
    if reason is Reason.INTERNAL:
        return AlderError(reason, "the engine failed on this query; try to write it differently")
    lines = str(error).splitlines() or ["the query failed"]
    sentence = lines[0]
    if reason is Reason.WRONG_TYPE and _NO_COLUMN.search(sentence):
        reason = Reason.UNKNOWN_COLUMN
    return AlderError(reason, in_user_names(sentence, user_names))


def in_user_names(sentence: str, user_names: Mapping[str, str]) -> str:
    """A sentence of the engine with the paths that our column names stand for."""
    text = _OURS.sub("", _SETTING.sub("", _KIND.sub("", sentence)).strip())
    for name in sorted(user_names, key=len, reverse=True):
        text = re.sub(rf'"?{re.escape(name)}\b"?', user_names[name].replace("\\", "\\\\"), text)
    return text
