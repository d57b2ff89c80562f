r"""From JSON text to typed columns: one column of cells in, one column per type tag out.

A cell is the minified JSON text of one value, or null. Its tag depends on its own text alone, so
it doesn't matter which cells share a batch. No value is coerced: "5" stays a string, 1.0 a float,
and a number that no numeric type holds stays text under ``json``.
"""

import json
import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from alder.fieldtypes import EMPTY_LIST, arrow_type
from tailer.decode.engine import Engine
from tailer.decode.model import Mask
from tailer.decode.scan import NULL_MARK

_ABSENT, _STRING, _NUMBER, _BOOL, _LIST, _OBJECT, _REFUSED = range(7)
_KIND_OF_FIRST_BYTE: Final = np.full(256, _REFUSED, dtype=np.uint8)
_KIND_OF_FIRST_BYTE[np.frombuffer(b"0123456789-", np.uint8)] = _NUMBER
_KIND_OF_FIRST_BYTE[np.frombuffer(b"tf", np.uint8)] = _BOOL
_KIND_OF_FIRST_BYTE[ord('"')] = _STRING
_KIND_OF_FIRST_BYTE[ord("[")] = _LIST
_KIND_OF_FIRST_BYTE[ord("{")] = _OBJECT

_INT = "-?[0-9]{1,18}"
# Far inside the range of doubles, with integers that a double holds exactly.
_PLAIN_FLOAT = (
    r"-?[0-9]{1,15}|-?[0-9]{1,25}\.[0-9]+([eE][+-]?[0-9]{1,2})?|-?[0-9]{1,25}[eE][+-]?[0-9]{1,2}"
)
_ANY_NUMBER = r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?"
_STRING_TEXT = r'"([^"\\]|\\.)*"'


def _list_of(element: str) -> str:
    one = f"(?:{element}|null)"
    return rf"(?s)\A\[{one}(?:,{one})*\]\z"


# In this order: a list that an earlier pattern matches is not tried on the later ones, and lists of
# strings are the most common.
_LISTS: Final = (
    (EMPTY_LIST, r"\A\[(?:null(?:,null)*)?\]\z", ""),
    ("list<string>", _list_of(_STRING_TEXT), "VARCHAR"),
    ("list<int>", _list_of(_INT), "BIGINT"),
    ("list<float>", _list_of(_PLAIN_FLOAT), "DOUBLE"),
    ("list<bool>", _list_of("true|false"), "BOOLEAN"),
)
_FEW: Final = 512
"""Texts that Python's parser reads in less time than a statement of the engine takes to begin."""
# Such texts have one spelling, the one that the engine gives.
_SPELT_AS_EXTRACTED: Final = r'\A(?:[\[\]{},:]|"[^"\\]*"|true|false|null|0|-?[1-9][0-9]{0,17})*\z'
_NOT_JSON_IN_LIST: Final = r"(?i)[\[,:]-?(?:nan|inf)"


@dataclass(frozen=True, slots=True)
class Typed:
    """``columns`` maps a tag to a column as long as the cells, null where the value has another
    tag.

    ``refused`` marks cells that are no JSON (NaN and the like), which then have no value at all;
    None if there are none. Filled objects have no value either: they are the caller's.
    """

    columns: dict[str, pa.Array]
    refused: Mask | None


def type_cells(cells: pa.Array, engine: Engine, *, null_marks: bool) -> Typed:
    """Type a string column of cells.

    Cells that were extracted have ``null_marks``: the string ``NULL_MARK`` in them stands for
    null. Other cells have none, and may spell lists in any way.

    Raises duckdb.Error where DuckDB fails on the batch.
    """
    if not len(cells):
        return Typed({}, None)
    view = _View(cells)
    kinds = view.kinds(null_marks=null_marks)
    counts = np.bincount(kinds, minlength=7)
    columns: dict[str, pa.Array] = {}
    if counts[_STRING]:
        columns["string"] = _strings(view.pick(kinds == _STRING), engine)
    if counts[_NUMBER]:
        columns.update(_numbers(view.pick(kinds == _NUMBER), engine))
    if counts[_BOOL]:
        columns["bool"] = pc.equal(view.pick(kinds == _BOOL), "true")
    texts: list[pa.Array] = [columns.pop("json")] if "json" in columns else []
    if counts[_OBJECT]:
        empty = (kinds == _OBJECT) & (view.lengths == len("{}"))
        texts.append(view.pick(empty))
    refused = kinds == _REFUSED
    if counts[_LIST]:
        rows = np.flatnonzero(kinds == _LIST)
        lists = cells.take(pa.array(rows))
        if null_marks:
            lists = pc.replace_substring(lists, NULL_MARK.decode(), "null")
        else:
            lists = _spelt_as_extracted(lists, engine)
        typed = _lists(lists, engine)
        if typed.refused is not None:
            refused[rows] = typed.refused
        for tag, column in typed.columns.items():
            spread = scatter(column, rows, len(cells))
            if tag == "json":
                texts.append(spread)
            else:
                columns[tag] = spread
    if texts:
        columns["json"] = pc.coalesce(*texts)
    columns = {tag: column for tag, column in columns.items() if column.null_count < len(column)}
    return Typed(columns, refused if refused.any() else None)


def scatter(values: pa.Array, rows: npt.NDArray[np.intp], row_count: int) -> pa.Array:
    """A column with ``values[i]`` at ``rows[i]`` and null elsewhere."""
    places = np.full(row_count, -1, dtype=np.int64)
    places[rows] = np.arange(len(values))
    return values.take(pa.array(places, mask=places < 0))


class _View:
    """numpy's sight of a string column."""

    def __init__(self, cells: pa.Array) -> None:
        self._cells = cells
        wide = pa.types.is_large_string(cells.type)
        buffers = cells.buffers()
        offsets = np.frombuffer(buffers[1], dtype=np.int64 if wide else np.int32)
        self._starts = offsets[cells.offset : cells.offset + len(cells)]
        self.lengths = np.diff(offsets[cells.offset : cells.offset + len(cells) + 1])
        self._data = (
            np.frombuffer(buffers[2], dtype=np.uint8)
            if buffers[2] is not None and buffers[2].size
            else np.zeros(1, dtype=np.uint8)
        )
        self._valid = (
            np.ones(len(cells), dtype=np.bool_)
            if cells.null_count == 0
            else cells.is_valid().to_numpy(zero_copy_only=False)
        )

    def kinds(self, *, null_marks: bool) -> npt.NDArray[np.uint8]:
        kinds = _KIND_OF_FIRST_BYTE[self._byte(0)]
        kinds[~self._valid] = _ABSENT
        second = self._byte(1)
        # The longest text that is no number but begins like one is -Infinity.
        kinds[(self._byte(0) == ord("-")) & (second > ord("9")) & (kinds == _NUMBER)] = _REFUSED
        if null_marks:
            marked = (self.lengths == len(NULL_MARK)) & (second == NULL_MARK[1])
            kinds[marked & (kinds == _STRING)] = _ABSENT
        return kinds

    def pick(self, mask: Mask) -> pa.Array:
        """The cells where the mask is set, null elsewhere."""
        if np.array_equal(mask, self._valid):
            return self._cells
        return pc.if_else(pa.array(mask), self._cells, pa.scalar(None, self._cells.type))

    def _byte(self, index: int) -> npt.NDArray[np.uint8]:
        found: npt.NDArray[np.uint8] = self._data[
            np.minimum(self._starts + index, len(self._data) - 1)
        ]
        return found


def _strings(cells: pa.Array, engine: Engine) -> pa.Array:
    plain = pc.binary_slice(cells.cast(pa.binary()), 1, -1).cast(pa.string())
    escaped = pc.match_substring(cells, "\\")
    if not pc.any(escaped).as_py():
        return plain
    rows = np.flatnonzero(escaped.fill_null(False).to_numpy(zero_copy_only=False))
    decoded = _parsed(cells.take(pa.array(rows)), "v ->> '$'", pa.string(), engine)
    return pc.if_else(escaped, scatter(decoded, rows, len(cells)), plain)


def _parsed(texts: pa.Array, expression: str, kind: pa.DataType, engine: Engine) -> pa.Array:
    """The values of JSON texts, all of which are of this type; ``expression`` is the engine's."""
    if len(texts) <= _FEW:
        return pa.array([json.loads(text) for text in texts.to_pylist()], kind)
    return engine.map(expression, texts)


def _spelt_as_extracted(lists: pa.Array, engine: Engine) -> pa.Array:
    """Lists with one spelling of numbers and escapes, the same that extraction gives."""
    spelt = pc.match_substring_regex(lists, _SPELT_AS_EXTRACTED)
    others = np.flatnonzero(~spelt.to_numpy(zero_copy_only=False))
    if not len(others):
        return lists
    respelt = engine.map("from_json(v::JSON, '\"JSON\"')", lists.take(pa.array(others)))
    return pc.if_else(spelt, lists, scatter(respelt.cast(lists.type), others, len(lists)))


def _numbers(cells: pa.Array, engine: Engine) -> dict[str, pa.Array]:
    fractional = pc.match_substring_regex(cells, "[.eE]")
    columns: dict[str, pa.Array] = {}
    nothing = pa.scalar(None, cells.type)
    whole = cells
    if pc.any(fractional).as_py():
        texts = pc.if_else(fractional, cells, nothing)
        whole = pc.if_else(fractional, nothing, cells)
        floats = texts.cast(pa.float64())
        finite = pc.is_finite(floats)
        columns["float"] = floats
        if not pc.all(finite).as_py():
            columns["float"] = pc.if_else(finite, floats, pa.scalar(None, pa.float64()))
            columns["json"] = pc.if_else(finite, nothing, texts)
    if whole.null_count == len(whole):
        return columns
    if (pc.max(pc.binary_length(whole)).as_py() or 0) <= len("999999999999999999"):
        columns["int"] = whole.cast(pa.int64())
        return columns
    ints, decimals = engine.project(
        ["try_cast(v AS BIGINT)", "try_cast(v AS DECIMAL(38, 0))"], whole
    )
    columns["int"] = ints
    decimals = pc.if_else(ints.is_null(), decimals, pa.scalar(None, decimals.type))
    columns["decimal(38,0)"] = decimals
    typed = pc.or_(ints.is_valid(), decimals.is_valid())
    longest = pc.if_else(typed, nothing, whole)
    columns["json"] = pc.coalesce(columns["json"], longest) if "json" in columns else longest
    return columns


def _lists(cells: pa.Array, engine: Engine) -> Typed:
    """Type cells that are all lists (no nulls among them)."""
    row_count = len(cells)
    columns: dict[str, pa.Array] = {}
    rows = np.arange(row_count)
    for tag, pattern, sql in _LISTS:
        if not len(rows):
            break
        rest = cells.take(pa.array(rows))
        matched = pc.match_substring_regex(rest, pattern).to_numpy(zero_copy_only=False)
        if matched.any():
            texts = rest.filter(pa.array(matched))
            if sql:
                expression = f"from_json(v::JSON, '[\"{sql}\"]')"
                texts = _parsed(texts, expression, arrow_type(tag), engine)
            columns[tag] = scatter(texts.cast(arrow_type(tag)), rows[matched], row_count)
            rows = rows[~matched]
    refused = np.zeros(row_count, dtype=np.bool_)
    if len(rows):
        rest = cells.take(pa.array(rows))
        numeric = pc.match_substring_regex(rest, _list_of(_ANY_NUMBER))
        wide = _wide_number_lists(rest, numeric.to_numpy(zero_copy_only=False))
        refused[rows] = pc.match_substring_regex(rest, _NOT_JSON_IN_LIST).to_numpy(
            zero_copy_only=False
        )
        for tag, column in wide.items():
            spread = scatter(column, rows, row_count)
            columns[tag] = pc.coalesce(columns[tag], spread) if tag in columns else spread
    return Typed(columns, refused if refused.any() else None)


def _wide_number_lists(cells: pa.Array, numeric: Mask) -> dict[str, pa.Array]:
    """Lists with numbers near the limits of their types, cell by cell; the rest is ``json``."""
    texts: list[str | None] = cells.to_pylist()
    ints: list[list[int | None] | None] = [None] * len(texts)
    floats: list[list[float | None] | None] = [None] * len(texts)
    for row in np.flatnonzero(numeric):
        numbers = json.loads(texts[row] or "[]", parse_int=str, parse_float=str)
        if all(number is None or number.lstrip("-").isdigit() for number in numbers):
            ints[row] = _int64s(numbers)
        else:
            floats[row] = _doubles(numbers)
        if ints[row] is not None or floats[row] is not None:
            texts[row] = None
    return {
        "list<int>": pa.array(ints, arrow_type("list<int>")),
        "list<float>": pa.array(floats, arrow_type("list<float>")),
        "json": pa.array(texts, pa.string()),
    }


def _int64s(numbers: list[str | None]) -> list[int | None] | None:
    """The integers, or None if one doesn't fit."""
    if any(number is not None and len(number) > 20 for number in numbers):
        return None
    values = [None if number is None else int(number) for number in numbers]
    fits = all(value is None or -(2**63) <= value < 2**63 for value in values)
    return values if fits else None


def _doubles(numbers: list[str | None]) -> list[float | None] | None:
    """The numbers as doubles, or None if an integer among them would change or one overflows."""
    values: list[float | None] = []
    for number in numbers:
        if number is None:
            values.append(None)
            continue
        value = float(number)
        if not math.isfinite(value):
            return None
        if number.lstrip("-").isdigit() and (len(number) > 310 or int(value) != int(number)):
            return None
        values.append(value)
    return values
