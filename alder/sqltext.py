"""The surface of SQL text: where comments, literals, names and statements begin and end.

Just enough to know the first words of a statement and where it ends, by the rules of the engine's
own lexer; everything else is for its parser. A literal or comment that never ends reaches to the
end of the text, so that the statement it is in is sent whole and refused with the parser's words.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final


class Kind(Enum):
    """What a token is."""

    WORD = auto()
    QUOTED = auto()
    TEXT = auto()
    NUMBER = auto()
    SIGN = auto()


@dataclass(frozen=True, slots=True)
class Token:
    """A token other than blanks and comments; ``begin`` and ``end`` are places in the text."""

    kind: Kind
    text: str
    begin: int
    end: int

    @property
    def word(self) -> str:
        """A bare word in capitals; "" for every other token."""
        return self.text.upper() if self.kind is Kind.WORD else ""


_BLANK: Final = re.compile(r"(?:\s|--[^\n\r]*)+")
_COMMENT_EDGE: Final = re.compile(r"/\*|\*/")
_RULES: Final = (
    (Kind.TEXT, re.compile(r"[eE]'(?:[^'\\]|\\.|'')*(?:'|\Z)", re.DOTALL)),
    (Kind.TEXT, re.compile(r"'(?:[^']|'')*(?:'|\Z)")),
    (Kind.TEXT, re.compile(r"\$((?:[^\W\d]\w*)?)\$.*?(?:\$\1\$|\Z)", re.DOTALL)),
    (Kind.QUOTED, re.compile(r'"(?:[^"]|"")*(?:"|\Z)')),
    (Kind.NUMBER, re.compile(r"\d[\w.]*|\.\d[\w.]*")),
    (Kind.WORD, re.compile(r"[^\W\d][\w$]*")),
    (Kind.SIGN, re.compile(r".", re.DOTALL)),
)


def tokens(sql: str) -> Iterator[Token]:
    """The tokens of a text, in order."""
    place = 0
    while True:
        place = _after_blanks(sql, place)
        if place >= len(sql):
            return
        for kind, rule in _RULES:
            match = rule.match(sql, place)
            if match is not None:
                yield Token(kind, match[0], place, match.end())
                place = match.end()
                break


def statements(sql: str) -> list[str]:
    """The statements of a text that semicolons separate, without those that hold nothing."""
    found: list[str] = []
    begin, filled = 0, False
    for token in tokens(sql):
        if token.kind is Kind.SIGN and token.text == ";":
            if filled:
                found.append(sql[begin : token.begin].strip())
            begin, filled = token.end, False
        else:
            filled = True
    if filled:
        found.append(sql[begin:].strip())
    return found


def name_of(token: Token) -> str | None:
    """The name that a token spells, bare or quoted; None if it is no name."""
    if token.kind is Kind.WORD:
        return token.text
    closed = len(token.text) > 2 and token.text.endswith('"')
    return token.text[1:-1].replace('""', '"') if token.kind is Kind.QUOTED and closed else None


def text_of(token: Token) -> str | None:
    """The value of a plain literal, 'like this'; None for every other token."""
    closed = len(token.text) > 1 and token.text[0] == token.text[-1] == "'"
    if token.kind is not Kind.TEXT or not closed:
        return None
    return token.text[1:-1].replace("''", "'")


def _after_blanks(sql: str, place: int) -> int:
    """The place after blanks and comments; comments nest."""
    while True:
        blank = _BLANK.match(sql, place)
        if blank is not None:
            place = blank.end()
        if not sql.startswith("/*", place):
            return place
        depth = 0
        for edge in _COMMENT_EDGE.finditer(sql, place):
            depth += 1 if edge[0] == "/*" else -1
            if not depth:
                place = edge.end()
                break
        else:
            return len(sql)
