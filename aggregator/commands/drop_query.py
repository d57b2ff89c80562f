"""``DROP QUERY [IF EXISTS] NAME``: a saved query goes with all its versions."""

from collections.abc import Sequence
from dataclasses import dataclass

from aggregator.commands import defining
from aggregator.commands.model import Answer, Server
from aggregator.commands.words import Words
from aggregator.execution.model import Run
from alder.sqltext import Token
from alder.v1 import catalog_pb2


@dataclass(frozen=True, slots=True)
class DropQuery:
    """A saved query to drop."""

    name: str
    if_exists: bool

    async def run(self, run: Run, server: Server) -> Answer:
        """One row: the name."""
        request = catalog_pb2.UndefineRequest(
            name=self.name, kind=catalog_pb2.DEFINITION_KIND_QUERY, if_exists=self.if_exists
        )
        return await defining.undefine(server, run, request)


def parse(sql: str, first: Sequence[Token]) -> DropQuery | None:
    """The command in a text."""
    match [token.word for token in first]:
        case ["DROP", "QUERY", *_]:
            words = Words(sql, "DROP QUERY [IF EXISTS] NAME")
            words.expect("DROP", "QUERY")
            if_exists = words.take("IF", "EXISTS")
            name = words.name()
            words.end()
            return DropQuery(name, if_exists)
    return None
