"""The transformation of a collection: a SELECT over ``_input`` that makes documents of records.

``_input`` has one row per record: ``_doc`` (JSON), ``_source``, ``_partition``, ``_offset`` and
``_log_time``. The SELECT has a document for each row that passes its WHERE: the column ``_doc``
where that is the only one, else an object with its columns. What a record becomes depends on the
record alone (invariant I1): only functions of their arguments are allowed, nothing that counts,
orders or joins rows, and a record that can't be transformed fails for itself.

The tree that is checked is the one that runs, with one more column to tell the records apart.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import duckdb
import pyarrow as pa

from alder.errors import AlderError, Reason
from alder.fieldtypes import quote
from alder.functions import is_refused

Node = dict[str, Any]
"""A node of the engine's tree. Its values are whatever the engine serialises, hence Any."""
INPUT: Final = "_input"
DOCUMENT: Final = "_doc"
COLUMNS: Final = pa.schema(
    [
        (DOCUMENT, pa.string()),
        ("_source", pa.string()),
        ("_partition", pa.int32()),
        ("_offset", pa.int64()),
        ("_log_time", pa.timestamp("us")),
    ]
)
"""What is known of each record; documents are valid JSON."""
TEXT_CHARACTERS_MAX: Final = 16_384
MEMORY: Final = "256MB"
_ROW: Final = "__row"
_CLOCKS: Final = frozenset(
    {"current_timestamp", "current_date", "current_time", "localtimestamp", "localtime"}
)
_IMPURE: Final = frozenset({"age", "version", "error"})
_MACROS: Final = frozenset(
    {"array_append", "date_add", "list_append", "list_prepend", "split_part"}
)
_REASON_CHARACTERS_MAX: Final = 300
_EMPTY: Final[dict[str, object]] = {
    "modifiers": [],
    "group_expressions": [],
    "group_sets": [],
    "having": None,
    "qualify": None,
    "sample": None,
}


@dataclass(frozen=True, slots=True)
class Transformed:
    """Documents (string) made of records, with the numbers of these, ascending; and failures.

    A record that is in neither was left out by the WHERE.
    """

    rows: list[int]
    documents: pa.Array
    failed: dict[int, str]


class Transformation:
    """A checked transformation with an engine of its own. Not for two threads at once."""

    def __init__(self, sql: str) -> None:
        """Raises AlderError: SYNTAX, FORBIDDEN, UNSUPPORTED, WRONG_TYPE, LIMIT."""
        if len(sql) > TEXT_CHARACTERS_MAX:
            raise AlderError(
                Reason.LIMIT, f"a transformation has at most {TEXT_CHARACTERS_MAX} characters"
            )
        self._connection = _connect()
        self._sql = self._prepared(sql)

    def apply(self, records: pa.Table) -> Transformed:
        """Transforms records, given in :data:`COLUMNS`."""
        numbered = records.append_column(_ROW, pa.array(range(records.num_rows), pa.int64()))
        failed: dict[int, str] = {}
        made = pa.concat_tables([_NOTHING, *self._made(numbered, failed)]).sort_by(_ROW)
        documents = made.column(DOCUMENT).combine_chunks()
        rows = made.column(_ROW).to_pylist()
        failed.update(
            (row, "the transformation gives NULL in the place of a document")
            for row, document in zip(rows, documents.is_null().to_pylist(), strict=True)
            if document
        )
        kept = documents.is_valid()
        rows = [row for row, valid in zip(rows, kept.to_pylist(), strict=True) if valid]
        return Transformed(rows, documents.filter(kept), failed)

    def _made(self, records: pa.Table, failed: dict[int, str]) -> Iterator[pa.Table]:
        """Documents with the numbers of their records; failures are narrowed down to records."""
        if not records.num_rows:
            return
        try:
            yield self._run(records)
        except duckdb.Error as error:
            if records.num_rows == 1:
                failed[records.column(_ROW)[0].as_py()] = _reason(error)
                return
            middle = records.num_rows // 2
            yield from self._made(records.slice(0, middle), failed)
            yield from self._made(records.slice(middle), failed)

    def _run(self, records: pa.Table) -> pa.Table:
        self._connection.register("records", records)
        try:
            return self._connection.sql(self._sql).to_arrow_table().cast(_NOTHING.schema)
        except (duckdb.InternalException, duckdb.FatalException):
            # The engine refuses everything after such an error.
            self._connection = _connect()
            raise
        except UnicodeDecodeError as error:
            # The engine cuts the text that it quotes in a message, also inside of a character.
            raise duckdb.InvalidInputException("a value can't be converted") from error

    def _prepared(self, sql: str) -> str:
        node = self._parsed(sql)
        _check(node)
        row = {"class": "COLUMN_REF", "type": "COLUMN_REF", "alias": "", "column_names": [_ROW]}
        select = self._text({**node, "select_list": [*node["select_list"], row]})
        given = ", ".join(
            f"CAST({name} AS JSON) AS {name}" if name == DOCUMENT else name
            for name in COLUMNS.names
        )
        source = f"WITH {INPUT} AS (SELECT {given}, {_ROW} FROM records)"
        self._connection.register("records", _NO_RECORDS)
        try:
            found = self._connection.execute(f"DESCRIBE {source} {select}").fetchall()
        except duckdb.Error as error:
            raise AlderError(Reason.WRONG_TYPE, f"the transformation: {_reason(error)}") from error
        finally:
            self._connection.unregister("records")
        names = [str(name) for name, *_ in found[:-1]]
        if len({name.lower() for name in names}) < len(names):
            raise AlderError(
                Reason.INVALID_ARGUMENT, "the transformation names a column twice; use AS"
            )
        quoted = [f"{_literal(name)}, made.{quote(name)}" for name in names]
        whole = names == [DOCUMENT]
        document = f"made.{DOCUMENT}" if whole else f"json_object({', '.join(quoted)})"
        return (
            f"SELECT made.{_ROW}, CAST({document} AS VARCHAR) AS {DOCUMENT} "
            f"FROM ({source} {select}) AS made"
        )

    def _parsed(self, sql: str) -> Node:
        query = "SELECT json_serialize_sql(?::VARCHAR)"
        try:
            parsed: Node = json.loads(self._connection.execute(query, [sql]).fetchall()[0][0])
        except (duckdb.Error, RecursionError) as error:
            raise AlderError(
                Reason.SYNTAX, f"the transformation can't be parsed: {_reason(error)}"
            ) from error
        if parsed["error"]:
            message = str(parsed["error_message"]).splitlines()[0]
            raise AlderError(Reason.SYNTAX, f"the transformation can't be parsed: {message}")
        if len(parsed["statements"]) != 1:
            raise _unlike("it is not one statement")
        node: Node = parsed["statements"][0]["node"]
        return node

    def _text(self, node: Node) -> str:
        tree = {"error": False, "statements": [{"node": node, "named_param_map": []}]}
        query = "SELECT json_deserialize_sql(?::JSON)"
        return str(self._connection.execute(query, [json.dumps(tree)]).fetchall()[0][0])


_NOTHING: Final = pa.table({_ROW: pa.array([], pa.int64()), DOCUMENT: pa.array([], pa.string())})
_NO_RECORDS: Final = COLUMNS.empty_table().append_column(_ROW, pa.array([], pa.int64()))


def _check(node: Node) -> None:
    """Raises AlderError for anything but expressions over single rows of the input."""
    if node["type"] != "SELECT_NODE":
        raise _unlike("it is no plain SELECT")
    if any(node.get(name) not in (value, None) for name, value in _EMPTY.items()):
        raise _unlike("it groups, orders, limits or samples rows, or has DISTINCT")
    if node["cte_map"]["map"]:
        raise _unlike("it has a WITH")
    table = node["from_table"]
    if table["type"] != "BASE_TABLE" or table["qualified_name"]["path"] != [INPUT]:
        raise _unlike(f"it reads something else than {INPUT}")
    if table["alias"] or table["sample"] or table["at_clause"] or table["column_name_alias"]:
        raise _unlike(f"{INPUT} has an alias, a sample or a moment")
    for expression in [*node["select_list"], node["where_clause"]]:
        for part in _walk(expression or {}):
            _check_expression(part)


def _check_expression(part: Node) -> None:
    match part.get("class"):
        case "SUBQUERY":
            raise _unlike("it has a subquery")
        case "WINDOW":
            raise _unlike("it has a window function")
        case "STAR":
            raise _unlike("it has a *; name what a document shall have")
        case "PARAMETER":
            raise _unlike("it has a parameter")
        case "FUNCTION":
            _check_function(part)
        case "COLUMN_REF" if str(part["column_names"][-1]).lower() in {*_CLOCKS, _ROW}:
            raise _impure(part["column_names"][-1])


def _check_function(part: Node) -> None:
    name = str(part["function_name"]).lower()
    if name == "unnest":
        raise AlderError(
            Reason.UNSUPPORTED, "a transformation makes one document of a record, so no unnest"
        )
    if len(part["qualified_name"]["path"]) > 1 or part["export_state"]:
        raise AlderError(Reason.FORBIDDEN, f"call {name} by its plain name")
    if name not in _functions():
        raise _impure(name)


@cache
def _functions() -> frozenset[str]:
    """Names of the scalar functions whose result depends on their arguments alone."""
    with duckdb.connect(":memory:") as connection:
        rows = connection.execute(
            "SELECT lower(function_name) FROM duckdb_functions() WHERE function_type = 'scalar' "
            "GROUP BY ALL HAVING bool_or(stability = 'CONSISTENT') "
            "AND NOT bool_or(stability = 'VOLATILE')"
        ).fetchall()
    names = {name for (name,) in rows if not is_refused(name)}
    return frozenset(names - _IMPURE | _MACROS)


def _walk(node: Node) -> Iterator[Node]:
    waiting: list[object] = [node]
    while waiting:
        current = waiting.pop()
        if isinstance(current, dict):
            yield current
            waiting.extend(current.values())
        elif isinstance(current, list):
            waiting.extend(current)


def _connect() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(
        config={
            "threads": 1,
            "memory_limit": MEMORY,
            "enable_external_access": False,
            "autoload_known_extensions": False,
            "autoinstall_known_extensions": False,
        }
    )
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET python_enable_replacements = false")
    connection.execute("SET lock_configuration = true")
    return connection


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _reason(error: Exception) -> str:
    line = (str(error).splitlines() or [type(error).__name__])[0]
    return line[:_REASON_CHARACTERS_MAX]


def _unlike(why: str) -> AlderError:
    return AlderError(
        Reason.UNSUPPORTED,
        f"a transformation is one SELECT of expressions FROM {INPUT}, with a WHERE if any: {why}",
    )


def _impure(name: str) -> AlderError:
    return AlderError(
        Reason.FORBIDDEN,
        f"{name} is not available to a transformation, which may call scalar functions whose "
        "result depends on their arguments alone",
    )
