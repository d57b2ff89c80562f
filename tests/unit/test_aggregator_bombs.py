"""Statements that ask for more than there is: stopped by limits, while others are answered."""

import asyncio

import pytest
from aggregator_model import Cluster

from aggregator.execution.engine import EngineSettings
from aggregator.service import AggregatorSettings
from alder.bounds import TOO_LARGE, VALUES_MAX
from alder.errors import AlderError, Reason
from alder.v1 import query_pb2

DOCUMENTS = [{"n": n, "s": "text", "big": 1_000_000_000} for n in range(40)]
STOPPED = {Reason.LIMIT, Reason.DEADLINE}
BOMBS = {
    "cross join": "select count(*) from ev a, ev b, ev c, ev d, ev e, ev f, ev g, ev h "
    "where a.n + b.n + c.n + d.n + e.n < f.n + g.n - h.n",
    "recursion": "with recursive t(n) as (select 1 union all select n + 1 from t) "
    "select max(n) from t",
    "wide recursion": "with recursive t(s) as (select s from ev union all select s || s from t) "
    "select max(length(s)) from t",
    "repeat": "select repeat('x', 1000000000)",
    "repeat at the leaves": "select n from ev where length(repeat(s, big)) > 5",
    "repeat of repeat": "select repeat(repeat('x', 1000000), 1000000)",
    "repeat in a lambda": "select list_transform([big], lambda x: repeat('x', x)) from ev",
    "pad at the leaves": "select max(lpad(s, big::int, 'x')) from ev group by n",
    "list": "select range(1000000000)",
    "list at the leaves": "select n from ev where length(range(big)) > 5",
    "list of times": "select generate_series(timestamp '1800-01-01', now(), interval 1 second)",
    "resize": "select list_resize([1], 2000000000)",
    "collect": "select list(range) from range(1000000000)",
    "concatenate": "select length(string_agg(range::varchar, ',')) from range(1000000000)",
    "huge result": "select a.range, b.range from range(100000000) a, range(100000) b",
    "long text": "select '" + "x" * (10 << 20) + "'",
    "long list": "select n from ev where n in (" + ",".join(map(str, range(100_000))) + ")",
    "deep": "select " + "(" * 20_000 + "1" + ")" * 20_000,
    "deep queries": "select * from " + "(select * from " * 3_000 + "ev" + ") x" * 3_000,
}


def bounded_cluster() -> Cluster:
    engine = EngineSettings(memory_bytes_max=96 << 20, result_memory_bytes_max=32 << 20)
    return Cluster({"ev": DOCUMENTS}, settings=AggregatorSettings(engine=engine, catalog_wait_s=0))


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_stopped_while_others_are_answered(name: str) -> None:
    cluster = bounded_cluster()

    async def ask(sql: str, timeout_s: float) -> int:
        request = query_pb2.ExecuteRequest(sql=sql)
        answers = [one async for one in cluster.aggregator.execute(request, timeout_s=timeout_s)]
        return answers[-1].trailer.rows

    async def together() -> None:
        bomb = asyncio.ensure_future(ask(BOMBS[name], 1.5))
        others = 0
        while not others or not bomb.done():
            assert await ask("select n from ev where n < 7", 60) == 7
            others += 1
        with pytest.raises(AlderError) as caught:
            await bomb
        assert caught.value.reason in STOPPED, caught.value
        assert len(caught.value.message) < 500

    cluster.run(together())
    assert cluster.aggregator._running.all() == []
    assert cluster.rows("select count(*) from ev") == [(40,)]
    cluster.close()


@pytest.mark.parametrize(
    "pattern", ["(a*)*(a*)*(a*)*b", "(a|aa)+$", "^(([a-z])+.)+[A-Z]([a-z])+$", "(.*)(.*)(.*)(.*)x"]
)
def test_regular_expressions_take_linear_time(pattern: str) -> None:
    cluster = bounded_cluster()
    sql = f"select regexp_matches(repeat('a', 200000), '{pattern}'), count(*) from ev group by 1"
    assert cluster.rows(sql)[0][1] == 40
    cluster.close()


def test_what_is_bounded_is_otherwise_unchanged() -> None:
    cluster = bounded_cluster()
    table, _ = cluster.ask(
        "select repeat(s, 2), lpad(s, 6, '-') p, range(2, 8, 3) r, [1].list_resize(2), "
        "generate_series(date '2020-01-01', date '2020-01-03', interval 1 day)[2]::date d, "
        f"length(repeat('x', {VALUES_MAX})) l, repeat(null, 3) z from ev where n = 1"
    )
    first = table.column_names[0]
    assert first == "repeat(s, 2)"
    row = [column[0].as_py() for column in table.columns]
    assert row[:4] == ["texttext", "--text", [2, 5], [1, None]]
    assert (str(row[4]), row[5], row[6]) == ("2020-01-02", VALUES_MAX, None)
    assert cluster.rows("select count(*) from range(3) t") == [(3,)]
    with pytest.raises(AlderError) as caught:
        cluster.ask(f"select repeat('x', {VALUES_MAX + 1})")
    assert (caught.value.reason, caught.value.message) == (Reason.LIMIT, TOO_LARGE)
    cluster.close()
