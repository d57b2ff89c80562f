"""A private DuckDB connection that evaluates one expression over one column.

Its time zone is UTC whatever the machine's is, since what is stored must be a function of the log
alone (I1). One thread at a time; no access to files, extensions or Python variables.
"""

import duckdb
import pyarrow as pa


class Evaluator:
    """Evaluates expressions over the column ``v``, in order of its rows.

    It connects when it is first used, since many collections never need it.
    """

    def __init__(self) -> None:
        self._connection: duckdb.DuckDBPyConnection | None = None

    def map(self, expression: str, column: pa.Array) -> pa.Array:
        """The value of the expression for each row. Raises duckdb.Error."""
        if self._connection is None:
            self._connection = _connect()
        self._connection.register("cells", pa.table({"v": column}))
        try:
            mapped = self._connection.sql(f"SELECT {expression} AS c FROM cells").to_arrow_table()
        finally:
            self._connection.unregister("cells")
        return mapped.column("c").combine_chunks()


def _connect() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(
        config={
            "threads": 1,
            "enable_external_access": False,
            "autoload_known_extensions": False,
            "autoinstall_known_extensions": False,
        }
    )
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET python_enable_replacements = false")
    return connection


def sql_text(text: str) -> str:
    """A SQL string literal."""
    return "'" + text.replace("'", "''") + "'"
