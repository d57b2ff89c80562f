"""Events whose fields and types change on the way, as those of a feed do that people work on."""

from collections.abc import Sequence
from typing import Final

FIELD_ROWS: Final = 10_000
"""After so many events comes a field that was never there; one event in a hundred has it."""
_NEW_EVERY: Final = 100
_OTHER_TYPE_EVERY: Final = 1_000
_VALUES: Final = (b"17", b"1.5", b'"text"', b"true", b'["a","b"]', b'{"deep":1,"er":{"x":"y"}}')


def evolved(documents: Sequence[bytes], first: int = 0) -> list[bytes]:
    """Events of JSONBench that begin with the one of number ``first``, as they become.

    A new field has values of six types in turns; ``time_us`` is a string in one of a thousand.
    """
    return [_evolved(document, first + place) for place, document in enumerate(documents)]


def _evolved(document: bytes, number: int) -> bytes:
    if number % _NEW_EVERY == 0:
        value = _VALUES[number // _NEW_EVERY % len(_VALUES)]
        return b'{"feature_%d":%s,' % (number // FIELD_ROWS, value) + document[1:]
    if number % _OTHER_TYPE_EVERY == 1:
        head, digits, tail = document.partition(b'"time_us":')
        time_us, comma, rest = tail.partition(b",")
        return b'%s%s"%s"%s%s' % (head, digits, time_us, comma, rest)
    return document
