"""DuckDB as the engine of fragments: one table in, and what came along with it; one table out.

Every connection is its own in-memory database, shut off from files, extensions and settings, and
serves one query at a time, so concurrent queries never see each other's ``rows``. Connections are
kept for the next query, because opening one costs more than a small query does; one that failed in
a way that may have broken it is thrown away.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import duckdb
import pyarrow as pa

from alder.bounds import TOO_LARGE
from alder.errors import AlderError, Reason
from alder.fieldtypes import quote
from leaf.bindings import TABLE

ROWS: Final = "rows"
"""The table that fragments read."""
_NOTHING: Final = pa.table({"nothing": pa.array([], pa.bool_())})


class Cancellation:
    """Stops a query from another thread, before, while or after it runs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: duckdb.DuckDBPyConnection | None = None
        self._cancelled = False

    def cancel(self) -> None:
        """Interrupts the query. To be repeated until it has ended: it may be about to start."""
        with self._lock:
            self._cancelled = True
            if self._running is not None:
                self._running.interrupt()

    def check(self) -> None:
        """Raises AlderError(DEADLINE) once cancelled."""
        if self._cancelled:
            raise AlderError(Reason.DEADLINE, "the query was cancelled or its deadline passed")

    @contextmanager
    def running(self, connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
        """While a statement runs on the connection."""
        self.check()
        with self._lock:
            self._running = connection
        try:
            yield
        finally:
            with self._lock:
                self._running = None


class _Registered:
    """Stands for the table of whichever query runs: to register each costs a small one a third."""

    def __init__(self) -> None:
        self.table = _NOTHING

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """A stream over the table, which the engine asks for at each scan (Arrow's PyCapsule)."""
        return self.table.__arrow_c_stream__(requested_schema)


@dataclass(frozen=True, slots=True)
class EngineInput:
    """A table that a statement reads beside ``rows``, and the select list that restores it."""

    name: str
    physical: pa.Table
    select_list: str

    @property
    def registered_as(self) -> str:
        """The name of the physical table."""
        return f"{TABLE}:{self.name}"


@dataclass(frozen=True, slots=True)
class _Connection:
    """A connection, and what is registered with it as :data:`leaf.bindings.TABLE`."""

    duckdb: duckdb.DuckDBPyConnection
    rows: _Registered


class Engine:
    """A pool of connections. Thread-safe; calls block."""

    def __init__(self, memory_bytes: int) -> None:
        self._memory_bytes = memory_bytes
        self._lock = threading.Lock()
        self._idle: list[_Connection] = []

    def run(
        self,
        physical: pa.Table,
        projection_sql: str,
        sql: str,
        cancellation: Cancellation,
        inputs: Sequence[EngineInput] = (),
    ) -> pa.Table:
        """The result of ``sql`` over ``rows``, which is ``projection_sql`` over the table.

        ``inputs`` are the other tables that it reads.

        Raises AlderError: WRONG_TYPE for values that do not convert, LIMIT for too little memory,
        DEADLINE if cancelled, INVALID_ARGUMENT for a statement that can't be run.
        """
        with self._lock:
            connection = self._idle.pop() if self._idle else self._connect()
        healthy = False
        try:
            connection.rows.table = physical
            for entry in inputs:
                connection.duckdb.register(entry.registered_as, entry.physical)
            with cancellation.running(connection.duckdb):
                result = _result(connection.duckdb, projection_sql, sql, inputs)
            for entry in inputs:
                connection.duckdb.unregister(entry.registered_as)
            healthy = True
        except duckdb.Error as error:
            raise query_error(error) from error
        except pa.ArrowException as error:
            raise AlderError(
                Reason.LIMIT, f"the result of the query can't be held in one table: {error}"
            ) from error
        finally:
            connection.rows.table = _NOTHING
            if healthy:
                with self._lock:
                    self._idle.append(connection)
            else:
                connection.duckdb.close()
        return result

    def close(self) -> None:
        """Closes the idle connections."""
        with self._lock:
            for connection in self._idle:
                connection.duckdb.close()
            self._idle.clear()

    def _connect(self) -> _Connection:
        connection = duckdb.connect(
            ":memory:",
            config={
                "threads": 1,
                "memory_limit": f"{self._memory_bytes // (1 << 20)}MiB",
                "enable_external_access": False,
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
                "python_enable_replacements": False,
                "temp_directory": "",
            },
        )
        connection.execute("SET lock_configuration = true")
        rows = _Registered()
        connection.register(TABLE, rows)
        return _Connection(connection, rows)


def _result(
    connection: duckdb.DuckDBPyConnection,
    projection_sql: str,
    sql: str,
    inputs: Sequence[EngineInput],
) -> pa.Table:
    """The result over ``rows``: a common table expression costs less than a view where it fits."""
    tables = {
        entry.name: f"SELECT {entry.select_list} FROM {quote(entry.registered_as)}"
        for entry in inputs
    }
    tables[ROWS] = projection_sql
    plain = sql.startswith("SELECT ")
    if plain:
        made = ", ".join(f"{quote(name)} AS ({query})" for name, query in tables.items())
        sql = f"WITH {made} {sql}"
    else:
        for name, query in tables.items():
            connection.execute(f"CREATE OR REPLACE TEMP VIEW {quote(name)} AS {query}")
    relation = connection.sql(sql)
    if relation is None:
        raise AlderError(Reason.INVALID_ARGUMENT, "a fragment must be a SELECT")
    result: pa.Table = relation.to_arrow_table()
    if not plain:
        for name in reversed(tables):
            connection.execute(f"DROP VIEW {quote(name)}")
    return result


def query_error(error: duckdb.Error) -> AlderError:
    """The error of the engine as one sentence."""
    kind, separator, rest = str(error).partition(": ")
    sentence = " ".join((rest if separator else kind).split("\n\nLINE")[0].split())
    if TOO_LARGE in sentence:
        return AlderError(Reason.LIMIT, TOO_LARGE)
    if isinstance(error, duckdb.InterruptException):
        return AlderError(Reason.DEADLINE, "the query was cancelled or its deadline passed")
    if isinstance(error, duckdb.OutOfMemoryException):
        return AlderError(
            Reason.LIMIT,
            f"the query needs more memory than a leaf gives it; read fewer rows ({sentence})",
        )
    if isinstance(error, duckdb.PermissionException):
        return AlderError(Reason.FORBIDDEN, sentence)
    if isinstance(error, (duckdb.DataError, duckdb.TypeMismatchException, duckdb.BinderException)):
        return AlderError(Reason.WRONG_TYPE, sentence)
    if isinstance(error, (duckdb.InternalException, duckdb.FatalException)):
        return AlderError(Reason.INTERNAL, f"the query engine failed: {sentence}")
    return AlderError(Reason.INVALID_ARGUMENT, sentence)
