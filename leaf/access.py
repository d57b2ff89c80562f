"""Narrowing: which rows of a segment can meet the simple conditions of a fragment.

Always a superset (I3): a condition is used only where comparing the stored values means the same
as in SQL, and the fragment's own predicate runs over what is left, unless the indexes say that they
are exact. Every condition first says how many rows it leaves, which costs little; the most
selective one then gives its rows, and the others are looked at only as far as that saves more than
it costs.
"""

import re
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Final

import numpy as np
import orjson
from numpy.typing import NDArray

from alder import points, words
from alder.errors import AlderError, Reason
from alder.fieldtypes import EMPTY_LIST, column_name
from alder.v1 import leaf_pb2
from leaf.births import Streams, births_of_ids, is_id
from leaf.format.pages import PAGE_ROWS
from leaf.indexes import zones
from leaf.indexes.kind import Candidates
from leaf.indexes.rowset import RowSet, all_rows, no_rows, union
from leaf.segment import Segment

Scalar = str | int | float | bool
EXACT_INT_MAX: Final = 1 << 53
"""Beyond it an integer compared as DOUBLE may equal its neighbours."""
_SEVERAL: Final = frozenset({"in", "has any", words.OPERATOR, points.OPERATOR})
_WITHOUT_VALUE: Final = frozenset({"null", "not null"})
_ELEMENTS: Final = frozenset({"has", "has any"})
_EQUALITY: Final = frozenset({"=", "in", "<>"})
"""Operators that need no order of values."""
_OPERATORS: Final = _EQUALITY | {"<", "<=", ">", ">=", "prefix"} | _ELEMENTS | _SEVERAL
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d:\d\d(\.\d{1,6})?)?\Z")


ABSENT: Final = "absence"
"""The access path where no row of the segment has the field, or such a value."""
BIRTHS: Final = "births"
"""The access path of identities, which births are in other words."""
WHOLE_SHARE: Final = 0.5
"""Share of the rows of a segment from which on all of them are read."""
WORTH_ROWS_MAX: Final = 1 << 16
WORTH_FACTOR: Final = 64
"""A condition of more rows is left to SQL where fewer than one in so many of them are candidates
already: reading those is cheaper than reading the index."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One of the conditions that all rows of the answer meet; values hold no null."""

    path: str
    operator: str
    values: tuple[Scalar, ...]


@dataclass(frozen=True)
class Scope:
    """What conditions refer to in a shard: type tags by path, keys or not, partitions.

    ``without`` are the kinds of index that are not asked, as in `alder.indexing.ACCESS_KINDS`.
    """

    fields: Mapping[str, Iterable[str]]
    keyed: bool
    streams: Streams
    without: Container[str] = ()
    _births: dict[Condition, NDArray[np.int64] | None] = field(default_factory=dict, compare=False)

    def births_of(self, condition: Condition) -> NDArray[np.int64] | None:
        """The births that a condition on ``_id`` names, ascending; None where one is no id."""
        if condition not in self._births:
            self._births[condition] = _births(condition.values, self.streams)
        return self._births[condition]


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
        if term.operator in _SEVERAL:
            values = tuple(value for value in values if value is not None)
        scalars = all(isinstance(value, Scalar) for value in values)
        if term.operator in _OPERATORS:
            fits = values and (term.operator in _SEVERAL or len(values) == 1)
        else:
            fits = term.operator in _WITHOUT_VALUE and not values
        if term.path in comparable and fits and scalars:
            found.append(Condition(term.path, term.operator, values))
    return tuple(found)


@dataclass(frozen=True)
class Narrowed:
    """The rows of a segment that can meet all conditions, and what told them.

    At most ``count`` rows do; ``exact`` if precisely so many, so that nothing need be read to count
    them.
    """

    paths: tuple[str, ...]
    count: int
    exact: bool
    _found: Callable[[], RowSet] | None = None

    @cached_property
    def rows(self) -> NDArray[np.int64] | None:
        """The ascending numbers of rows that hold them all; None for every row. Raises CORRUPT."""
        return None if self._found is None else self._found().rows()


@dataclass(frozen=True, slots=True)
class _Found:
    """What indexes say of one condition; ``unread`` as that of Candidates."""

    paths: tuple[str, ...]
    count: int
    exact: bool
    unread: int
    rows: Callable[[], RowSet]


def candidates(
    segment: Segment, wanted: Iterable[Condition], scope: Scope
) -> NDArray[np.int64] | None:
    """The ascending numbers of the rows that can match; None for all. Raises CORRUPT."""
    return narrowed(segment, wanted, scope).rows


def narrowed(segment: Segment, wanted: Iterable[Condition], scope: Scope) -> Narrowed:
    """The rows that can match and the access paths that were taken. Raises CORRUPT.

    Equality comes first: where it leaves nothing, nothing else is asked.
    """
    found: list[_Found] = []
    exact = True
    for condition in sorted(wanted, key=lambda one: one.operator not in {"=", "in"}):
        one = _of_condition(segment, condition, scope)
        if one is None:
            exact = False
        elif not one.count:
            return Narrowed(one.paths, 0, True, no_rows)
        else:
            found.append(one)
    found.sort(key=lambda one: one.count)
    paths = tuple(dict.fromkeys(path for one in found for path in one.paths))
    exact = exact and all(one.exact for one in found if one.count >= segment.rows)
    narrowing = [one for one in found if one.count < segment.rows]
    if not narrowing:
        return Narrowed(paths, segment.rows, exact)
    first, *others = narrowing
    if not others:
        return _narrowed(segment, paths, first.count, exact and first.exact, first.rows)
    rows = first.rows()
    exact = exact and first.exact
    for one in others:
        if not rows.count:
            return Narrowed(paths, 0, True, no_rows)
        if one.unread <= max(WORTH_ROWS_MAX, WORTH_FACTOR * rows.count):
            rows = rows.intersected(one.rows())
            exact = exact and one.exact
        else:
            exact = False
    return _narrowed(segment, paths, rows.count, exact, lambda: rows)


def _narrowed(
    segment: Segment, paths: tuple[str, ...], count: int, exact: bool, rows: Callable[[], RowSet]
) -> Narrowed:
    """Where most rows are left, reading all of them is cheaper than picking them."""
    whole = count > WHOLE_SHARE * segment.rows
    return Narrowed(paths, count, exact, None if whole else rows)


def _of_condition(segment: Segment, condition: Condition, scope: Scope) -> _Found | None:
    path = condition.path
    if path == "_time":
        if condition.operator in _WITHOUT_VALUE:
            return None
        micros = _micros(condition.values)
        if micros is None:
            return None
        return _union(
            path, [_of_column(segment, "_time", condition.operator, micros, scope)], scope
        )
    if path == "_id" and not scope.keyed:
        if condition.operator not in {"=", "in"} or BIRTHS in scope.without:
            return None
        births = scope.births_of(condition)
        if births is None:
            return None
        rows = segment.born(births)
        return _Found((f"{BIRTHS}({path})",), rows.count, True, 0, lambda: rows)
    columns = {"_key": "string"} if path == "_id" else _columns(path, scope)
    if not columns:
        return None
    if condition.operator in _WITHOUT_VALUE:
        return _presence(segment, condition, columns, scope)
    found = []
    for name, tag in columns.items():
        values = _stored_values(condition, tag, len(columns) > 1)
        if values is None:
            return None
        if values and segment.has(name):
            one = _of_column(segment, name, condition.operator, values, scope)
            if one is None:
                return None
            found.append(one)
    return _union(path, found, scope)


def _presence(
    segment: Segment, condition: Condition, columns: Iterable[str], scope: Scope
) -> _Found | None:
    """Rows with or without a value at a path, which has one if a column has one."""
    if zones.KIND in scope.without:
        return None
    stored = [name for name in columns if segment.has(name)]
    if condition.operator == "null" and not stored:
        whole = all_rows(segment.rows)
        return _Found((f"{ABSENT}({condition.path})",), whole.count, True, 0, lambda: whole)
    if condition.operator == "null" and len(stored) > 1:
        return None
    found = [segment.indexes(name)[-1].find(condition.operator, []) for name in stored]
    return _union(condition.path, found, scope)


def _columns(path: str, scope: Scope) -> dict[str, str]:
    return {column_name(tag, path): tag for tag in scope.fields.get(path, ())}


def _union(path: str, found: Sequence[Candidates | None], scope: Scope) -> _Found | None:
    """The rows of any column; each row has a value in one of them only."""
    known = [one for one in found if one is not None]
    if len(known) < len(found) or (not found and zones.KIND in scope.without):
        return None
    names = dict.fromkeys([one.path for one in known] or [ABSENT])
    return _Found(
        tuple(f"{name}({path})" for name in names),
        sum(one.count for one in known),
        all(one.exact for one in known),
        sum(one.unread for one in known),
        known[0].rows if len(known) == 1 else lambda: union([one.rows() for one in known]),
    )


def _of_column(
    segment: Segment,
    name: str,
    operator: str,
    values: Sequence[str | int | float],
    scope: Scope,
) -> Candidates | None:
    """The rows of one column that can meet a comparison; None where nothing can tell."""
    by_zones = zones.KIND not in scope.without
    *indexes, zone_map = segment.indexes(name)
    in_zones = None
    if by_zones and operator not in {"=", "in"}:
        in_zones = zone_map.find(operator, values)
        if in_zones is not None and in_zones.count <= PAGE_ROWS:
            return in_zones
    for index in indexes:
        found = None if index.kind in scope.without else index.find(operator, values)
        if found is not None:
            return found
    return zone_map.find(operator, values) if by_zones and in_zones is None else in_zones


def _stored_values(
    condition: Condition, tag: str, mixed: bool
) -> tuple[str | int | float, ...] | None:
    """The values as the column of a type has them; None where one doesn't compare with it.

    One that the column can't have is left out of those to be equal to.
    """
    if condition.operator in _ELEMENTS:
        return _elements(condition.values, tag)
    if condition.operator == points.OPERATOR:
        return _box(condition.values, tag)
    if not all(_comparable(value, tag, mixed) for value in condition.values):
        return None
    if tag == "bool" and condition.operator not in _EQUALITY:
        return None
    if tag == "bool":
        return tuple(int(value) for value in condition.values)
    if tag != "int" or condition.operator not in {"=", "in"}:
        return condition.values
    return tuple(int(value) for value in condition.values if int(value) == value)


def _elements(values: Sequence[Scalar], tag: str) -> tuple[str | int | float, ...] | None:
    """The values as elements of a list of such a type; none for a list that has no elements."""
    if tag == EMPTY_LIST:
        return ()
    element = tag.removeprefix("list<").removesuffix(">")
    if element not in {"string", "int", "bool"}:
        return None
    if not all(_comparable(value, element, False) for value in values):
        return None
    return tuple(int(value) if isinstance(value, bool) else value for value in values)


def _box(values: Sequence[Scalar], tag: str) -> tuple[str | int | float, ...] | None:
    """The values as those of a box around lists of such a type; none for an empty list."""
    if tag == EMPTY_LIST:
        return ()
    numbers = [value for value in values if not isinstance(value, (str, bool))]
    fits = len(numbers) == len(values) and tag in {"list<float>", "list<int>"}
    return tuple(numbers) if fits else None


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


def _births(values: Sequence[Scalar], streams: Streams) -> NDArray[np.int64] | None:
    ids = [value for value in values if isinstance(value, str) and is_id(value)]
    return births_of_ids(ids, streams) if len(ids) == len(values) else None


def _micros(values: Sequence[Scalar]) -> list[int] | None:
    """Times as microseconds since 1970; None where one is no time."""
    found = []
    for value in values:
        if not isinstance(value, str) or not _TIME.match(value):
            return None
        try:
            moment = datetime.fromisoformat(value).replace(tzinfo=UTC)
        except ValueError:
            return None
        elapsed = moment - _EPOCH
        seconds = elapsed.days * 86_400 + elapsed.seconds
        found.append(seconds * 1_000_000 + elapsed.microseconds)
    return found
