"""``alder shard inspect``: what a stopped replica's directory holds, and where its bytes are."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import click

from alder.cli.options import plain, print_json, print_table
from leaf.inspect import ShardSummary, inspect_store

EPOCH: Final = datetime(1970, 1, 1)


@click.group()
def shard() -> None:
    """Look into the files of a shard."""


@shard.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="How to print.",
)
def inspect(directory: Path, form: str) -> None:
    """Show keys, sizes, segments and fields of the replica in DIRECTORY.

    Its leaf must be stopped; a copy of the directory will do, too.
    """
    summary = inspect_store(directory)
    if form == "json":
        print_json(plain(summary))
    else:
        _print(summary)


def _print(summary: ShardSummary) -> None:
    click.echo(
        f"format {summary.format}, digest {summary.digest}, {_mb(summary.disk_bytes)} MB on disk\n"
        f"{summary.rows_born:,} rows born, {summary.quarantined:,} quarantined, "
        f"{summary.tombstones:,} tombstones in {summary.tombstone_blocks:,} blocks, "
        f"{summary.tail_blocks:,} blocks of live tail, {summary.rows_late:,} rows came too late"
    )
    click.echo()
    print_table(
        ("source", "partition", "next offset"),
        (
            (source, partition, f"{offset:,}")
            for (source, partition), offset in sorted(summary.positions.offsets.items())
        ),
        right=("partition", "next offset"),
    )
    click.echo()
    print_table(
        ("family", "keys", "MB"),
        ((f.family, f"{f.keys:,}", _mb(f.size_bytes)) for f in summary.families),
        right=("keys", "MB"),
    )
    click.echo()
    print_table(
        ("segment", "rows", "dead", "MB", "columns", "from", "to", "cluster by"),
        (
            (
                s.segment,
                f"{s.rows:,}",
                f"{s.dead:,}",
                _mb(s.size_bytes),
                s.columns,
                _time(s.time_low_us),
                _time(s.time_high_us),
                ", ".join(s.cluster_by) or "-",
            )
            for s in summary.segments
        ),
        right=("segment", "rows", "dead", "MB", "columns"),
    )
    click.echo()
    print_table(
        ("column", "values", "columns MB", "postings MB", "index", "terms", "terms MB"),
        (
            (
                f.column,
                f"{f.values:,}",
                _mb(f.columns_bytes),
                _mb(f.postings_bytes),
                ", ".join(f.indexes),
                f"{f.terms:,}",
                _mb(f.terms_bytes),
            )
            for f in summary.fields
        ),
        right=("values", "columns MB", "postings MB", "terms", "terms MB"),
    )


def _mb(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:,.3f}"


def _time(micros: int | None) -> str:
    """A time as text; far ones, which a calendar does not have, as microseconds."""
    if micros is None:
        return "-"
    try:
        return str(EPOCH + timedelta(microseconds=micros))
    except OverflowError:
        return f"{micros} us"
