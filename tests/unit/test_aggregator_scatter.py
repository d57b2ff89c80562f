"""One cut, all shards or an error, retries, deadlines, and what the trailer says."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import pytest
from aggregator_model import Cluster
from hypothesis import given
from hypothesis import strategies as st

from aggregator.execution import core
from aggregator.planning.aggregate import Split
from aggregator.planning.finishing import Types
from aggregator.planning.splitter import Aggregate
from aggregator.service import AggregatorSettings
from alder.arrow import join_chunks
from alder.catalog import LOG_SOURCE, Snapshot
from alder.errors import AlderError, Reason
from alder.positions import PositionVector
from alder.v1 import common_pb2, quarantine_pb2, query_pb2

DOCUMENTS = [{"n": n, "type": "ab"[n % 2]} for n in range(30)]


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    made = Cluster({"ev": DOCUMENTS, "pe": [{"k": 1}]}, shards=3)
    yield made
    made.close()


def lagging(cluster: Cluster, next_offset: int) -> None:
    """Holds the last shard of `ev` back at an offset."""
    shard = cluster.leaves["ev-leaf-0"].shards[2]
    shard.next_offset = next_offset
    shard.rows = [row for row in shard.rows if row[0] < next_offset]


def minimum(next_offset: int) -> list[query_pb2.MinPositions]:
    position = common_pb2.Position(source=LOG_SOURCE, partition=0, next_offset=next_offset)
    vector = common_pb2.PositionVector(positions=[position])
    return [query_pb2.MinPositions(collection="ev", positions=vector)]


@pytest.mark.parametrize("plan_class", ["a", "e"])
def test_every_shard_answers_at_the_cut_of_the_slowest(cluster: Cluster, plan_class: str) -> None:
    lagging(cluster, 11)
    table, trailer = cluster.ask("select count(*) n, max(n) m from ev", plan_class)
    assert table.to_pylist() == [{"n": 11, "m": 10}]
    read = trailer.collections[0]
    assert PositionVector.from_proto(read.positions)[LOG_SOURCE, 0] == 11
    assert list(read.shards_asked) == [0, 1, 2]
    assert list(read.shards_answered) == [0, 1, 2]
    assert len(read.scans) == 3
    assert (trailer.query_id, trailer.plan_class, trailer.rows) == ("q1", plan_class, 1)


def test_latest_reads_what_each_shard_has(cluster: Cluster) -> None:
    lagging(cluster, 11)
    table, _ = cluster.ask("select count(*) n from ev", consistency=query_pb2.CONSISTENCY_LATEST)
    there = sum(
        len(shard.rows)
        for leaf in ("ev-leaf-0", "ev-leaf-1")
        for shard in cluster.leaves[leaf].shards.values()
    )
    assert 11 < there < 30
    assert table.to_pylist() == [{"n": there}]


def test_positions_not_reached_are_an_error_that_names_them(cluster: Cluster) -> None:
    assert cluster.rows("select count(*) from ev", min_positions=minimum(30)) == [(30,)]
    lagging(cluster, 11)
    with pytest.raises(AlderError) as caught:
        cluster.ask("select count(*) from ev", min_positions=minimum(30))
    assert caught.value.reason is Reason.DEADLINE
    assert "shard 2 is at 11 of 30 in partition 0 of source log" in caught.value.message


def test_a_leaf_that_is_gone_fails_the_query_by_name(cluster: Cluster) -> None:
    del cluster.directory.leaves["ev-leaf-1"]
    with pytest.raises(AlderError) as caught:
        cluster.ask("select count(*) from ev")
    assert caught.value.reason is Reason.UNAVAILABLE
    assert "leaf ev-leaf-1 (shards 1 of ev)" in caught.value.message
    assert cluster.rows("select k from pe") == [(1,)]


def test_a_leaf_that_fails_during_the_scan_fails_the_query(cluster: Cluster) -> None:
    cluster.leaves["ev-leaf-0"].failures.append(AlderError(Reason.CORRUPT, "page 3 is damaged"))
    with pytest.raises(AlderError) as caught:
        cluster.ask("select count(*) from ev")
    assert caught.value.reason is Reason.CORRUPT
    assert "ev-leaf-0 (shards 0, 2 of ev): page 3 is damaged" in caught.value.message


def test_an_answer_without_every_shard_is_no_answer(cluster: Cluster) -> None:
    leaf = cluster.leaves["ev-leaf-0"]
    leaf.silent_shards = frozenset({2})
    with pytest.raises(AlderError) as caught:
        cluster.ask("select count(*) from ev")
    assert caught.value.reason is Reason.UNAVAILABLE
    assert "no answer from shards [2]" in caught.value.message
    leaf.silent_shards = frozenset()
    leaf.breaks_off = True
    with pytest.raises(AlderError) as caught:
        cluster.ask("select count(*) from ev")
    assert caught.value.reason is Reason.UNAVAILABLE
    assert "broke off" in caught.value.message


@pytest.mark.parametrize("reason", [Reason.SCHEMA_CHANGED, Reason.NOT_OWNER])
def test_newer_metadata_is_tried_a_bounded_number_of_times(
    cluster: Cluster, reason: Reason
) -> None:
    leaf = cluster.leaves["ev-leaf-0"]
    leaf.failures = [AlderError(reason, "plan again")] * (core.ATTEMPTS_MAX - 1)
    assert cluster.rows("select count(*) from ev") == [(30,)]
    leaf.requests.clear()
    leaf.failures = [AlderError(reason, "plan again")] * 100
    with pytest.raises(AlderError) as caught:
        cluster.ask("select count(*) from ev")
    assert caught.value.reason is reason
    assert len(leaf.requests) == core.ATTEMPTS_MAX


def test_a_plan_that_is_refused_asks_for_the_whole_schema_again(cluster: Cluster) -> None:
    leaf = cluster.leaves["ev-leaf-0"]
    cluster.ask("select count(*) from ev")
    leaf.shards[0].rows[0] = (0, {"n": "zero", "type": "a"})
    leaf.failures = [AlderError(Reason.SCHEMA_CHANGED, "plan again")]
    rows = cluster.rows("select n::varchar from ev where _offset = 0")
    assert rows == [("zero",)]


def test_a_slow_leaf_meets_the_deadline(cluster: Cluster) -> None:
    cluster.leaves["ev-leaf-0"].delay_s = 30
    with pytest.raises(AlderError) as caught:
        cluster.ask("select count(*) from ev", timeout_s=0.2)
    assert caught.value.reason is Reason.DEADLINE


def test_the_bytes_of_a_query_are_bounded() -> None:
    wide = [{"n": n, "text": str(n) * 500} for n in range(200)]
    settings = AggregatorSettings(gathered_bytes_max=50_000, catalog_wait_s=0)
    cluster = Cluster({"ev": wide}, settings=settings)
    with pytest.raises(AlderError) as caught:
        cluster.ask("select text from ev")
    assert caught.value.reason is Reason.LIMIT
    assert cluster.rows("select count(*) from ev") == [(200,)]
    cluster.close()


def test_only_what_is_needed_travels(cluster: Cluster) -> None:
    leaves = [cluster.leaves["ev-leaf-0"], cluster.leaves["ev-leaf-1"]]

    def moved(sql: str) -> int:
        for leaf in leaves:
            leaf.rows_returned = 0
            leaf.requests.clear()
        cluster.ask(sql)
        return sum(leaf.rows_returned for leaf in leaves)

    assert moved("select type, count(*), avg(n) from ev group by type") <= 4
    assert moved("select n from ev order by n desc limit 3 offset 1") <= 8
    assert moved("select e.n from ev e join pe on e.n = pe.k where e.n < 2") == 2
    assert moved("select e.n from pe left join ev e on e.n = pe.k where e.n < 2") == 30
    assert moved("select n from ev where n = 4 and random() < 2") == 1
    assert moved("select n from ev where n + random() * 0 = 4") == 30
    assert moved("select n from ev where n < 2 using sample 100%") == 30
    leaves[0].requests.clear()
    moved("select n from ev where n = 4 and random() < 2")
    terms = leaves[0].requests[-1].fragment.terms
    assert [(t.path, t.operator, list(t.values_json)) for t in terms] == [("n", "=", ["4"])]
    moved("select n from ev where type in ('a', 'b\"') and 5 > n and n between 1 and 9")
    terms = leaves[0].requests[-1].fragment.terms
    assert [(t.path, t.operator, list(t.values_json)) for t in terms] == [
        ("type", "in", ['"a"', '"b\\""']),
        ("n", "<", ["5"]),
        ("n", ">=", ["1"]),
        ("n", "<=", ["9"]),
    ]
    moved("select n from ev where n = 4 or type = 'a'")
    assert not leaves[0].requests[-1].fragment.terms


def test_a_plan_is_made_once_per_text_and_schema(cluster: Cluster) -> None:
    plans = cluster.aggregator._queries._plans._plans
    for _ in range(3):
        cluster.ask("select count(*) from ev")
    assert len(plans) == 1
    cluster.ask("select count(*), now() from ev")
    assert len(plans) == 1
    leaf = cluster.leaves["ev-leaf-0"]
    leaf.shards[0].rows.append((99, {"new": 1}))
    cluster.ask("select count(*) from ev")
    assert len(plans) == 2


def test_queries_at_once_do_not_see_each_other(cluster: Cluster) -> None:
    async def collect(k: int) -> list[int]:
        request = query_pb2.ExecuteRequest(
            sql=f"select n from ev where n % 5 = {k} order by n", plan_class="e"
        )
        parts = [r.arrow async for r in cluster.aggregator.execute(request) if r.arrow]
        found: list[int] = join_chunks(parts).column(0).to_pylist()
        return found

    async def all_of_them() -> list[list[int]]:
        return await asyncio.gather(*(collect(k % 5) for k in range(20)))

    answers = cluster.run(all_of_them())
    assert answers == [[n for n in range(30) if n % 5 == k % 5] for k in range(20)]


def test_a_collection_that_is_new_is_waited_for() -> None:
    cluster = Cluster({"ev": DOCUMENTS}, settings=AggregatorSettings(catalog_wait_s=5))
    newest = cluster.follower.snapshot
    cluster.follower.snapshot = Snapshot(0, {}, newest.nodes)

    async def ask() -> int:
        asyncio.get_running_loop().call_later(0.05, cluster.follower._take, newest)
        request = query_pb2.ExecuteRequest(sql="select n from ev")
        rows = [r.trailer.rows async for r in cluster.aggregator.execute(request)]
        return rows[-1]

    assert cluster.run(ask()) == 30
    cluster.close()


def test_queries_that_end_at_their_deadline_free_their_threads() -> None:
    settings = AggregatorSettings(query_threads=1, catalog_wait_s=0)
    cluster = Cluster({"ev": DOCUMENTS}, settings=settings)
    endless = (
        "select count(*) from range(1000000000000000) a, range(1000) b where a.range % 7 = b.range"
    )

    async def ask(sql: str, timeout_s: float) -> int:
        request = query_pb2.ExecuteRequest(sql=sql)
        parts = [r async for r in cluster.aggregator.execute(request, timeout_s=timeout_s)]
        return parts[-1].trailer.rows

    async def together() -> list[object]:
        calls = [ask(endless, 0.3), ask(endless, 0.4), ask("select n from ev", 30)]
        return list(await asyncio.gather(*calls, return_exceptions=True))

    first, second, third = cluster.run(together())
    for error in (first, second):
        assert isinstance(error, AlderError)
        assert error.reason is Reason.DEADLINE
    assert third == 30
    cluster.close()


def test_describe_names_every_path_and_type(cluster: Cluster) -> None:
    request = query_pb2.DescribeCollectionRequest(name="EV")
    answer = cluster.run(cluster.aggregator.describe_collection(request))
    assert answer.collection.name == "ev"
    assert [(c.path, c.sql_type, list(c.types)) for c in answer.columns] == [
        ("n", "BIGINT", ["int"]),
        ("type", "VARCHAR", ["string"]),
    ]


def test_quarantine_is_merged_over_leaves_in_order(cluster: Cluster) -> None:
    async def collect(records_max: int) -> list[int]:
        request = quarantine_pb2.QuarantineRequest(collection="ev", records_max=records_max)
        return [record.offset async for record in cluster.aggregator.list_quarantine(request)]

    assert cluster.run(collect(0)) == [98, 99, 100]
    assert cluster.run(collect(2)) == [98, 99]


def test_status_gives_lag_and_names_who_is_silent(cluster: Cluster) -> None:
    lagging(cluster, 11)
    answer = cluster.run(cluster.aggregator.status(query_pb2.StatusRequest()))
    lags = {lag.collection: (lag.next_offset, lag.end_offset) for lag in answer.lags}
    assert lags == {"ev": (11, 30), "pe": (1, 1)}
    assert list(answer.unreachable) == []
    del cluster.directory.leaves["pe-leaf-0"]
    answer = cluster.run(cluster.aggregator.status(query_pb2.StatusRequest()))
    assert list(answer.unreachable) == ["pe-leaf-0"]


VECTORS = st.dictionaries(
    st.tuples(st.sampled_from(["log", "file"]), st.integers(0, 3)), st.integers(0, 50)
).map(PositionVector)


@given(st.dictionaries(st.integers(0, 7), VECTORS, min_size=1))
def test_the_cut_is_the_latest_that_all_have_reached(positions: dict[int, PositionVector]) -> None:
    chosen = core.choose_cut(positions, positions)
    assert all(vector.reaches(chosen) for vector in positions.values())
    for key in {key for vector in positions.values() for key in vector}:
        further = chosen.advanced(key, chosen[key] + 1)
        assert not all(vector.reaches(further) for vector in positions.values())


def test_a_shard_without_position_has_no_cut() -> None:
    with pytest.raises(AlderError) as caught:
        core.choose_cut([1, 2], {1: PositionVector()})
    assert caught.value.reason is Reason.UNAVAILABLE
    assert "shards [2]" in caught.value.message


def test_parts_that_would_change_a_type_make_no_plan() -> None:
    split = Split(
        table="partials",
        leaf_sql="SELECT sum(n) EXPORT_STATE AS a0 FROM rows",
        probe_sql="SELECT n AS p0 FROM rows",
        direct_sql="SELECT sum(n) AS s FROM rows",
        outer_sql="SELECT __groups.a0 AS s FROM __groups",
        keys=(),
        distinct_keys=(),
        aggregates=(Aggregate("sum", "a0", ("p0",)),),
        conditions=[],
    )
    types = Types()
    assert types.finished(split, [("n", "BIGINT")]) is not None
    other = replace(split, direct_sql="SELECT sum(n)::BIGINT AS s FROM rows")
    assert types.finished(other, [("n", "BIGINT")]) is None
    unbound = replace(split, outer_sql="SELECT __groups.nothing AS s FROM __groups")
    assert types.finished(unbound, [("n", "BIGINT")]) is None
    types.close()


@given(st.lists(st.integers(0, 5)), st.lists(st.integers(0, 5)))
def test_answers_are_complete_or_an_error(asked: list[int], answered: list[int]) -> None:
    if sorted(asked) == sorted(answered):
        core.check_answers(asked, answered)
        return
    with pytest.raises(AlderError) as caught:
        core.check_answers(asked, answered)
    assert caught.value.reason is Reason.UNAVAILABLE


def test_a_constant_answer_is_the_same_again(cluster: Cluster) -> None:
    for sql in ("select 1 + 1 as two, 'a' as b", "select 3 as two, 'a' as b", "select 1 limit 0"):
        (first, told), (second, _) = cluster.ask(sql), cluster.ask(sql)
        assert first.equals(second, check_metadata=True)
        assert told.rows == len(first) == (0 if sql.endswith("0") else 1)
