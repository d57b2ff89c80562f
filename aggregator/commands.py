"""Statements that are no SELECT: EXPLAIN, DESCRIBE, SHOW TABLES, CHECK INDEX.

They are told by their first words, before the engine's parser sees anything; what follows EXPLAIN
goes through that parser and every check of a SELECT. Any other text is left to the parser, which
answers a SELECT and refuses the rest by name.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from alder.errors import AlderError, Reason
from alder.sqltext import Kind, Token, name_of, tokens

_TOKENS_MAX: Final = 8
_VISIBLE: Final = re.compile(r"[^\n\r]")


@dataclass(frozen=True, slots=True)
class Explain:
    """How a SELECT would be answered; with ``analyze``, how it was."""

    sql: str
    analyze: bool


@dataclass(frozen=True, slots=True)
class Describe:
    """The columns of a collection."""

    name: str


@dataclass(frozen=True, slots=True)
class ShowCollections:
    """The collections."""


@dataclass(frozen=True, slots=True)
class CheckIndex:
    """The indexes of a collection beside a scan."""

    name: str


Command = Explain | Describe | ShowCollections | CheckIndex


def command_of(sql: str) -> Command | None:
    """The command that a text is; None for anything that the parser shall judge.

    Raises AlderError(SYNTAX) for a command that is not written as one.
    """
    first = list(islice(tokens(sql), _TOKENS_MAX))
    words = [token.word for token in first]
    match words:
        case ["EXPLAIN", "ANALYZE" | "ANALYSE", *_]:
            return Explain(_blanked(sql, first[1].end), True)
        case ["EXPLAIN", *_]:
            return Explain(_blanked(sql, first[0].end), False)
        case ["DESCRIBE" | "DESC", "SELECT" | "WITH" | "FROM" | "VALUES", *_]:
            return None
        case ["DESCRIBE" | "DESC" as verb, *_]:
            return Describe(_only_name(first[1:], f"{verb} NAME"))
        case ["SHOW", "TABLES" | "COLLECTIONS" as what, *_]:
            _check_end(first[2:], f"SHOW {what}")
            return ShowCollections()
        case ["CHECK", "INDEX", *_]:
            return CheckIndex(_only_name(first[2:], "CHECK INDEX NAME"))
    return None


def _blanked(sql: str, end: int) -> str:
    """The text with its beginning blank, so that the parser's lines and columns stay right."""
    return _VISIBLE.sub(" ", sql[:end]) + sql[end:]


def _only_name(rest: Sequence[Token], form: str) -> str:
    name = name_of(rest[0]) if rest else None
    if name is None:
        raise AlderError(Reason.SYNTAX, f"write {form}, with the name of one collection")
    _check_end(rest[1:], form)
    return name


def _check_end(rest: Sequence[Token], form: str) -> None:
    for token in rest:
        if token.kind is not Kind.SIGN or token.text != ";":
            raise AlderError(
                Reason.SYNTAX, f"write {form} and nothing after it; {token.text[:40]!r} follows"
            )
