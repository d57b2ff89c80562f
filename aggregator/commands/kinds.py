"""The commands there are. A text that is none of them is left to the parser, which answers a SELECT
and refuses the rest by name."""

from collections.abc import Sequence
from itertools import islice
from typing import Final

from aggregator.commands import (
    alter_view,
    cancel,
    check_index,
    create_query,
    create_view,
    describe,
    diff,
    drop,
    execute,
    explain,
    release,
    show_create_view,
    show_quarantined,
    show_queries,
    show_saved_queries,
    show_tables,
    show_views,
)
from aggregator.commands.model import Command, Parse
from aggregator.commands.words import TOKENS_MAX
from alder.sqltext import tokens

_PARSES: Final[Sequence[Parse]] = (
    explain.parse,
    describe.parse,
    show_tables.parse,
    check_index.parse,
    show_queries.parse,
    cancel.parse,
    create_view.parse,
    drop.parse,
    alter_view.parse,
    show_views.parse,
    show_create_view.parse,
    create_query.parse,
    show_saved_queries.parse,
    execute.parse,
    show_quarantined.parse,
    release.parse,
    diff.parse,
)
_ALWAYS: Final = (
    cancel.Cancel,
    describe.Describe,
    drop.Drop,
    release.Release,
    show_quarantined.ShowQuarantined,
    show_queries.ShowQueries,
    show_create_view.ShowCreateView,
    show_saved_queries.ShowSavedQueries,
    show_tables.ShowTables,
    show_views.ShowViews,
)


def always_runs(command: Command) -> bool:
    """True for a command that runs no query, so that it is answered however busy the server is."""
    return isinstance(command, _ALWAYS)


def command_of(sql: str) -> Command | None:
    """The command that a text is; None for anything that the parser shall judge.

    Raises AlderError(SYNTAX) for a command that is not written as one.
    """
    first = list(islice(tokens(sql), TOKENS_MAX))
    for parse in _PARSES:
        command = parse(sql, first)
        if command is not None:
            return command
    return None
