"""The decoder's private DuckDB connection: one column in, expressions over it out.

One thread and no access to files, extensions or Python variables; its time zone is UTC whatever the
machine's is, since texts of times are stored (I1). An error may leave a connection unusable (DuckDB
invalidates the database after an internal error), so ``reset`` makes a new one.
"""

from collections.abc import Sequence

import duckdb
import pyarrow as pa


class Engine:
    """Evaluates expressions over the column ``v``, in order of its rows.

    It connects when it is first used, which takes longer than a small batch.
    """

    def __init__(self) -> None:
        self._takes: dict[tuple[str, pa.DataType], bool] = {}
        self._opened: duckdb.DuckDBPyConnection | None = None

    def project(self, expressions: Sequence[str], column: pa.Array) -> list[pa.Array]:
        """The value of each expression for each row. Raises duckdb.Error."""
        selected = ", ".join(f"{text} AS c{index}" for index, text in enumerate(expressions))
        self._connection.register("cells", pa.table({"v": column}))
        try:
            table = self._connection.sql(f"SELECT {selected} FROM cells").to_arrow_table()
        except UnicodeDecodeError as error:
            # DuckDB cuts the text that it quotes in a message, also in the middle of a character.
            raise duckdb.InvalidInputException("a text can't be read as JSON") from error
        finally:
            self._connection.unregister("cells")
        return [one_array(part) for part in table.columns]

    def map(self, expression: str, column: pa.Array) -> pa.Array:
        """The value of one expression for each row. Raises duckdb.Error."""
        return self.project([expression], column)[0]

    def takes(self, expression: str, kind: pa.DataType) -> bool:
        """Whether an expression can be evaluated over values of a type; it may refuse some."""
        key = (expression, kind)
        if key not in self._takes:
            try:
                self.map(expression, pa.array([], kind))
                self._takes[key] = True
            except duckdb.Error:
                self.reset()
                self._takes[key] = False
        return self._takes[key]

    def reset(self) -> None:
        """Start over with a new connection."""
        if self._opened is not None:
            self._opened.close()
        self._opened = None

    @property
    def _connection(self) -> duckdb.DuckDBPyConnection:
        if self._opened is None:
            self._opened = _connect()
        return self._opened


def one_array(column: pa.ChunkedArray) -> pa.Array:
    """The chunks of a column as one array."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def sql_text(text: str) -> str:
    """A SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


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
