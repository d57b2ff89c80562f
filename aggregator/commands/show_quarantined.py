"""``SHOW QUARANTINED STATEMENTS``: those that are refused because leaves died under them."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from aggregator.commands import listing
from aggregator.commands.model import Answer, Server
from aggregator.commands.words import check_end
from aggregator.execution.model import Run
from alder.sqltext import Token


@dataclass(frozen=True, slots=True)
class ShowQuarantined:
    """In the order in which they were noticed."""

    async def run(self, run: Run, server: Server) -> Answer:
        """One row per shape of statements; ``seconds_left`` 0: the next one runs as a trial."""
        columns = [
            ("statement", "VARCHAR"), ("leaves", "VARCHAR[]"), ("seconds_left", "BIGINT"),
            ("sql", "VARCHAR"),
        ]  # fmt: skip
        now_s = time.monotonic()
        rows = [
            (
                one.statement,
                [leaf for leaf, _ in one.deaths],
                max(round((one.refused_until_s or now_s) - now_s), 0),
                one.sql,
            )
            for one in server.queries.killers.refused()
        ]
        return Answer(listing.table(columns, rows))


def parse(sql: str, first: Sequence[Token]) -> ShowQuarantined | None:
    """The command in a text."""
    match [token.word for token in first]:
        case ["SHOW", "QUARANTINED", "STATEMENTS", *_]:
            check_end(first[3:], "SHOW QUARANTINED STATEMENTS")
            return ShowQuarantined()
    return None
