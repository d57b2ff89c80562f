"""Partials of live tails: carried on where rows only came, never where one died or is not asked."""

import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernels_model import Asker, append, documents, with_rows
from leaf_model import push, rows_bytes

from alder.positions import PositionVector
from leaf.kernels.columns import Holder
from leaf.kernels.grouping import CodePartial
from leaf.kernels.livetail import TailPartial, Work, later_rows
from leaf.pieces import Piece
from leaf.service import Leaf
from leaf.tail import LATEST_ROWS_MAX, TailChunk, appended

COUNT = "select kind, count(*) as n from c group by kind order by n desc, kind"
QUERIES = [
    COUNT,
    "select kind, few, count(*), sum(n), min(f) from c where flag group by all order by all",
    "select kind, count(distinct word) as w, count(*) from c group by kind order by w desc, kind",
    "select word, min(n) as low from c where kind <> 'a' group by word order by low, word limit 5",
    "select word, max(n) - min(n) as s from c group by word order by s desc, word limit 3",
    "select count(*), sum(n), count(distinct few) from c where n > 0",
    "select upper(kind) || '!' as k, avg(n) from c where word like 'w1%' group by k order by k",
]


@pytest.mark.parametrize("keyed", [False, True])
@pytest.mark.parametrize("seed", range(2))
def test_what_is_repeated_while_rows_come_is_what_is_computed_anew(
    tmp_path: Path, keyed: bool, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leaf.kernels.aggregation._RANKED_MIN", 1)
    rng = random.Random(seed)
    rows = documents(1_000, seed)

    async def body(leaf: Leaf, asker: Asker) -> None:
        offset = 0
        for _ in range(16):
            count = rng.choice([1, 7, 40, 90])
            if keyed and offset and rng.random() < 0.2:
                end = offset + 1
                dead = rows_bytes({offset: None}, {offset: str(rng.randrange(offset))})
                await leaf.apply(push({0: dead}, offset, end))
                offset = end
            else:
                old = keyed and offset > 50 and rng.random() < 0.3
                keys = rng.randrange(offset) if old else offset
                batch = rows[offset : offset + count]
                offset = await append(leaf, batch, offset, keys_from=keys if keyed else None)
            earlier = PositionVector({("log", 0): rng.randrange(offset)})
            for sql in rng.sample(QUERIES, 2):
                for at in (None, earlier, None):
                    anew = await asker.ask(sql, at=at)
                    assert anew.by_kernels
                    assert (await asker.ask(sql, at=at, memoise=True)).rows == anew.rows, sql
                    assert (await asker.ask(sql, at=at, kernels=False)).rows == anew.rows, sql

    with_rows(tmp_path, [], body, seal_rows=250, keyed=keyed)


def test_a_repeated_query_reads_the_rows_that_came_since(tmp_path: Path) -> None:
    rows = documents(2_000)

    async def body(leaf: Leaf, asker: Asker) -> None:
        async def scanned(at: PositionVector | None = None) -> int:
            asked = await asker.ask(COUNT, memoise=True, at=at)
            return sum(scan.rows_scanned for scan in asked.scans)

        assert await scanned() == 1_000
        assert await scanned() == 0
        offset = await append(leaf, rows[1_000:1_050], 1_000)
        assert await scanned() == 50
        for _ in range(3):
            offset = await append(leaf, rows[offset : offset + 20], offset)
        assert await scanned(PositionVector({("log", 0): 1_070})) == 20
        assert await scanned() == offset - 1_050
        assert await scanned(PositionVector({("log", 0): 900})) == 900
        assert await scanned() == 0

    with_rows(tmp_path, [rows[:600], rows[600:1_000]], body, seal_rows=10_000)


def chunk_of(block: int, begin: int, rows: int) -> TailChunk:
    return TailChunk(block, pa.table({"_birth": np.arange(begin, begin + rows)}))


@settings(deadline=None)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=30), st.integers(0, 2_000), st.randoms())
def test_the_later_rows_of_a_tail_are_those_after_the_first(
    sizes: list[int], known: int, rng: random.Random
) -> None:
    tail: tuple[TailChunk, ...] = ()
    for block, size in enumerate(sizes):
        tail = appended(tail, chunk_of(block, sum(sizes[:block]), size), 0)
    known = min(known, sum(sizes))
    works, alive = [], []
    for chunk in tail:
        chosen = None
        if rng.random() < 0.3:
            chosen = np.flatnonzero([rng.random() < 0.7 for _ in range(chunk.rows)])
        piece = Piece(chunk, chosen)
        works.append(Work(Holder(chunk, (), 0), piece))
        alive.extend(chunk.births()[piece.numbers()].tolist())
    found: list[int] = []
    for work in later_rows(works, known):
        found.extend(work.holder.rows.births()[work.piece.numbers()].tolist())
    assert found == [birth for birth in alive if birth >= known]
    kept = TailPartial(known, CodePartial((), (), 0))
    assert kept.counts_for(works) == (set(range(known)) <= set(alive))
    assert not TailPartial(sum(sizes) + 1, kept.partial).counts_for(works)


@given(st.lists(st.integers(1, 900), min_size=1, max_size=20))
def test_the_last_pushes_of_a_tail_stay_what_they_were(sizes: list[int]) -> None:
    tail: tuple[TailChunk, ...] = ()
    pushes = [chunk_of(n, sum(sizes[:n]), size) for n, size in enumerate(sizes)]
    for pushed in pushes:
        tail = appended(tail, pushed, 0)
    last = tail[-1]
    own = [pushed for pushed in pushes if pushed.first_block >= last.first_block]
    assert sum(pushed.rows for pushed in last.latest) <= LATEST_ROWS_MAX
    assert list(last.latest) == (own[len(own) - len(last.latest) :] if len(own) > 1 else [])
    if last.latest:
        parts = last.after(last.rows - last.latest[-1].rows)
        assert len(parts) == 1
        assert parts[0] is pushes[-1]
