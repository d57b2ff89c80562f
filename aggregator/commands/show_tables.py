"""``SHOW TABLES`` or ``SHOW COLLECTIONS``: the collections."""

from collections.abc import Sequence
from dataclasses import dataclass

from aggregator.commands import listing
from aggregator.commands.model import Answer, Server
from aggregator.commands.words import check_end
from aggregator.execution.model import Run
from alder.sqltext import Token


@dataclass(frozen=True, slots=True)
class ShowTables:
    """Collections by name; a path that is not set is NULL."""

    async def run(self, run: Run, server: Server) -> Answer:
        """One row per collection."""
        columns = [(name, "VARCHAR") for name in ("name", "key_path", "time_path", "shard_by_path")]
        rows = [
            (
                one.name,
                one.key_path or None,
                one.time_path or None,
                one.shard_by_path or None,
                len(one.shards),
                [source.url for source in one.sources],
            )
            for _, one in sorted(server.follower.snapshot.collections.items())
        ]
        return Answer(
            listing.table([*columns, ("shards", "INTEGER"), ("sources", "VARCHAR[]")], rows)
        )


def parse(sql: str, first: Sequence[Token]) -> ShowTables | None:
    """The command in a text."""
    match [token.word for token in first]:
        case ["SHOW", "TABLES" | "COLLECTIONS" as what, *_]:
            check_end(first[2:], f"SHOW {what}")
            return ShowTables()
    return None
