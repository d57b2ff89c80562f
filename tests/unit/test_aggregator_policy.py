"""COVERAGE and STALENESS: whatever fails, an answer is that of the shards it names, or an error."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import duckdb
import pyarrow as pa
import pytest
from aggregator_model import NOW_US, Cluster, LeafModel, Streaming
from hypothesis import given
from hypothesis import strategies as st

from aggregator.execution.coverage import Coverage, Missing, share_of
from alder.catalog import Collection, Node, Shard, Source, SourcePartition
from alder.errors import AlderError, Reason, Unreachable
from alder.policy import Policy
from alder.slots import split_evenly
from alder.v1 import catalog_pb2, leaf_pb2, query_pb2, tailer_pb2

EVENTS = [{"n": n, "type": "abc"[n % 3], "x": n % 7} for n in range(60)]
PEOPLE = [{"k": n, "name": f"p{n}"} for n in range(10)]
QUERIES = {
    "a": "select type, count(*) c, sum(n) s, count(distinct x) d from ev group by type",
    "a groups": "select x, max(n) m from ev group by x having count(*) > 1 order by m desc limit 3",
    "b": "select n, type from ev where x < 4 order by n desc limit 9",
    "e": "select e.n, p.name from ev e join pe p on e.x = p.k where e.n < 50",
    "e twice": "select a.n, b.n from ev a join ev b on a.n = b.n + 3",
    "e window": "select n, row_number() over (partition by type order by n) r from ev",
    "anti": "select n from ev where x not in (select k from pe)",
    "outer": "select p.k, count(e.n) c from pe p left join ev e on e.x = p.k group by 1",
    "union": "select n from ev union all select k from pe",
    "of all": "select (select max(n) from ev) - (select count(*) from pe)",
}


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    made = Cluster({"ev": EVENTS, "pe": PEOPLE}, shards=4)
    yield made
    made.close()


def coverage(least: float) -> query_pb2.Policy:
    return Policy(coverage_min=least).to_proto()


def stale(seconds: float, least: float = 1.0) -> query_pb2.Policy:
    return Policy(least, round(seconds * 1e6)).to_proto()


def expected(cluster: Cluster, sql: str, missing: dict[str, set[int]]) -> list[tuple[object, ...]]:
    """The answer of the engine over the documents of the shards that are not missing."""
    with duckdb.connect() as engine:
        for name in ("ev", "pe"):
            shards = [
                shard
                for leaf in cluster.leaves.values()
                if leaf.collection == name
                for shard in leaf.shards.values()
                if shard.number not in missing.get(name, set())
            ]
            rows = [document for shard in shards for _, document in shard.rows]
            engine.register(name, pa.Table.from_pylist([dict(row) for row in rows]))
        return sorted(engine.sql(sql).fetchall(), key=repr)


def check(cluster: Cluster, sql: str, least: float, missing: dict[str, set[int]]) -> None:
    table, trailer = cluster.ask(sql, policy=coverage(least), timeout_s=20)
    rows = list(zip(*[column.to_pylist() for column in table.columns], strict=True))
    assert sorted(rows, key=repr) == expected(cluster, sql, missing)
    for read in trailer.collections:
        gone = missing.get(read.collection, set())
        assert {one.shard for one in read.shards_missing} == gone
        assert set(read.shards_answered) == set(read.shards_asked) - gone
        assert list(read.shards_asked) == [0, 1, 2, 3]
        assert read.coverage == 1 - len(gone) / 4
        assert all(one.leaf and one.reason for one in read.shards_missing)


@pytest.mark.parametrize("name", QUERIES)
def test_without_a_leaf_every_class_answers_for_the_others(cluster: Cluster, name: str) -> None:
    check(cluster, QUERIES[name], 0.5, {})
    del cluster.directory.leaves["ev-leaf-1"]
    check(cluster, QUERIES[name], 0.5, {"ev": {1, 3}})
    with pytest.raises(AlderError) as caught:
        cluster.ask(QUERIES[name])
    assert caught.value.reason is Reason.UNAVAILABLE


@pytest.mark.parametrize("name", QUERIES)
def test_one_damaged_shard_takes_no_other_with_it(cluster: Cluster, name: str) -> None:
    cluster.leaves["ev-leaf-0"].damaged_shards = frozenset({2})
    check(cluster, QUERIES[name], 0.75, {"ev": {2}})
    with pytest.raises(AlderError, match="page 3 is damaged") as caught:
        cluster.ask(QUERIES[name])
    assert caught.value.reason is Reason.CORRUPT


@pytest.mark.parametrize("name", QUERIES)
def test_what_is_left_of_the_only_leaf_is_no_whole(cluster: Cluster, name: str) -> None:
    del cluster.directory.leaves["ev-leaf-1"]
    check(cluster, QUERIES[name], 0.25, {"ev": {1, 3}})
    cluster.leaves["ev-leaf-0"].damaged_shards = frozenset({2})
    check(cluster, QUERIES[name], 0.25, {"ev": {1, 2, 3}})


class Breaking(Streaming):
    """A leaf whose connection breaks at one of the calls of a query, and stays broken."""

    def __init__(self, leaf: LeafModel, fragments: int) -> None:
        self._leaf = leaf
        self._left = fragments

    async def positions(self, request: object, timeout_s: float | None = None) -> object:
        if self._left < 0:
            raise Unreachable(Reason.UNAVAILABLE, "connection refused")
        return await self._leaf.positions(request)

    async def execute(self, request: object, timeout_s: float | None = None) -> object:
        self._left -= 1
        half = self._left < 0
        async for response in self._leaf.execute(request):
            yield response
            if half:
                raise Unreachable(Reason.UNAVAILABLE, "connection reset")


@pytest.mark.parametrize("fragments", [0, 1, 2])
@pytest.mark.parametrize("name", QUERIES)
def test_a_leaf_that_dies_half_way_is_in_no_part_of_the_answer(
    cluster: Cluster, name: str, fragments: int
) -> None:
    cluster.directory.leaves["ev-leaf-1"] = Breaking(cluster.leaves["ev-leaf-1"], fragments)
    reads = QUERIES[name].count("ev")
    check(cluster, QUERIES[name], 0.3, {"ev": {1, 3}} if fragments < reads else {})


def test_too_little_is_an_error_that_says_what_is_missing(cluster: Cluster) -> None:
    del cluster.directory.leaves["ev-leaf-1"]
    with pytest.raises(AlderError) as caught:
        cluster.ask("select count(*) from ev", policy=coverage(0.51))
    assert caught.value.reason is Reason.UNAVAILABLE
    assert "COVERAGE >= 0.51 can't be had: 50.0 % of ev" in caught.value.message
    assert "shard 1 on ev-leaf-1: node ev-leaf-1 is not known here" in caught.value.message
    del cluster.directory.leaves["ev-leaf-0"]
    with pytest.raises(AlderError, match=r"0\.0 % of ev"):
        cluster.ask("select count(*) from ev", policy=coverage(0.0001))


def test_a_leaf_that_hangs_is_waited_for_half_of_the_time(cluster: Cluster) -> None:
    cluster.leaves["ev-leaf-0"].delay_s = 30.0
    original = cluster.leaves["ev-leaf-0"].execute

    async def bounded(request: leaf_pb2.FragmentRequest, timeout_s: float | None = None) -> object:
        try:
            async with asyncio.timeout(timeout_s):
                async for response in original(request):
                    yield response
        except TimeoutError as error:
            raise AlderError(Reason.DEADLINE, "too late") from error

    slow = Streaming()
    slow.positions, slow.execute = cluster.leaves["ev-leaf-0"].positions, bounded
    cluster.directory.leaves["ev-leaf-0"] = slow
    sql = "select count(*) from ev"
    table, trailer = cluster.ask(sql, policy=coverage(0.5), timeout_s=2.0)
    assert [tuple(row.values()) for row in table.to_pylist()] == expected(
        cluster, sql, {"ev": {0, 2}}
    )
    assert [one.shard for one in trailer.collections[0].shards_missing] == [0, 2]


def test_the_schema_of_fewer_shards_is_not_taken_for_that_of_all(cluster: Cluster) -> None:
    leaf = cluster.leaves["ev-leaf-1"]
    leaf.shards[1].rows.append((0, {"only_there": 5}))
    assert cluster.rows("select count(only_there) from ev") == [(1,)]
    del cluster.directory.leaves["ev-leaf-1"]
    with pytest.raises(AlderError) as caught:
        cluster.ask("select count(only_there) from ev", policy=coverage(0.5))
    assert caught.value.reason is Reason.UNKNOWN_COLUMN
    cluster.directory.leaves["ev-leaf-1"] = leaf
    assert cluster.rows("select count(only_there) from ev") == [(1,)]


def test_the_schema_of_some_shards_of_a_leaf_is_not_remembered(cluster: Cluster) -> None:
    schemas = cluster.aggregator._queries.scatter.schemas
    events = cluster.follower.snapshot.collections["ev"]
    assert cluster.rows("select count(*) from ev") == [(60,)]
    known = {leaf: schemas.version(events, leaf) for leaf in events.shards_by_leaf()}
    hold_back(cluster, "ev-leaf-0", 2, 50)
    _, trailer = cluster.ask("select count(*) c from ev", policy=stale(0.0, least=0.5))
    assert [one.shard for one in trailer.collections[0].shards_missing] == [2]
    known["ev-leaf-0"] = cluster.leaves["ev-leaf-0"].schema().version
    assert {leaf: schemas.version(events, leaf) for leaf in known} == known


def test_a_plan_for_all_shards_is_none_for_some(cluster: Cluster) -> None:
    third = LeafModel("ev", [cluster.leaves["ev-leaf-1"].shards.pop(3)])
    cluster.directory.leaves["ev-leaf-2"] = third
    snapshot = cluster.follower.snapshot
    events = snapshot.collections["ev"]
    shards = (*events.shards[:3], replace(events.shards[3], leaf="ev-leaf-2"))
    collections = {**snapshot.collections, "ev": replace(events, shards=shards)}
    cluster.follower.snapshot = replace(snapshot, revision=2, collections=collections)
    before, _ = cluster.ask("select * from ev")
    leaf = cluster.leaves["ev-leaf-0"]
    version = leaf.schema().version
    leaf.shards[0].rows += [(0, {"extra": 1})] * third.schema().version
    assert leaf.schema().version == version + third.schema().version, "the sum is as before"
    del cluster.directory.leaves["ev-leaf-2"]
    after, _ = cluster.ask("select * from ev", policy=coverage(0.5))
    assert set(after.column_names) - set(before.column_names) == {"extra"}
    third.engine.close()


def test_explain_analyze_says_what_is_missing(cluster: Cluster) -> None:
    del cluster.directory.leaves["ev-leaf-1"]
    table, trailer = cluster.ask("explain analyze select max(n) from ev", policy=coverage(0.5))
    plan = "\n".join(table.column(0).to_pylist())
    assert "not in the answer: 2 shards; it stands for 50.0 % of ev" in plan
    assert "shard 3 on ev-leaf-1: node ev-leaf-1 is not known here" in plan
    assert trailer.collections[0].coverage == 0.5


def hold_back(cluster: Cluster, leaf: str, shard: int, next_offset: int) -> None:
    model = cluster.leaves[leaf].shards[shard]
    model.next_offset = next_offset
    model.rows = [row for row in model.rows if row[0] < next_offset]


def test_a_shard_that_lags_fails_the_query_or_is_left_out(cluster: Cluster) -> None:
    sql = "select count(*) c, max(n) m from ev"
    table, trailer = cluster.ask(sql, policy=stale(0.0))
    assert table.to_pylist() == [{"c": 60, "m": 59}]
    assert trailer.collections[0].lag_us == 0
    hold_back(cluster, "ev-leaf-0", 2, 50)
    hold_back(cluster, "ev-leaf-1", 1, 58)
    table, trailer = cluster.ask(sql, policy=stale(10.0))
    assert table.to_pylist() == [{"c": 50, "m": 49}]
    assert trailer.collections[0].lag_us == 10_000_000
    with pytest.raises(AlderError, match=r"STALENESS <= 9 seconds can't be had.*10\.0 s behind"):
        cluster.ask(sql, policy=stale(9.0))
    table, trailer = cluster.ask(sql, policy=stale(9.0, 0.75))
    at_58 = "select count(*), max(n) from ev where n < 58"
    assert [tuple(table.to_pylist()[0].values())] == expected(cluster, at_58, {"ev": {2}})
    read = trailer.collections[0]
    assert (read.lag_us, read.coverage) == (2_000_000, 0.75)
    assert [one.shard for one in read.shards_missing] == [2]
    assert not cluster.ask(sql)[1].collections[0].HasField("lag_us")


@given(st.lists(st.booleans(), min_size=4, max_size=4), st.floats(0.01, 1.0))
def test_an_answer_always_covers_what_was_asked_for(there: list[bool], least: float) -> None:
    whole = Collection(
        "ev", 1, shards=tuple(Shard(n, *span, "leaf") for n, span in enumerate(split_evenly(4)))
    )
    found = Coverage(Policy(least))
    for number, alive in enumerate(there):
        if not alive:
            found.leave_out(1, Missing(number, "leaf", "down"))
    try:
        covered = found.covered(whole)
    except AlderError:
        assert sum(there) / 4 < least
    else:
        assert [one.shard for one in covered.shards] == [n for n in range(4) if there[n]]
        assert share_of(covered) >= least


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("all", Policy()),
        (" COVERAGE >= 0.8 ", Policy(0.8)),
        ("coverage>=80%", Policy(0.8)),
        ("COVERAGE >= 1", Policy()),
        ("staleness <= 5s", Policy(1.0, 5_000_000)),
        ("STALENESS <= 2 minutes and COVERAGE >= .5", Policy(0.5, 120_000_000)),
    ],
)
def test_policies_are_read_and_travel(text: str, policy: Policy) -> None:
    assert Policy.parse(text) == policy
    assert Policy.from_proto(policy.to_proto()) == policy
    assert Policy.parse(str(policy)) == policy


@pytest.mark.parametrize(
    "text",
    [
        "", "some", "coverage > 0.5", "coverage >= 0", "coverage >= 1.5", "coverage >= 101%",
        "coverage >= nan", "staleness <= 5", "staleness <= -1s", "all and coverage >= 1",
        "coverage >= 0.5 and coverage >= 0.6", "coverage >= 0.5 or staleness <= 5s",
    ],
)  # fmt: skip
def test_what_is_no_policy_is_refused(text: str) -> None:
    with pytest.raises(AlderError) as caught:
        Policy.parse(text)
    assert caught.value.reason is Reason.INVALID_ARGUMENT


@pytest.mark.parametrize("least", [0.0, -1.0, 1.1, float("nan"), float("inf")])
def test_impossible_bounds_of_a_request_are_refused(cluster: Cluster, least: float) -> None:
    with pytest.raises(AlderError) as caught:
        cluster.ask("select n from ev", policy=query_pb2.Policy(coverage_min=least))
    assert caught.value.reason is Reason.INVALID_ARGUMENT


class TailerModel:
    """Tells what it is given of each partition of ``kafka1``."""

    def __init__(self, *reports: tailer_pb2.PartitionProgress) -> None:
        self.reports = reports

    async def describe(
        self, request: tailer_pb2.DescribeTailerRequest, timeout_s: float | None = None
    ) -> tailer_pb2.DescribeTailerResponse:
        assert (request.collection, request.look) == ("ev", True)
        return tailer_pb2.DescribeTailerResponse(partitions=self.reports)


def with_topic(cluster: Cluster, partitions: int, *tailers: str) -> None:
    """Gives ``ev`` a topic beside the log; its shards stand at 0 there."""
    snapshot = cluster.follower.snapshot
    topic = Source(
        "kafka1", "kafka://h:1/t", "id", tuple(SourcePartition(n) for n in range(partitions))
    )
    events = snapshot.collections["ev"]
    events = replace(events, sources=(*events.sources, topic))
    role = catalog_pb2.NODE_ROLE_TAILER
    nodes = {**snapshot.nodes, **{name: Node(name, role, "", True) for name in tailers}}
    cluster.follower.snapshot = replace(
        snapshot, collections={**snapshot.collections, "ev": events}, nodes=nodes
    )


def report(
    partition: int, *ends: tuple[int, float], waiting_us: int = 0, next_offset: int = 0
) -> tailer_pb2.PartitionProgress:
    return tailer_pb2.PartitionProgress(
        collection="ev",
        source="kafka1",
        partition=partition,
        next_offset=next_offset,
        ends=[tailer_pb2.EndSeen(end_offset=end, age_us=round(age_s * 1e6)) for end, age_s in ends],
        waiting_log_time_us=waiting_us,
    )


def test_a_topic_is_judged_by_what_its_tailers_saw(cluster: Cluster) -> None:
    sql = "select count(*) c from ev"
    with_topic(cluster, 2, "t1", "t2", "silent")
    tailers = cluster.directory.tailers
    tailers["t1"] = TailerModel(report(0, (0, 7.0), (50, 0.1)))
    with pytest.raises(AlderError, match="not known how far it is behind kafka1/1"):
        cluster.ask(sql, policy=stale(1e6))
    tailers["t2"] = TailerModel(report(1, (0, 0.5)))
    with pytest.raises(AlderError, match=r"7\.0 s behind kafka1/0"):
        cluster.ask(sql, policy=stale(6.0))
    _, trailer = cluster.ask(sql, policy=stale(8.0))
    assert trailer.collections[0].lag_us == 7_000_000
    tailers["t2"] = TailerModel(report(0, (0, 2.0)), report(1, (0, 0.5)))
    _, trailer = cluster.ask(sql, policy=stale(8.0))
    assert trailer.collections[0].lag_us == 2_000_000, "each of two tailers tells the truth"
    tailers["t2"] = TailerModel(report(1, (9, 3.0), waiting_us=NOW_US - 60_000_000))
    with pytest.raises(AlderError, match=r"60\.0 s behind kafka1/1"):
        cluster.ask(sql, policy=stale(20.0))
    tailers["t2"] = TailerModel(report(1, (9, 3.0), waiting_us=NOW_US - 60_000_000, next_offset=5))
    with pytest.raises(AlderError, match="not known how far"):
        cluster.ask(sql, policy=stale(3600.0))
    assert cluster.rows(sql) == [(60,)], "without a bound nobody asks"


def test_a_topic_that_was_not_found_yet_is_not_known(cluster: Cluster) -> None:
    with_topic(cluster, 0)
    with pytest.raises(AlderError, match="kafka1, whose topic was not found yet"):
        cluster.ask("select count(*) from ev", policy=stale(5.0))
