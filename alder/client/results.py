"""What a query says about itself, and its rows as they arrive.

No result is taken for whole unless its trailer came (invariant I5): a stream that ends without one
is an error.
"""

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Final

import pyarrow as pa

from alder.arrow import SQL_TYPE_KEY
from alder.client.channel import ResponseStream
from alder.client.errors import Error, InternalError
from alder.client.token import Token
from alder.client.values import Row, rows
from alder.errors import Reason
from alder.positions import PositionVector
from alder.v1 import leaf_pb2, query_pb2

_SECONDS_PER_US: Final = 1e-6
"""Metadata of a field: its SQL type, which Arrow's own type does not always tell."""


@dataclass(frozen=True, slots=True)
class MissingShard:
    """A shard that is not in the answer, as the policy of the query allows, and why."""

    shard: int
    leaf: str
    reason: str


@dataclass(frozen=True, slots=True)
class CollectionInfo:
    """What a query read of one collection.

    ``positions`` is the cut that the answer stands for, ``as_of`` the moment that the statement
    names for it, "" for none. ``lag_records`` counts the records that
    some shard had already applied beyond the cut when it answered. ``access_paths`` are what
    narrowed the rows, such as `postings(kind)`, ``engines`` what ran (`duckdb`, `kernels`,
    `direct`), and ``partials_hits`` the sealed segments that were answered from memory.
    ``coverage`` is the part of the collection that the answer stands for: 1, unless the policy of
    the query lets shards be missing. ``lag_s``: the age of the oldest record of the log that is not
    in the answer, where the policy bounds it.
    """

    collection: str
    positions: PositionVector
    shards_asked: tuple[int, ...]
    shards_answered: tuple[int, ...]
    rows_total: int
    rows_scanned: int
    segments_total: int
    segments_pruned: int
    access_paths: tuple[str, ...]
    engines: tuple[str, ...]
    partials_hits: int
    lag_records: int
    as_of: str = ""
    shards_missing: tuple[MissingShard, ...] = ()
    coverage: float = 1.0
    lag_s: float | None = None

    @classmethod
    def from_proto(cls, read: query_pb2.CollectionRead) -> "CollectionInfo":
        """The entry of a trailer."""
        positions = PositionVector.from_proto(read.positions)
        return cls(
            collection=read.collection,
            positions=positions,
            shards_asked=tuple(read.shards_asked),
            shards_answered=tuple(read.shards_answered),
            rows_total=sum(scan.rows_total for scan in read.scans),
            rows_scanned=sum(scan.rows_scanned for scan in read.scans),
            segments_total=sum(scan.segments_total for scan in read.scans),
            segments_pruned=sum(scan.segments_pruned for scan in read.scans),
            access_paths=tuple(sorted({path for scan in read.scans for path in scan.access_paths})),
            engines=tuple(sorted({_engine_name(scan.engine) for scan in read.scans})),
            partials_hits=sum(scan.partials_hits for scan in read.scans),
            lag_records=_lag(positions, read.scans),
            shards_missing=tuple(
                MissingShard(one.shard, one.leaf, one.reason) for one in read.shards_missing
            ),
            coverage=read.coverage,
            lag_s=read.lag_us * _SECONDS_PER_US if read.HasField("lag_us") else None,
            as_of=read.as_of,
        )


@dataclass(frozen=True, slots=True)
class ReferenceInfo:
    """What one place of a statement that reads a collection asked of the leaves.

    ``read_class``: `a` for states of groups, `b` for the rows of a SELECT over this collection
    alone, `e` for filtered columns. ``rows`` and ``size_bytes`` are what the leaves sent,
    ``input_bytes`` what went along to them; ``slowest_leaf_s`` is the time that one took, at most.
    """

    collection: str
    read_class: str
    rows: int
    size_bytes: int
    input_bytes: int = 0
    slowest_leaf_s: float = 0.0

    @classmethod
    def from_proto(cls, read: query_pb2.ReferenceRead) -> "ReferenceInfo":
        """The entry of a trailer."""
        return cls(
            read.collection,
            read.read_class,
            read.rows,
            read.size_bytes,
            read.input_bytes,
            read.slowest_leaf_us * _SECONDS_PER_US,
        )


@dataclass(frozen=True, slots=True)
class ResultInfo:
    """The result contract of one query; times in seconds."""

    query_id: str
    plan_class: str
    rows: int
    collections: tuple[CollectionInfo, ...]
    references: tuple[ReferenceInfo, ...]
    plan_s: float
    scatter_s: float
    finish_s: float

    @property
    def complete(self) -> bool:
        """True if no shard is missing."""
        return not any(read.shards_missing for read in self.collections)

    @property
    def token(self) -> Token:
        """The cut of every collection read: a later query given it sees at least the same.

        Given to a later query as ``as_of``, it sees exactly the same. What the statement reads at
        moments that it names is not in it.
        """
        return Token(
            {read.collection: read.positions for read in self.collections if not read.as_of}
        )

    @classmethod
    def from_proto(cls, trailer: query_pb2.ExecuteTrailer) -> "ResultInfo":
        """The trailer of a result."""
        return cls(
            query_id=trailer.query_id,
            plan_class=trailer.plan_class,
            rows=trailer.rows,
            collections=tuple(CollectionInfo.from_proto(read) for read in trailer.collections),
            references=tuple(map(ReferenceInfo.from_proto, trailer.references)),
            plan_s=trailer.plan_us * _SECONDS_PER_US,
            scatter_s=trailer.scatter_us * _SECONDS_PER_US,
            finish_s=trailer.finish_us * _SECONDS_PER_US,
        )


class ResultStream:
    """The batches of one result in arrival order; the schema is known once it is made."""

    def __init__(self, responses: ResponseStream) -> None:
        self._responses = responses
        self._source = _ArrowSource(responses)
        self._trailer: query_pb2.ExecuteTrailer | None = None
        self._info: ResultInfo | None = None
        self._batches = self._read()
        try:
            self._reader = pa.ipc.open_stream(self._source.whole() or self._source)
        except (pa.ArrowException, OSError) as error:
            raise self._broken() from error

    @cached_property
    def schema(self) -> pa.Schema:
        """The columns; JSON has the extension type ``arrow.json``."""
        return pa.schema([_marked(field) for field in self._reader.schema])

    @property
    def info(self) -> ResultInfo | None:
        """The result contract; None until the last batch was drawn."""
        if self._info is None and self._trailer is not None:
            self._info = ResultInfo.from_proto(self._trailer)
        return self._info

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        return (batch.cast(self.schema) for batch in self._batches)

    def rows(self) -> Iterator[Row]:
        """The rows of the batches that were not drawn yet, as Python values."""
        return chain.from_iterable(map(rows, self._batches))

    def close(self) -> None:
        """Cancels what has not arrived."""
        self._responses.close()

    def _read(self) -> Iterator[pa.RecordBatch]:
        try:
            yield from self._reader
        except (pa.ArrowException, OSError) as error:
            raise self._broken() from error
        self._trailer = self._source.drain()
        if self._trailer is None:
            raise self._broken()

    def _broken(self) -> Error:
        return InternalError(Reason.INTERNAL, "the answer ended before it was complete; ask again")


class _ArrowSource(io.RawIOBase):
    """The Arrow pieces of a call as one file, and the trailer behind them."""

    def __init__(self, responses: ResponseStream) -> None:
        super().__init__()
        self._responses = responses
        self._piece = memoryview(b"")
        self._trailer: query_pb2.ExecuteTrailer | None = None

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        """Exactly ``size`` bytes unless the Arrow part ends before."""
        parts: list[memoryview] = []
        missing = size
        while missing and self._fill():
            part = self._piece if size < 0 else self._piece[:missing]
            self._piece = self._piece[len(part) :]
            missing -= len(part)
            parts.append(part)
        return b"".join(parts)

    def whole(self) -> pa.Buffer | None:
        """All of the Arrow part, if it came in one piece with the trailer."""
        if not self._fill() or self._trailer is None:
            return None
        piece, self._piece = self._piece, memoryview(b"")
        return pa.py_buffer(piece)

    def drain(self) -> query_pb2.ExecuteTrailer | None:
        """Reads to the end of the call; the trailer, if it came."""
        while self._fill():
            self._piece = memoryview(b"")
        return self._trailer

    def _fill(self) -> bool:
        while not self._piece:
            response = next(self._responses, None)
            if response is None:
                return False
            if response.HasField("trailer"):
                self._trailer = response.trailer
            self._piece = memoryview(response.arrow)
        return True


def _marked(field: pa.Field) -> pa.Field:
    """The field, with Arrow's JSON type if that is what its text is."""
    sql_type = (field.metadata or {}).get(SQL_TYPE_KEY, b"").decode()
    return field.with_type(_json_type(field.type, sql_type))


def _json_type(data_type: pa.DataType, sql_type: str) -> pa.DataType:
    if sql_type == "JSON" and pa.types.is_string(data_type):
        return pa.json_()
    if sql_type.endswith("[]") and pa.types.is_list(data_type):
        return pa.list_(_json_type(data_type.value_type, sql_type.removesuffix("[]")))
    return data_type


def _engine_name(engine: leaf_pb2.FragmentEngine) -> str:
    return leaf_pb2.FragmentEngine.Name(engine).removeprefix("FRAGMENT_ENGINE_").lower()


def _lag(cut: PositionVector, scans: Iterable[leaf_pb2.ShardScan]) -> int:
    newest = PositionVector()
    for scan in scans:
        newest = newest.merged(PositionVector.from_proto(scan.positions))
    return sum(max(newest[key] - cut[key], 0) for key in newest)
