"""ClickHouse, embedded: the JSON type, sorted for the questions, as JSONBench does it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from bench import questions
from bench.peers.base import NO_LIMIT_S, MissingError, Rows, Terms, tree_bytes

_SORTED = (
    "CREATE TABLE IF NOT EXISTS bench.bluesky (data JSON(kind LowCardinality(String), "
    "commit.operation LowCardinality(String), commit.collection LowCardinality(String), "
    "did String, time_us Int64) CODEC(ZSTD(1))) ENGINE = MergeTree ORDER BY (data.kind, "
    "data.commit.operation, data.commit.collection, data.did, data.time_us) "
    "SETTINGS fsync_after_insert = 1"
)
_STREAM = (
    "CREATE TABLE IF NOT EXISTS bench.stream (data JSON CODEC(ZSTD(1))) ENGINE = MergeTree "
    "ORDER BY tuple() SETTINGS fsync_after_insert = 1"
)


class ChDb:
    """chDB. A table that exists in the folder is used as it is."""

    name: ClassVar[str] = "chdb"
    indexes_every_field: ClassVar[bool] = False
    note: ClassVar[str] = "JSON type with five typed paths, ORDER BY those, fsync_after_insert"
    _QUESTIONS: ClassVar[dict[str, str]] = questions.questions(
        lambda path: f"data.{path}",
        "bench.bluesky",
        distinct="uniqExact({})",
        hour="toHour(fromUnixTimestamp64Micro({}))",
        time="fromUnixTimestamp64Micro({})",
    )

    def __init__(self, folder: Path) -> None:
        try:
            from chdb.session import Session
        except ImportError as error:
            raise MissingError(str(error)) from error
        self._folder = folder / "chdb"
        self._session = Session(str(self._folder))
        self.run("SET session_timezone = 'UTC'")
        self.run("CREATE DATABASE IF NOT EXISTS bench ENGINE = Atomic")
        self.run(_SORTED)
        self.run(_STREAM)

    def run(self, sql: str) -> Rows:
        """Runs a statement; its rows."""
        answer = self._session.query(sql, "JSONCompact").bytes()
        return [tuple(row) for row in json.loads(answer)["data"]] if answer else []

    def load(self, path: Path, seconds_max: float = NO_LIMIT_S) -> int:
        """One insert from the file, whatever the time."""
        self.run(
            "INSERT INTO bench.bluesky SELECT json "
            f"FROM file('{path}', 'JSONAsObject', 'json JSON')"
        )
        return int(self.run("SELECT count() FROM bench.bluesky")[0][0])

    def ask(self, question: str) -> Rows:
        """Runs the question."""
        return questions.plain(self.run(self._QUESTIONS[question]))

    def count(self, terms: Terms) -> int:
        """A count, with what the primary key can skip."""
        return int(self.run(f"SELECT count() FROM bench.bluesky WHERE {_condition(terms)}")[0][0])

    def newest(self, terms: Terms, limit: int) -> list[int]:
        """Whole documents."""
        rows = self.run(
            f"SELECT data.time_us, data FROM bench.bluesky WHERE {_condition(terms)} "
            f"ORDER BY data.time_us DESC LIMIT {limit}"
        )
        return [int(row[0]) for row in rows]

    def insert_events(self, documents: Sequence[bytes]) -> None:
        """More events of JSONBench."""
        self._insert("bluesky", documents)

    def append(self, documents: Sequence[bytes]) -> None:
        """One insert."""
        self._insert("stream", documents)

    def appended(self) -> int:
        """Counts."""
        return int(self.run("SELECT count() FROM bench.stream")[0][0])

    def size_bytes(self) -> int:
        """Size of the table's folder, once the parts it has merged away are gone."""
        self.run("OPTIMIZE TABLE bench.bluesky FINAL")
        active = "active AND database = 'bench' AND table = 'bluesky'"
        return int(self.run(f"SELECT sum(bytes_on_disk) FROM system.parts WHERE {active}")[0][0])

    def close(self) -> None:
        """Closes the session."""
        self._session.close()

    def files_bytes(self) -> int:
        """All files, merged parts included."""
        return tree_bytes(self._folder)

    def _insert(self, table: str, documents: Sequence[bytes]) -> None:
        text = b"\n".join(documents).decode()
        self._session.query(f"INSERT INTO bench.{table} FORMAT JSONAsObject {text}")


def _condition(terms: Terms) -> str:
    return " AND ".join(f"{_path(path)} = '{value}'" for path, value in terms)


def _path(path: str) -> str:
    names = ".".join(f"`{name}`" for name in path.split("."))
    typed = path in {"did", "kind", "commit.operation", "commit.collection"}
    return f"data.{names}" if typed else f"data.{names}.:String"
