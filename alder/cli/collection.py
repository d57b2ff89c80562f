"""``alder collection``: create, list, show and drop collections."""

import click

from alder.catalog import DEBEZIUM, Collection, CollectionSettings
from alder.cli.options import plain, print_json, print_table, server_option, text_or_file
from alder.client import connect
from alder.errors import AlderError
from alder.indexing import KINDS, IndexSetting
from alder.periods import parse_period, period_text

FORMAT = click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="How to print.",
)


def _period(context: click.Context, parameter: click.Parameter, value: str | None) -> int:
    try:
        return parse_period(value) if value is not None else 0
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def _index_settings(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[IndexSetting, ...]:
    try:
        return tuple(IndexSetting.parse(value) for value in values)
    except AlderError as error:
        raise click.BadParameter(error.message) from error


@click.group()
def collection() -> None:
    """Create, list, show and drop collections."""


@collection.command()
@click.argument("name")
@click.option("--key", metavar="PATH", help="Key: the last document of a key replaces the others.")
@click.option(
    "--version",
    metavar="PATH",
    help="With --key: a number or time; a document with a lower one than its key has is ignored "
    "(default: the order of the log).",
)
@click.option(
    "--deleted", metavar="PATH", help="With --key: documents with true there delete their key."
)
@click.option(
    "--merge", is_flag=True, help="With --key: documents are JSON merge patches of their key's."
)
@click.option(
    "--envelope",
    type=click.Choice([DEBEZIUM]),
    help="With --key: records are changes of a database, as Debezium writes them; --version is a "
    "path of theirs, such as source.lsn.",
)
@click.option("--time", metavar="PATH", help="Event time (default: when the log got the event).")
@click.option("--shard-by", metavar="PATH", help="Equal values of this path share a shard.")
@click.option("--shards", type=click.IntRange(1, 4096), help="Number of shards.")
@click.option(
    "--source",
    "sources",
    metavar="URL",
    multiple=True,
    help="Files to index, such as 'file:///dir/*.jsonl' or 's3://bucket/**/*.parquet' (JSONL, CSV, "
    "Parquet, Arrow, ORC, Avro), or a Kafka topic, kafka://host:port/topic; repeatable.",
)
@click.option("--partitions", type=click.IntRange(1), help="Partitions of the collection's log.")
@click.option(
    "--cluster-by",
    metavar="PATHS",
    help="Keep rows ordered by these paths, such as 'kind, actor.login'; queries read less then.",
)
@click.option(
    "--index",
    "indexes",
    metavar="PATH=KIND",
    multiple=True,
    callback=_index_settings,
    help=f"Another index than the default for PATH: {', '.join(KINDS)}; repeatable.",
)
@click.option(
    "--retain",
    metavar="PERIOD",
    callback=_period,
    help="Documents of an older event time go, such as '30 days' (default: none do).",
)
@click.option(
    "--history",
    metavar="PERIOD",
    callback=_period,
    help="How long replaced and deleted documents are kept for queries at earlier cuts of the log "
    "(default: for ever, or an eighth of --retain).",
)
@click.option(
    "--transform",
    metavar="SQL",
    help='A SELECT over _input that makes the document of a record, such as "SELECT '
    "_doc->>'$.user' AS who FROM _input WHERE _doc->>'$.kind' = 'push'\"; @FILE reads it.",
)
@server_option
def create(
    name: str,
    key: str | None,
    version: str | None,
    deleted: str | None,
    merge: bool,
    envelope: str | None,
    time: str | None,
    shard_by: str | None,
    shards: int | None,
    sources: tuple[str, ...],
    partitions: int | None,
    cluster_by: str | None,
    indexes: tuple[IndexSetting, ...],
    retain: int,
    history: int,
    transform: str | None,
    server: str | None,
) -> None:
    """Create the collection NAME.

    A PATH is the keys from the document's root, joined by dots.
    """
    with connect(server) as connection:
        made = connection.create_collection(
            name,
            key_path=key or "",
            time_path=time or "",
            shard_by_path=shard_by or "",
            shards=shards,
            source_urls=sources,
            log_partitions=partitions,
            settings=CollectionSettings(
                _paths(cluster_by),
                retain,
                history,
                indexes,
                version or "",
                deleted or "",
                merge,
                envelope or "",
                text_or_file(transform or ""),
            ),
        )
    count = len(made.shards)
    click.echo(f"created {made.name} with {count} shard{'s' if count != 1 else ''}")


@collection.command("list")
@FORMAT
@server_option
def list_(form: str, server: str | None) -> None:
    """List all collections."""
    with connect(server) as connection:
        found = connection.collections()
    if form == "json":
        print_json([_as_json(entry) for entry in found])
        return
    print_table(
        ("name", "key", "time", "shards", "sources"),
        (
            (
                entry.name,
                entry.key_path,
                entry.time_path,
                len(entry.shards),
                ", ".join(source.url for source in entry.sources),
            )
            for entry in found
        ),
        right=("shards",),
    )


@collection.command()
@click.argument("name")
@FORMAT
@server_option
def show(name: str, form: str, server: str | None) -> None:
    """Show the collection NAME and its columns."""
    with connect(server) as connection:
        description = connection.describe(name)
    if form == "json":
        print_json(
            {
                "collection": _as_json(description.collection),
                "columns": plain(description.columns),
                "overflow": description.overflow,
            }
        )
        return
    entry = description.collection
    print_table(
        ("property", "value"),
        (
            ("name", entry.name),
            ("key", entry.key_path),
            ("version", entry.settings.version_path),
            ("deleted", entry.settings.deleted_path),
            ("merge", "yes" if entry.settings.merge else ""),
            ("envelope", entry.settings.envelope),
            ("time", entry.time_path),
            ("shard by", entry.shard_by_path),
            ("cluster by", ", ".join(entry.settings.cluster_by_paths)),
            ("indexes", ", ".join(map(str, entry.settings.indexes))),
            ("retain", _period_text(entry.settings.retain_us)),
            ("history", _period_text(entry.settings.history_us)),
            ("transform", entry.settings.transform_sql),
            ("shards", len(entry.shards)),
            ("sources", ", ".join(source.url for source in entry.sources)),
        ),
    )
    click.echo()
    print_table(
        ("column", "type"), ((column.path, column.sql_type) for column in description.columns)
    )
    if description.overflow:
        click.echo("(some paths have no column; read them as JSON from _doc)")


@collection.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Don't ask.")
@server_option
def drop(name: str, yes: bool, server: str | None) -> None:
    """Drop the collection NAME with all its documents."""
    if not yes:
        click.confirm(f"drop {name} and all its documents?", abort=True, err=True)
    with connect(server) as connection:
        connection.drop_collection(name)
    click.echo(f"dropped {name}")


def _period_text(period_us: int) -> str:
    return period_text(period_us) if period_us else ""


def _paths(text: str | None) -> tuple[str, ...]:
    return tuple(path.strip() for path in text.split(",")) if text else ()


def _as_json(entry: Collection) -> dict[str, object]:
    return {
        "name": entry.name,
        "key": entry.key_path or None,
        "time": entry.time_path or None,
        "shard_by": entry.shard_by_path or None,
        "settings": plain(entry.settings),
        "shards": [plain(shard) for shard in entry.shards],
        "sources": [
            {
                "name": source.name,
                "url": source.url,
                "partitions": len(source.partitions),
                "paused": source.paused,
                "skipped": {
                    str(entry.partition): [[span.begin, span.end] for span in entry.skipped]
                    for entry in source.partitions
                    if entry.skipped
                },
            }
            for source in entry.sources
        ],
        "epoch": entry.epoch,
    }
