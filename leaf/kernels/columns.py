"""Row values of segments and tails as global codes or numbers, computed once and cached.

A value depends on some columns. Where it is one that is kept as terms and codes, an expression runs
over the terms instead of the rows; else it runs once over the rows. The engine evaluates every
expression, so it means here what it means there.
"""

import threading
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final
from weakref import WeakKeyDictionary

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from alder.errors import AlderError, Reason
from alder.fieldtypes import column_name, quote, single_sql_type
from alder.recent import Recent
from alder.v1 import leaf_pb2
from leaf.bindings import TABLE, engine_names, projection
from leaf.births import Streams
from leaf.cache import CacheUsage, PageCache
from leaf.engine import Cancellation, Engine
from leaf.kernels.dictionaries import Dictionaries, GlobalDictionary
from leaf.kernels.grouping import Codes
from leaf.kernels.numbering import TERMS_FEW, counts_of, numbered_values, used_terms
from leaf.kernels.states import Values, values_of
from leaf.kernels.unsupported import Unsupported
from leaf.pieces import ColumnNeeds, Piece, piece_table
from leaf.rows import column_type
from leaf.segment import Segment
from leaf.tail import TailChunk

_PLAIN_TAGS: Final = frozenset({"string", "int", "bool", "float", "timestamp", "date"})
_RESULT: Final = "result"
_SHARE_OF_ROWS: Final = 4
_ASKED_MAX: Final = 4096
_FLAG_BYTES: Final = 32
Rows = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Holder:
    """A segment or a chunk of the live tail, the partitions of its shard, and that replica."""

    rows: Segment | TailChunk
    streams: Streams
    replica: int


@dataclass(frozen=True, slots=True)
class _Local:
    """Values of a holder: distinct ones, and for rows their numbers from 1 on, 0 for NULL.

    ``whole``: for all of its rows, to be kept under ``key``.
    """

    key: Hashable
    terms: pa.Array
    numbers: NDArray[np.integer]
    whole: bool


class RowValue:
    """A value per row: bindings, and the SQL over them ("": the only column). Immutable."""

    def __init__(self, bindings: tuple[leaf_pb2.ColumnBinding, ...], sql: str) -> None:
        self.bindings: Final = bindings
        self.sql: Final = sql
        texts = tuple(binding.SerializeToString(deterministic=True) for binding in bindings)
        self.key: Final = texts, sql
        """Names what it means."""
        self.stored: Final = _stored_column(bindings[0]) if len(bindings) == 1 else None
        """The one stored column that the only binding's column is; None if there is none."""

    @cached_property
    def column(self) -> "RowValue":
        """The only column that it is computed from."""
        return RowValue(self.bindings, "") if self.sql else self


@dataclass(frozen=True, slots=True)
class Reading:
    """What reading a column depends on beside the column: type tags by path, keys, deadline."""

    fields: Mapping[str, Iterable[str]]
    keyed: bool
    cancellation: Cancellation


class Columns:
    """Codes and numbers of holders. Thread-safe; calls may block on the store and the engine."""

    def __init__(self, engine: Engine, cache_bytes: int, dictionary_bytes: int) -> None:
        self._engine = engine
        self._cache = PageCache(cache_bytes)
        self._dictionaries = Dictionaries(dictionary_bytes)
        self._asked: Recent[Hashable, bool] = Recent(_ASKED_MAX)
        self._lock = threading.Lock()
        self._of_chunks: WeakKeyDictionary[TailChunk, PageCache] = WeakKeyDictionary()

    def usage(self) -> Mapping[str, CacheUsage]:
        """What is kept, by what it is."""
        return {"codes": self._cache.usage(), "dictionaries": self._dictionaries.usage()}

    def dictionary(self, value: RowValue, kind: pa.DataType) -> GlobalDictionary:
        """The dictionary of a value whose Arrow type is known. Raises Unsupported."""
        return self._dictionaries.get(value.key, kind)

    def codes(
        self,
        wanted: Sequence[tuple[Holder, Rows | None]],
        value: RowValue,
        dictionary: GlobalDictionary,
        reading: Reading,
    ) -> list[Codes]:
        """For each holder the codes of rows (None: all). Raises Unsupported, CORRUPT, DEADLINE.

        What is not at hand is numbered together. Of a holder that is asked for the first time, for
        few of its rows, only the values that they have are.
        """
        codes: list[Codes | None] = []
        missing: list[_Local] = []
        for holder, rows in wanted:
            cache, scope = self._kept_of(holder)
            key = (*scope, value.key, dictionary.scope, reading.keyed)
            found = cache.find(key)
            codes.append(found if isinstance(found, np.ndarray) else None)
            if codes[-1] is None:
                part = self._local(key, holder, rows, value, reading)
                if part.terms.type != dictionary.kind:
                    raise Unsupported
                missing.append(part)
        numbered = iter(list(_numbered(missing, dictionary)))
        self._dictionaries.trim()
        told = []
        for (holder, rows), found in zip(wanted, codes, strict=True):
            if found is None:
                part, found = next(numbered)
                if not part.whole:
                    told.append(found)
                    continue
                self._kept_of(holder)[0].put(part.key, found, found.nbytes)
            told.append(found if rows is None else found[rows])
        return told

    def all_codes(
        self, holder: Holder, value: RowValue, dictionary: GlobalDictionary, reading: Reading
    ) -> Codes:
        """The code of each row of one holder. Raises as :meth:`codes`."""
        (codes,) = self.codes([(holder, None)], value, dictionary, reading)
        return codes

    def numbers(self, holder: Holder, value: RowValue, reading: Reading) -> Values:
        """The number of each row. Raises Unsupported, CORRUPT, DEADLINE."""
        cache, scope = self._kept_of(holder)
        key = (*scope, value.key, "numbers", reading.keyed)
        return cache.get(
            key,
            lambda: values_of(self._column(holder, value, reading)).narrowed(),
            lambda values: values.size_bytes,
        )

    def flags(self, holder: Holder, value: RowValue, reading: Reading) -> NDArray[np.bool_]:
        """For each row whether the value, a condition, is true. Raises as :meth:`numbers`."""
        cache, scope = self._kept_of(holder)
        key = (*scope, value.key, "flags", reading.keyed)

        def load() -> NDArray[np.bool_]:
            return _true(self._column(holder, value, reading))

        return cache.get(key, load, lambda flags: flags.nbytes)

    def presence(
        self, holder: Holder, value: RowValue, reading: Reading
    ) -> NDArray[np.bool_] | None:
        """True for the rows that have a value; None for all."""
        cache, scope = self._kept_of(holder)
        key = (*scope, value.key, "presence", reading.keyed)

        def load() -> tuple[NDArray[np.bool_] | None]:
            column = self._column(holder, value, reading)
            return (np.asarray(column.is_valid()) if column.null_count else None,)

        (valid,) = cache.get(key, load, lambda found: 0 if found[0] is None else found[0].nbytes)
        return valid

    def kind(self, value: RowValue, reading: Reading) -> pa.DataType:
        """The Arrow type of a value. Raises Unsupported, DEADLINE."""
        if value.stored is not None:
            column = pa.array([], column_type(value.stored))
            return self._evaluated(value, column, reading).type if value.sql else column.type
        plan = projection(value.bindings, {}, reading.keyed)
        nothing = plan.needs.schema().empty_table()
        nothing = nothing.rename_columns(engine_names(nothing.num_columns))
        return self._run(nothing, plan.sql, value, reading).type

    def counts(
        self, holder: Holder, value: RowValue, dictionary: GlobalDictionary, reading: Reading
    ) -> NDArray[np.intp]:
        """How many rows have each code; codes past the end have none.

        Postings of few terms tell it without a look at the rows.
        """
        cache, scope = self._kept_of(holder)
        key = (*scope, value.key, dictionary.scope, "counts", reading.keyed)

        def load() -> NDArray[np.intp]:
            told = self._counts_of_terms(holder, value, dictionary)
            if told is None:
                return counts_of(self.all_codes(holder, value, dictionary, reading))
            return told

        return cache.get(key, load, lambda counts: counts.nbytes)

    def ascends(
        self, holder: Holder, value: RowValue, dictionary: GlobalDictionary, reading: Reading
    ) -> bool:
        """True if no row has a lower code than the row before it."""
        cache, scope = self._kept_of(holder)
        key = (*scope, value.key, dictionary.scope, "ascends", reading.keyed)

        def load() -> bool:
            codes = self.all_codes(holder, value, dictionary, reading)
            return bool((codes[1:] >= codes[:-1]).all())

        return cache.get(key, load, lambda _: _FLAG_BYTES)

    def truth(
        self,
        value: RowValue,
        dictionary: GlobalDictionary,
        reading: Reading,
        equal_to: pa.Array | None = None,
    ) -> NDArray[np.bool_]:
        """For each code of the value's column, whether the condition is true of it.

        ``equal_to``: the strings of which the condition is true, where that is all it says.
        """
        size = dictionary.size
        key = ("truth", value.key, dictionary.scope, size)

        def load() -> NDArray[np.bool_]:
            values = dictionary.values().slice(0, size - 1)
            column = pa.concat_arrays([pa.nulls(1, dictionary.kind), values])
            if equal_to is not None:
                return np.asarray(pc.is_in(column, equal_to))
            return _true(self._evaluated(value, column, reading))

        return self._cache.get(key, load, lambda truth: truth.nbytes)

    def _counts_of_terms(
        self, holder: Holder, value: RowValue, dictionary: GlobalDictionary
    ) -> NDArray[np.intp] | None:
        stored, segment = value.stored, holder.rows
        if value.sql or stored is None or not isinstance(segment, Segment):
            return None
        told = segment.counted(stored) if segment.has(stored) else None
        if told is None or len(told[0]) > TERMS_FEW or told[0].type != dictionary.kind:
            return None
        terms, rows = told
        codes = dictionary.codes_of(terms)
        self._dictionaries.trim()
        counts = np.zeros(int(codes.max(initial=0)) + 1, dtype=np.intp)
        counts[codes] = rows
        counts[0] = segment.rows - int(rows.sum())
        return counts

    def _local(
        self, key: Hashable, holder: Holder, rows: Rows | None, value: RowValue, reading: Reading
    ) -> "_Local":
        """What of a holder is to be numbered."""
        few = rows is not None and len(rows) * _SHARE_OF_ROWS <= holder.rows.rows
        if rows is None or not few or holder.rows.rows <= TERMS_FEW or self._asked.get(key):
            return _Local(key, *self._encoded(holder, value, reading), whole=True)
        coded = self._stored_codes(holder, value)
        if coded is None:
            column = self._column(holder, value, reading, rows)
            self._asked.put(key, True)
            return _Local(key, *numbered_values(column), whole=False)
        if value.sql or len(coded[0]) <= TERMS_FEW:
            return _Local(key, *self._of_terms(*coded, value, reading), whole=True)
        self._asked.put(key, True)
        terms, numbers = coded
        return _Local(key, *used_terms(terms, numbers[rows]), whole=False)

    def _kept_of(self, holder: Holder) -> tuple[PageCache, tuple[str, int]]:
        """Where what is computed of a holder is kept, and what its keys there begin with.

        Chunks of live tails come and go with every push. What is kept of one goes with it, and is
        never more than the chunk itself.
        """
        if isinstance(holder.rows, Segment):
            return self._cache, ("segment", holder.rows.scope)
        with self._lock:
            cache = self._of_chunks.get(holder.rows)
            if cache is None:
                cache = self._of_chunks[holder.rows] = PageCache(holder.rows.size_bytes)
        return cache, ("tail", 0)

    def _encoded(
        self, holder: Holder, value: RowValue, reading: Reading
    ) -> tuple[pa.Array, NDArray[np.integer]]:
        """Distinct values, and for each row the number of its value from 1 on, 0 for NULL."""
        coded = self._stored_codes(holder, value)
        if coded is None:
            return numbered_values(self._column(holder, value, reading))
        return self._of_terms(*coded, value, reading)

    def _stored_codes(
        self, holder: Holder, value: RowValue
    ) -> tuple[pa.Array, NDArray[np.integer]] | None:
        """The column of a value as it is kept, where it is kept as terms and codes."""
        stored, segment = value.stored, holder.rows
        if stored is None or not isinstance(segment, Segment) or not segment.has(stored):
            return None
        return segment.coded(stored)

    def _of_terms(
        self, terms: pa.Array, numbers: NDArray[np.integer], value: RowValue, reading: Reading
    ) -> tuple[pa.Array, NDArray[np.integer]]:
        if not value.sql:
            return terms, numbers
        column = pa.concat_arrays([pa.nulls(1, terms.type), terms])
        results, of_term = numbered_values(self._evaluated(value, column, reading))
        return results, of_term[numbers]

    def _column(
        self, holder: Holder, value: RowValue, reading: Reading, rows: Rows | None = None
    ) -> pa.Array:
        """The value of each of the rows (None: all)."""
        piece = Piece(holder.rows, rows)
        if value.stored is not None:
            array = self._stored(piece, holder.streams, value.stored)
            return self._evaluated(value, array, reading) if value.sql else array
        plan = projection(value.bindings, reading.fields, reading.keyed)
        if plan.watched:
            raise Unsupported
        table = piece_table(piece, holder.streams, plan.needs)
        table = table.rename_columns(engine_names(table.num_columns))
        return self._run(table, plan.sql, value, reading)

    def _stored(self, piece: Piece, streams: Streams, name: str) -> pa.Array:
        segment, kind = piece.holder, column_type(name)
        whole = piece.rows is None and isinstance(segment, Segment) and segment.has(name)
        plain = pa.types.is_int64(kind) or pa.types.is_timestamp(kind)
        if whole and plain and isinstance(segment, Segment):
            return segment.integers(name)
        return _single(piece_table(piece, streams, ColumnNeeds((name,))).column(0))

    def _evaluated(self, value: RowValue, column: pa.Array, reading: Reading) -> pa.Array:
        """The expression over values of its column, which is a stored one."""
        (name,) = engine_names(1)
        sql = f"SELECT {name} AS {quote(value.bindings[0].name)} FROM {TABLE}"
        return self._run(pa.table({name: column}), sql, value, reading)

    def _run(
        self, physical: pa.Table, projection_sql: str, value: RowValue, reading: Reading
    ) -> pa.Array:
        expression = value.sql or quote(value.bindings[0].name)
        sql = f"SELECT {expression} AS {_RESULT} FROM rows"
        try:
            result = self._engine.run(physical, projection_sql, sql, reading.cancellation)
        except AlderError as error:
            if error.reason in {Reason.DEADLINE, Reason.CORRUPT}:
                raise
            raise Unsupported from error
        if result.num_rows != physical.num_rows:
            raise Unsupported
        return _single(result.column(_RESULT))


def _stored_column(binding: leaf_pb2.ColumnBinding) -> str | None:
    tags = binding.types
    if len(tags) != 1 or binding.overflow or tags[0] not in _PLAIN_TAGS:
        return None
    plain = single_sql_type(tags[0]) == binding.sql_type
    return column_name(tags[0], binding.path) if plain else None


def _numbered(
    parts: Sequence[_Local], dictionary: GlobalDictionary
) -> Iterator[tuple[_Local, Codes]]:
    """The codes of each part's rows. Several parts are made distinct first, which is cheaper."""
    if len(parts) == 1:
        together = dictionary.codes_of(parts[0].terms)
    elif parts:
        unique = pa.concat_arrays([part.terms for part in parts]).dictionary_encode()
        together = dictionary.codes_of(unique.dictionary)[np.asarray(unique.indices)]
    begin = 0
    for part in parts:
        own = together[begin : begin + len(part.terms)]
        begin += len(part.terms)
        known = np.concatenate([np.zeros(1, dtype=np.int32), own])
        highest = int(known.max())
        kind: type[np.integer] = np.int32
        if highest < 1 << 16:
            kind = np.uint8 if highest < 1 << 8 else np.uint16
        if (known == np.arange(len(known))).all():
            yield part, part.numbers.astype(kind, copy=False)
        else:
            yield part, known.astype(kind, copy=False)[part.numbers]


def _true(column: pa.Array) -> NDArray[np.bool_]:
    if not pa.types.is_boolean(column.type):
        raise Unsupported
    return np.asarray(column.fill_null(False))


def _single(column: pa.ChunkedArray) -> pa.Array:
    if column.num_chunks == 1:
        return column.chunk(0)
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
