"""What the tests of kernels and partials share: a leaf with rows, asked in every mode."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from leaf_model import NODE, Document, StillCatalog, collection_of, push, rows_bytes, snapshot_of

from aggregator.execution import engine as finishing
from aggregator.planning.direct import finished
from aggregator.planning.plan import Plan
from aggregator.planning.planner import Planner
from aggregator.planning.spread import Spread
from aggregator.statement import security
from aggregator.statement.bind import bind
from aggregator.statement.names import Names
from aggregator.statement.syntax import Parser
from alder.arrow import join_chunks
from alder.positions import PositionVector
from alder.schema import Schema
from alder.v1 import leaf_pb2
from leaf.service import Leaf
from leaf.settings import LeafSettings

FIELDS = {
    "kind": frozenset({"string"}),
    "word": frozenset({"string"}),
    "n": frozenset({"int"}),
    "big": frozenset({"int"}),
    "few": frozenset({"int"}),
    "f": frozenset({"float"}),
    "flag": frozenset({"bool"}),
    "mixed": frozenset({"float", "int"}),
    "odd": frozenset({"int", "string"}),
}
"""Paths of the documents and the types of their values."""


def documents(count: int, seed: int = 1) -> list[Document]:
    """Documents with nulls, repeating and unique values, extremes, and mixed types."""
    rng = random.Random(seed)

    def some(value: Any, share: float = 0.1) -> Any:
        return None if rng.random() < share else value

    return [
        {
            "kind": some(rng.choice(["a", "b", "cc", "", "é"])),
            "word": some(f"w{rng.randrange(count)}"),
            "n": some(rng.randrange(-1000, 1000)),
            "big": some(rng.choice([2**63 - 1, -(2**63), 2**62, 7, -1])),
            "few": some(rng.randrange(4)),
            "f": some(rng.choice([0.5, -1.25, 3.0, 1e300, 0.0]), 0.2),
            "flag": some(rng.random() < 0.5),
            "mixed": some(rng.choice([1, 2.5, -3])),
            "odd": some(rng.choice([5, "five"])),
        }
        for _ in range(count)
    ]


@dataclass(frozen=True)
class Answer:
    """Finished rows, and how the leaf went about it."""

    rows: list[tuple[object, ...]]
    scans: Sequence[leaf_pb2.ShardScan]
    directly: bool = False

    @property
    def by_kernels(self) -> bool:
        return all(scan.engine == leaf_pb2.FRAGMENT_ENGINE_KERNELS for scan in self.scans)

    @property
    def hits(self) -> int:
        return sum(scan.partials_hits for scan in self.scans)

    @property
    def misses(self) -> int:
        return sum(scan.partials_misses for scan in self.scans)


class Asker:
    """Plans statements over the collection ``c`` and asks a leaf."""

    def __init__(self, leaf: Leaf, shards: Sequence[int]) -> None:
        self._leaf = leaf
        self._shards = shards
        self._parser = Parser()
        self._planner = Planner(self._parser, security.Catalog.of_engine())
        self._engine = finishing.Engine(finishing.EngineSettings(threads=1))
        self._plans: dict[tuple[str, bool], Plan] = {}

    def plan(self, sql: str, sole: bool) -> Plan:
        if (sql, sole) not in self._plans:
            self._plans[sql, sole] = self._planned(sql, sole)
        return self._plans[sql, sole]

    def _planned(self, sql: str, sole: bool) -> Plan:
        node = self._parser.parse(sql).node
        bound = bind(node, sql, {"c": Names(Schema(1, FIELDS))}, self._parser)
        return self._planner.plan(bound, "a", {"c": Spread(sole=sole)})

    async def ask(
        self,
        sql: str,
        *,
        memoise: bool = False,
        kernels: bool = True,
        sole: bool = True,
        at: PositionVector | None = None,
    ) -> Answer:
        """The answer at a cut; None for the newest."""
        plan = self.plan(sql, sole)
        request = leaf_pb2.FragmentRequest(
            collection="c",
            collection_id=1,
            epoch=1,
            shards=self._shards,
            fragment=plan.reads[0].fragment,
            latest=at is None,
            at=None if at is None else at.to_proto(),
            no_memoised_partials=not memoise,
            no_code_kernels=not kernels,
            no_direct_lookup=True,
        )
        parts, scans = [], []
        async for response in self._leaf.execute(request, timeout_s=30):
            parts.append(response.arrow)
            scans.extend(response.trailer.shards)
        partials = join_chunks(parts)
        read = plan.reads[0]
        if read.counted:
            number = len(partials.column(read.counted).unique().drop_null())
            partials = pa.table({read.counted: pa.array([number], pa.int64())})
        source = finishing.Input(read.table, read.columns, partials)
        with self._engine.session() as session:
            table = finishing.run(self._engine, session, plan.sql, [source], {})
        answer = Answer(rows_of(table), scans)
        if sole and answer.by_kernels and plan.direct is not None:
            direct = finished(*plan.direct, partials)
            if direct is not None:
                assert direct.schema.equals(table.schema, check_metadata=True)
                told = sorted(rows_of(direct), key=repr), sorted(answer.rows, key=repr)
                assert told[0] == told[1], sql
                return replace(answer, directly=True)
        return answer


def rows_of(table: pa.Table) -> list[tuple[object, ...]]:
    return list(zip(*(column.to_pylist() for column in table.columns), strict=True))


def with_rows(
    directory: Path,
    batches: Sequence[Sequence[Document]],
    body: Callable[[Leaf, Asker], Awaitable[None]],
    *,
    seal_rows: int,
    shards: int = 1,
    keyed: bool = False,
) -> None:
    """A leaf to which batches were pushed, dealt to its shards in turn.

    In a keyed collection the key of a row is its offset.
    """

    key = {"key_path": "id"} if keyed else {}

    async def main() -> None:
        catalog = StillCatalog(snapshot_of(collection_of(shards=shards, **key)))
        made = LeafSettings(seal_rows=seal_rows)
        leaf = Leaf(NODE, directory, catalog, made, ThreadPoolExecutor(1))
        await leaf.start()
        try:
            offset = 0
            for batch in batches:
                keys_from = offset if keyed else None
                offset = await append(leaf, batch, offset, shards, keys_from)
            await body(leaf, Asker(leaf, range(shards)))
        finally:
            await leaf.close()

    asyncio.run(main())


async def append(
    leaf: Leaf,
    batch: Sequence[Document],
    offset: int,
    shards: int = 1,
    keys_from: int | None = None,
) -> int:
    """Pushes documents, in a keyed collection with ascending keys; the next offset."""
    end = offset + len(batch)
    parts = {
        shard: rows_bytes(
            {offset + at: row for at, row in enumerate(batch) if (offset + at) % shards == shard},
            None
            if keys_from is None
            else {offset + at: str(keys_from + at) for at in range(len(batch))},
        )
        for shard in range(shards)
    }
    response = await leaf.apply(push(parts, offset, end))
    assert all(part.status == leaf_pb2.APPLY_STATUS_APPLIED for part in response.shards)
    return end


async def sealed(leaf: Leaf, segments: int) -> None:
    """Waits until every shard has that many segments at least."""
    async with asyncio.timeout(20):
        while True:
            described = await leaf.describe(leaf_pb2.DescribeLeafRequest())
            if all(shard.segments >= segments for shard in described.shards):
                return
            await asyncio.sleep(0.01)


def reference(rows: Sequence[Document]) -> duckdb.DuckDBPyConnection:
    """DuckDB over the same documents, as the table ``c``."""
    types = {
        "kind": pa.string(),
        "word": pa.string(),
        "n": pa.int64(),
        "big": pa.int64(),
        "few": pa.int64(),
        "f": pa.float64(),
        "flag": pa.bool_(),
        "mixed": pa.float64(),
    }
    columns = {name: pa.array([row[name] for row in rows], kind) for name, kind in types.items()}
    offsets = pa.array(range(len(rows)), pa.int64())
    columns["_time"] = offsets.cast(pa.timestamp("us"))
    columns["_offset"] = offsets
    connection = duckdb.connect()
    connection.register("raw", pa.table(columns))
    connection.execute("CREATE TABLE c AS SELECT * FROM raw")
    return connection
