"""``alder quarantine``: the records that could not be decoded, and what becomes of them."""

import base64

import click
import orjson

from alder.cli.options import print_table, printable, server_option
from alder.client import QuarantinedRecord, RecordPosition, connect

VALUE_LENGTH_MAX = 80


@click.group()
@click.argument("name")
@click.pass_context
def quarantine(ctx: click.Context, name: str) -> None:
    """Records of the collection NAME that could not be decoded."""
    ctx.obj = name


@quarantine.command("list")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "jsonl"]),
    default="table",
    show_default=True,
    help="How to print; jsonl has some kilobytes of each value, show all of it.",
)
@click.option("--limit", type=click.IntRange(1), help="At most so many records.")
@click.option("--dropped", is_flag=True, help="Those that were dropped, instead of those waiting.")
@server_option
@click.pass_obj
def list_(name: str, form: str, limit: int | None, dropped: bool, server: str | None) -> None:
    """List them with offset and reason."""
    with connect(server) as connection:
        records = connection.quarantine(name, limit or 0, dropped=dropped)
        if form == "jsonl":
            for record in records:
                click.echo(orjson.dumps(_as_json(record)))
            return
        print_table(
            ("source", "partition", "offset", "bytes", "reason", "value"),
            (
                (
                    record.source,
                    record.partition,
                    record.offset,
                    record.size_bytes,
                    record.reason,
                    _excerpt(record.value),
                )
                for record in records
            ),
            right=("partition", "offset", "bytes"),
        )


@quarantine.command()
@click.argument("position")
@server_option
@click.pass_obj
def show(name: str, position: str, server: str | None) -> None:
    """Print the record at POSITION (source/partition/offset), as it is kept, byte for byte.

    What is known of it goes to stderr.
    """
    with connect(server) as connection:
        record = connection.quarantined(name, RecordPosition.parse(position))
    click.echo(
        f"{record.position}, {record.size_bytes} bytes: {printable(record.reason)}", err=True
    )
    if len(record.value) < record.size_bytes:
        click.echo(f"(only its first {len(record.value)} bytes are kept)", err=True)
    click.echo(record.value, nl=False)


@quarantine.command()
@click.argument("positions", nargs=-1)
@server_option
@click.pass_obj
def redrive(name: str, positions: tuple[str, ...], server: str | None) -> None:
    """Read records again after what was wrong is mended, all of them or those at POSITIONS.

    Those that can be decoded by now become documents at their own place in the log, as if they had
    never been bad: an older one does not replace what came after it. The others wait on.
    """
    chosen = [RecordPosition.parse(position) for position in positions] or None
    waiting, applied = [], 0
    with connect(server) as connection:
        for entry in connection.redrive(name, chosen):
            applied += not entry.reason
            if entry.reason:
                waiting.append((entry.position, entry.reason))
    if waiting:
        print_table(("position", "still waits because"), waiting)
    click.echo(f"{applied} applied, {len(waiting)} still in quarantine")


@quarantine.command()
@click.argument("positions", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All records that wait.")
@click.option("--yes", is_flag=True, help="Don't ask.")
@server_option
@click.pass_obj
def drop(
    name: str, positions: tuple[str, ...], everything: bool, yes: bool, server: str | None
) -> None:
    """Give up records: those at POSITIONS, or all.

    They are never redriven, and no longer counted; `list --dropped` names them.
    """
    if bool(positions) == everything:
        raise click.UsageError("name the positions of records, or --all")
    chosen = None if everything else [RecordPosition.parse(position) for position in positions]
    what = "all records" if chosen is None else f"{len(chosen)} record(s)"
    if not yes:
        click.confirm(f"Drop {what} from the quarantine of {name}?", abort=True)
    with connect(server) as connection:
        count = sum(1 for _ in connection.drop_quarantined(name, chosen))
    click.echo(f"dropped {count}")


def _as_json(record: QuarantinedRecord) -> dict[str, object]:
    """``value`` is the text, or ``value_base64`` where the bytes are not UTF-8."""
    fields: dict[str, object] = {
        "source": record.source,
        "partition": record.partition,
        "offset": record.offset,
        "reason": record.reason,
        "size_bytes": record.size_bytes,
    }
    try:
        fields["value"] = record.value.decode()
    except UnicodeDecodeError:
        fields["value_base64"] = base64.b64encode(record.value).decode()
    return fields


def _excerpt(value: bytes) -> str:
    text = value[: 4 * VALUE_LENGTH_MAX].decode(errors="backslashreplace")
    return text if len(text) <= VALUE_LENGTH_MAX else text[: VALUE_LENGTH_MAX - 1] + "…"
