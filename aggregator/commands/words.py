"""Reading a command: its first words tell it, and nothing may follow what it is made of.

A command is told before the engine's parser sees anything. Whatever is a SELECT inside it goes
through that parser and every check of a SELECT.
"""

import re
from collections.abc import Sequence
from typing import Final

from alder.errors import AlderError, Reason
from alder.sqltext import Kind, Token, name_of, text_of

TOKENS_MAX: Final = 8
"""Tokens that a command may be told by."""
_VISIBLE: Final = re.compile(r"[^\n\r]")


def blanked(sql: str, end: int) -> str:
    """The text with its beginning blank, so that the parser's lines and columns stay right."""
    return _VISIBLE.sub(" ", sql[:end]) + sql[end:]


def only_name(rest: Sequence[Token], form: str) -> str:
    """The one name that is left. Raises AlderError(SYNTAX) that shows the form otherwise."""
    name = name_of(rest[0]) if rest else None
    if name is None:
        raise AlderError(Reason.SYNTAX, f"write {form}, with the name of one collection")
    check_end(rest[1:], form)
    return name


def only_text(rest: Sequence[Token], form: str) -> str:
    """The one text in quotes that is left. Raises AlderError(SYNTAX) with the form otherwise."""
    text = text_of(rest[0]) if rest else None
    if text is None:
        raise AlderError(Reason.SYNTAX, f"write {form}")
    check_end(rest[1:], form)
    return text


def check_end(rest: Sequence[Token], form: str) -> None:
    """Raises AlderError(SYNTAX) if anything but semicolons is left."""
    for token in rest:
        if token.kind is not Kind.SIGN or token.text != ";":
            raise AlderError(
                Reason.SYNTAX, f"write {form} and nothing after it; {token.text[:40]!r} follows"
            )
