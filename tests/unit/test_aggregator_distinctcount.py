"""Exact distinct counts over several leaves, whose sealed values come once."""

import random
from collections.abc import Iterator

import pytest
from aggregator_model import Cluster

from aggregator.service import AggregatorSettings

STATEMENTS = """
select count(distinct word) from ev
select count(distinct word) + 1 as more, 'x' from ev where x > 3
select count(distinct x) from ev
select count(distinct word) as n from ev having n > 10
select count(distinct upper(word)) from ev where word like 'w1%'
select count(distinct kind = 'a') from ev
select count(distinct _time::date) from ev
select count(distinct long) from ev
select count(distinct f) from ev
select (select count(distinct word) from ev) as n, count(*) from ev where x = 1
select count(distinct word) from ev where word = 'nowhere'
select count(distinct word), sum(distinct word is null) from ev
""".strip().splitlines()


def event(rng: random.Random) -> dict[str, object]:
    word = f"w{rng.randrange(400)}" + "-more" * rng.randrange(3)
    return {
        "word": None if rng.random() < 0.1 else word,
        "kind": rng.choice("abc"),
        "x": rng.randrange(60),
        "f": rng.choice([0.0, -0.0, 1.5, rng.random()]),
        "long": "x" * 100 + str(rng.randrange(70)),
    }


@pytest.fixture(params=[0, 1 << 20])
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    rng = random.Random(6)
    settings = AggregatorSettings(catalog_wait_s=0.0, known_values_bytes=request.param)
    made = Cluster({"ev": [event(rng) for _ in range(900)]}, shards=5, leaves=4, settings=settings)
    yield made
    made.close()


def sent(cluster: Cluster, sql: str) -> int:
    """Rows that the leaves send for a statement, whose answer is that of all rows."""
    before = sum(leaf.rows_returned for leaf in cluster.leaves.values())
    rows = cluster.rows(sql)
    after = sum(leaf.rows_returned for leaf in cluster.leaves.values())
    assert rows == cluster.rows(sql, "e")
    return after - before


@pytest.mark.parametrize("sql", STATEMENTS)
def test_the_answer_is_that_of_all_rows_while_segments_change(cluster: Cluster, sql: str) -> None:
    for sealed in (0, 500, 500, 800, 800):
        for leaf in cluster.leaves.values():
            leaf.sealed_below = sealed
        sent(cluster, sql)
    for leaf in list(cluster.leaves.values())[:2]:
        leaf.sealed_below = 900
    sent(cluster, sql)
    sent(cluster, sql)


def test_values_of_sealed_segments_come_once(cluster: Cluster) -> None:
    sql = "select count(distinct word) from ev"
    for leaf in cluster.leaves.values():
        leaf.sealed_below = 800
    first = sent(cluster, sql)
    again = sent(cluster, sql)
    keeps = cluster.settings.known_values_bytes > 0
    assert first > 400
    assert (again < 120) == keeps
    plan = "\n".join(str(row[0]) for row in cluster.rows(f"explain analyze {sql}"))
    assert ("are known, of 4 of 4 leaves" in plan) == keeps
    assert "of sealed segments only where they changed" in plan
    whole = cluster.rows(sql, no_memoised_partials=True)
    assert whole == cluster.rows(sql, "e")
    assert not cluster.leaves["ev-leaf-0"].requests[-2].groups.known


def test_values_that_numbers_do_not_tell_apart_are_asked_for_again(cluster: Cluster) -> None:
    sql = "select count(distinct word) from ev"
    for leaf in cluster.leaves.values():
        leaf.sealed_below = 800
    sent(cluster, sql)
    [changed] = [leaf for leaf in cluster.leaves.values() if 899 in _offsets(leaf)]
    for shard in changed.shards.values():
        for offset, document in shard.rows:
            if offset == 899:
                document["word"] = "y" * 100
    changed._flattened.clear()
    sent(cluster, sql)
    assert sent(cluster, sql) > 400


def _offsets(leaf: object) -> set[int]:
    return {offset for shard in leaf.shards.values() for offset, _ in shard.rows}
