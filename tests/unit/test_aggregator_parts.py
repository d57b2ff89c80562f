"""Aggregates and best rows inside of statements: planned by themselves, with the same answers."""

import re
from collections.abc import Iterator

import pytest
import test_aggregator_answers as answers
from aggregator_model import Cluster

from aggregator.service import AggregatorSettings

GROUPS = "select type, sum(n) as s from ev group by type"
BEST = "(select n, type from ev order by n desc limit 3)"
STATEMENTS = [
    (f"with t as ({GROUPS}) select a.type, b.s from t a join t b using (type) order by 1", "a"),
    (f"select max(s), count(*) from ({GROUPS})", "a"),
    (f"select p.name, t.s from pe p join ({GROUPS}) t on t.s > p.n order by all", "ea"),
    (f"select t.k, t.v from ({GROUPS}) t(k, v) order by k", "a"),
    (f"({GROUPS}) union all (select name, sum(id) from pe group by 1) order by all", "aa"),
    (f"(select 'x', 1) union all ({GROUPS} order by 2 limit 2) order by all", "a"),
    ("select n from ev where n = (select max(n) from ev)", "ea"),
    ("select n from ev where n > (select avg(n) from ev where type = 'push') order by n", "ea"),
    ("select name from pe where id in "
     "(select actor.id from ev group by 1 having sum(n) > 400)", "ea"),
    ("select name from pe where id not in (select distinct actor.id from ev where n < 3)", "ea"),
    ("select name from pe where exists (select count(*) from ev) order by 1", "ea"),
    ("select name, (select count(distinct type) from ev) as c from pe order by 1", "ea"),
    ("with t as (select sum(n) s, count(*) c from ev) select s / c from t", "a"),
    ("with recursive r as (select min(n) as a from ev union all select a + 1 from r where a < 4) "
     "select sum(a) from r", "a"),
    (f"select p.name, b.n from pe p join {BEST} b on b.n % 3 = p.id order by all", "eb"),
    (f"select max(n) from {BEST} b", "b"),
    (f"select n from {BEST} union all (select id from pe where id > 1 order by id limit 2) "
     "order by 1", "bb"),
    ("select name, (select n from ev where type = 'fork' order by n desc limit 1) from pe "
     "order by 1", "eb"),
    ("select count(*) from (select n from ev where type = 'push' and n > 3) t", "a"),
    # Correlated, volatile or of more than one reference: rows are gathered.
    ("select name, (select max(n) from ev where ev.actor.id = pe.id) from pe order by name", "ee"),
    ("select name, (select max(n) + pe.n from ev) from pe order by name", "ee"),
    ("select k, (select count(*) + k from ev) from (values (1), (2)) t(k) order by 1", "e"),
    ("select k, (select count(*) from ev where n < k) from (values (3), (9)) t(k) order by 1", "e"),
    ("select k, (select count(*) from ev where n < t.k) from (values (3)) t(k) order by 1", "e"),
    ("select e.n, l.m from ev e, lateral (select p.n + e.n as m from pe p order by p.n limit 1) l "
     "order by 1", "eb"),
    ("select t.c from (select count(*) c, max(random()) r from ev) t", "e"),
    ("select t.c from (select count(*) c from ev tablesample 100%) t", "e"),
    ("select c from (select count(*) c from ev join pe on pe.id = ev.actor.id) t", "ee"),
    ("select c from (select type, count(*) c from ev where n > (select min(id) from pe) "
     "group by 1) t order by all", "ea"),
    ("select t.h from (select mode(type) h from ev where n < 7) t", "e"),
]  # fmt: skip
"""Statements and the classes of their reads, in the order in which the binder meets them."""


@pytest.fixture(scope="module", params=[1, 3])
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    made = Cluster({"ev": answers.EVENTS, "pe": answers.PEOPLE}, shards=request.param)
    yield made
    made.close()


direct = answers.direct


@pytest.mark.parametrize(("sql", "classes"), STATEMENTS)
def test_each_part_takes_its_class_and_the_answer_stays(
    cluster: Cluster, direct: answers.duckdb.DuckDBPyConnection, sql: str, classes: str
) -> None:
    names, wanted = answers.expected(direct, sql)
    table, trailer = cluster.ask(sql)
    gathered, forced = cluster.ask(sql, "e")
    assert "".join(read.read_class for read in trailer.references) == classes
    assert {read.read_class for read in forced.references} == {"e"}
    for answer in (table, gathered):
        got = list(zip(*[column.to_pylist() for column in answer.columns], strict=True))
        assert answers.same(got, wanted, "order by" in sql), (got[:5], wanted[:5])
        assert answer.column_names == names
    assert table.schema.equals(gathered.schema, check_metadata=True)


def test_partials_travel_instead_of_rows() -> None:
    events = [{"type": f"t{n % 3}", "n": n, "text": "x" * 500} for n in range(600)]
    settings = AggregatorSettings(gathered_bytes_max=40_000, catalog_wait_s=0.0)
    made = Cluster({"ev": events}, settings=settings)
    try:
        sql = "select a.type from (select type, max(text) m from ev group by 1) a order by 1"
        assert made.rows(sql) == [("t0",), ("t1",), ("t2",)]
        with pytest.raises(Exception, match="gathers more data"):
            made.rows(sql, "e")
    finally:
        made.close()


def test_a_table_that_is_read_twice_is_gathered_once(cluster: Cluster) -> None:
    sql = f"explain with t as ({GROUPS}) select * from t a join t b using (type)"
    lines = [line for (line,) in cluster.rows(sql)]
    assert sum("read ev" in line for line in lines) == 1
    assert "│  ├─ class a: states of groups" in lines
    assert "ev_partials GROUP BY key0" in lines[-1]


UNUSED = [
    ("select count(*) from pe where exists (select * from ev where ev.actor.id = pe.id)",
     "actor.id"),
    ("select t.n from (select * from ev) t where t.n < 3", "n"),
    ("with t as (select * from ev) select a.n from t a join t b on a.n = b.n + 1", "n"),
    ("select c from (select n as c, type as d, d || 'x' as e from ev) t", "n"),
    ("select e as c from (select n + 1 as c, c * 2 as e, type from ev) t", "n"),
    ("select c from (select n as c, type as d from ev where d = 'push') t", "n type"),
    ("select b from (select n as a, type as b from (select * from ev) u) t", "type"),
    ("select t from (select n, type from ev) t where n = 1", "n type"),
    ("select * from (select n, type from ev) t", "n type"),
    ("select s.login from (select n, {'login': actor.login} as s from ev) t", "actor.login"),
    ("select t.a from (select n, type from ev) t(a, b)", "n"),
    ("select distinct_types from (select distinct type as t, n as distinct_types from ev) u",
     "n type"),
    ("select n from (select n, type from ev union all select id, name from pe) t", "n type"),
    ("select n from (select n, type from ev order by type limit 2) t", "n type"),
    ("select k from (select n as k, type from ev) t join (values (1)) v(k) using (k)", "n"),
]  # fmt: skip


@pytest.mark.parametrize(("sql", "fields"), UNUSED)
def test_what_nobody_looks_at_is_not_gathered(
    cluster: Cluster, direct: answers.duckdb.DuckDBPyConnection, sql: str, fields: str
) -> None:
    for leaf in cluster.leaves.values():
        leaf.requests.clear()
    names, wanted = answers.expected(direct, sql)
    table, _ = cluster.ask(sql)
    got = list(zip(*[column.to_pylist() for column in table.columns], strict=True))
    assert answers.same(got, wanted, False), (got[:5], wanted[:5])
    assert table.column_names == names
    asked = cluster.leaves["ev-leaf-0"].requests[0].fragment
    asked_for = re.findall(r"\w+", asked.sql)
    assert {one.path for one in asked.columns if one.name in asked_for} == set(fields.split())


PUSHED = [
    ("select e.n, p.n from ev e join pe p on p.id = e.actor.id and e.n > 50 and p.id < 3", 9, 2),
    ("select e.n, p.n from ev e left join pe p on p.id = e.actor.id and p.id < 3", 60, 2),
    ("select e.n, p.n from ev e left join pe p on p.id = e.actor.id and e.n < 3", 60, 7),
    ("select e.n, p.n from pe p right join ev e on p.id = e.actor.id and p.id < 3", 60, 2),
    ("select e.n, p.n from ev e full join pe p on p.id = e.actor.id and p.id < 3", 60, 7),
    ("select e.n from ev e semi join pe p on e.n < 3 and p.id = 2", 3, 1),
    ("select e.n from ev e anti join pe p on p.id = e.actor.id and p.id < 3 and e.n > 5", 60, 2),
    ("select e.n from ev e left join pe p on p.id = 7", 60, 1),
    ("select e.n, p.n from ev e, pe p where (p.id = e.actor.id and e.n < 4 and p.id < 3) "
     "or (p.id = e.n and e.n in (5, 6) and p.id > 5)", 6, 4),
    ("select e.n, p.n from ev e, pe p where (p.id = e.actor.id and e.n < 4) or p.id = e.n", 60, 7),
    ("select e.n, p.n from ev e left join pe p on p.id = e.actor.id "
     "where (e.n < 4 and p.id is null) or (e.n > 57 and p.id = 4)", 6, 7),
]  # fmt: skip
"""Statements, and the rows that are gathered of each collection."""


@pytest.mark.parametrize(("sql", "events", "people"), PUSHED)
def test_leaves_apply_what_they_can(
    cluster: Cluster, direct: answers.duckdb.DuckDBPyConnection, sql: str, events: int, people: int
) -> None:
    _, wanted = answers.expected(direct, sql)
    table, trailer = cluster.ask(sql, join_strategy="gather")
    gathered, _ = cluster.ask(sql, "e")
    for answer in (table, gathered):
        got = list(zip(*[column.to_pylist() for column in answer.columns], strict=True))
        assert answers.same(got, wanted, False), (got[:5], wanted[:5])
    rows = {read.collection: read.rows for read in trailer.references}
    assert rows == {"ev": events, "pe": people}
