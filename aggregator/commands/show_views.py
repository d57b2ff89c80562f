"""``SHOW VIEWS``: the views, and how far what they give is kept."""

from collections.abc import Sequence
from dataclasses import dataclass

from aggregator.commands import listing
from aggregator.commands.model import Answer, Server
from aggregator.commands.words import check_end
from aggregator.execution.model import Run
from alder.definitions import Definition
from alder.errors import AlderError
from alder.sqltext import Token


@dataclass(frozen=True, slots=True)
class ShowViews:
    """Views by name, each as its newest version."""

    async def run(self, run: Run, server: Server) -> Answer:
        """One row per view."""
        columns = [
            ("name", "VARCHAR"), ("version", "INTEGER"), ("reads", "VARCHAR[]"),
            ("accelerated", "BOOLEAN"), ("segments_ready", "BIGINT"), ("segments_total", "BIGINT"),
            ("sql", "VARCHAR"),
        ]  # fmt: skip
        rows = []
        for _, one in sorted(server.follower.snapshot.definitions.items()):
            if one.is_view:
                progress = await _progress(one, server, server.queries.left_s(run))
                newest = one.newest
                about = (one.name, newest.number, list(newest.reads), one.accelerate)
                rows.append((*about, *progress, newest.sql))
        return Answer(listing.table(columns, rows))


async def _progress(
    view: Definition, server: Server, left_s: float
) -> tuple[int | None, int | None]:
    """Segments whose partials are kept, and all; not known while a leaf does not answer."""
    if not view.accelerate:
        return None, None
    try:
        progress = await server.accelerator.keep(view, left_s)
    except AlderError:
        return None, None
    return progress.segments_ready, progress.segments_total


def parse(sql: str, first: Sequence[Token]) -> ShowViews | None:
    """The command in a text."""
    match [token.word for token in first]:
        case ["SHOW", "VIEWS", *_]:
            check_end(first[2:], "SHOW VIEWS")
            return ShowViews()
    return None
