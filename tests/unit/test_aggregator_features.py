"""Every SELECT that the engine can say gives over collections what it gives over tables.

One row per feature. The answers, and the names of their columns, are those of DuckDB over the
documents themselves, through the class that the planner takes and through class (e).
"""

from collections.abc import Iterator

import duckdb
import pytest
from aggregator_model import Cluster
from aggregator_truth import EVENTS, PEOPLE, expected, over_documents, same

FEATURES = {
    "joins": """
select ev.n, pe.name from ev inner join pe on pe.id = ev.n order by all
select ev.n, pe.name from ev right join pe on pe.id = ev.actor.id and ev.n < 9 order by all
select ev.n, pe.name from ev full join pe on pe.id = ev.n where ev.n < 9 or ev.n is null order by
    all
select count(*) from ev cross join pe
select count(*) from ev a, ev b where a.n < b.n
select a.n, b.id from ev a join pe b on a.n between b.id and b.id + 2 where a.n < 5 order by all
select a.n, b.id from ev a join pe b on a.n < b.id and a.type <> b.name order by all
select a.n, b.id from ev a left join pe b on a.n < b.id and a.n > 3 where a.n < 8 order by all
select ev.n from ev semi join pe on pe.id = ev.n order by all
select n from ev semi join pe using (n) order by all
select n from ev anti join pe using (n) order by n limit 5
select e.n, p.id from ev e asof join pe p on e.n >= p.id order by all
select e.n, p.id from ev e asof left join pe p on e.n >= p.n order by all
select e.n, p.id from ev e asof join pe p on e.actor.id = p.boss and e.n >= p.id order by all
select e.n, p.name from ev e asof join pe p using (n) order by all
select a.n, b.id from (select n from ev order by n limit 4) a positional join (select id from pe
    order by id) b
select * from (select n, type from ev where n < 3) a natural join (select n, x from ev) b order by n
select n, type, name from ev natural join pe order by all
select ev.type, pe.name from ev natural left join pe where n <= 100 order by all
select * from (select id, name from pe) natural join (select id, boss from pe) order by all
select * from pe p1 natural join pe p2 order by id
select * from pe natural join (select id from pe where id < 3) order by id
select e.n, l.m from ev e, lateral (select e.n * 2 as m) l where e.n < 3 order by 1
select e.n, l.c from ev e left join lateral (select count(*) c from pe p where p.id = e.n) l on
    true where e.n < 5 order by all
select p.name, t.n from pe p, lateral (select n from ev where ev.actor.id = p.id order by n limit
    2) t order by all
select p.name, t.n from pe p cross join lateral (select max(n) as n from ev where ev.actor.id =
    p.id) t order by all
select count(*) from pe a natural join pe b natural join pe c
select id from pe natural full join (select n as id from ev where n < 3) order by id
with t as (select n as id, type from ev) select id, name, type from t natural join pe order by id
""",
    "aliases of columns": """
select e.a, e.b from ev e(a, b) order by a limit 2
select a, b from pe e(a, b) order by a limit 2
select a, b, boss, n from pe e(a, b) order by a limit 2
select * from pe as e(a, b) order by a limit 2
select e.a from pe e(a) join ev on ev.n = e.a order by 1
select a, count(*) from ev e(a) group by a order by a
select max(e.b) from ev e(a, b) where b < 9
select A from pe p(a) order by a limit 1
""",
    "ctes": """
with t as materialized (select type, n from ev) select type, count(*) from t group by 1 order by 1
with t as not materialized (select type, n from ev) select type, count(*) from t group by 1 order
    by 1
with a as (select n from ev where n < 5), b as (select n from a where n > 1) select * from b order
    by 1
with a as (select n from ev where n < 5) select * from (with a as (select n from ev where n > 57)
    select * from a) order by 1
with recursive r(n, d) as (select n, 0 from ev where n = 1 union all select e.n, d + 1 from r join
    ev e on e.n = r.n * 2) select * from r order by all
with recursive r as (select id, boss, 1 as depth from pe where id = 7 union all select p.id,
    p.boss, r.depth + 1 from pe p join r on p.id = r.boss) select * from r order by all
with recursive r as (select id from pe where id = 7 union select p.boss from pe p join r on p.id =
    r.id) select * from r order by all
with recursive r(a, b) using key (a) as (select id, boss from pe union select r.a, r.b - 1 from r
    where r.b > 0) select * from r order by all
with recursive tbl(a, b) using key (a) as (select 1, 3 union select a, b - 1 from tbl where b > 0)
    select * from tbl
""",
    "subqueries": """
select n from ev where n = (select max(id) from pe where pe.boss = ev.actor.id) order by n
select n from ev where exists (select * from pe where pe.id = ev.n) order by n
select n from ev where not exists (select * from pe where pe.id = ev.n) and n < 12 order by n
select n from ev where n = any (select id from pe) order by n
select n from ev where n <> all (select id from pe) and n < 10 order by n
select n from ev where n < some (select id from pe) order by n
select n from ev where n = any ([1, 2, 3]) order by n
select n from ev where (n, type) in (select id, 'push' from pe) order by n
select n from ev where n in (1, 2, 3) order by n
select n from ev where n in [1, 2, 3] order by n
select n from ev where type in ['push'] and n < 10 order by n
select array(select n from ev where n < 3 order by n)
select name, array(select n from ev where ev.n < pe.id order by n) as l from pe order by name
select name, (select list(n order by n) from ev where ev.actor.id = pe.id and n < 20) as l from pe
    order by name
""",
    "set operations": """
select n as k from ev where n < 2 union by name select id as m from pe where id < 3 order by all
select n as k from ev where n < 2 union all by name select id as k from pe where id < 3 order by all
select n from ev where n < 4 intersect all select id from pe order by all
select n % 3 as k from ev where n < 9 except all select id from pe order by all
(select n from ev order by n limit 2) union all (select id from pe order by id limit 2) order by 1
(select n from ev order by n desc limit 2) union all values (1000), (2000) order by 1
select n from ev where n < 3 union all select id from pe where id < 3 union select 99 order by n
    desc limit 3
""",
    "windows": """
select n, sum(n) over (order by n rows between 2 preceding and current row) from ev where n < 6
    order by n
select n, sum(n) over (order by n rows between unbounded preceding and unbounded following exclude
    current row) from ev where n < 6 order by n
select n, sum(n) over (order by n range between 2 preceding and 2 following exclude ties) from ev
    where n < 6 order by n
select n, sum(n) over (order by "order" groups between 1 preceding and current row exclude group)
    from ev where n < 12 order by n
select n, sum(n) over w, count(*) over w from ev where n < 9 window w as (partition by type order
    by n) order by n
select n, first_value(n) over w as f, nth_value(n, 2) over w as s, ntile(2) over w as t from ev
    where n < 9 window w as (partition by type order by n) order by n
select n, sum(x) over (partition by type order by n range between unbounded preceding and 3
    following) s from ev where n < 9 order by n
select n, count(distinct type) over () from ev where n < 3 order by n
select n, list(n order by n desc) over (partition by type) from ev where n < 9 order by n
select n, lag(n, 2, -1) over (order by n), lead(n) over (order by n) from ev where n < 6 order by n
select n, last_value(x ignore nulls) over (order by n) from ev where n < 8 order by n
select n, sum(n) filter (where type = 'push') over (order by n) from ev where n < 8 order by n
select n, percent_rank() over (order by n), cume_dist() over (order by n), dense_rank() over
    (order by type) from ev where n < 8 order by n
select n, type from ev qualify row_number() over (partition by type order by n) = 1 order by n
select n, type, rank() over w as r from ev window w as (partition by type order by n) qualify r <
    3 order by n
""",
    "grouping": """
select type, "order", count(*) from ev group by grouping sets ((type), ("order"), ()) order by all
select type, "order", count(*), grouping(type, "order") as g from ev group by rollup(type,
    "order") order by all
select type, "order", count(*), grouping_id(type, "order") as g from ev group by cube(type,
    "order") order by all
select type, actor.login, count(*) from ev group by type, rollup(actor.login) order by all
select type as t, sum(n) from ev group by grouping sets (t, ()) order by all
select type, actor.login l, sum(n) from ev group by all order by all desc
select type, sum(n) from ev group by all order by all nulls first
select sum(n) filter (where type = 'push' and n > 3), count(*) filter (n > 5) from ev
select sum(n) filter (where n in (select id from pe)) from ev
select type, n % 3 as m, count(distinct actor.login), grouping(m) from ev group by cube(type, m)
    having count(*) > 2 order by all
select count(*), max(n) from ev where n > 1000 group by rollup(type)
select type, actor.login, rank() over (partition by grouping(type, actor.login) order by sum(n)) r
    from ev group by rollup(type, actor.login) order by all
select type, count(distinct n % 4), count(distinct actor.login), avg(n) from ev group by 1 order by
    1
select count(distinct n) filter (type = 'push'), sum(distinct n % 9) filter (n > 5), count(*)
    from ev
select count(distinct (type, n % 2)), count(distinct [n % 2]) from ev
select type from ev group by cube(type, actor.login) order by 1 limit 3
""",
    "distinct on": """
select distinct on (type) type, n from ev order by type, n desc
select distinct on (type, actor.login) type, n, actor.login from ev order by type, actor.login, n
    desc
select distinct on (1) type, n from ev order by 1, n
select distinct on (t) type as t, n from ev where n > 4 order by t desc, n desc limit 2 offset 1
select distinct on (type) type, n from ev order by n desc limit 3
select max(n) from (select distinct on (type) type, n from ev order by type, n)
""",
    "pivot": """
select * from (select type, n, actor.login l from ev) pivot (sum(n) for type in ('push', 'fork'))
    order by all
select * from (select type, n, actor.login l from ev) pivot (sum(n) as s, count(*) as c for type
    in ('push' as p, 'fork' as f)) order by all
select * from (select type, n, actor.login l from ev) pivot (sum(n) for type in ('push', 'fork') l
    in ('user1', 'user2')) order by all
unpivot (select n, x, "order" as o from ev where n < 5) on x, o into name k value v order by all
unpivot pe on id, boss into name k value v order by all
unpivot pe on columns(* exclude (name)) into name k value v order by all
select * from pe unpivot (v for k in (id, boss)) order by all
select * from (select n, x from ev where n < 9) unpivot include nulls (v for k in (x)) order by all
select * from (select n::double n, x from ev where n < 9) t unpivot (v for k in (n, x)) order by all
from pe unpivot ((a, b) for k in ((id, boss), (n, boss))) order by all
pivot pe on boss in (0, 1) using max(n) order by all
pivot pe on boss in (0, 1) using max(n), count(*) group by name order by all
pivot ev on type in ('push', 'fork') using count(*) group by "order" order by all
pivot ev on type in ('push'), n in (0, 3) using count(*) group by "order" order by all
with t as (pivot ev on type in ('push', 'fork') using sum(n) group by "order") select sum(push)
    from t
from (pivot ev on type in ('push') using sum(n) group by "order") p join pe on pe.id = p."order"
    select p."order", push, name order by all
select * from (select type, n, "order" as o from ev) pivot (sum(n) for type in ('push') o in (1,
    2)) as q
select * from (select type, n from ev) pivot (sum(n) for type in ('push', 'fork')) as q(a, b)
unpivot pe on id as i, boss as b into name k value v order by all
unpivot (select n, x from ev where n < 6) on columns('n|x')::double into name k value v order by all
select k, sum(v) from (unpivot pe on id, boss, n into name k value v) group by k order by k
with t as (unpivot pe on id, boss into name k value v) select count(*) from t
select * from (select 1 as a, 2 as b) unpivot (v for k in (a, b)) order by all
""",
    "pivot whose values are asked for": """
pivot (select * from ev where n > 1000) on type using count(*) group by n
pivot (select type, n % 3 as k, n, maybe from ev where maybe is null) on maybe, type using sum(n)
pivot (select type, n, maybe from ev where maybe is null) on maybe using sum(n), count(*) order by 1
select * from (pivot (select n % 2 as k, maybe, n from ev where maybe is null) on maybe using
    max(n)) p where k = 0
pivot ev on type using sum(n) group by "order" order by all
pivot ev on type using count(*) group by "order" order by "order" desc limit 3
pivot (select type, n, actor.login as l from ev) on type using sum(n) order by all
pivot ev on n % 2 using count(*) group by type order by all
pivot ev on n % 2, type using max(n) group by "order" order by all
pivot ev on (type, n % 2) using max(n) group by "order" order by all
pivot ev on type || '!' using sum(n) group by "order" order by all
pivot ev on type in ('push'), n % 2 using max(n) group by "order" order by all
from (pivot ev on type using sum(n) group by "order") select "order", push order by all
with t as (pivot ev on type using sum(n) group by "order") select * from t order by all
with t as (select type, n, "order" from ev where n < 20) pivot t on type using sum(n) group by
    "order" order by all
with a as (select type, n from ev), t as (select * from a where n > 3) pivot t on type using
    count(*)
pivot pe on boss using max(n) order by all
pivot_wider pe on boss using max(n) order by all
pivot pe on boss order by all
pivot (pivot pe on boss using max(n) group by name) on name using count(*) order by all
select * from (pivot pe on boss using max(n) group by name) p join pe using (name) order by all
pivot pe on boss using max(n) group by name union all select 'x', 1, 2, 3, 4 order by all
pivot (values (1, 'a'), (2, 'b')) on col1 using sum(col0)
select count(*) from (pivot pe on boss using max(n)) -- pivot x on y
pivot ev on type using count(*) as c, sum(n) group by "order" order by all
pivot ev on maybe is null using count(*) group by type order by all
pivot ev on type using count(*) group by type
pivot (ev join pe on ev.n = pe.id) on type using count(*) group by name order by all
select * from pe join (pivot pe on boss using max(n) group by name) p using (name) order by all
select * from (pivot pe on boss using max(n) group by name) p full join (select name, id from pe
    where id < 3 union all select 'x', 9) using (name) order by all
select * from (pivot pe on boss in (0, 1) using max(n) group by name) p right join pe using (name)
    order by all
select p.* from (pivot pe on boss in (0, 1) using max(n) group by name) p right join pe using
    (name) order by all
""",
    "lists, structs and json": """
select [n + 1 for n in sizes if n > 3] from ev order by n limit 4
select n, list_filter(sizes, lambda s, i: s > i) from ev order by n limit 4
select n, list_reduce(sizes, lambda a, b: a + b) from ev order by n limit 4
select n, sizes.list_transform(lambda s: s * 2).list_sum() from ev order by n limit 4
select n, sizes[1:1], sizes[-1], sizes[2:], tags[:2] from ev order by n limit 4
select n, list_sort(tags, 'desc'), list_aggregate(sizes, 'sum'), list_zip(sizes, tags) from ev
    order by n limit 4
select {'a': n, 'b': type} as s from ev order by n limit 2
select {'a': n, 'b': type}.b as s from ev order by n limit 2
select struct_pack(a := n, b := type).a from ev order by n limit 2
select row(n, type) from ev order by n limit 2
select map {type: n} from ev order by n limit 2
select map([type], [n])[type] from ev order by n limit 2
select map_keys(map {type: n}) from ev order by n limit 2
select s.a from (select {'a': n, 'b': type} as s from ev) order by 1 limit 2
select s.* from (select {'a': n, 'b': type} as s from ev) order by 1 limit 2
select unnest({'a': n, 'b': type}) from ev order by 1 limit 2
select n, json_extract_string(actor, '$.login') from ev order by n limit 2
select n, actor->>'login', actor->'id' from ev order by n limit 2
select n, commits->0->>'sha' from ev order by n limit 3
select n, json_array_length(commits) from ev order by n limit 3
select to_json({'a': n}) from ev order by n limit 2
select json_object('k', n, 't', type) from ev order by n limit 2
""",
    "unnest": """
select n, unnest(tags) as t from ev where n < 6 order by all
select n, unnest(sizes), unnest(tags) from ev where n < 6 order by all
select unnest([[1, 2], [3]], recursive := true)
select n, unnest([[n, 1], [2]], recursive := true) as u from ev where n < 2 order by all
select n, unnest([sizes, [2]], max_depth := 2) as u from ev where n < 2 order by all
select n, t.u from ev, unnest(tags) as t(u) where n < 4 order by all
select n, u from ev cross join unnest(sizes) as t(u) where n < 4 order by all
select n, u from ev left join unnest(tags) as t(u) on true where n < 4 order by all
select n, u.unnest from ev, unnest(tags) u where n < 4 order by all
select n, u from ev, (select unnest(tags) as u) where n < 4 order by all
select n, u, o from ev, unnest(tags) with ordinality as t(u, o) where n < 4 order by all
select n, generate_subscripts(tags, 1) as i from ev where n < 4 order by all
select n, unnest(range(n)) from ev where n < 4 order by all
select name from (select unnest({'a': id, 'b': n}), name from pe) where a < 3 order by all
select a, pe.name from (select unnest({'a': id, 'b': n}) from pe) u join pe on pe.id = u.a order
    by all
""",
    "columns": """
select columns(*) from pe order by 1
select columns('^n') from pe order by 1
select max(columns(*)) from pe
select max(columns(* exclude (name))) from pe
select min(columns('id|boss')), max(columns('id|boss')) from pe
select columns(lambda c: c like 'b%') from pe order by 1
select columns(['id', 'boss']) + 1 from pe order by 1
select columns(p.*) from pe p order by 1
select columns('(id|boss)') as 'x_\\1' from pe order by 1
select * from pe where columns(* exclude (name)) > 1 order by id
select * like 'b%' from pe order by 1
select * ilike 'B%' from pe order by 1
select * similar to 'b.*' from pe order by 1
select * glob 'b*' from pe order by 1
select sum(columns('id|boss')) + 1 from pe
select greatest(*columns(* exclude (name))) as g from pe order by 1
select coalesce(*columns('id|boss')) as c from pe order by 1
select list_sum(list_value(*columns('id|boss'))) as s from pe order by 1
select [*columns('id|boss')] as l from pe order by 1
select struct_pack(*columns('id|boss')) as s from pe order by 1
select * exclude (name) from pe order by id
select * exclude name from pe order by id
select * replace (id * 2 as id) from pe order by id
select * rename (id as key) from pe order by all
select p.* exclude (name) replace (boss + 1 as boss) from pe p order by id
select count(*) from (select columns('n.*') from pe)
select * exclude (a.name, b.n) from pe a join pe b on a.id = b.boss order by all
select * rename (a.name as x) from pe a join pe b on a.id = b.boss order by all limit 1
select columns(* exclude (id, boss)) from pe order by 1
select columns(* replace (id * 2 as id)) from pe order by 1
select columns('^(id|n)$') * 2 from pe order by 1
select a.name, columns(b.*) from pe a join pe b on a.id = b.boss order by all limit 2
select max(columns('id|boss')) over () from pe limit 1
select count(columns(*)) from pe
select name from pe where columns('id|boss') between 1 and 3 order by name
select columns(*)::varchar from pe order by 1 limit 1
select columns([x for x in (*) if x like 'b%']) from pe order by 1 limit 1
select s.* exclude (a) from (select {'a': n, 'b': type} as s from ev) order by 1 limit 2
""",
    "from first and values": """
from pe order by id limit 2
from pe
from pe select name where id < 3 order by id
from ev, pe select count(*)
select name from (from pe) order by 1
from (values (1, 'a'), (2, 'b')) t(x, y) select y order by x
values (1, 'a'), (2, 'b')
select * from (values (1, 2), (3, 4)) t(a, b) join pe on pe.id = t.a order by all
select * from (values (1), (3)) t join pe on pe.id = t.col0 order by all
with v(a) as (values (1), (2)) select a, name from v join pe on id = a order by a
select * from range(3) t(i) order by i
select i, n from generate_series(1, 3) g(i) left join ev on n = i order by all
""",
    "samples": """
select count(*) from ev tablesample 100%
select count(*) from ev using sample 100%
select count(*) from (select n from ev using sample reservoir(10 rows))
select count(*) from ev tablesample reservoir(10 rows)
""",
    "describe and summarize": """
select * exclude (std) from (summarize pe)
describe select n, x, tags, type from ev
summarize select n from ev
describe select n, type from ev
describe select * from pe
select * from (describe select n, type from ev)
select column_name from (describe select n, type from ev)
select column_name, min from (summarize select id, boss from pe)
from (summarize pe) select column_name
describe select count(*) as c, avg(n) from ev
select column_name from (describe select * from pe) order by 1
select d.column_type from (describe select n from ev) d
select column_name, min, max, count from (summarize select n, type from ev) order by all
select column_name, count from (summarize pe) s where s.min = '1'
with t as (select n from ev) select column_name from (describe select * from t)
""",
    "limits": """
select n from ev order by n limit 10%
select n from ev order by n limit (select 2)
select n from ev order by n limit 1 + 1 offset 1 + 1
select n from ev order by n fetch first 3 rows only
select n from ev order by n offset 57
select n, type from ev order by type desc nulls last, n asc limit 4
select n from ev order by "order", n desc limit 4
""",
    "expressions": """
select n from ev where type like 'p%' escape '!' and n < 8 order by n
select n from ev where type similar to 'p.*' and n < 8 order by n
select n from ev where type ~ 'p.*' and n < 8 order by n
select n from ev where n is distinct from 3 and n < 6 order by n
select n from ev where x is not distinct from null and n < 16 order by n
select case type when 'push' then 1 when 'fork' then 2 else 3 end as k, count(*) from ev group by
    all order by all
select if(n > 3, 'a', 'b') from ev where n < 6 order by n
select n::varchar || type, cast(n as double), try_cast(type as int) from ev where n < 3 order by n
select n // 2, n % 2, n ** 2, n ^ 2, -n, @(n - 3), n << 1, n & 1, n | 1, xor(n, 1), ~n from ev
    where n < 3 order by n
select type[1:2], type[1], type[-1] from ev where n < 3 order by n
select interval (n) day, date '2020-01-01' + interval (n) hour from ev where n < 3 order by n
select date_diff('day', day::date, date '2024-02-01') from ev where n < 3 order by n
select extract(year from day::date), day::date - 1, day::timestamp at time zone 'UTC' from ev
    where n < 3 order by n
""",
    "aggregates": """
select string_agg(type, ',' order by n) from ev where n < 3
select list(distinct type order by type) from ev
select arg_max(type, n, 2), max(n, 3), min(type, 2) from ev
select histogram(n % 3) from ev
select approx_quantile(n, 0.5) > 0, approx_count_distinct(type) from ev
select sum(n order by n), first(n order by n desc), last(n order by n) from ev
select percentile_cont(0.5) within group (order by n) from ev
select percentile_disc(0.5) within group (order by n desc) from ev
select mode() within group (order by type) from ev
select type, count(*) as c from ev group by type having c > 3 and max(n) > 58 order by 1
select type, count(*) from ev group by type having any_value(n) is not null order by type
""",
    "mixed": """
select type, (select count(*) from pe where pe.name > type) from ev group by type order by type
select type from ev group by type order by max(n) desc, 1
select actor.login as login, count(*) from ev group by login order by login
select max(n) - min(n) as span, type from ev group by type order by span, type
select t.type, t.c from (select type, count(*) c from ev group by type) t where t.c = (select
    max(c) from (select count(*) c from ev group by type)) order by 1
select a.type, a.n, b.n from ev a join ev b on a.type = b.type and a.n = b.n + 3 join pe c on c.id
    = a.n order by all
select a.n from ev a, ev b, pe c where a.n = b.n and b.n = c.id order by all
select * from (select n from ev where n < 2) a, (select id from pe where id < 3) b order by all
select (select n from ev where n = 3) + (select id from pe where id = 1)
select n, (select name from pe where id = ev.n) from ev where n < 5 order by n
select n in (select id from pe) as known, count(*) from ev group by known order by known
select ev.n, exists (select 1 from pe where pe.id = ev.n) from ev where n < 3 order by n
select n from ev where n in (select id from pe where id in (select boss from pe)) order by n
select 1 where exists (from ev where n = 3)
select n from (select n, row_number() over (order by n desc) as r from ev) where r <= 3 order by n
select n, 'lit' as "we ird", 3 as "a.b.c" from ev where n < 2 order by n
select "a.b", ev."a.b" from ev where n < 2 order by 1
select ev.actor.login, ev.actor['login'], actor['id'] from ev where n < 2 order by all
select n as a, a + 1 as b, b * 2 as c from ev where c > 110 order by a
select n + 1 as n from ev where n < 3 order by n
select n from ev where n < 3 order by -n
select n % 2 as k from ev where n < 5 group by k having k > 0 order by k
select count(*) from ev where random() >= 0
select is_histogram_other_bin(n) from ev where n < 2
select * from unnest([1, 2, 3]) t(a) order by a
select * from unnest([{'a': 1, 'b': 2}]) order by all
select unnest([{'a': 1, 'b': 2}], recursive := true)
select * from json_each('{"a": 1, "b": [1,2]}') order by id
select n, key, value from ev, json_each(actor) where n < 2 order by all
select n, j.key from ev, json_each(ev.actor) j where n < 2 order by all
select n, j.fullkey from ev, json_tree(ev.actor) j where n < 2 order by all
select count(*) from ev where type collate nocase = 'PUSH'
select n from ev order by type collate nocase, n limit 2
select n, try(1 / 0) from ev where n < 2 order by n
select grouping(type) from ev group by type order by 1
select sum(sum(n)) over (order by type), type from ev group by type order by type
select type, rank() over (order by count(*) desc, type) from ev group by type order by type
select type from ev group by type qualify rank() over (order by max(n) desc) = 1
select a.* from pe a join pe b on a.boss = b.id order by all
select a.*, b.name as boss_name from pe a left join pe b on a.boss = b.id order by all
select * from pe a join pe b using (id) order by all
select * from pe a left join pe b using (id, name) order by all
select a.id, b.n from pe a join pe b using (id) order by all
select id, c.n from pe a join pe b using (id) join pe c using (id) order by all
select id from pe a full join (select n as id from ev) b using (id) order by all
select * from (select n as id from ev where n < 3) full join pe using (id) order by all
select count(*) from (select distinct type, actor.login from ev)
select count(distinct (type, actor.login)) from ev
select count(distinct type) filter (where n > 3) from ev
select array_agg(n order by n desc)[1:3] from ev
select max(struct_pack(n := n, t := type)) from ev
select list(struct_pack(n := n, t := type) order by n) from ev where n < 3
select n from ev where sizes = [3, 4]
select n from ev where list_has_any(tags, ['t2']) order by n limit 2
select tags, count(*) from ev group by tags order by len(tags)
select distinct tags from ev order by len(tags)
select unnest(tags) t, count(*) from ev group by t order by t
select type, unnest(list(n order by n)[1:2]) from ev group by type order by all
select unnest(list(distinct type order by type)) from ev
select n from ev where (select count(*) from pe where pe.id <= ev.n) = 3
select (with t as (select max(n) m from ev) select m from t)
select * from (with t as (select max(n) m from ev) select m from t)
with a as (select n from ev) select count(*) from a x join a y on x.n = y.n + 1
with a as (select n, type from ev where n < 4), b as (select * from a where n > 1) select a.n,
    b.type from a left join b using (n) order by all
with recursive a as (select 0 as i union all select i + 1 from a where i < 3) select a.i, ev.type
    from a join ev on ev.n = a.i order by all
with recursive t(i, l) as (select 0, [0] union all select i + 1, list_append(l, i + 1) from t
    where i < (select max(id) from pe)) select max(i), max(len(l)) from t
select n from ev where n < 5 and type = 'push' or n = 3 and not type = 'fork' order by n
select count(*), count(*) filter (x > 3), count(x) from ev where x > 3 or x is null
select pe.name.upper() from pe order by 1 limit 2
select 'abc'.upper(), (name).upper() from pe order by 2 limit 2
select name.upper().lower() from pe order by 1 limit 2
select name: upper(name) from pe order by 1 limit 2
select first_name: name from pe order by 1 limit 2
select a: n, b: type from ev order by n limit 2
select pe from pe order by id limit 2
select ev.n as "N", count(*) from ev group by 1 order by 1 limit 2
select type as "TYPE" from ev group by "TYPE" order by 1
select coalesce(p.n, e.n) from pe p full join ev e using (n) order by 1 limit 3
select n from ev e where e.n = 3
select E.N from ev e where e.N = 3
select count(*) from (select * from ev e join pe p on e.n = p.id)
select n from ev where n = 1 union (select n from ev where n = 2 union all select 3) order by all
select n from ev where n = 1 union select n + 10 from ev where n = 2 order by n
(((select n from ev where n = 1)))
select 1 as a union all select 2 order by a
select * from pe order by all limit 2
select * from pe order by 2 desc, 1 limit 2
select name, id from pe order by columns('id|name')
select name, id from pe order by columns(*)
select * exclude (p1.name) from pe p1 join pe p2 on p1.id = p2.boss order by all
select p1.id from pe p1 join pe p2 on p1.id = p2.boss join pe p3 on p3.boss = p2.id order by all
""",
    "calls after a dot and whole rows": """
select ev from (select n, type from ev where n < 2) ev order by n
select pe, count(pe) from pe where id = 1 group by 1
select (pe).name from pe order by 1 limit 2
select list(pe order by id) from pe where id < 3
select t, n from (select 1 as one) t, ev where n < 2 order by n
select n.abs().sqrt() from ev order by 1 limit 2
select ev.n.abs() from ev order by 1 limit 2
select list_transform(tags, lambda t: t.upper().lower()) from ev where n = 3
select count(*) from ev where actor.login.upper() = 'USER1'
select actor['login'] from ev order by 1 limit 2
""",
}
"""A row that is too long for a line goes on in the next one, indented."""
TABLE = [
    pytest.param(row, id=f"{feature}-{number}")
    for feature, rows in FEATURES.items()
    for number, row in enumerate(rows.replace("\n    ", " ").strip().splitlines())
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    made = Cluster({"ev": EVENTS, "pe": PEOPLE}, shards=3)
    yield made
    made.close()


@pytest.fixture(scope="module")
def direct(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    connection = over_documents(tmp_path_factory.mktemp("direct"))
    yield connection
    connection.close()


@pytest.mark.parametrize("sql", TABLE)
def test_the_answer_is_that_of_duckdb(
    cluster: Cluster, direct: duckdb.DuckDBPyConnection, sql: str
) -> None:
    names, wanted = expected(direct, sql)
    for plan_class in ("", "e"):
        table, _ = cluster.ask(sql, plan_class)
        got = list(zip(*[column.to_pylist() for column in table.columns], strict=True))
        assert same(got, wanted, "order by" in sql), (got[:5], wanted[:5])
        assert table.column_names == names
