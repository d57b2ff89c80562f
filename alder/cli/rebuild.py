"""``alder rebuild``: builds a collection anew from its log, beside the one that serves."""

import time
from collections.abc import Iterator
from typing import Final

import click

from alder.catalog import next_name
from alder.cli.options import server_option, text_or_file
from alder.client import ClusterStatus, Connection, connect
from alder.positions import PositionVector, cut
from alder.v1 import catalog_pb2

POLL_S: Final = 0.5


@click.command()
@click.argument("name")
@click.option(
    "--transform", metavar="SQL", help="Another transformation; @FILE reads it (default: as it is)."
)
@click.option("--no-transform", is_flag=True, help="No transformation.")
@click.option("--abort", is_flag=True, help="Give up what is being built; what serves goes on.")
@server_option
def rebuild(
    name: str, transform: str | None, no_transform: bool, abort: bool, server: str | None
) -> None:
    """Build the collection NAME anew from the beginning of its log, and put it in its place.

    Queries go on meanwhile, and see the old one or the new one, whole. If this command is ended,
    building goes on; the same command again waits for it.
    """
    if (transform is not None) + no_transform + abort > 1:
        raise click.UsageError("give one of --transform, --no-transform and --abort")
    with connect(server) as connection:
        if abort:
            connection.rebuild(name, catalog_pb2.REBUILD_STEP_ABORT)
            click.echo(f"what was being built of {name} is given up")
            return
        sql = "" if no_transform else None if transform is None else text_or_file(transform)
        said = ""
        for line in building(connection, name, sql):
            if line != said:
                click.echo(line, err=True)
                said = line
    click.echo(f"{name} is built anew")


def building(connection: Connection, name: str, transform_sql: str | None) -> Iterator[str]:
    """Begins a rebuild and tells how far it is, again and again, until it serves."""
    step = catalog_pb2.REBUILD_STEP_BEGIN
    number = connection.rebuild(name, step, transform_sql=transform_sql).collection_id
    while True:
        # What is to be reached is read first: it only grows.
        target = _cut(connection.status(), name)
        at = _cut(connection.status(), next_name(name))
        if target is not None and at is not None and at.reaches(target):
            break
        yield f"{_records(at)} of {_records(target)} records"
        time.sleep(POLL_S)
    connection.rebuild(name, catalog_pb2.REBUILD_STEP_FINISH, collection_id=number)


def _cut(state: ClusterStatus, name: str) -> PositionVector | None:
    """What every shard of a collection has; None while some don't answer."""
    collection = state.catalog.collections.get(name)
    shards = state.shards(name)
    if collection is None or len(shards) < len(collection.shards):
        return None
    return cut([shard.positions for shard in shards])


def _records(at: PositionVector | None) -> str:
    return "?" if at is None else f"{sum(at.offsets.values()):,}"
