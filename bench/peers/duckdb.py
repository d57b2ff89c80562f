"""DuckDB, embedded: a typed table as its JSON reader infers it, or one column of JSON text."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Final

import duckdb

from bench import questions
from bench.peers.base import NO_LIMIT_S, Rows, Terms


class DuckDbTyped:
    """A table of structs."""

    name: ClassVar[str] = "duckdb typed"
    indexes_every_field: ClassVar[bool] = False
    note: ClassVar[str] = "read_json with all of the file as sample, then CHECKPOINT"
    _QUESTIONS: ClassVar[dict[str, str]] = questions.DUCKDB
    _FILE: ClassVar[str] = "typed.duckdb"

    def __init__(self, folder: Path) -> None:
        self._path = folder / self._FILE
        self._connection = duckdb.connect(str(self._path))
        self._connection.execute("SET TimeZone = 'UTC'")

    def load(self, path: Path, seconds_max: float = NO_LIMIT_S) -> int:
        """One statement, whatever the time."""
        self._connection.execute(
            f"CREATE TABLE bluesky AS SELECT * FROM read_json('{path}', "
            "format='newline_delimited', sample_size=-1, maximum_depth=-1)"
        )
        return self._finished()

    def ask(self, question: str) -> Rows:
        """Runs the question."""
        return questions.plain(self._connection.execute(self._QUESTIONS[question]).fetchall())

    def count(self, terms: Terms) -> int:
        """A count over a scan."""
        sql = f"SELECT count(*) FROM bluesky WHERE {self._condition(terms)}"
        return self._connection.execute(sql, [value for _, value in terms]).fetchall()[0][0]

    def newest(self, terms: Terms, limit: int) -> list[int]:
        """Whole rows."""
        sql = f"SELECT * FROM bluesky WHERE {self._condition(terms)}"
        sql += f" ORDER BY {self._field('time_us', 'BIGINT')} DESC LIMIT {limit}"
        values = [value for _, value in terms]
        rows = self._connection.sql(sql, params=values).to_arrow_table()
        return self._times(rows)

    def size_bytes(self) -> int:
        """Size of the database file."""
        return self._path.stat().st_size

    def close(self) -> None:
        """Closes the database."""
        self._connection.close()

    def _finished(self) -> int:
        self._connection.execute("CHECKPOINT")
        return self._connection.execute("SELECT count(*) FROM bluesky").fetchall()[0][0]

    def _condition(self, terms: Terms) -> str:
        return " AND ".join(f"{self._field(path)} = ?" for path, _ in terms)

    def _field(self, path: str, _type: str = "") -> str:
        return ".".join(f'"{name}"' for name in path.split("."))

    def _times(self, rows: object) -> list[int]:
        return rows.column("time_us").to_pylist()


class DuckDbJson(DuckDbTyped):
    """A table with one column of JSON text."""

    name: ClassVar[str] = "duckdb JSON"
    note: ClassVar[str] = "one JSON column, then CHECKPOINT"
    _QUESTIONS: ClassVar[dict[str, str]] = questions.questions(
        lambda path: f"(j ->> '$.{path}')" + ("::BIGINT" if path == "time_us" else "")
    )
    _FILE: ClassVar[str] = "json.duckdb"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._connection.execute("CREATE TABLE IF NOT EXISTS stream (j JSON)")

    def load(self, path: Path, seconds_max: float = NO_LIMIT_S) -> int:
        """One statement, whatever the time."""
        self._connection.execute(
            f"CREATE TABLE bluesky AS SELECT json AS j FROM read_json_objects('{path}', "
            "format='newline_delimited')"
        )
        return self._finished()

    def append(self, documents: Sequence[bytes]) -> None:
        """One transaction."""
        cursor = self._connection.cursor()
        cursor.execute(
            "INSERT INTO stream SELECT unnest(?::JSON[])", [[text.decode() for text in documents]]
        )

    def appended(self) -> int:
        """Counts."""
        return self._connection.cursor().execute("SELECT count(*) FROM stream").fetchall()[0][0]

    def _field(self, path: str, type_name: str = "VARCHAR") -> str:
        quoted = ".".join(f'"{name}"' for name in path.split("."))
        return f"(j ->> '$.{quoted}')::{type_name}"

    def _times(self, rows: object) -> list[int]:
        return list(map(_time_us, rows.column("j").to_pylist()))


_MARK: Final = '"time_us":'


def _time_us(document: str) -> int:
    start = document.index(_MARK) + len(_MARK)
    return int(document[start : document.index(",", start)])
