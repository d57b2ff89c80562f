"""``alder ingest``: files or stdin into a collection's log.

Each batch is acknowledged before the next one is sent, so what the summary counts is on the log's
disk, and the log has the documents in the order of the file.
"""

import difflib
import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Final

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from alder.cli import inputs
from alder.cli.errors import CommandError, one_line
from alder.cli.options import server_option
from alder.client import Connection, Token, connect
from alder.errors import AlderError, Reason
from alder.fieldtypes import quote

WAIT_STEP_S: Final = 1.0


@click.command()
@click.argument("name")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--wait", is_flag=True, help="Wait until queries see every event.")
@click.option("--create", is_flag=True, help="Create the collection if there is none.")
@click.option(
    "--timeout",
    "timeout_s",
    metavar="SECONDS",
    type=click.FloatRange(min=0, min_open=True),
    default=600,
    show_default=True,
    help="How long --wait waits.",
)
@server_option
def ingest(
    name: str,
    files: tuple[str, ...],
    wait: bool,
    create: bool,
    timeout_s: float,
    server: str | None,
) -> None:
    """Append the documents of each FILE to the collection NAME; - is stdin.

    A file has a JSON document per line, or is CSV (.csv, .tsv) or Parquet (.parquet) and each row
    becomes a document; it may be compressed (gzip, zstd). Documents that can't be decoded go to
    quarantine, the others are kept.
    """
    total_bytes = sum(map(inputs.size_bytes, files))
    with connect(server) as connection:
        _ensure_collection(connection, name, create)
        with _Display(total_bytes) as display:
            token, damages = _append_all(connection, name, files, display)
            if wait:
                _wait_until_visible(connection, name, token, timeout_s, display)
        click.echo(display.summary(name), err=True)
        if wait and (count := connection.status().quarantined(name)):
            records = "1 record of {} is" if count == 1 else f"{count:,} records of {{}} are"
            click.echo(
                f"{records.format(name)} in quarantine: alder quarantine {name} list", err=True
            )
    if damages:
        raise CommandError("; ".join(damages))


def _ensure_collection(connection: Connection, name: str, create: bool) -> None:
    known = [collection.name for collection in connection.collections()]
    if name in known:
        return
    if create:
        try:
            connection.create_collection(name)
        except AlderError as error:
            if error.reason is not Reason.ALREADY_EXISTS:
                raise
        return
    near = difflib.get_close_matches(name, known, n=1)
    meant = f" (is it {near[0]}?)" if near else ""
    raise CommandError(f"there is no collection {name}{meant}; create it first, or add --create")


def _append_all(
    connection: Connection, name: str, files: Sequence[str], display: "_Display"
) -> tuple[Token, list[str]]:
    token = Token()
    damages = []
    before_bytes = 0
    for file in files:
        try:
            for batch in inputs.read(file):
                token |= _append(connection, name, batch, display)
                display.advance(len(batch.documents), before_bytes + batch.position_bytes)
        except inputs.DamagedInputError as error:
            damages.append(f"{one_line(error.message)} (all before was ingested)")
        before_bytes += inputs.size_bytes(file)
    return token, damages


def _append(connection: Connection, name: str, batch: inputs.Batch, display: "_Display") -> Token:
    try:
        return connection.append(name, batch.documents)
    except AlderError as error:
        if display.events == 0:
            raise
        raise CommandError(
            f"{error.message} ({display.events:,} events were stored before)"
        ) from error


def _wait_until_visible(
    connection: Connection, name: str, token: Token, timeout_s: float, display: "_Display"
) -> None:
    """Returns once a query answers with everything; raises CommandError when the time is over."""
    deadline = time.monotonic() + timeout_s
    while (left_s := deadline - time.monotonic()) > 0:
        try:
            connection.execute(
                f"SELECT count(*) FROM {quote(name)}",
                min_positions=token,
                timeout_s=min(WAIT_STEP_S, left_s),
            ).fetchall()
        except AlderError as error:
            if error.reason is not Reason.DEADLINE:
                raise
        else:
            display.lag(0)
            return
        display.lag(connection.status().lag_records(name))
    lag = connection.status().lag_records(name)
    raise CommandError(
        f"the events are stored, but after {timeout_s:g} s {lag:,} are not visible yet; see "
        "`alder status`, or wait longer with --timeout"
    )


class _Display:
    """The progress bar on stderr, where that is a terminal, and the figures for the summary."""

    def __init__(self, total_bytes: int) -> None:
        self.events = 0
        self._waited = False
        self._progress = Progress(
            TextColumn("{task.fields[stage]}"),
            BarColumn(),
            TextColumn("{task.fields[events]:,} events"),
            TextColumn("{task.fields[rate]:,.0f}/s"),
            TextColumn("{task.fields[lag]}"),
            TimeElapsedColumn(),
            console=Console(file=sys.stderr),
            disable=not sys.stderr.isatty(),
            transient=True,
        )
        self._task = self._progress.add_task(
            "", total=total_bytes or None, stage="appending", events=0, rate=0.0, lag=""
        )
        self._started = time.monotonic()
        self._appended_s = 0.0

    def __enter__(self) -> "_Display":
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def advance(self, events: int, position_bytes: int) -> None:
        """``events`` more were acknowledged; the files are read up to ``position_bytes``."""
        self.events += events
        self._appended_s = time.monotonic() - self._started
        rate = self.events / max(self._appended_s, 1e-9)
        self._progress.update(self._task, completed=position_bytes, events=self.events, rate=rate)

    def lag(self, records: int) -> None:
        """So many records are not visible yet."""
        self._waited = True
        self._progress.update(self._task, stage="waiting", lag=f"lag {records:,}")

    def summary(self, name: str) -> str:
        """One line for the end."""
        rate = self.events / max(self._appended_s, 1e-9)
        line = f"{self.events:,} events into {name} in {self._appended_s:.2f} s ({rate:,.0f}/s)"
        if self._waited:
            line += f", visible after {time.monotonic() - self._started:.2f} s"
        return line
