"""``ALTER VIEW NAME SET (accelerate = true|false)``: whether leaves keep what a view gives."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from aggregator.commands import defining
from aggregator.commands.model import Answer, Server
from aggregator.commands.words import Words
from aggregator.execution.model import Run
from aggregator.statement import views
from alder.errors import AlderError, Reason
from alder.sqltext import Token
from alder.v1 import catalog_pb2

_FORM: Final = "ALTER VIEW NAME SET (accelerate = true) or (accelerate = false)"


@dataclass(frozen=True, slots=True)
class AlterView:
    """Acceleration of a view, on or off."""

    name: str
    accelerate: bool

    async def run(self, run: Run, server: Server) -> Answer:
        """One row: the name, and whether it is accelerated. Segments follow in the background."""
        await server.queries.views([self.name])
        view = views.view_of(self.name, server.follower.snapshot)
        if view is None:
            raise AlderError(
                Reason.UNKNOWN_COLLECTION, f"{self.name} is a collection; only views are altered"
            )
        if self.accelerate:
            await server.accelerator.check(view, server.queries.left_s(run))
        request = catalog_pb2.AccelerateRequest(name=view.name, accelerate=self.accelerate)
        answer = await defining.accelerate(server, run, request)
        if self.accelerate:
            await server.accelerator.keep(view, server.queries.left_s(run))
        return answer


def parse(sql: str, first: Sequence[Token]) -> AlterView | None:
    """The command in a text."""
    match [token.word for token in first]:
        case ["ALTER", "VIEW", *_]:
            words = Words(sql, _FORM)
            words.expect("ALTER", "VIEW")
            name = words.name()
            words.expect("SET", "(", "ACCELERATE", "=")
            accelerate = words.take("TRUE")
            if not accelerate:
                words.expect("FALSE")
            words.expect(")")
            words.end()
            return AlterView(name, accelerate)
    return None
