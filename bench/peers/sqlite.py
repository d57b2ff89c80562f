"""SQLite: the documents as text, durable, with no index but the row's number."""

import sqlite3
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

from bench import questions
from bench.peers.base import NO_LIMIT_S, Rows


class Sqlite:
    """One table of text; WAL with a sync of every commit."""

    name: ClassVar[str] = "sqlite"
    indexes_every_field: ClassVar[bool] = False
    note: ClassVar[str] = "documents as text, journal_mode WAL, synchronous FULL"
    _QUESTIONS: ClassVar[dict[str, str]] = questions.questions(
        lambda path: f"json_extract(j, '$.{path}')",
        hour="({} / 3600000000) % 24",
        time="{}",
        span="(({1}) / 1000 - ({0}) / 1000)",
    )

    def __init__(self, folder: Path) -> None:
        self._path = folder / "sqlite.db"
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(self._path, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        for table in ("bluesky", "stream"):
            self._connection.execute(f"CREATE TABLE {table} (row INTEGER PRIMARY KEY, j TEXT)")

    def load(self, path: Path, seconds_max: float = NO_LIMIT_S) -> int:
        """One transaction, whatever the time."""
        with path.open() as lines, self._connection:
            numbered = enumerate(line.rstrip("\n") for line in lines)
            self._connection.executemany("INSERT INTO bluesky VALUES (?, ?)", numbered)
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return self._connection.execute("SELECT count(*) FROM bluesky").fetchall()[0][0]

    def ask(self, question: str) -> Rows:
        """Runs the question; times are numbers there, and become times here."""
        rows = self._connection.execute(self._QUESTIONS[question]).fetchall()
        if question == "Q4":
            rows = [(person, datetime.fromtimestamp(us // 10**6, UTC).replace(
                microsecond=us % 10**6)) for person, us in rows]  # fmt: skip
        return questions.plain(rows)

    def one(self, row: int) -> str:
        """By primary key."""
        return self._connection.execute("SELECT j FROM bluesky WHERE row = ?", [row]).fetchall()[0][
            0
        ]

    def many(self, rows: Sequence[int]) -> list[str]:
        """By primary key."""
        marks = ",".join("?" * len(rows))
        sql = f"SELECT j FROM bluesky WHERE row IN ({marks})"
        return [text for (text,) in self._connection.execute(sql, list(rows))]

    def append(self, documents: Sequence[bytes]) -> None:
        """One transaction."""
        rows = [(text.decode(),) for text in documents]
        with self._lock, self._connection:
            self._connection.executemany("INSERT INTO stream (j) VALUES (?)", rows)

    def appended(self) -> int:
        """Counts."""
        with self._lock:
            return self._connection.execute("SELECT count(*) FROM stream").fetchall()[0][0]

    def size_bytes(self) -> int:
        """Size of the database file."""
        return self._path.stat().st_size

    def close(self) -> None:
        """Closes the database."""
        self._connection.close()
