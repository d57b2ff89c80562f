"""The engine: DuckDB in this process, shut off from files, settings and the network.

A database for each query that runs at the same time, since the engine bounds memory and disk per
database: no query takes another one's, and none sees another one's tables, which are temporary
views of its cursor. What does not fit into memory is spilled to the node's directory, up to a
limit. What the engine says when it fails becomes one sentence in the user's words.
"""

import itertools
import re
import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import duckdb
import pyarrow as pa

from aggregator.execution.results import collected
from alder.arrow import SQL_TYPE_KEY
from alder.bounds import TOO_LARGE
from alder.errors import AlderError, Reason
from alder.fieldtypes import quote

BATCH_ROWS: Final = 1 << 16
"""Rows that are drawn from the engine at once."""


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """Bounds of one query in the engine: bytes, and the number of threads.

    ``spill_bytes_max``: on disk, of what does not fit into memory. ``result_memory_bytes_max``: of
    a result that stays in memory; beyond it is in a file.
    """

    memory_bytes_max: int = 1 << 30
    spill_bytes_max: int = 8 << 30
    result_bytes_max: int = 4 << 30
    result_memory_bytes_max: int = 64 << 20
    threads: int = 2


@dataclass(frozen=True, slots=True)
class Pending:
    """Rows over which the ``sql`` of a fragment is still to run.

    They are the table `physical`, of which ``projection`` makes the table `rows` that it reads.
    """

    rows: pa.Table
    projection: str
    sql: str

    def query(self, physical: str) -> str:
        """The SELECT that gives the result, over the rows under this name."""
        tables = f"physical AS (SELECT * FROM {quote(physical)}), rows AS ({self.projection})"
        return f"WITH {tables} {self.sql}"


@dataclass(frozen=True, slots=True)
class Input:
    """A gathered table and the SQL types to which its columns are restored ("": as it came).

    It consists of rows and of what is made of pending ones.
    """

    name: str
    columns: tuple[tuple[str, str], ...]
    rows: pa.Table | None
    pending: tuple[Pending, ...] = ()


class Engine:
    """A pool of in-memory databases. Thread-safe; methods block: call them in a thread."""

    def __init__(self, settings: EngineSettings, directory: Path | None = None) -> None:
        """``directory`` is for what does not fit into memory; None: such queries fail."""
        self.settings = settings
        self.directory = directory
        self._lock = threading.Lock()
        self._idle: list[duckdb.DuckDBPyConnection] = []
        self._numbers = itertools.count()

    def start(self) -> None:
        """Empties the directory: what lies there is of a process that ended before it could."""
        if self.directory is not None:
            shutil.rmtree(self.directory, ignore_errors=True)
            self.directory.mkdir(parents=True)

    @contextmanager
    def cursor(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A cursor for one query; interrupt() on it may be called from another thread."""
        with self._lock:
            database = self._idle.pop() if self._idle else self._connect()
        cursor = database.cursor()
        healthy = False
        try:
            yield cursor
            healthy = True
        except AlderError as error:
            # A failure of the engine itself may have broken the database.
            healthy = error.reason is not Reason.INTERNAL
            raise
        finally:
            cursor.close()
            if healthy:
                with self._lock:
                    self._idle.append(database)
            else:
                database.close()

    def close(self) -> None:
        """Releases the databases that nothing runs in."""
        with self._lock:
            for database in self._idle:
                database.close()
            self._idle.clear()

    def _connect(self) -> duckdb.DuckDBPyConnection:
        spill = "" if self.directory is None else str(self.directory / f"{next(self._numbers)}")
        connection = duckdb.connect(
            ":memory:",
            config={
                "threads": self.settings.threads,
                "memory_limit": f"{self.settings.memory_bytes_max // (1 << 20)}MiB",
                "enable_external_access": False,
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
                "python_enable_replacements": False,
                "temp_directory": spill,
                "max_temp_directory_size": f"{self.settings.spill_bytes_max // (1 << 20)}MiB",
            },
        )
        connection.execute("SET lock_configuration = true").fetchall()
        return connection


def run(
    engine: Engine,
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
        reader = relation.to_arrow_reader(BATCH_ROWS)
        settings = engine.settings
        table = collected(
            reader.schema,
            reader,
            settings.result_memory_bytes_max,
            settings.result_bytes_max,
            engine.directory,
        )
    except duckdb.Error as error:
        raise translated(error, user_names) from error
    except (pa.ArrowException, OSError) as error:
        # What the engine raises while its rows are drawn comes as an error of Arrow.
        raise translated(_as_engine_error(error), user_names) from error
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
    parts = []
    if entry.rows is not None:
        cursor.register(f"{entry.name}_raw", entry.rows)
        parts.append(quote(f"{entry.name}_raw"))
    for number, pending in enumerate(entry.pending):
        physical = f"{entry.name}_raw{number}"
        cursor.register(physical, pending.rows)
        parts.append(f"({pending.query(physical)})")
    columns = [
        f"CAST({quote(name)} AS {sql_type}) AS {quote(name)}" if sql_type else quote(name)
        for name, sql_type in entry.columns
    ]
    query = " UNION ALL ".join(f"SELECT {', '.join(columns)} FROM {part}" for part in parts)
    cursor.execute(f"CREATE OR REPLACE TEMP VIEW {quote(entry.name)} AS {query}").fetchall()


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
_KINDS: Final[Mapping[str, type[duckdb.Error]]] = {
    "Out of Memory": duckdb.OutOfMemoryException,
    "INTERRUPT": duckdb.InterruptException,
    "Conversion": duckdb.ConversionException,
    "Out of Range": duckdb.OutOfRangeException,
    "Not implemented": duckdb.NotImplementedException,
    "Permission": duckdb.PermissionException,
    "INTERNAL": duckdb.InternalException,
}
_KIND = re.compile(r"^([A-Z][A-Za-z ]*) Error: ")
_NO_COLUMN = re.compile(r"Referenced (column|table) |does not have a column named")
_SETTING = re.compile(r",? or SET [^.]*\.| ?Use \"SET [^\"]*\"[^.]*\.?")
_OURS = re.compile(r'"?__t_*\d+"?\.')


def _as_engine_error(error: Exception) -> duckdb.Error:
    """The engine's error whose text is in one of Arrow."""
    match = _KIND.match(str(error))
    kind = _KINDS.get(match[1], duckdb.InvalidInputException) if match else duckdb.IOException
    return kind(str(error))


def translated(error: duckdb.Error, user_names: Mapping[str, str]) -> AlderError:
    """An engine's error as one sentence in the user's names."""
    reason = next(
        (why for kind, why in _REASONS if isinstance(error, kind)), Reason.INVALID_ARGUMENT
    )
    if TOO_LARGE in str(error):
        return AlderError(Reason.LIMIT, TOO_LARGE)
    if reason is Reason.LIMIT:
        what = "room on disk" if "max_temp_directory_size" in str(error) else "memory"
        return AlderError(
            reason,
            f"the query needs more {what} than the server allows; "
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
