"""Documents for tests of the aggregator, and DuckDB over them as the truth about answers."""

import json
import math
from decimal import Decimal
from pathlib import Path

import duckdb

EVENTS = [
    {
        "type": ["push", "fork", "watch"][n % 3],
        "n": n,
        "x": n / 4 if n % 5 else None,
        "actor": {"id": n % 6, "login": f"user{n % 4}", "admin": n % 2 == 0},
        "tags": [f"t{k}" for k in range(n % 4)],
        "sizes": [n, n + 1],
        "order": n % 7,
        "Odd Name": f"odd {n % 3}",
        "a.b": n * 10,
        "select": {"from": n % 2},
        "mixed": n if n % 2 else float(n) + 0.5,
        "maybe": f"m{n}" if n % 3 == 0 else None,
        "commits": [{"sha": f"s{n}", "author": {"name": f"user{n % 4}"}}] * (n % 3),
        "day": f"2024-01-{n % 28 + 1:02d}",
    }
    for n in range(60)
]
PEOPLE = [{"id": n, "name": f"name{n}", "boss": n // 2, "n": n * 100} for n in range(1, 8)]
EVENT_COLUMNS = {
    "type": "VARCHAR",
    "n": "BIGINT",
    "x": "DOUBLE",
    "actor": "STRUCT(id BIGINT, login VARCHAR, admin BOOLEAN)",
    "tags": "VARCHAR[]",
    "sizes": "BIGINT[]",
    "order": "BIGINT",
    "Odd Name": "VARCHAR",
    "a.b": "BIGINT",
    "select": 'STRUCT("from" BIGINT)',
    "mixed": "DOUBLE",
    "maybe": "VARCHAR",
    "commits": "JSON",
    "day": "VARCHAR",
}
PEOPLE_COLUMNS = {"id": "BIGINT", "name": "VARCHAR", "boss": "BIGINT", "n": "BIGINT"}


def over_documents(folder: Path) -> duckdb.DuckDBPyConnection:
    """DuckDB with the documents as tables `ev` and `pe`; `folder` holds them as files."""
    connection = duckdb.connect(":memory:")
    known = {"ev": (EVENTS, EVENT_COLUMNS), "pe": (PEOPLE, PEOPLE_COLUMNS)}
    for name, (documents, columns) in known.items():
        file = folder / f"{name}.jsonl"
        file.write_text("\n".join(json.dumps(document) for document in documents))
        connection.read_json(str(file), columns=columns).create(name)
    return connection


def expected(direct: duckdb.DuckDBPyConnection, sql: str) -> tuple[list[str], list[tuple]]:
    """The names of the columns and the rows."""
    table = direct.sql(sql).to_arrow_table()
    columns = [column.to_pylist() for column in table.columns]
    return table.column_names, list(zip(*columns, strict=True))


def plain(value: object) -> object:
    """A value that compares equal to another one that means the same."""
    if isinstance(value, float):
        return None if math.isnan(value) else float(f"{value:.9g}")
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, list):
        return tuple(plain(item) for item in value)
    return value


def same(got: list[tuple], wanted: list[tuple], ordered: bool) -> bool:
    """True if both hold the same rows; floats agree to 9 significant digits."""
    left = [tuple(plain(value) for value in row) for row in got]
    right = [tuple(plain(value) for value in row) for row in wanted]
    return left == right if ordered else sorted(left, key=repr) == sorted(right, key=repr)
