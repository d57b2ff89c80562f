"""``SHOW QUERIES``: the queries that run here, itself included."""

from collections.abc import Sequence
from dataclasses import dataclass

from aggregator.commands import listing
from aggregator.commands.model import Answer, Server
from aggregator.commands.words import check_end
from aggregator.execution.model import Run
from alder.sqltext import Token


@dataclass(frozen=True, slots=True)
class ShowQueries:
    """The oldest first."""

    async def run(self, run: Run, server: Server) -> Answer:
        """One row per query."""
        columns = [
            ("query_id", "VARCHAR"), ("stage", "VARCHAR"), ("started", "TIMESTAMP"),
            ("client", "VARCHAR"), ("rows_gathered", "BIGINT"), ("bytes_gathered", "BIGINT"),
            ("sql", "VARCHAR"),
        ]  # fmt: skip
        rows = [
            (
                one.query_id,
                one.progress.stage.value,
                one.started_us,
                one.client,
                one.progress.rows_gathered,
                one.progress.size_bytes_gathered,
                one.sql,
            )
            for one in server.running.all()
        ]
        return Answer(listing.table(columns, rows))


def parse(sql: str, first: Sequence[Token]) -> ShowQueries | None:
    """The command in a text."""
    match [token.word for token in first]:
        case ["SHOW", "QUERIES", *_]:
            check_end(first[2:], "SHOW QUERIES")
            return ShowQueries()
    return None
