r"""One vectorised look at the raw bytes of a batch, before any parser sees them.

It counts each row's keys, finds explicit nulls, bounds the depth, and marks the rows that need the
strict parser. The count is exact for every row that is valid JSON and not marked: a key is a
string (between quotes that no odd run of backslashes escapes) followed by a colon. What is not
valid JSON may be counted wrongly, which is harmless, since a parser refuses such rows later. Every
step is linear in the bytes, whatever they are.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from tailer.decode.model import Mask

Bytes = npt.NDArray[np.uint8]
Positions = npt.NDArray[np.int64]

# Longer runs of whitespace between tokens are left to the strict parser, so that no input makes the
# vectorised skipping quadratic.
_SPACE_RUN_MAX: Final = 64
# Room behind the last byte, so that looking some bytes ahead needs no bounds check.
PADDING: Final = 32

_QUOTE, _BACKSLASH, _COLON, _COMMA, _DELETE = 34, 92, 58, 44, 127
_IS_SPACE: Final = np.isin(np.arange(256), [9, 10, 13, 32])
NULL: Final = np.frombuffer(b"null", dtype=np.uint8)
# A JSON string of the same length as ``null``, see ``mark_nulls``.
NULL_MARK: Final = b'"\x7f\x7f"'


@dataclass(frozen=True, slots=True)
class Scan:
    """Per row: ``keys`` (int64), and masks of rows whose quotes do not pair (``unclosed``), that
    nest deeper than allowed (``deep``), or that only the strict parser may judge (``strict``).
    ``nulls`` are the positions in the buffer of null values of keys.
    """

    keys: npt.NDArray[np.int64]
    unclosed: Mask
    deep: Mask
    strict: Mask
    nulls: Positions


def scan(data: Bytes, offsets: Positions, depth_max: int) -> Scan:
    """Scan rows ``data[offsets[i]:offsets[i + 1]]``; ``data`` has ``PADDING`` zero bytes at its
    end."""
    strict = np.zeros(len(offsets) - 1, dtype=np.bool_)
    quotes, backslashes = _unescaped_quotes(data)
    bounds = np.searchsorted(quotes, offsets)
    unclosed = (np.diff(bounds) & 1).astype(np.bool_)
    if unclosed.any():
        quotes = quotes[~np.repeat(unclosed, np.diff(bounds))]
        bounds = np.searchsorted(quotes, offsets)
    after, stuck = skip_space(data, quotes[1::2] + 1)
    is_key = data[after] == _COLON
    totals = np.concatenate([[0], np.cumsum(is_key)])[bounds // 2]
    values, stuck_values = skip_space(data, after[is_key] + 1)
    _mark_rows(strict, offsets, np.concatenate([after[stuck], values[stuck_values]]))
    _mark_reserved(strict, data, offsets, backslashes)
    _mark_trailing_commas(strict, data, offsets)
    return Scan(
        keys=np.diff(totals),
        unclosed=unclosed,
        deep=_deep_rows(data, offsets, quotes, depth_max),
        strict=strict,
        nulls=_nulls(data, values),
    )


def count_keys(data: Bytes, offsets: Positions) -> npt.NDArray[np.int64]:
    """The number of keys in each piece of valid, minified JSON text (padded as for ``scan``)."""
    quotes, _ = _unescaped_quotes(data)
    is_key = data[quotes[1::2] + 1] == _COLON
    totals = np.concatenate([[0], np.cumsum(is_key)])
    return np.diff(totals[np.searchsorted(quotes, offsets) // 2])


def mark_nulls(data: Bytes, nulls: Positions) -> Bytes:
    """The text with null values of keys as the string ``NULL_MARK``; a copy if there are any.

    DuckDB answers SQL NULL both for a key that is absent and for one that is null; with the mark,
    every key that is there can be counted. Rows that could hold the mark themselves are
    ``strict``.
    """
    if not len(nulls):
        return data
    marked = data.copy()
    for index, byte in enumerate(NULL_MARK):
        marked[nulls + index] = byte
    return marked


def _unescaped_quotes(data: Bytes) -> tuple[Positions, Positions]:
    quotes = np.flatnonzero(data == _QUOTE)
    escaped = data[quotes - 1] == _BACKSLASH
    if not escaped.any():
        return quotes, np.flatnonzero(data == _BACKSLASH)
    backslashes = np.flatnonzero(data == _BACKSLASH)
    starts = np.flatnonzero(np.diff(backslashes, prepend=-2) != 1)
    candidates = np.flatnonzero(escaped)
    last = np.searchsorted(backslashes, quotes[candidates]) - 1
    run_start = starts[np.searchsorted(starts, last, side="right") - 1]
    keep = np.ones(len(quotes), dtype=np.bool_)
    keep[candidates[(last - run_start) % 2 == 0]] = False
    return quotes[keep], backslashes


def skip_space(data: Bytes, positions: Positions) -> tuple[Positions, Mask]:
    """For each position the next one that is no whitespace, and a mask of those not reached."""
    stuck = _IS_SPACE[data[positions]]
    if not stuck.any():
        return positions, stuck
    positions = positions.copy()
    waiting = np.flatnonzero(stuck)
    for _ in range(_SPACE_RUN_MAX):
        positions[waiting] += 1
        waiting = waiting[_IS_SPACE[data[positions[waiting]]]]
        if not len(waiting):
            break
    stuck[:] = False
    stuck[waiting] = True
    return positions, stuck


def _mark_rows(mask: Mask, offsets: Positions, positions: Positions) -> None:
    if len(positions):
        mask[np.searchsorted(offsets, positions, side="right") - 1] = True


def _mark_reserved(strict: Mask, data: Bytes, offsets: Positions, backslashes: Positions) -> None:
    r"""Mark rows with DEL (the null mark is made of it) or ``\u0000`` (DuckDB cuts keys there)."""
    _mark_rows(strict, offsets, np.flatnonzero(data == _DELETE))
    codes = backslashes[data[backslashes + 1] == ord("u")]
    codes = codes[(data[codes + 2] == ord("0")) & (data[codes + 3] == ord("0"))]
    zero = (data[codes + 4] == ord("0")) & (data[codes + 5] == ord("0"))
    delete = (data[codes + 4] == ord("7")) & ((data[codes + 5] | 32) == ord("f"))
    _mark_rows(strict, offsets, codes[zero | delete])


def _mark_trailing_commas(strict: Mask, data: Bytes, offsets: Positions) -> None:
    """Mark rows in which a comma comes before a closing bracket, which DuckDB lets pass."""
    before = np.flatnonzero((data | 32) == ord("}")) - 1
    waiting = before
    for _ in range(_SPACE_RUN_MAX):
        last = data[waiting]
        _mark_rows(strict, offsets, waiting[last == _COMMA])
        waiting = waiting[_IS_SPACE[last]] - 1
        waiting = waiting[waiting >= 0]
        if not len(waiting):
            return
    _mark_rows(strict, offsets, waiting)


def _deep_rows(data: Bytes, offsets: Positions, quotes: Positions, depth_max: int) -> Mask:
    deep = np.zeros(len(offsets) - 1, dtype=np.bool_)
    opening = np.flatnonzero((data | 32) == ord("{"))
    # Brackets inside strings count here too: an upper bound that few rows pass.
    for row in np.flatnonzero(np.diff(np.searchsorted(opening, offsets)) > depth_max):
        start, stop = offsets[row], offsets[row + 1]
        text = data[start:stop] | 32
        brackets = np.flatnonzero((text == ord("{")) | (text == ord("}")))
        outside = np.searchsorted(quotes, brackets + start) % 2 == 0
        steps = np.where(text[brackets[outside]] == ord("{"), 1, -1)
        deep[row] = bool(np.max(np.cumsum(steps), initial=0) > depth_max)
    return deep


def _nulls(data: Bytes, values: Positions) -> Positions:
    nulls: Positions = values[data[values] == NULL[0]]
    for index in range(1, len(NULL)):
        nulls = nulls[data[nulls + index] == NULL[index]]
    return nulls
