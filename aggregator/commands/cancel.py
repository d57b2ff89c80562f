"""``CANCEL 'ID'``: ends a query that runs here, and the work of leaves for it."""

from collections.abc import Sequence
from dataclasses import dataclass

from aggregator.commands import listing
from aggregator.commands.model import Answer, Server
from aggregator.commands.words import only_text
from aggregator.execution.model import Run
from alder.sqltext import Token


@dataclass(frozen=True, slots=True)
class Cancel:
    """A query by the id that SHOW QUERIES and trailers give."""

    query_id: str

    async def run(self, run: Run, server: Server) -> Answer:
        """One row: what was cancelled."""
        server.running.cancel(self.query_id)
        return Answer(listing.table([("cancelled", "VARCHAR")], [(self.query_id,)]))


def parse(sql: str, first: Sequence[Token]) -> Cancel | None:
    """The command in a text."""
    match [token.word for token in first]:
        case ["CANCEL", *_]:
            return Cancel(only_text(first[1:], "CANCEL 'ID', with the id of a query"))
    return None
