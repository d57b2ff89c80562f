"""``DROP VIEW|QUERY [IF EXISTS] NAME``: a view or a saved query goes with all its versions."""

from collections.abc import Sequence
from dataclasses import dataclass

from aggregator.commands import defining
from aggregator.commands.model import Answer, Server
from aggregator.commands.words import Words
from aggregator.execution.model import Run
from alder.sqltext import Token
from alder.v1 import catalog_pb2


@dataclass(frozen=True, slots=True)
class Drop:
    """A view or a saved query to drop, as ``what`` says, unless a view reads it."""

    what: str
    name: str
    if_exists: bool

    async def run(self, run: Run, server: Server) -> Answer:
        """One row: the name."""
        request = catalog_pb2.UndefineRequest(
            name=self.name, kind=defining.KINDS[self.what], if_exists=self.if_exists
        )
        return await defining.undefine(server, run, request)


def parse(sql: str, first: Sequence[Token]) -> Drop | None:
    """The command in a text."""
    match [token.word for token in first]:
        case ["DROP", "VIEW" | "QUERY" as what, *_]:
            words = Words(sql, f"DROP {what} [IF EXISTS] NAME")
            words.expect("DROP", what)
            if_exists = words.take("IF", "EXISTS")
            name = words.name()
            words.end()
            return Drop(what, name, if_exists)
    return None
