"""Every query through every class it can take, against DuckDB over the documents themselves."""

from collections.abc import Iterator

import duckdb
import pytest
from aggregator_model import Cluster
from aggregator_truth import EVENTS, PEOPLE, expected, over_documents, same

AGGREGATES = """
select count(*) from ev
select count(*) from ev where n > 1000
select sum(n), avg(x), min(type), max(day), count(x), count(maybe) from ev
select sum(n), count(*), count(distinct type) from ev where n < 0
select type, count(*) from ev group by type
select type, count(*) n, sum(n) from ev group by 1 order by 2 desc, 1
select type t, actor.login, count(*) c from ev group by t, actor.login order by t, 2
select type, sum(n) from ev group by type having sum(n) > 590
select type, sum(n) as total from ev group by type having total > 590 order by total
select type as t, max(n) as n from ev group by type having n > 57
select n % 4 as k, avg(n) from ev group by k order by k
select n % 4 as k, k + 1 as next, count(*) from ev group by 1 order by 1
select actor.login, avg(x) + sum(n) * 2 as score from ev where type <> 'fork' group by all
select type, count(distinct actor.login) u, count(*) c from ev group by 1
select count(*) filter (where n > 30), sum(n) filter (where type = 'push') from ev
select type, count(*) filter (n % 2 = 0) as even from ev group by type order by even, type
select stddev(n), var_pop(x), corr(n, x), covar_samp(n, x), median(n) from ev
select arg_max(type, n), arg_min(actor.login, n), max(actor.id) from ev
select bool_and(actor.admin), bool_or(actor.admin), bit_xor(n), product(x) from ev where n < 9
select distinct type from ev
select distinct type, actor.login from ev where n > 20 order by 1, 2 limit 5
select distinct n % 3 as k from ev order by k desc
select type, sum(n), row_number() over (order by sum(n) desc) from ev group by type
select type, sum(n) s, sum(sum(n)) over () all_of_it from ev group by type order by s
select type, count(*) c from ev group by type qualify row_number() over (order by type) = 1
select "Odd Name", sum("a.b") from ev group by "Odd Name" order by 1
select ev."select"."from", count(*) from ev group by all order by all
select mixed > 10 as big, count(*), sum(mixed) from ev group by 1 order by 1
select day::date as d, count(*) from ev group by d order by d desc limit 3 offset 1
select maybe, count(*) from ev group by maybe order by maybe nulls first limit 4
select x is null as missing, count(*) from ev group by missing order by missing
select tags, count(*) from ev group by tags order by tags
select case when n > 30 then 'hi' else 'lo' end as c, count(*), avg(n) from ev group by c order by c
select count(*) + 1, sum(n) / count(*), coalesce(sum(x), 0) from ev
select type from ev group by type having count(*) > 3 order by count(*) desc, type
select length(type) as l, max(length(type)) from ev group by length(type) order by l
select sum(n) as __c0, count(*) as __c1 from ev group by type having __c1 > 3 order by __c0
select max(distinct n), min(distinct type) from ev
select count_if(n > 3), count(n), count(distinct type) from ev where n < 0
select type, "order", count(*) from ev group by rollup(type, "order") order by all
select type, grouping(type), count(*) from ev group by cube(type) order by all
select count(distinct type), count(distinct actor.login) from ev
select count(distinct actor.login), sum(distinct "order"), count(*) from ev
with t as (select type, n from ev where n > 40) select type, max(n) from t group by 1 order by 1
with t(k, v) as (select type, n from ev) select k, count(v) from t group by k order by k
select type, n % 3 as m, grouping(type, m), sum(n) from ev group by rollup(type, m) order by all
select n % 2 as k, count(distinct type), avg(n) from ev group by grouping sets ((k), ()) order by k
select type, count(*), sum(n) from ev where n < 0 group by cube(type)
select count(*), sum(n), count(distinct n) from ev where n < 0 group by grouping sets ((), ())
select type, count(distinct actor.login) filter (n > 30) as u from ev group by type order by 1
select sum(distinct n) filter (type = 'push'), count(distinct type) filter (n < 0) from ev
select count(distinct (type, actor.login)), count(distinct type), count(*), max(n) from ev
select type, count(distinct n % 5), sum(distinct n), min(n) from ev where n < 0 group by type
with t as (select type, n from ev), u as (select * from t where n > 9) select max(n) from u
select list(n order by n desc) from ev where n < 5
select type, array_agg(x order by x nulls first) from ev group by 1 order by 1
select bit_or(n), count(distinct n::hugeint), max(day::timestamp) from ev
select sum(n + "order"), sum(-n), avg(n * 1.5) from ev where actor.id in (1, 2, 3)
""".strip().splitlines()

SCANS = """
select n from ev where type = 'push'
select n, type from ev order by n desc limit 5
select n as k, -n as n from ev order by n limit 3
select -n as n from ev order by n + 0 desc, 1 limit 4
select n, x from ev order by x desc nulls last, n limit 7 offset 3
select n, x from ev order by 2, 1 limit 4
select * from (select type, n from ev) order by n limit 2
select n from ev where n between 10 and 12 or type = 'zzz'
select actor.login as l, n from ev where l = 'user2' and n < 20 order by n
select n, tags[1], sizes[2], len(tags) from ev where len(tags) > 2 order by n limit 3
select n, list_transform(sizes, lambda s: s + n) from ev order by n limit 2
select n, [s for s in sizes if s > 3] from ev order by n limit 4
select upper(type) || '-' || n::varchar as u from ev where actor.admin order by u limit 6
select N, TYPE, Actor.LOGIN from EV where Type = 'fork' order by N limit 2
select "order", "Odd Name", "a.b" from ev where "a.b" > 500 order by "a.b"
select "select"."from", "select"['from'] from ev order by n limit 2
select n from ev where x is null order by n
select n from ev where maybe is not null and maybe not like 'm1%' order by n
select n from ev where type in ('push', 'fork') and n > 50 order by n
select n + 1 as m, m * 2 as k from ev where m > 58 order by m
select mixed from ev where mixed >= 57 order by mixed
select cast(n as varchar), day::date + 1, try_cast(type as int) from ev order by n limit 2
select n from ev limit 0
select type, n from ev where (type, n) in (('push', 3), ('fork', 4)) order by n
select distinct on (type) type, n from ev order by type, n
with ev as (select n, type from ev where n < 3) select * from ev order by n
select distinct on (type) type, n, tags from ev order by type desc, n desc limit 2
select distinct on (n % 7, type) n, type from ev order by type, n % 7, n desc limit 3 offset 2
select distinct on (k) n % 3 as k, n from ev where n > 8 order by k, n desc
with t as (select n as k, type from ev) select k from t where type = 'push' order by k limit 3
select n from ev order by n limit 1000 offset 55
from ev select n where n = 7
select date_trunc('month', day::date), extract(day from day::date) from ev order by n limit 1
""".strip().splitlines()

GATHERED = """
select 1 + 1 as two, 'x'
values (1, 'a'), (2, 'b')
select count(*) from ev, pe
select p.name, count(*) from ev e join pe p on p.id = e.actor.id group by all order by all
select e.n, p.name from ev e left join pe p on p.id = e.actor.id where e.n < 8 order by 1
select e.n, p.name from ev e left join pe p on p.id = e.actor.id where p.id is null order by 1
select e.n, p.n from ev e full join pe p on p.n = e.n where e.n is null or p.n > 0 order by all
select n, ev.type, pe.name from ev join pe using (n) order by n
select n, type, name from ev left join pe using (n) where n < 3 order by n
select count(*) from ev semi join pe on pe.id = ev.actor.id
select n from ev anti join pe on pe.id = ev.actor.id order by n limit 3
select a.n, b.n from ev a join ev b on a.n = b.n + 1 where a.type = 'push' and b.n < 9 order by 1
with pe as (select 7 as id) select * from pe
with recursive r as (select 1 as a union all select a + 1 from r where a < 4) select sum(a) from r
select n from ev where n = (select max(n) from ev)
select name from pe where exists (select 1 from ev where ev.actor.id = pe.id and ev.n > 57)
select name, (select max(n) from ev where ev.actor.id = pe.id) from pe order by name
select name, (select count(*) from ev where actor.id = pe.id) as c from pe order by 1
select n from ev where actor.id in (select id from pe where name <> 'name3') order by n limit 4
select type from ev union select name from pe order by 1
select n from ev where n < 3 union all select id from pe where id < 3 order by n
select n from ev where n < 9 except select "order" from ev order by n
select n from ev intersect select n from pe
select n, row_number() over (partition by type order by n) as r from ev qualify r = 2 order by n
select n, lag(n) over (order by n) as before from ev where n < 5 order by n
select type, n from ev qualify rank() over (partition by type order by n desc) = 1 order by type
select string_agg(type, '|' order by n) from ev where n < 5
select quantile_cont(n, 0.5), mode(type) from ev where type = 'push'
select bit_or(n::bit) from ev
select n::bit as b, count(*) from ev where n < 5 group by b order by b
select n, unnest(tags) as t from ev where n < 6 order by all
select n, t from ev, unnest(tags) as u(t) where n < 4 order by all
select e.n, l.m from ev e, lateral (select e.n * 2 as m) l where e.n < 3 order by 1
select i, count(n) from range(3) r(i) left join ev on n = i group by i order by i
select t.* exclude (n) from (select type, n, x from ev where n < 2) t order by x
select sum(a.c) from (select type, count(*) as c from ev group by type) a
select max(s) from (select sum(n) as s from ev group by actor.login)
select n from ev where n > all (select id from pe) order by n limit 1
select a.n from ev a positional join (select 1) b where false
select ev.n, p.* from ev join pe p on p.id = ev.n where p.id < 3 order by ev.n
""".strip().splitlines()


@pytest.fixture(scope="module", params=[1, 3])
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    made = Cluster({"ev": EVENTS, "pe": PEOPLE}, shards=request.param)
    yield made
    made.close()


@pytest.fixture(scope="module")
def direct(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    connection = over_documents(tmp_path_factory.mktemp("direct"))
    yield connection
    connection.close()


@pytest.mark.parametrize("sql", AGGREGATES + SCANS + GATHERED)
def test_every_class_gives_what_duckdb_gives(
    cluster: Cluster, direct: duckdb.DuckDBPyConnection, sql: str
) -> None:
    names, wanted = expected(direct, sql)
    table, trailer = cluster.ask(sql)
    planned = {"a": AGGREGATES, "b": SCANS, "e": GATHERED}[trailer.plan_class]
    assert sql in planned, f"planned as {trailer.plan_class}"
    gathered, forced = cluster.ask(sql, "e")
    assert {read.read_class for read in forced.references} <= {"e"}
    for answer in (table, gathered):
        got = list(zip(*[column.to_pylist() for column in answer.columns], strict=True))
        assert same(got, wanted, "order by" in sql), (got[:5], wanted[:5])
        assert answer.column_names == names
    assert trailer.rows == len(wanted)
