"""``EXECUTE NAME(VALUES)``: runs a saved query, as a call by its name does."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from aggregator.commands import values
from aggregator.commands.model import Answer, Server
from aggregator.commands.words import Words
from aggregator.execution.model import Run
from aggregator.statement.names import did_you_mean, nearest_of
from aggregator.statement.syntax import Parser
from aggregator.statement.tablename import TableName
from alder.catalog import Snapshot
from alder.definitions import Definition, no_version
from alder.errors import AlderError, Reason
from alder.sqltext import Token
from alder.v1 import query_pb2

CATALOG_WAIT_S: Final = 0.3
"""For a query that was saved through another server a moment ago."""
_FORM: Final = "EXECUTE NAME(VALUE, ...) or EXECUTE NAME(PARAMETER := VALUE, ...)"


@dataclass(frozen=True, slots=True)
class Execute:
    """A call of a saved query; values without a name are in the order of its parameters.

    They are ``arguments``, the text between the brackets of a call, or ``parameters``.
    """

    name: str
    version: int | None
    arguments: str = ""
    parameters: tuple[query_pb2.Parameter, ...] = ()

    async def run(self, run: Run, server: Server) -> Answer:
        """The rows of the saved query."""
        await self.prepare(run, server)
        return Answer.of_query(await server.queries.answer(run))

    async def prepare(self, run: Run, server: Server) -> None:
        """Makes a run one of the saved query's statement with its values. Raises AlderError."""
        query = await _query(self.name, server)
        version = query.version(self.version)
        if version is None:
            raise no_version(query, self.version)

        def filled(parser: Parser) -> list[query_pb2.Parameter]:
            literals = values.arguments(parser, self.arguments)
            written = [values.value(parser, literal, name) for name, literal in literals]
            return values.filled(parser, query, version, [*self.parameters, *written])

        request = query_pb2.ExecuteRequest()
        request.CopyFrom(run.request)
        del request.parameters[:]
        request.parameters.extend(await server.queries.with_parser(filled))
        run.sql, run.request = version.sql, request


def parse(sql: str, first: Sequence[Token]) -> Execute | None:
    """The command in a text."""
    match [token.word for token in first]:
        case ["EXECUTE", *_]:
            words = Words(sql, _FORM)
            words.expect("EXECUTE")
            table = TableName.decode(words.table())
            arguments = words.brackets()
            words.end()
            return Execute(table.name, table.version, arguments)
    return None


def called(request: query_pb2.ExecuteRequest) -> Execute:
    """The call that a request is. Raises AlderError(INVALID_ARGUMENT) if it has a text as well."""
    if request.sql:
        raise AlderError(
            Reason.INVALID_ARGUMENT, "a request has a statement or names a saved query, not both"
        )
    wanted = request.saved_query
    return Execute(wanted.name, wanted.version or None, parameters=tuple(request.parameters))


async def _query(name: str, server: Server) -> Definition:
    """The saved query of a name, spelled exactly or alone in differing in case."""
    await server.follower.wait_until(lambda known: _saved(name, known) is not None, CATALOG_WAIT_S)
    snapshot = server.follower.snapshot
    found = _saved(name, snapshot)
    if found is None:
        known = [one.name for one in snapshot.definitions.values() if not one.is_view]
        hint = did_you_mean(nearest_of(name, known))
        raise AlderError(Reason.UNKNOWN_COLLECTION, f"there is no saved query {name!r}{hint}")
    return found


def _saved(name: str, snapshot: Snapshot) -> Definition | None:
    for one in snapshot.definitions.values():
        if not one.is_view and one.name.lower() == name.lower():
            return one
    return None
