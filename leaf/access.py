"""Narrowing: which rows of a segment can meet the simple conditions of a fragment.

Always a superset (I3): a condition is used only where comparing the stored values means the same
as in SQL, and the fragment's own predicate runs over what is left. Rows that it cannot judge stay.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import numpy as np
import orjson
from numpy.typing import NDArray

from alder.errors import AlderError, Reason
from alder.fieldtypes import column_name
from alder.positions import PartitionKey
from alder.v1 import leaf_pb2
from leaf.births import OFFSET_BITS, OFFSET_MAX
from leaf.format.meta import Index
from leaf.segment import Segment

Mask = NDArray[np.bool_]
Scalar = str | int | float | bool
EXACT_INT_MAX: Final = 1 << 53
"""Beyond it an integer compared as DOUBLE may equal its neighbours."""
_OPERATORS: Final = frozenset({"=", "<", "<=", ">", ">=", "in"})
_ID: Final = re.compile(r"(.*)/(\d{1,9})/(\d{1,15})\Z", re.DOTALL)
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d:\d\d(\.\d{1,6})?)?\Z")


POSTINGS: Final = "postings"
HASH_PAGES: Final = "hash pages"
ZONE_MAP: Final = "zone map"
ABSENT: Final = "absence"
"""Access paths, as users read them; the last one: no row of the segment has the field."""
_BY_INDEX: Final = {
    Index.TERMS: POSTINGS,
    Index.HASHES: HASH_PAGES,
    Index.NONE: ZONE_MAP,
}


@dataclass(frozen=True, slots=True)
class Condition:
    """One of the conditions that all rows of the answer meet; values hold no null."""

    path: str
    operator: str
    values: tuple[Scalar, ...]


@dataclass(frozen=True, slots=True)
class Scope:
    """What conditions refer to in a shard: type tags by path, keys or not, partitions."""

    fields: Mapping[str, Iterable[str]]
    keyed: bool
    streams: Sequence[PartitionKey]


def conditions(fragment: leaf_pb2.Fragment) -> tuple[Condition, ...]:
    """The conditions that can narrow. Raises AlderError(INVALID_ARGUMENT) for unreadable values."""
    comparable = {
        binding.path
        for binding in fragment.columns
        if binding.path in {"_id", "_time"} or binding.types
    }
    comparable -= {
        binding.path for binding in fragment.columns if binding.sql_type in {"VARIANT", "JSON"}
    }
    found = []
    for term in fragment.terms:
        try:
            values = tuple(orjson.loads(value) for value in term.values_json)
        except orjson.JSONDecodeError as error:
            raise AlderError(
                Reason.INVALID_ARGUMENT, f"a condition on {term.path!r} has a value that is no JSON"
            ) from error
        if term.operator == "in":
            values = tuple(value for value in values if value is not None)
        scalars = all(isinstance(value, Scalar) for value in values)
        counted = values and (term.operator == "in" or len(values) == 1)
        if term.path in comparable and term.operator in _OPERATORS and scalars and counted:
            found.append(Condition(term.path, term.operator, values))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Narrowed:
    """The ascending numbers of the rows that can match, None for all, and what told them."""

    rows: NDArray[np.int64] | None
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Found:
    mask: Mask
    paths: tuple[str, ...]


def candidates(
    segment: Segment, wanted: Iterable[Condition], scope: Scope
) -> NDArray[np.int64] | None:
    """The ascending numbers of the rows that can match; None for all. Raises CORRUPT."""
    return narrowed(segment, wanted, scope).rows


def narrowed(segment: Segment, wanted: Iterable[Condition], scope: Scope) -> Narrowed:
    """The rows that can match and the access paths that were taken. Raises CORRUPT."""
    mask: Mask | None = None
    paths: dict[str, None] = {}
    for condition in wanted:
        found = _condition_rows(segment, condition, scope)
        if found is not None:
            mask = found.mask if mask is None else mask & found.mask
            paths.update(dict.fromkeys(f"{path}({condition.path})" for path in found.paths))
    rows = None if mask is None or mask.all() else np.flatnonzero(mask)
    return Narrowed(rows, tuple(paths))


def _condition_rows(segment: Segment, condition: Condition, scope: Scope) -> _Found | None:
    if condition.path == "_time":
        return _time_rows(segment, condition)
    if condition.path == "_id":
        if scope.keyed:
            return _column_rows(segment, "_key", "string", condition, False)
        return _id_rows(segment, condition, scope.streams)
    tags = list(scope.fields.get(condition.path, ()))
    if not tags:
        return None
    mask = np.zeros(segment.rows, dtype=bool)
    paths: dict[str, None] = {}
    for tag in tags:
        name = column_name(tag, condition.path)
        if segment.has(name):
            found = _column_rows(segment, name, tag, condition, len(tags) > 1)
            if found is None:
                return None
            mask |= found.mask
            paths.update(dict.fromkeys(found.paths))
    return _Found(mask, tuple(paths) or (ABSENT,))


def _id_rows(
    segment: Segment, condition: Condition, streams: Sequence[PartitionKey]
) -> _Found | None:
    """An id is ``source/partition/offset`` where there is no key; sources may hold slashes."""
    if condition.operator not in {"=", "in"}:
        return None
    births = []
    for value in condition.values:
        match = _ID.match(value) if isinstance(value, str) else None
        if match is None:
            return None
        key = match[1], int(match[2])
        if key in streams and int(match[3]) <= OFFSET_MAX:
            births.append(streams.index(key) << OFFSET_BITS | int(match[3]))
    return _Found(segment.rows_equal("_birth", births), (_BY_INDEX[segment.index("_birth")],))


def _column_rows(
    segment: Segment, name: str, tag: str, condition: Condition, mixed: bool
) -> _Found | None:
    """A superset of the rows of one column; None where the values don't compare with it."""
    values = condition.values
    if not all(_comparable(value, tag, mixed) for value in values):
        return None
    if condition.operator in {"=", "in"} and tag != "float":
        mask = segment.rows_equal(name, [int(v) if tag != "string" else v for v in values])
        return _Found(mask, (_BY_INDEX[segment.index(name)],))
    operator = "=" if condition.operator == "in" else condition.operator
    if tag == "bool":
        return None
    mask = np.zeros(segment.rows, dtype=bool)
    for value in values:
        mask |= segment.rows_in_zones(name, operator, value)
    return _Found(mask, (ZONE_MAP,))


def _comparable(value: Scalar, tag: str, mixed: bool) -> bool:
    if tag == "string":
        return isinstance(value, str)
    if tag == "bool":
        return isinstance(value, bool)
    if isinstance(value, (bool, str)) or tag not in {"int", "float"}:
        return False
    if isinstance(value, int) and tag == "int" and not mixed:
        return abs(value) < 1 << 63
    return abs(value) < EXACT_INT_MAX


def _time_rows(segment: Segment, condition: Condition) -> _Found | None:
    mask = np.zeros(segment.rows, dtype=bool)
    for value in condition.values:
        if not isinstance(value, str) or not _TIME.match(value):
            return None
        try:
            moment = datetime.fromisoformat(value).replace(tzinfo=UTC)
        except ValueError:
            return None
        elapsed = moment - datetime(1970, 1, 1, tzinfo=UTC)
        micros = (elapsed.days * 86_400 + elapsed.seconds) * 1_000_000 + elapsed.microseconds
        operator = "=" if condition.operator == "in" else condition.operator
        mask |= segment.rows_in_zones("_time", operator, micros)
    return _Found(mask, (ZONE_MAP,))
