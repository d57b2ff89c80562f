r"""A first look at the raw bytes of a batch that tells the plain rows from those to be scanned.

Most documents are plain: no backslash, no space before a colon or a closing bracket, no comma
before a closing bracket. In such a row every quote begins or ends a string, and a quote followed by
a colon ends a key unless it begins a string, which the byte before it tells. So keys and quotes are
counted with comparisons of whole buffers, without a look at each quote. What is said of a row that
is not plain means nothing; ``scan`` looks at those.

Every step is linear in the bytes. Masks are made block by block, so that they stay in the cache of
the processor, and kept as bits.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tailer.decode.model import Mask
from tailer.decode.scan import NULL, PADDING, Bytes, Positions

_BLOCK_BYTES: Final = 1 << 16
_WORD_BITS: Final = 64
_QUOTE, _COLON, _COMMA, _BACKSLASH, _SPACE, _DELETE = 34, 58, 44, 92, 32, 127
_OPENING, _CLOSING = ord("{"), ord("}")
# Bit 5 is all that tells a square bracket from a curly one.
_BRACKET_BIT: Final = 32
_IS_SPACE: Final = np.isin(np.arange(256), [9, 10, 13, 32])
# What stands before the quote that begins a string.
_BEFORE_STRING: Final = _IS_SPACE | np.isin(np.arange(256), list(b"{[,:"))


@dataclass(frozen=True, slots=True)
class Survey:
    """Per row: ``keys`` and ``quotes`` (int64), those of null marks included, exact for rows that
    are valid JSON and ``plain``. ``nulls`` are the positions of null values of keys in plain rows.
    """

    keys: npt.NDArray[np.int64]
    quotes: npt.NDArray[np.int64]
    nulls: Positions
    plain: Mask


def survey(data: Bytes, offsets: Positions, depth_max: int) -> Survey:
    """Look at rows ``data[offsets[i]:offsets[i + 1]]``; ``data`` has ``PADDING`` zero bytes at its
    end. Rows with more brackets than ``depth_max`` are not plain."""
    size = len(data) - PADDING
    quotes, odd, opening = _Bits(size), _Bits(size), _Bits(size)
    found: list[Positions] = []
    for begin in range(0, size, _BLOCK_BYTES):
        block = data[begin : min(begin + _BLOCK_BYTES, size)]
        after = data[begin + 1 : begin + 1 + len(block)]
        quote = block == _QUOTE
        colon = after == _COLON
        closing = (after | _BRACKET_BIT) == _CLOSING
        space = block <= _SPACE
        quotes.put(begin, quote)
        opening.put(begin, (block | _BRACKET_BIT) == _OPENING)
        strange = (block == _BACKSLASH) | (block == _DELETE) | (space & (colon | closing))
        odd.put(begin, strange | ((block == _COMMA) & closing))
        found.append(np.flatnonzero(quote & colon) + begin)
    ends = np.concatenate(found) if found else np.zeros(0, dtype=np.int64)
    keys = np.diff(np.searchsorted(ends, offsets))
    plain = (odd.count(offsets) == 0) & (opening.count(offsets) <= depth_max)
    nulls, unsure = _nulls(data, ends)
    for places in (ends[_BEFORE_STRING[data[ends - 1]]], unsure):
        plain[_rows(offsets, places)] = False
    rows = _rows(offsets, nulls)
    stay = plain[rows]
    marks = 2 * np.bincount(rows[stay], minlength=len(keys))
    return Survey(keys, quotes.count(offsets) + marks, nulls[stay], plain)


def count_byte(texts: pa.Array, byte: int) -> npt.NDArray[np.int64]:
    """How often a byte is in each text of a string column; 0 for null."""
    data = np.frombuffer(texts.buffers()[2], dtype=np.uint8)
    is_byte = data == byte
    if not is_byte.any():
        return np.zeros(len(texts), dtype=np.int64)
    wide = pa.types.is_large_string(texts.type)
    offsets = np.frombuffer(texts.buffers()[1], dtype=np.int64 if wide else np.int32)
    bits = _Bits(len(data))
    bits.put(0, is_byte)
    return bits.count(offsets[texts.offset : texts.offset + len(texts) + 1].astype(np.int64))


class _Bits:
    """A mask over bytes, one bit each."""

    def __init__(self, size: int) -> None:
        self._words = np.zeros(size // _WORD_BITS + 1, dtype="<u8")

    def put(self, begin: int, mask: Mask) -> None:
        """Sets the part of the mask from ``begin`` on, which is a multiple of 8."""
        packed = np.packbits(mask, bitorder="little")
        self._words.view(np.uint8)[begin // 8 : begin // 8 + len(packed)] = packed

    def count(self, offsets: Positions) -> npt.NDArray[np.int64]:
        """The number of bits set in each ``[offsets[i], offsets[i + 1])``."""
        before = np.cumsum(np.bitwise_count(self._words), dtype=np.int64)
        words = self._words[offsets // _WORD_BITS]
        # The bits of the word from the offset on, which are not before it.
        rest = np.bitwise_count(words >> (offsets % _WORD_BITS).astype(np.uint64))
        return np.diff(before[offsets // _WORD_BITS] - rest)


def _nulls(data: Bytes, ends: Positions) -> tuple[Positions, Positions]:
    """Where keys that end at ``ends`` have the value null, and where only a scan can tell."""
    values = ends + len('":')
    values = values + (data[values] == _SPACE)
    first = data[values]
    unsure = values[_IS_SPACE[first]]
    nulls = values[first == NULL[0]]
    for index in range(1, len(NULL)):
        nulls = nulls[data[nulls + index] == NULL[index]]
    return nulls, unsure


def _rows(offsets: Positions, positions: Positions) -> Positions:
    """The rows that hold these positions."""
    rows: Positions = np.searchsorted(offsets, positions, side="right") - 1
    return rows
