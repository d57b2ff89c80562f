"""What the leaf's tests share: pushes made of plain rows, and a catalog that stands still."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
import pyarrow as pa

from alder.arrow import join_chunks, to_bytes
from alder.catalog import Collection, Shard, Snapshot
from alder.fieldtypes import arrow_type
from alder.positions import PositionVector
from alder.v1 import leaf_pb2
from leaf.pieces import ColumnNeeds, alive_piece, holders, piece_table
from leaf.service import Leaf
from leaf.shard import Shard as LeafShard
from leaf.shardatcut import horizon_of
from leaf.view import ShardView

NODE = "leaf-1"
Document = dict[str, Any]


@dataclass
class StillCatalog:
    """A follower whose snapshot changes when a test says so."""

    snapshot: Snapshot
    event: asyncio.Event = field(default_factory=asyncio.Event)

    async def changed(self) -> None:
        await self.event.wait()

    def publish(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        waiting, self.event = self.event, asyncio.Event()
        waiting.set()


def collection_of(name: str = "c", shards: int = 1, epoch: int = 1, **fields: Any) -> Collection:
    """A collection whose shards are all on :data:`NODE`."""
    entries = tuple(Shard(n, n * 10, n * 10 + 10, NODE) for n in range(shards))
    return Collection(name, fields.pop("collection_id", 1), shards=entries, epoch=epoch, **fields)


def snapshot_of(*collections: Collection, revision: int = 1) -> Snapshot:
    return Snapshot(revision, {entry.name: entry for entry in collections})


def tag_of(value: object) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int"
    if isinstance(value, float):
        return "float"
    if isinstance(value, str):
        return "string"
    if isinstance(value, list):
        return f"list<{tag_of(value[0])}>"
    raise AssertionError(value)


def rows_bytes(
    documents: Mapping[int, Document | None],
    keys: Mapping[int, str] | None = None,
    times: Mapping[int, int] | None = None,
    event_times: Mapping[int, int] | None = None,
) -> bytes:
    """Flat documents by offset as a push's rows; times of log and events are microseconds."""
    if not documents:
        return b""
    offsets = sorted(documents)
    log_times = [(times or {}).get(offset, offset) for offset in offsets]
    columns: dict[str, pa.Array] = {
        "_offset": pa.array(offsets, pa.int64()),
        "_time": pa.array(
            [event_times[offset] for offset in offsets] if event_times else log_times,
            pa.timestamp("us"),
        ),
        "_log_time": pa.array(log_times, pa.timestamp("us")),
        "_doc": pa.array(
            [
                None if documents[offset] is None else orjson.dumps(documents[offset]).decode()
                for offset in offsets
            ],
            pa.string(),
        ),
    }
    if keys is not None:
        columns["_key"] = pa.array([keys[offset] for offset in offsets], pa.string())
    names: dict[str, None] = {}
    for offset in offsets:
        for path, value in (documents[offset] or {}).items():
            if value is not None:
                names[f"{tag_of(value)}:{path}"] = None
    for name in names:
        tag, _, path = name.partition(":")
        values = []
        for offset in offsets:
            value = (documents[offset] or {}).get(path)
            values.append(value if value is not None and tag_of(value) == tag else None)
        columns[name] = pa.array(values, arrow_type(tag))
    return to_bytes(pa.table(columns))


def quarantine_bytes(records: Sequence[tuple[int, str, bytes]]) -> bytes:
    table = pa.table(
        {
            "offset": pa.array([entry[0] for entry in records], pa.int64()),
            "reason": pa.array([entry[1] for entry in records], pa.string()),
            "value": pa.array([entry[2] for entry in records], pa.binary()),
            "size_bytes": pa.array([len(entry[2]) for entry in records], pa.int64()),
        }
    )
    return to_bytes(table)


def push(
    parts: Mapping[int, bytes],
    from_offset: int,
    to_offset: int,
    *,
    partition: int = 0,
    source: str = "log",
    epoch: int = 1,
    identity: str = "t",
    quarantine: bytes = b"",
    collection: str = "c",
    collection_id: int = 1,
) -> leaf_pb2.ApplyRequest:
    return leaf_pb2.ApplyRequest(
        collection=collection,
        collection_id=collection_id,
        epoch=epoch,
        source=source,
        partition=partition,
        source_identity=identity,
        shards=[
            leaf_pb2.ShardRows(
                shard=shard,
                from_offset=from_offset,
                to_offset=to_offset,
                rows=rows,
                quarantine=quarantine,
            )
            for shard, rows in parts.items()
        ],
    )


def bound(name: str, path: str, sql_type: str, *types: str) -> leaf_pb2.ColumnBinding:
    return leaf_pb2.ColumnBinding(name=name, path=path, sql_type=sql_type, types=types)


async def ask(
    leaf: Leaf,
    sql: str,
    columns: Iterable[leaf_pb2.ColumnBinding] = (),
    *,
    at: Mapping[tuple[str, int], int] | None = None,
    terms: Iterable[leaf_pb2.Term] = (),
    shards: Sequence[int] = (0,),
    epoch: int = 1,
    timeout_s: float = 30,
    collection_id: int = 1,
) -> tuple[pa.Table, leaf_pb2.FragmentTrailer]:
    request = leaf_pb2.FragmentRequest(
        collection="c",
        collection_id=collection_id,
        epoch=epoch,
        shards=shards,
        fragment=leaf_pb2.Fragment(sql=sql, columns=columns, terms=terms),
        at=PositionVector(at or {}).to_proto(),
        latest=at is None,
    )
    parts: list[bytes] = []
    trailer = leaf_pb2.FragmentTrailer()
    async for response in leaf.execute(request, timeout_s=timeout_s):
        parts.append(response.arrow)
        if response.HasField("trailer"):
            trailer = response.trailer
    return join_chunks(parts), trailer


def merge_now(shard: LeafShard) -> bool:
    """Makes the merge that is next, in this process; False where there is none."""
    plan = shard.compaction.begin()
    if plan is None:
        return False
    shard.compaction.merge(plan, lambda function, *args, **kwargs: function(*args, **kwargs))
    shard.compaction.end(plan)
    return True


def content(view: ShardView, cut: PositionVector | None = None) -> list[tuple[int, str]]:
    """Offset and document of the rows alive."""
    needs = ColumnNeeds(("_doc",), offset=True)
    found = []
    for holder in holders(view):
        table = piece_table(alive_piece(holder, horizon_of(view, cut)), view.streams, needs)
        columns = [table.column(name).to_pylist() for name in ("_offset", "_doc")]
        found.extend(zip(*columns, strict=True))
    return sorted(found)
