"""``CREATE [OR REPLACE] VIEW [IF NOT EXISTS] NAME [(COLUMNS)] AS SELECT ...``: a view's version."""

from collections import Counter
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

_FORM: Final = "CREATE [OR REPLACE] VIEW [IF NOT EXISTS] NAME [(COLUMNS)] AS SELECT ..."


@dataclass(frozen=True, slots=True)
class CreateView:
    """A view to define; ``columns`` names its columns from the first on."""

    name: str
    columns: tuple[str, ...]
    sql: str
    or_replace: bool
    if_not_exists: bool

    async def run(self, run: Run, server: Server) -> Answer:
        """One row: name and version."""
        run.sql = self.sql
        statement = await server.queries.statement(self.sql)
        if statement.statement.parameters:
            raise AlderError(
                Reason.INVALID_ARGUMENT,
                "a view has no parameters; write CREATE QUERY for a statement that has some",
            )
        schema = await server.queries.columns(run)
        self._check_names(schema.names)
        version = catalog_pb2.DefinitionVersion(
            sql=self.sql,
            columns=self.columns,
            reads=views.reads(statement.tables, server.follower.snapshot),
        )
        request = catalog_pb2.DefineRequest(
            name=self.name,
            kind=catalog_pb2.DEFINITION_KIND_VIEW,
            definition=version,
            or_replace=self.or_replace,
            if_not_exists=self.if_not_exists,
        )
        return await defining.define(server, run, request)

    def _check_names(self, selected: Sequence[str]) -> None:
        if len(self.columns) > len(selected):
            raise AlderError(
                Reason.INVALID_ARGUMENT,
                f"the view {self.name} names {len(self.columns)} columns, but its SELECT has "
                f"{len(selected)}",
            )
        names = [*self.columns, *selected[len(self.columns) :]]
        twice = [name for name, count in Counter(map(str.lower, names)).items() if count > 1]
        if twice:
            raise AlderError(
                Reason.INVALID_ARGUMENT,
                f"the view {self.name} would have several columns {twice[0]}; "
                "give them different names with AS",
            )


def parse(sql: str, first: Sequence[Token]) -> CreateView | None:
    """The command in a text."""
    match [token.word for token in first]:
        case ["CREATE", "VIEW", *_] | ["CREATE", "OR", "REPLACE", "VIEW", *_]:
            words = Words(sql, _FORM)
            words.expect("CREATE")
            or_replace = words.take("OR", "REPLACE")
            words.expect("VIEW")
            if_not_exists = not or_replace and words.take("IF", "NOT", "EXISTS")
            name, columns = words.name(), words.names()
            words.expect("AS")
            text = defining.select_text(sql, words)
            return CreateView(name, tuple(columns), text, or_replace, if_not_exists)
    return None
