"""The engine: DuckDB in this process, shut off from files, settings and the network.

A database for each query that runs at the same time, since the engine bounds memory and disk per
database: no query takes another one's, and none sees another one's tables, which are known to its
cursor alone. Copies of fixed rows stay in a database, and a statement can't name them, since its
tables are those of its plan. What does not fit into memory is spilled to the node's directory, up
to a limit. What the engine says when it fails becomes one sentence in the user's words.
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

from aggregator.execution.copies import Copies
from aggregator.execution.results import collected
from aggregator.execution.tables import with_tables
from alder.arrow import SQL_TYPE_KEY
from alder.bounds import TOO_LARGE
from alder.errors import AlderError, Reason
from alder.fieldtypes import quote
from alder.fragments import FixedRows

BATCH_ROWS: Final = 1 << 16
"""Rows that are drawn from the engine at once."""
_COPIES_SHARE: Final = 4
"""Copies get one byte in so many of a query's memory, and leave where it needs that."""
_ROWS: Final = "rows"
"""The table that fragments read."""


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

    ``projection`` is the select list that makes the table `rows` of them, which it reads.
    """

    rows: pa.Table
    projection: str
    sql: str
    fixed: tuple[FixedRows, ...] = ()

    def query(self, source: str) -> str:
        """The SELECT that gives the result, over what a FROM clause says."""
        return with_tables(self.sql, {_ROWS: f"SELECT {self.projection} FROM {source}"})


@dataclass(frozen=True, slots=True)
class Input:
    """A gathered table and the SQL types to which its columns are restored ("": as it came).

    It consists of rows and of what is made of pending ones.
    """

    name: str
    columns: tuple[tuple[str, str], ...]
    rows: pa.Table | None
    pending: tuple[Pending, ...] = ()


@dataclass(frozen=True, slots=True)
class Session:
    """What one query has of the engine: a cursor, and the copies in its database."""

    cursor: duckdb.DuckDBPyConnection
    copies: Copies


@dataclass(frozen=True, slots=True)
class _Database:
    connection: duckdb.DuckDBPyConnection
    copies: Copies


class Engine:
    """A pool of in-memory databases. Thread-safe; methods block: call them in a thread."""

    def __init__(self, settings: EngineSettings, directory: Path | None = None) -> None:
        """``directory`` is for what does not fit into memory; None: such queries fail."""
        self.settings = settings
        self.directory = directory
        self._lock = threading.Lock()
        self._idle: list[_Database] = []
        self._numbers = itertools.count()

    def start(self) -> None:
        """Empties the directory: what lies there is of a process that ended before it could."""
        if self.directory is not None:
            shutil.rmtree(self.directory, ignore_errors=True)
            self.directory.mkdir(parents=True)

    @contextmanager
    def session(self) -> Iterator[Session]:
        """For one query; interrupt() on its cursor may be called from another thread."""
        with self._lock:
            database = self._idle.pop() if self._idle else self._connect()
        cursor = database.connection.cursor()
        healthy = False
        try:
            yield Session(cursor, database.copies)
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
                database.connection.close()

    def close(self) -> None:
        """Releases the databases that nothing runs in."""
        with self._lock:
            for database in self._idle:
                database.connection.close()
            self._idle.clear()

    def _connect(self) -> _Database:
        settings = self.settings
        spill = "" if self.directory is None else str(self.directory / f"{next(self._numbers)}")
        connection = duckdb.connect(
            ":memory:",
            config={
                "threads": settings.threads,
                "memory_limit": f"{settings.memory_bytes_max // (1 << 20)}MiB",
                "enable_external_access": False,
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
                "python_enable_replacements": False,
                "temp_directory": spill,
                "max_temp_directory_size": f"{settings.spill_bytes_max // (1 << 20)}MiB",
            },
        )
        connection.execute("SET lock_configuration = true").fetchall()
        return _Database(connection, Copies(settings.memory_bytes_max // _COPIES_SHARE))


def run(
    engine: Engine,
    session: Session,
    sql: str,
    inputs: Sequence[Input],
    user_names: Mapping[str, str],
) -> pa.Table:
    """The result of a statement over its inputs, each field with its SQL type as metadata.

    VARIANT leaves as JSON text, since no client reads it. Raises AlderError.
    """
    while True:
        try:
            return _result(engine, session, sql, inputs)
        except duckdb.OutOfMemoryException as error:
            if not session.copies.clear(session.cursor):
                raise translated(error, user_names) from error
        except duckdb.Error as error:
            raise translated(error, user_names) from error


def _result(engine: Engine, session: Session, sql: str, inputs: Sequence[Input]) -> pa.Table:
    """As :func:`run`. Raises duckdb.Error, and AlderError(LIMIT) for a result that is too large."""
    cursor, settings = session.cursor, engine.settings
    pending = [one for entry in inputs for one in entry.pending]
    session.copies.prepare(cursor, [(part, one.rows) for one in pending for part in one.fixed])
    sql = with_tables(sql, {one.name: _query(session, one) for one in inputs})
    try:
        relation = cursor.sql(sql)
        names = list(relation.columns)
        types = [str(entry) for entry in relation.types]
        if any("VARIANT" in entry for entry in types):
            relation = cursor.sql(_variant_as_json(sql, types))
            types = [str(entry) for entry in relation.types]
        reader = relation.to_arrow_reader(BATCH_ROWS)
        table = collected(
            reader.schema,
            reader,
            settings.result_memory_bytes_max,
            settings.result_bytes_max,
            engine.directory,
        )
    except (pa.ArrowException, OSError) as error:
        # What the engine raises while its rows are drawn comes as an error of Arrow.
        raise _as_engine_error(error) from error
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


def _query(session: Session, entry: Input) -> str:
    """The SELECT that gives an input, with its SQL types restored where they left the engine."""
    parts = []
    if entry.rows is not None:
        session.cursor.register(f"{entry.name}_raw", entry.rows)
        parts.append(selected(entry.columns, quote(f"{entry.name}_raw")))
    for number, pending in enumerate(entry.pending):
        query = pending.query(_source(session, pending, f"{entry.name}_raw{number}"))
        alone = entry.rows is None and len(entry.pending) == 1
        parts.append(query if alone else selected(entry.columns, f"({query})"))
    return " UNION ALL ".join(parts)


def selected(columns: Sequence[tuple[str, str]], source: str) -> str:
    """A SELECT of columns with these names and SQL types ("": as they come)."""
    items = [
        f"CAST({quote(name)} AS {sql_type}) AS {quote(name)}" if sql_type else quote(name)
        for name, sql_type in columns
    ]
    return f"SELECT {', '.join(items)} FROM {source}"


def _source(session: Session, pending: Pending, name: str) -> str:
    """A FROM clause for the rows of a fragment: copies, as far as there are any, and the others."""
    rows, copied = pending.rows, list[str]()
    rest = [rows.slice(sum(fixed.rows for fixed in pending.fixed))]
    for fixed in pending.fixed:
        copy = session.copies.source(fixed, rows.column_names)
        if copy is None:
            rest.append(rows.slice(fixed.begin, fixed.rows))
        else:
            copied.append(copy)
    others = pa.concat_tables(rest) if copied else rows
    if not copied or others.num_rows:
        session.cursor.register(name, others)
        copied.append(quote(name))
    if len(copied) == 1:
        return copied[0]
    columns = ", ".join(map(quote, rows.column_names))
    return f"({' UNION ALL '.join(f'SELECT {columns} FROM {one}' for one in copied)})"


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
