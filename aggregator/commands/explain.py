"""``EXPLAIN SELECT ...``: how it would be answered; ``EXPLAIN ANALYZE SELECT ...``: how it was."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Final

import pyarrow as pa

from aggregator import status
from aggregator.commands import execute, listing, report
from aggregator.commands.model import Answer, Server
from aggregator.commands.words import TOKENS_MAX, blanked
from aggregator.execution.model import Answered, Run
from alder.sqltext import Token, tokens

LOG_ENDS_TIMEOUT_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Explain:
    """A plan, and with ``analyze`` what became of it."""

    sql: str
    analyze: bool

    async def run(self, run: Run, server: Server) -> Answer:
        """The lines of a tree."""
        run.sql = self.sql
        saved = execute.parse(self.sql, list(islice(tokens(self.sql), TOKENS_MAX)))
        if saved is not None:
            await saved.prepare(run, server)
        if not self.analyze:
            prepared = await server.queries.prepare(run)
            lines = await server.queries.with_parser(partial(report.planned, prepared))
            return Answer(_table(lines), prepared.plan.plan_class)
        answered = await server.queries.answer(run)
        ends = await _log_ends(server, answered)
        lines = await server.queries.with_parser(partial(report.analyzed, run, answered, ends))
        plan_class = answered.prepared.plan.plan_class
        return Answer(_table(lines), plan_class, answered.reads(), answered.references())


def parse(sql: str, first: Sequence[Token]) -> Explain | None:
    """The command in a text."""
    match [token.word for token in first]:
        case ["EXPLAIN", "ANALYZE" | "ANALYSE", *_]:
            return Explain(blanked(sql, first[1].end), True)
        case ["EXPLAIN", *_]:
            return Explain(blanked(sql, first[0].end), False)
    return None


def _table(lines: Sequence[str]) -> pa.Table:
    return listing.table([("plan", "VARCHAR")], ([line] for line in lines))


async def _log_ends(server: Server, answered: Answered) -> report.Ends:
    return {
        key: await status.log_ends(server.log, collection, LOG_ENDS_TIMEOUT_S)
        for key, collection in answered.prepared.at.by_id().items()
    }
