"""Kernels give what the engine gives, over sealed rows, live tails and both."""

import math
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from kernels_model import Asker, documents, reference, rows_of, sealed, with_rows

from alder.errors import AlderError, Reason
from leaf.kernels.numbering import counts_of
from leaf.service import Leaf

BY_KERNELS = """
select count(*) from c
select count(*) as n, count(kind) as k, count(n) as m, count(f) as g from c
select kind, count(*) from c group by 1
select kind, few, count(*) from c group by 1, 2
select flag, count(*), count(flag) from c group by all
select n, count(*) from c group by n
select word, count(*), min(n), max(n) from c group by word
select kind, sum(n), avg(n), min(n), max(n) from c group by kind
select kind, sum(big), avg(big), min(big), max(big) from c group by kind
select sum(big), avg(big) from c where kind is null
select few, sum(f), avg(f), min(f), max(f) from c where f < 1000 group by few
select kind, sum(mixed), min(mixed) from c group by kind
select kind, min(_time), max(_time) from c group by kind
select date_trunc('millisecond', _time) as t, count(*) from c group by t
select upper(kind) || '!' as k, count(*) from c group by k
select n % 7 as r, n // 100 as q, count(*), sum(n) from c group by all
select length(word) as l, sum(n + 1), min(-n), max(abs(n)) from c group by l
select kind is null as missing, count(*) from c group by missing
select kind, count(*) from c where kind = 'a' group by kind
select kind, count(*) from c where kind in ('a', 'b', 'nowhere') and few >= 2 group by kind
select count(*) from c where kind = 'nowhere'
select kind, count(*) from c where kind = 'nowhere' group by kind
select few, count(*) from c where kind like '%c' and flag group by few
select few, count(*) from c where not flag and kind <> 'a' group by few
select few, count(*) from c where n between -100 and 250 group by few
select few, count(*) from c where n > 990 group by few
select few, count(*) from c where mixed > 1 group by few
select few, count(*), sum(n) from c where few is not null and kind is not null group by few
select kind, count(distinct word) from c group by kind
select count(distinct word), count(*) from c
select kind, flag, count(distinct few), count(*), sum(n), avg(f) from c where f < 5 group by 1, 2
select count(distinct word) as w, count(*) from c where few = 1
select count(distinct n % 10) from c where kind = 'nowhere'
select kind, count(distinct word) as w from c group by kind order by w desc, kind limit 2
select word, count(*) as n from c group by word order by n desc, word limit 5
select word, max(n) as best from c group by word order by best, word limit 7 offset 2
select word, max(n) - min(n) as span from c group by word order by span desc, word limit 4
select word, make_timestamp(min(n)) as t, 1 from c group by word order by t, word limit 3
select max(n) // 100 as m, word, few from c group by word, few order by m, 2, 3 limit 5 offset 1
select word, -max(n) as m, -max(n) as again, m + 1 from c group by word order by 2, 1 limit 3
select word, sum(n) as total from c group by word order by total desc, word limit 3
select word, min(f) as low from c group by word order by low desc, word limit 3
select kind, count(*) as n from c group by kind having count(*) > 80 order by n, kind
select kind, sum(distinct few) from c group by kind
select distinct kind from c
select distinct kind, few from c where flag
select kind || few as k, count(*) from c group by k
select sum(n * few), sum(n - few), avg(n + few), min(n * few), max(n - few) from c
select kind, sum(n * few) as s from c where flag or few = 2 group by kind order by kind
select kind, sum(n * few) as s from c where n > few and kind <> 'b' group by kind
select count(*) from c where n > few
select count(*) from c where word like 'w1%'
select few, count(*) from c where f > 0.1 and word >= 'w3' group by few
select kind, count(*) filter (where flag), count(n) filter (where few = 1) from c group by kind
select sum(n) filter (where n > few), max(n) filter (where kind = 'nowhere'), count(*) from c
select few, min(f) filter (where f > 0), avg(n) filter (where not flag) from c group by few
select few, count(*) from c where _time::date = '1970-01-01' group by few
select few, count(*) from c where few in (0, 1) or few = 3 group by few
select few, count(*) from c where n % 3 = 0 group by few
select few, min(n), max(n), sum(big) from c where n % 2 = 0 or kind = 'cc' group by few
select word, min(n) from c where kind = 'a' and flag group by word order by 2, 1 limit 3
select word, few, count(*) from c where kind = 'b' group by word, few
""".strip().splitlines()

BY_ENGINE = """
select f, count(*) from c group by f
select kind, stddev(n) from c group by kind
select kind, min(word) from c group by kind
""".strip().splitlines()

LAYOUTS = {
    "tail": (10_000, 0, 1),
    "sealed": (150, 1, 1),
    "both": (300, 1, 1),
    "shards": (100, 1, 3),
}


def plain(value: object) -> object:
    if isinstance(value, Decimal):
        return int(value)
    if isinstance(value, float):
        return None if math.isnan(value) else float(f"{value:.9g}")
    return value


def same(left: list[tuple[object, ...]], right: list[tuple[object, ...]], ordered: bool) -> bool:
    first, second = (
        [tuple(plain(value) for value in row) for row in rows] for rows in (left, right)
    )
    if ordered:
        return first == second
    return sorted(first, key=repr) == sorted(second, key=repr)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_kernels_and_engine_give_the_same_rows(
    tmp_path: Path, layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if layout == "both":
        monkeypatch.setattr("leaf.kernels.columns.TERMS_FEW", 0)
        monkeypatch.setattr("leaf.kernels.numbering.TERMS_FEW", 0)
        monkeypatch.setattr("leaf.kernels.aggregation._RANKED_MIN", 0)
    seal_rows, segments, shards = LAYOUTS[layout]
    rows = documents(500)
    truth = reference(rows)
    batches = [rows[begin : begin + 110] for begin in range(0, len(rows), 110)]

    async def body(leaf: Leaf, asker: Asker) -> None:
        await sealed(leaf, segments)
        for sql in BY_KERNELS + BY_ENGINE:
            expected = rows_of(truth.sql(sql).to_arrow_table())
            ordered = "order by" in sql
            for sole in (True, False):
                for memoise in (True, True, False) if sole else (True, True):
                    asked = await asker.ask(sql, memoise=memoise, sole=sole)
                    assert same(asked.rows, expected, ordered), (sql, sole, memoise)
            engine = await asker.ask(sql, kernels=False)
            assert same(engine.rows, expected, ordered), sql
            assert not engine.by_kernels
            if sql in BY_ENGINE:
                assert not asked.by_kernels or layout == "tail", sql
            else:
                assert asked.by_kernels, sql

    with_rows(tmp_path, batches, body, seal_rows=seal_rows, shards=shards)


def test_a_computed_order_is_told_by_the_leaf(tmp_path: Path) -> None:
    sql = "select word, max(n) - min(n) as span from c group by word order by span, word limit 2"

    async def body(leaf: Leaf, asker: Asker) -> None:
        plan = asker.plan(sql, sole=True)
        assert plan.direct is not None
        assert [name for _, name in plan.direct[0].columns] == ["word", "span"]
        asked = await asker.ask(sql)
        assert asked.by_kernels
        assert asked.directly
        assert not (await asker.ask(sql, kernels=False)).directly

    with_rows(tmp_path, [documents(300)], body, seal_rows=10_000)


def test_a_value_that_only_the_engine_can_judge_is_left_to_it(tmp_path: Path) -> None:
    rows = documents(400)

    async def body(leaf: Leaf, asker: Asker) -> None:
        await sealed(leaf, 1)
        for sql in (
            "select odd, count(*) from c group by odd",
            "select kind, count(odd) from c where odd is not null group by kind",
            "select kind, sum(n::decimal(20, 2)) from c group by kind",
        ):
            by_default = await asker.ask(sql)
            by_engine = await asker.ask(sql, kernels=False)
            assert same(by_default.rows, by_engine.rows, ordered=False), sql

    with_rows(tmp_path, [rows[:300], rows[300:]], body, seal_rows=200)


def test_a_value_of_a_type_that_the_plan_does_not_know_is_not_left_out(tmp_path: Path) -> None:
    rows = documents(300)
    rows[250] = {**rows[250], "few": "many"}

    async def body(leaf: Leaf, asker: Asker) -> None:
        await sealed(leaf, 1)
        for sql in ("select few, count(*) from c group by few", "select sum(few) from c"):
            for memoise in (True, False):
                with pytest.raises(AlderError) as caught:
                    await asker.ask(sql, memoise=memoise)
                assert caught.value.reason is Reason.SCHEMA_CHANGED

    with_rows(tmp_path, [rows[:200], rows[200:]], body, seal_rows=200)


def test_an_error_of_an_expression_is_the_engines_error(tmp_path: Path) -> None:
    rows = documents(300)

    async def body(leaf: Leaf, asker: Asker) -> None:
        await sealed(leaf, 1)
        asked = await asker.ask("select count(*) from c where try_cast(kind as int) = 1")
        assert asked.rows == [(0,)]
        with pytest.raises(AlderError, match="Could not convert string"):
            await asker.ask("select kind::int as k, count(*) from c group by k")

    with_rows(tmp_path, [rows], body, seal_rows=200)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int32])
@pytest.mark.parametrize("rows", [0, 1, 65_536, 140_001])
def test_codes_are_counted_in_runs(kind: type[np.integer], rows: int) -> None:
    codes = np.random.default_rng(rows).integers(0, 200, rows).astype(kind)
    counts = counts_of(codes)
    assert counts.tolist() == np.bincount(codes, minlength=len(counts)).tolist()
