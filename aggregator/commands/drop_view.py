"""``DROP VIEW [IF EXISTS] NAME``: a view goes with all its versions."""

from collections.abc import Sequence
from dataclasses import dataclass

from aggregator.commands import defining
from aggregator.commands.model import Answer, Server
from aggregator.commands.words import Words
from aggregator.execution.model import Run
from alder.sqltext import Token
from alder.v1 import catalog_pb2


@dataclass(frozen=True, slots=True)
class DropView:
    """A view to drop, unless another one reads it."""

    name: str
    if_exists: bool

    async def run(self, run: Run, server: Server) -> Answer:
        """One row: the name."""
        request = catalog_pb2.UndefineRequest(
            name=self.name, kind=catalog_pb2.DEFINITION_KIND_VIEW, if_exists=self.if_exists
        )
        return await defining.undefine(server, run, request)


def parse(sql: str, first: Sequence[Token]) -> DropView | None:
    """The command in a text."""
    match [token.word for token in first]:
        case ["DROP", "VIEW", *_]:
            words = Words(sql, "DROP VIEW [IF EXISTS] NAME")
            words.expect("DROP", "VIEW")
            if_exists = words.take("IF", "EXISTS")
            name = words.name()
            words.end()
            return DropView(name, if_exists)
    return None
