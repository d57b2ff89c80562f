"""PostgreSQL: a cluster of its own in the scratch folder, documents as jsonb under a GIN index."""

import os
import pwd
import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import perf_counter
from typing import ClassVar, Final

import orjson

from bench import questions
from bench.peers.base import NO_LIMIT_S, MissingError, Rows, Terms

_SETTINGS: Final = {
    "listen_addresses": "",
    "shared_buffers": "1GB",
    "maintenance_work_mem": "1GB",
    "work_mem": "128MB",
    "max_wal_size": "8GB",
    "effective_cache_size": "8GB",
    "random_page_cost": "1.1",
}
_BLOCK_BYTES: Final = 4 << 20
_START_S_MAX: Final = 60


class Postgres:
    """One server; every commit is synced, as its defaults have it."""

    name: ClassVar[str] = "postgresql"
    indexes_every_field: ClassVar[bool] = True
    note: ClassVar[str] = "jsonb, GIN jsonb_path_ops built after the COPY, defaults for durability"
    _QUESTIONS: ClassVar[dict[str, str]] = questions.questions(
        lambda path: (
            f"(doc #>> '{{{path.replace('.', ',')}}}')" + ("::bigint" if path == "time_us" else "")
        ),
        hour="extract(hour from timestamp 'epoch' + {} * interval '1 microsecond')",
        time="timestamp 'epoch' + {} * interval '1 microsecond'",
        span="trunc(extract(epoch from date_trunc('milliseconds', {1}) "
        "- date_trunc('milliseconds', {0})) * 1000)",
    )

    def __init__(self, folder: Path) -> None:
        try:
            import psycopg
        except ImportError as error:
            raise MissingError(str(error)) from error
        self._psycopg = psycopg
        self._folder = folder / "postgresql"
        self._local = threading.local()
        self._programs = _programs()
        self._user = _unprivileged()
        self._folder.mkdir()
        if self._user is not None:
            os.chown(self._folder, self._user.pw_uid, self._user.pw_gid)
        self._run("initdb", "-D", self._data, "-A", "trust", "-U", "bench", "-E", "UTF8",
                  "--locale=C")  # fmt: skip
        options = " ".join(f"-c {name}={value!r}" for name, value in _SETTINGS.items())
        options += f" -c unix_socket_directories='{self._folder}'"
        self._run("pg_ctl", "-D", self._data, "-w", "-t", str(_START_S_MAX), "-o", options,
                  "-l", str(self._folder / "log"), "start")  # fmt: skip
        with self._cursor() as cursor:
            for table in ("bluesky", "stream"):
                cursor.execute(
                    f"CREATE TABLE {table} (row bigint GENERATED ALWAYS AS IDENTITY, doc jsonb)"
                )
            cursor.execute("CREATE INDEX ON stream USING gin (doc jsonb_path_ops)")
            cursor.execute("CREATE TABLE upserts (id bigint PRIMARY KEY, doc jsonb)")

    def load(self, path: Path, seconds_max: float = NO_LIMIT_S) -> int:
        """COPY, then both indexes; the COPY ends once half of the time is over."""
        with self._cursor() as cursor:
            copy = "COPY bluesky (doc) FROM STDIN (FORMAT csv, QUOTE E'\\x01', DELIMITER E'\\x02')"
            with cursor.copy(copy) as target:
                for block in _blocks(path, seconds_max / 2):
                    target.write(block)
            cursor.execute("CREATE INDEX ON bluesky USING gin (doc jsonb_path_ops)")
            cursor.execute("ALTER TABLE bluesky ADD PRIMARY KEY (row)")
            cursor.execute("VACUUM (ANALYZE) bluesky")
            cursor.execute("CHECKPOINT")
            return cursor.execute("SELECT count(*) FROM bluesky").fetchall()[0][0]

    def ask(self, question: str) -> Rows:
        """Runs the question."""
        with self._cursor() as cursor:
            return questions.plain(cursor.execute(self._QUESTIONS[question]).fetchall())

    def count(self, terms: Terms) -> int:
        """By containment, which the index knows."""
        sql = "SELECT count(*) FROM bluesky WHERE doc @> %s"
        with self._cursor() as cursor:
            return cursor.execute(sql, [_pattern(terms)]).fetchall()[0][0]

    def newest(self, terms: Terms, limit: int) -> list[int]:
        """Whole documents, as text."""
        sql = "SELECT (doc ->> 'time_us')::bigint, doc::text FROM bluesky WHERE doc @> %s"
        sql += " ORDER BY 1 DESC LIMIT %s"
        with self._cursor() as cursor:
            return [row[0] for row in cursor.execute(sql, [_pattern(terms), limit])]

    def server_ms(self, terms: Terms) -> float:
        """What EXPLAIN ANALYZE tells."""
        sql = "EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) SELECT count(*) FROM bluesky"
        with self._cursor() as cursor:
            [[plan]] = cursor.execute(f"{sql} WHERE doc @> %s", [_pattern(terms)]).fetchall()
        return plan[0]["Planning Time"] + plan[0]["Execution Time"]

    def one(self, row: int) -> str:
        """By primary key."""
        sql = "SELECT doc::text FROM bluesky WHERE row = %s"
        with self._cursor() as cursor:
            return cursor.execute(sql, [row + 1]).fetchall()[0][0]

    def many(self, rows: Sequence[int]) -> list[str]:
        """By primary key."""
        sql = "SELECT doc::text FROM bluesky WHERE row = ANY(%s)"
        with self._cursor() as cursor:
            return [text for (text,) in cursor.execute(sql, [[row + 1 for row in rows]])]

    def append(self, documents: Sequence[bytes]) -> None:
        """One statement, one commit."""
        sql = "INSERT INTO stream (doc) SELECT unnest(%s::jsonb[])"
        with self._cursor() as cursor:
            cursor.execute(sql, [[text.decode() for text in documents]])

    def appended(self) -> int:
        """Counts."""
        with self._cursor() as cursor:
            return cursor.execute("SELECT count(*) FROM stream").fetchall()[0][0]

    def upsert(self, keys: Sequence[int], documents: Sequence[bytes]) -> None:
        """One statement, one commit; each key once. The key alone has an index."""
        sql = "INSERT INTO upserts SELECT * FROM unnest(%s::bigint[], %s::jsonb[])"
        sql += " ON CONFLICT (id) DO UPDATE SET doc = excluded.doc"
        with self._cursor() as cursor:
            cursor.execute(sql, [list(keys), [text.decode() for text in documents]])

    def upserted(self) -> tuple[object, ...]:
        """How many there are, the sum of the keys, and that of ``n`` in the documents."""
        sql = "SELECT count(*), sum(id)::bigint, sum((doc ->> 'n')::bigint)::bigint FROM upserts"
        with self._cursor() as cursor:
            return cursor.execute(sql).fetchall()[0]

    def size_bytes(self) -> int:
        """The table with its indexes."""
        with self._cursor() as cursor:
            return cursor.execute("SELECT pg_total_relation_size('bluesky')").fetchall()[0][0]

    def close(self) -> None:
        """Stops the server."""
        self._run("pg_ctl", "-D", self._data, "-m", "fast", "-w", "stop")

    @property
    def _data(self) -> str:
        return str(self._folder / "data")

    def _cursor(self) -> object:
        """A cursor of this thread's connection."""
        if not hasattr(self._local, "connection"):
            self._local.connection = self._psycopg.connect(
                host=str(self._folder), user="bench", dbname="postgres", autocommit=True
            )
        return self._local.connection.cursor()

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [self._programs / program, *arguments],
            user=None if self._user is None else self._user.pw_uid,
            group=None if self._user is None else self._user.pw_gid,
            extra_groups=None if self._user is None else [],
            cwd="/",
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode:
            raise MissingError(f"{program}: {done.stderr.strip()[-300:]}")


def _programs() -> Path:
    """Where Debian's package keeps the server's programs, the newest version."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        raise MissingError("no PostgreSQL server here: apt-get install postgresql")
    return found[-1].parent


def _unprivileged() -> pwd.struct_passwd | None:
    """Whom the server runs as: it refuses root."""
    if os.getuid():
        return None
    try:
        return pwd.getpwnam("postgres")
    except KeyError as error:
        raise MissingError("there is no user postgres to run the server as") from error


def _blocks(path: Path, seconds_max: float) -> Iterator[bytes]:
    """The file, until the time is over, in blocks that end with a line."""
    begun = perf_counter()
    with path.open("rb") as file:
        while perf_counter() - begun < seconds_max and (block := file.read(_BLOCK_BYTES)):
            yield block + file.readline()


def _pattern(terms: Terms) -> str:
    """The document that contains just these."""
    pattern: dict[str, object] = {}
    for path, value in terms:
        *outer, last = path.split(".")
        place = pattern
        for name in outer:
            place = place.setdefault(name, {})
        place[last] = value
    return orjson.dumps(pattern).decode()
