"""CSV files with a header line. The offset of a record is the number of its row, from 0.

A column's type is found once per file, by looking at every value: a type is chosen only if every
value has exactly that form, so no value changes (``007`` stays a string) and types don't vary
between batches. In columns that are not of strings, ``NA`` is a null like an empty field. Rows with
another number of fields, or with invalid UTF-8, go to quarantine.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv
from numpy.typing import NDArray

from tailer.sources.damage import damaged_rest
from tailer.sources.model import Quarantined, RawBatch, ReadLimits
from tailer.sources.storage import StoredFile
from tailer.sources.streams import ByteStream, format_suffix

_NULLS: Final = pa.array(["", "NA"])
_HEADER_BYTES: Final = 1 << 16
_BLOCK_MARGIN_BYTES: Final = 1 << 20
_DELIMITERS: Final = ",;\t|"
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_QUOTED: Final = re.compile(rb'"[^"]*"')
_CLOCK: Final = r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?"
# In the order in which they are preferred: the form of every value, and the type it has then. No
# form admits a value that its type would change, such as leading zeros or too many digits.
_FORMS: Final = (
    (r"^(0|-?[1-9][0-9]{0,17})$", pa.int64()),
    (r"^-?(0|[1-9][0-9]{0,16})(\.[0-9]{1,17})?([eE][+-]?[0-9]{1,2})?$", pa.float64()),
    (r"^(true|false|TRUE|FALSE|True|False)$", pa.bool_()),
    (r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$", pa.date32()),
    (f"^{_CLOCK}$", pa.timestamp("us")),
    (f"^{_CLOCK}(Z|[+-][0-9]{{2}}:[0-9]{{2}})$", pa.timestamp("us", "UTC")),
)
_Forms = tuple[tuple[str, pa.DataType], ...]


class CsvRows:
    """A CSV file, or TSV by its suffix; else the delimiter that the header has most often."""

    def __init__(self, file: StoredFile, log_time_us: int, limits: ReadLimits) -> None:
        self._file = file
        self._log_time_us = log_time_us
        self._limits = limits
        self._types: Mapping[str, pa.DataType] | None = None

    def batches(self, offset: int) -> Iterator[RawBatch]:
        """Consecutive batches that cover the file; some may lie before ``offset``."""
        if self._types is None:
            self._types = self._find_types()
        types = self._types
        with ByteStream(self._file) as stream:
            numbering = _Numbering()
            held: pa.Table | None = None
            try:
                for cells in self._cells(stream, numbering):
                    if held is not None:
                        yield self._batch(numbering, held, types)
                    held = cells
            except pa.ArrowException as error:
                if held is not None:
                    yield self._batch(numbering, held, types)
                yield damaged_rest(self._file.name, numbering.next_row, str(error))
                return
            yield from self._last(numbering, held, types, stream.broken)

    def _last(
        self,
        numbering: "_Numbering",
        cells: pa.Table | None,
        types: Mapping[str, pa.DataType],
        broken: str,
    ) -> Iterator[RawBatch]:
        if broken and cells is not None and not numbering.ends_refused(cells.num_rows):
            # The file broke off inside of this row, which may look whole.
            cut_row = cells.slice(cells.num_rows - 1)
            cells = cells.slice(0, cells.num_rows - 1)
        else:
            cut_row = None
        batch = self._batch(numbering, pa.table({}) if cells is None else cells, types, last=True)
        if batch.end > batch.begin:
            yield batch
        if broken:
            value = _raw_row(cut_row, 0) if cut_row is not None else b""
            rest = damaged_rest(self._file.name, numbering.next_row, broken)
            refused = replace(rest.quarantined[0], value=value, size_bytes=len(value))
            yield replace(rest, quarantined=(refused,))

    def _find_types(self) -> dict[str, pa.DataType]:
        forms: dict[str, _Forms] = {}
        valued: set[str] = set()
        with ByteStream(self._file) as stream:
            try:
                for cells in self._cells(stream, _Numbering()):
                    for name, column in zip(cells.column_names, cells.columns, strict=True):
                        values = _values(column)
                        forms[name] = _matching(forms.get(name, _FORMS), values)
                        if values is None or len(values):
                            valued.add(name)
            except pa.ArrowException:
                # Reading meets the same error at the same row and states it there.
                pass
        return {
            name: found[0][1] if found and name in valued else pa.string()
            for name, found in forms.items()
        }

    def _cells(self, stream: ByteStream, numbering: "_Numbering") -> Iterator[pa.Table]:
        """All fields as binary, block by block; an unquoted empty field is null."""
        header = _first_line(self._file)
        if not header:
            return
        parse = pcsv.ParseOptions(
            delimiter=_delimiter(self._file.name, header),
            newlines_in_values=True,
            invalid_row_handler=numbering.refuse,
        )
        names = _unique(self._names(header, parse))
        reader = pcsv.open_csv(
            stream,
            read_options=pcsv.ReadOptions(
                use_threads=False,
                block_size=self._limits.record_size_bytes_max + _BLOCK_MARGIN_BYTES,
                column_names=names,
                skip_rows_after_names=1,
            ),
            parse_options=parse,
            convert_options=pcsv.ConvertOptions(
                column_types={name: pa.binary() for name in names},
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )
        for block in reader:
            yield pa.Table.from_batches([block])

    def _names(self, header: bytes, parse: pcsv.ParseOptions) -> list[str]:
        names: list[str] = pcsv.read_csv(pa.BufferReader(header), parse_options=parse).column_names
        return names

    def _batch(
        self,
        numbering: "_Numbering",
        cells: pa.Table,
        types: Mapping[str, pa.DataType],
        last: bool = False,
    ) -> RawBatch:
        begin = numbering.next_row
        offsets, refused = numbering.number(cells, last, self._limits.prefix_bytes_max)
        text, bad = _as_text(cells)
        if bad.any():
            refused += [
                _refused_row(int(offsets[row]), "the row is not valid UTF-8", cells, int(row))
                for row in np.flatnonzero(bad)
            ]
            refused.sort(key=lambda record: record.offset)
            text, offsets = text.filter(pa.array(~bad)), offsets[~bad]
        typed = {
            name: _typed(column, types[name])
            for name, column in zip(text.column_names, text.columns, strict=True)
        }
        times = np.full(len(offsets), self._log_time_us, np.int64)
        return RawBatch(
            begin, numbering.next_row, pa.table(typed), offsets, times, quarantined=tuple(refused)
        )


class _Numbering:
    """Numbers the rows of a file: those that the parser gives and those that it refuses."""

    def __init__(self) -> None:
        self.next_row = 0
        self._refused: dict[int, pcsv.InvalidRow] = {}

    def refuse(self, row: pcsv.InvalidRow) -> str:
        """Keeps a row with a wrong number of fields; called by the parser, maybe ahead of us."""
        self._refused[row.number - _FIRST_ROW_NUMBER] = row
        return "skip"

    def ends_refused(self, rows: int) -> bool:
        """True if a refused row comes after the next ``rows`` good ones."""
        return any(row >= self._offsets(rows)[-1] for row in self._refused) if rows else False

    def number(
        self, cells: pa.Table, last: bool, prefix_bytes_max: int
    ) -> tuple[NDArray[np.int64], list[Quarantined]]:
        """The offsets of the next good rows, and the refused rows among, ``last``: after them."""
        offsets = self._offsets(cells.num_rows)
        if len(offsets):
            self.next_row = int(offsets[-1]) + 1
        if last:
            self.next_row = max([self.next_row, *(row + 1 for row in self._refused)])
        taken = sorted(row for row in self._refused if row < self.next_row)
        refused = []
        for row in taken:
            entry = self._refused.pop(row)
            reason = f"{entry.actual_columns} fields where the header has {entry.expected_columns}"
            value = entry.text.encode()
            refused.append(Quarantined(row, reason, value[:prefix_bytes_max], len(value)))
        return offsets, refused

    def _offsets(self, rows: int) -> NDArray[np.int64]:
        candidates = np.arange(self.next_row, self.next_row + rows + len(self._refused))
        refused = np.fromiter(self._refused, np.int64, len(self._refused))
        return candidates[~np.isin(candidates, refused)][:rows]


_FIRST_ROW_NUMBER: Final = 2
"""The parser's number of the first row after the header."""


def _first_line(file: StoredFile) -> bytes:
    """The header with its line feed; empty if nothing follows it. Raises pa.ArrowInvalid."""
    with ByteStream(file) as stream:
        start = stream.read(_HEADER_BYTES).removeprefix(_BYTE_ORDER_MARK).lstrip(b"\r\n")
    header, line_feed, _ = start.partition(b"\n")
    if not line_feed and len(start) >= _HEADER_BYTES // 2:
        raise pa.ArrowInvalid(f"the header is longer than {_HEADER_BYTES} bytes")
    return header + line_feed if line_feed else b""


def _delimiter(path: str, header: bytes) -> str:
    if format_suffix(path) == ".tsv":
        return "\t"
    unquoted = _QUOTED.sub(b"", header)
    return max(_DELIMITERS, key=lambda delimiter: unquoted.count(delimiter.encode()))


def _unique(names: Sequence[str]) -> list[str]:
    taken: set[str] = set()
    unique = []
    for index, name in enumerate(names):
        chosen = name or f"column{index}"
        while chosen in taken:
            chosen = f"{chosen}_{index}"
        taken.add(chosen)
        unique.append(chosen)
    return unique


def _values(column: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """The fields that are no nulls in a typed column; None if they are not all UTF-8."""
    try:
        texts = column.cast(pa.string())
    except pa.ArrowInvalid:
        return None
    return texts.filter(pc.invert(pc.is_in(texts, _NULLS))).drop_null()


def _matching(forms: _Forms, values: pa.ChunkedArray | None) -> _Forms:
    """The forms that all values of a column still have."""
    if values is None:
        return ()
    return tuple((form, kind) for form, kind in forms if _has_form(values, form, kind))


def _has_form(texts: pa.ChunkedArray, form: str, kind: pa.DataType) -> bool:
    if not pc.all(pc.match_substring_regex(texts, form), min_count=0).as_py():
        return False
    try:
        texts.cast(kind)
    except pa.ArrowInvalid:
        return False
    return True


def _as_text(cells: pa.Table) -> tuple[pa.Table, NDArray[np.bool_]]:
    """The table as strings, and the rows with a value that is none (their text is empty)."""
    bad = np.zeros(cells.num_rows, np.bool_)
    texts = {}
    for name, column in zip(cells.column_names, cells.columns, strict=True):
        try:
            texts[name] = column.cast(pa.string())
        except pa.ArrowInvalid:
            values = [_decoded(value) for value in column.to_pylist()]
            bad |= np.asarray([value is False for value in values])
            texts[name] = pa.chunked_array([pa.array([v or None for v in values], pa.string())])
    return pa.table(texts), bad


def _decoded(value: bytes | None) -> str | bool | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return False


def _typed(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    if kind == pa.string():
        return column
    is_null = pc.is_in(column, _NULLS)
    return pc.if_else(is_null, pa.scalar(None, pa.string()), column).cast(kind)


def _refused_row(offset: int, reason: str, cells: pa.Table, row: int) -> Quarantined:
    value = _raw_row(cells, row)
    return Quarantined(offset, reason, value, len(value))


def _raw_row(cells: pa.Table, row: int) -> bytes:
    return b",".join(column[row].as_py() or b"" for column in cells.columns)
