"""The leaf as its callers see it, on real stores."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from leaf_model import (
    NODE,
    StillCatalog,
    ask,
    bound,
    collection_of,
    push,
    quarantine_bytes,
    rows_bytes,
    snapshot_of,
)

from alder.errors import AlderError, Reason
from alder.positions import PositionVector
from alder.v1 import common_pb2, leaf_pb2
from leaf.service import Leaf
from leaf.settings import LeafSettings

A = bound("c0", "a", "BIGINT", "int")
OFFSET = bound("o", "_offset", "BIGINT")
Body = Callable[[Leaf, StillCatalog], Awaitable[None]]


def with_leaf(
    directory: Path, body: Body, settings: LeafSettings | None = None, **fields: object
) -> None:
    async def main() -> None:
        catalog = StillCatalog(snapshot_of(collection_of(**fields)))
        leaf = Leaf(NODE, directory, catalog, settings)
        await leaf.start()
        try:
            await body(leaf, catalog)
        finally:
            await leaf.close()

    asyncio.run(main())


def statuses(response: leaf_pb2.ApplyResponse) -> list[tuple[int, int, int]]:
    return [(part.shard, part.status, part.next_offset) for part in response.shards]


def test_rows_come_back_and_survive_a_restart(tmp_path: Path) -> None:
    async def first(leaf: Leaf, catalog: StillCatalog) -> None:
        await leaf.apply(push({0: rows_bytes({0: {"a": 1}, 1: {"a": 2, "s": "x"}})}, 0, 3))
        await leaf.apply(push({0: b""}, 3, 7))
        await second(leaf, catalog)

    async def second(leaf: Leaf, catalog: StillCatalog) -> None:
        columns = [
            A, OFFSET, bound("i", "_id", "VARCHAR"), bound("d", "_doc", "JSON"),
            bound("s", "_source", "VARCHAR"), bound("p", "_partition", "INTEGER"),
            bound("j", "a", "JSON"), bound("t", "_time", "TIMESTAMP"),
        ]  # fmt: skip
        table, trailer = await ask(leaf, "SELECT * FROM rows ORDER BY o", columns)
        rows = table.to_pylist()
        assert [(r["c0"], r["o"], r["i"], r["d"], r["s"], r["p"], r["j"]) for r in rows] == [
            (1, 0, "log/0/0", '{"a":1}', "log", 0, "1"),
            (2, 1, "log/0/1", '{"a":2,"s":"x"}', "log", 0, "2"),
        ]
        assert trailer.shards[0].rows_total == 2
        response = await leaf.positions(leaf_pb2.PositionsRequest(collection="c", collection_id=1))
        assert PositionVector.from_proto(response.shards[0].positions)["log", 0] == 7
        assert {f.path: list(f.types) for f in response.schema.fields} == {
            "a": ["int"],
            "s": ["string"],
        }

    with_leaf(tmp_path, first)
    with_leaf(tmp_path, second)
