"""Joins give the same rows however they are gathered, and only what matters travels."""

import random
from collections.abc import Iterator, Mapping
from decimal import Decimal

import pytest
from aggregator_model import Cluster
from hypothesis import given
from hypothesis import strategies as st

from aggregator.planning.joins import Reduction
from aggregator.planning.strategy import (
    FEWER,
    SMALL_ROWS,
    JoinLimits,
    Size,
    chosen_reductions,
    levels,
    may_broadcast,
    worth_counting,
)
from aggregator.service import AggregatorSettings
from alder.errors import AlderError, Reason

STRATEGIES = ("gather", "reduce", "broadcast", "colocated", "")

ROWS = """
select o.n, p.name from o join p on o.who = p.id
select o.n, p.name from o, p where o.who = p.id and p.id < 5
select o.n, p.name from o left join p on o.who = p.id
select o.n, p.name from o right join p on o.who = p.id
select o.n, p.name from o full join p on o.who = p.id
select o.n from o semi join p on o.who = p.id
select o.n from o anti join p on o.who = p.id and p.id > 3
select p.name from p anti join o on o.who = p.id
select p.name from p semi join o on o.who = p.id where p.name <> 'p2'
select o.n, p.name from o join p on o.who = p.id and o.word = p.name
select o.n, p.name from o join p on o.who = p.id or o.n = 3
select o.n, p.name from o join p on o.who = p.id where p.name like 'p1%'
select o.n, p.name, q.t from o join p on o.who = p.id join q on q.word = o.word where q.t > 2
select o.n, q.t from o left join q on o.word = q.word and q.t > 3 join p on p.id = o.who
select o.n, q.t from p left join o on o.who = p.id left join q on q.word = o.word
select o.n, p.name from (select * from o where n < 50) o join p on o.who = p.id
select n from o where who in (select id from p where name > 'p3')
select n from o where who not in (select id from p where name > 'p3' and id is not null)
select n from o where exists (select 1 from p where p.id = o.who and p.name > 'p2')
select n from o where not exists (select 1 from p where p.id = o.who)
select name from p where exists (select 1 from o where o.who = p.id and o.n > 30)
select name, (select max(n) from o where o.who = p.id) from p
select name, (select n from o where o.who = p.id order by n desc limit 1) from p
select name from p where id in (select who from o where o.word = p.name)
select a.n, b.n from o a join o b on a.n = b.who where a.n < 9
select o.n, p.name from o join p on o.f = p.id
select o.n, p.name from o join p on o.who = p.half
select o.n, p.name from o join p on o.mixed = p.mixed
select o.n, p.name from o join p on o.day = p.day
select o.n, p.name from o join p using (word)
select o.n, p.name from o natural join p
with t as (select o.n, p.name from o join p on o.who = p.id) select * from t x join t y on x.n = y.n
select o.n from o join p on o.who = p.id union all select p.id from p join q on q.word = p.word
select o.n, u.* from o join p on o.who = p.id, unnest([p.id, 1]) u
select o.n, l.name from o, lateral (select name from p where p.id = o.who) l
select o.n, p.half from o asof join p on o.who = p.id and o.n >= p.half
select distinct p.name from o join p on o.who = p.id
select o.n, p.name from o join p on o.who = p.id order by o.n desc, 2 limit 5
select p.name, row_number() over (partition by p.name order by o.n) from o join p on o.who = p.id
""".strip().splitlines()

AGGREGATES = """
select count(*) from o join p on o.who = p.id
select p.name, count(*), sum(o.n), avg(o.n), min(o.word) from o join p on o.who = p.id group by all
select p.name, sum(o.n * p.id) s from o, p where o.who = p.id and p.id > 2 group by 1 order by s, 1
select p.name, count(o.n) from p left join o on o.who = p.id group by p.name
select p.name, count(*) from o left join p on o.who = p.id group by p.name
select p.name, count(*) from o right join p on o.who = p.id group by p.name
select p.name, count(*) from o full join p on o.who = p.id group by p.name
select o.word, count(*) from o semi join p on o.who = p.id group by 1
select o.word, count(*) from o anti join p on o.who = p.id group by 1
select p.name, q.t, count(*) from o join p on o.who = p.id join q on q.word = o.word group by 1, 2
select count(*), sum(p.id) from o join p on o.n > p.id * 10
select count(*) from o cross join p
select count(distinct p.name), count(distinct o.word) d from o join p on o.who = p.id
select p.name, count(distinct o.word) from o join p on o.who = p.id group by 1 having count(*) > 2
select p.name || o.word as k, max(o.f) from o join p on o.who = p.id group by k order by k limit 4
select a.word, count(*) from o a join o b on a.n = b.who group by a.word
select p.name, sum(o.n) from o join p using (word) group by p.name
select stddev(o.n), median(o.n) from o join p on o.who = p.id where o.word > 'w1' or p.id = 1
select p.name, count(*) from o join p on o.who = p.id where o.n in (select t from q) group by 1
select sum(c) from (select p.name, count(*) c from o join p on o.who = p.id group by 1) t
select p.mixed, count(*) from o join p on o.who = p.id group by 1
""".strip().splitlines()


def documents() -> dict[str, list[dict[str, object]]]:
    rng = random.Random(3)

    def some(value: object) -> object:
        return None if rng.random() < 0.1 else value

    big = [
        {
            "n": n,
            "who": some(rng.randrange(30)),
            "word": some(f"w{rng.randrange(9)}"),
            "f": some(float(rng.randrange(20))),
            "mixed": some(rng.choice([n % 5, f"s{n % 5}"])),
            "day": some(f"2024-01-{rng.randrange(1, 28):02d}"),
        }
        for n in range(240)
    ]
    people = [
        {
            "id": some(n % 11),
            "name": some(f"p{n % 7}"),
            "word": some(f"w{n}"),
            "half": n / 2,
            "mixed": some(rng.choice([n % 5, f"s{n % 5}"])),
            "day": some(f"2024-01-{rng.randrange(1, 28):02d}"),
        }
        for n in range(14)
    ]
    words = [{"word": some(f"w{n % 6}"), "t": n} for n in range(8)]
    return {"o": big, "p": people, "q": words}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    made = Cluster(documents(), shards=3)
    yield made
    made.close()


def comparable(rows: list[tuple[object, ...]]) -> list[str]:
    plain = [
        tuple(round(float(v), 9) if isinstance(v, (float, Decimal)) else v for v in row)
        for row in rows
    ]
    return sorted(map(repr, plain))


@pytest.mark.parametrize("sql", ROWS + AGGREGATES)
def test_every_strategy_gives_the_rows_of_the_statement_as_it_is(
    cluster: Cluster, sql: str
) -> None:
    expected = comparable(cluster.rows(sql, "e"))
    for strategy in STRATEGIES:
        assert comparable(cluster.rows(sql, join_strategy=strategy)) == expected, strategy


def sent(cluster: Cluster, sql: str, strategy: str) -> dict[str, tuple[int, int]]:
    """Rows that came and bytes that went along, by collection."""
    _, trailer = cluster.ask(sql, join_strategy=strategy)
    return {one.collection: (one.rows, one.input_bytes) for one in trailer.references}


def test_only_rows_with_a_partner_are_sent(cluster: Cluster) -> None:
    sql = "select o.n, p.name from o join p on o.who = p.id where p.name = 'p1'"
    whole, reduced = sent(cluster, sql, "gather"), sent(cluster, sql, "reduce")
    assert reduced["o"][0] * 4 < whole["o"][0]
    assert reduced["o"][1] > 0 == whole["o"][1]
    assert reduced["p"] == whole["p"]


@pytest.mark.parametrize(
    "sql",
    [
        "select o.n, p.name from o left join p on o.who = p.id and p.name = 'p1'",
        "select o.n, p.name from o full join p on o.who = p.id",
        "select o.n, p.name from o positional join p where o.who = p.id",
        "select o.n from o anti join p on o.who = p.id and p.name = 'p1'",
        "select n from o where who not in (select id from p where id < 2)",
        "select o.n, p.name from o join p on o.who = p.half",
        "select o.n, p.name from o join p on o.who = p.id or p.name = 'p1'",
    ],
)
def test_a_side_that_is_kept_is_sent_whole(cluster: Cluster, sql: str) -> None:
    assert sent(cluster, sql, "reduce")["o"] == sent(cluster, sql, "gather")["o"]


def test_indexes_are_asked_for_few_keys(cluster: Cluster) -> None:
    sql = "select o.n from o join p on o.who = p.id where p.name = 'p1'"
    leaves = [leaf for leaf in cluster.leaves.values() if leaf.collection == "o"]
    for leaf in leaves:
        leaf.requests.clear()
    cluster.ask(sql, join_strategy="reduce")
    [count, read] = leaves[0].requests
    assert not count.fragment.key_filters
    assert [(term.path, term.operator) for term in read.fragment.terms] == [("who", "in")]
    assert not read.fragment.terms_exact


def test_explain_tells_what_was_counted_and_what_followed(cluster: Cluster) -> None:
    sql = "select o.n from o join p on o.who = p.id where p.name = 'p1'"
    told = "\n".join(str(row[0]) for row in cluster.rows(f"explain {sql}"))
    assert "reduce o to rows whose who is a id of p" in told
    told = "\n".join(
        str(row[0]) for row in cluster.rows(f"explain analyze {sql}", join_strategy="reduce")
    )
    people = sent(cluster, sql, "gather")["p"][0]
    assert f"counted rows that meet the conditions: 240 of o, {people} of p" in told
    assert f"reduce: {people} values of id in p go along as those that who of o may have" in told
    assert "went along: " in told


BROADCAST = [
    "select p.name, count(*), avg(o.n) from o join p on o.who = p.id group by p.name",
    "select p.name, count(o.n) from o left join p on o.who = p.id where o.n > 3 group by p.name",
    "select p.name k, sum(o.n) s from o, p where o.n > p.id * 10 group by k order by s, k limit 3",
    "select count(*) from o cross join p",
    "select o.word, count(*) from o anti join p on o.who = p.id group by 1",
]


@pytest.mark.parametrize("sql", BROADCAST)
def test_groups_travel_where_few_rows_can_go_along(cluster: Cluster, sql: str) -> None:
    whole, joined = sent(cluster, sql, "gather"), sent(cluster, sql, "broadcast")
    assert joined["o"][0] < whole["o"][0] / 2
    assert joined["o"][1] > 0
    assert joined["p"] == whole["p"]
    _, trailer = cluster.ask(sql, join_strategy="broadcast")
    assert trailer.plan_class == "a"


@pytest.mark.parametrize(
    "sql",
    [
        "select p.name, count(*) from o full join p on o.who = p.id group by 1",
        "select p.name, count(*) from o positional join p group by 1",
        "select count(*) from o join p using (word)",
        "select count(*) from o join p on o.who = p.id where o.n in (select t from q)",
        "select p.name, count(*), random() from o join p on o.who = p.id group by 1",
    ],
)
def test_a_join_that_parts_of_one_side_do_not_make_up_is_gathered(
    cluster: Cluster, sql: str
) -> None:
    _, trailer = cluster.ask(sql, join_strategy="broadcast")
    assert trailer.plan_class == "e"


def test_a_kept_side_of_few_rows_is_not_sent_along(cluster: Cluster) -> None:
    sql = "select p.name, count(o.n) from p left join o on o.who = p.id group by p.name"
    told = "\n".join(str(row[0]) for row in cluster.rows(f"explain {sql}"))
    assert "broadcast the others to the leaves of p" in told
    assert "broadcast the others to the leaves of o" not in told


def test_what_turns_out_too_large_does_not_go_along() -> None:
    wide = [{"id": n, "name": str(n) * 1000} for n in range(10)]
    rows = [{"who": n % 10, "n": n} for n in range(100)]
    limits = JoinLimits(broadcast_bytes_max=4000)
    made = Cluster(
        {"o": rows, "p": wide}, settings=AggregatorSettings(catalog_wait_s=0.0, joins=limits)
    )
    sql = "select p.name, sum(o.n) from o join p on o.who = p.id group by p.name"
    _, trailer = made.ask(sql, join_strategy="broadcast")
    assert trailer.plan_class == "e"
    told = "\n".join(
        str(row[0]) for row in made.rows(f"explain analyze {sql}", join_strategy="broadcast")
    )
    assert "no broadcast: " in told
    assert comparable(made.rows(sql, join_strategy="broadcast")) == comparable(made.rows(sql, "e"))
    made.close()


def test_an_unknown_strategy_is_refused(cluster: Cluster) -> None:
    with pytest.raises(AlderError) as caught:
        cluster.rows("select 1 from o", join_strategy="guess")
    assert caught.value.reason is Reason.INVALID_ARGUMENT


ONE = Reduction("big", "a", "small", "b")
OTHER = Reduction("small", "b", "big", "a")


def sizes(**rows: int) -> Mapping[str, Size]:
    return {table: Size(count, 8) for table, count in rows.items()}


def test_counts_choose() -> None:
    limits = JoinLimits(keys_max=10_000, broadcast_rows_max=1000, broadcast_bytes_max=8000)
    many = SMALL_ROWS * 100

    def choose(small: int, big: int, forced: str = "") -> list[Reduction]:
        return list(chosen_reductions((ONE, OTHER), sizes(small=small, big=big), limits, forced))

    assert choose(10, many) == [ONE]
    assert choose(many, 10) == [OTHER]
    assert choose(10, SMALL_ROWS) == []
    assert choose(10, SMALL_ROWS, "reduce") == [ONE]
    assert choose(many, many) == []
    assert choose(10_001, many) == []
    assert choose(10_001, many, "reduce") == []
    assert choose(10, many, "gather") == []
    assert choose(0, 0, "reduce") == [OTHER]

    def broadcast(small: int, big: int, forced: str = "") -> bool:
        return may_broadcast("big", ["small"], sizes(small=small, big=big), limits, forced)

    assert broadcast(1000, many)
    assert not broadcast(1001, many)
    assert not broadcast(1001, many, "broadcast")
    assert not broadcast(10, SMALL_ROWS)
    assert broadcast(10, 1, "broadcast")
    assert not broadcast(10, many, "reduce")
    assert worth_counting({"a": 1, "b": SMALL_ROWS + 1}, "")
    assert not worth_counting({"a": 1, "b": SMALL_ROWS}, "auto")
    assert worth_counting({"a": 1}, "reduce")
    assert not worth_counting({"a": many}, "gather")


TABLES = st.lists(st.sampled_from("abcdef"), min_size=2, max_size=2, unique=True)


@given(st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 1 << 20)), st.lists(TABLES))
def test_no_choice_goes_in_a_circle(rows: dict[str, int], pairs: list[list[str]]) -> None:
    known = sizes(**dict.fromkeys("abcdef", 0) | rows)
    wanted = [Reduction(target, "x", source, "y") for target, source in pairs]
    for forced in ("", "reduce"):
        chosen = chosen_reductions(wanted, known, JoinLimits(), forced)
        needs = {table: {one.source for one in chosen if one.target == table} for table in "abcdef"}
        rounds = levels("abcdef", needs)
        place = {table: n for n, level in enumerate(rounds) for table in level}
        assert sorted(place) == list("abcdef")
        assert all(place[one.source] < place[one.target] for one in chosen)
        if not forced:
            assert all(known[one.source].rows * FEWER <= known[one.target].rows for one in chosen)
