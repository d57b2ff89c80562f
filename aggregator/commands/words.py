"""Reading a command: its first words tell it, and nothing may follow what it is made of.

A command is told before the engine's parser sees anything. Whatever is a SELECT inside it goes
through that parser and every check of a SELECT.
"""

import re
from collections.abc import Sequence
from typing import Final

from aggregator.statement.tablename import TableName
from alder.errors import AlderError, Reason
from alder.sqltext import Kind, Token, name_of, text_of, tokens

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


class Words:
    """The tokens of a command, taken one after the other.

    What does not fit raises AlderError(SYNTAX) that shows the ``form`` of the command.
    """

    def __init__(self, sql: str, form: str) -> None:
        self._sql = sql
        self._tokens = list(tokens(sql))
        self._form = form
        self._place = 0

    def take(self, *words: str) -> bool:
        """Takes these words or signs if they come next, or leaves all."""
        ahead = self._tokens[self._place : self._place + len(words)]
        if [token.word or token.text for token in ahead] != list(words):
            return False
        self._place += len(words)
        return True

    def expect(self, *words: str) -> None:
        """Takes these words or signs."""
        for word in words:
            if not self.take(word):
                raise self.wrong()

    def next(self) -> Token:
        """Takes any token."""
        if self._place == len(self._tokens):
            raise self.wrong()
        self._place += 1
        return self._tokens[self._place - 1]

    def name(self) -> str:
        """Takes a name, bare or quoted."""
        name = name_of(self.next())
        if name is None:
            self._place -= 1
            raise self.wrong()
        return name

    def text(self) -> str:
        """Takes a text in quotes."""
        text = text_of(self.next())
        if text is None:
            self._place -= 1
            raise self.wrong()
        return text

    def names(self) -> list[str]:
        """Takes names between brackets, none where there are no brackets."""
        found: list[str] = []
        if self.take("("):
            found.append(self.name())
            while self.take(","):
                found.append(self.name())
            self.expect(")")
        return found

    def table(self) -> str:
        """Takes a name that may pin a version, ``v`` or ``v@2``."""
        name = self.name()
        if not self.take("@"):
            return name
        number = self.next().text
        if not (number.isascii() and number.isdigit()):
            self._place -= 1
            raise self.wrong()
        return TableName(name, int(number)).encode()

    def brackets(self) -> str:
        """Takes brackets with all that is between them; "" where there are none."""
        if not self.take("("):
            return ""
        begin, depth = self._tokens[self._place - 1].end, 1
        while depth:
            last = self.next()
            depth += {"(": 1, ")": -1}.get(last.text, 0)
        return self._sql[begin : last.begin]

    def end(self) -> None:
        """Nothing but semicolons is left."""
        check_end(self._tokens[self._place :], self._form)

    @property
    def begin(self) -> int:
        """The place in the text where what was not taken begins."""
        if self._place == len(self._tokens):
            raise self.wrong()
        return self._tokens[self._place].begin

    def wrong(self) -> AlderError:
        """The error for what comes next."""
        ahead = self._tokens[self._place : self._place + 1]
        where = f"at {ahead[0].text[:40]!r}" if ahead else "at the end"
        return AlderError(Reason.SYNTAX, f"the statement can't be read {where}; write {self._form}")


def check_end(rest: Sequence[Token], form: str) -> None:
    """Raises AlderError(SYNTAX) if anything but semicolons is left."""
    for token in rest:
        if token.kind is not Kind.SIGN or token.text != ";":
            raise AlderError(
                Reason.SYNTAX, f"write {form} and nothing after it; {token.text[:40]!r} follows"
            )
