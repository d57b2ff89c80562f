"""The command ``alder``: a group that imports a command's module only when it is called.

So ``alder sql`` starts without loading the tiers that ``alder serve`` runs.
"""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Final

import click

from alder.cli.errors import EXIT_INTERRUPTED, one_sentence_errors
from alder.imports import leave_out_pandas


@dataclass(frozen=True, slots=True)
class LazyCommand:
    """Where a command is, and the line that the help shows for it."""

    module: str
    help: str


COMMANDS: Final[Mapping[str, LazyCommand]] = {
    "serve": LazyCommand("alder.cli.serve", "Run everything on this machine."),
    "collection": LazyCommand("alder.cli.collection", "Create, list, show and drop collections."),
    "ingest": LazyCommand("alder.cli.ingest", "Append files or stdin to a collection."),
    "sql": LazyCommand("alder.cli.sql", "Run a query."),
    "status": LazyCommand("alder.cli.status", "Show nodes, collections and lag."),
    "source": LazyCommand("alder.cli.source", "Pause, resume or seek what a collection reads."),
    "quarantine": LazyCommand(
        "alder.cli.quarantine", "Show, redrive or drop records that can't be decoded."
    ),
    "rebuild": LazyCommand("alder.cli.rebuild", "Build a collection anew from its log."),
    "verify": LazyCommand("alder.cli.verify", "Prove that a collection is what its log makes."),
    "shard": LazyCommand("alder.cli.shard", "Look into the files of a shard."),
    "leaf": LazyCommand("alder.cli.node", "Run a leaf of a cluster."),
    "tailer": LazyCommand("alder.cli.node", "Run a tailer of a cluster."),
    "aggregator": LazyCommand("alder.cli.node", "Run an aggregator of a cluster."),
    "controller": LazyCommand("alder.cli.node", "Run the controller of a cluster."),
}


class LazyGroup(click.Group):
    """A group over :data:`COMMANDS`; a command has the name of its attribute in the module."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports the command."""
        if cmd_name not in COMMANDS:
            return None
        command = getattr(import_module(COMMANDS[cmd_name].module), cmd_name)
        if not isinstance(command, click.Command):
            raise TypeError(f"{cmd_name} is not a command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the help without importing any command."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.help) for name, command in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> object:
        """Runs the command; every failure becomes one sentence."""
        with one_sentence_errors():
            result: object = super().invoke(ctx)
            return result


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="alder", prog_name="alder")
def cli() -> None:
    """Alder: live analytics on event streams.

    The commands talk to the server that --server or ALDER_SERVER names (host:port, default
    127.0.0.1:7700).
    """


def main() -> None:
    """The console script."""
    leave_out_pandas()
    try:
        cli.main(prog_name="alder")
    except KeyboardInterrupt:
        os._exit(EXIT_INTERRUPTED)
    except BrokenPipeError:
        sys.exit(1)


if __name__ == "__main__":
    main()
