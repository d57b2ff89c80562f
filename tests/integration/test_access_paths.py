"""Every statement gives the rows of the reference through every access path and both engines.

One collection, sealed, has an index of each kind. The statements of the differential test, and some
of each form that narrows, run with all indexes, without those that they take, without any, and with
each kind that they can take alone, by the engine and by direct lookups; by kernels; and from
partials in memory.
"""

import json
import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pytest
from deployment import standalone
from documents import FIELDS, generated, github_events
from generated_expressions import Fields
from generated_queries import QueryGenerator
from reference import Reference, for_alder, same_rows, samples

from alder.catalog import CollectionSettings
from alder.client import Connection, ResultInfo
from alder.indexing import ACCESS_KINDS, IndexSetting

QUERIES = 300
QUERIES_LONG = 3_000
INDEXES = (
    "id=hashes",
    "kind=terms",
    "size=sorted",
    "score=sorted",
    "select=text",
    "tags=terms",
    "numbers=hashes",
    "spot=geo",
)
LISTS = ("tags", "numbers")
KIND_OF_PATH = {
    "births": "births",
    "hash pages": "hashes",
    "sorted values": "sorted",
    "postings": "terms",
    "text index": "text",
    "zone map": "zones",
    "absence": "zones",
    "geo cells": "geo",
}
"""By access path of a field that is no list: the kind of index that it belongs to."""
PLACES = [{"id": f"p{n}", "spot": [n * 1.7 - 179.5, n * 0.8 - 80.25]} for n in range(200)]
"""Documents with points, from the south-west to the north-east."""
ENGINE = "memoise_partials = false; SET code_kernels = false; SET direct_lookup = false"
LOOKUPS = "memoise_partials = false; SET code_kernels = false"
KERNELS = "memoise_partials = false; SET direct_lookup = false"
PARTIALS = "code_kernels = false; SET direct_lookup = false"
KERNEL_PARTIALS = "direct_lookup = false"
ENGINES = ("duckdb", "kernels", "direct")
ALL = frozenset(ACCESS_KINDS)
NONE: frozenset[str] = frozenset()
WAIT_S_MAX = 60.0


@dataclass(frozen=True)
class Statement:
    """A query for Alder, its answer, and whether the order of its rows is decided."""

    sql: str
    expected: Sequence[Sequence[object]]
    ordered: bool


@pytest.fixture(scope="module")
def documents() -> list[str]:
    return generated(1_200) + github_events() + [json.dumps(place) for place in PLACES]


@pytest.fixture(scope="module")
def connection(
    tmp_path_factory: pytest.TempPathFactory, documents: list[str]
) -> Iterator[Connection]:
    deployment = standalone(tmp_path_factory.mktemp("paths"), {"seal_rows": 1})
    deployment.start()
    try:
        with deployment.connect() as connection:
            settings = CollectionSettings(indexes=tuple(map(IndexSetting.parse, INDEXES)))
            connection.create_collection("paths", shards=1, log_partitions=1, settings=settings)
            token = connection.append("paths", documents)
            sql = "SELECT count(*) FROM paths"
            assert connection.execute(sql, min_positions=token).fetchall() == [(len(documents),)]
            _await_sealed(connection)
            yield connection
    finally:
        deployment.stop()


def _await_sealed(connection: Connection) -> None:
    deadline = time.monotonic() + WAIT_S_MAX
    while any(shard.tail_rows for shard in connection.status().shards("paths")):
        assert time.monotonic() < deadline, "some rows were never sealed"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def statements(
    connection: Connection, documents: list[str], pytestconfig: pytest.Config
) -> list[Statement]:
    truth = Reference(documents, FIELDS)
    types = {entry.name: entry.sql_type for entry in FIELDS}
    generator = QueryGenerator(random.Random(2026), Fields(types, samples(truth, FIELDS)))
    count = QUERIES_LONG if pytestconfig.getoption("--long") else QUERIES
    made = [generator.query() for _ in range(count)]
    made += [(f"SELECT {{id}} FROM docs WHERE {condition}", False) for condition in _narrowing()]
    made += [(f"SELECT count(*) FROM docs WHERE {condition}", True) for condition in _narrowing()]
    found = [
        Statement(for_alder(template, "paths"), truth.rows(template), ordered)
        for template, ordered in made
    ]
    for search, pattern in (("from", "from"), ("quot* AND slash", "quote.*slash")):
        template = f"SELECT {{id}} FROM docs WHERE regexp_matches({{select}}, '{pattern}')"
        sql = f"SELECT id FROM paths WHERE match(\"select\", '{search}')"
        found.append(Statement(sql, truth.rows(template), False))
    return found + _by_place() + _by_birth(connection)


def _narrowing() -> list[str]:
    return [
        "{id} = 'g000017'",
        "{id} IN ('g000001', 'g001199', 'nobody')",
        "{id} LIKE 'g0011%'",
        "{kind} = 'click' AND {size} > 900000",
        "{kind} IN ('buy', 'zurück')",
        "{kind} >= 'view'",
        "starts_with({kind}, 'zur')",
        "{size} BETWEEN 3 AND 7",
        "{size} = 5",
        "{score} < -4.9",
        "{score} = 1e15",
        "{flag}",
        "{flag} IS NOT NULL AND {kind} = 'buy'",
        "{user.address.city} IS NULL AND {size} = 1",
        "{select} IS NOT NULL",
        "{select} = ''",
        "list_contains({tags}, 'ü')",
        "list_has_any({tags}, ['b', 'c'])",
        "list_has_all({numbers}, [1, 2, 3])",
        "list_contains({numbers}, 9)",
    ]


def _by_place() -> list[Statement]:
    """Each shape holds the places of some numbers in a row."""
    square = "POLYGON((-179.7 -80.4, -10 -80.4, -10 -40.5, -179.7 -40.5))"
    return [
        Statement(f"SELECT id FROM paths WHERE {condition}", [(f"p{n}",) for n in numbers], False)
        for condition, numbers in (
            ("geo_within_box(spot, -60, -179, 60, -172)", []),
            ("geo_within_box(spot, -90, 158, 90, -179)", [0, 199]),
            ("geo_within_box(spot, 0, -180, 20, 180)", range(101, 126)),
            ("geo_within_radius(spot, -0.25, -9.5, 100000)", [100]),
            (f"geo_within_polygon(spot, '{square}')", range(50)),
        )
    ]


def _by_birth(connection: Connection) -> list[Statement]:
    """Statements about what Alder itself adds; their answers are of rows listed beforehand."""
    rows = connection.execute("SELECT _id, _time::VARCHAR, id FROM paths").fetchall()
    (one, moment, name), (other, _, another) = rows[3], rows[-1]
    later = [(row[2],) for row in rows if str(row[1]) >= str(moment)]
    return [
        Statement(f"SELECT id FROM paths WHERE _id = '{one}'", [(name,)], True),
        Statement(
            f"SELECT id FROM paths WHERE _id IN ('{one}', '{other}', 'no id')",
            [(name,), (another,)],
            False,
        ),
        Statement(f"SELECT id FROM paths WHERE _time >= '{moment}'", later, False),
        Statement("SELECT id FROM paths WHERE _time < '1970-01-02'", [], False),
    ]


class Asked:
    """Statements asked in ways, and what was seen on them."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.alone: Counter[str] = Counter()
        self.engines: Counter[str] = Counter()
        self.partials_hits = 0
        self.differing: list[str] = []

    def in_every_way(self, statement: Statement) -> None:
        """By the engine and by lookups with several choices of indexes, by kernels, from memory."""
        info = self._by_indexes(statement, ENGINE)
        if "direct" in _engines(self._ask(statement, LOOKUPS, ALL)):
            self._by_indexes(statement, LOOKUPS)
        if "kernels" in _engines(self._ask(statement, KERNELS, ALL)):
            self._from_memory(statement, KERNEL_PARTIALS)
        if info.plan_class == "a":
            self._from_memory(statement, PARTIALS)
        if info.plan_class != "e":
            self._ask(statement, f"plan_class = e; SET {ENGINE}", NONE)

    def _by_indexes(self, statement: Statement, way: str) -> ResultInfo:
        """Leaves out what was taken until nothing is; then each kind that was taken, alone."""
        left, taken = ALL, NONE
        while True:
            info = self._ask(statement, way, left)
            used = _kinds(info)
            assert used <= left, statement
            if not used:
                break
            left, taken = left - used, taken | used
        for kind in taken:
            self.alone.update(_kinds(self._ask(statement, way, frozenset({kind}))))
        return info

    def _from_memory(self, statement: Statement, way: str) -> None:
        self._ask(statement, way, ALL)
        info = self._ask(statement, way, ALL)
        self.partials_hits += sum(read.partials_hits for read in info.collections)

    def _ask(self, statement: Statement, way: str, kinds: frozenset[str]) -> ResultInfo:
        named = ", ".join(sorted(kinds)) or "none"
        sql = f"RESET ALL; SET {way}; SET index_kinds = '{named}'; {statement.sql}"
        cursor = self._connection.execute(sql)
        rows = cursor.fetchall()
        if not same_rows(rows, statement.expected, statement.ordered):
            self.differing.append(
                f"{way}, {named}: {statement.sql}\n  alder: {rows!s:.200}"
                f"\n  truth: {statement.expected!s:.200}"
            )
        self.engines.update(_engines(cursor.trailer))
        return cursor.trailer


def _engines(info: ResultInfo) -> set[str]:
    return {engine for read in info.collections for engine in read.engines}


def _kinds(info: ResultInfo) -> frozenset[str]:
    """The kinds of index that narrowed."""
    paths = [
        path.removesuffix(")").partition("(")
        for read in info.collections
        for path in read.access_paths
    ]
    return frozenset(
        "elements" if field in LISTS and KIND_OF_PATH[name] != "zones" else KIND_OF_PATH[name]
        for name, _, field in paths
    )


def test_every_path_gives_the_rows_of_the_reference(
    connection: Connection, statements: list[Statement]
) -> None:
    asked = Asked(connection)
    for statement in statements:
        asked.in_every_way(statement)
    assert not asked.differing, f"{len(asked.differing)}:\n" + "\n".join(asked.differing[:12])
    assert {kind for kind in ALL if asked.alone[kind] < 2} == set()
    assert {engine for engine in ENGINES if asked.engines[engine] < 20} == set()
    assert asked.partials_hits > 20
