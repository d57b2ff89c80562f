"""Plans filled with values equal the plans that are made for those values."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.execution.gathered import State
from aggregator.planning import shapes
from aggregator.planning.plan import Plan
from aggregator.planning.plans import Plans
from alder.catalog import Collection, Shard
from alder.errors import AlderError
from alder.schema import Schema
from alder.v1 import query_pb2

T = TypeVar("T")
FIELDS = {"s": "string", "n": "int", "f": "float", "b": "bool", "o.p": "string", "t": "timestamp"}
SCHEMA = Schema(1, {path: frozenset({tag}) for path, tag in FIELDS.items()}, False)
COLLECTION = Collection("c", 1, shards=(Shard(0, 0, 4096, "leaf"),), epoch=1)
STATEMENTS = (
    "SELECT n, s FROM c WHERE s = {}",
    "SELECT * FROM c WHERE n = {} AND {} < f",
    "SELECT count(*) FROM c WHERE s = {} AND NOT (n IN ({}, {}, 3))",
    "SELECT s, max(n) FROM c WHERE o.p = {} OR n BETWEEN {} AND 9 GROUP BY 1 ORDER BY 2 LIMIT 3",
    "SELECT s = {} FROM c WHERE s = {} AND lower(s) = {}",
    "SELECT n + {} FROM c WHERE n <> {} AND b = true ORDER BY n LIMIT 5",
    "SELECT s FROM c WHERE t > {} AND n = {}",
    "SELECT n FROM c WHERE s IN (SELECT s FROM c WHERE n = {}) AND s >= {}",
    "SELECT count(s) FILTER (n = {}) FROM c WHERE f = {} HAVING count(*) > {}",
)
VALUES = st.one_of(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12),
    st.sampled_from(["it's", '"', "\\", "alder value 0", "2024-01-01", "%", ""]),
    st.integers(-(1 << 62), 1 << 62),
    st.sampled_from([0, -1, 1 << 53, 8_731_559_204_610_000]),
)


class Asking:
    """A planner, asked the same with literals and with parameters."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()
        self.plans = Plans(1_000, lambda: 0)

    def close(self) -> None:
        self._runner.run(self.plans.close())
        self._runner.close()

    def outcome(self, sql: str, values: list[str | int]) -> Plan | str:
        async def planned() -> Plan | str:
            request = query_pb2.ExecuteRequest(parameters=map(_parameter, values))
            try:
                known = await self.plans.statement(sql)
                plan = await self.plans.plan(
                    known, request, {"c": COLLECTION}, {1: State({}, SCHEMA)}, {}
                )
                return plan if isinstance(plan, Plan) else repr(plan)
            except AlderError as error:
                return f"{error.reason}: {error.message}"

        return self.run(planned)

    def run(self, call: Callable[[], Awaitable[T]]) -> T:
        async def awaited() -> T:
            return await call()

        return self._runner.run(awaited())


@pytest.fixture(scope="module")
def asking() -> Iterator[Asking]:
    asking = Asking()
    yield asking
    asking.close()


@contextmanager
def without_templates() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shapes, "kinds", lambda values: None)
        yield


def _parameter(value: str | int) -> query_pb2.Parameter:
    if isinstance(value, str):
        return query_pb2.Parameter(string_value=value)
    return query_pb2.Parameter(int_value=value)


def _literal(value: str | int) -> str:
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else str(value)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(STATEMENTS), st.lists(VALUES, min_size=3, max_size=3))
def test_a_filled_plan_equals_one_made_for_its_values(
    asking: Asking, statement: str, values: list[str | int]
) -> None:
    count = statement.count("{}")
    written = statement.format(*map(_literal, values[:count]))
    with_parameters = statement.format(*["?"] * count)
    with without_templates():
        expected = asking.outcome(written, [])
    assert asking.outcome(written, []) == expected
    assert asking.outcome(with_parameters, values[:count]) == expected


def test_one_plan_serves_all_values_of_a_kind(asking: Asking) -> None:
    asking.plans.forget()
    for value in range(20):
        plan = asking.outcome("SELECT n FROM c WHERE s = ? AND n = ?", [f"v{value}", value])
        assert isinstance(plan, Plan)
        terms = [list(term.values_json) for term in plan.reads[0].fragment.terms]
        assert terms == [[f'"v{value}"'], [str(value)]]
        asking.outcome(f"SELECT n FROM c WHERE s = 'w{value}' AND n = -{value}", [])
    assert len(asking.plans._plans) == 1


def test_a_value_that_may_change_the_plan_is_planned_with_it(asking: Asking) -> None:
    asking.plans.forget()
    for value in ("2024-01-01", "2024-02-01"):
        plan = asking.outcome("SELECT n FROM c WHERE t > ?", [value])
        assert isinstance(plan, Plan)
        assert f"'{value}'" in plan.reads[0].fragment.sql


def test_a_statement_that_holds_a_mark_is_planned_whole(asking: Asking) -> None:
    with without_templates():
        expected = asking.outcome("SELECT 'alder value 0' FROM c WHERE s = 'x'", [])
    assert asking.outcome("SELECT 'alder value 0' FROM c WHERE s = 'x'", []) == expected


@pytest.mark.parametrize(
    ("sql", "constant"),
    [
        ("SELECT 1", True),
        ("SELECT 1 + 1 AS two, 'a' || 'b' WHERE 1 < 2 AND NOT false LIMIT 1", True),
        ("SELECT random()", False),
        ("SELECT now()", False),
        ("SELECT (SELECT 1)", False),
        ("SELECT CAST('1' AS INTEGER)", False),
        ("SELECT age(TIMESTAMP '2000-01-01')", False),
        ("SELECT * FROM range(9) USING SAMPLE 5", False),
        ("SELECT 1 FROM c", False),
    ],
)
def test_only_literals_and_operators_are_constant(asking: Asking, sql: str, constant: bool) -> None:
    plan = asking.outcome(sql, [])
    assert isinstance(plan, Plan)
    assert plan.constant == constant
