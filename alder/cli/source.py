"""``alder source``: pauses what a collection reads, lets it go on, and seeks past records."""

import time
from collections.abc import Iterable, Mapping
from typing import Final

import click

from alder.catalog import LOG_SOURCE, Collection, Source
from alder.cli.options import print_table, server_option
from alder.client import ClusterStatus, Connection, connect
from alder.errors import AlderError, Reason
from alder.positions import PositionVector
from alder.v1 import catalog_pb2

POLL_S: Final = 0.2
STAND_STILL_S_MAX: Final = 30.0
EARLIEST: Final = "earliest"
LATEST: Final = "latest"


@click.group()
@click.argument("name")
@click.pass_context
def source(ctx: click.Context, name: str) -> None:
    """What the collection NAME reads: its log, files and topics."""
    ctx.obj = name


@source.command("list")
@server_option
@click.pass_obj
def list_(name: str, server: str | None) -> None:
    """List the sources, and the offsets that are not read because somebody sought past them."""
    with connect(server) as connection:
        collection = _collection(connection, name)
    print_table(
        ("source", "url", "state"),
        ((one.name, one.url, "paused" if one.paused else "read") for one in collection.sources),
    )
    skipped = [
        (one.name, entry.partition, span.begin, span.end - 1, span.end - span.begin)
        for one in collection.sources
        for entry in one.partitions
        for span in entry.skipped
    ]
    if skipped:
        click.echo()
        columns = ("skipped of", "partition", "first", "last", "offsets")
        print_table(columns, skipped, right=columns[1:])


@source.command()
@click.argument("sources", nargs=-1)
@server_option
@click.pass_obj
def pause(name: str, sources: tuple[str, ...], server: str | None) -> None:
    """Stop reading SOURCES (default: all), until they are resumed.

    What was read stays and can be queried. The position is kept, over restarts, too. Retention of a
    topic or log goes on meanwhile.
    """
    with connect(server) as connection:
        connection.change_sources(name, sources, paused=True)
    click.echo(f"paused {', '.join(sources) or 'all sources'} of {name}")


@source.command()
@click.argument("sources", nargs=-1)
@server_option
@click.pass_obj
def resume(name: str, sources: tuple[str, ...], server: str | None) -> None:
    """Go on with SOURCES (default: all) exactly where they were paused."""
    with connect(server) as connection:
        connection.change_sources(name, sources, paused=False)
    click.echo(f"resumed {', '.join(sources) or 'all sources'} of {name}")


@source.command()
@click.argument("source_name", metavar="SOURCE")
@click.argument("position", metavar="POSITION")
@click.option("--partition", type=click.IntRange(0), multiple=True, help="Default: all of them.")
@click.option("--yes", is_flag=True, help="Don't ask.")
@server_option
@click.pass_obj
def seek(
    name: str,
    source_name: str,
    position: str,
    partition: tuple[int, ...],
    yes: bool,
    server: str | None,
) -> None:
    """Go on with the paused SOURCE at POSITION: an offset, `latest` or `earliest`.

    What this does to exactly-once: the records between where the source stands and POSITION are
    never read. They are named here and in `list`, and a rebuild or a verification passes them, too;
    all other records stay there exactly once. With a key, a document whose last change is skipped
    keeps the value that it had before, until it changes again.

    To go back is refused, for collections with and without a key: every record before the position
    is there once, and has its place in the log, so reading it again would change nothing. What was
    skipped comes back only while the source has not gone on: seek again, to a smaller POSITION. To
    build everything anew from the log, use `alder rebuild`.
    """
    with connect(server) as connection:
        collection = _collection(connection, name)
        chosen = _source(collection, source_name)
        if not chosen.paused:
            raise AlderError(
                Reason.CONFLICT,
                f"{source_name} is being read; `alder source {name} pause {source_name}` first",
            )
        state = _standing_still(connection, collection)
        stands = _positions(state, name)
        seeks = _seeks(chosen, position, partition, stands, _ends(state, name))
        for one in seeks:
            click.echo(_said(source_name, one))
        if not yes:
            click.confirm("These records will never be read. Go on?", abort=True)
        connection.change_sources(name, [source_name], seeks=seeks, epoch=collection.epoch)
    click.echo(f"`alder source {name} resume {source_name}` goes on from there")


def _said(source_name: str, seek: catalog_pb2.PartitionSeek) -> str:
    where = f"{source_name}/{seek.partition}"
    count = seek.offset - seek.position
    if count <= 0:
        return f"{where}: nothing is skipped, it stands at {seek.position}"
    return f"{where}: skips {count:,} offsets, {seek.position} to {seek.offset - 1}"


def _seeks(
    chosen: Source,
    position: str,
    partitions: Iterable[int],
    stands: PositionVector,
    ends: Mapping[tuple[str, int], int],
) -> list[catalog_pb2.PartitionSeek]:
    """Raises AlderError(INVALID_ARGUMENT) for a position that is none, or can't be known."""
    begins = {entry.partition: entry.begin_offset for entry in chosen.current_partitions}
    seeks = []
    for number in sorted(set(partitions) or begins):
        key = (chosen.name, number)
        if position == EARLIEST:
            offset = begins.get(number, 0)
        elif position == LATEST:
            offset = ends.get(key, -1)
            if offset < 0:
                raise AlderError(
                    Reason.UNAVAILABLE,
                    f"it is not known where {chosen.name}/{number} ends; try again, or give an "
                    "offset",
                )
        elif position.isdecimal():
            offset = int(position)
        else:
            raise AlderError(
                Reason.INVALID_ARGUMENT,
                f"{position!r} is no position; give an offset, {EARLIEST} or {LATEST}",
            )
        seeks.append(
            catalog_pb2.PartitionSeek(partition=number, position=stands[key], offset=offset)
        )
    return seeks


def _standing_still(connection: Connection, collection: Collection) -> ClusterStatus:
    """The state once every shard has heard of the pause, so that its positions stay.

    Raises AlderError(UNAVAILABLE) if a shard does not tell that in time.
    """
    deadline = time.monotonic() + STAND_STILL_S_MAX
    while True:
        state = connection.status()
        told = [one for one in state.shards(collection.name) if one.epoch >= collection.epoch]
        if len(told) == len(collection.shards):
            return state
        if time.monotonic() > deadline:
            raise AlderError(
                Reason.UNAVAILABLE,
                f"only {len(told)} of {len(collection.shards)} shards of {collection.name} tell "
                "where they stand; see `alder status`",
            )
        time.sleep(POLL_S)


def _positions(state: ClusterStatus, name: str) -> PositionVector:
    """Per partition, where the shard stands that has come furthest."""
    furthest = PositionVector()
    for shard in state.shards(name):
        furthest = furthest.merged(shard.positions)
    return furthest


def _ends(state: ClusterStatus, name: str) -> dict[tuple[str, int], int]:
    return {
        (one.source, one.partition): one.end_offset
        for one in state.lags
        if one.collection == name and one.end_offset is not None
    }


def _collection(connection: Connection, name: str) -> Collection:
    for collection in connection.collections():
        if collection.name == name:
            return collection
    raise AlderError(Reason.UNKNOWN_COLLECTION, f"there is no collection {name!r}")


def _source(collection: Collection, name: str) -> Source:
    for one in collection.sources:
        if one.name == name:
            return one
    others = ", ".join(one.name for one in collection.sources if one.name != LOG_SOURCE)
    raise AlderError(
        Reason.INVALID_ARGUMENT,
        f"{collection.name} has no source {name!r}; it has {LOG_SOURCE}{', ' * bool(others)}"
        f"{others}",
    )
