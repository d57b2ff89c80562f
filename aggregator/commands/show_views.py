"""``SHOW VIEWS``: the views, and how far what they give is kept."""

from collections.abc import Sequence
from dataclasses import dataclass

from aggregator.commands import listing
from aggregator.commands.model import Answer, Server
from aggregator.commands.words import check_end
from aggregator.execution.queries import Run
from alder.sqltext import Token


@dataclass(frozen=True, slots=True)
class ShowViews:
    """Views by name, each as its newest version."""

    async def run(self, run: Run, server: Server) -> Answer:
        """One row per view."""
        columns = [
            ("name", "VARCHAR"), ("version", "INTEGER"), ("reads", "VARCHAR[]"),
            ("accelerated", "BOOLEAN"), ("sql", "VARCHAR"),
        ]  # fmt: skip
        rows = [
            (one.name, one.newest.number, list(one.newest.reads), one.accelerate, one.newest.sql)
            for _, one in sorted(server.follower.snapshot.definitions.items())
            if one.is_view
        ]
        return Answer(listing.table(columns, rows))


def parse(sql: str, first: Sequence[Token]) -> ShowViews | None:
    """The command in a text."""
    match [token.word for token in first]:
        case ["SHOW", "VIEWS", *_]:
            check_end(first[2:], "SHOW VIEWS")
            return ShowViews()
    return None
