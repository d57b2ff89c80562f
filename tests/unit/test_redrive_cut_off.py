"""A redrive that is cut off between any two of its steps: nothing is lost or there twice."""

import asyncio
import json
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from leaf_model import NODE, StillCatalog, ask, bound, push, quarantine_bytes, snapshot_of

from alder.catalog import Collection, Shard, Source, SourcePartition
from alder.errors import AlderError, Reason
from alder.interfaces import LeafClient
from alder.slots import shard_indexes, slots_of_offsets, split_evenly
from alder.v1 import leaf_pb2, quarantine_pb2
from leaf.service import Leaf
from leaf.settings import LeafSettings
from tailer.builders import builder_of
from tailer.fence import Fence
from tailer.redrive import Outcomes, RedrivenPartition, Redriver
from tailer.settings import TailerSettings
from tailer.sources.model import RawBatch, empty_batch

RECORDS = 40
SHARDS = 3
SETTINGS = LeafSettings(follow_wait_s=0.05, catch_up_wait_s=0.05)
COLLECTION = Collection(
    "c",
    1,
    key_path="k",
    sources=(Source("log", "log", "t", (SourcePartition(0),)),),
    shards=tuple(Shard(n, *ends, NODE) for n, ends in enumerate(split_evenly(SHARDS))),
    epoch=1,
)
VALUES = [json.dumps({"k": f"k{n}", "n": n}).encode() for n in range(RECORDS)]


class Records:
    """The source, which has all of them."""

    finite = False

    async def read(self, offset: int, wait_ms: int, leader_epoch: int = -1) -> RawBatch:
        offsets = np.arange(offset, RECORDS, dtype=np.int64)
        records = pa.array(VALUES[offset:], pa.binary())
        times = np.zeros(len(offsets), dtype=np.int64)
        whole = replace(empty_batch(offset), end=RECORDS, records=records, offsets=offsets)
        return replace(whole, log_times_us=times)

    def close(self) -> None: ...


class CutOff:
    """A leaf that is reached for so many more shards, and is a directory of itself."""

    def __init__(self, leaf: Leaf, shards_left: int, step: int = 1) -> None:
        self._leaf = leaf
        self._step = step
        self.shards_left = shards_left

    def leaf(self, leaf: str) -> LeafClient:
        return self

    async def redrive(
        self, request: quarantine_pb2.LeafRedriveRequest, timeout_s: float | None = None
    ) -> quarantine_pb2.LeafRedriveResponse:
        answer = quarantine_pb2.LeafRedriveResponse()
        for part in request.shards[:: self._step]:
            if not self.shards_left:
                raise AlderError(Reason.UNAVAILABLE, "the connection broke")
            self.shards_left -= 1
            own = quarantine_pb2.LeafRedriveRequest()
            own.CopyFrom(request)
            own.ClearField("shards")
            own.shards.append(part)
            answer.MergeFrom(await self._leaf.redrive(own, timeout_s))
        return answer


def homes() -> dict[int, list[int]]:
    """The offsets by the shard in whose quarantine they are."""
    slots = slots_of_offsets("log", 0, np.arange(RECORDS, dtype=np.int64))
    places = shard_indexes(slots, [end for _, end in split_evenly(SHARDS)])
    found: dict[int, list[int]] = defaultdict(list)
    for offset, place in enumerate(places.tolist()):
        found[place].append(offset)
    return found


async def opened(directory: Path) -> Leaf:
    catalog = StillCatalog(snapshot_of(COLLECTION))
    leaf = Leaf(NODE, directory, catalog, SETTINGS, ThreadPoolExecutor(1))
    await leaf.start()
    return leaf


async def redrive_all(leaf: CutOff) -> Outcomes:
    settings = TailerSettings()
    with ThreadPoolExecutor(1) as executor:
        what = RedrivenPartition(
            COLLECTION,
            COLLECTION.sources[0],
            COLLECTION.sources[0].partitions[0],
            Records(),
            lambda: builder_of(COLLECTION, "log", 0, settings, ()),
        )
        fence = Fence(lambda: True, 0)
        return await Redriver(what, leaf, executor, settings, fence).redrive(range(RECORDS))


async def offsets_of(leaf: Leaf) -> list[int]:
    columns = [bound("o", "_offset", "BIGINT"), bound("n", "n", "BIGINT", "int")]
    shards = tuple(range(SHARDS))
    table, _ = await ask(leaf, "SELECT o FROM rows WHERE o = n ORDER BY o", columns, shards=shards)
    found: list[int] = table.column("o").to_pylist()
    return found


async def waiting_in(leaf: Leaf) -> set[int]:
    request = quarantine_pb2.ShardQuarantineRequest(collection_id=1)
    return {record.offset async for record in leaf.list_quarantine(request)}


@pytest.mark.parametrize("step", [1, -1])
@pytest.mark.parametrize("shards_reached", range(SHARDS + 1))
def test_a_redrive_that_is_cut_off_is_completed_by_the_next(
    tmp_path: Path, shards_reached: int, step: int
) -> None:
    async def main() -> None:
        leaf = await opened(tmp_path)
        for shard in range(SHARDS):
            bad = quarantine_bytes([(at, "bad", VALUES[at]) for at in homes()[shard]])
            answer = await leaf.apply(push({shard: b""}, 0, RECORDS, quarantine=bad))
            assert [one.status for one in answer.shards] == [leaf_pb2.APPLY_STATUS_APPLIED]
        cut_off = CutOff(leaf, shards_reached, step)
        with pytest.raises(AlderError, match="the connection broke"):
            await redrive_all(cut_off)
        await leaf.close()
        leaf = await opened(tmp_path)
        rows, waiting = await offsets_of(leaf), await waiting_in(leaf)
        assert len(rows) == len(set(rows))
        assert set(rows) | waiting == set(range(RECORDS)), "a record is lost"
        outcomes = await redrive_all(CutOff(leaf, 2 * SHARDS))
        assert outcomes == dict.fromkeys(range(RECORDS), "")
        assert await offsets_of(leaf) == list(range(RECORDS))
        assert await waiting_in(leaf) == set()
        await leaf.close()

    asyncio.run(main())
