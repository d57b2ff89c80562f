"""From the columns that a fragment names to the columns that a shard keeps.

A fragment reads a table ``rows`` whose columns are called as its bindings say, so names and case of
users' fields never matter in SQL text. A path whose physical types are not all known to the
aggregator would change meaning under it; such columns are watched, and a value in one makes the
aggregator plan again.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from alder.errors import AlderError, Reason
from alder.fieldtypes import column_name, quote, value_expression
from alder.paths import SYSTEM_FIELDS, json_pointer, split
from alder.v1 import leaf_pb2
from leaf.pieces import ColumnNeeds

TABLE = "physical"
"""The name under which the engine knows the stored columns."""


@dataclass(frozen=True, slots=True)
class Projection:
    """How ``rows`` is made of stored columns.

    ``watched`` are stored columns of bound paths that the bindings do not list.
    """

    sql: str
    needs: ColumnNeeds
    watched: tuple[str, ...]


def projection(
    columns: Sequence[leaf_pb2.ColumnBinding],
    fields: Mapping[str, Iterable[str]],
    keyed: bool,
) -> Projection:
    """The projection for these bindings over shards whose paths have these type tags.

    Raises AlderError(INVALID_ARGUMENT) for a binding that is none.
    """
    stored: dict[str, None] = {}
    watched: dict[str, None] = {}
    computed: set[str] = set()
    terms = []
    for binding in columns:
        if binding.path in SYSTEM_FIELDS and not binding.types:
            expression, names, births = _system(binding.path, keyed)
            stored.update(dict.fromkeys(names))
            computed |= births
        elif not binding.types:
            stored["_doc"] = None
            expression = _from_document(binding)
        else:
            tags = set(fields.get(binding.path, ()))
            present = sorted(tags & set(binding.types))
            names = [column_name(tag, binding.path) for tag in present]
            stored.update(dict.fromkeys(names))
            unknown = sorted(tags - set(binding.types))
            watched.update((column_name(tag, binding.path), None) for tag in unknown)
            expression = value_expression(binding.path, present, binding.sql_type)
        terms.append(f"{expression} AS {quote(binding.name)}")
    needs = ColumnNeeds(
        tuple(dict.fromkeys([*stored, *watched])),
        source="_source" in computed,
        partition="_partition" in computed,
        offset="_offset" in computed,
    )
    sql = f"SELECT {', '.join(terms) or '1 AS one'} FROM {TABLE}"
    return Projection(sql, needs, tuple(watched))


def _system(path: str, keyed: bool) -> tuple[str, list[str], set[str]]:
    """The expression, the stored columns and the columns computed from births that it needs."""
    if path == "_id" and keyed:
        return '"_key"', ["_key"], set()
    if path == "_id":
        parts = """ || '/' || """.join(['"_source"', '"_partition"', '"_offset"'])
        return f"({parts})", [], {"_source", "_partition", "_offset"}
    if path == "_doc":
        return '"_doc"::JSON', ["_doc"], set()
    if path == "_time":
        return '"_time"', ["_time"], set()
    return quote(path), [], {path}


def _from_document(binding: leaf_pb2.ColumnBinding) -> str:
    """The value at a path that has no column of its own; JSON null is NULL, as in columns."""
    try:
        pointer = json_pointer(split(binding.path)).replace("'", "''")
    except ValueError as error:
        raise AlderError(Reason.INVALID_ARGUMENT, str(error)) from error
    value = f"nullif(json_extract(\"_doc\", '{pointer}'), 'null'::JSON)"
    return value if binding.sql_type == "JSON" else f"{value}::{binding.sql_type}"
