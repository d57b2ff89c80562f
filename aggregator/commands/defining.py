"""What the commands share that change the catalog: how a definition begins, and the change itself.

A change is seen by whoever asked for it: a command returns once this aggregator has the snapshot
that holds it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from aggregator.commands import listing
from aggregator.commands.model import Answer, Server
from aggregator.commands.words import Words
from aggregator.execution.model import Run
from alder.errors import AlderError, Reason
from alder.sqltext import Token, statements
from alder.v1 import catalog_pb2

KINDS: Final[Mapping[str, catalog_pb2.DefinitionKind]] = {
    "VIEW": catalog_pb2.DEFINITION_KIND_VIEW,
    "QUERY": catalog_pb2.DEFINITION_KIND_QUERY,
}
"""What is defined, by the word for it."""


@dataclass(frozen=True, slots=True)
class Creation:
    """A definition to make, by its kind and name, and what becomes of one of that name."""

    kind: catalog_pb2.DefinitionKind
    name: str
    or_replace: bool
    if_not_exists: bool

    @classmethod
    def taken(
        cls, sql: str, first: Sequence[Token], what: str, form: str
    ) -> "tuple[Creation, Words] | None":
        """``CREATE [OR REPLACE] what [IF NOT EXISTS] NAME`` and what follows; None if it isn't."""
        begin = [token.word for token in first]
        if begin[:2] != ["CREATE", what] and begin[:4] != ["CREATE", "OR", "REPLACE", what]:
            return None
        words = Words(sql, form)
        words.expect("CREATE")
        or_replace = words.take("OR", "REPLACE")
        words.expect(what)
        if_not_exists = not or_replace and words.take("IF", "NOT", "EXISTS")
        return cls(KINDS[what], words.name(), or_replace, if_not_exists), words

    async def define(
        self, run: Run, server: Server, version: catalog_pb2.DefinitionVersion
    ) -> Answer:
        """Adds a version; one row tells its name and number. Raises AlderError."""
        request = catalog_pb2.DefineRequest(
            name=self.name,
            kind=self.kind,
            definition=version,
            or_replace=self.or_replace,
            if_not_exists=self.if_not_exists,
        )
        response = await server.catalog.define(request, timeout_s=server.queries.left_s(run))
        await _seen(server, run, response.revision)
        columns = [("name", "VARCHAR"), ("version", "INTEGER")]
        return Answer(listing.table(columns, [(self.name, response.version)]))


def select_text(sql: str, words: Words) -> str:
    """The one statement after AS, which is left of a command, without semicolons behind it."""
    words.expect("AS")
    found = statements(sql[words.begin :])
    if len(found) != 1:
        raise AlderError(
            Reason.UNSUPPORTED, f"a definition is one SELECT, not {len(found)} statements"
        )
    return found[0]


async def undefine(server: Server, run: Run, request: catalog_pb2.UndefineRequest) -> Answer:
    """Drops a definition; one row tells its name. Raises AlderError."""
    response = await server.catalog.undefine(request, timeout_s=server.queries.left_s(run))
    await _seen(server, run, response.revision)
    return Answer(listing.table([("name", "VARCHAR")], [(request.name,)]))


async def accelerate(server: Server, run: Run, request: catalog_pb2.AccelerateRequest) -> Answer:
    """Turns acceleration on or off; one row tells which. Raises AlderError."""
    response = await server.catalog.accelerate(request, timeout_s=server.queries.left_s(run))
    await _seen(server, run, response.revision)
    columns = [("name", "VARCHAR"), ("accelerated", "BOOLEAN")]
    return Answer(listing.table(columns, [(request.name, request.accelerate)]))


async def _seen(server: Server, run: Run, revision: int) -> None:
    left_s = server.queries.left_s(run)
    if not await server.follower.wait_until(lambda known: known.revision >= revision, left_s):
        raise AlderError(
            Reason.DEADLINE,
            "the change was made, but is not seen by this server yet; ask again in a moment",
        )
