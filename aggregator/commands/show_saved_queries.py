"""``SHOW SAVED QUERIES``: the saved queries, each as its newest version."""

from collections.abc import Sequence
from dataclasses import dataclass

from aggregator.commands import listing
from aggregator.commands.model import Answer, Server
from aggregator.commands.words import check_end
from aggregator.execution.model import Run
from alder.definitions import Parameter
from alder.sqltext import Token


@dataclass(frozen=True, slots=True)
class ShowSavedQueries:
    """Saved queries by name."""

    async def run(self, run: Run, server: Server) -> Answer:
        """One row per saved query."""
        columns = [
            ("name", "VARCHAR"), ("version", "INTEGER"), ("parameters", "VARCHAR[]"),
            ("sql", "VARCHAR"),
        ]  # fmt: skip
        rows = [
            (one.name, one.newest.number, list(map(_text, one.newest.parameters)), one.newest.sql)
            for _, one in sorted(server.follower.snapshot.definitions.items())
            if not one.is_view
        ]
        return Answer(listing.table(columns, rows))


def parse(sql: str, first: Sequence[Token]) -> ShowSavedQueries | None:
    """The command in a text."""
    match [token.word for token in first]:
        case ["SHOW", "SAVED", "QUERIES", *_]:
            check_end(first[3:], "SHOW SAVED QUERIES")
            return ShowSavedQueries()
    return None


def _text(parameter: Parameter) -> str:
    default = parameter.default_sql
    return parameter.name if default is None else f"{parameter.name} := {default}"
