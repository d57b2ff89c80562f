"""Text: for each word of the texts, the rows whose text holds it.

Answers ``match``: words exactly, the beginnings of words by a range of words, words in a row by
the rows that hold all of them, which is a superset. What a word is the engine tells, as it does for
the predicate (`alder/words.py`). Stored as the sorted words with the end of each one's rows, and
rows as differences in pages of whole words, so that a search reads few of them. An inverted file as
in Zobel and Moffat, "Inverted Files for Text Search Engines" (2006), without positions.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from alder import words
from alder.arrow import from_bytes, to_bytes
from alder.errors import AlderError, Reason
from leaf import layout
from leaf.format.frame import framed, unframed
from leaf.format.meta import TEXT_PAGE, TEXT_TOP, Block, Index, IndexMeta, suffix
from leaf.indexes.entries import Checked, Entries, compared
from leaf.indexes.kind import Built, Candidates, Column, ColumnBlocks, ColumnIndex, Part, Scalar
from leaf.indexes.rowset import RowSet, no_rows, of_numbers, union

PATH: Final = "text index"
WORD_CHARACTERS_MAX: Final = 64
"""Longer words are filed under their beginning."""
RUN_BYTES_MAX: Final = 16 << 20
"""Bytes of texts that are split into words at once."""
PAGE_ROWS: Final = 1 << 16
"""A page holds the words whose rows begin within so many."""
EAGER_ROWS_MAX: Final = 1 << 16
"""So many rows are joined at once, to tell how many they are."""
_VERSION: Final = "words"
_ROW_BYTES: Final = 4
_ROW_BITS: Final = np.uint64(32)
_NO_PAIR: Final = np.uint64((1 << 64) - 1)
_TOP: Final = pa.schema([("words", pa.string()), ("ends", pa.uint32())])
_SPLIT: Final = (
    f"SELECT list_transform({words.words_sql('t')}, lambda word: left(word, {WORD_CHARACTERS_MAX}))"
    " FROM texts"
)
Rows = NDArray[np.uint32]


class Text:
    """Implements PartwiseKind."""

    index: Final = Index.TEXT
    tags: Final = frozenset({"string"})

    def build(self, column: Column, options: Mapping[str, str]) -> Built | None:
        """None for values that are no strings."""
        if column.tag not in self.tags:
            return None
        return self.joined(column.number, [self.part(column.values, 0)])

    def part(self, values: pa.Array, first_row: int) -> Part:
        """The distinct words, as bytes and the end of each, and pairs of their codes and rows."""
        found, codes, rows = [], [], []
        total = 0
        for begin, run in _runs(values):
            one = _split(run, first_row + begin)
            found.append(one.words)
            codes.append(one.codes + np.uint32(total))
            rows.append(one.rows)
            total += len(one.words)
        return (*_as_arrays(pa.concat_arrays(found)), np.concatenate(codes), np.concatenate(rows))

    def joined(self, number: int, parts: Sequence[Part]) -> Built:
        """See PartwiseKind."""
        own = [_as_strings(part[0], part[1]) for part in parts]
        distinct = pc.unique(pa.concat_arrays(own))
        distinct = distinct.take(pc.array_sort_indices(distinct))
        ranks = [np.asarray(pc.index_in(one, value_set=distinct)) for one in own]
        codes = np.concatenate([rank[part[2]] for rank, part in zip(ranks, parts, strict=True)])
        rows = np.concatenate([part[3] for part in parts]).astype(np.uint32)
        rows = rows[np.argsort(codes, kind="stable")]
        ends = np.cumsum(np.bincount(codes, minlength=len(distinct))).astype(np.uint32)
        top = pa.table([distinct, pa.array(ends)], schema=_TOP)
        blocks = [Block(layout.POSTINGS, suffix(number, TEXT_TOP), framed(to_bytes(top)))]
        described = _Top(distinct, ends)
        for page in described.pages(0, len(ends)):
            begin, end = described.page_bounds(page)
            data = framed(_packed(rows[begin:end]))
            blocks.append(Block(layout.POSTINGS, suffix(number, TEXT_PAGE, page), data))
        return Built(IndexMeta(self.index, {_VERSION: words.VERSION}), tuple(blocks))

    def needed(self, number: int, details: Mapping[str, int]) -> set[bytes]:
        """See IndexKind."""
        return {suffix(number, TEXT_TOP)}

    def open(self, blocks: ColumnBlocks, details: Mapping[str, int]) -> ColumnIndex:
        """See IndexKind."""
        return _TextIndex(blocks, details[_VERSION])


@dataclass(frozen=True, slots=True)
class _Words:
    """Distinct words, and which is in which row: pairs of codes and rows, by row and without two
    alike."""

    words: pa.Array
    codes: Rows
    rows: Rows


@dataclass(frozen=True, slots=True)
class _Top:
    """The words, ascending; the rows of word ``n`` end at ``ends[n]``."""

    words: pa.Array
    ends: Rows

    @property
    def size_bytes(self) -> int:
        return int(self.words.nbytes) + self.ends.nbytes

    def begin(self, word: int) -> int:
        """Where the rows of a word begin."""
        return int(self.ends[word - 1]) if word else 0

    def pages(self, begin: int, end: int) -> list[int]:
        """The pages of the words ``[begin, end)``: each word is in that in which its rows begin."""
        found = np.concatenate([[0], self.ends[:-1]])[begin:end] // PAGE_ROWS
        return list(dict.fromkeys(found.tolist()))

    def page_bounds(self, page: int) -> tuple[int, int]:
        """Where the rows of a page begin and end."""
        first, after = np.searchsorted(self.ends[:-1], [page * PAGE_ROWS, (page + 1) * PAGE_ROWS])
        return self.begin(int(first) + 1 if page else 0), self.begin(int(after) + 1)


class _TextIndex:
    """Implements ColumnIndex."""

    kind: Final = Index.TEXT.value
    path: Final = PATH

    def __init__(self, blocks: ColumnBlocks, version: int) -> None:
        self._blocks = blocks
        self._version = version

    def find(self, operator: str, values: Sequence[Scalar]) -> Candidates | None:
        """See ColumnIndex. An index of another version of words knows nothing."""
        if operator != words.OPERATOR or self._version != words.VERSION:
            return None
        top = self._top()
        ranges = [self._ranges(top, *words.of_written(str(value))) for value in values]
        counts = [min(top.begin(end) - top.begin(begin) for begin, end in row) for row, _ in ranges]
        count = min(sum(counts), self._blocks.rows)
        exact = all(one for _, one in ranges)

        def rows() -> RowSet:
            return union([self._holding_all(top, row) for row, _ in ranges])

        if not count:
            return Candidates(PATH, 0, True, 0, no_rows)
        single = len(ranges) == 1 and all(end - begin == 1 for begin, end in ranges[0][0])
        unread = sum(top.begin(end) - top.begin(begin) for row, _ in ranges for begin, end in row)
        if single or unread > EAGER_ROWS_MAX:
            return Candidates(PATH, count, exact and single, unread, rows)
        found = rows()
        return Candidates(PATH, found.count, exact or not found.count, 0, lambda: found)

    def check(self, column: pa.Array) -> Checked:
        """See ColumnIndex."""
        top = self._top()
        rows = [top.ends[:0]]
        for page in top.pages(0, len(top.ends)):
            begin, end = top.page_bounds(page)
            rows.append(self._page(page, end - begin))
        numbers = np.repeat(np.arange(len(top.ends)), np.diff(top.ends, prepend=np.uint32(0)))
        expected = [_split(run, begin) for begin, run in _runs(column)]
        return compared(
            Entries(top.words.take(pa.array(numbers)), np.concatenate(rows)),
            Entries(
                pa.concat_arrays([one.words.take(pa.array(one.codes)) for one in expected]),
                np.concatenate([one.rows for one in expected]),
            ),
        )

    def _ranges(
        self, top: _Top, row: tuple[str, ...], prefix: bool
    ) -> tuple[list[tuple[int, int]], bool]:
        """For each word in a row the words of the index that it can be; true if they say it all."""
        last = len(row) - 1
        ranges = [
            _range(top.words, word[:WORD_CHARACTERS_MAX], prefix and place == last)
            for place, word in enumerate(row)
        ]
        return ranges, not last and len(row[0]) < WORD_CHARACTERS_MAX

    def _holding_all(self, top: _Top, ranges: Sequence[tuple[int, int]]) -> RowSet:
        """The rows that hold a word of each range, the rarest first."""
        found: RowSet | None = None
        for begin, end in sorted(ranges, key=lambda one: top.begin(one[1]) - top.begin(one[0])):
            if found is not None and not found.count:
                break
            one = self._holding(top, begin, end)
            found = one if found is None else found.intersected(one)
        return found if found is not None else no_rows()

    def _holding(self, top: _Top, begin: int, end: int) -> RowSet:
        """The rows that hold any of the words ``[begin, end)``."""
        parts = []
        first, last = top.begin(begin), top.begin(end)
        for page in top.pages(begin, end):
            page_begin, page_end = top.page_bounds(page)
            rows = self._page(page, page_end - page_begin)
            parts.append(rows[max(first - page_begin, 0) : last - page_begin])
        if not parts:
            return no_rows()
        found = np.concatenate(parts)
        return of_numbers(found if end - begin == 1 else np.unique(found))

    def _top(self) -> _Top:
        return self._blocks.decoded(TEXT_TOP, 0, _decoded_top, lambda top: top.size_bytes)

    def _page(self, page: int, rows: int) -> Rows:
        def load(data: bytes, what: str) -> Rows:
            found = _unpacked(unframed(data, what), rows, what)
            if found.max(initial=0) >= self._blocks.rows:
                raise AlderError(Reason.CORRUPT, f"{what} name rows that do not exist")
            return found

        return self._blocks.decoded(TEXT_PAGE, page, load, lambda found: found.nbytes)


def _decoded_top(data: bytes, what: str) -> _Top:
    table = from_bytes(unframed(data, what))
    if table.schema != _TOP:
        raise AlderError(Reason.CORRUPT, f"{what} have other columns than an index of words")
    found, ends = (table.column(name).combine_chunks() for name in _TOP.names)
    numbers = np.asarray(ends)
    if ends.null_count or found.null_count or (np.diff(numbers.astype(np.int64)) <= 0).any():
        raise AlderError(Reason.CORRUPT, f"{what} contradict each other")
    return _Top(found, numbers)


def _packed(rows: Rows) -> bytes:
    """Rows as differences, which wrap, and those by their first, second, third, fourth bytes."""
    differences = np.diff(rows, prepend=np.uint32(0)).astype("<u4")
    return differences.view(np.uint8).reshape(-1, _ROW_BYTES).T.tobytes()


def _unpacked(payload: bytes, rows: int, what: str) -> Rows:
    """The inverse of :func:`_packed`. Raises AlderError(CORRUPT) for another number of rows."""
    if len(payload) != rows * _ROW_BYTES:
        raise AlderError(Reason.CORRUPT, f"{what} have another number of rows than is said")
    planes = np.frombuffer(payload, np.uint8).reshape(_ROW_BYTES, -1)
    differences = np.ascontiguousarray(planes.T).view("<u4").reshape(-1)
    return np.cumsum(differences, dtype=np.uint32)


def _runs(values: pa.Array) -> Iterator[tuple[int, pa.Array]]:
    """Runs of texts that are split into words at once, and the number of the first of each."""
    count = max(1, RUN_BYTES_MAX * len(values) // max(1, values.nbytes))
    for begin in range(0, len(values), count):
        yield begin, values.slice(begin, count)


def _split(texts: pa.Array, first_row: int) -> _Words:
    """The distinct words of each text, cut to the characters that are filed."""
    cursor = _engine().cursor()
    try:
        cursor.register("texts", pa.table({"t": texts}))
        lists = cursor.sql(_SPLIT).to_arrow_table().column(0).combine_chunks()
    finally:
        cursor.close()
    encoded = lists.flatten().dictionary_encode()
    codes = np.asarray(encoded.indices).astype(np.uint64)
    pairs = np.asarray(pc.list_parent_indices(lists)).astype(np.uint64) << _ROW_BITS | codes
    pairs.sort()
    pairs = pairs[np.diff(pairs, prepend=_NO_PAIR) != 0]
    rows = (pairs >> _ROW_BITS).astype(np.uint32) + np.uint32(first_row)
    return _Words(encoded.dictionary, pairs.astype(np.uint32), rows)


@cache
def _engine() -> duckdb.DuckDBPyConnection:
    return duckdb.connect(":memory:", config={"threads": 1})


def _as_arrays(strings: pa.Array) -> tuple[NDArray[np.generic], NDArray[np.generic]]:
    """The bytes of strings without nulls, and the end of each."""
    ends = np.cumsum(np.asarray(pc.binary_length(strings)), dtype=np.int64)
    return np.frombuffer(b"".join(strings.cast(pa.binary()).to_pylist()), np.uint8), ends


def _as_strings(data: NDArray[np.generic], ends: NDArray[np.generic]) -> pa.Array:
    offsets = np.concatenate([[0], ends]).astype(np.int32)
    return pa.StringArray.from_buffers(len(ends), pa.py_buffer(offsets), pa.py_buffer(data))


def _range(found: pa.Array, word: str, prefix: bool) -> tuple[int, int]:
    """The words that a word can be, or that begin with it; strings are in the order of bytes."""
    numbers = range(len(found))
    begin = bisect_left(numbers, word, key=lambda n: found[n].as_py())
    if not prefix:
        return begin, begin + int(begin < len(found) and found[begin].as_py() == word)
    size = len(word)
    return begin, bisect_right(numbers, word, lo=begin, key=lambda n: found[n].as_py()[:size])
