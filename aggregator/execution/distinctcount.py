"""How many distinct values several leaves have together, exactly, and each fetched once.

To know which values two leaves share, all values of one must be compared with those of the other,
so they have to come here: any answer from less is a guess (equality of sets takes as many bits as
the sets have; E. Kushilevitz, N. Nisan, "Communication Complexity", 1997, chapter 1). But sealed
segments don't change. What they have is kept here under the name that the leaf gave it, as numbers
(:mod:`aggregator.execution.marks`), together with the union over all leaves. A leaf that has the
same segments with the same rows alive says so, and sends what its live tail has. Where numbers
don't tell the values apart, these are compared as they are.
"""

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import pyarrow as pa

from aggregator.execution.gathered import Gathered
from aggregator.execution.marks import NOTHING, Marked, NotMarkedError, added, marked, united
from alder.v1 import leaf_pb2

Call = Callable[[leaf_pb2.WantedGroups], Awaitable[Gathered]]
"""Asks all leaves."""
Key = tuple[int, bytes]
"""A collection's id, and a fragment."""


@dataclass(frozen=True, slots=True)
class Known:
    """Values of sealed segments by the name that the leaf gave them, and all of them united."""

    sets: Mapping[bytes, Marked] = field(default_factory=dict)
    union: Marked = NOTHING

    @property
    def size_bytes(self) -> int:
        """Bytes in memory."""
        return self.union.size_bytes + sum(one.size_bytes for one in self.sets.values())


class KnownValues:
    """What is known of the fragments that were asked last, within a budget. Thread-safe."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._lock = threading.Lock()
        self._entries: OrderedDict[Key, Known] = OrderedDict()

    def get(self, key: Key) -> Known:
        """What is known of a fragment, which may be nothing."""
        with self._lock:
            if key in self._entries:
                self._entries.move_to_end(key)
            return self._entries.get(key, Known())

    def put(self, key: Key, known: Known) -> None:
        """Keeps it, unless it alone is too large."""
        with self._lock:
            self._entries.pop(key, None)
            if known.sets and known.size_bytes <= self._bytes_max:
                self._entries[key] = known
            while sum(one.size_bytes for one in self._entries.values()) > self._bytes_max:
                self._entries.popitem(last=False)


async def counted(call: Call, column: str, key: Key, values: KnownValues, keeps: bool) -> Gathered:
    """One row with the number of distinct values in a column of what the leaves have, NULL aside.

    ``keeps``: values of sealed segments are kept, and those that are need not come.
    Raises AlderError.
    """
    before = values.get(key) if keeps else Known()
    answers = await call(leaf_pb2.WantedGroups(apart=keeps, known=sorted(before.sets)))
    known = [leaf.sealed_name for leaf in answers.leaves if leaf.sealed_known]
    try:
        parts = _parts(answers, column)
        found = await asyncio.gather(*(asyncio.to_thread(_marked, part.values) for part in parts))
        number, after = await asyncio.to_thread(
            _together,
            {part.name: one for part, one in zip(parts, found, strict=True) if part.name}
            | {name: before.sets[name] for name in known},
            [one for part, one in zip(parts, found, strict=True) if not part.name],
            before,
        )
    except NotMarkedError:
        whole = answers
        if known:
            whole = await call(leaf_pb2.WantedGroups())
        number, after = await asyncio.to_thread(_compared, whole, column), Known()
    if keeps:
        values.put(key, after)
    told = f"values of sealed segments are known, of {len(known)} of {len(answers.leaves)} leaves"
    return replace(
        answers,
        finished=pa.table({column: pa.array([number], pa.int64())}),
        told=(told,) if known else (),
    )


@dataclass(frozen=True, slots=True)
class _Part:
    """Values that a leaf sent; ``name`` is that of its sealed segments, empty for others."""

    name: bytes
    values: pa.ChunkedArray


def _parts(answers: Gathered, column: str) -> list[_Part]:
    parts = []
    begin = 0
    for leaf in answers.leaves:
        values = answers.rows.column(column).slice(begin, leaf.rows)
        begin += leaf.rows
        if leaf.sealed_rows:
            parts.append(_Part(leaf.sealed_name, values.slice(0, leaf.sealed_rows)))
        parts.append(_Part(b"", values.slice(leaf.sealed_rows)))
    return parts


def _marked(values: pa.ChunkedArray) -> Marked:
    return marked(values.combine_chunks())


def _together(
    sealed: Mapping[bytes, Marked], others: Sequence[Marked], before: Known
) -> tuple[int, Known]:
    """How many values there are, and what is known then. Raises NotMarkedError."""
    after = before
    if sealed.keys() != before.sets.keys():
        after = Known(sealed, united(list(sealed.values())))
    return len(after.union) + added(after.union, united(others)), after


def _compared(answers: Gathered, column: str) -> int:
    return len(answers.rows.column(column).unique().drop_null())
