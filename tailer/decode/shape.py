r"""The shape of a document: its text with holes in the place of the values.

Programs write most events by a few fixed formats, so the texts of many documents differ in their
values only. A shape says what stands between the values, byte for byte, and which columns the
values belong to. Where all of that is found in another document, and its holes hold what holes may
hold, that document is valid JSON with the same keys, and its values can be cut out of its text.

Only what has a single spelling is learned: no whitespace between tokens, no escapes, no control
characters, no duplicate keys, integers and decimals of at most 18 digits on a side. A number can be
a hole only if the next quote, or the end of the document, tells where it ends.
"""

import re
from dataclasses import dataclass, field
from typing import Final

from alder.fieldtypes import column_name
from tailer.decode.structure import Node

HOLES_MAX: Final = 512
TEXT_BYTES_MAX: Final = 64 << 10
STRING: Final = r'[^"\\\x00-\x1f\x7f]*'
INTEGER: Final = r"(?:0|-?[1-9][0-9]{0,17})"
NUMBER: Final = r"-?(?:0|[1-9][0-9]{0,17})(?:\.[0-9]{1,17})?"
"""What holes hold, and integers in the one spelling that each has, as regular expressions."""
_STRING: Final = re.compile(f'"({STRING})"'.encode())
_NUMBER: Final = re.compile(rf"{NUMBER}(?=[,}}\]])".encode())
_WORD: Final = re.compile(rb"(?:true|false|null)(?=[,}\]])")


@dataclass(frozen=True, slots=True)
class Hole:
    """The place of a value.

    ``quote`` is the number, in its document, of the quote before a string, or of the first one
    after a number, which ends ``ahead`` bytes before that; -1 where the document ends so.
    """

    is_string: bool
    quote: int
    ahead: int


@dataclass(frozen=True, slots=True)
class Span:
    """Text from ``begin`` to ``end``, each a literal by its number and a place in it."""

    begin: tuple[int, int]
    end: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Shape:
    """``literals`` and ``holes`` alternate; there is one literal more than holes.

    Each column is named, with the hole of its string, the hole of its number at a path, the holes
    of its list's strings, the text of its list, or its boolean.
    """

    literals: tuple[bytes, ...]
    holes: tuple[Hole, ...]
    quotes: int
    strings: tuple[tuple[str, int], ...]
    numbers: tuple[tuple[str, int], ...]
    lists: tuple[tuple[str, tuple[int, ...]], ...]
    texts: tuple[tuple[str, Span], ...]
    booleans: tuple[tuple[str, bool], ...]
    integers_only: tuple[int, ...]
    """Holes within lists that are kept as text, in which decimals could be spelt otherwise."""


def shape_of(document: bytes, root: Node) -> Shape | None:
    """The shape of a valid document whose paths are all known as fields below ``root``.

    None where it has another path, or anything that a shape can't hold.
    """
    if len(document) > TEXT_BYTES_MAX:
        return None
    try:
        return _Reader(document).read(root)
    except (_UnfitError, IndexError, RecursionError):
        return None


class _UnfitError(Exception):
    """The document has no shape."""


@dataclass(slots=True)
class _Reader:
    """Reads one document from left to right."""

    _text: bytes
    _at: int = 0
    _literal_from: int = 0
    _literals: list[bytes] = field(default_factory=list)
    _is_string: list[bool] = field(default_factory=list)
    _strings: list[tuple[str, int]] = field(default_factory=list)
    _numbers: list[tuple[str, int]] = field(default_factory=list)
    _lists: list[tuple[str, tuple[int, ...]]] = field(default_factory=list)
    _texts: list[tuple[str, Span]] = field(default_factory=list)
    _booleans: list[tuple[str, bool]] = field(default_factory=list)
    _integers_only: list[int] = field(default_factory=list)

    def read(self, root: Node) -> Shape:
        self._object(root)
        if self._at != len(self._text):
            raise _UnfitError
        self._literals.append(self._text[self._literal_from :])
        return Shape(
            tuple(self._literals),
            tuple(self._holes()),
            sum(literal.count(b'"') for literal in self._literals),
            tuple(self._strings),
            tuple(self._numbers),
            tuple(self._lists),
            tuple(self._texts),
            tuple(self._booleans),
            tuple(self._integers_only),
        )

    def _holes(self) -> list[Hole]:
        holes = []
        quotes = 0
        for number, is_string in enumerate(self._is_string):
            quotes += self._literals[number].count(b'"')
            after = self._literals[number + 1]
            if is_string:
                holes.append(Hole(True, quotes - 1, 0))
            elif b'"' in after:
                holes.append(Hole(False, quotes, after.index(b'"')))
            elif number + 1 == len(self._is_string):
                holes.append(Hole(False, -1, len(after)))
            else:
                raise _UnfitError
        return holes

    def _object(self, node: Node | None) -> None:
        """An object that is not empty; of ``node`` None, which is within a list, no columns."""
        keys: set[str] = set()
        self._at += 1
        while True:
            key = self._take(_STRING)[1].decode()
            if key in keys:
                raise _UnfitError
            keys.add(key)
            self._expect(b":")
            child = node.children.get(key) if node else None
            if node and child is None:
                raise _UnfitError
            self._value(child)
            if self._text[self._at : self._at + 1] != b",":
                break
            self._at += 1
        self._expect(b"}")

    def _value(self, node: Node | None) -> None:
        first = self._text[self._at : self._at + 1]
        if first == b"{" and (node or self._text[self._at + 1] != ord("}")):
            self._object(node)
        elif node and not node.field:
            raise _UnfitError
        elif first == b'"':
            self._string(node)
        elif first == b"[":
            self._list(node)
        elif first == b"{":
            self._at += len(b"{}")
        elif first in b"tfn":
            word = self._take(_WORD)[0]
            if node and word != b"null":
                self._booleans.append((column_name("bool", node.path), word == b"true"))
        else:
            self._number(node)

    def _string(self, node: Node | None) -> None:
        begin = self._at
        self._take(_STRING)
        number = self._hole(begin + 1, self._at - 1, is_string=True)
        if node:
            self._strings.append((column_name("string", node.path), number))

    def _number(self, node: Node | None) -> None:
        begin = self._at
        self._take(_NUMBER)
        number = self._hole(begin, self._at, is_string=False)
        if node:
            self._numbers.append((node.path, number))
        else:
            self._integers_only.append(number)

    def _list(self, node: Node | None) -> None:
        begin, hole = self._place(), len(self._is_string)
        firsts: set[bytes] = set()
        self._at += 1
        if node is None and self._text[self._at : self._at + 1] == b"]":
            self._at += 1
            return
        while True:
            firsts.add(self._text[self._at : self._at + 1])
            self._value(None)
            if self._text[self._at : self._at + 1] != b",":
                break
            self._at += 1
        self._expect(b"]")
        if node is None:
            return
        if firsts == {b'"'}:
            holes = tuple(range(hole, len(self._is_string)))
            self._lists.append((column_name("list<string>", node.path), holes))
        elif firsts & {b"{", b"["}:
            self._texts.append((column_name("json", node.path), Span(begin, self._place())))
        else:
            raise _UnfitError

    def _place(self) -> tuple[int, int]:
        return len(self._is_string), self._at - self._literal_from

    def _hole(self, begin: int, end: int, *, is_string: bool) -> int:
        if len(self._is_string) == HOLES_MAX:
            raise _UnfitError
        self._literals.append(self._text[self._literal_from : begin])
        self._literal_from = end
        self._is_string.append(is_string)
        return len(self._is_string) - 1

    def _take(self, pattern: re.Pattern[bytes]) -> re.Match[bytes]:
        found = pattern.match(self._text, self._at)
        if found is None:
            raise _UnfitError
        self._at = found.end()
        return found

    def _expect(self, token: bytes) -> None:
        if self._text[self._at : self._at + 1] != token:
            raise _UnfitError
        self._at += 1
