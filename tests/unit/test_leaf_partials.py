"""Partials of sealed segments: taken where nothing changed, never where something did."""

from pathlib import Path

import pyarrow as pa
import pytest
from kernels_model import Asker, append, documents, sealed, with_rows

from leaf.partials import Partials
from leaf.service import Leaf

COUNT = "select kind, count(*) as n from c group by kind order by n desc, kind"
FILTERED = "select kind, count(*) filter (where n > 0) from c group by kind order by kind"
DISTINCT = "select kind, count(distinct word) from c group by kind order by kind"
"""By kernels, by the engine, and with a final that can't be put together from partials."""
CONDITIONS = [
    f"select few, count(*), sum(n) from c where {condition} group by few order by few"
    for condition in (
        "kind = 'a'",
        "kind = 'a' and flag",
        "n > 0",
        "kind <> 'a' and n > -500 and f < 2",
        "flag and mixed > 0",
    )
]


@pytest.mark.parametrize("sql", [COUNT, FILTERED, DISTINCT])
def test_the_second_time_only_the_tail_is_read(tmp_path: Path, sql: str) -> None:
    rows = documents(500)

    async def body(leaf: Leaf, asker: Asker) -> None:
        await sealed(leaf, 1)
        first = await asker.ask(sql, memoise=True)
        assert (first.hits, first.misses > 0) == (0, True)
        second = await asker.ask(sql, memoise=True)
        assert (second.hits, second.misses) == (first.misses, 0)
        assert sum(scan.rows_scanned for scan in second.scans) < len(rows)
        assert second.rows == first.rows
        await append(leaf, documents(9_000, seed=2)[:50], len(rows))
        third = await asker.ask(sql, memoise=True)
        assert third.hits == second.hits
        assert third.rows != first.rows
        anew = await asker.ask(sql, memoise=False)
        assert (anew.hits, anew.misses) == (0, 0)
        assert anew.rows == third.rows

    with_rows(tmp_path, [rows[:300], rows[300:]], body, seal_rows=301)


@pytest.mark.parametrize("sole", [True, False])
def test_the_engine_puts_together_only_what_adds_up(tmp_path: Path, sole: bool) -> None:
    rows = documents(400)

    async def body(leaf: Leaf, asker: Asker) -> None:
        await sealed(leaf, 1)
        for sql in (COUNT, DISTINCT, "select avg(n), min(f), count(*) from c"):
            anew = await asker.ask(sql, kernels=False, sole=sole)
            for _ in range(2):
                kept = await asker.ask(sql, kernels=False, sole=sole, memoise=True)
                assert kept.rows == anew.rows
            assert bool(kept.hits) == (sql != DISTINCT)

    with_rows(tmp_path, [rows[:200], rows[200:300], rows[300:]], body, seal_rows=150)


def test_a_row_that_died_is_not_counted_from_memory(tmp_path: Path) -> None:
    rows = documents(300)

    async def body(leaf: Leaf, asker: Asker) -> None:
        await sealed(leaf, 1)
        for sql in (COUNT, FILTERED):
            for _ in range(2):
                before = await asker.ask(sql, memoise=True)
            assert before.hits
        await append(leaf, rows[:20], 300, keys_from=100)
        for sql in (COUNT, FILTERED, DISTINCT, *CONDITIONS):
            for _ in range(2):
                after = await asker.ask(sql, memoise=True)
                assert after.rows == (await asker.ask(sql, kernels=False)).rows
                assert after.rows == (await asker.ask(sql)).rows
        total = await asker.ask("select count(*) from c", memoise=True)
        assert total.rows == [(300,)]

    with_rows(tmp_path, [rows], body, seal_rows=200, keyed=True)


def test_a_partial_that_saves_nothing_is_not_kept() -> None:
    partials = Partials(1 << 20)
    groups = pa.table({"n": range(100)})
    assert not partials.keep(b"all different", "key", groups, rows=150)
    assert partials.is_refused(b"all different")
    assert partials.find("key") is None
    assert partials.keep(b"few", "other", groups, rows=100_000)
    assert not partials.is_refused(b"few")
    assert partials.find("other") is groups


def test_partials_keep_to_their_budget() -> None:
    partials = Partials(1_000)
    for number in range(10):
        partials.put(number, object(), 300)
    assert partials.size_bytes == 900
    assert [number for number in range(10) if partials.find(number) is not None] == [7, 8, 9]
    partials.put("too large", object(), 1_001)
    assert partials.find("too large") is None
