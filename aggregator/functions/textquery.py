"""The language of text queries: what the second argument of `match` says.

    query   = either
    either  = both ("OR" both)*
    both    = part (["AND"] part)*
    part    = ("-" | "NOT") part | "(" either ")" | words
    words   = word ["*"] | '"' anything but a quote '"' ["*"]

Words are split, lowered and freed of accents as texts are; what is written as one and holds several
words (`e-mail`, a quoted phrase) means these words in a row. A `*` lets the last word go on. The
operators are upper case, so that "and" is a word.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from alder.errors import AlderError, Reason

CHARACTERS_MAX: Final = 4_096
PARTS_MAX: Final = 64
DEPTH_MAX: Final = 16
_TOKEN: Final = re.compile(
    r'\s+|(?P<sign>[()])|(?P<minus>-)(?=[^\s)])|"(?P<phrase>[^"]*)"(?P<open>\*?)|(?P<word>[^\s()"]+)'
)


@dataclass(frozen=True, slots=True)
class Words:
    """Words in a row; with ``prefix`` the last may be the beginning of a longer one."""

    words: tuple[str, ...]
    prefix: bool = False


@dataclass(frozen=True, slots=True)
class Both:
    """All of the parts, of which there are at least two."""

    parts: "tuple[Query, ...]"


@dataclass(frozen=True, slots=True)
class Either:
    """Any of the parts, of which there are at least two."""

    parts: "tuple[Query, ...]"


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite of a part."""

    part: "Query"


Query = Words | Both | Either | Not
Tokeniser = Callable[[Sequence[str]], Sequence[Sequence[str]]]
"""The words of each text."""


@dataclass(frozen=True, slots=True)
class _Token:
    """``kind`` is one of ``( ) - AND OR NOT``, or ``words`` with their text."""

    kind: str
    text: str = ""
    prefix: bool = False


def parse(text: str, tokeniser: Tokeniser) -> Query:
    """The query that a text says. Raises AlderError: SYNTAX, LIMIT."""
    if len(text) > CHARACTERS_MAX:
        raise AlderError(
            Reason.LIMIT, f"a text query has at most {CHARACTERS_MAX} characters, not {len(text)}"
        )
    tokens = list(_tokens(text))
    texts = [token.text for token in tokens if token.kind == "words"]
    if len(texts) > PARTS_MAX:
        raise AlderError(
            Reason.LIMIT,
            f"a text query has at most {PARTS_MAX} words and phrases, not {len(texts)}",
        )
    return _Parser(text, tokens, tokeniser(texts)).query()


def _tokens(text: str) -> Iterator[_Token]:
    place = 0
    while place < len(text):
        found = _TOKEN.match(text, place)
        if found is None:
            raise _malformed(text, "a quotation mark has no other end")
        place = found.end()
        word, phrase = found["word"], found["phrase"]
        if found["sign"] or found["minus"] or word in {"AND", "OR", "NOT"}:
            yield _Token(found["sign"] or found["minus"] or word)
        elif word is not None:
            stem = word.removesuffix("*")
            if "*" in stem:
                raise _malformed(text, f"in {word} the * must be the last character")
            yield _Token("words", stem, stem != word)
        elif phrase is not None:
            yield _Token("words", phrase, bool(found["open"]))


class _Parser:
    """Recursive descent over the tokens, each of which is read once."""

    def __init__(self, text: str, tokens: list[_Token], words: Sequence[Sequence[str]]) -> None:
        self._text = text
        self._tokens = tokens
        self._words = iter(words)
        self._place = 0

    def query(self) -> Query:
        """The whole text."""
        if not self._tokens:
            raise _malformed(self._text, "it is empty")
        found = self._either(0)
        if self._kind():
            raise _malformed(self._text, f"{self._kind()} has no beginning")
        return found

    def _either(self, depth: int) -> Query:
        parts = [self._both(depth)]
        while self._kind() == "OR":
            self._place += 1
            parts.append(self._both(depth))
        flat = [inner for part in parts for inner in _inside(part, Either)]
        return Either(tuple(flat)) if len(flat) > 1 else flat[0]

    def _both(self, depth: int) -> Query:
        parts = [self._part(depth)]
        while self._kind() not in {"", "OR", ")"}:
            if self._kind() == "AND":
                self._place += 1
            parts.append(self._part(depth))
        flat = [inner for part in parts for inner in _inside(part, Both)]
        return Both(tuple(flat)) if len(flat) > 1 else flat[0]

    def _part(self, depth: int) -> Query:
        if depth > DEPTH_MAX:
            raise AlderError(Reason.LIMIT, f"a text query is at most {DEPTH_MAX} levels deep")
        kind = self._kind()
        token = self._tokens[self._place] if kind else None
        self._place += 1
        match kind:
            case "-" | "NOT":
                return Not(self._part(depth + 1))
            case "(":
                found = self._either(depth + 1)
                if self._kind() != ")":
                    raise _malformed(self._text, "a parenthesis has no end")
                self._place += 1
                return found
            case "words" if token is not None:
                words = tuple(next(self._words))
                if not words:
                    raise _malformed(
                        self._text, f"{token.text!r} holds no letter or digit to search for"
                    )
                return Words(words, token.prefix)
        after = self._tokens[self._place - 2].kind if self._place > 1 else "its beginning"
        raise _malformed(self._text, f"a word is missing after {after}")

    def _kind(self) -> str:
        """The kind of the next token; "" at the end."""
        return self._tokens[self._place].kind if self._place < len(self._tokens) else ""


def _inside(part: Query, kind: type[Both] | type[Either]) -> tuple[Query, ...]:
    return part.parts if isinstance(part, (Both, Either)) and type(part) is kind else (part,)


def _malformed(text: str, why: str) -> AlderError:
    shown = text if len(text) <= 80 else text[:79] + "…"
    return AlderError(
        Reason.SYNTAX, f"the text query {shown!r} can't be read: {why}; see `match` in the README"
    )


def written(query: Query) -> str:
    """The query as a text that is parsed to the same."""
    match query:
        case Words(words, prefix):
            text = words[0] if len(words) == 1 else f'"{" ".join(words)}"'
            return text + ("*" if prefix else "")
        case Not(part):
            return "-" + _grouped(part)
        case Both(parts):
            return " ".join(_grouped(part) for part in parts)
        case Either(parts):
            return " OR ".join(_grouped(part) for part in parts)


def _grouped(query: Query) -> str:
    return f"({written(query)})" if isinstance(query, (Both, Either)) else written(query)


def wanted(query: Query) -> tuple[Words, ...]:
    """What a text that matches may hold: all words and phrases that are not negated, each once."""
    match query:
        case Words():
            return (query,)
        case Not():
            return ()
        case Both(parts) | Either(parts):
            return tuple(dict.fromkeys(inner for part in parts for inner in wanted(part)))
