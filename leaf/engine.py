"""DuckDB as the engine of fragments: one table in, one table out.

Every connection is its own in-memory database, shut off from files, extensions and settings, and
serves one query at a time, so concurrent queries never see each other's ``rows``. Connections are
kept for the next query, because opening one costs more than a small query does; one that failed in
a way that may have broken it is thrown away.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import duckdb
import pyarrow as pa

from alder.errors import AlderError, Reason
from leaf.bindings import TABLE

_HELD_BYTES_MAX: Final = 64 << 10
"""A table up to this size stays known until the next one comes, which spares a small query time."""


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


class Engine:
    """A pool of connections. Thread-safe; calls block."""

    def __init__(self, memory_bytes: int) -> None:
        self._memory_bytes = memory_bytes
        self._lock = threading.Lock()
        self._idle: list[duckdb.DuckDBPyConnection] = []

    def run(
        self, physical: pa.Table, projection_sql: str, sql: str, cancellation: Cancellation
    ) -> pa.Table:
        """The result of ``sql`` over ``rows``, which is ``projection_sql`` over the table.

        Raises AlderError: WRONG_TYPE for values that do not convert, LIMIT for too little memory,
        DEADLINE if cancelled, INVALID_ARGUMENT for a statement that can't be run.
        """
        with self._lock:
            connection = self._idle.pop() if self._idle else self._connect()
        healthy = False
        try:
            connection.register(TABLE, physical)
            with cancellation.running(connection):
                result = _result(connection, projection_sql, sql)
            if physical.get_total_buffer_size() > _HELD_BYTES_MAX:
                connection.unregister(TABLE)
            healthy = True
        except duckdb.Error as error:
            raise query_error(error) from error
        except pa.ArrowException as error:
            raise AlderError(
                Reason.LIMIT, f"the result of the query can't be held in one table: {error}"
            ) from error
        finally:
            if healthy:
                with self._lock:
                    self._idle.append(connection)
            else:
                connection.close()
        return result

    def close(self) -> None:
        """Closes the idle connections."""
        with self._lock:
            for connection in self._idle:
                connection.close()
            self._idle.clear()

    def _connect(self) -> duckdb.DuckDBPyConnection:
        connection = duckdb.connect(
            ":memory:",
            config={
                "threads": 1,
                "memory_limit": f"{self._memory_bytes // (1 << 20)}MiB",
                "enable_external_access": False,
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
                "python_enable_replacements": False,
            },
        )
        connection.execute("SET lock_configuration = true")
        return connection


def _result(connection: duckdb.DuckDBPyConnection, projection_sql: str, sql: str) -> pa.Table:
    """The result over ``rows``: a common table expression costs less than a view where it fits."""
    plain = sql.startswith("SELECT ")
    if plain:
        sql = f"WITH rows AS ({projection_sql}) {sql}"
    else:
        connection.execute(f"CREATE OR REPLACE TEMP VIEW rows AS {projection_sql}")
    relation = connection.sql(sql)
    if relation is None:
        raise AlderError(Reason.INVALID_ARGUMENT, "a fragment must be a SELECT")
    result: pa.Table = relation.to_arrow_table()
    if not plain:
        connection.execute("DROP VIEW rows")
    return result


def query_error(error: duckdb.Error) -> AlderError:
    """The error of the engine as one sentence."""
    kind, separator, rest = str(error).partition(": ")
    sentence = " ".join((rest if separator else kind).split("\n\nLINE")[0].split())
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
