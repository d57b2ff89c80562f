"""Generated queries give the same rows as DuckDB over the raw documents.

In both deployments, with 1, 2 and 5 shards, with the rows sealed, unsealed and half sealed.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from deployment import Deployment, cluster, standalone
from documents import FIELDS, generated, github_events
from reference import QueryGenerator, Reference, for_alder, same_rows

from alder.client import Connection, Error, Token

QUERIES = 300
QUERIES_LONG = 3_000
SHARD_COUNTS = (1, 2, 5)
SEAL_ROWS = {"sealed": 1, "unsealed": 10**6, "half": 1_000}
FIRST_ROWS = 1_200
WAIT_S_MAX = 60.0
WAYS = (
    "SET plan_class = e",
    "SET direct_lookup = false",
    "SET code_kernels = false",
    "SET memoise_partials = false; SET direct_lookup = false",
    "SET memoise_partials = false; SET direct_lookup = false; SET code_kernels = false",
)
"""Settings under which a query goes another way: classes, engines, access paths, memory."""


@dataclass(frozen=True)
class Loaded:
    """A deployment that holds the documents, in one collection per number of shards."""

    connection: Connection
    tokens: dict[str, Token]


@pytest.fixture(scope="session")
def documents() -> list[str]:
    return generated(1_200) + github_events()


@pytest.fixture(scope="session")
def truth(documents: list[str]) -> Reference:
    return Reference(documents, FIELDS)


@pytest.fixture(
    scope="module",
    params=[(kind, state) for kind in ("standalone", "cluster") for state in SEAL_ROWS],
    ids="-".join,
)
def loaded(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, documents: list[str]
) -> Iterator[Loaded]:
    kind, state = request.param
    root = tmp_path_factory.mktemp(f"{kind}-{state}")
    deployment = _deployment(kind, root, SEAL_ROWS[state])
    deployment.start()
    try:
        with deployment.connect() as connection:
            tokens = {
                _name(shards): _load(connection, shards, documents, state)
                for shards in SHARD_COUNTS
            }
            for name, token in tokens.items():
                sql = f"SELECT count(*) FROM {name}"
                rows = connection.execute(sql, min_positions=token, timeout_s=60).fetchall()
                assert rows == [(len(documents),)]
            _await_state(connection, state)
            yield Loaded(connection, tokens)
    finally:
        codes = deployment.stop()
    assert set(codes.values()) == {0}, f"a process did not drain: {codes}"


def _deployment(kind: str, root: Path, seal_rows: int) -> Deployment:
    make = standalone if kind == "standalone" else cluster
    return make(root, {"seal_rows": seal_rows})


def _name(shards: int) -> str:
    return f"docs{shards}"


def _load(connection: Connection, shards: int, documents: list[str], state: str) -> Token:
    name = _name(shards)
    connection.create_collection(
        name, shards=shards, shard_by_path="id" if shards == 5 else "", log_partitions=3
    )
    token = Token()
    for begin in range(0, len(documents), 300):
        token |= connection.append(name, documents[begin : begin + 300])
        if state == "half" and shards == 1 and begin + 300 == FIRST_ROWS:
            _await_segment(connection, name)
    return token


def _await_segment(connection: Connection, name: str) -> None:
    """What comes after the first segment is too little for a second one."""
    deadline = time.monotonic() + WAIT_S_MAX
    while not any(shard.segments for shard in connection.status().shards(name)):
        assert time.monotonic() < deadline, "the first rows were never sealed"
        time.sleep(0.05)


def _await_state(connection: Connection, state: str) -> None:
    deadline = time.monotonic() + WAIT_S_MAX
    while True:
        shards = [shard for leaf in connection.status().leaves for shard in leaf.shards]
        segments = [shard.segments for shard in shards if shard.rows]
        tails = [shard.tail_rows for shard in shards if shard.rows]
        if state == "unsealed":
            assert sum(segments) == 0
            return
        if state == "sealed" and not any(tails):
            assert all(segments)
            return
        single = next(shard for shard in shards if shard.collection == _name(1))
        if state == "half" and single.segments and single.tail_rows:
            return
        assert time.monotonic() < deadline, f"never {state}: segments {segments}, tails {tails}"
        time.sleep(0.1)


def samples(truth: Reference) -> dict[str, list[str]]:
    """For each field the SQL literals of some of its values."""
    samples: dict[str, list[str]] = {}
    for entry in FIELDS:
        column = f"{{{entry.name}}}"
        source = f"unnest({column})" if entry.sql_type.endswith("[]") else column
        rows = truth.rows(f"SELECT DISTINCT {source} AS v FROM docs ORDER BY v::VARCHAR LIMIT 40")
        values = [row[0] for row in rows if row[0] is not None]
        samples[entry.name] = [_literal(value) for value in values] or ["NULL"]
    return samples


def _literal(value: object) -> str:
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else str(value)


@pytest.mark.parametrize("shards", SHARD_COUNTS)
def test_generated_queries_equal_the_reference(
    loaded: Loaded, truth: Reference, shards: int, pytestconfig: pytest.Config
) -> None:
    types = {entry.name: entry.sql_type for entry in FIELDS}
    generator = QueryGenerator(2026, types, samples(truth))
    differing = []
    for number in range(QUERIES_LONG if pytestconfig.getoption("--long") else QUERIES):
        template, ordered = generator.query()
        sql = for_alder(template, _name(shards))
        expected = truth.rows(template)
        try:
            answered: object = loaded.connection.execute(sql).fetchall()
            equal = isinstance(answered, list) and same_rows(answered, expected, ordered)
        except Error as error:
            answered, equal = error, False
        if not equal:
            differing.append(
                f"#{number} {sql}\n  alder: {answered!s:.300}\n  truth: {expected!s:.300}"
            )
    assert not differing, f"{len(differing)} differ:\n" + "\n".join(differing[:12])


@pytest.mark.parametrize("shards", SHARD_COUNTS)
def test_every_way_gives_the_same_rows(loaded: Loaded, truth: Reference, shards: int) -> None:
    types = {entry.name: entry.sql_type for entry in FIELDS}
    generator = QueryGenerator(77, types, samples(truth))
    for _ in range(60):
        template, ordered = generator.query()
        sql = for_alder(template, _name(shards))
        chosen = loaded.connection.execute(sql).fetchall()
        for way in WAYS:
            answered = loaded.connection.execute(f"{way}; {sql}").fetchall()
            loaded.connection.execute("RESET ALL")
            assert same_rows(answered, chosen, ordered), f"{way}: {sql}"


@pytest.mark.parametrize("shards", SHARD_COUNTS)
def test_each_document_comes_back_whole(loaded: Loaded, documents: list[str], shards: int) -> None:
    rows = loaded.connection.execute(f"SELECT _doc FROM {_name(shards)}").fetchall()
    assert sorted(row[0] for row in rows) == sorted(documents)
    assert all(json.loads(row[0]) for row in rows)


def test_the_answer_names_its_cut_and_its_shards(loaded: Loaded) -> None:
    for shards in SHARD_COUNTS:
        name = _name(shards)
        cursor = loaded.connection.execute(f"SELECT count(*) FROM {name}")
        cursor.fetchall()
        (read,) = cursor.trailer.collections
        assert read.collection == name
        assert read.shards_asked == read.shards_answered == tuple(range(shards))
        assert read.positions == loaded.tokens[name].positions[name]


def test_the_question_of_the_readme_on_real_events(loaded: Loaded, truth: Reference) -> None:
    if not github_events():
        pytest.skip("the GitHub events are not present")
    template = (
        "SELECT {type}, count(*) n, count(DISTINCT {actor.login}) u FROM docs "
        "WHERE {type} IS NOT NULL GROUP BY 1 ORDER BY 2 DESC, 1"
    )
    for shards in SHARD_COUNTS:
        rows = loaded.connection.execute(for_alder(template, _name(shards))).fetchall()
        assert rows == truth.rows(template)
        assert len(rows) > 5
