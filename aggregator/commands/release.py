"""``RELEASE 'ID'``: lets a statement run again under which leaves died."""

from collections.abc import Sequence
from dataclasses import dataclass

from aggregator.commands import listing
from aggregator.commands.model import Answer, Server
from aggregator.commands.words import only_text
from aggregator.execution.model import Run
from alder.sqltext import Token


@dataclass(frozen=True, slots=True)
class Release:
    """A statement by the id that SHOW QUARANTINED STATEMENTS and the refusal give."""

    statement: str

    async def run(self, run: Run, server: Server) -> Answer:
        """One row: what was released."""
        server.queries.killers.release(self.statement)
        return Answer(listing.table([("released", "VARCHAR")], [(self.statement,)]))


def parse(sql: str, first: Sequence[Token]) -> Release | None:
    """The command in a text."""
    match [token.word for token in first]:
        case ["RELEASE", *_]:
            return Release(only_text(first[1:], "RELEASE 'ID', with the id of a statement"))
    return None
