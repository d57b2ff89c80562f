"""``alder verify``: builds a collection anew from its log and compares it with what serves."""

import asyncio
import os
import secrets
import sys
from pathlib import Path
from typing import Final

import click

from alder.cli.options import plain, print_json, print_table, server_option
from alder.cli.proof.coverage import OFFSETS_FULL_MAX, Wanted
from alder.cli.proof.model import EXIT_EQUAL, Finding, Report, ShardProof
from alder.cli.proof.prove import ProofSettings, prove
from alder.config import DEFAULT_ADDRESS
from alder.errors import AlderError
from alder.positions import PositionVector

DOCUMENT_CHARACTERS_MAX: Final = 300
NICENESS: Final = 10
"""What serves goes first."""
SEEDS: Final = 1 << 32


def _positions(
    context: click.Context, parameter: click.Parameter, value: str | None
) -> PositionVector | None:
    if value is None:
        return None
    try:
        return PositionVector.from_text(value)
    except AlderError as error:
        raise click.BadParameter(f"{value!r} is no position; write log/0:12, log/1:7") from error


@click.command()
@click.argument("name")
@click.option(
    "--sample",
    "fraction",
    metavar="FRACTION",
    type=click.FloatRange(0, 1, min_open=True),
    help="Compare this part only: of the offsets, or, with a key, of the shards [default: 1 up to "
    f"{OFFSETS_FULL_MAX:,} offsets, less beyond].",
)
@click.option(
    "--shard", "shards", type=click.IntRange(0), multiple=True, help="This shard only; repeatable."
)
@click.option(
    "--at",
    metavar="POSITIONS",
    callback=_positions,
    help="Compare as of these positions, such as 'log/0:12, log/1:7' [default: what is there].",
)
@click.option(
    "--seed", type=click.IntRange(0, SEEDS - 1), help="Chooses the sample [default: any]."
)
@click.option(
    "--conditions",
    type=click.IntRange(0, 10_000),
    default=64,
    show_default=True,
    help="Conditions that are asked of each shard's indexes and of a scan; 0 leaves indexes out.",
)
@click.option(
    "--scratch",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Where to build; what is built is removed again [default: the system's place].",
)
@click.option(
    "--scratch-mb",
    type=click.IntRange(1),
    default=20_480,
    show_default=True,
    help="Room that it may take.",
)
@click.option(
    "--timeout",
    "timeout_s",
    metavar="SECONDS",
    type=click.FloatRange(0, min_open=True),
    default=600.0,
    show_default=True,
    help="How long a shard may take for one answer.",
)
@click.option(
    "--kafka-config",
    "kafka_config_file",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False),
    help="The logins of brokers, the file that kafka.config_file names for tailers.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="How to print.",
)
@server_option
@click.pass_context
def verify(
    context: click.Context,
    name: str,
    fraction: float | None,
    shards: tuple[int, ...],
    at: PositionVector | None,
    seed: int | None,
    conditions: int,
    scratch: Path | None,
    scratch_mb: int,
    timeout_s: float,
    kafka_config_file: str | None,
    form: str,
    server: str | None,
) -> None:
    """Prove that the collection NAME is what its log makes of it.

    Builds its shards anew from the log, by the same code, and compares rows, deaths, quarantine and
    answers of indexes with what serves, as of one cut, while rows keep coming. Exit code 0: all
    that was compared is equal; 3: something differs or is damaged, and is named; 4: nothing
    differs, but a part can't be proven, because the log does not have it any more.
    """
    os.nice(NICENESS)
    settings = ProofSettings(
        server=server or DEFAULT_ADDRESS,
        collection=name,
        wanted=Wanted(
            fraction, tuple(sorted(set(shards))), secrets.randbelow(SEEDS) if seed is None else seed
        ),
        at=at,
        scratch=scratch,
        scratch_bytes_max=scratch_mb << 20,
        conditions=conditions,
        timeout_s=timeout_s,
        kafka_config_file=kafka_config_file,
    )
    report = asyncio.run(prove(settings, _tell))
    if form == "json":
        print_json(_as_json(report))
    else:
        _print(report)
    if report.exit_code != EXIT_EQUAL:
        context.exit(report.exit_code)


def _tell(what: str) -> None:
    print(f"alder: {what}", file=sys.stderr, flush=True)


def _print(report: Report) -> None:
    print_table(
        ("shard", "rows of the log", "rows that serve", "deaths", "quarantined", "all taken in",
         "conditions", "blocks", "verdict"),
        (
            (
                shard.shard,
                f"{shard.rows:,}",
                f"{shard.rows_serving:,}",
                f"{shard.deaths:,}",
                f"{shard.quarantined:,}",
                "compared" if shard.taken_in else "-",
                f"{shard.conditions:,}",
                f"{shard.blocks:,}",
                _verdict(shard),
            )
            for shard in report.shards
        ),
        right=("shard", "rows of the log", "rows that serve", "deaths", "quarantined",
               "conditions", "blocks"),
    )  # fmt: skip
    for finding in report.all_findings:
        click.echo(_told(finding))
    for refusal in report.coverage.refusals:
        click.echo(f"not proven: {refusal.part}: {refusal.why}")
    click.echo(_summary(report))


def _verdict(shard: ShardProof) -> str:
    return f"{len(shard.findings)} findings" if shard.findings else "equal"


def _told(finding: Finding) -> str:
    lines = [f"{finding.kind}: shard {finding.shard}: {finding.detail}"]
    if finding.row:
        lines[0] = f"{finding.kind}: {finding.row} (_id {finding.row_id}, shard {finding.shard}): "
        lines[0] += finding.detail
        lines.append(f"  log:     {_shown(finding.log)}")
        lines.append(f"  serving: {_shown(finding.serving)}")
    return "\n".join(lines)


def _shown(document: str | None) -> str:
    if document is None:
        return "(none)"
    text = document if document.isprintable() else document.encode("unicode_escape").decode()
    limit = DOCUMENT_CHARACTERS_MAX
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _summary(report: Report) -> str:
    coverage = report.coverage
    rows = sum(shard.rows for shard in report.shards)
    conditions = sum(shard.conditions for shard in report.shards)
    part = f"a sample ({coverage.sampled})" if coverage.sampled else "everything that can be read"
    at = ", ".join(f"{s}/{p}:{offset}" for (s, p), offset in sorted(coverage.at.offsets.items()))
    compared = (
        f"compared {part}: {rows:,} rows in {len(coverage.ranges):,} ranges of offsets, "
        f"{len(report.shards)} of {report.shards_total} shards, {conditions:,} conditions, "
        f"{report.index_checks:,} access paths; seed {report.seed}, {report.elapsed_s:.1f} s\n"
        f"as of {at or 'the beginning of the log'}"
    )
    verdict = "differs"
    if not report.all_findings:
        verdict = "is what its log makes of it"
        if report.coverage.refusals:
            verdict = "is not proven: a part of its log is gone"
            verdict += ", and what is left is equal" if report.shards else ""
    return f"{compared}\n{report.collection} {verdict}"


def _as_json(report: Report) -> object:
    return {
        "collection": report.collection,
        "verdict": {0: "equal", 3: "different", 4: "not proven"}[report.exit_code],
        "coverage": plain(report.coverage),
        "shards_total": report.shards_total,
        "shards": plain(report.shards),
        "findings": plain(report.findings),
        "index_checks": report.index_checks,
        "seed": report.seed,
        "elapsed_s": report.elapsed_s,
    }
