"""Direct lookups give the rows and types that the engine gives."""

import math
import random
from pathlib import Path

import pyarrow as pa
import pytest
from kernels_model import FIELDS, documents, rows_of, sealed, with_rows
from leaf_model import push, rows_bytes

from aggregator.execution.engine import Engine, EngineSettings, Input, run
from aggregator.planning.direct import finished
from aggregator.planning.plan import Plan
from aggregator.planning.planner import Planner
from aggregator.planning.spread import Spread
from aggregator.statement import security
from aggregator.statement.bind import bind
from aggregator.statement.names import Names
from aggregator.statement.syntax import Parser
from alder.arrow import join_chunks
from alder.schema import Schema
from alder.v1 import leaf_pb2
from leaf import fragment
from leaf.service import Leaf

STATEMENTS = 120
CONDITIONS = """
kind = 'a'
kind = 'nowhere'
kind in ('cc', '', 'é')
kind >= 'b'
kind <> 'cc'
word <> 'w7'
n <> 17
f <> 3
flag <> true
mixed <> 1
_id <> 'log/0/17'
word = 'w7'
word in ('w1', 'w2', 'w3', 'w4', 'x')
word < 'w2'
n = 17
n between -100 and 250
n > 990
n in (1, 2, 3, 4, 5, 6, 7)
big = 9223372036854775807
big < -5
few = 2
3 <= few
f = 3
f > 0
f in (3, 0, 5)
flag = true
flag in (false)
mixed = 1
mixed > 1
_id = 'log/0/17'
_id in ('log/0/3', 'log/0/299', 'log/0/03', 'other/0/3', 'log/1/3', 'x', '17')
""".strip().splitlines()
COLUMNS = ["kind", "word", "n", "f", "flag", "mixed", "_id", "_time", "_doc", "_source", "_offset"]
ORDERS = ["n, _id", "word desc, _id", "_time, _id", "mixed desc, _id", "kind, n desc, _id"]
LAYOUTS = {"tail": (10_000, 1), "sealed": (150, 1), "both": (300, 1), "shards": (100, 3)}


class Asker:
    """Plans as the aggregator does, and asks a leaf in both ways."""

    def __init__(self, leaf: Leaf, shards: int) -> None:
        self._leaf = leaf
        self._shards = shards
        self._parser = Parser()
        self._planner = Planner(self._parser, security.Catalog.of_engine())

    def plan(self, sql: str) -> Plan:
        bound = bind(
            self._parser.parse(sql).node, sql, {"c": Names(Schema(1, FIELDS))}, self._parser
        )
        return self._planner.plan(bound, "", {"c": Spread(sole=True)})

    async def ask(self, plan: Plan, lookup: bool) -> tuple[pa.Table, bool]:
        """The leaf's rows, and whether they were looked up directly."""
        table, scans = await self._run(plan, lookup)
        directly = {scan.engine == leaf_pb2.FRAGMENT_ENGINE_DIRECT for scan in scans}
        assert len(directly) == 1
        return table, directly.pop()

    async def scans(self, plan: Plan, lookup: bool) -> list[leaf_pb2.ShardScan]:
        """How each shard was read."""
        return (await self._run(plan, lookup))[1]

    async def _run(self, plan: Plan, lookup: bool) -> tuple[pa.Table, list[leaf_pb2.ShardScan]]:
        request = leaf_pb2.FragmentRequest(
            collection="c",
            collection_id=1,
            epoch=1,
            shards=range(self._shards),
            fragment=plan.reads[0].fragment,
            latest=True,
            no_memoised_partials=True,
            no_code_kernels=True,
            no_direct_lookup=not lookup,
        )
        parts, scans = [], []
        async for response in self._leaf.execute(request, timeout_s=30):
            parts.append(response.arrow)
            scans.extend(response.trailer.shards)
        return join_chunks(parts), scans


def statements(seed: int) -> list[str]:
    rng = random.Random(seed)
    made = []
    for _ in range(STATEMENTS):
        conditions = rng.sample(CONDITIONS, rng.choice([1, 1, 2, 3]))
        where = " and ".join(f"({one})" for one in conditions)
        columns = ", ".join(rng.sample(COLUMNS, rng.randrange(1, 5)))
        ending = rng.choice(["", "order", "order limit"])
        order = f" order by {rng.choice(ORDERS)}" if ending else ""
        limit = f" limit {rng.choice([1, 5, 100])}" if "limit" in ending else ""
        items = rng.choice([columns, columns, "*", "count(*)"])
        if items == "count(*)":
            order = limit = ""
        made.append(f"select {items} from c where {where}{order}{limit}")
    return made


@pytest.mark.parametrize("keyed", [False, True], ids=["unkeyed", "keyed"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_lookup_equals_the_engine(tmp_path: Path, layout: str, keyed: bool) -> None:
    seal_rows, shards = LAYOUTS[layout]
    rows = documents(450)

    async def body(leaf: Leaf, _: object) -> None:
        if layout != "tail":
            await sealed(leaf, 1)
        asker = Asker(leaf, shards)
        looked_up = 0
        for sql in statements(7):
            plan = asker.plan(sql)
            found, directly = await asker.ask(plan, True)
            expected, by_engine = await asker.ask(plan, False)
            assert not by_engine
            assert found.schema.equals(expected.schema, check_metadata=True), sql
            told, truth = rows_of(found), rows_of(expected)
            if "limit" not in sql:
                told, truth = sorted(told, key=repr), sorted(truth, key=repr)
            assert told == truth, sql
            looked_up += directly
        assert looked_up > STATEMENTS * 0.6

    batches = [rows[:150], rows[150:300], rows[300:]]
    with_rows(tmp_path, batches, body, seal_rows=seal_rows, shards=shards, keyed=keyed)


@pytest.mark.parametrize("layout", ["tail", "both"])
def test_a_limit_without_an_order_takes_any_of_the_rows(tmp_path: Path, layout: str) -> None:
    rows = documents(450)

    async def body(leaf: Leaf, _: object) -> None:
        if layout != "tail":
            await sealed(leaf, 1)
        asker = Asker(leaf, 1)
        wheres = [
            "",
            "kind = 'a'",
            "few = 2 and flag = true",
            "few in (0, 1, 2, 3)",
            "n > -300",
            "n = 5000",
        ]
        for where in [f" where {one}" if one else "" for one in wheres]:
            everything, _ = await asker.ask(asker.plan(f"select _id, n from c{where}"), False)
            possible = rows_of(everything)
            for limit in (0, 1, 7, 400, 1000):
                plan = asker.plan(f"select _id, n from c{where} limit {limit}")
                for lookup in (True, False):
                    found, directly = await asker.ask(plan, lookup)
                    assert directly is lookup
                    told = rows_of(found)
                    assert len(told) == len(set(told)) == min(limit, len(possible))
                    assert set(told) <= set(possible)
                plan = asker.plan(f"select 1 from c{where} limit {limit}")
                for lookup in (True, False):
                    found, directly = await asker.ask(plan, lookup)
                    assert directly is lookup
                    assert found.to_pydict() == {"__row": [True] * min(limit, len(possible))}
                if not where:
                    (scan,) = await asker.scans(plan, False)
                    assert scan.rows_scanned == min(limit, len(rows))

    batches = [rows[:300], rows[300:]]
    with_rows(tmp_path, batches, body, seal_rows=LAYOUTS[layout][0])


@pytest.mark.parametrize("zones_few", [0, 16])
def test_rows_are_found_by_their_births(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zones_few: int
) -> None:
    monkeypatch.setattr("leaf.segment._ZONES_FEW", zones_few)

    async def body(leaf: Leaf, _: object) -> None:
        await sealed(leaf, 1)
        asker = Asker(leaf, 1)
        for wanted in ([0], [299, 0, 150, 150], [*range(0, 400, 7)], [300], [1 << 42]):
            ids = ", ".join(f"'log/0/{offset}'" for offset in wanted)
            plan = asker.plan(f"select _offset from c where _id in ({ids}) order by _offset")
            assert [term.path for term in plan.reads[0].fragment.terms] == ["_id"]
            found, directly = await asker.ask(plan, True)
            assert directly
            there = sorted({offset for offset in wanted if offset < 300})
            assert found.column(0).to_pylist() == there

    with_rows(tmp_path, [documents(300)], body, seal_rows=150)


def test_dead_rows_are_not_found(tmp_path: Path) -> None:
    rows = documents(300)

    async def body(leaf: Leaf, _: object) -> None:
        await sealed(leaf, 1)
        again = {300 + at: {**rows[at], "kind": "new"} for at in range(0, 300, 3)}
        keys = {offset: str(offset - 300) for offset in again}
        response = await leaf.apply(push({0: rows_bytes(again, keys)}, 300, 600))
        assert response.shards[0].status == leaf_pb2.APPLY_STATUS_APPLIED
        asker = Asker(leaf, 1)
        for where in ["kind = 'a'", "kind = 'new'", "_id = '3'", "_id in ('3', '4')", "n > 0"]:
            plan = asker.plan(f"select _id, kind, _offset from c where {where} order by _id")
            found, directly = await asker.ask(plan, True)
            expected, _ = await asker.ask(plan, False)
            assert directly
            assert rows_of(found) == rows_of(expected)
            assert len(rows_of(found)) > 0

    with_rows(tmp_path, [rows], body, seal_rows=150, keyed=True)


def test_what_an_engine_must_decide_is_left_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = documents(200)
    rows[5] |= {"kind": "a", "f": math.nan}

    async def body(leaf: Leaf, _: object) -> None:
        await sealed(leaf, 1)
        asker = Asker(leaf, 1)

        async def looked_up(sql: str) -> bool:
            plan = asker.plan(sql)
            found, directly = await asker.ask(plan, True)
            expected, _ = await asker.ask(plan, False)
            assert sorted(map(repr, rows_of(found))) == sorted(map(repr, rows_of(expected)))
            return directly

        assert await looked_up("select n from c where n > 0")
        for sql in [
            "select n from c where f > 0",
            "select n from c where kind = 'a' order by f, n limit 100",
            "select n from c where kind = 'a' and n > few",
            "select odd from c where kind = 'a'",
            "select n from c where odd = 5",
            "select n from c where kind like 'c%'",
            "select n from c",
            "select kind, count(*) from c where n = 3 group by 1",
            "select n from c where kind = 'a' order by n nulls first limit 9",
        ]:
            assert not await looked_up(sql), sql
        monkeypatch.setattr(fragment, "ROWS_MAX", 50)
        assert not await looked_up("select n from c where n < 900")

    with_rows(tmp_path, [rows], body, seal_rows=1)


def test_rows_are_finished_as_the_engine_would(tmp_path: Path) -> None:
    async def body(leaf: Leaf, _: object) -> None:
        asker = Asker(leaf, 1)
        engine = Engine(EngineSettings(threads=1))
        constants = [
            "select 1 from c limit 3",
            "select 7 as n, 'x''y' as t, true, false, -5 from c where kind = 'a'",
            "select 1, n, 1 from c where few = 1 order by n, _id limit 4 offset 2",
            "select 2147483647, 1 as a, a from c where kind = 'nowhere'",
        ]
        assert all(asker.plan(sql).direct is not None for sql in constants)
        assert asker.plan("select 3000000000 from c limit 1").direct is None
        for sql in [*statements(8), *constants]:
            plan = asker.plan(sql)
            if plan.plan_class != "b" or plan.direct is None:
                continue
            rows, _ = await asker.ask(plan, True)
            told = finished(*plan.direct, rows)
            read = plan.reads[0]
            inputs = [Input(read.table, read.columns, rows)]
            with engine.session() as session:
                expected = run(engine, session, plan.sql, inputs, {})
            assert told is not None
            assert told.schema.equals(expected.schema, check_metadata=True), sql
            both = rows_of(told), rows_of(expected)
            if "order" not in sql:
                both = sorted(both[0], key=repr), sorted(both[1], key=repr)
            assert both[0] == both[1], sql
        engine.close()

    with_rows(tmp_path, [documents(300)], body, seal_rows=10_000)


def test_pages_are_told_by_shard_and_by_where_they_came_from(tmp_path: Path) -> None:
    async def body(leaf: Leaf, _: object) -> None:
        await sealed(leaf, 1)
        asker = Asker(leaf, 2)
        plan = asker.plan("select word from c where kind = 'a'")
        for lookup in (True, False):
            first = await asker.scans(plan, lookup)
            again = await asker.scans(plan, lookup)
            assert all(scan.pages_read or scan.pages_cached for scan in first)
            assert [scan.pages_read for scan in again] == [0, 0]
            assert all(scan.pages_cached for scan in again)

    with_rows(tmp_path, [documents(300)], body, seal_rows=1, shards=2)
