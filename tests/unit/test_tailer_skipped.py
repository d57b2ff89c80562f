"""A partition without its skipped ranges: every other record once, and no offset left out."""

import asyncio

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from alder.catalog import SkippedRange
from tailer.sources.model import PartitionSource, Quarantined, RawBatch, empty_batch
from tailer.sources.skipped import WithoutSkipped

END = 60


class Numbers(PartitionSource):
    """The records 0 to 59 but for some that there are not; every seventh is refused."""

    finite = False

    def __init__(self, sizes: list[int], absent: frozenset[int]) -> None:
        self.sizes = sizes
        self.absent = absent
        self.reads = 0

    async def read(self, offset: int, wait_ms: int, leader_epoch: int = -1) -> RawBatch:
        self.reads += 1
        end = min(offset + self.sizes[self.reads % len(self.sizes)], END)
        if end <= offset:
            return empty_batch(offset, END)
        there = [n for n in range(offset, end) if n not in self.absent and n % 7]
        numbers = np.array(there, dtype=np.int64)
        return RawBatch(
            offset,
            end,
            pa.array([b"%d" % n for n in there], pa.binary()),
            numbers,
            numbers * 10,
            keys=pa.array([b"k%d" % n for n in there], pa.binary()),
            columns=pa.table({"n": numbers}),
            quarantined=tuple(
                Quarantined(n, "no", b"", 0) for n in range(offset, end) if n % 7 == 0
            ),
            source_end=END,
            leader_epoch=5,
        )

    def close(self) -> None:
        """Nothing to close."""


@given(
    st.lists(st.integers(1, 25), min_size=1, max_size=5),
    st.frozensets(st.integers(0, END - 1), max_size=20),
    st.lists(st.integers(0, END + 10), max_size=8, unique=True),
    st.integers(0, END),
)
def test_every_record_outside_of_the_ranges_is_read_once(
    sizes: list[int], absent: frozenset[int], bounds: list[int], begin: int
) -> None:
    bounds = sorted(bounds)[: len(bounds) // 2 * 2]
    spans = [SkippedRange(a, b) for a, b in zip(bounds[::2], bounds[1::2], strict=True)]
    passed = {n for span in spans for n in range(span.begin, span.end)}
    source = WithoutSkipped(Numbers(sizes, absent), spans)

    async def everything() -> list[RawBatch]:
        batches, at = [], begin
        while at < END:
            batch = await source.read(at, 0)
            assert batch.begin == at < batch.end
            batches.append(batch)
            at = batch.end
        return batches

    batches = asyncio.run(everything())
    there = [n for n in range(begin, END) if n not in passed]
    assert [n for b in batches for n in b.offsets.tolist()] == [
        n for n in there if n % 7 and n not in absent
    ]
    assert [q.offset for b in batches for q in b.quarantined] == [n for n in there if n % 7 == 0]
    for batch in batches:
        offsets = batch.offsets.tolist()
        assert batch.records.to_pylist() == [b"%d" % n for n in offsets]
        assert batch.log_times_us.tolist() == [10 * n for n in offsets]
        if batch.keys is not None:
            assert batch.keys.to_pylist() == [b"k%d" % n for n in offsets]
            assert batch.columns is not None
            assert batch.columns.column("n").to_pylist() == offsets
