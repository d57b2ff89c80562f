"""The first groups and distinct counts over several leaves, exact, without all groups."""

import random
from collections.abc import Iterator
from decimal import Decimal

import pytest
from aggregator_model import Cluster

from alder.v1 import query_pb2

STATEMENTS = """
select word, count(*) n from ev group by word order by n desc, word limit 5
select word, count(*), sum(x), avg(x), min(kind) from ev group by word order by 2 desc, 1 limit 5
select word w, sum(x) s from ev group by word order by s desc, w limit 7 offset 2
select word w, sum(x) s from ev group by word order by s, w limit 7
select word, kind, sum(x) s, count(*) from ev group by all order by s desc, 1, 2 limit 9
select word, max(x) m, count(*) from ev group by word order by m desc, 2 desc, 1 limit 4
select word, min(x) m, sum(x) from ev where kind <> 'a' group by word order by m, 1 limit 4
select kind, count(distinct word) d from ev group by kind order by d desc, kind limit 2
select word, count(distinct kind) d, count(*) from ev group by word order by d desc, 3, 1 limit 4
select count(distinct word), count(*), sum(x) from ev
select kind, count(distinct word) from ev group by kind order by kind
select count(distinct word), count(distinct kind) from ev
select kind k, count(distinct word), count(distinct (word, x)) from ev group by k order by k
select word, kind, count(*), count(distinct x) from ev group by cube(word, kind) order by all
select count(distinct word) filter (x > 3), count(distinct kind) filter (x > 3) from ev
select kind, list(x order by x desc nulls first) from ev group by kind order by kind
select distinct on (kind) kind, x, word from ev order by kind, x desc, word
select distinct on (word) word, x, f from ev order by word desc, x, f limit 7
select word, count(distinct x) from ev where word is not null group by 1 order by 2 desc, 1 limit 3
select word from (select word, count(*) n from ev group by word order by n desc, word limit 5) t
select word, count(*) n from ev group by word order by n, word limit 5
select word, sum(x) s from ev where x > 1000000 group by word order by s desc, word limit 3
select word, count(*) n from ev group by word order by n desc limit 0
select word, sum(f) s, max(f) from ev group by word order by max(f) desc, word limit 3
""".strip().splitlines()


def events() -> list[dict[str, object]]:
    rng = random.Random(5)
    return [
        {
            "word": None if rng.random() < 0.1 else f"w{int(rng.paretovariate(0.7)) % 500}",
            "kind": rng.choice("abc"),
            "x": None if rng.random() < 0.1 else rng.randrange(-20, 60),
            "f": rng.random(),
        }
        for _ in range(3000)
    ]


@pytest.fixture(scope="module", params=["", "word", "kind"])
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    made = Cluster({"ev": events()}, shards=5, shard_by={"ev": request.param}, leaves=4)
    yield made
    made.close()


def comparable(rows: list[tuple[object, ...]]) -> list[tuple[object, ...]]:
    return [
        tuple(round(float(v), 9) if isinstance(v, (float, Decimal)) else v for v in row)
        for row in rows
    ]


@pytest.mark.parametrize("sql", STATEMENTS)
def test_the_answer_is_that_of_all_rows(cluster: Cluster, sql: str) -> None:
    expected = comparable(cluster.rows(sql, "e"))
    assert comparable(cluster.rows(sql)) == expected
    latest = cluster.rows(sql, consistency=query_pb2.CONSISTENCY_LATEST)
    assert comparable(latest) == expected


def test_few_groups_travel(cluster: Cluster) -> None:
    sql = "select word, count(*) n from ev group by word order by n desc, word limit 3"
    groups = cluster.rows("select count(*) from (select distinct word from ev)")[0][0]
    before = sum(leaf.rows_returned for leaf in cluster.leaves.values())
    cluster.rows(sql)
    sent = sum(leaf.rows_returned for leaf in cluster.leaves.values()) - before
    assert sent < 60 < int(str(groups))
    plan = "\n".join(str(row[0]) for row in cluster.rows(f"explain analyze {sql}"))
    by_word = cluster.follower.snapshot.collections["ev"].shard_by_path == "word"
    assert ("sharded by word" in plan) == by_word
    assert ("the first 3 of each leaf" in plan) == (not by_word)


def test_a_count_of_what_rows_are_sharded_by_is_added_up(cluster: Cluster) -> None:
    path = cluster.follower.snapshot.collections["ev"].shard_by_path
    before = sum(leaf.rows_returned for leaf in cluster.leaves.values())
    cluster.rows("select count(distinct word) from ev")
    sent = sum(leaf.rows_returned for leaf in cluster.leaves.values()) - before
    assert (sent == len(cluster.leaves)) == (path == "word")


def test_values_of_several_types_are_not_taken_for_sharded() -> None:
    documents = [{"k": value, "n": n} for n in range(40) for value in (1, 1.0, 2, 2.0, 3.5)]
    cluster = Cluster({"ev": documents}, shards=4, shard_by={"ev": "k"})
    for sql in (
        "select count(distinct k) from ev",
        "select k, count(*) n from ev group by k order by n desc, k limit 2",
    ):
        assert cluster.rows(sql) == cluster.rows(sql, "e")
    cluster.close()
