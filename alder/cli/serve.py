"""`alder serve`: every tier in one process, with embedded defaults."""

from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import click

from alder.cli.composition import StandaloneSettings, standalone
from alder.cli.options import metrics_port_option
from alder.cli.running import run_until_signal
from alder.config import DEFAULT_ADDRESS, load_table, settings_from


@click.command()
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("alder-data"),
    show_default=True,
    help="Directory for the log, the catalog and the shards.",
)
@click.option("--listen", default=DEFAULT_ADDRESS, show_default=True, help="host:port to serve on.")
@click.option(
    "--leaves", type=click.IntRange(1, 64), default=1, show_default=True, help="Leaves to run."
)
@click.option(
    "--shards", type=click.IntRange(1, 4096), help="Shards of a new collection, unless it says."
)
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="TOML file with tables leaf, tailer, aggregator, controller and log.",
)
@metrics_port_option
def serve(
    data: Path,
    listen: str,
    leaves: int,
    shards: int | None,
    config: Path | None,
    metrics_port: int | None,
) -> None:
    """Run everything on this machine.

    Prints one line when it is ready. SIGTERM drains it; what it has acknowledged is on disk, and
    the next start goes on from there.
    """
    table = load_table(config) if config else {}
    settings = settings_from(StandaloneSettings, table, str(config))
    if shards is not None:
        settings = replace(settings, controller=replace(settings.controller, shards_default=shards))

    async def build(stack: AsyncExitStack) -> str:
        return await standalone(stack, data, listen, leaves, settings, metrics_port or 0)

    run_until_signal(build)
