"""A cluster without leaves: shards as plain documents, fragments run by DuckDB itself.

The physical columns are made here from Python values, by the rules that `alder.fieldtypes` states,
so that what the aggregator plans meets the types that a real leaf would have.
"""

import asyncio
import json
import math
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TypeVar

import duckdb
import pyarrow as pa

from aggregator.service import Aggregator, AggregatorSettings
from alder import paths
from alder.arrow import from_bytes, join_chunks, to_bytes
from alder.bounds import TOO_LARGE
from alder.catalog import LOG_SOURCE, Collection, Node, Shard, Snapshot, Source, SourcePartition
from alder.errors import AlderError, Reason
from alder.fieldtypes import EMPTY_LIST, arrow_type, column_name, quote, value_expression
from alder.fragments import FragmentAnswer, Take, joined
from alder.interfaces import LeafClient, TailerClient
from alder.membership import CatalogFollower
from alder.positions import PositionVector
from alder.schema import Schema
from alder.slots import SLOTS, slot_of_key, split_evenly
from alder.v1 import catalog_pb2, common_pb2, leaf_pb2, log_pb2, quarantine_pb2, query_pb2
from controller import definitions
from controller.changes import CatalogState, Change
from controller.settings import ControllerSettings
from leaf.inputs import engine_inputs, filtered_sql

T = TypeVar("T")
Document = Mapping[str, object]
NOW_US = 1_600_000_000_000_000


def flattened(document: Document) -> dict[tuple[str, str], object]:
    """The physical values of a document: (tag, path) to value."""
    found: dict[tuple[str, str], object] = {}

    def add(value: object, path: str) -> None:
        if value is None:
            return
        if isinstance(value, dict) and value:
            for key, inner in value.items():
                add(inner, paths.child(path, key))
            return
        tag = _tag(value)
        as_text = tag in {"json", EMPTY_LIST}
        found[tag, path] = json.dumps(value) if as_text else value

    for key, value in document.items():
        add(value, paths.join([key]))
    return found


def _tag(value: object) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int" if -(1 << 63) <= value < 1 << 63 else "decimal(38,0)"
    if isinstance(value, float):
        return "float" if math.isfinite(value) else "json"
    if isinstance(value, str):
        return "string"
    if isinstance(value, list):
        tags = {_tag(item) for item in value if item is not None}
        if not tags:
            return EMPTY_LIST
        if len(tags) == 1 and tags <= {"bool", "int", "float", "string"}:
            return f"list<{tags.pop()}>"
    return "json"


@dataclass
class ShardModel:
    """The rows of one shard: (offset, document); positions may be ahead of the other shards'."""

    number: int
    rows: list[tuple[int, Document]] = field(default_factory=list)
    next_offset: int = 0


class Streaming:
    """A leaf that sends its answers as messages."""

    shares_memory = False

    execute: Callable[..., AsyncIterator[leaf_pb2.FragmentResponse]]

    async def answer(
        self,
        request: leaf_pb2.FragmentRequest,
        take: Take,
        timeout_s: float | None = None,
        unfinished: bool = False,
    ) -> FragmentAnswer:
        """What its messages say."""
        return await joined(self.execute(request, timeout_s=timeout_s), take)


class LeafModel(Streaming):
    """``LeafClient`` over documents."""

    def __init__(self, collection: str, shards: Sequence[ShardModel]) -> None:
        self.collection = collection
        self.shards = {shard.number: shard for shard in shards}
        self.requests: list[leaf_pb2.FragmentRequest] = []
        self.checks: list[leaf_pb2.CheckIndexRequest] = []
        self.kept: list[leaf_pb2.KeepPartialsRequest] = []
        self.failures: list[AlderError] = []
        self.rows_returned = 0
        self.sealed_below = 0
        self.overflow = False
        self.hidden: frozenset[str] = frozenset()
        self.delay_s = 0.0
        self.silent_shards: frozenset[int] = frozenset()
        self.damaged_shards: frozenset[int] = frozenset()
        self.breaks_off = False
        self._flattened: dict[int, dict[tuple[str, str], object]] = {}
        self.engine = duckdb.connect(":memory:", config={"threads": 1})

    def schema(self, numbers: Iterable[int] | None = None) -> Schema:
        """The schema of the rows of these shards, or of all here."""
        shards = [self.shards[n] for n in (self.shards if numbers is None else numbers)]
        columns = [
            column_name(*key)
            for shard in shards
            for _, document in shard.rows
            for key in self._physical(document)
            if key[1] not in self.hidden
        ]
        return Schema(sum(len(shard.rows) for shard in shards), {}, False).with_columns(
            columns, self.overflow
        )

    async def apply(
        self, request: leaf_pb2.ApplyRequest, timeout_s: float | None = None
    ) -> leaf_pb2.ApplyResponse:
        raise AssertionError("nothing is pushed here")

    async def positions(
        self, request: leaf_pb2.PositionsRequest, timeout_s: float | None = None
    ) -> leaf_pb2.PositionsResponse:
        """Positions at once; never waits."""
        wanted = PositionVector.from_proto(request.min_positions)
        vectors = {n: self._vector(self.shards[n]) for n in request.shards}
        schema = self.schema(request.shards)
        known = request.known_schema_version == schema.version
        return leaf_pb2.PositionsResponse(
            shards=[
                leaf_pb2.ShardPositions(
                    shard=n, positions=vector.to_proto(), rows_stored=len(self.shards[n].rows)
                )
                for n, vector in vectors.items()
            ],
            schema=None if known else schema.to_proto(),
            reached=all(vector.reaches(wanted) for vector in vectors.values()),
        )

    async def execute(
        self, request: leaf_pb2.FragmentRequest, timeout_s: float | None = None
    ) -> AsyncIterator[leaf_pb2.FragmentResponse]:
        """Runs the fragment over the rows in the cut."""
        self.requests.append(request)
        await asyncio.sleep(self.delay_s)
        if self.failures:
            raise self.failures.pop(0)
        if self.damaged_shards & set(request.shards):
            raise AlderError(Reason.CORRUPT, "page 3 is damaged")
        cut = PositionVector.from_proto(request.at)
        rows = [
            row
            for number in request.shards
            for row in self.shards[number].rows
            if request.latest or row[0] < cut[LOG_SOURCE, 0]
        ]
        table = self._run(request.fragment, rows)
        left_out = None
        if request.fragment.aggregation.HasField("top") and not request.groups.all:
            table, left_out = first_groups(request, table)
        trailer = leaf_pb2.FragmentTrailer()
        if request.groups.apart and self.sealed_below:
            table = self._apart(request, rows, trailer)
        self.rows_returned += table.num_rows
        data = to_bytes(table)
        half = len(data) // 2
        yield leaf_pb2.FragmentResponse(arrow=data[:half])
        yield leaf_pb2.FragmentResponse(arrow=data[half:])
        scans = [
            leaf_pb2.ShardScan(shard=number, positions=self._vector(self.shards[number]).to_proto())
            for number in request.shards
            if number not in self.silent_shards
        ]
        if self.breaks_off:
            return
        trailer.shards.extend(scans)
        if left_out is not None:
            trailer.groups_left_out, trailer.groups_worst = True, left_out
        yield leaf_pb2.FragmentResponse(trailer=trailer)

    async def list_quarantine(
        self, request: quarantine_pb2.ShardQuarantineRequest, timeout_s: float | None = None
    ) -> AsyncIterator[common_pb2.QuarantinedRecord]:
        """One record per shard."""
        for number in self.shards:
            yield common_pb2.QuarantinedRecord(source=LOG_SOURCE, offset=100 - number, reason="no")

    async def describe(
        self, request: leaf_pb2.DescribeLeafRequest, timeout_s: float | None = None
    ) -> leaf_pb2.DescribeLeafResponse:
        """The shards with their positions."""
        if self.failures:
            raise self.failures.pop(0)
        return leaf_pb2.DescribeLeafResponse(
            shards=[
                leaf_pb2.ShardDescription(
                    collection=self.collection,
                    shard=shard.number,
                    rows=len(shard.rows),
                    positions=self._vector(shard).to_proto(),
                )
                for shard in self.shards.values()
            ]
        )

    async def check_index(
        self, request: leaf_pb2.CheckIndexRequest, timeout_s: float | None = None
    ) -> leaf_pb2.CheckIndexResponse:
        """One path per shard, different on shard 1."""
        self.checks.append(request)
        if self.failures:
            raise self.failures.pop(0)
        different = leaf_pb2.INDEX_VERDICT_DIFFERENT
        return leaf_pb2.CheckIndexResponse(
            checks=[
                leaf_pb2.IndexCheck(
                    shard=number,
                    path="postings",
                    predicates=4,
                    rows_compared=40,
                    verdict=different if number == 1 else leaf_pb2.INDEX_VERDICT_EQUAL,
                    detail="n in segment 0: = 3 leaves out log/0/3" if number == 1 else "",
                )
                for number in request.shards
                if number not in self.silent_shards
            ]
        )

    async def keep_partials(
        self, request: leaf_pb2.KeepPartialsRequest, timeout_s: float | None = None
    ) -> leaf_pb2.KeepPartialsResponse:
        """One segment per shard, none of which is ready."""
        self.kept.append(request)
        if self.failures:
            raise self.failures.pop(0)
        total = len(self.shards) * len(request.kept)
        return leaf_pb2.KeepPartialsResponse(segments_ready=0, segments_total=total)

    def _apart(
        self,
        request: leaf_pb2.FragmentRequest,
        rows: list[tuple[int, Document]],
        trailer: leaf_pb2.FragmentTrailer,
    ) -> pa.Table:
        """The groups of rows below an offset, unless they are known, and those of the others."""
        sealed = [row for row in rows if row[0] < self.sealed_below]
        own = self._run(request.fragment, sealed)
        trailer.sealed_name = f"{min(self.shards)} {self.sealed_below} {len(sealed)}".encode()
        trailer.sealed_known = trailer.sealed_name in request.groups.known
        trailer.sealed_rows = 0 if trailer.sealed_known else own.num_rows
        others = self._run(request.fragment, [row for row in rows if row not in sealed])
        return others if trailer.sealed_known else pa.concat_tables([own, others])

    def _physical(self, document: Document) -> dict[tuple[str, str], object]:
        if id(document) not in self._flattened:
            self._flattened[id(document)] = flattened(document)
        return self._flattened[id(document)]

    def _vector(self, shard: ShardModel) -> PositionVector:
        return PositionVector({(LOG_SOURCE, 0): shard.next_offset})

    def _run(self, fragment: leaf_pb2.Fragment, rows: list[tuple[int, Document]]) -> pa.Table:
        physical = [self._physical(document) for _, document in rows]
        columns: dict[str, pa.Array] = {
            "_doc": pa.array([json.dumps(document) for _, document in rows], pa.string()),
            "_offset": pa.array([offset for offset, _ in rows], pa.int64()),
        }
        expressions = []
        for binding in fragment.columns:
            present = [
                tag for tag in binding.types if any((tag, binding.path) in row for row in physical)
            ]
            for tag in present:
                values = [row.get((tag, binding.path)) for row in physical]
                columns[f"p{len(columns)}"] = pa.array(values, arrow_type(tag))
            expression = _expression(binding, present)
            for tag, name in zip(reversed(present), reversed(list(columns)), strict=False):
                expression = expression.replace(quote(column_name(tag, binding.path)), name)
            expressions.append(f"{expression} AS {binding.name}")
        with self.engine.cursor() as connection:
            connection.register("physical", pa.table(columns))
            projection = f"SELECT {', '.join(expressions) or '1 AS n'} FROM physical"
            for entry in engine_inputs(fragment, 1 << 30):
                connection.register(entry.registered_as, entry.physical)
                connection.execute(
                    f"CREATE TEMP VIEW {quote(entry.name)} AS SELECT {entry.select_list} "
                    f"FROM {quote(entry.registered_as)}"
                )
            filtered = filtered_sql(projection, fragment.key_filters)
            connection.execute(f"CREATE TEMP VIEW rows AS {filtered}")
            try:
                table: pa.Table = connection.sql(fragment.sql).to_arrow_table()
            except duckdb.Error as error:
                if TOO_LARGE in str(error):
                    raise AlderError(Reason.LIMIT, TOO_LARGE) from error
                raise AlderError(Reason.WRONG_TYPE, str(error).splitlines()[0]) from error
            return table


def first_groups(request: leaf_pb2.FragmentRequest, table: pa.Table) -> tuple[pa.Table, int | None]:
    """The groups that a leaf must send, and what orders the last of all if some are left out."""
    top, wanted = request.fragment.aggregation.top, request.groups
    order = table.column(top.columns[0]).to_pylist() if len(top.columns) == 1 else []
    if top.sql or not all(isinstance(value, (int, Decimal, type(None))) for value in order):
        return table, None
    sign = 1 if top.descending else -1
    ranked = sorted((sign * value for value in order if value is not None), reverse=True)
    if len(ranked) <= top.rows:
        return table, None
    last = ranked[top.rows - 1]
    if wanted.HasField("threshold"):
        last = min(last, sign * wanted.threshold)
    names = [key.name for key in request.fragment.aggregation.keys]
    keys = list(zip(*(table.column(name).to_pylist() for name in names), strict=True))
    named = set()
    if wanted.keys:
        asked = from_bytes(wanted.keys)
        named = set(zip(*(column.to_pylist() for column in asked.columns), strict=True))
    mask = [
        (value is not None and sign * value >= last)
        or key in named
        or (top.with_null_keys and None in key)
        for value, key in zip(order, keys, strict=True)
    ]
    if all(mask):
        return table, None
    return table.filter(pa.array(mask)), int(sign * ranked[-1])


def _expression(binding: leaf_pb2.ColumnBinding, present: list[str]) -> str:
    match binding.path:
        case "_doc":
            return '"_doc"::JSON'
        case "_offset":
            return '"_offset"'
        case "_id":
            return "'log/0/' || \"_offset\""
        case "_source":
            return "'log'"
        case "_partition":
            return "0::INTEGER"
        case "_time":
            return "TIMESTAMP '2020-01-01' + to_seconds(\"_offset\")"
    if not binding.types:
        pointer = paths.json_pointer(paths.split(binding.path)).replace("'", "''")
        return f"nullif(json_extract(\"_doc\"::JSON, '{pointer}'), 'null'::JSON)"
    columns = {tag: quote(column_name(tag, binding.path)) for tag in present}
    return value_expression(columns, binding.sql_type)


class DirectoryModel:
    """``NodeDirectory`` over models."""

    def __init__(self, leaves: Mapping[str, LeafClient]) -> None:
        self.leaves = dict(leaves)
        self.tailers: dict[str, TailerClient] = {}

    def leaf(self, node_id: str) -> LeafClient:
        """Raises AlderError(UNAVAILABLE) for a leaf taken out of ``leaves``."""
        if node_id not in self.leaves:
            raise AlderError(Reason.UNAVAILABLE, f"node {node_id} is not known here")
        return self.leaves[node_id]

    def tailer(self, node_id: str) -> TailerClient:
        """Raises AlderError(UNAVAILABLE) for one that is not in ``tailers``."""
        if node_id not in self.tailers:
            raise AlderError(Reason.UNAVAILABLE, f"node {node_id} is not known here")
        return self.tailers[node_id]


class CatalogModel:
    """``CatalogClient`` of definitions, seen by its follower at once."""

    def __init__(self) -> None:
        self.follower = CatalogFollower(self)

    async def define(
        self, request: catalog_pb2.DefineRequest, timeout_s: float | None = None
    ) -> catalog_pb2.DefineResponse:
        """Adds a version."""
        snapshot = self.follower.snapshot
        revision = self._change(definitions.defined(snapshot, request, ControllerSettings()))
        newest = self.follower.snapshot.definitions[request.name].newest
        return catalog_pb2.DefineResponse(version=newest.number, revision=revision)

    async def undefine(
        self, request: catalog_pb2.UndefineRequest, timeout_s: float | None = None
    ) -> catalog_pb2.UndefineResponse:
        """Drops a definition."""
        revision = self._change(definitions.undefined(self.follower.snapshot, request))
        return catalog_pb2.UndefineResponse(revision=revision)

    async def accelerate(
        self, request: catalog_pb2.AccelerateRequest, timeout_s: float | None = None
    ) -> catalog_pb2.AccelerateResponse:
        """Turns acceleration on or off."""
        revision = self._change(definitions.accelerated(self.follower.snapshot, request))
        return catalog_pb2.AccelerateResponse(revision=revision)

    def _change(self, changes: Sequence[Change]) -> int:
        state = CatalogState(self.follower.snapshot)
        if changes:
            self.follower.snapshot = state.applied(changes).snapshot
        return self.follower.snapshot.revision


class LogModel:
    """``LogClient`` that knows ends, and when each record was appended: one each second."""

    def __init__(self, ends: Mapping[str, int]) -> None:
        self.ends = ends

    async def offsets(
        self, request: log_pb2.OffsetsRequest, timeout_s: float | None = None
    ) -> log_pb2.OffsetsResponse:
        """One partition per topic."""
        return log_pb2.OffsetsResponse(
            partitions=[log_pb2.PartitionOffsets(partition=0, end_offset=self.ends[request.topic])]
        )

    async def read(
        self, request: log_pb2.ReadRequest, timeout_s: float | None = None
    ) -> log_pb2.ReadResponse:
        """The time of one record; the last one is as old as a second at :data:`NOW_US`."""
        end = self.ends[request.topic]
        appended_us = NOW_US - (end - request.offset) * 1_000_000
        table = pa.table({"timestamp_us": pa.array([appended_us], pa.int64())})
        return log_pb2.ReadResponse(offset=request.offset, records=to_bytes(table), end_offset=end)


class Cluster:
    """Collections spread over shards and leaves, and an aggregator over them."""

    def __init__(
        self,
        collections: Mapping[str, Iterable[Document]],
        shards: int = 3,
        settings: AggregatorSettings | None = None,
        shard_by: Mapping[str, str] | None = None,
        leaves: int = 2,
    ) -> None:
        """``shard_by``: top-level fields by whose values the rows of collections are sharded."""
        self._runner = asyncio.Runner()
        self.leaves: dict[str, LeafModel] = {}
        known = {}
        ends = {}
        for index, (name, documents) in enumerate(collections.items()):
            models = [ShardModel(number) for number in range(shards)]
            for offset, document in enumerate(documents):
                value = document.get((shard_by or {}).get(name, ""))
                place = offset * 7 % shards
                if value is not None:
                    place = slot_of_key(json.dumps(value).encode()) * shards // SLOTS
                models[place].rows.append((offset, document))
                ends[name] = offset + 1
            for model in models:
                model.next_offset = ends.get(name, 0)
            ends.setdefault(name, 0)
            placed = [f"{name}-leaf-{number % leaves}" for number in range(shards)]
            for leaf in sorted(set(placed)):
                own = [m for m, owner in zip(models, placed, strict=True) if owner == leaf]
                self.leaves[leaf] = LeafModel(name, own)
            known[name] = Collection(
                name,
                index + 1,
                shard_by_path=(shard_by or {}).get(name, ""),
                sources=(Source(LOG_SOURCE, "log", "t", (SourcePartition(0),)),),
                shards=tuple(
                    Shard(number, begin, end, placed[number])
                    for number, (begin, end) in enumerate(split_evenly(shards))
                ),
            )
        nodes = {leaf: Node(leaf, catalog_pb2.NODE_ROLE_LEAF, "", True) for leaf in self.leaves}
        catalog = CatalogModel()
        self.follower = catalog.follower
        self.follower.snapshot = Snapshot(1, known, nodes)
        self.directory = DirectoryModel(self.leaves)
        self.settings = settings or AggregatorSettings(catalog_wait_s=0.0)
        self.aggregator = Aggregator(
            self.follower,
            self.directory,
            LogModel(ends),
            self.settings,
            catalog=catalog,
            wall_clock_us=lambda: NOW_US,
            new_query_id=lambda: "q1",
        )

    def ask(
        self, sql: str, plan_class: str = "", timeout_s: float | None = None, **request: object
    ) -> tuple[pa.Table, query_pb2.ExecuteTrailer]:
        """The result of a query and its trailer."""
        message = query_pb2.ExecuteRequest(sql=sql, plan_class=plan_class, **request)

        async def collect() -> tuple[pa.Table, query_pb2.ExecuteTrailer]:
            parts = []
            trailer = query_pb2.ExecuteTrailer()
            async for response in self.aggregator.execute(message, timeout_s=timeout_s):
                parts.append(response.arrow)
                if response.HasField("trailer"):
                    trailer = response.trailer
            return join_chunks(parts), trailer

        return self.run(collect())

    async def aggregate(self, sql: str) -> list[tuple[object, ...]]:
        """The rows of a query, beside others in the same loop."""
        message = query_pb2.ExecuteRequest(sql=sql)
        parts = [response.arrow async for response in self.aggregator.execute(message)]
        return list(zip(*[one.to_pylist() for one in join_chunks(parts).columns], strict=True))

    def run(self, call: Coroutine[object, object, T]) -> T:
        """The result of a coroutine, in this cluster's loop."""
        return self._runner.run(call)

    def rows(self, sql: str, plan_class: str = "", **request: object) -> list[tuple[object, ...]]:
        """The rows of a query."""
        table, _ = self.ask(sql, plan_class, **request)
        return list(zip(*[column.to_pylist() for column in table.columns], strict=True))

    def close(self) -> None:
        """Closes the aggregator."""
        self.run(self.aggregator.close())
        self._runner.close()
        for leaf in self.leaves.values():
            leaf.engine.close()
