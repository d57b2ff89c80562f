"""``CREATE [OR REPLACE] VIEW [IF NOT EXISTS] NAME [(COLUMNS)] AS SELECT ...``: a view's version."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from aggregator.commands.defining import Creation, select_text
from aggregator.commands.model import Answer, Server
from aggregator.execution.model import Run
from aggregator.statement import views
from alder.errors import AlderError, Reason
from alder.sqltext import Token
from alder.v1 import catalog_pb2

_FORM: Final = "CREATE [OR REPLACE] VIEW [IF NOT EXISTS] NAME [(COLUMNS)] AS SELECT ..."


@dataclass(frozen=True, slots=True)
class CreateView:
    """A view to define; ``columns`` names its columns from the first on."""

    creation: Creation
    columns: tuple[str, ...]
    sql: str

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
        return await self.creation.define(run, server, version)

    def _check_names(self, selected: Sequence[str]) -> None:
        if len(self.columns) > len(selected):
            raise AlderError(
                Reason.INVALID_ARGUMENT,
                f"the view {self.creation.name} names {len(self.columns)} columns, but its SELECT "
                f"has {len(selected)}",
            )
        names = [*self.columns, *selected[len(self.columns) :]]
        twice = [name for name, count in Counter(map(str.lower, names)).items() if count > 1]
        if twice:
            raise AlderError(
                Reason.INVALID_ARGUMENT,
                f"the view {self.creation.name} would have several columns {twice[0]}; "
                "give them different names with AS",
            )


def parse(sql: str, first: Sequence[Token]) -> CreateView | None:
    """The command in a text."""
    begun = Creation.taken(sql, first, "VIEW", _FORM)
    if begun is None:
        return None
    creation, words = begun
    columns = words.names()
    return CreateView(creation, tuple(columns), select_text(sql, words))
