"""Predicates for CHECK INDEX, made of values that a column holds.

Which values is decided by a seed alone. They are spread evenly over the rows, and the ends of every
page are among them as far as their number allows, because an index errs at its edges first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import isfinite
from typing import Final

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from alder.positions import PartitionKey
from alder.v1 import leaf_pb2
from leaf import births

PROBE_COLUMN: Final = "c0"
TEXT_CHARACTERS_MAX: Final = 1_024
TOLD_CHARACTERS_MAX: Final = 80
_RANGES: Final = ("<", "<=", ">", ">=")
_NARROWING: Final = frozenset({"VARCHAR", "BIGINT", "DOUBLE", "BOOLEAN", "TIMESTAMP"})
"""Types of columns whose conditions aggregators turn into terms."""
_ORDERED: Final = (pa.string(), pa.int64(), pa.float64(), pa.timestamp("us"))
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROS_MIN: Final = -62_135_596_800_000_000
_MICROS_MAX: Final = 253_402_300_799_999_999
Scalar = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Probe:
    """A predicate as a term for the index, as SQL for a scan, and as people read it."""

    term: leaf_pb2.Term
    sql: str
    told: str


def probes(
    binding: leaf_pb2.ColumnBinding,
    columns: Mapping[str, pa.ChunkedArray],
    streams: Sequence[PartitionKey],
    values_max: int,
    seed: int,
) -> list[Probe]:
    """Equality, IN and ranges over at most ``values_max`` values, and the ends of as many pages.

    None for a column of a type that no index narrows.
    ``columns`` are the stored columns behind the binding, one chunk per page.
    """
    if binding.sql_type not in _NARROWING:
        return []
    equal: list[Scalar] = []
    below: list[Scalar] = []
    above: list[Scalar] = []
    for name, values in columns.items():
        equal += _values(name, _spread(values.drop_null(), values_max, seed), streams)
        if name not in {"_birth", "_key"} and values.type in _ORDERED:
            ends = [pc.min_max(page) for page in _some(values.chunks, values_max, seed)]
            for bound, found in (("min", below), ("max", above)):
                found += _values(name, _ends(ends, bound, values.type), streams)
    equal = list(dict.fromkeys(equal))
    made = [_probe(binding, "=", [value]) for value in equal]
    if equal:
        made.append(_probe(binding, "in", equal))
    if binding.path != "_id":
        ordered = [value for value in equal if not isinstance(value, bool)]
        for place, value in enumerate(ordered):
            made.append(_probe(binding, _RANGES[place % len(_RANGES)], [value]))
        made += [_probe(binding, "<=", [value]) for value in below if not isinstance(value, bool)]
        made += [_probe(binding, ">=", [value]) for value in above if not isinstance(value, bool)]
    return made


def ids_of(rows: NDArray[np.int64], streams: Sequence[PartitionKey]) -> list[str]:
    """The identities of births, as ``_id`` gives them in collections without keys."""
    numbers, offsets = births.streams_of(rows).tolist(), births.offsets_of(rows).tolist()
    keys = [streams[number] for number in numbers]
    return [
        f"{source}/{partition}/{offset}"
        for (source, partition), offset in zip(keys, offsets, strict=True)
    ]


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


def _values(name: str, values: pa.ChunkedArray, streams: Sequence[PartitionKey]) -> list[Scalar]:
    """The values as scalars of JSON, without those that can't be one or are too long."""
    if name == "_birth":
        return [*ids_of(values.to_numpy(), streams)]
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
    literals = [_literal(value, binding.sql_type) for value in values]
    right = f"({', '.join(literals)})" if operator == "in" else literals[0]
    told = f"{operator} {right}"
    return Probe(
        leaf_pb2.Term(
            path=binding.path,
            operator=operator,
            values_json=[orjson.dumps(value).decode() for value in values],
        ),
        f"{binding.name} {operator} {right}",
        told if len(told) <= TOLD_CHARACTERS_MAX else told[: TOLD_CHARACTERS_MAX - 1] + "…",
    )


def _literal(value: Scalar, sql_type: str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return f"'{value!r}'::DOUBLE"
    text = "'" + value.replace("'", "''") + "'"
    return f"{text}::TIMESTAMP" if sql_type == "TIMESTAMP" else text
