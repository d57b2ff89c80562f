"""What users write beyond the engine's grammar, said in it before the engine's parser sees a text.

Two things are added to SQL: ``v@2``, a version of a view, and the moment that a table is read at,
``ev AS OF POSITION 'log/0:12'`` or ``ev AS OF TIMESTAMP '2026-01-01'``, before its alias. Both
become a quoted identifier, which :class:`TableName` takes apart again. At the very end of a
statement ``AS OF`` holds for every table that has none of its own.

The rewrite works on tokens, so literals, comments and quoted names stay as they are. What takes the
place of other text is as long as that, so that lines and columns in messages stay right; behind
``v@2`` a column is too far by two.
"""

import re
from dataclasses import dataclass, field, replace
from typing import Final

from aggregator.statement import openpivots, tables
from aggregator.statement.syntax import SQL_BYTES_MAX, Parser, Statement
from aggregator.statement.tablename import POSITION, TIMESTAMP, AsOf, TableName
from alder.errors import AlderError, Reason
from alder.fieldtypes import quote
from alder.sqltext import Kind, Token, name_of, tokens

_WORTH_A_LOOK: Final = re.compile(r'[\w"]@\d|\bOF\b', re.IGNORECASE)
_VISIBLE: Final = re.compile(r"[^\n\r]")
_FIRST_LINE: Final = re.compile(r"[^\n\r]*")
_BEFORE_TABLES: Final = frozenset(
    {"FROM", "JOIN", "TABLE", "PIVOT", "PIVOT_WIDER", "UNPIVOT", "PIVOT_LONGER"}
)
_AFTER_TABLES: Final = frozenset(
    {"SELECT", "WHERE", "GROUP", "HAVING", "WINDOW", "QUALIFY", "ORDER", "LIMIT", "OFFSET"}
    | {"UNION", "EXCEPT", "INTERSECT"}
)
_NO_TABLES: Final = _BEFORE_TABLES | _AFTER_TABLES | {"LATERAL"}


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A text of the engine's grammar, and the moment of the whole statement."""

    sql: str
    as_of: AsOf | None = None


def parsed(parser: Parser, sql: str) -> Statement:
    """The statement in a text of our dialect; tables in it are encoded :class:`TableName`.

    Raises AlderError as :func:`rewritten` and :meth:`Parser.parse` do.
    """
    text = rewritten(sql)
    statement = parser.parse(openpivots.marked(text.sql))
    if text.as_of is None:
        return statement
    return replace(statement, node=tables.read_at(statement.node, text.as_of))


def rewritten(sql: str) -> Rewritten:
    """The text in the engine's grammar. Raises AlderError(SYNTAX) for an AS OF out of place."""
    if len(sql) > SQL_BYTES_MAX or _WORTH_A_LOOK.search(sql) is None:
        return Rewritten(sql)
    return _Rewriter(sql).rewritten()


@dataclass(slots=True)
class _Level:
    """What is known between two brackets.

    ``lists``: a comma comes before one more table. ``expects``: the next name is a table's.
    """

    lists: bool = False
    expects: bool = False


@dataclass(slots=True)
class _Rewriter:
    sql: str
    levels: list[_Level] = field(default_factory=lambda: [_Level()])
    pieces: list[str] = field(default_factory=list)
    taken: int = 0

    def rewritten(self) -> Rewritten:
        found = list(tokens(self.sql))
        whole: AsOf | None = None
        place = 0
        while place < len(found):
            token = found[place]
            level = self.levels[-1]
            if level.expects and name_of(token) is not None and token.word not in _NO_TABLES:
                level.expects = False
                place = self._table(found, place)
                continue
            moment = _moment(found, place)
            if moment is not None:
                whole, after = moment
                if any(one.text != ";" for one in found[after:]):
                    raise AlderError(
                        Reason.SYNTAX,
                        f"write {whole} directly after the name of a table and before its alias, "
                        "or at the very end for all tables of the statement",
                    )
                self._put(token.begin, found[after - 1].end, "")
                break
            self._follow(found, place)
            place += 1
        return Rewritten("".join([*self.pieces, self.sql[self.taken :]]), whole)

    def _follow(self, found: list[Token], place: int) -> None:
        """Keeps track of where names of tables are."""
        token, level = found[place], self.levels[-1]
        if token.word in _BEFORE_TABLES:
            compares = place > 0 and found[place - 1].word == "DISTINCT"
            level.lists = level.expects = not compares
        elif token.word in _AFTER_TABLES:
            level.lists = level.expects = False
        elif token.text == "(":
            self.levels.append(_Level(level.expects, level.expects))
            level.expects = False
        elif token.text == ")" and len(self.levels) > 1:
            self.levels.pop()
        elif token.text == ",":
            level.expects = level.lists

    def _table(self, found: list[Token], place: int) -> int:
        """Rewrites a table's name; returns the place after it."""
        first = found[place]
        name = TableName.decode(name_of(first) or "")
        after = place + 1
        version = _version(found, after)
        if version is not None:
            name, after = replace(name, version=version), after + 2
        moment = _moment(found, after)
        if moment is not None:
            name, after = replace(name, as_of=moment[0]), moment[1]
        if after > place + 1:
            self._put(first.begin, found[after - 1].end, quote(name.encode()))
        return after

    def _put(self, begin: int, end: int, text: str) -> None:
        """Puts a text in the place of another, padded to its lines and columns."""
        blank = _VISIBLE.sub(" ", self.sql[begin:end])
        line = _FIRST_LINE.match(blank)
        first_line = len(line[0]) if line is not None else 0
        self.pieces += [self.sql[self.taken : begin], text, blank[min(len(text), first_line) :]]
        self.taken = end


def _version(found: list[Token], place: int) -> int | None:
    """The version in ``@2`` right behind a name."""
    if place + 1 >= len(found):
        return None
    before, sign, number = found[place - 1 : place + 2]
    if sign.text != "@" or sign.begin != before.end or number.begin != sign.end:
        return None
    digits = number.text
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= 18 else None


def _moment(found: list[Token], place: int) -> tuple[AsOf, int] | None:
    """An AS OF that begins here, and the place after it."""
    match [token.word for token in found[place : place + 3]]:
        case ["AS", "OF", ("POSITION" | "TIMESTAMP") as kind]:
            literal = found[place + 3] if place + 3 < len(found) else None
            if literal is None or not _is_plain(literal):
                raise AlderError(
                    Reason.SYNTAX,
                    f"write AS OF {POSITION} 'log/0:12', with positions as answers and tokens "
                    f"tell them, or AS OF {TIMESTAMP} '2026-01-31 12:00:00'",
                )
            return AsOf(kind, literal.text[1:-1].replace("''", "'")), place + 4
    return None


def _is_plain(token: Token) -> bool:
    """True for ``'text'``."""
    text = token.text
    return token.kind is Kind.TEXT and len(text) > 1 and text[0] == text[-1] == "'"
