"""``alder sql``: statements in order on one connection, results on stdout or in a file."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

import click
import orjson

from alder.cli import output
from alder.cli.errors import CommandError, one_line
from alder.cli.options import server_option
from alder.client import Cursor, ResultInfo, connect
from alder.client.parameters import Value
from alder.client.settings import is_setting
from alder.sqltext import statements

_FORMATS_OF_SUFFIXES: Final = {
    ".csv": "csv",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".arrow": "arrow",
    ".arrows": "arrow",
    ".parquet": "parquet",
}

_ONE_RESULT: Final = frozenset({"json", "arrow", "parquet"})


@click.command()
@click.argument("statement")
@click.option(
    "--format",
    "form",
    type=click.Choice(output.FORMATS),
    help="How to print; arrow is an Arrow IPC stream [default: by the suffix of --output, table on "
    "a terminal, csv in a pipe].",
)
@click.option(
    "--output",
    "target",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write to this file, which appears once the result is whole.",
)
@click.option(
    "--param",
    "params",
    metavar="NAME=VALUE",
    multiple=True,
    help="Value for $NAME: a JSON scalar (5, 1.5, true, null, '\"5\"'), else text; repeatable.",
)
@click.option(
    "--timeout",
    "timeout_s",
    metavar="SECONDS",
    type=click.FloatRange(min=0, min_open=True),
    help="Give up after this time.",
)
@click.option("--latest", is_flag=True, help="Read the newest each shard has, not one cut.")
@click.option(
    "--policy",
    metavar="POLICY",
    help="What the answer must stand for: ALL (the default), 'COVERAGE >= 0.8', 'STALENESS <= 5s', "
    "or both joined by AND. Missing shards are named on stderr.",
)
@click.option("--stats", is_flag=True, help="Say on stderr what was read and how long it took.")
@server_option
def sql(
    statement: str,
    form: str | None,
    target: Path | None,
    params: tuple[str, ...],
    timeout_s: float | None,
    latest: bool,
    policy: str | None,
    stats: bool,
    server: str | None,
) -> None:
    """Run STATEMENT, a SELECT in DuckDB's dialect; - reads it from stdin.

    Several statements, separated by semicolons, run in order on one connection; SET name = value
    holds for those that follow. EXPLAIN, EXPLAIN ANALYZE, DIFF, DESCRIBE NAME, SHOW TABLES, SHOW
    QUERIES, CANCEL 'ID' and CHECK INDEX NAME are answered too.

    The result is a table on a terminal and CSV in a pipe, unless --format says otherwise.
    """
    chosen = _choose_format(form, target)
    if chosen in output.BINARY_FORMATS and target is None and sys.stdout.isatty():
        raise click.UsageError(f"{chosen} is not for a terminal; use --output FILE or a pipe")
    if chosen == "table" and target is not None:
        raise click.UsageError("a table is for the terminal; choose another --format for a file")
    values = dict(_parameter(param) for param in params)
    text = _read_stdin() if statement == "-" else statement
    texts = _statements(text, chosen, target)
    with connect(server) as connection:
        for part in texts:
            cursor = connection.execute(
                part,
                None if is_setting(part) else values or None,
                timeout_s=timeout_s,
                consistency="latest" if latest else None,
                policy=policy,
            )
            if cursor.description is not None:
                _deliver(cursor, chosen, target)
                _warn_of_missing(cursor.trailer)
                if stats:
                    _print_stats(cursor.trailer)


def _statements(text: str, form: str, target: Path | None) -> list[str]:
    """The statements in order; one alone stays as it was written, for the places in errors."""
    found = statements(text)
    queries = sum(1 for part in found if not is_setting(part))
    if queries > 1 and (target is not None or form in _ONE_RESULT):
        where = "a file" if target is not None else form
        raise click.UsageError(f"{where} holds one result, but {queries} statements give one")
    return found if len(found) > 1 else [text]


def _choose_format(form: str | None, target: Path | None) -> str:
    if form is not None:
        return form
    if target is not None:
        return _FORMATS_OF_SUFFIXES.get(target.suffix.lower(), "csv")
    return "table" if sys.stdout.isatty() else "csv"


def _deliver(cursor: Cursor, form: str, target: Path | None) -> None:
    reader = cursor.fetch_record_batch()
    if form == "table":
        output.print_result(reader.schema, reader)
    elif target is None:
        sink = sys.stdout.buffer
        output.write(form, reader.schema, reader, sink)
        sink.flush()
    else:
        with _new_file(target) as sink:
            output.write(form, reader.schema, reader, sink)


@contextmanager
def _new_file(target: Path) -> Iterator[IO[bytes]]:
    """A file that takes its name when the block ends well; a device or pipe is written at once."""
    if target.exists() and not target.is_file():
        with target.open("wb") as device:
            yield device
        return
    if not target.parent.is_dir():
        raise CommandError(f"there is no folder {target.parent}")
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        umask = os.umask(0)
        os.umask(umask)
        Path(name).chmod(0o666 & ~umask)
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _parameter(text: str) -> tuple[str, Value]:
    name, equals, value = text.partition("=")
    name = name.removeprefix("$")
    if not equals or not name:
        raise click.UsageError(f"--param takes NAME=VALUE, not {text!r}")
    try:
        parsed = orjson.loads(value)
    except orjson.JSONDecodeError:
        return name, value
    scalar: Value = value if isinstance(parsed, dict | list) else parsed
    return name, scalar


def _read_stdin() -> str:
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError as error:
        raise click.UsageError("the statement on stdin is not UTF-8") from error


def _warn_of_missing(info: ResultInfo) -> None:
    """Says on stderr what the answer lacks, whatever else was asked for (I5)."""
    for read in info.collections:
        if read.shards_missing:
            shards = "; ".join(
                f"shard {one.shard} on {one.leaf}: {one.reason}" for one in read.shards_missing
            )
            click.echo(
                one_line(
                    f"alder: the answer stands for {100 * read.coverage:.1f} % of "
                    f"{read.collection}; missing are {shards}"
                ),
                err=True,
            )


def _print_stats(info: ResultInfo) -> None:
    total_s = info.plan_s + info.scatter_s + info.finish_s
    rows = "1 row" if info.rows == 1 else f"{info.rows:,} rows"
    click.echo(
        f"{rows} in {total_s * 1000:.1f} ms (plan {info.plan_s * 1000:.1f}, leaves "
        f"{info.scatter_s * 1000:.1f}, finish {info.finish_s * 1000:.1f}), class "
        f"{info.plan_class or '-'}, query {info.query_id}",
        err=True,
    )
    for read in info.collections:
        click.echo(
            f"{read.collection}: {len(read.shards_answered)} of {len(read.shards_asked)} shards, "
            f"{read.rows_scanned:,} of {read.rows_total:,} rows scanned, "
            f"{read.segments_pruned:,} of {read.segments_total:,} segments pruned, "
            f"cut {str(read.positions) or 'empty'}, {read.lag_records:,} records behind"
            + ("" if read.lag_s is None else f", {read.lag_s:.3f} s behind the log"),
            err=True,
        )
