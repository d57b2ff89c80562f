"""Text to syntax tree and back, by the engine's own parser.

One SELECT per text; everything else is refused by name before anything looks at it. Size and depth
are bounded first, so no text makes a later stage recurse without end.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import duckdb

from aggregator.statement import tree
from alder.errors import AlderError, Reason
from alder.words import words_sql

SQL_BYTES_MAX: Final = 1 << 20
NODES_MAX: Final = 50_000
EXPRESSION_DEPTH_MAX: Final = 128
_DEPTH_EXCEEDED: Final = "Max expression depth"


@dataclass(frozen=True, slots=True)
class Statement:
    """One SELECT: its tree and the names of its parameters (``1``, ``2`` … for ``?``)."""

    sql: str
    node: tree.Node
    parameters: frozenset[str]


class Parser:
    """Parses and prints. Not thread-safe: one thread at a time."""

    def __init__(self) -> None:
        self._connection = duckdb.connect(
            ":memory:",
            config={
                "threads": 1,
                "enable_external_access": False,
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
                "python_enable_replacements": False,
                "max_expression_depth": EXPRESSION_DEPTH_MAX,
            },
        )
        self._connection.execute("SET lock_configuration = true").fetchall()

    def close(self) -> None:
        """Releases the engine."""
        self._connection.close()

    def parse(self, sql: str) -> Statement:
        """The statement. Raises AlderError: SYNTAX, UNSUPPORTED (not one SELECT), LIMIT."""
        check_size(sql)
        if "\0" in sql:
            raise AlderError(Reason.SYNTAX, "the statement holds a NUL character; remove it")
        parsed = self._serialised(sql)
        if parsed["error"]:
            raise _refusal(sql, parsed)
        statements = parsed["statements"]
        if len(statements) != 1:
            raise _not_one_statement(len(statements))
        statement = statements[0]
        if sum(1 for _ in tree.walk(statement["node"])) > NODES_MAX:
            raise AlderError(
                Reason.LIMIT,
                f"the statement has more than {NODES_MAX} parts; "
                "pass long lists as parameters or join with a collection",
            )
        names = frozenset(entry["key"] for entry in statement["named_param_map"])
        return Statement(sql, statement["node"], names)

    def to_sql(self, query: tree.Node) -> str:
        """The SQL of a query. Raises AlderError(LIMIT) where it is nested too deeply."""
        statement = {"error": False, "statements": [{"node": query, "named_param_map": []}]}
        try:
            text = json.dumps(statement)
            rows = self._connection.execute(
                "SELECT json_deserialize_sql(?::JSON)", [text]
            ).fetchall()
        except (duckdb.ParserException, RecursionError) as error:
            if isinstance(error, RecursionError) or _DEPTH_EXCEEDED in str(error):
                raise too_deep() from error
            raise
        return str(rows[0][0])

    def expression_text(self, expression: tree.Node) -> str:
        """An expression as the engine prints it, which is how it names a column without alias."""
        bare = tree.named(expression, "")
        return self.to_sql(tree.select([bare], tree.empty_table())).removeprefix("SELECT ")

    def chosen(self, choice: tree.Node, names: Sequence[str]) -> list[str]:
        """Those of some names that an expression over ``*``, all of them, gives."""
        every = tree.function("list_value", *(tree.constant("STRING", name) for name in names))

        def with_names(node: tree.Node) -> tree.Node:
            return every if node.get("type") == "STAR" else tree.mapped(node, with_names)

        sql = self.to_sql(tree.select([with_names(choice)], tree.empty_table()))
        try:
            found: list[str] = self._connection.execute(sql).fetchall()[0][0]
        except duckdb.Error as error:
            raise AlderError(Reason.WRONG_TYPE, str(error).splitlines()[0]) from error
        return found

    def regexp_replaced(self, value: str, pattern: str, replacement: str) -> str:
        """A text with the first match of a pattern replaced."""
        rows = self._connection.execute(
            "SELECT regexp_replace(?, ?, ?)", [value, pattern, replacement]
        ).fetchall()
        return str(rows[0][0])

    def moment_us(self, literal: tree.Node) -> int | None:
        """Microseconds since 1970 UTC of a DATE or TIMESTAMP; None for an infinite one, or none."""
        sql = self.to_sql(tree.select([tree.function("epoch_us", literal)], tree.empty_table()))
        try:
            found: int | None = self._connection.execute(sql).fetchall()[0][0]
        except duckdb.ConversionException:
            return None
        return found

    def described(self, query: tree.Node) -> list[tuple[str, str]]:
        """The names and SQL types of the columns of a query. Raises AlderError(WRONG_TYPE)."""
        try:
            rows = self._connection.execute(f"DESCRIBE {self.to_sql(query)}").fetchall()
        except duckdb.Error as error:
            raise AlderError(Reason.WRONG_TYPE, str(error).splitlines()[0]) from error
        return [(str(row[0]), str(row[1])) for row in rows]

    def words(self, texts: Sequence[str]) -> list[list[str]]:
        """The words of each text."""
        sql = f"SELECT list_transform(?::VARCHAR[], lambda one: {words_sql('one')})"
        found: list[list[str]] = self._connection.execute(sql, [list(texts)]).fetchall()[0][0]
        return found

    def _serialised(self, sql: str) -> tree.Node:
        try:
            rows = self._connection.execute(
                "SELECT json_serialize_sql(?::VARCHAR)", [sql]
            ).fetchall()
            parsed: tree.Node = json.loads(rows[0][0])
        except RecursionError as error:
            raise too_deep() from error
        except duckdb.Error as error:
            raise AlderError(
                Reason.SYNTAX, f"the statement can't be parsed: {str(error).splitlines()[0]}"
            ) from error
        return parsed


def check_size(sql: str) -> None:
    """Raises AlderError(LIMIT) for a statement that is too long."""
    if len(sql.encode("utf-8", "surrogatepass")) > SQL_BYTES_MAX:
        raise AlderError(
            Reason.LIMIT,
            f"the statement is longer than {SQL_BYTES_MAX} bytes; "
            "pass long lists as parameters or join with a collection",
        )


def too_deep() -> AlderError:
    """The error for a statement that is nested more deeply than is processed here."""
    return AlderError(
        Reason.LIMIT,
        f"the statement is nested too deeply; at most {EXPRESSION_DEPTH_MAX} levels are allowed",
    )


def _refusal(sql: str, parsed: tree.Node) -> AlderError:
    message = str(parsed["error_message"]).splitlines()[0]
    if _DEPTH_EXCEEDED in message:
        return too_deep()
    if "Only SELECT" in message:
        try:
            statements = duckdb.extract_statements(sql)
        except duckdb.Error:
            return AlderError(Reason.UNSUPPORTED, "only SELECT is answered here")
        if len(statements) > 1:
            return _not_one_statement(len(statements))
        kind = _kind(statements[0]) if statements else "this"
        first = re.match(r"\s*(\w+)", sql)
        name = first[1].upper() if kind in {"MULTI", "INVALID"} and first else kind
        return AlderError(Reason.UNSUPPORTED, f"only SELECT is answered here, not {name}")
    place = ""
    if "position" in parsed:
        line, column = _line_and_column(sql, int(parsed["position"]))
        place = f" (line {line}, column {column})"
    return AlderError(Reason.SYNTAX, f"the statement can't be parsed: {message}{place}")


def _kind(statement: duckdb.Statement) -> str:
    """The kind of a statement in words; INVALID for one that the engine has, but no name of."""
    try:
        return str(statement.type.name).replace("_", " ")
    except ValueError:
        return "INVALID"


def _not_one_statement(count: int) -> AlderError:
    if count == 0:
        return AlderError(Reason.SYNTAX, "there is no statement; write one SELECT")
    return AlderError(
        Reason.UNSUPPORTED, f"one SELECT at a time is answered, not {count} statements"
    )


def _line_and_column(sql: str, position_bytes: int) -> tuple[int, int]:
    before = sql.encode("utf-8", "surrogatepass")[:position_bytes].decode("utf-8", "replace")
    line = before.count("\n") + 1
    return line, len(before) - (before.rfind("\n") + 1) + 1
