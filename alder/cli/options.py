"""What the commands share: the option --server, tables for people, JSON for programs."""

import dataclasses
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import click
import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from alder.config import DEFAULT_ADDRESS, SERVER_VARIABLE
from alder.positions import PositionVector

Function = TypeVar("Function", bound=Callable[..., Any])
WIDTH_WITHOUT_TERMINAL: Final = 200


def server_option(function: Function) -> Function:
    """Adds ``--server``; the command gets it as ``server`` (None: the client's default)."""
    return click.option(
        "--server",
        metavar="HOST:PORT",
        envvar=SERVER_VARIABLE,
        help=f"Server to talk to [env: {SERVER_VARIABLE}; default: {DEFAULT_ADDRESS}].",
    )(function)


def metrics_port_option(function: Function) -> Function:
    """Adds ``--metrics-port``; the command gets it as ``metrics_port`` (None: not given)."""
    return click.option(
        "--metrics-port",
        type=click.IntRange(1, 65535),
        help="Port on which Prometheus may ask how this process is (default: none).",
    )(function)


def text_or_file(value: str) -> str:
    """A text, or that of the file after an @. Raises OSError."""
    return Path(value[1:]).read_text(encoding="utf-8") if value.startswith("@") else value


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], right: Iterable[str] = ()
) -> None:
    """A table on stdout; the columns in ``right`` are aligned to the right."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    aligned = set(right)
    for column in columns:
        table.add_column(
            Text(printable(column)),
            justify="right" if column in aligned else "left",
            overflow="fold",
        )
    for row in rows:
        table.add_row(*(Text(printable(str(value))) for value in row))
    console().print(table)


def console() -> Console:
    """A console on stdout, wide where it is no terminal."""
    width = None if sys.stdout.isatty() else WIDTH_WITHOUT_TERMINAL
    return Console(file=sys.stdout, width=width, highlight=False, soft_wrap=False)


def printable(text: str) -> str:
    """The text with control characters spelled out, so that data can't steer a terminal."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def print_json(value: object) -> None:
    """One JSON document on stdout, indented; dataclasses as objects."""
    click.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())


def plain(value: object) -> object:
    """What JSON has: dataclasses as dicts, positions as ``{"source/partition": offset}``."""
    if isinstance(value, PositionVector):
        return {f"{source}/{number}": at for (source, number), at in value.offsets.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
    return list(map(plain, value)) if isinstance(value, tuple | list) else value
