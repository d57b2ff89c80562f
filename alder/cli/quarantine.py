"""``alder quarantine``: the records that could not be decoded."""

import base64

import click
import orjson

from alder.cli.options import print_table, server_option
from alder.client import QuarantinedRecord, connect

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
    help="How to print; jsonl has the whole values.",
)
@click.option("--limit", type=click.IntRange(1), help="At most so many records.")
@server_option
@click.pass_obj
def list_(name: str, form: str, limit: int | None, server: str | None) -> None:
    """List them with offset and reason."""
    with connect(server) as connection:
        records = connection.quarantine(name, limit or 0)
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
