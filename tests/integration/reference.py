"""The reference that answers the queries of differential tests: DuckDB over the raw documents.

A query is a template in which ``{path}`` stands for a field and ``{a:path}`` for one of the table
``a``. For Alder it becomes the path, for the reference a column of a table that extracts the field
from the raw JSON text with DuckDB's own JSON functions, by a type that is written here by hand:
nothing of Alder's decoding or typing is shared. The tables of templates are ``docs`` and ``refs``.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import duckdb
import pyarrow as pa

_PLACEHOLDER = re.compile(r"\{(?:(\w+):)?([^{}:]+)\}")
_TABLE = re.compile(r" (docs|refs)\b")
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
    """DuckDB over the raw text of documents, as the tables ``docs`` and ``refs``."""

    def __init__(
        self,
        documents: Sequence[str],
        fields: Sequence[Field],
        others: Sequence[str] = (),
        other_fields: Sequence[Field] = (),
    ) -> None:
        self._connection = duckdb.connect()
        self._create("docs", documents, fields)
        if others:
            self._create("refs", others, other_fields)

    def _create(self, table: str, documents: Sequence[str], fields: Sequence[Field]) -> None:
        self._connection.register("raw", pa.table({"j": pa.array(documents, pa.string())}))
        columns = ", ".join(f'{entry.expression()} AS "{entry.name}"' for entry in fields)
        self._connection.execute(
            f"CREATE TABLE {table} AS SELECT {columns} FROM (SELECT j::JSON AS j FROM raw)"
        )

    def rows(self, template: str) -> list[tuple[object, ...]]:
        """The answer to a query; several threads may ask."""
        with self._connection.cursor() as cursor:
            return cursor.execute(for_reference(template)).fetchall()


def for_alder(template: str, docs: str, refs: str = "") -> str:
    """The query as Alder gets it, over these collections."""

    def name(match: re.Match[str]) -> str:
        path = match[2] if "." in match[2] else f'"{match[2]}"'
        return f"{match[1]}.{path}" if match[1] else path

    collections = {"docs": docs, "refs": refs}
    sql = _PLACEHOLDER.sub(name, template)
    return _TABLE.sub(lambda match: f" {collections[match[1]]}", sql)


def for_reference(template: str) -> str:
    """The query as the reference gets it."""

    def name(match: re.Match[str]) -> str:
        return f'{match[1]}."{match[2]}"' if match[1] else f'"{match[2]}"'

    return _PLACEHOLDER.sub(name, template)


def samples(truth: Reference, fields: Sequence[Field], table: str = "docs") -> dict[str, list[str]]:
    """For each field the SQL literals of some of its values."""
    samples: dict[str, list[str]] = {}
    for entry in fields:
        column = f"{{{entry.name}}}"
        source = f"unnest({column})" if entry.sql_type.endswith("[]") else column
        rows = truth.rows(
            f"SELECT DISTINCT {source} AS v FROM {table} ORDER BY v::VARCHAR LIMIT 40"
        )
        values = [row[0] for row in rows if row[0] is not None]
        samples[entry.name] = [_literal(value) for value in values] or ["NULL"]
    return samples


def _literal(value: object) -> str:
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else str(value)


def same_rows(
    left: Sequence[Sequence[object]], right: Sequence[Sequence[object]], ordered: bool
) -> bool:
    """True if both hold the same rows; floats agree to 9 significant digits."""
    if len(left) != len(right):
        return False
    if sorted(map(repr, left)) == sorted(map(repr, right)) and not ordered:
        return True
    one, two = [_normal(row) for row in left], [_normal(row) for row in right]
    return one == two if ordered else sorted(one) == sorted(two)


def _normal(row: Sequence[object]) -> tuple[str, ...]:
    return tuple(_text(value) for value in row)


def _text(value: object) -> str:
    if isinstance(value, float):
        return "-0" if value == 0 else f"{value:.9g}"
    if isinstance(value, list):
        return "[" + ", ".join(_text(element) for element in value) + "]"
    if isinstance(value, dict):
        return str({_text(key): _text(element) for key, element in value.items()})
    return repr(value)
