"""Generated statements give the same rows as DuckDB over the raw documents.

In both deployments, with 1, 2 and 5 shards, with the rows sealed, unsealed and half sealed: each of
these places gets statements of its own, and runs every one through the class that the planner
takes, through class (e), and through one of the other ways that there are.
``--statement NUMBER`` runs that one alone in every place.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import pytest
from deployment import Deployment, cluster, standalone
from documents import FIELDS, REF_FIELDS, generated, generated_refs, github_events
from generated_expressions import Fields
from generated_statements import StatementGenerator
from reference import Reference, for_alder, same_rows, samples

from alder.client import Connection, Error, Token

SEED = 2026
STATEMENTS = 5_220
STATEMENTS_LONG = 52_200
PARTITIONED = 540
PARTITIONED_LONG = 5_400
"""Statements in all places together."""
SHARD_COUNTS = (1, 2, 5)
SHARDS_OF_REFS = {1: 2, 2: 5, 5: 1}
"""By the number of shards of the collection that is joined: that of the other one."""
SEAL_ROWS = {"sealed": 1, "unsealed": 10**6, "half": 500}
FIRST_ROWS = 600
KINDS = ("standalone", "cluster")
SHARES = {"standalone": 3, "cluster": 1}
"""How many statements a place gets beside those of another kind, whose processes cost more."""
TURNS = [
    place for place in product(KINDS, SEAL_ROWS, SHARD_COUNTS) for _ in range(SHARES[place[0]])
]
"""Whose turn each statement is, by its number."""
WAIT_S_MAX = 60.0
CHOSEN = ""
GATHERED = "SET plan_class = e; "
WAYS = (
    "SET direct_lookup = false; ",
    "SET code_kernels = false; ",
    "SET memoise_partials = false; SET direct_lookup = false; ",
    "SET memoise_partials = false; SET direct_lookup = false; SET code_kernels = false; ",
)
"""Settings under which a statement goes another way: engines, access paths, memory."""


@dataclass(frozen=True)
class Loaded:
    """A deployment that holds the documents, in collections for each number of shards."""

    connections: tuple[Connection, ...]
    tokens: dict[str, Token]
    kind: str
    state: str

    @property
    def connection(self) -> Connection:
        """The first of the connections."""
        return self.connections[0]

    def checked(self, check: Callable[[Connection, int], str], numbers: Sequence[int]) -> list[str]:
        """What a check finds wrong with statements; the connections share them."""

        def every(place: int) -> list[str]:
            own = numbers[place :: len(self.connections)]
            return [check(self.connections[place], number) for number in own]

        with ThreadPoolExecutor(len(self.connections)) as threads:
            found = list(threads.map(every, range(len(self.connections))))
        return [wrong for part in found for wrong in part if wrong]

    def numbers(self, shards: int, count: int, config: pytest.Config) -> Sequence[int]:
        """The numbers of the statements that run here; ``count`` is that of all places."""
        one = config.getoption("--statement")
        if one is not None:
            return [int(one)]
        here = (self.kind, self.state, shards)
        return [number for number in range(count) if TURNS[number % len(TURNS)] == here]


def answer_of(
    connection: Connection, template: str, shards: int, way: str = CHOSEN
) -> tuple[list[tuple[object, ...]], bool]:
    """The rows of a statement over the collections with these numbers of shards.

    And whether it ran through class (e) altogether.
    """
    sql = for_alder(template, _name(shards), _ref_name(SHARDS_OF_REFS[shards]))
    try:
        cursor = connection.execute(way + sql)
        rows = cursor.fetchall()
        reads = [one.read_class for one in cursor.trailer.references]
        return rows, {cursor.trailer.plan_class, *reads} == {"e"}
    finally:
        if way:
            connection.execute("RESET ALL")


def rows_of(
    connection: Connection, template: str, shards: int, way: str = CHOSEN
) -> list[tuple[object, ...]]:
    """The rows of a statement over the collections with these numbers of shards."""
    return answer_of(connection, template, shards, way)[0]


@pytest.fixture(scope="session")
def documents() -> list[str]:
    return generated(600) + github_events()[:400]


@pytest.fixture(scope="session")
def refs() -> list[str]:
    return generated_refs(60)


@pytest.fixture(scope="session")
def truth(documents: list[str], refs: list[str]) -> Reference:
    return Reference(documents, FIELDS, refs, REF_FIELDS)


@pytest.fixture(scope="session")
def generator(truth: Reference) -> StatementGenerator:
    return StatementGenerator(
        SEED,
        Fields({entry.name: entry.sql_type for entry in FIELDS}, samples(truth, FIELDS)),
        Fields(
            {entry.name: entry.sql_type for entry in REF_FIELDS},
            samples(truth, REF_FIELDS, "refs"),
        ),
    )


@pytest.fixture(
    scope="module",
    params=list(product(KINDS, SEAL_ROWS)),
    ids="-".join,
)
def loaded(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    documents: list[str],
    refs: list[str],
) -> Iterator[Loaded]:
    kind, state = request.param
    root = tmp_path_factory.mktemp(f"{kind}-{state}")
    deployment = _deployment(kind, root, SEAL_ROWS[state])
    deployment.start()
    try:
        with deployment.connect() as connection, deployment.connect() as other:
            tokens = {
                _name(shards): _load(connection, shards, documents, state)
                for shards in SHARD_COUNTS
            }
            for shards in SHARD_COUNTS:
                connection.create_collection(_ref_name(shards), shards=shards)
                tokens[_ref_name(shards)] = connection.append(_ref_name(shards), refs)
            for name, token in tokens.items():
                sql = f"SELECT count(*) FROM {name}"
                rows = connection.execute(sql, min_positions=token, timeout_s=60).fetchall()
                assert rows == [(len(documents if name.startswith("docs") else refs),)]
            _await_state(connection, state)
            yield Loaded((connection, other), tokens, kind, state)
    finally:
        codes = deployment.stop()
    assert set(codes.values()) == {0}, f"a process did not drain: {codes}"


def _deployment(kind: str, root: Path, seal_rows: int) -> Deployment:
    make = standalone if kind == "standalone" else cluster
    return make(root, {"seal_rows": seal_rows, "seal_age_s": 3600.0})


def _name(shards: int) -> str:
    return f"docs{shards}"


def _ref_name(shards: int) -> str:
    return f"refs{shards}"


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


@pytest.mark.parametrize("shards", SHARD_COUNTS)
def test_generated_statements_equal_the_reference(
    loaded: Loaded,
    truth: Reference,
    generator: StatementGenerator,
    shards: int,
    pytestconfig: pytest.Config,
) -> None:
    def check(connection: Connection, number: int) -> str:
        statement = generator.statement(number)
        expected = truth.rows(statement.template)
        turn = number // len(TURNS)
        gathered = False
        for way in [CHOSEN, GATHERED] + [WAYS[turn // 6 % len(WAYS)]] * (turn % 6 == 0):
            if way == GATHERED and gathered:
                continue
            try:
                rows, gathered = answer_of(connection, statement.template, shards, way)
                answered = f"{rows!s:.300}"
                equal = same_rows(rows, expected, statement.ordered)
            except Error as error:
                answered, equal = str(error), False
            if not equal:
                sql = for_alder(statement.template, "docs", "refs")
                return (
                    f"statement {number} of seed {SEED}: {way}{sql}\n"
                    f"  alder: {answered}\n  truth: {expected!s:.300}"
                )
        return ""

    count = STATEMENTS_LONG if pytestconfig.getoption("--long") else STATEMENTS
    differing = loaded.checked(check, loaded.numbers(shards, count, pytestconfig))
    first = "\n".join(differing[:12])
    assert not differing, f"{len(differing)} differ; --statement NUMBER runs one alone:\n{first}"


@pytest.mark.parametrize("shards", SHARD_COUNTS)
def test_what_a_condition_parts_makes_the_whole(
    loaded: Loaded, generator: StatementGenerator, shards: int, pytestconfig: pytest.Config
) -> None:
    def check(connection: Connection, number: int) -> str:
        made = generator.partitioned(number)
        way = (CHOSEN, GATHERED)[number // len(TURNS) % 2]
        whole = rows_of(connection, made.whole, shards, way)
        parts = [rows_of(connection, part, shards, way) for part in made.parts]
        rows = [row for part in parts for row in part]
        if made.merges:
            rows = [_merged(made.merges, rows)]
        if same_rows(rows, whole, ordered=False):
            return ""
        return f"parts of {number} of seed {SEED}: {way}{made.parts[0]}"

    count = PARTITIONED_LONG if pytestconfig.getoption("--long") else PARTITIONED
    differing = loaded.checked(check, loaded.numbers(shards, count, pytestconfig))
    assert not differing, "\n".join(differing[:12])


def _merged(merges: Sequence[str], rows: Sequence[tuple[object, ...]]) -> tuple[object, ...]:
    """Aggregates of parts as those of the whole; each is named by its first letters."""
    columns = []
    for merge, values in zip(merges, zip(*rows, strict=True), strict=True):
        known = [value for value in values if isinstance(value, int)]
        of_values = {"cou": sum, "sum": sum, "min": min, "max": max}[merge]
        columns.append(of_values(known) if known else None)
    return tuple(columns)


def test_statements_are_distinct_and_of_every_form(generator: StatementGenerator) -> None:
    templates = [generator.statement(number).template for number in range(STATEMENTS)]
    assert len(set(templates)) >= 5_000
    words = Counter(word for template in templates for word in set(template.split()))
    forms = ["JOIN", "OVER", "RECURSIVE", "EXISTS", "UNION", "ROLLUP", "QUALIFY", "PIVOT", "ON"]
    assert min(words[form] for form in forms) > 20


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
        rows = rows_of(loaded.connection, template, shards)
        assert rows == truth.rows(template)
        assert len(rows) > 5
