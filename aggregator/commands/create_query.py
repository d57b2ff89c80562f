"""``CREATE [OR REPLACE] QUERY NAME(PARAMETERS) AS SELECT ...``: a version of a saved query."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from aggregator.commands import values
from aggregator.commands.defining import Creation, select_text
from aggregator.commands.model import Answer, Server
from aggregator.execution.model import Run
from aggregator.statement import tree, views
from aggregator.statement.syntax import Parser
from alder.definitions import Parameter, Version
from alder.errors import AlderError, Reason
from alder.sqltext import Token
from alder.v1 import query_pb2

_FORM: Final = (
    "CREATE [OR REPLACE] QUERY [IF NOT EXISTS] NAME [(PARAMETER [:= LITERAL], ...)] AS SELECT ..."
)


@dataclass(frozen=True, slots=True)
class CreateQuery:
    """A saved query to define; ``parameters`` is what stands between its brackets.

    It is checked with its defaults, and NULL where it has none.
    """

    creation: Creation
    parameters: str
    sql: str

    async def run(self, run: Run, server: Server) -> Answer:
        """One row: name and version."""
        parameters, defaults = await server.queries.with_parser(self._parameters)
        statement = await server.queries.statement(self.sql)
        self._check_parameters([one.name for one in parameters], statement.statement.parameters)
        without = [f"${one.name}" for one in parameters if one.default_sql is None]
        await self._check_columns(run, server, defaults, without)
        reads = views.reads(statement.tables, server.follower.snapshot)
        version = Version(0, self.sql, (), tuple(parameters), tuple(reads))
        return await self.creation.define(run, server, version.to_proto())

    def _parameters(self, parser: Parser) -> tuple[list[Parameter], list[query_pb2.Parameter]]:
        """The parameters, and their default values."""
        parameters, defaults = [], []
        for name, expression in values.arguments(parser, self.parameters):
            if name:
                defaults.append(values.value(parser, expression, name))
                parameters.append(Parameter(name, parser.expression_text(expression)))
            else:
                parameters.append(Parameter(_name(parser, expression)))
                defaults.append(query_pb2.Parameter(name=parameters[-1].name, null_value=True))
        return parameters, defaults

    def _check_parameters(self, names: Sequence[str], used: frozenset[str]) -> None:
        twice = sorted({name for name in names if names.count(name) > 1})
        unknown = sorted(used - set(names))
        unused = sorted(set(names) - used)
        if twice or unknown or unused:
            wrong = [f"{name} is named twice" for name in twice]
            wrong += [f"${name} is no parameter of {self.creation.name}" for name in unknown]
            wrong += [f"the SELECT does not use ${name}" for name in unused]
            raise AlderError(Reason.INVALID_ARGUMENT, "; ".join(wrong))

    async def _check_columns(
        self,
        run: Run,
        server: Server,
        defaults: Sequence[query_pb2.Parameter],
        without: Sequence[str],
    ) -> None:
        request = query_pb2.ExecuteRequest(parameters=defaults)
        try:
            await server.queries.columns(replace(run, sql=self.sql, request=request))
        except AlderError as error:
            if not without:
                raise
            raise AlderError(
                error.reason,
                f"{error.message} (checked with NULL for {', '.join(without)}; a default would be "
                "used instead)",
            ) from error


def parse(sql: str, first: Sequence[Token]) -> CreateQuery | None:
    """The command in a text."""
    begun = Creation.taken(sql, first, "QUERY", _FORM)
    if begun is None:
        return None
    creation, words = begun
    parameters = words.brackets()
    return CreateQuery(creation, parameters, select_text(sql, words))


def _name(parser: Parser, expression: tree.Node) -> str:
    parts = expression.get("column_names", [])
    if len(parts) != 1:
        text = parser.expression_text(expression)[:60]
        raise AlderError(Reason.SYNTAX, f"{text!r} names no parameter; write {_FORM}")
    return str(parts[0])
