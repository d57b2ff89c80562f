"""Queries for the differential test, and the reference that answers them.

The reference is DuckDB over the raw documents. A query is a template in which ``{path}`` stands for
a field. For Alder it becomes the path, for the reference a column of a view that extracts the field
from the raw JSON text with DuckDB's own JSON functions, by a type that is written here by hand:
nothing of Alder's decoding or typing is shared.
"""

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import duckdb
import pyarrow as pa

_PLACEHOLDER = re.compile(r"\{([^{}]+)\}")
_VARIANT = """CASE json_type(j, {p})
  WHEN 'VARCHAR' THEN (j ->> {p})::VARIANT
  WHEN 'UBIGINT' THEN (j ->> {p})::BIGINT::VARIANT
  WHEN 'BIGINT' THEN (j ->> {p})::BIGINT::VARIANT
  WHEN 'DOUBLE' THEN (j ->> {p})::DOUBLE::VARIANT
  WHEN 'BOOLEAN' THEN (j ->> {p})::BOOLEAN::VARIANT END"""


@dataclass(frozen=True)
class Field:
    """A field: how Alder's SQL names it, its keys in the document, and its SQL type."""

    name: str
    keys: tuple[str, ...]
    sql_type: str

    def expression(self) -> str:
        """The value in the reference, from the raw document ``j``."""
        pointer = "'" + "".join("/" + key.replace("'", "''") for key in self.keys) + "'"
        if self.sql_type == "VARIANT":
            return _VARIANT.format(p=pointer)
        if self.sql_type.endswith("[]"):
            element = self.sql_type[:-2]
            return f"from_json(j -> {pointer}, '[\"{element}\"]')"
        if self.sql_type == "JSON":
            return f"(j -> {pointer})"
        return f"(j ->> {pointer})::{self.sql_type}"


def field(path: str, sql_type: str, *keys: str) -> Field:
    """A field whose keys are the parts of its path, unless given."""
    return Field(path, keys or tuple(path.split(".")), sql_type)


class Reference:
    """DuckDB over the raw text of the documents."""

    def __init__(self, documents: Sequence[str], fields: Sequence[Field]) -> None:
        self._answers: dict[str, list[tuple[object, ...]]] = {}
        self._connection = duckdb.connect()
        self._connection.register("raw", pa.table({"j": pa.array(documents, pa.string())}))
        columns = ", ".join(f'{entry.expression()} AS "{entry.name}"' for entry in fields)
        self._connection.execute(
            f"CREATE TABLE docs AS SELECT {columns} FROM (SELECT j::JSON AS j FROM raw)"
        )

    def rows(self, template: str) -> list[tuple[object, ...]]:
        """The answer to a query; kept, since every deployment is asked the same."""
        if template not in self._answers:
            answer = self._connection.execute(for_reference(template)).fetchall()
            self._answers[template] = answer
        return self._answers[template]


def for_alder(template: str, collection: str) -> str:
    """The query as Alder gets it."""

    def name(match: re.Match[str]) -> str:
        return match[1] if "." in match[1] else f'"{match[1]}"'

    return _PLACEHOLDER.sub(name, template).replace(" docs", f" {collection}")


def for_reference(template: str) -> str:
    """The query as the reference gets it."""
    return _PLACEHOLDER.sub(lambda match: f'"{match[1]}"', template)


class QueryGenerator:
    """Random queries over fields of known types, all drawn from one seed."""

    def __init__(
        self, seed: int, fields: Mapping[str, str], samples: Mapping[str, list[str]]
    ) -> None:
        """``fields``: name to SQL type; ``samples``: name to SQL literals of the data."""
        self._random = random.Random(seed)
        self._fields = fields
        self._samples = samples

    def query(self) -> tuple[str, bool]:
        """A template, and whether the order of its rows is decided by it."""
        shapes = (
            (4, self._grouped),
            (3, self._filtered_count),
            (3, self._projection),
            (2, self._top),
            (1, self._distinct),
            (1, self._common_table),
            (1, self._window),
            (1, self._union),
            (1, self._subquery),
            (1, self._unnested),
        )
        weights = [weight for weight, _ in shapes]
        return self._random.choices(shapes, weights)[0][1]()

    def _name(self, *types: str) -> str:
        names = [name for name, kind in self._fields.items() if not types or kind in types]
        return self._random.choice(names)

    def _literal(self, name: str) -> str:
        return self._random.choice(self._samples[name])

    def _condition(self, depth: int = 0) -> str:
        pick = self._random.random()
        if depth < 2 and pick < 0.3:
            joiner = self._random.choice(["AND", "OR"])
            return f"({self._condition(depth + 1)} {joiner} {self._condition(depth + 1)})"
        if depth < 2 and pick < 0.37:
            return f"NOT ({self._condition(depth + 1)})"
        if pick < 0.47:
            return f"{{{self._name()}}} IS {self._random.choice(['', 'NOT '])}NULL"
        if pick < 0.55:
            name = self._name("VARCHAR[]", "BIGINT[]")
            return f"list_contains({{{name}}}, {self._literal(name)})"
        name = self._name("BIGINT", "DOUBLE", "VARCHAR")
        if pick < 0.65:
            values = ", ".join(self._literal(name) for _ in range(self._random.randint(1, 4)))
            return f"{{{name}}} {self._random.choice(['', 'NOT '])}IN ({values})"
        if pick < 0.72:
            return f"{{{name}}} BETWEEN {self._literal(name)} AND {self._literal(name)}"
        if pick < 0.8:
            text = self._name("VARCHAR")
            prefix = self._literal(text).strip("'")[:3].replace("%", "")
            return f"{{{text}}} LIKE '{prefix}%'"
        if pick < 0.85:
            return f"length({{{self._name('VARCHAR')}}}) > {self._random.randint(0, 20)}"
        if pick < 0.9:
            mixed = self._name("VARIANT")
            return f"try_cast({{{mixed}}} AS BIGINT) > {self._random.randint(0, 5)}"
        operator = self._random.choice(["=", "<>", "<", "<=", ">", ">="])
        return f"{{{name}}} {operator} {self._literal(name)}"

    def _where(self) -> str:
        return f" WHERE {self._condition()}" if self._random.random() < 0.7 else ""

    def _scalar(self) -> str:
        number, text = self._name("BIGINT", "DOUBLE"), self._name("VARCHAR")
        return self._random.choice(
            [
                f"{{{text}}}",
                f"{{{number}}}",
                f"lower({{{text}}})",
                f"coalesce({{{text}}}, 'none')",
                f"{{{number}}} % 7",
                f"{{{number}}} IS NULL",
                f"CASE WHEN {self._condition(1)} THEN 'yes' ELSE 'no' END",
                f"substr({{{text}}}, 1, 2)",
                f"try_cast({{{text}}} AS BIGINT)",
                f"{{{self._name('BOOLEAN')}}}",
                f"try_cast({{{self._name('VARIANT')}}} AS VARCHAR)",
                f"len({{{self._name('VARCHAR[]', 'BIGINT[]')}}})",
            ]
        )

    def _aggregate(self) -> str:
        number, anything = self._name("BIGINT", "DOUBLE"), self._name("BIGINT", "DOUBLE", "VARCHAR")
        choice = self._random.choice(
            [
                "count(*)",
                f"count({{{anything}}})",
                f"sum({{{number}}})",
                f"avg({{{number}}})",
                f"min({{{anything}}})",
                f"max({{{anything}}})",
                f"count(DISTINCT {{{anything}}})",
                f"stddev_pop({{{number}}})",
                f"bool_or({{{number}}} > 3)",
                f"median({{{number}}})",
                f"sum({{{number}}} * 2 + 1)",
            ]
        )
        return f"{choice} FILTER ({self._condition(1)})" if self._random.random() < 0.2 else choice

    def _grouped(self) -> tuple[str, bool]:
        keys = [self._scalar() for _ in range(self._random.randint(1, 2))]
        aggregates = [self._aggregate() for _ in range(self._random.randint(1, 3))]
        columns = [f"{text} AS c{index}" for index, text in enumerate([*keys, *aggregates])]
        ordinals = ", ".join(str(index + 1) for index in range(len(keys)))
        having = " HAVING count(*) > 1" if self._random.random() < 0.3 else ""
        query = f"SELECT {', '.join(columns)} FROM docs{self._where()} GROUP BY {ordinals}{having}"
        if self._random.random() < 0.4:
            every = ", ".join(str(index + 1) for index in range(len(keys)))
            return f"{query} ORDER BY {every} LIMIT {self._random.randint(1, 20)}", True
        return query, False

    def _filtered_count(self) -> tuple[str, bool]:
        aggregates = ", ".join(self._aggregate() for _ in range(self._random.randint(1, 3)))
        return f"SELECT {aggregates} FROM docs{self._where()}", True

    def _projection(self) -> tuple[str, bool]:
        columns = ", ".join(self._scalar() for _ in range(self._random.randint(1, 4)))
        return f"SELECT {columns} FROM docs{self._where()}", False

    def _top(self) -> tuple[str, bool]:
        columns = [f"{self._scalar()} AS c{index}" for index in range(self._random.randint(1, 3))]
        order = ", ".join(
            f"{index + 1} {self._random.choice(['', 'DESC', 'NULLS FIRST'])}"
            for index in range(len(columns))
        )
        offset = f" OFFSET {self._random.randint(1, 9)}" if self._random.random() < 0.3 else ""
        limit = self._random.randint(1, 30)
        query = f"SELECT {', '.join(columns)} FROM docs{self._where()} ORDER BY {order}"
        return f"{query} LIMIT {limit}{offset}", True

    def _distinct(self) -> tuple[str, bool]:
        columns = ", ".join(self._scalar() for _ in range(self._random.randint(1, 2)))
        return f"SELECT DISTINCT {columns} FROM docs{self._where()}", False

    def _common_table(self) -> tuple[str, bool]:
        inner = f"SELECT {self._scalar()} AS a, {self._scalar()} AS b FROM docs{self._where()}"
        return f"WITH t AS ({inner}) SELECT a, count(b) FROM t GROUP BY a", False

    def _window(self) -> tuple[str, bool]:
        text, number = self._name("VARCHAR"), self._name("BIGINT")
        inner = f"SELECT {{{text}}} AS a, {{{number}}} AS b FROM docs{self._where()}"
        return f"SELECT a, b, rank() OVER (PARTITION BY a ORDER BY b) FROM ({inner}) s", False

    def _union(self) -> tuple[str, bool]:
        text = self._name("VARCHAR")
        parts = [f"SELECT {{{text}}} AS a FROM docs WHERE {self._condition()}" for _ in range(2)]
        return self._random.choice([" UNION ", " UNION ALL ", " EXCEPT "]).join(parts), False

    def _subquery(self) -> tuple[str, bool]:
        text = self._name("VARCHAR")
        inner = f"SELECT {{{text}}} FROM docs WHERE {self._condition()} AND {{{text}}} IS NOT NULL"
        return f"SELECT count(*) FROM docs WHERE {{{text}}} IN ({inner})", True

    def _unnested(self) -> tuple[str, bool]:
        name = self._name("VARCHAR[]", "BIGINT[]")
        inner = f"SELECT unnest({{{name}}}) AS element FROM docs{self._where()}"
        return f"SELECT element, count(*) FROM ({inner}) s GROUP BY 1", False


def same_rows(
    left: Sequence[Sequence[object]], right: Sequence[Sequence[object]], ordered: bool
) -> bool:
    """True if both hold the same rows; floats agree to 9 significant digits."""
    one, two = [_normal(row) for row in left], [_normal(row) for row in right]
    return one == two if ordered else sorted(one) == sorted(two)


def _normal(row: Sequence[object]) -> tuple[str, ...]:
    return tuple(_text(value) for value in row)


def _text(value: object) -> str:
    if isinstance(value, float):
        return "-0" if value == 0 else f"{value:.9g}"
    if isinstance(value, list):
        return "[" + ", ".join(_text(element) for element in value) + "]"
    return repr(value)
