"""``DESCRIBE NAME``: the columns of a collection, as SQL sees them."""

from collections.abc import Sequence
from dataclasses import dataclass

from aggregator import status
from aggregator.commands import listing
from aggregator.commands.model import Answer, Server
from aggregator.commands.words import only_name
from aggregator.execution.queries import Run
from aggregator.statement.names import SYSTEM_TYPES
from alder.sqltext import Token


@dataclass(frozen=True, slots=True)
class Describe:
    """The columns of the documents first, then those of every row."""

    name: str

    async def run(self, run: Run, server: Server) -> Answer:
        """One row per column."""
        answer = await status.described(server.queries, self.name, server.queries.left_s(run))
        rows = [(column.path, column.sql_type, list(column.types)) for column in answer.columns]
        rows += [(name, sql_type, []) for name, sql_type in SYSTEM_TYPES.items()]
        names = [("column_name", "VARCHAR"), ("column_type", "VARCHAR")]
        return Answer(listing.table([*names, ("physical_types", "VARCHAR[]")], rows))


def parse(sql: str, first: Sequence[Token]) -> Describe | None:
    """The command in a text; DESCRIBE of a SELECT is none."""
    match [token.word for token in first]:
        case ["DESCRIBE" | "DESC", "SELECT" | "WITH" | "FROM" | "VALUES", *_]:
            return None
        case ["DESCRIBE" | "DESC" as verb, *_]:
            return Describe(only_name(first[1:], f"{verb} NAME"))
    return None
