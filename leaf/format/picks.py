"""Some values of a page, without the others.

A look-up wants a few values of each of many pages. A call of numpy or Arrow costs some
microseconds however short its arrays are, a slice of bytes a tenth of one, so this is plain Python
on purpose: its work grows with the values that are wanted, never with the rows of a scan. Where
many rows of a page are wanted, the page is decoded whole.
"""

import struct
from collections.abc import Sequence
from typing import Final, Protocol

import pyarrow as pa

from leaf.format.integers import IntegerPick
from leaf.format.pages import (
    HEADER,
    NONE,
    PAGE_ROWS,
    SOME,
    decode_values,
    is_integral,
    is_text,
)
from leaf.format.strings import StringPick

_CHOSEN_SHARE: Final = 16
"""Of the rows of a page; where more are wanted, it is cheaper to decode them all."""
_FLOAT: Final = struct.Struct("<d")
Value = object
"""Strings as bytes; integers, and what is stored as such (times, dates, codes), as int; floats and
booleans as such; lists and all else as Arrow gives them; None where there is no value."""


class _Pick(Protocol):
    """Gives some of the values that a page holds, by their ascending numbers, or one of them."""

    def at(self, numbers: Sequence[int]) -> Sequence[Value]: ...

    def one(self, number: int) -> Value: ...


class PagePick:
    """A page without its frame. Thread-safe."""

    def __init__(self, payload: bytes, kind: pa.DataType) -> None:
        self._payload = payload
        self._kind = kind
        self._bitmap: bytes | None = None
        self._rows = 0
        self._values: _Pick | None = None

    @property
    def size_bytes(self) -> int:
        """About the memory that it takes, with the ends of strings."""
        head = self._payload[: HEADER.size]
        rows = HEADER.unpack(head)[1] if len(head) == HEADER.size else 0
        return len(self._payload) + 4 * min(rows, PAGE_ROWS) + 512

    def array(self, rows: Sequence[int]) -> pa.Array:
        """The values of some rows, at least one, of ascending numbers.

        Raises ValueError, IndexError, OverflowError, struct.error, ArrowException.
        """
        many = _CHOSEN_SHARE * len(rows) > HEADER.unpack_from(self._payload)[1]
        if many or not _is_plain(self._kind):
            whole = decode_values(memoryview(self._payload), self._kind, PAGE_ROWS)
            return whole.take(pa.array(rows))
        values = pa.array(self.values(rows), self._kind)
        values.validate(full=True)
        return values

    def values(self, rows: Sequence[int]) -> Sequence[Value]:
        """As :meth:`array`, in plain Python; strings may be no UTF-8."""
        values = self._values
        if values is None:
            values = self._opened()
        if rows[-1] >= self._rows:
            raise ValueError(f"{self._rows} rows")
        bitmap = self._bitmap
        if bitmap is None:
            return values.at(rows)
        there = [row for row in rows if bitmap[row >> 3] >> (row & 7) & 1]
        found = values.at(_ranks(bitmap, there))
        if len(there) == len(rows):
            return found
        by_row = dict(zip(there, found, strict=True))
        return [by_row.get(row) for row in rows]

    def value(self, row: int) -> Value:
        """As :meth:`values` of a single row."""
        values = self._values
        if values is None:
            values = self._opened()
        if row >= self._rows:
            raise ValueError(f"{self._rows} rows")
        bitmap = self._bitmap
        if bitmap is None:
            return values.one(row)
        place = row >> 3
        last = bitmap[place]
        if not last >> (row & 7) & 1:
            return None
        rank = int.from_bytes(bitmap[:place], "little").bit_count()
        return values.one(rank + (last & (1 << (row & 7)) - 1).bit_count())

    def _opened(self) -> _Pick:
        """Raises what :func:`decode_values` does."""
        payload, kind = self._payload, self._kind
        presence, rows = HEADER.unpack_from(payload)
        if rows > PAGE_ROWS or presence > NONE:
            raise ValueError(f"{rows} rows, or an unknown encoding")
        begin, count, bitmap = HEADER.size, rows, None
        if presence == SOME and _is_plain(kind):
            begin += (rows + 7) // 8
            bitmap = payload[HEADER.size : begin]
            count = (int.from_bytes(bitmap, "little") & (1 << rows) - 1).bit_count()
            if len(bitmap) != (rows + 7) // 8:
                raise ValueError("a bitmap that is cut off")
        if presence == NONE:
            values: _Pick = _Nothing()
        elif not _is_plain(kind):
            values = _Decoded(decode_values(memoryview(payload), kind, PAGE_ROWS))
        elif is_text(kind):
            values = StringPick(payload, begin, count)
        elif is_integral(kind):
            values = IntegerPick(payload, begin, count)
        elif pa.types.is_float64(kind):
            values = _Floats(payload, begin, count)
        else:
            values = _Bits(payload, begin, count)
        self._rows, self._bitmap = rows, bitmap
        self._values = values
        return values


class _Nothing:
    def at(self, numbers: Sequence[int]) -> Sequence[Value]:
        return [None] * len(numbers)

    def one(self, number: int) -> Value:
        return None


class _Decoded:
    """Types that are decoded as a whole."""

    def __init__(self, values: pa.Array) -> None:
        self._values = values

    def at(self, numbers: Sequence[int]) -> Sequence[Value]:
        found: list[Value] = self._values.take(pa.array(numbers)).to_pylist()
        return found

    def one(self, number: int) -> Value:
        return self._values[number].as_py()


class _Floats:
    """Floats, whose first bytes come first, then their second ones."""

    def __init__(self, body: bytes, begin: int, count: int) -> None:
        if len(body) != begin + 8 * count:
            raise ValueError("floats of another number")
        self._body, self._begin, self._count = body, begin, count

    def at(self, numbers: Sequence[int]) -> Sequence[Value]:
        return [self.one(number) for number in numbers]

    def one(self, number: int) -> Value:
        return _FLOAT.unpack(self._body[self._begin + number :: self._count])[0]


class _Bits:
    def __init__(self, body: bytes, begin: int, count: int) -> None:
        if len(body) != begin + (count + 7) // 8:
            raise ValueError("bits of another number")
        self._body, self._begin = body, begin

    def at(self, numbers: Sequence[int]) -> Sequence[Value]:
        return [self.one(number) for number in numbers]

    def one(self, number: int) -> Value:
        return bool(self._body[self._begin + (number >> 3)] >> (number & 7) & 1)


def _is_plain(kind: pa.DataType) -> bool:
    """True for types whose values are found without decoding others."""
    return (
        is_text(kind) or is_integral(kind) or pa.types.is_float64(kind) or pa.types.is_boolean(kind)
    )


def _ranks(bitmap: bytes, rows: Sequence[int]) -> list[int]:
    """How many values come before each of these ascending rows."""
    ranks, at, count = [], 0, 0
    for row in rows:
        place = row >> 3
        count += int.from_bytes(bitmap[at:place], "little").bit_count()
        at = place
        ranks.append(count + (bitmap[place] & (1 << (row & 7)) - 1).bit_count())
    return ranks
