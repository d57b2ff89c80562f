"""``CHECK INDEX NAME``: what every access path of a collection finds, beside a scan (I3)."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from aggregator.commands import listing
from aggregator.commands.model import Answer, Server
from aggregator.commands.words import only_name
from aggregator.execution.model import Run
from alder.sqltext import Token
from alder.v1 import leaf_pb2

_VERDICTS: Final = {
    leaf_pb2.INDEX_VERDICT_EQUAL: "equal",
    leaf_pb2.INDEX_VERDICT_DIFFERENT: "different",
    leaf_pb2.INDEX_VERDICT_DAMAGED: "damaged",
    leaf_pb2.INDEX_VERDICT_UNFINISHED: "unfinished",
}


@dataclass(frozen=True, slots=True)
class CheckIndex:
    """The indexes of a collection beside a scan; each check tries other values."""

    name: str

    async def run(self, run: Run, server: Server) -> Answer:
        """One row per shard and access path."""
        collection = await server.queries.collection(self.name)
        seed = zlib.crc32(run.query_id.encode())
        left_s = server.queries.left_s(run)
        found = await server.queries.scatter.check_index(collection, seed, left_s)
        columns = [
            ("shard", "INTEGER"), ("path", "VARCHAR"), ("predicates", "BIGINT"),
            ("rows_compared", "BIGINT"), ("verdict", "VARCHAR"), ("detail", "VARCHAR"),
        ]  # fmt: skip
        rows = [
            (
                one.shard,
                one.path,
                one.predicates,
                one.rows_compared,
                _VERDICTS.get(one.verdict, "unknown"),
                one.detail or None,
            )
            for one in found
        ]
        return Answer(listing.table(columns, rows))


def parse(sql: str, first: Sequence[Token]) -> CheckIndex | None:
    """The command in a text."""
    match [token.word for token in first]:
        case ["CHECK", "INDEX", *_]:
            return CheckIndex(only_name(first[2:], "CHECK INDEX NAME"))
    return None
