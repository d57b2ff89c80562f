"""``SHOW CREATE VIEW NAME``: the statement that makes a version of a view."""

from collections.abc import Sequence
from dataclasses import dataclass

from aggregator.commands import listing
from aggregator.commands.model import Answer, Server
from aggregator.commands.words import Words
from aggregator.execution.model import Run
from alder.errors import AlderError, Reason
from alder.fieldtypes import quote
from alder.sqltext import Token


@dataclass(frozen=True, slots=True)
class ShowCreateView:
    """A view, ``v`` or ``v@2``."""

    name: str

    async def run(self, run: Run, server: Server) -> Answer:
        """One row: name, version, statement."""
        found = (await server.queries.views([self.name])).get(self.name)
        if found is None:
            raise AlderError(
                Reason.UNKNOWN_COLLECTION, f"{self.name} is a collection, which no statement makes"
            )
        version = found.version
        names = f" ({', '.join(map(quote, version.columns))})" if version.columns else ""
        sql = f"CREATE VIEW {found.name}{names} AS {version.sql}"
        columns = [("name", "VARCHAR"), ("version", "INTEGER"), ("sql", "VARCHAR")]
        return Answer(listing.table(columns, [(found.name, version.number, sql)]))


def parse(sql: str, first: Sequence[Token]) -> ShowCreateView | None:
    """The command in a text."""
    match [token.word for token in first]:
        case ["SHOW", "CREATE", "VIEW", *_]:
            words = Words(sql, "SHOW CREATE VIEW NAME")
            words.expect("SHOW", "CREATE", "VIEW")
            name = words.table()
            words.end()
            return ShowCreateView(name)
    return None
