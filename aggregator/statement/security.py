"""What a statement may call: an allow-list of functions, checked on the tree before planning.

The list is the engine's own catalog of functions without those that read files, the environment,
settings or catalogs, or that change anything. A name that isn't on the list is refused, so a
function that a later engine adds is refused until someone looks at it only where it matches none of
the harmless kinds. The engine itself runs without external access as well.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import duckdb

from aggregator.functions.lists import OWN
from aggregator.statement import tree
from aggregator.statement.parameters import timestamp_literal
from alder.errors import AlderError, Reason
from alder.functions import is_refused

TABLE_FUNCTIONS: Final = frozenset({"unnest", "range", "generate_series", "json_each", "json_tree"})
VOLATILE: Final = frozenset({"random", "uuid", "gen_random_uuid", "uuidv4", "uuidv7"})
CLOCK: Final[Mapping[str, str]] = {
    "now": "TIMESTAMP",
    "get_current_timestamp": "TIMESTAMP",
    "current_timestamp": "TIMESTAMP",
    "transaction_timestamp": "TIMESTAMP",
    "current_localtimestamp": "TIMESTAMP",
    "localtimestamp": "TIMESTAMP",
    "today": "DATE",
    "current_date": "DATE",
    "get_current_time": "TIME",
    "current_time": "TIME",
    "current_localtime": "TIME",
    "localtime": "TIME",
}
_CLOCK_NAMES: Final = frozenset(
    {"current_timestamp", "current_date", "current_time", "localtimestamp", "localtime"}
)
_SCHEMAS: Final = frozenset(
    {"information_schema", "main", "memory", "pg_catalog", "system", "temp"}
)


@dataclass(frozen=True, slots=True)
class Catalog:
    """Names of the functions that a statement may call, lower case."""

    scalars: frozenset[str]
    aggregates: frozenset[str]

    @classmethod
    def of_engine(cls) -> "Catalog":
        """The engine's functions without the refused ones."""
        with duckdb.connect(":memory:") as connection:
            rows = connection.execute(
                "SELECT DISTINCT lower(function_name), function_type FROM duckdb_functions()"
            ).fetchall()
        allowed = [(name, kind) for name, kind in rows if not is_refused(name)]
        aggregates = frozenset(name for name, kind in allowed if kind == "aggregate")
        scalars = frozenset(
            name for name, kind in allowed if kind in {"scalar", "macro", "window", "aggregate"}
        )
        return cls(scalars | {"unnest", "count_star"} | OWN, aggregates)

    def check(self, node: tree.Node) -> None:
        """Raises AlderError: FORBIDDEN for a function or table that is not allowed."""
        for part in tree.walk(node):
            match part.get("type"):
                case "TABLE_FUNCTION":
                    _check_table_function(part["function"])
                case "BASE_TABLE":
                    _check_table(part)
                case "FUNCTION" | "MACRO":
                    self._check_function(part)
            if part.get("class") == "WINDOW":
                self._check_function(part)
            if part.get("export_state"):
                raise AlderError(Reason.FORBIDDEN, "EXPORT_STATE is not available to queries")

    def _check_function(self, part: tree.Node) -> None:
        name = str(part["function_name"]).lower()
        path = part.get("qualified_name", {}).get("path", [name])
        if len(path) > 1 and path[0].lower() in _SCHEMAS:
            raise AlderError(
                Reason.FORBIDDEN, f"call {name} by its plain name, not by {'.'.join(path)}"
            )
        if name in self.scalars or part.get("is_operator") or name in TABLE_FUNCTIONS:
            return
        if is_refused(name):
            raise _forbidden(name)
        raise AlderError(
            Reason.UNSUPPORTED,
            f"there is no function {name} here; check the spelling",
        )


def with_fixed_clock(node: tree.Node, now_us: int) -> tree.Node:
    """The tree in which now(), today() and the like are literals: one moment for all leaves.

    The moment is a naive UTC TIMESTAMP, like every time in a collection.
    """

    def replace(part: tree.Node) -> tree.Node:
        name = ""
        if part.get("type") == "FUNCTION" and not part["arguments"]:
            name = str(part["function_name"]).lower()
        elif part.get("type") == "COLUMN_REF" and len(part["column_names"]) == 1:
            column = str(part["column_names"][0]).lower()
            name = column if column in _CLOCK_NAMES else ""
        if name in CLOCK:
            return tree.named(timestamp_literal(now_us, CLOCK[name]), part["alias"])
        return tree.mapped(part, replace)

    return replace(node) if reads_clock(node) else node


def reads_clock(node: tree.Node) -> bool:
    """True if the answer depends on the time at which the query runs."""
    for part in tree.walk(node):
        if part.get("type") == "FUNCTION" and str(part["function_name"]).lower() in CLOCK:
            return True
        if (
            part.get("type") == "COLUMN_REF"
            and str(part["column_names"][0]).lower() in _CLOCK_NAMES
        ):
            return True
    return False


def is_volatile(node: tree.Node) -> bool:
    """True if two evaluations may differ, so that it must run once, here."""
    return any(
        part.get("type") == "FUNCTION" and str(part["function_name"]).lower() in VOLATILE
        for part in tree.walk(node)
    )


def _check_table_function(call: tree.Node) -> None:
    name = str(call["function_name"]).lower()
    path = call.get("qualified_name", {}).get("path", [name])
    if name not in TABLE_FUNCTIONS or len(path) > 1:
        raise _forbidden(name)


def _check_table(part: tree.Node) -> None:
    path = part["qualified_name"]["path"]
    if len(path) > 1 or part["schema_name"] or part["catalog_name"]:
        raise AlderError(
            Reason.FORBIDDEN,
            f"{'.'.join(path)} is not a collection; name a collection without schema or catalog",
        )
    if part["at_clause"] is not None:
        raise AlderError(Reason.UNSUPPORTED, "AT (…) after a collection is not supported")


def _forbidden(name: str) -> AlderError:
    return AlderError(
        Reason.FORBIDDEN,
        f"{name} is not available here: queries read collections only, not files, settings or "
        "catalogs",
    )
