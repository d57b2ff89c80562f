"""Columns of text, made without a loop over rows.

Everything here takes and gives whole columns (numpy in, Arrow strings out), so that ten million
documents are a matter of a minute.
"""

from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Numbers = npt.NDArray[np.int64]
LETTERS: Final = np.frombuffer(b"234567abcdefghijklmnopqrstuvwxyz", dtype=np.uint8)
"""The 32 letters of identifiers, in the order of their codes."""
_VOCABULARY_WORDS: Final = 20_000
_POOL_WORDS: Final = 400_000


def fixed(codes: npt.NDArray[np.integer]) -> pa.StringArray:
    """Strings of equal length; ``codes`` of shape (rows, length), each below 32."""
    rows, length = codes.shape
    data = pa.py_buffer(LETTERS[codes].tobytes())
    offsets = pa.py_buffer(np.arange(0, (rows + 1) * length, length, dtype=np.int32))
    return pa.StringArray.from_buffers(rows, offsets, data)


def random_words(rng: np.random.Generator, rows: int, length: int) -> pa.StringArray:
    """Random identifiers."""
    return fixed(rng.integers(0, 32, (rows, length), dtype=np.uint8))


def hashed_words(numbers: Numbers, length: int, salt: int) -> pa.StringArray:
    """The identifier of each number: equal numbers give equal words, for ever."""
    codes = np.empty((len(numbers), length), dtype=np.uint8)
    for start in range(0, length, 12):
        bits = mixed(numbers, salt + start)
        for place in range(start, min(start + 12, length)):
            codes[:, place] = bits & np.uint64(31)
            bits >>= np.uint64(5)
    return fixed(codes)


def mixed(numbers: Numbers, salt: int) -> npt.NDArray[np.uint64]:
    """64 well mixed bits per number: the finaliser of SplitMix64 (Steele, Lea, Flood 2014)."""
    with np.errstate(over="ignore"):
        bits = numbers.astype(np.uint64) + np.uint64(salt + 1) * np.uint64(0x9E3779B97F4A7C15)
        bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


def time_words(times_us: Numbers, clocks: Numbers) -> pa.StringArray:
    """Identifiers that sort by time: 53 bits of microseconds, 10 of a clock, in 13 letters.

    The form of the AT protocol's TIDs (atproto.com/specs/tid).
    """
    bits = (times_us << 10) | (clocks & 1023)
    shifts = np.arange(60, -1, -5, dtype=np.int64)
    return fixed((bits[:, None] >> shifts) & 31)


def iso_times(times_us: Numbers) -> pa.StringArray:
    """Times like 2024-11-21T16:25:49.123Z."""
    milliseconds = pa.array(times_us // 1000, pa.timestamp("ms"))
    return pc.binary_join_element_wise(pc.strftime(milliseconds, "%Y-%m-%dT%H:%M:%S"), "Z", "")


def decimals(numbers: Numbers) -> pa.StringArray:
    """Numbers as their digits."""
    return pc.cast(pa.array(numbers), pa.string())


def joined(*parts: pa.StringArray | str) -> pa.StringArray:
    """The parts of each row one after the other; a plain string is the same in every row."""
    return pc.binary_join_element_wise(*parts, "")


def picked(rng: np.random.Generator, rows: int, choices: dict[str, float]) -> pa.StringArray:
    """Each row one of the choices, by weight."""
    weights = np.array(list(choices.values()))
    codes = rng.choice(len(choices), rows, p=weights / weights.sum())
    return pa.array(list(choices)).take(pa.array(codes))


class Prose:
    """Running text of made-up words, common ones common: word frequencies follow Zipf's law."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        lengths = rng.integers(2, 10, _VOCABULARY_WORDS)
        letters = LETTERS[rng.integers(6, 32, int(lengths.sum()))].tobytes().decode()
        ends = np.cumsum(lengths)
        vocabulary = [letters[end - n : end] for end, n in zip(ends, lengths, strict=True)]
        shares = 1 / np.arange(1, _VOCABULARY_WORDS + 1)
        chosen = rng.choice(_VOCABULARY_WORDS, _POOL_WORDS, p=shares / shares.sum())
        self._pool = np.frombuffer(
            " ".join(vocabulary[word] for word in chosen).encode() + b" ", dtype=np.uint8
        )
        self._ends = np.flatnonzero(self._pool == ord(" "))

    def texts(
        self, rng: np.random.Generator, rows: int, words_min: int, words_max: int
    ) -> pa.StringArray:
        """A text per row, of so many words."""
        words = rng.integers(words_min, words_max + 1, rows)
        first = rng.integers(0, len(self._ends) - words_max - 1, rows)
        starts, ends = self._ends[first] + 1, self._ends[first + words]
        lengths = ends - starts
        offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int32)
        places = np.repeat(starts - offsets[:-1], lengths) + np.arange(offsets[-1])
        data = pa.py_buffer(self._pool[places].tobytes())
        return pa.StringArray.from_buffers(rows, pa.py_buffer(offsets), data)
