"""Dictionaries that all segments and tails of a leaf share, so that their codes can be compared.

A dictionary only grows, and a code never changes its meaning while the dictionary lives; one that
was dropped for its size comes back under another scope, so no code of the old one is taken for a
code of the new one. Code 0 is NULL.
"""

import itertools
import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from leaf.cache import CacheUsage
from leaf.format.hashing import hash_strings_wide
from leaf.format.pages import integers_of, is_integral
from leaf.kernels.unsupported import Unsupported

Codes = NDArray[np.int32]
VALUES_MAX: Final = 1 << 22
_LOOKUP_BYTES: Final = 12
_CHUNKS_MAX: Final = 8


class GlobalDictionary:
    """The distinct values of one kind seen so far, and their codes from 1 on. Thread-safe."""

    def __init__(self, scope: int, kind: pa.DataType, bytes_max: int) -> None:
        """``scope`` is a number that no other dictionary has.

        Raises Unsupported for a type whose equality is not that of its bytes.
        """
        if not has_codes(kind):
            raise Unsupported
        self.scope: Final = scope
        self.kind: Final = kind
        self._bytes_max = bytes_max
        self._lock = threading.Lock()
        self._chunks: list[pa.Array] = [pa.array([], kind)]
        self._levels: list[tuple[NDArray[np.uint64], Codes]] = []
        self._size = 1
        self._value_bytes = 0

    @property
    def size(self) -> int:
        """Number of codes, that of NULL included."""
        return self._size

    @property
    def size_bytes(self) -> int:
        """Bytes in memory."""
        return self._value_bytes + self._size * _LOOKUP_BYTES

    def codes_of(self, values: pa.Array) -> Codes:
        """The codes of distinct values without nulls; new ones are taken in.

        Raises Unsupported where the values are too many, or can't be told apart cheaply.
        """
        with self._lock:
            if self._size == 1:
                return self._begun(values)
            if not self._levels:
                self._levels = [_level(_marks(self._values()), 1)]
            marks = _marks(values)
            codes = self._known(marks)
            unknown = np.flatnonzero(codes == 0)
            known = np.flatnonzero(codes)
            if len(known) and pa.types.is_string(self.kind):
                stored = self._values().take(pa.array(codes[known] - 1))
                if not pc.all(pc.equal(stored, values.take(pa.array(known)))).as_py():
                    raise Unsupported
            if len(unknown):
                codes[unknown] = self._added(values.take(pa.array(unknown)), marks[unknown])
        return codes

    def found_codes(self, values: pa.Array) -> Codes:
        """The codes of any values: 0 for NULL, -1 for one that is not here.

        Raises Unsupported as :meth:`codes_of` does.
        """
        distinct = values.dictionary_encode()
        own = self._codes_here(distinct.dictionary)
        places = np.asarray(distinct.indices.fill_null(len(own)))
        codes: Codes = np.append(own, np.int32(0))[places]
        return codes

    def _codes_here(self, values: pa.Array) -> Codes:
        """The codes of distinct values without nulls, -1 for unknown ones."""
        with self._lock:
            if not len(values) or self._size == 1:
                return np.full(len(values), -1, dtype=np.int32)
            if not self._levels:
                self._levels = [_level(_marks(self._values()), 1)]
            codes = self._known(_marks(values))
            known = np.flatnonzero(codes)
            stored = self._values().take(pa.array(codes[known] - 1))
            if not pc.all(pc.equal(stored, values.take(pa.array(known)))).as_py() and len(known):
                raise Unsupported
            codes[codes == 0] = -1
            return codes

    def taken(self, codes: NDArray[np.integer]) -> pa.Array:
        """The values of codes."""
        missing = codes == 0
        places = pa.array(codes.astype(np.int64) - 1, mask=missing if missing.any() else None)
        return self.values().take(places)

    def values(self) -> pa.Array:
        """The value of code ``n`` at ``n - 1``."""
        with self._lock:
            return self._values()

    def _values(self) -> pa.Array:
        if len(self._chunks) > 1:
            self._chunks = [pa.concat_arrays(self._chunks)]
        return self._chunks[0]

    def _known(self, marks: NDArray[np.uint64]) -> Codes:
        codes = np.zeros(len(marks), dtype=np.int32)
        for level, level_codes in self._levels:
            places = np.searchsorted(level, marks)
            places[places == len(level)] = 0
            found = level[places] == marks
            codes[found] = level_codes[places[found]]
        return codes

    def _begun(self, values: pa.Array) -> Codes:
        """The first values need not be found before others come."""
        self._check_room(values)
        self._chunks = [values]
        self._value_bytes = values.nbytes
        self._size += len(values)
        return np.arange(1, self._size, dtype=np.int32)

    def _check_room(self, values: pa.Array) -> None:
        added_bytes = values.nbytes + len(values) * _LOOKUP_BYTES
        if self._size + len(values) > VALUES_MAX or self.size_bytes + added_bytes > self._bytes_max:
            raise Unsupported

    def _added(self, values: pa.Array, marks: NDArray[np.uint64]) -> Codes:
        self._check_room(values)
        codes = np.arange(self._size, self._size + len(values), dtype=np.int32)
        levels = [*self._levels, _level(marks, self._size)]
        while len(levels) > 1 and len(levels[-2][0]) <= 2 * len(levels[-1][0]):
            later, earlier = levels.pop(), levels.pop()
            together = np.concatenate([earlier[0], later[0]])
            together_codes = np.concatenate([earlier[1], later[1]])
            order = np.argsort(together, kind="stable")
            levels.append((together[order], together_codes[order]))
        self._levels = levels
        self._chunks.append(values)
        if len(self._chunks) > _CHUNKS_MAX:
            self._chunks = [pa.concat_arrays(self._chunks)]
        self._value_bytes += values.nbytes
        self._size += len(values)
        return codes


class Dictionaries:
    """The dictionaries of a leaf by what they hold, within a budget. Thread-safe.

    The least recently used ones go first; who works with one keeps it until he is done.
    """

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._lock = threading.Lock()
        self._scopes = itertools.count()
        self._dictionaries: OrderedDict[Hashable, GlobalDictionary] = OrderedDict()
        self._hits = self._misses = self._evictions = 0

    def usage(self) -> CacheUsage:
        """What was found, and what they hold."""
        with self._lock:
            size_bytes = sum(entry.size_bytes for entry in self._dictionaries.values())
            return CacheUsage(
                size_bytes, self._bytes_max, self._hits, self._misses, self._evictions
            )

    def get(self, key: Hashable, kind: pa.DataType) -> GlobalDictionary:
        """The dictionary of this name and type. Raises Unsupported where there can't be one."""
        with self._lock:
            found = self._dictionaries.get((key, kind))
            self._hits += found is not None
            self._misses += found is None
            if found is None:
                found = GlobalDictionary(next(self._scopes), kind, self._bytes_max)
                self._dictionaries[key, kind] = found
            self._dictionaries.move_to_end((key, kind))
        return found

    def trim(self) -> None:
        """Makes room, after one of them has grown."""
        with self._lock:
            left = sum(entry.size_bytes for entry in self._dictionaries.values())
            while left > self._bytes_max:
                _, dropped = self._dictionaries.popitem(last=False)
                left -= dropped.size_bytes
                self._evictions += 1


def _level(marks: NDArray[np.uint64], first: int) -> tuple[NDArray[np.uint64], Codes]:
    """Marks in order with their codes, which count up from ``first``; Unsupported for equals."""
    order = np.argsort(marks)
    ordered = marks[order]
    if (ordered[1:] == ordered[:-1]).any():
        raise Unsupported
    return ordered, (order + first).astype(np.int32)


def has_codes(kind: pa.DataType) -> bool:
    """True for types whose values are equal where their bytes are."""
    return bool(pa.types.is_string(kind) or pa.types.is_boolean(kind) or is_integral(kind))


def _marks(values: pa.Array) -> NDArray[np.uint64]:
    """64 bits per value, equal for equal values; for all but strings the value itself."""
    if pa.types.is_string(values.type):
        return hash_strings_wide(values)
    if pa.types.is_boolean(values.type):
        return np.asarray(values.cast(pa.int8())).astype(np.uint64)
    return integers_of(values).view(np.uint64)
