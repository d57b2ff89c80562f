"""``alder status``: nodes, collections, rows and lag at a glance."""

import sys
from collections.abc import Container, Iterable
from datetime import datetime, timedelta
from typing import Final

import click

from alder.catalog import Node
from alder.cli.options import plain, print_json, print_table, server_option
from alder.client import ClusterStatus, PartitionLag, connect
from alder.v1 import catalog_pb2

TIMEOUT_S: Final = 30.0
EPOCH: Final = datetime(1970, 1, 1)


@click.command()
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="How to print; json has every shard and partition.",
)
@click.option("--partitions", is_flag=True, help="A line for each partition of a source.")
@server_option
def status(form: str, partitions: bool, server: str | None) -> None:
    """Show nodes, collections, rows and lag.

    The lag of a source in time: all records that were appended longer ago are there; "?" where it
    is not known. The newest record is the last one that all shards have, by its time in the log.
    """
    with connect(server) as connection:
        state = connection.status(timeout_s=TIMEOUT_S)
    if form == "json":
        print_json(_as_json(state))
    else:
        _print(state, partitions)


def _print(state: ClusterStatus, partitions: bool) -> None:
    print_table(
        ("node", "role", "address", "state"),
        (
            (node.node_id, _role(node.role), node.address or "(in process)", _state(state, node))
            for node in sorted(state.catalog.nodes.values(), key=lambda node: node.node_id)
        ),
    )
    click.echo()
    names = sorted(state.catalog.collections)
    print_table(
        (
            "collection",
            "shards",
            "rows",
            "dead",
            "late",
            "lag",
            "quarantined",
            "segments",
            "disk MB",
        ),
        (
            (
                name,
                len(state.catalog.collections[name].shards),
                f"{state.rows(name):,}",
                f"{sum(shard.rows_stored - shard.rows for shard in state.shards(name)):,}",
                f"{sum(shard.rows_late for shard in state.shards(name)):,}",
                f"{state.lag_records(name):,}",
                f"{state.quarantined(name):,}",
                sum(shard.segments for shard in state.shards(name)),
                f"{sum(shard.disk_bytes for shard in state.shards(name)) / 1e6:,.1f}",
            )
            for name in names
        ),
        right=("shards", "rows", "dead", "late", "lag", "quarantined", "segments", "disk MB"),
    )
    click.echo()
    _print_lags(state, partitions)
    click.echo()
    print_table(
        ("leaf", "cache", "MB", "of MB", "hits", "misses", "evictions"),
        (
            (
                leaf.node_id,
                cache.name,
                f"{cache.size_bytes / 1e6:,.1f}",
                f"{cache.size_bytes_max / 1e6:,.1f}",
                f"{cache.hits:,}",
                f"{cache.misses:,}",
                f"{cache.evictions:,}",
            )
            for leaf in state.leaves
            for cache in leaf.caches
        ),
        right=("MB", "of MB", "hits", "misses", "evictions"),
    )
    for damaged in (s for name in names for s in state.shards(name) if s.damage):
        click.echo(f"{damaged.collection}/{damaged.shard} is damaged: {damaged.damage}")
    for partition in (entry for tailer in state.tailers for entry in tailer.partitions):
        if partition.error:
            click.echo(
                f"{partition.collection}/{partition.source}/{partition.partition} stands still at "
                f"{partition.next_offset}: {partition.error}"
            )
    if state.unreachable:
        print(f"no answer from: {', '.join(state.unreachable)}", file=sys.stderr)


def _print_lags(state: ClusterStatus, partitions: bool) -> None:
    groups: dict[tuple[str, str, int], list[PartitionLag]] = {}
    for one in state.lags:
        key = (one.collection, one.source, one.partition if partitions else 0)
        groups.setdefault(key, []).append(one)
    print_table(
        (
            "collection",
            "source",
            "partition" if partitions else "partitions",
            "behind",
            "lag",
            "newest record",
            "state",
        ),
        (
            (
                collection,
                source,
                number if partitions else len(group),
                f"{sum(one.lag_records for one in group):,}",
                _lag(group),
                _newest(group),
                _reading(state, collection, source, [one.partition for one in group]),
            )
            for (collection, source, number), group in groups.items()
        ),
        right=("partition", "partitions", "behind", "lag"),
    )


def _reading(state: ClusterStatus, collection: str, source: str, partitions: Container[int]) -> str:
    """Whether it is read, and how much of it was sought past."""
    known = state.catalog.collections.get(collection)
    for one in known.sources if known is not None else ():
        if one.name == source:
            skipped = sum(
                span.end - span.begin
                for entry in one.partitions
                if entry.partition in partitions
                for span in entry.skipped
            )
            words = ["paused"] * one.paused + [f"{skipped:,} skipped"] * bool(skipped)
            return ", ".join(words)
    return ""


def _lag(group: Iterable[PartitionLag]) -> str:
    known = [one.lag_s for one in group if one.lag_s is not None]
    return "?" if any(one.lag_s is None for one in group) else f"{max(known):,.1f} s"


def _newest(group: Iterable[PartitionLag]) -> str:
    times_us = [one.applied_log_time_us for one in group if one.applied_log_time_us is not None]
    if not times_us:
        return "?"
    moment = EPOCH + timedelta(microseconds=max(times_us))
    return moment.isoformat(" ", "milliseconds")


def _state(state: ClusterStatus, node: Node) -> str:
    if node.node_id in state.unreachable:
        return "no answer"
    return "live" if node.live else "gone"


def _role(role: catalog_pb2.NodeRole) -> str:
    return catalog_pb2.NodeRole.Name(role).removeprefix("NODE_ROLE_").lower()


def _as_json(state: ClusterStatus) -> dict[str, object]:
    return {
        "revision": state.catalog.revision,
        "nodes": [
            {
                "node_id": node.node_id,
                "role": _role(node.role),
                "address": node.address,
                "live": node.live,
            }
            for node in state.catalog.nodes.values()
        ],
        "collections": [
            {
                "name": name,
                "shards": len(collection.shards),
                "rows": state.rows(name),
                "lag_records": state.lag_records(name),
                "quarantined": state.quarantined(name),
            }
            for name, collection in sorted(state.catalog.collections.items())
        ],
        "leaves": plain(state.leaves),
        "tailers": plain(state.tailers),
        "lags": plain(state.lags),
        "unreachable": list(state.unreachable),
    }
