"""``DESCRIBE NAME``: the columns of a collection or a view, as SQL sees them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from aggregator import status
from aggregator.commands import listing
from aggregator.commands.model import Answer, Server
from aggregator.commands.words import Words
from aggregator.execution.model import Run
from aggregator.statement.names import SYSTEM_TYPES
from alder.arrow import SQL_TYPE_KEY
from alder.fieldtypes import quote
from alder.sqltext import Token


@dataclass(frozen=True, slots=True)
class Describe:
    """Of a collection the columns of the documents first, then those of every row."""

    name: str

    async def run(self, run: Run, server: Server) -> Answer:
        """One row per column."""
        if await server.queries.views([self.name]):
            run.sql = f"SELECT * FROM {quote(self.name)}"
            schema = await server.queries.columns(run)
            return _answer((one.name, one.metadata[SQL_TYPE_KEY].decode(), []) for one in schema)
        answer = await status.described(server.queries, self.name, server.queries.left_s(run))
        rows = [(column.path, column.sql_type, list(column.types)) for column in answer.columns]
        rows += [(name, sql_type, []) for name, sql_type in SYSTEM_TYPES.items()]
        return _answer(rows)


def parse(sql: str, first: Sequence[Token]) -> Describe | None:
    """The command in a text; DESCRIBE of a SELECT is none."""
    match [token.word for token in first]:
        case ["DESCRIBE" | "DESC", "SELECT" | "WITH" | "FROM" | "VALUES", *_]:
            return None
        case ["DESCRIBE" | "DESC" as verb, *_]:
            words = Words(sql, f"{verb} NAME")
            words.expect(verb)
            name = words.table()
            words.end()
            return Describe(name)
    return None


def _answer(rows: Iterable[Sequence[object]]) -> Answer:
    names = [("column_name", "VARCHAR"), ("column_type", "VARCHAR")]
    return Answer(listing.table([*names, ("physical_types", "VARCHAR[]")], rows))
