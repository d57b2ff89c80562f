"""Cursors: one query at a time, its rows as Python values, Arrow or data frames.

Rows are drawn from the server as they are fetched, so a large result needs no more memory than the
rows held by the caller; the deadline of the query covers the fetching.
"""

from collections.abc import Iterable, Iterator, Sequence
from importlib.util import find_spec
from itertools import islice
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Protocol

import pyarrow as pa

from alder.client import parameters, values
from alder.client.errors import InterfaceError, NotSupportedError, ProgrammingError
from alder.client.results import ResultInfo, ResultStream
from alder.client.settings import Change, Settings, leading, policy_of
from alder.client.token import Token
from alder.client.token import merged as merged_token
from alder.client.values import Row
from alder.definitions import unpinned
from alder.errors import Reason
from alder.indexing import ACCESS_KINDS
from alder.v1 import query_pb2

if TYPE_CHECKING:
    import pandas
    import polars

Description = list[tuple[str, pa.DataType, None, None, None, None, bool | None]]
_CONSISTENCIES: Final = {
    "cut": query_pb2.CONSISTENCY_CUT,
    "latest": query_pb2.CONSISTENCY_LATEST,
}


class Queries(Protocol):
    """What a cursor needs of its connection."""

    @property
    def settings(self) -> Settings:
        """What queries are asked with, unless a call says otherwise."""
        ...

    def change(self, changes: Iterable[Change]) -> None:
        """Changes the settings. Raises InterfaceError once the connection is closed."""
        ...

    def run(self, request: query_pb2.ExecuteRequest, timeout_s: float | None) -> ResultStream:
        """Starts a query. Raises InterfaceError once the connection is closed."""
        ...


class Cursor:
    """A cursor of DB-API 2.0. Not for several threads at once; connections are."""

    def __init__(self, connection: Queries) -> None:
        self.connection = connection
        self.arraysize = 1
        self._result: ResultStream | None = None
        self._rows: Iterator[Row] = iter(())
        self._closed = False

    def execute(
        self,
        sql: str,
        params: parameters.Parameters = None,
        *,
        min_positions: Token | Iterable[Token] | None = None,
        as_of: Token | str | None = None,
        timeout_s: float | None = None,
        consistency: str | None = None,
        plan_class: str | None = None,
        policy: str | None = None,
    ) -> "Cursor":
        """Runs one statement and returns the cursor, once the server has accepted it.

        SET and RESET change the settings of the connection, here in the client, and give no result;
        they may stand before the statement, each with a semicolon. The arguments of this call win
        over settings.

        ``params``: a list for ``?``, a dict for ``$name``. ``min_positions``: token(s) that the
        answer must include. ``as_of``: positions to read at, as a token or its text, where the
        statement names no moment; the :attr:`positions` of a page give the next one from the same
        cut. ``consistency``: ``"cut"`` (the default: one cut of the log) or
        ``"latest"`` (the newest each shard has). ``timeout_s`` covers query and fetching.
        ``plan_class`` asks for one planning class, to compare answers. Raises a subclass of Error.
        """
        self._check_open()
        if not isinstance(sql, str):
            raise ProgrammingError(Reason.INVALID_ARGUMENT, "the statement must be a string")
        if consistency is not None and consistency not in _CONSISTENCIES:
            raise ProgrammingError(
                Reason.INVALID_ARGUMENT, f"consistency is 'cut' or 'latest', not {consistency!r}"
            )
        script = leading(_sendable(sql))
        settings = script.changed(self.connection.settings)
        request = _request(settings, params, consistency, plan_class, as_of, policy)
        request.sql = script.rest
        request.min_positions.extend(merged_token(min_positions).to_proto())
        deadline_s = settings.timeout_s if timeout_s is None else timeout_s
        self.connection.change(script.changes)
        self._forget()
        if script.changes and not script.rest:
            return self
        self._result = self.connection.run(request, deadline_s)
        self._rows = self._result.rows()
        return self

    def callproc(
        self, procname: str, params: parameters.Parameters = None
    ) -> parameters.Parameters:
        """Runs a saved query, ``"name"`` or ``"name@2"``, with values for its parameters.

        A list gives values in the order of the parameters, a dict by their names; what is left out
        has its default. The rows are fetched as those of :meth:`execute`. Returns ``params``.
        """
        self._check_open()
        name, version = unpinned(procname)
        settings = self.connection.settings
        request = _request(settings, params)
        request.saved_query.name = name
        request.saved_query.version = version or 0
        self._forget()
        self._result = self.connection.run(request, settings.timeout_s)
        self._rows = self._result.rows()
        return params

    def executemany(self, sql: str, params: Sequence[parameters.Parameters]) -> None:
        """Raises NotSupportedError: only SELECT is run, and documents come by ``append``."""
        raise NotSupportedError(
            Reason.UNSUPPORTED,
            "executemany has no use here: run one SELECT with execute, add documents with append",
        )

    @property
    def description(self) -> Description | None:
        """A tuple of seven per column: name, Arrow type, five times None; None without a result."""
        if self._result is None:
            return None
        return [
            (field.name, field.type, None, None, None, None, None) for field in self._result.schema
        ]

    @property
    def rowcount(self) -> int:
        """Rows of the result; -1 until the last one was fetched."""
        info = None if self._result is None else self._result.info
        return -1 if info is None else info.rows

    @property
    def trailer(self) -> ResultInfo:
        """What the query read and how; known once the last row was fetched."""
        info = self._open_result().info
        if info is None:
            raise ProgrammingError(
                Reason.INVALID_ARGUMENT, "the trailer follows the last row; fetch all rows first"
            )
        return info

    @property
    def positions(self) -> Token:
        """The cut that the query read, but for moments that its statement names.

        Known once the last row was fetched. Given to :meth:`execute` as ``as_of`` it gives further
        pages of the same answer; its text is what ``AS OF POSITION`` takes.
        """
        return self.trailer.token

    def fetchone(self) -> Row | None:
        """The next row; None after the last one."""
        self._open_result()
        return next(self._rows, None)

    def fetchmany(self, size: int | None = None) -> list[Row]:
        """At most ``size`` (default: ``arraysize``) further rows."""
        self._open_result()
        return list(islice(self._rows, self.arraysize if size is None else size))

    def fetchall(self) -> list[Row]:
        """All further rows."""
        self._open_result()
        return list(self._rows)

    def __iter__(self) -> Iterator[Row]:
        self._open_result()
        return self._rows

    def fetch_record_batch(self) -> pa.RecordBatchReader:
        """The result as a stream of Arrow batches; instead of, not after, fetching rows."""
        result = self._open_result()
        return pa.RecordBatchReader.from_batches(result.schema, iter(result))

    def fetch_arrow_table(self) -> pa.Table:
        """The result as an Arrow table; JSON columns have the extension type ``arrow.json``."""
        result = self._open_result()
        return pa.Table.from_batches(list(result), schema=result.schema)

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """The result as an Arrow C stream (PyCapsule)."""
        return self.fetch_record_batch().__arrow_c_stream__(requested_schema)

    def df(self) -> "pandas.DataFrame":
        """The result as a pandas data frame; JSON as text, 128-bit integers as int64 if all fit."""
        if find_spec("pandas") is None:
            raise _missing("df()", "pandas")
        frame: pandas.DataFrame = _for_pandas(self.fetch_arrow_table()).to_pandas()
        return frame

    def pl(self) -> "polars.DataFrame":
        """The result as a Polars data frame; JSON as text, 128-bit integers as Int128."""
        try:
            import polars
        except ImportError as error:
            raise _missing("pl()", "polars") from error
        table = self.fetch_arrow_table()
        table = table.rename_columns(values.unique_names(table.column_names))
        huge = [field.name for field in table.schema if values.is_hugeint(field.type)]
        frame = polars.DataFrame(_without_extensions(table))
        return frame.with_columns(polars.col(name).cast(polars.Int128) for name in huge)

    def setinputsizes(self, sizes: Sequence[object]) -> None:
        """Does nothing; the standard asks for it."""

    def setoutputsize(self, size: int, column: int | None = None) -> None:
        """Does nothing; the standard asks for it."""

    def close(self) -> None:
        """Cancels what is running; the cursor can't be used any more."""
        self._forget()
        self._closed = True

    def __enter__(self) -> "Cursor":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _forget(self) -> None:
        if self._result is not None:
            self._result.close()
        self._result = None
        self._rows = iter(())

    def _check_open(self) -> None:
        if self._closed:
            raise InterfaceError(Reason.INVALID_ARGUMENT, "the cursor is closed; make another one")

    def _open_result(self) -> ResultStream:
        self._check_open()
        if self._result is None:
            raise ProgrammingError(
                Reason.INVALID_ARGUMENT, "there is no result yet; call execute first"
            )
        return self._result


def _request(
    settings: Settings,
    params: parameters.Parameters,
    consistency: str | None = None,
    plan_class: str | None = None,
    as_of: Token | str | None = None,
    policy: str | None = None,
) -> query_pb2.ExecuteRequest:
    """What is asked by the settings of a connection, and by arguments, which win over them."""
    planned = plan_class or settings.plan_class
    return query_pb2.ExecuteRequest(
        parameters=parameters.to_proto(params),
        as_of=_moment(settings.as_of if as_of is None else as_of).to_proto(),
        consistency=_CONSISTENCIES[consistency or settings.consistency],
        plan_class="" if planned == "auto" else planned,
        no_memoised_partials=not settings.memoise_partials,
        no_code_kernels=not settings.code_kernels,
        no_direct_lookup=not settings.direct_lookup,
        no_index_kinds=[kind for kind in ACCESS_KINDS if kind not in settings.index_kinds],
        join_strategy="" if settings.join_strategy == "auto" else settings.join_strategy,
        policy=(settings.policy if policy is None else policy_of(policy)).to_proto(),
    )


def _moment(as_of: Token | str) -> Token:
    if isinstance(as_of, Token):
        return as_of
    return Token.from_text(as_of) if as_of else Token()


def _sendable(sql: str) -> str:
    try:
        sql.encode()
    except UnicodeEncodeError as error:
        raise ProgrammingError(
            Reason.SYNTAX, "the statement holds a lone surrogate; remove it"
        ) from error
    return sql


def _missing(method: str, package: str) -> NotSupportedError:
    return NotSupportedError(
        Reason.UNSUPPORTED,
        f"{method} needs {package}, which is not installed; run: pip install 'alder[dataframes]'",
    )


def _without_extensions(table: pa.Table) -> pa.Table:
    return table.cast(
        pa.schema([field.with_type(values.plain_type(field.type)) for field in table.schema])
    )


def _for_pandas(table: pa.Table) -> Any:
    table = _without_extensions(table)
    for index, field in enumerate(table.schema):
        if values.is_hugeint(field.type):
            try:
                column = table.column(index).cast(pa.int64())
            except pa.ArrowInvalid:
                continue
            table = table.set_column(index, field.with_type(pa.int64()), column)
    return table
