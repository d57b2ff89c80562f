"""Predicates for CHECK INDEX, made of values that a column holds.

Which values is decided by a seed alone. They are spread evenly over the rows, and the ends of every
page are among them as far as their number allows, because an index errs at its edges first. Every
form of condition that narrows is made of them: comparisons, beginnings of strings, elements of
lists, presence, searches for words, and boxes around points.
"""

import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import cycle
from math import isfinite
from typing import Final

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from alder import words
from alder.errors import AlderError, Reason
from alder.fieldtypes import sql_type
from alder.points import (
    LATITUDE_MAX,
    LATITUDE_PLACE,
    LONGITUDE_MAX,
    LONGITUDE_PLACE,
    OPERATOR,
    Box,
)
from alder.v1 import leaf_pb2
from leaf.births import Streams
from leaf.format.meta import Index

PROBE_COLUMN: Final = "c0"
TEXT_CHARACTERS_MAX: Final = 1_024
TOLD_CHARACTERS_MAX: Final = 80
_RANGES: Final = ("<", "<=", ">", ">=", "<>")
_COMPARED: Final = frozenset({"VARCHAR", "BIGINT", "DOUBLE", "BOOLEAN", "TIMESTAMP"})
"""Types of columns whose comparisons aggregators turn into terms."""
_LISTS: Final = frozenset({"VARCHAR[]", "BIGINT[]", "BOOLEAN[]"})
"""Types of columns whose elements are indexed."""
_POINTS: Final = frozenset({"DOUBLE[]", "BIGINT[]"})
"""Types of columns that may hold points."""
_BOX_DEGREES: Final = (0.0, 0.001, 1.0, 60.0)
_MIXED: Final = frozenset({"VARIANT", "JSON"})
"""Types of columns that no term is about."""
_PREFIX_CHARACTERS: Final = (1, 3, 9)
_WORD: Final = re.compile("[0-9a-z]+")
_ORDERED: Final = (pa.string(), pa.int64(), pa.float64(), pa.timestamp("us"))
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROS_MIN: Final = -62_135_596_800_000_000
_MICROS_MAX: Final = 253_402_300_799_999_999
Scalar = str | int | float | bool
_SYSTEM_TYPES: Final = {"_id": "VARCHAR", "_time": "TIMESTAMP"}
_VALUES_OF: Final[Mapping[str, int | None]] = {
    "null": 0,
    "not null": 0,
    "prefix": 1,
    "has": 1,
    "in": None,
    "has any": None,
}
"""How many values an operator takes that is no comparison; None: at least one."""


@dataclass(frozen=True, slots=True)
class Probe:
    """A predicate as a term for the index, as SQL for a scan, and as people read it.

    ``exact``: the term says all that the SQL does.
    """

    term: leaf_pb2.Term
    sql: str
    told: str
    exact: bool = True


def probes(
    binding: leaf_pb2.ColumnBinding,
    columns: Mapping[str, pa.ChunkedArray],
    streams: Streams,
    values_max: int,
    seed: int,
    indexes: Container[Index] = (),
) -> list[Probe]:
    """Predicates over at most ``values_max`` values, and the ends of as many pages.

    ``columns`` are the stored columns behind the binding, one chunk per page, and ``indexes`` the
    kinds that one of them has. Of types that no index narrows there is only presence, or nothing.
    """
    made: list[Probe] = []
    if binding.sql_type in _COMPARED:
        equal: list[Scalar] = []
        for name, values in columns.items():
            equal += _values(name, _spread(values.drop_null(), values_max, seed), streams)
        equal = list(dict.fromkeys(equal))
        made += _equalities(binding, equal, "=", "in")
        if binding.path != "_id":
            made += _ranges(binding, equal, _bounds(columns, streams, values_max, seed))
        texts = [value for value in equal if isinstance(value, str)]
        if binding.types and binding.sql_type == "VARCHAR":
            made += _prefixes(binding, texts)
        if Index.TEXT in indexes:
            made += _searches(binding, texts)
    elif binding.sql_type in _LISTS:
        elements: list[Scalar] = []
        for name, values in columns.items():
            if pa.types.is_list(values.type):
                flat = pc.list_flatten(values).drop_null()
                elements += _values(name, _spread(flat, values_max, seed), streams)
        made += _equalities(binding, list(dict.fromkeys(elements)), "has", "has any")
    if Index.GEO in indexes and binding.sql_type in _POINTS:
        for values in columns.values():
            if pa.types.is_list(values.type):
                made += _boxes(binding, _spread(values.drop_null(), values_max, seed))
    if binding.types and binding.sql_type not in _MIXED:
        made += [_probe(binding, operator, []) for operator in ("null", "not null")]
    return made


def _equalities(
    binding: leaf_pb2.ColumnBinding, values: Sequence[Scalar], one: str, any_of: str
) -> list[Probe]:
    """Each of the values by operator ``one``, and all of them by ``any_of``."""
    made = [_probe(binding, one, [value]) for value in values]
    return [*made, _probe(binding, any_of, values)] if values else made


def _bounds(
    columns: Mapping[str, pa.ChunkedArray],
    streams: Streams,
    values_max: int,
    seed: int,
) -> list[tuple[str, Scalar]]:
    """The ends of pages, each with the comparison that just includes it."""
    found: list[tuple[str, Scalar]] = []
    for name, values in columns.items():
        if name in {"_birth", "_key"} or values.type not in _ORDERED:
            continue
        ends = [pc.min_max(page) for page in _some(values.chunks, values_max, seed)]
        for bound, operator in (("min", "<="), ("max", ">=")):
            scalars = _values(name, _ends(ends, bound, values.type), streams)
            found += [(operator, value) for value in scalars]
    return found


def _ranges(
    binding: leaf_pb2.ColumnBinding,
    values: Sequence[Scalar],
    bounds: Sequence[tuple[str, Scalar]],
) -> list[Probe]:
    asked = [(_RANGES[place % len(_RANGES)], value) for place, value in enumerate(values)]
    asked += bounds
    return [
        _probe(binding, operator, [value])
        for operator, value in asked
        if not isinstance(value, bool)
    ]


def _prefixes(binding: leaf_pb2.ColumnBinding, texts: Sequence[str]) -> list[Probe]:
    lengths = cycle(_PREFIX_CHARACTERS)
    begun = [text[:length] for text, length in zip(texts, lengths, strict=False) if text]
    return [_probe(binding, "prefix", [one]) for one in dict.fromkeys(begun)]


def _searches(binding: leaf_pb2.ColumnBinding, texts: Sequence[str]) -> list[Probe]:
    """For a word, the beginning of one, and two words in a row, of some texts each."""
    wanted: dict[tuple[tuple[str, ...], bool], None] = {}
    for place, text in enumerate(texts):
        found = _WORD.findall(text.lower())
        if found:
            forms = (((found[0],), False), ((found[-1][:2],), True), (tuple(found[:2]), False))
            wanted[forms[place % len(forms)]] = None
    return [
        Probe(
            leaf_pb2.Term(
                path=binding.path,
                operator=words.OPERATOR,
                values_json=[orjson.dumps(words.written(row, prefix)).decode()],
            ),
            words.holds_sql(binding.name, row, prefix),
            _told(f"match {words.written(row, prefix)}"),
            exact=False,
        )
        for row, prefix in wanted
    ]


def _boxes(binding: leaf_pb2.ColumnBinding, values: pa.ChunkedArray) -> list[Probe]:
    """Around points, boxes that begin there and end some degrees on."""
    made = []
    for point, degrees in zip(values.to_pylist(), cycle(_BOX_DEGREES), strict=False):
        lon, lat = (*point, None, None)[:2]
        if lon is None or lat is None:
            continue
        east = lon + degrees if lon + degrees <= LONGITUDE_MAX else lon + degrees - 360
        box = Box(lat, lon, min(lat + degrees, LATITUDE_MAX), east)
        if box.is_on_earth:
            made.append(_box_probe(binding, box))
    return made


def _box_probe(binding: leaf_pb2.ColumnBinding, box: Box) -> Probe:
    corners = [float(one) for one in (box.south, box.west, box.north, box.east)]
    south, west, north, east = (f"{one!r}::DOUBLE" for one in corners)
    lon, lat = (f"{binding.name}[{place}]" for place in (LONGITUDE_PLACE, LATITUDE_PLACE))
    joiner = "AND" if box.west <= box.east else "OR"
    return Probe(
        leaf_pb2.Term(
            path=binding.path,
            operator=OPERATOR,
            values_json=[orjson.dumps(one).decode() for one in corners],
        ),
        f"({lat} BETWEEN {south} AND {north} AND ({lon} >= {west} {joiner} {lon} <= {east}))",
        _told(f"{OPERATOR} {corners}"),
        exact=False,
    )


def probe_of(
    path: str, types: Sequence[str], operator: str, values_json: Sequence[str]
) -> tuple[leaf_pb2.ColumnBinding, Probe]:
    """A predicate of the forms of :func:`probes`, but for words and boxes, as others name it.

    Raises AlderError(INVALID_ARGUMENT) for one that is none.
    """
    try:
        kind = sql_type(types) if types else _SYSTEM_TYPES[path]
        values = [orjson.loads(text) for text in values_json]
    except (KeyError, ValueError) as error:
        raise AlderError(Reason.INVALID_ARGUMENT, f"no condition on {path!r}: {error}") from error
    count = _VALUES_OF.get(operator, 1 if operator in {"=", *_RANGES} else -1)
    fits = len(values) == count if count is not None else bool(values)
    if not fits or not all(isinstance(value, Scalar) for value in values):
        raise AlderError(Reason.INVALID_ARGUMENT, f"no condition on {path!r}: {operator!r}")
    binding = leaf_pb2.ColumnBinding(
        name=PROBE_COLUMN, path=path, sql_type=kind, types=sorted(types)
    )
    return binding, _probe(binding, operator, values)


def _spread(values: pa.ChunkedArray, count: int, seed: int) -> pa.ChunkedArray:
    stride = max(1, len(values) // count)
    places = np.arange(seed % stride, len(values), stride, dtype=np.int64)[:count]
    return values.take(pa.array(places))


def _some(pages: Sequence[pa.Array], count: int, seed: int) -> list[pa.Array]:
    stride = max(1, -(-len(pages) // count))
    return list(pages[seed % stride :: stride])


def _ends(ends: Sequence[pa.StructScalar], bound: str, kind: pa.DataType) -> pa.ChunkedArray:
    found = [end[bound] for end in ends if end[bound].is_valid]
    return pa.chunked_array([pa.array([one.as_py() for one in found], kind)])


def _values(name: str, values: pa.ChunkedArray, streams: Streams) -> list[Scalar]:
    """The values as scalars of JSON, without those that can't be one or are too long."""
    if name == "_birth":
        return [*streams.ids_of(values.to_numpy())]
    if name == "_time":
        return [*_times(values.cast(pa.int64()).to_pylist())]
    return [value for value in values.to_pylist() if _usable(value)]


def _times(micros: Sequence[int]) -> list[str]:
    inside = [one for one in micros if _MICROS_MIN <= one <= _MICROS_MAX]
    moments = [_EPOCH + timedelta(microseconds=one) for one in inside]
    return [moment.strftime("%Y-%m-%d %H:%M:%S.%f").rjust(26, "0") for moment in moments]


def _usable(value: object) -> bool:
    if isinstance(value, str):
        return len(value) <= TEXT_CHARACTERS_MAX and "\0" not in value
    return isinstance(value, bool | int) or (isinstance(value, float) and isfinite(value))


def _probe(binding: leaf_pb2.ColumnBinding, operator: str, values: Sequence[Scalar]) -> Probe:
    literals = ", ".join(_literal(value, binding.sql_type) for value in values)
    name = binding.name
    match operator:
        case "in":
            sql, told = f"{name} in ({literals})", f"in ({literals})"
        case "null" | "not null":
            sql, told = f"{name} IS {operator.upper()}", f"is {operator}"
        case "prefix":
            sql, told = f"starts_with({name}, {literals})", f"starts with {literals}"
        case "has":
            sql, told = f"list_contains({name}, {literals})", f"has {literals}"
        case "has any":
            sql, told = f"list_has_any({name}, [{literals}])", f"has any of {literals}"
        case _:
            sql, told = f"{name} {operator} {literals}", f"{operator} {literals}"
    term = leaf_pb2.Term(
        path=binding.path,
        operator=operator,
        values_json=[orjson.dumps(value).decode() for value in values],
    )
    return Probe(term, sql, _told(told))


def _told(text: str) -> str:
    return text if len(text) <= TOLD_CHARACTERS_MAX else text[: TOLD_CHARACTERS_MAX - 1] + "…"


def _literal(value: Scalar, sql_type: str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return f"'{value!r}'::DOUBLE"
    text = "'" + value.replace("'", "''") + "'"
    return f"{text}::TIMESTAMP" if sql_type == "TIMESTAMP" else text
