"""Collections that are sharded by the same values are joined on the leaves that have both."""

import random
import time
from collections.abc import Iterator

import pytest
from deployment import standalone

from alder.client import Connection

WAIT_S_MAX = 60.0
STATEMENTS = """
select count(*), sum(o.n), sum(i.price) from o join i on o.k = i.k
select o.word, count(*), sum(i.price) from o join i on o.k = i.k group by 1
select o.word, count(i.price) from o left join i on o.k = i.k and i.price > 20 group by 1
select o.word, count(*) from o anti join i on o.k = i.k group by 1
select o.word, count(*) from o semi join i on o.k = i.k where o.n > 10 group by 1
select i.price % 3 p, count(*) from o join i on o.k = i.k where price < 30 and n < 900 group by p
select w.w, count(*), sum(i.price) from o join i on o.k = i.k join w on w.word = o.word group by 1
select count(distinct o.word), count(i.price) from o, i where o.k = i.k
""".strip().splitlines()
APART = """
select o.word, count(*) from o join i on o.n = i.price group by 1
select o.word, count(*) from o join i on o.k = i.word group by 1
select o.word, count(*) from o full join i on o.k = i.k group by 1
select o.word, count(*) from o join j on o.k = j.k group by 1
select o.word, count(*) from o join w on o.k = w.k group by 1
""".strip().splitlines()


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    rng = random.Random(4)

    def key() -> str | None:
        return None if rng.random() < 0.1 else f"k{rng.randrange(300)}"

    rows = {
        "o": [{"k": key(), "n": n, "word": f"w{n % 7}"} for n in range(1500)],
        "i": [{"k": key(), "price": n % 50, "word": f"w{n % 5}"} for n in range(2500)],
        "j": [{"k": key(), "price": n % 50} for n in range(500)],
        "w": [{"k": f"k{n}", "word": f"w{n}", "w": n} for n in range(9)],
    }
    deployment = standalone(tmp_path_factory.mktemp("deployment"), {"seal_rows": 300}, leaves=4)
    deployment.start()
    try:
        with deployment.connect() as connection:
            for name, documents in rows.items():
                by = "" if name == "w" else "k"
                shards = 5 if name == "j" else 4
                connection.create_collection(name, shard_by_path=by, shards=shards)
                token = connection.append(name, documents)
                deadline = time.monotonic() + WAIT_S_MAX
                sql = f"select count(*) from {name}"
                while connection.execute(sql, min_positions=token).fetchall() != [
                    (len(documents),)
                ]:
                    assert time.monotonic() < deadline
            yield connection
    finally:
        codes = deployment.stop()
    assert set(codes.values()) == {0}


def answer(connection: Connection, sql: str, strategy: str, plan: str) -> list[str]:
    connection.execute(f"SET join_strategy = {strategy}")
    return sorted(map(repr, connection.execute(sql, plan_class=plan).fetchall()))


def told(connection: Connection, sql: str) -> str:
    connection.execute("SET join_strategy = colocated")
    return "\n".join(row[0] for row in connection.execute(f"explain analyze {sql}").fetchall())


@pytest.mark.parametrize("sql", STATEMENTS)
def test_leaves_join_what_they_have_of_both(loaded: Connection, sql: str) -> None:
    assert answer(loaded, sql, "colocated", "auto") == answer(loaded, sql, "gather", "e")
    assert "colocated: the leaves of " in told(loaded, sql)
    cursor = loaded.execute(sql)
    cursor.fetchall()
    assert cursor.trailer is not None
    for read in cursor.trailer.collections:
        assert read.shards_answered == read.shards_asked
    by_collection = {read.collection: read for read in cursor.trailer.references}
    assert by_collection["i"].size_bytes == 0 or by_collection["o"].size_bytes == 0


@pytest.mark.parametrize("sql", APART)
def test_what_is_not_sharded_alike_is_not_joined_there(loaded: Connection, sql: str) -> None:
    assert answer(loaded, sql, "colocated", "auto") == answer(loaded, sql, "gather", "e")
    assert "colocated: the leaves of " not in told(loaded, sql)
