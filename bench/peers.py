"""The peers of the JSONBench comparison, each behind the same four methods.

Every peer is embedded or local, loads the same file durably, and answers the same five questions
exactly. A peer whose package is not installed is named as missing, never left out in silence.
"""

import json
import shutil
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

import duckdb

Rows = list[tuple[object, ...]]
POSTS: Final = "('app.bsky.feed.post', 'app.bsky.feed.repost', 'app.bsky.feed.like')"


class Peer(Protocol):
    """A system under comparison."""

    name: str
    indexes_every_field: bool

    def load(self, path: Path) -> None:
        """Loads the JSON lines; durable and queryable when it returns."""
        ...

    def ask(self, question: str) -> Rows:
        """The answer to Q1 ... Q5."""
        ...

    def size_bytes(self) -> int:
        """Bytes on disk."""
        ...

    def close(self) -> None:
        """Ends it."""
        ...


def standard_questions(
    collection: str, operation: str, kind: str, did: str, time: str, table: str
) -> dict[str, str]:
    """JSONBench's five questions in standard SQL, over these expressions.

    Source: github.com/ClickHouse/JSONBench, restated; ``time`` is microseconds since 1970.
    """
    created = f"{kind} = 'commit' AND {operation} = 'create'"
    posted = f"{created} AND {collection} = 'app.bsky.feed.post'"
    hour = f"({time} // 3600000000) % 24"
    first = f"SELECT {collection} AS event, count(*) AS n"
    person = f"SELECT {did} AS user_id"
    span = f"(max({time}) - min({time})) // 1000 AS span"
    return {
        "Q1": f"{first} FROM {table} GROUP BY 1 ORDER BY n DESC",
        "Q2": f"{first}, count(DISTINCT {did}) AS users FROM {table} WHERE {created} "
        "GROUP BY 1 ORDER BY n DESC",
        "Q3": f"{first}, {hour} AS hour_of_day FROM {table} WHERE {created} "
        f"AND {collection} IN {POSTS} GROUP BY 1, 3 ORDER BY hour_of_day, event",
        "Q4": f"{person}, min({time}) AS first_post FROM {table} WHERE {posted} "
        "GROUP BY 1 ORDER BY first_post LIMIT 3",
        "Q5": f"{person}, {span} FROM {table} WHERE {posted} "
        "GROUP BY 1 ORDER BY span DESC, user_id LIMIT 3",
    }


ALDER_QUESTIONS: Final = standard_questions(
    "commit.collection", "commit.operation", "kind", "did", "time_us", "bluesky"
)


class DuckDbTyped:
    """DuckDB with a typed table, as its JSON reader infers it."""

    name = "duckdb (typed)"
    indexes_every_field = False

    def __init__(self, folder: Path) -> None:
        self._path = folder / "typed.duckdb"
        self._connection = duckdb.connect(str(self._path))

    def load(self, path: Path) -> None:
        """A table of structs, checkpointed."""
        self._connection.execute(
            f"CREATE TABLE bluesky AS SELECT * FROM read_json('{path}', "
            "format='newline_delimited', sample_size=-1)"
        )
        self._connection.execute("CHECKPOINT")

    def ask(self, question: str) -> Rows:
        """Runs the question."""
        return self._connection.execute(ALDER_QUESTIONS[question]).fetchall()

    def size_bytes(self) -> int:
        """Size of the database file."""
        return self._path.stat().st_size

    def close(self) -> None:
        """Closes the database."""
        self._connection.close()


class DuckDbJson(DuckDbTyped):
    """DuckDB with one column of JSON text."""

    name = "duckdb (JSON)"
    _QUESTIONS: Final = standard_questions(
        "(j ->> '$.commit.collection')",
        "(j ->> '$.commit.operation')",
        "(j ->> '$.kind')",
        "(j ->> '$.did')",
        "(j ->> '$.time_us')::BIGINT",
        "bluesky",
    )

    def __init__(self, folder: Path) -> None:
        self._path = folder / "json.duckdb"
        self._connection = duckdb.connect(str(self._path))

    def load(self, path: Path) -> None:
        """A table with the documents."""
        self._connection.execute(
            f"CREATE TABLE bluesky AS SELECT json AS j FROM read_json_objects('{path}', "
            "format='newline_delimited')"
        )
        self._connection.execute("CHECKPOINT")

    def ask(self, question: str) -> Rows:
        """Runs the question."""
        return self._connection.execute(self._QUESTIONS[question]).fetchall()


class ChDb:
    """ClickHouse in process: JSON type, sorted for the questions, as JSONBench does it."""

    name = "chdb"
    indexes_every_field = False
    _QUESTIONS: Final = {
        name: text.replace(" // ", " DIV ").replace(
            "count(DISTINCT data.did)", "uniqExact(data.did)"
        )
        for name, text in standard_questions(
            "data.commit.collection",
            "data.commit.operation",
            "data.kind",
            "data.did",
            "data.time_us",
            "bench.bluesky",
        ).items()
    }

    def __init__(self, folder: Path) -> None:
        from chdb.session import Session

        self._folder = folder / "chdb"
        self._session = Session(str(self._folder))
        self._session.query("CREATE DATABASE bench ENGINE = Atomic")
        self._session.query(
            "CREATE TABLE bench.bluesky (data JSON(kind LowCardinality(String), "
            "commit.operation LowCardinality(String), commit.collection LowCardinality(String), "
            "did String, time_us Int64) CODEC(ZSTD(1))) ENGINE = MergeTree ORDER BY (data.kind, "
            "data.commit.operation, data.commit.collection, data.did, data.time_us) "
            "SETTINGS fsync_after_insert = 1"
        )

    def load(self, path: Path) -> None:
        """One insert from the file."""
        self._session.query(
            "INSERT INTO bench.bluesky SELECT json "
            f"FROM file('{path}', 'JSONAsObject', 'json JSON')"
        )

    def ask(self, question: str) -> Rows:
        """Runs the question."""
        answer = self._session.query(self._QUESTIONS[question], "JSONCompact")
        rows = json.loads(answer.bytes())["data"]
        return [tuple(value or None if value == "" else value for value in row) for row in rows]

    def size_bytes(self) -> int:
        """Size of the table's folder."""
        return sum(path.stat().st_size for path in self._folder.rglob("*") if path.is_file())

    def close(self) -> None:
        """Closes the session and removes its files."""
        self._session.close()
        shutil.rmtree(self._folder, ignore_errors=True)


class Sqlite:
    """SQLite with the documents as text and an index per asked expression."""

    name = "sqlite"
    indexes_every_field = False
    _QUESTIONS: Final = {
        name: text.replace(" // ", " / ")
        for name, text in standard_questions(
            "json_extract(j, '$.commit.collection')",
            "json_extract(j, '$.commit.operation')",
            "json_extract(j, '$.kind')",
            "json_extract(j, '$.did')",
            "json_extract(j, '$.time_us')",
            "bluesky",
        ).items()
    }

    def __init__(self, folder: Path) -> None:
        self._path = folder / "sqlite.db"
        self._connection = sqlite3.connect(self._path)
        self._connection.execute("CREATE TABLE bluesky (j TEXT)")

    def load(self, path: Path) -> None:
        """One transaction."""
        with path.open() as lines, self._connection:
            self._connection.executemany(
                "INSERT INTO bluesky VALUES (?)", ((line,) for line in lines)
            )

    def ask(self, question: str) -> Rows:
        """Runs the question."""
        return self._connection.execute(self._QUESTIONS[question]).fetchall()

    def size_bytes(self) -> int:
        """Size of the database file."""
        return self._path.stat().st_size

    def close(self) -> None:
        """Closes the database."""
        self._connection.close()


class Tantivy:
    """tantivy with every field in one indexed JSON field. It loads; it has no SQL."""

    name = "tantivy"
    indexes_every_field = True

    def __init__(self, folder: Path) -> None:
        import tantivy

        self._tantivy = tantivy
        self._folder = folder / "tantivy"
        self._folder.mkdir()
        builder = tantivy.SchemaBuilder()
        builder.add_json_field("doc", stored=True, tokenizer_name="raw")
        self._index = tantivy.Index(builder.build(), path=str(self._folder))

    def load(self, path: Path) -> None:
        """One commit, merges awaited."""
        writer = self._index.writer(heap_size=256 << 20, num_threads=2)
        with path.open() as lines:
            for line in lines:
                document = self._tantivy.Document()
                document.add_json("doc", line)
                writer.add_document(document)
        writer.commit()
        writer.wait_merging_threads()

    def ask(self, question: str) -> Rows:
        """It has no SQL."""
        raise NotImplementedError(question)

    def size_bytes(self) -> int:
        """Size of the index's folder."""
        return sum(path.stat().st_size for path in self._folder.iterdir() if path.is_file())

    def close(self) -> None:
        """Nothing is open."""


KINDS: Final[Sequence[type[Peer]]] = (ChDb, DuckDbTyped, DuckDbJson, Sqlite, Tantivy)


def available(folder: Path) -> tuple[list[Peer], Mapping[str, str]]:
    """The peers that can run here, and why the others can't."""
    found: list[Peer] = []
    missing: dict[str, str] = {}
    for kind in KINDS:
        try:
            found.append(kind(folder))
        except ImportError as error:
            missing[kind.name] = str(error)
    return found, missing
