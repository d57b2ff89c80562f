"""``CREATE [OR REPLACE] QUERY NAME(PARAMETERS) AS SELECT ...``: a version of a saved query."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from aggregator.commands import defining
from aggregator.commands.model import Answer, Server
from aggregator.commands.values import literal
from aggregator.commands.words import Words
from aggregator.execution.model import Run
from aggregator.statement import views
from alder.definitions import Parameter, Version
from alder.errors import AlderError, Reason
from alder.sqltext import Token
from alder.v1 import catalog_pb2, query_pb2

_FORM: Final = (
    "CREATE [OR REPLACE] QUERY [IF NOT EXISTS] NAME [(PARAMETER [:= LITERAL], ...)] AS SELECT ..."
)


@dataclass(frozen=True, slots=True)
class CreateQuery:
    """A saved query to define. It is checked with its defaults, and NULL where it has none."""

    name: str
    parameters: tuple[Parameter, ...]
    sql: str
    or_replace: bool
    if_not_exists: bool

    async def run(self, run: Run, server: Server) -> Answer:
        """One row: name and version."""
        statement = await server.queries.statement(self.sql)
        self._check_parameters(statement.statement.parameters)
        await self._check_columns(run, server)
        reads = views.reads(statement.tables, server.follower.snapshot)
        version = Version(0, self.sql, (), self.parameters, tuple(reads))
        request = catalog_pb2.DefineRequest(
            name=self.name,
            kind=catalog_pb2.DEFINITION_KIND_QUERY,
            definition=version.to_proto(),
            or_replace=self.or_replace,
            if_not_exists=self.if_not_exists,
        )
        return await defining.define(server, run, request)

    def _check_parameters(self, used: frozenset[str]) -> None:
        names = [entry.name for entry in self.parameters]
        twice = sorted({name for name in names if names.count(name) > 1})
        unknown = sorted(used - set(names))
        unused = sorted(set(names) - used)
        if twice or unknown or unused:
            wrong = [f"{name} is named twice" for name in twice]
            wrong += [f"${name} is no parameter of {self.name}" for name in unknown]
            wrong += [f"the SELECT does not use ${name}" for name in unused]
            raise AlderError(Reason.INVALID_ARGUMENT, "; ".join(wrong))

    async def _check_columns(self, run: Run, server: Server) -> None:
        request = query_pb2.ExecuteRequest(
            parameters=[
                literal("NULL" if one.default_sql is None else one.default_sql, one.name)
                for one in self.parameters
            ]
        )
        try:
            await server.queries.columns(replace(run, sql=self.sql, request=request))
        except AlderError as error:
            without = [f"${one.name}" for one in self.parameters if one.default_sql is None]
            if not without:
                raise
            raise AlderError(
                error.reason,
                f"{error.message} (checked with NULL for {', '.join(without)}; a default would be "
                "used instead)",
            ) from error


def parse(sql: str, first: Sequence[Token]) -> CreateQuery | None:
    """The command in a text."""
    match [token.word for token in first]:
        case ["CREATE", "QUERY", *_] | ["CREATE", "OR", "REPLACE", "QUERY", *_]:
            words = Words(sql, _FORM)
            words.expect("CREATE")
            or_replace = words.take("OR", "REPLACE")
            words.expect("QUERY")
            if_not_exists = not or_replace and words.take("IF", "NOT", "EXISTS")
            name = words.name()
            parameters = []
            if words.take("(") and not words.take(")"):
                parameters.append(_parameter(words))
                while words.take(","):
                    parameters.append(_parameter(words))
                words.expect(")")
            words.expect("AS")
            text = defining.select_text(sql, words)
            return CreateQuery(name, tuple(parameters), text, or_replace, if_not_exists)
    return None


def _parameter(words: Words) -> Parameter:
    name = words.name()
    if not words.take(":", "="):
        return Parameter(name)
    text = words.literal()
    literal(text)
    return Parameter(name, text)
