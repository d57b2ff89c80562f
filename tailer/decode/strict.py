r"""The strict parser: one document at a time, in Python, accepting exactly RFC 8259.

It judges every row that the vectorised path can't vouch for, so its verdict is the decoder's: what
it refuses is quarantined with its reason, what it accepts is decoded from what it returns. Numbers
stay text, so none loses a digit here.
"""

import json
import re
from json.encoder import encode_basestring
from typing import Final, TypeAlias

from tailer.decode.model import DecodeLimits


class Number(str):
    """The text of a JSON number."""

    __slots__ = ()


class Members(list[tuple[str, "Json"]]):
    """The members of an object in order, duplicate keys included."""

    __slots__ = ()


Json: TypeAlias = "bool | Number | str | list[Json] | Members | None"

_KINDS: Final = {list: "an array", str: "a string", Number: "a number", bool: "a boolean"}
_SPACE: Final = " \t\r\n"
_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")

EMPTY_REASON: Final = "empty record"


class RefusedError(Exception):
    """The document goes to quarantine; the message is the reason."""


class StrictParser:
    """Parses documents under limits. Keeps no state between documents."""

    def __init__(self, limits: DecodeLimits) -> None:
        self._limits = limits
        self._keys = 0
        self._decoder = json.JSONDecoder(
            object_pairs_hook=self._members,
            parse_int=Number,
            parse_float=Number,
            parse_constant=_refuse_constant,
        )

    def parse(self, text: str) -> Members:
        """The members of the document. Raises RefusedError."""
        if not text.strip(_SPACE):
            raise RefusedError(EMPTY_REASON)
        self._keys = 0
        try:
            value: Json = self._decoder.decode(text)
        except json.JSONDecodeError as error:
            raise RefusedError(f"not valid JSON: {_lower_first(str(error))}") from None
        except RecursionError:
            raise RefusedError(deep_reason(self._limits)) from None
        if _SURROGATE.search(text):
            _refuse_lone_surrogates(value)
        if not isinstance(value, Members):
            raise RefusedError(f"not a JSON object but {_KINDS.get(type(value), 'null')}")
        _refuse_duplicates(value)
        return value

    def _members(self, pairs: list[tuple[str, Json]]) -> Members:
        self._keys += len(pairs)
        if self._keys > self._limits.document_fields_max:
            raise RefusedError(fields_reason(self._limits))
        return Members(pairs)


def deep_reason(limits: DecodeLimits) -> str:
    """Why a document that nests too deep is refused."""
    return f"nested deeper than {limits.depth_max} levels"


def fields_reason(limits: DecodeLimits) -> str:
    """Why a document with too many keys is refused."""
    return f"more than {limits.document_fields_max} fields in one document"


def size_reason(size_bytes: int, limits: DecodeLimits) -> str:
    """Why a document that is too long is refused."""
    return (
        f"document of {size_bytes} bytes exceeds the limit of "
        f"{limits.document_size_bytes_max} bytes"
    )


def text_of(value: Json) -> str:
    """Minified JSON text of a value, with numbers and the order of keys as they were."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, str):
        return encode_basestring(value)
    if isinstance(value, Members):
        members = (f"{encode_basestring(key)}:{text_of(member)}" for key, member in value)
        return "{" + ",".join(members) + "}"
    return "[" + ",".join(map(text_of, value)) + "]"


def _lower_first(message: str) -> str:
    return message[:1].lower() + message[1:]


def _refuse_constant(name: str) -> Json:
    raise RefusedError(f"{name} is not JSON")


def _refuse_lone_surrogates(value: Json) -> None:
    try:
        text_of(value).encode()
    except UnicodeEncodeError:
        reason = "not valid JSON: a lone surrogate in a string is no character"
        raise RefusedError(reason) from None


def _refuse_duplicates(members: Members) -> None:
    # Objects inside lists are kept as text, where a duplicate key loses nothing.
    if len(dict(members)) != len(members):
        seen: set[str] = set()
        for key, _ in members:
            if key in seen:
                raise RefusedError(f"duplicate key {key!r}")
            seen.add(key)
    for _, value in members:
        if isinstance(value, Members):
            _refuse_duplicates(value)
