"""Conditions become terms only where they mean the same on stored values."""

from collections.abc import Iterator

import pytest

from aggregator.planning.terms import terms
from aggregator.statement.names import Field
from aggregator.statement.syntax import Parser

FIELDS = {
    "s": Field("s", "VARCHAR", ("string",)),
    "n": Field("n", "BIGINT", ("int",)),
    "f": Field("f", "DOUBLE", ("float",)),
    "t": Field("_time", "TIMESTAMP"),
    "l": Field("l", "VARCHAR[]", ("list<string>",)),
    "i": Field("i", "BIGINT[]", ("list<int>",)),
    "o": Field("o", "VARCHAR", ("string",), overflow=True),
}


@pytest.fixture(scope="module")
def parser() -> Iterator[Parser]:
    made = Parser()
    yield made
    made.close()


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("n = 3", [("n", "=", ["3"])]),
        ("n <> 3", [("n", "<>", ["3"])]),
        ("'x' != s", [("s", "<>", ['"x"'])]),
        ("n IS DISTINCT FROM 3", []),
        ("2.5 > f", [("f", "<", ["2.5"])]),
        ("f >= -1e3", [("f", ">=", ["-1000.0"])]),
        ("f = 0.1234567890123456789", []),
        ("n > 2.5", []),
        ("s LIKE 'ab%'", [("s", "prefix", ['"ab"'])]),
        ("starts_with(s, 'a%_')", [("s", "prefix", ['"a%_"'])]),
        ("s ^@ 'ab'", [("s", "prefix", ['"ab"'])]),
        ("s LIKE 'a_b%'", []),
        ("s LIKE '%b'", []),
        ("s NOT LIKE 'ab%'", []),
        ("s LIKE 'ab%c'", []),
        ("list_contains(l, 'x')", [("l", "has", ['"x"'])]),
        ("'x' IN l", [("l", "has", ['"x"'])]),
        ("contains(s, 'x')", []),
        ("array_has(i, 3)", [("i", "has", ["3"])]),
        ("list_contains(i, '3')", []),
        ("list_contains(l, NULL)", []),
        ("list_has_any(l, ['x', 'y'])", [("l", "has any", ['"x"', '"y"'])]),
        ("l && ['x']", [("l", "has any", ['"x"'])]),
        ("list_has_any(l, ['x', NULL])", []),
        ("list_has_all(i, [1, 2])", [("i", "has", ["1"]), ("i", "has", ["2"])]),
        ("i @> [1]", [("i", "has", ["1"])]),
        ("list_has_all(l, [])", []),
        ("NOT list_contains(l, 'x')", []),
        ("l = ['x']", []),
        ("n IS NULL", [("n", "null", [])]),
        ("l IS NOT NULL", [("l", "not null", [])]),
        ("o IS NULL", []),
        ("t >= TIMESTAMP '2024-01-01 10:00:00'", [("_time", ">=", ['"2024-01-01 10:00:00"'])]),
        ("t < '2024-01-01'", [("_time", "<", ['"2024-01-01"'])]),
        ("t < DATE '2024-01-01'", [("_time", "<", ['"2024-01-01"'])]),
        ("t < TIMESTAMPTZ '2024-01-01'", []),
        ("t < try_cast('x' AS TIMESTAMP)", []),
        ("t BETWEEN '2024-01-01' AND now()", [("_time", ">=", ['"2024-01-01"'])]),
    ],
)
def test_terms_of_conditions(
    parser: Parser, condition: str, expected: list[tuple[str, str, list[str]]]
) -> None:
    node = parser.parse(f"SELECT 1 FROM rows WHERE {condition}").node["where_clause"]
    found = [(t.path, t.operator, list(t.values_json)) for t in terms([node], FIELDS.get)]
    assert found == expected
