"""From the columns that a fragment names to the columns that a shard keeps.

A fragment reads a table ``rows`` whose columns are called as its bindings say, so names and case of
users' fields never matter in SQL text. A path whose physical types are not all known to the
aggregator would change meaning under it; such columns are watched, and a value in one makes the
aggregator plan again.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from alder.errors import AlderError, Reason
from alder.fieldtypes import column_name, quote, value_expression
from alder.paths import CAUSES, SYSTEM_FIELDS, json_pointer, split
from alder.v1 import leaf_pb2
from leaf.pieces import ORDINAL, ColumnNeeds

TABLE = "physical"
"""The name under which the engine knows the stored columns."""


@dataclass(frozen=True, slots=True)
class Projection:
    """How ``rows`` is made of stored columns.

    The engine knows the columns of ``needs.schema()`` by :func:`engine_names`, because it takes
    names that differ in case for one. ``watched`` are stored columns of bound paths that the
    bindings do not list.
    """

    sql: str
    needs: ColumnNeeds
    watched: tuple[str, ...]
    select_list: str


def engine_names(count: int) -> list[str]:
    """The names under which the engine knows that many physical columns."""
    return [f"p{number}" for number in range(count)]


def projection(
    columns: Sequence[leaf_pb2.ColumnBinding],
    fields: Mapping[str, Iterable[str]],
    keyed: bool,
) -> Projection:
    """The projection for these bindings over shards whose paths have these type tags.

    Raises AlderError(INVALID_ARGUMENT) for a binding that is none.
    """
    present = {
        binding.path: sorted(set(fields.get(binding.path, ())) & set(binding.types))
        for binding in columns
        if binding.types
    }
    watched = tuple(
        column_name(tag, binding.path)
        for binding in columns
        if binding.types
        for tag in sorted(set(fields.get(binding.path, ())) - set(binding.types))
    )
    needed = dict.fromkeys(name for binding in columns for name in _needed(binding, present, keyed))
    stored = [name for name in needed if name not in _FROM_BIRTHS]
    needs = ColumnNeeds(
        tuple(dict.fromkeys([*stored, *watched])),
        source="_source" in needed,
        partition="_partition" in needed,
        offset="_offset" in needed,
        ordinal=ORDINAL in needed,
        causes=CAUSES in needed,
    )
    names = needs.schema().names
    known_as = dict(zip(names, engine_names(len(names)), strict=True))
    terms = [
        f"{_expression(binding, present, keyed, known_as)} AS {quote(binding.name)}"
        for binding in columns
    ]
    select_list = ", ".join(terms) or "1 AS one"
    return Projection(f"SELECT {select_list} FROM {TABLE}", needs, watched, select_list)


def _needed(
    binding: leaf_pb2.ColumnBinding, present: Mapping[str, Sequence[str]], keyed: bool
) -> list[str]:
    """The stored columns and the columns computed from births that a binding reads."""
    if binding.types:
        names = [column_name(tag, binding.path) for tag in present[binding.path]]
        return [*names, "_doc"] if binding.overflow else names
    if binding.path == CAUSES:
        return [CAUSES]
    if binding.path not in SYSTEM_FIELDS:
        return ["_doc"]
    if binding.path == "_id":
        return ["_key"] if keyed else [*_ID]
    return [binding.path]


def _expression(
    binding: leaf_pb2.ColumnBinding,
    present: Mapping[str, Sequence[str]],
    keyed: bool,
    known_as: Mapping[str, str],
) -> str:
    if binding.types:
        columns = {tag: known_as[column_name(tag, binding.path)] for tag in present[binding.path]}
        value = value_expression(columns, binding.sql_type)
        if not binding.overflow:
            return value
        return f"coalesce({value}, {_overflowed(binding, known_as['_doc'])})"
    if binding.path == CAUSES:
        return known_as[CAUSES]
    if binding.path not in SYSTEM_FIELDS:
        value = _document_value(binding.path, known_as["_doc"])
        value = f"nullif({value}, 'null'::JSON)"
        return value if binding.sql_type == "JSON" else f"{value}::{binding.sql_type}"
    if binding.path == "_id" and not keyed:
        # Leaves out the ordinal of a document that is the only one of its record.
        return f"concat_ws('/', {', '.join(known_as[name] for name in _ID)})"
    if binding.path == "_doc":
        return f"{known_as['_doc']}::JSON"
    return known_as["_key" if binding.path == "_id" else binding.path]


def _document_value(path: str, document: str) -> str:
    """The JSON at a path of the document. Raises AlderError(INVALID_ARGUMENT) for no path."""
    try:
        pointer = json_pointer(split(path)).replace("'", "''")
    except ValueError as error:
        raise AlderError(Reason.INVALID_ARGUMENT, str(error)) from error
    return f"json_extract({document}, '{pointer}')"


def _overflowed(binding: leaf_pb2.ColumnBinding, document: str) -> str:
    """The value of a row whose value is in the document only.

    A value of a type that the column does not have is an error, never a silent NULL: the column's
    type was decided without it.
    """
    value = _document_value(binding.path, document)
    fits, read = _OVERFLOWED.get(binding.sql_type, (None, "{value}::{type}"))
    if binding.sql_type.endswith("[]"):
        fits = "'ARRAY'"
    absent = "'NULL', 'OBJECT'" if binding.sql_type not in {"JSON", "VARIANT"} else "'NULL'"
    condition = f"json_type({value}) IN ({fits})" if fits else "true"
    path = binding.path.replace("'", "''")
    message = (
        f"the field {path} has a value of another type in some documents, and no column for it, "
        "because the collection has more fields than its limit; read it from _doc"
    )
    return (
        f"CASE WHEN {value} IS NULL OR json_type({value}) IN ({absent}) THEN NULL "
        f"WHEN {condition} THEN {read.format(value=value, type=binding.sql_type)} "
        f"ELSE error('{message}') END"
    )


_ID: Final = ("_source", "_partition", "_offset", ORDINAL)
_FROM_BIRTHS: Final = frozenset({*_ID, CAUSES})
_OVERFLOWED: Final[Mapping[str, tuple[str | None, str]]] = {
    "VARCHAR": ("'VARCHAR'", "({value} ->> '$')"),
    "BIGINT": ("'BIGINT', 'UBIGINT'", "{value}::{type}"),
    "DOUBLE": ("'BIGINT', 'UBIGINT', 'DOUBLE'", "{value}::{type}"),
    "BOOLEAN": ("'BOOLEAN'", "{value}::{type}"),
}
"""By SQL type: the JSON types whose values the column can take, and how they are read."""
