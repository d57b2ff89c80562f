"""Templates: the text of a document with references to columns in the place of its values.

A template is made from one document and gives other documents with the same keys, in the same order
and spacing, when the values of their columns are put in. Whether it gives exactly what came in is
for the caller to compare; a template claims nothing.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from itertools import repeat
from json import JSONDecoder
from typing import Final

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from alder.errors import AlderError, Reason
from alder.fieldtypes import split_column_name
from alder.paths import child
from leaf.format.picks import Value

_SPACE: Final = re.compile(r"[ \t\n\r]*")
_STRING: Final = re.compile(r'"(?:[^"\\]|\\.)*"')
_SCALAR: Final = re.compile(r"[^\s,\]}]+")
_ESCAPED: Final = r'["\\\x00-\x1f]'
_ESCAPED_BYTES: Final = re.compile(_ESCAPED.encode())
_SHORT_ESCAPES: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f"}
_CONTROLS: Final = r"[\x00-\x1f]"
_JSON: Final = JSONDecoder()


class Style(StrEnum):
    """How a column's value is spelled."""

    PLAIN = "plain"
    """A string between quotes, with nothing to escape."""
    ESCAPED = "escaped"
    """A string between quotes."""
    NUMBER = "number"
    """An integer, a boolean or a decimal."""
    FLOAT = "float"
    """The shortest decimal that gives the float back, with a point or an exponent."""
    TEXT = "text"
    """A column that holds JSON text."""
    STRINGS = "strings"
    """A list of strings with nothing to escape, ``["a","b"]``."""
    SPACED_STRINGS = "spaced strings"
    """The same, ``["a", "b"]``."""
    NUMBERS = "numbers"
    """A list of what NUMBER spells, ``[1,2]``."""
    SPACED_NUMBERS = "spaced numbers"
    """The same, ``[1, 2]``."""


@dataclass(frozen=True, slots=True)
class Slot:
    """The place of a column's value."""

    column: str
    style: Style


@dataclass(frozen=True)
class Template:
    """Literal text and places of values, in order."""

    parts: tuple[str | Slot, ...]

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The columns whose values it needs."""
        return tuple(dict.fromkeys(part.column for part in self.parts if isinstance(part, Slot)))

    @cached_property
    def _encoded(self) -> list[bytes | Slot]:
        return [part.encode() if isinstance(part, str) else part for part in self.parts]

    def encode(self) -> str:
        """The template as stored."""
        parts = [
            part if isinstance(part, str) else [part.column, part.style] for part in self.parts
        ]
        return orjson.dumps(parts).decode()

    @classmethod
    def decode(cls, text: str, what: str) -> "Template":
        """The inverse of :meth:`encode`. Raises AlderError(CORRUPT)."""
        try:
            parts = [
                part if isinstance(part, str) else Slot(str(part[0]), Style(part[1]))
                for part in orjson.loads(text)
            ]
        except (ValueError, TypeError, LookupError) as error:
            raise AlderError(Reason.CORRUPT, f"{what} can't be read: {error}") from error
        return cls(tuple(parts))

    def render(self, columns: Mapping[str, pa.Array], rows: int) -> pa.Array:
        """The documents of ``rows`` rows, null where a value is null.

        Raises pa.ArrowException for columns of types that their styles don't suit, KeyError for
        one that is not given.
        """
        parts = [
            pa.scalar(part) if isinstance(part, str) else _SPELLED[part.style](columns[part.column])
            for part in self.parts
        ]
        if not any(isinstance(part, Slot) for part in self.parts):
            return pa.array(["".join(map(str, self.parts))] * rows, pa.string())
        return pc.binary_join_element_wise(*parts, pa.scalar(""))

    def join(
        self, columns: Mapping[str, tuple[pa.DataType, Sequence[Value]]], rows: int
    ) -> list[bytes]:
        """As :meth:`render`, of values as picks give them, which all are there.

        Joins bytes row by row, for the few rows of a look-up. Raises ValueError where a value is
        missing, and what :meth:`render` does.
        """
        parts: list[Iterable[bytes]] = [
            repeat(part, rows)
            if isinstance(part, bytes)
            else _spelled_bytes(part.style, *columns[part.column])
            for part in self._encoded
        ]
        return [b"".join(pieces) for pieces in zip(*parts, strict=True)]


def template_of(document: str, columns: Mapping[str, Sequence[str]]) -> Template | None:
    """The template of a document, None for one that is no JSON object.

    ``columns`` names, for each path, the columns in which the document has values. What has no
    column is literal text: a null, a number of an unusual kind.
    """
    try:
        parts = _Reader(document, columns).parts()
    except (ValueError, IndexError, RecursionError):
        return None
    return Template(tuple(parts))


class _Reader:
    """Reads one document from left to right."""

    def __init__(self, text: str, columns: Mapping[str, Sequence[str]]) -> None:
        self._text = text
        self._columns = columns
        self._quoted = Style.ESCAPED if "\\" in text else Style.PLAIN
        self._at = 0
        self._literal_from = 0
        self._parts: list[str | Slot] = []

    def parts(self) -> list[str | Slot]:
        self._skip_space()
        self._object("")
        self._parts.append(self._text[self._literal_from :])
        return self._parts

    def _object(self, path: str) -> None:
        self._expect("{")
        self._skip_space()
        while self._text[self._at] != "}":
            key = orjson.loads(self._take(_STRING))
            self._skip_space()
            self._expect(":")
            self._skip_space()
            self._value(child(path, key))
            self._skip_space()
            if self._text[self._at] == ",":
                self._at += 1
                self._skip_space()
        self._at += 1

    def _value(self, path: str) -> None:
        text, begin = self._text, self._at
        first = text[begin]
        if first == "{" and text[_end(_SPACE, text, begin + 1)] != "}":
            self._object(path)
            return
        if first in "{[":
            _, self._at = _JSON.raw_decode(text, begin)
        else:
            self._take(_STRING if first == '"' else _SCALAR)
        value = text[begin : self._at]
        for column in self._columns.get(path, ()):
            style = _style(split_column_name(column)[0], value, self._quoted)
            if style is not None:
                inner = int(style in {Style.PLAIN, Style.ESCAPED})
                self._parts.append(text[self._literal_from : begin + inner])
                self._parts.append(Slot(column, style))
                self._literal_from = self._at - inner
                return

    def _take(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self._text, self._at)
        if found is None:
            raise ValueError("no JSON")
        self._at = found.end()
        return found[0]

    def _expect(self, character: str) -> None:
        if self._text[self._at] != character:
            raise ValueError("no JSON")
        self._at += 1

    def _skip_space(self) -> None:
        self._at = _end(_SPACE, self._text, self._at)


def _end(pattern: re.Pattern[str], text: str, begin: int) -> int:
    found = pattern.match(text, begin)
    return found.end() if found else begin


def _style(tag: str, value: str, quoted: Style) -> Style | None:
    """The style of a column for values like this one; None where it has another type."""
    first = value[0]
    if tag == "string":
        return quoted if first == '"' else None
    if tag == "bool":
        return Style.NUMBER if first in "tf" else None
    if tag == "int" or tag.startswith("decimal"):
        return Style.NUMBER if first in "-0123456789" else None
    if tag == "float":
        return Style.FLOAT if first in "-0123456789" else None
    if tag in {"json", "list<null>"}:
        return Style.TEXT
    if first != "[":
        return None
    spaced = ", " in value
    if tag == "list<string>":
        return Style.SPACED_STRINGS if spaced else Style.STRINGS
    if tag in {"list<int>", "list<bool>"}:
        return Style.SPACED_NUMBERS if spaced else Style.NUMBERS
    return None


def _escaped(values: pa.Array) -> pa.Array:
    needs = pc.match_substring_regex(values, _ESCAPED).fill_null(False)
    if not pc.any(needs).as_py():
        return values
    some = values.filter(needs)
    for plain, escaped in (("\\", "\\\\"), ('"', '\\"')):
        some = pc.replace_substring(some, plain, escaped)
    if pc.any(pc.match_substring_regex(some, _CONTROLS)).as_py():
        for code in range(32):
            escaped = _SHORT_ESCAPES.get(chr(code), f"\\u{code:04x}")
            some = pc.replace_substring(some, chr(code), escaped)
    return pc.replace_with_mask(values, needs, some)


def _number(values: pa.Array) -> pa.Array:
    return values.cast(pa.string())


def _float(values: pa.Array) -> pa.Array:
    text = values.cast(pa.string())
    return pc.if_else(
        pc.match_substring_regex(text, "[.e]"), text, pc.binary_join_element_wise(text, ".0", "")
    )


def _text(values: pa.Array) -> pa.Array:
    if values.type != pa.string():
        raise pa.ArrowTypeError("JSON text in a column of another type")
    return values


def _strings(values: pa.Array, between: str) -> pa.Array:
    joined = pc.binary_join(values, between)
    listed = pc.binary_join_element_wise('["', joined, '"]', "")
    return pc.if_else(pc.equal(pc.list_value_length(values), 0), "[]", listed)


def _numbers(values: pa.Array, between: str) -> pa.Array:
    texts = values.cast(pa.list_(pa.string()))
    return pc.binary_join_element_wise("[", pc.binary_join(texts, between), "]", "")


_SPELLED: Final[Mapping[Style, Callable[[pa.Array], pa.Array]]] = {
    Style.PLAIN: _text,
    Style.ESCAPED: lambda values: _escaped(_text(values)),
    Style.NUMBER: _number,
    Style.FLOAT: _float,
    Style.TEXT: _text,
    Style.STRINGS: lambda values: _strings(values, '","'),
    Style.SPACED_STRINGS: lambda values: _strings(values, '", "'),
    Style.NUMBERS: lambda values: _numbers(values, ","),
    Style.SPACED_NUMBERS: lambda values: _numbers(values, ", "),
}


def _spelled_bytes(style: Style, kind: pa.DataType, values: Sequence[Value]) -> Sequence[bytes]:
    """Strings, integers and booleans as they are mostly; all else as arrays are spelled."""
    if kind == pa.string() and style in {Style.PLAIN, Style.ESCAPED, Style.TEXT}:
        texts = [value for value in values if isinstance(value, bytes)]
        if style is not Style.ESCAPED or not any(map(_ESCAPED_BYTES.search, texts)):
            return texts
    elif kind == pa.int64() and style is Style.NUMBER:
        return [b"%d" % value for value in values if isinstance(value, int)]
    elif kind == pa.bool_() and style is Style.NUMBER:
        return [b"true" if value else b"false" for value in values if value is not None]
    spelled = _SPELLED[style](pa.array(values, kind))
    return [text.encode() for text in spelled.to_pylist() if text is not None]
