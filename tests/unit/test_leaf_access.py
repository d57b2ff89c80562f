"""Narrowing keeps every row that SQL would keep, and leaves out what it can."""

import json
import random
from collections.abc import Iterator

import duckdb
import pyarrow as pa
import pytest
from leaf_model import bound, rows_bytes
from test_leaf_shard import opened, seal_now

from alder.v1 import leaf_pb2
from leaf.access import Scope, candidates, conditions
from leaf.core import PushHeader
from leaf.segment import Segment
from leaf.view import ShardView

PATHS = {
    "few": ("VARCHAR", ("string",)),
    "many": ("VARCHAR", ("string",)),
    "n": ("BIGINT", ("int",)),
    "rising": ("BIGINT", ("int",)),
    "f": ("DOUBLE", ("float",)),
    "flag": ("BOOLEAN", ("bool",)),
    "mixed": ("DOUBLE", ("int", "float")),
    "absent": ("BIGINT", ("int",)),
}
LITERALS = ["a", "b", "zzz", "", 0, 1, 3, -1, 2.5, 40.0, True, False, 5000, "m17", "m9000"]


def document(n: int, chance: random.Random) -> dict[str, object]:
    values = {
        "few": chance.choice("abc"),
        "many": f"m{n}",
        "n": chance.randrange(5),
        "rising": n,
        "f": chance.random() * 5,
        "flag": chance.random() < 0.5,
        "mixed": chance.choice([chance.randrange(4), chance.random() * 4]),
    }
    return {path: value for path, value in values.items() if chance.random() < 0.8}


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ShardView]:
    chance = random.Random(11)
    rows = {n: document(n, chance) for n in range(20_000)}
    with opened(tmp_path_factory.mktemp("access")) as shard:
        header = PushHeader(1, 1, "log", 0, "t", 0, 20_000)
        shard.apply(header, 1, rows_bytes(rows), b"", False)
        seal_now(shard)
        yield shard.view


@pytest.fixture(scope="module")
def engine() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        yield connection


def fragment(path: str, operator: str, values: list[object]) -> leaf_pb2.Fragment:
    sql_type, types = PATHS[path]
    term = leaf_pb2.Term(
        path=path, operator=operator, values_json=[json.dumps(value) for value in values]
    )
    return leaf_pb2.Fragment(columns=[bound("c0", path, sql_type, *types)], terms=[term])


def matching(
    connection: duckdb.DuckDBPyConnection,
    segment: Segment,
    path: str,
    operator: str,
    values: list[object],
) -> set[int]:
    """The rows by a full scan in SQL."""
    sql_type, types = PATHS[path]
    names = [f"{tag}:{path}" for tag in types if segment.has(f"{tag}:{path}")]
    if not names:
        return set()
    columns = {f"v{n}": segment.column(name, None) for n, name in enumerate(names)}
    table = pa.table({**columns, "row": pa.array(range(segment.rows))})
    value = f"coalesce({', '.join(f'{name}::{sql_type}' for name in columns)})"
    literals = ["'" + v + "'" if isinstance(v, str) else str(v) for v in values]
    right = f"({', '.join(literals)})" if operator == "in" else literals[0]
    connection.register("t", table)
    found = connection.sql(f"SELECT row FROM t WHERE {value} {operator} {right}").fetchall()
    return {row for (row,) in found}


def scope(view: ShardView) -> Scope:
    return Scope(view.schema.fields, False, view.streams)


def kind_of(path: str) -> tuple[type, ...]:
    return {"VARCHAR": (str,), "BOOLEAN": (bool,)}.get(PATHS[path][0], (int, float))


def test_narrowing_keeps_every_match(sealed: ShardView, engine: duckdb.DuckDBPyConnection) -> None:
    chance = random.Random(4)
    (segment,) = sealed.segments
    narrowed = 0
    for _ in range(250):
        path = chance.choice(list(PATHS))
        operator = chance.choice(["=", "<>", "<", "<=", ">", ">=", "in"])
        fitting = [value for value in LITERALS if type(value) in kind_of(path)]
        values = chance.choices(fitting, k=chance.randrange(1, 4) if operator == "in" else 1)
        wanted = conditions(fragment(path, operator, values))
        found = candidates(segment, wanted, scope(sealed))
        matches = matching(engine, segment, path, operator, values)
        if found is not None:
            narrowed += 1
            assert matches <= set(found.tolist()), (path, operator, values)
    assert narrowed > 100


def test_equality_by_postings_is_narrow(
    sealed: ShardView, engine: duckdb.DuckDBPyConnection
) -> None:
    (segment,) = sealed.segments
    for path, value in [("few", "a"), ("many", "m17"), ("n", 3), ("flag", True)]:
        wanted = conditions(fragment(path, "=", [value]))
        found = candidates(segment, wanted, scope(sealed))
        assert found is not None
        assert set(found.tolist()) == matching(engine, segment, path, "=", [value]), path
    low = candidates(segment, conditions(fragment("rising", "<", [100])), scope(sealed))
    assert low is not None
    assert len(low) == 8192


def test_what_cannot_be_judged_is_kept(sealed: ShardView) -> None:
    (segment,) = sealed.segments
    for path, operator, values in [
        ("n", "=", ["3"]), ("few", "=", [3]), ("flag", "=", [1]), ("n", "=", [None]),
        ("n", "=", [1 << 70]), ("mixed", "=", [1 << 60]), ("n", "like", [3]),
    ]:  # fmt: skip
        wanted = conditions(fragment(path, operator, values))
        assert candidates(segment, wanted, scope(sealed)) is None
    variant = fragment("few", "=", ["a"])
    variant.columns[0].sql_type = "VARIANT"
    assert conditions(variant) == ()


def test_ids_and_times_narrow(sealed: ShardView) -> None:
    (segment,) = sealed.segments
    for path, sql_type, operator, value, expected in [
        ("_id", "VARCHAR", "=", "log/0/9000", [9000]),
        ("_id", "VARCHAR", "=", "log/1/9000", []),
        ("_id", "VARCHAR", "=", "log/0/20001", []),
        ("_time", "TIMESTAMP", "<", "1970-01-01 00:00:00.000010", range(8192)),
        ("_time", "TIMESTAMP", ">", "1970-01-02", []),
    ]:
        term = leaf_pb2.Term(path=path, operator=operator, values_json=[json.dumps(value)])
        asked = leaf_pb2.Fragment(columns=[bound("c0", path, sql_type)], terms=[term])
        found = candidates(segment, conditions(asked), scope(sealed))
        assert found is not None
        assert found.tolist() == list(expected)
    for value in ["not an id", "log/0/x", "log/00/5", "log/0/05"]:
        term = leaf_pb2.Term(path="_id", operator="=", values_json=[json.dumps(value)])
        asked = leaf_pb2.Fragment(columns=[bound("c0", "_id", "VARCHAR")], terms=[term])
        assert candidates(segment, conditions(asked), scope(sealed)) is None
