"""What has to be asked to tell how the answer of a query differs between two cuts. Pure.

Three ways, by what the maths allows. The rows of a scan change only where rows of the log do, so it
runs over the rows that are in one cut and not in the other, and each answer row carries what caused
it. A group changes only where one of its rows does, so the changed rows give the groups to be
computed at both cuts, and the offsets behind each. Anything else is computed whole at both cuts.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import pyarrow as pa

from aggregator.planning import scan
from aggregator.statement import tables, tree
from aggregator.statement.aliases import unaliased
from aggregator.statement.names import Names
from aggregator.statement.security import is_volatile
from aggregator.statement.tablename import POSITION, AsOf, TableName
from alder.arrow import SQL_TYPE_KEY
from alder.paths import CAUSES

GROUPS_MAX: Final = 1_000
"""Groups are looked for by their keys while one has no more values than this."""
_LITERALS: Final = {
    "VARCHAR": "STRING",
    "BIGINT": "INTEGER",
    "INTEGER": "INTEGER",
    "BOOLEAN": "BOOLEAN",
}
"""By SQL type of a key: the kind of literal that its values have."""
_OF_OTHER_ROWS: Final = frozenset({"score"})
"""Functions whose value for a row depends on other rows."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A query whose answers at two cuts are compared.

    ``collection`` is the one that it reads, None where it is computed whole. ``keys`` are those of
    its groups, None for a scan. ``alone``: its groups don't depend on each other, so those that
    changed can be computed without the others. ``where`` is its condition without aliases.
    """

    node: tree.Node
    collection: str | None = None
    keys: tuple[tree.Node, ...] | None = None
    alone: bool = False
    where: tree.Node | None = None

    def at(self, positions: str) -> tree.Node:
        """The query at a cut; the keys of its groups follow its columns."""
        moved = tables.read_at(self.node, AsOf(POSITION, positions))
        if not self.keys:
            return moved
        return {**moved, "select_list": [*moved["select_list"], *_named(self.keys)]}

    def changed(self, at: str, unless: str) -> tree.Node:
        """Of the rows in one cut and not in the other, the columns or keys, and then the causes."""
        name = TableName(str(self.collection), as_of=AsOf(POSITION, at, unless))
        rows = tree.renamed_table(self.node["from_table"], name.encode())
        rows["alias"] = rows["alias"] or name.name
        causes = tree.named(tree.column(rows["alias"], CAUSES), "__causes")
        items = self.node["select_list"] if self.keys is None else _named(self.keys)
        return tree.select([*items, causes], rows, self.where)

    def of_groups(self, keys: pa.Table) -> "Difference":
        """The same for the groups that have these keys, and maybe some others."""
        if not self.alone:
            return self
        terms = tree.conjuncts(self.node["where_clause"])
        if not keys.num_rows:
            terms = [*terms, tree.constant("BOOLEAN", "false")]
        else:
            named = zip(self.keys or (), keys.schema, keys.columns, strict=True)
            found = [_is_one_of(key, field, column) for key, field, column in named]
            terms = [*terms, *(term for term in found if term is not None)]
        return replace(self, node={**self.node, "where_clause": tree.conjunction(terms)})


def difference(node: tree.Node, aggregates: frozenset[str], names: Names | None) -> Difference:
    """How the answers of a query are to be compared.

    ``names`` are those of the collection that is all it reads; None: it reads something else.
    """
    whole = Difference(node)
    if names is None or is_volatile(node) or _reads_more(node):
        return whole
    aliased = [one for one in node["select_list"] if one["alias"] and not _is_column(one, names)]
    where = node["where_clause"] and unaliased(node["where_clause"], aliased)
    if node["where_clause"] is not None and where is None:
        return whole
    collection = node["from_table"]["table_name"]
    limited = tree.modifier(node, "LIMIT_MODIFIER") is not None
    if scan.is_scan(node, aggregates):
        return whole if limited else Difference(node, collection, None, False, where)
    keys = _keys(node, aliased, aggregates)
    if keys is None:
        return whole
    windows = any(part.get("class") == "WINDOW" for part in tree.walk(node))
    return Difference(node, collection, keys, not limited and not windows, where)


def reads_one_table(node: tree.Node) -> bool:
    """True for a SELECT of one table, at no moment of its own, and nothing else."""
    if node["type"] != "SELECT_NODE" or node["from_table"]["type"] != "BASE_TABLE":
        return False
    name = TableName.decode(node["from_table"]["table_name"])
    return name == TableName(name.name) and not node["cte_map"]["map"]


def _reads_more(node: tree.Node) -> bool:
    """True if a value of a row depends on more than the row."""
    if node["sample"] is not None or node["from_table"]["sample"] is not None:
        return True
    if node["from_table"]["column_name_alias"]:
        return True
    return any(
        part.get("type") == "SUBQUERY" or part.get("function_name") in _OF_OTHER_ROWS
        for part in tree.walk(node)
    )


def _is_column(item: tree.Node, names: Names) -> bool:
    """True where the alias of an item is a column's name, which wins over it."""
    return names.resolve([item["alias"]]) is not None


def _keys(
    node: tree.Node, aliased: list[tree.Node], aggregates: frozenset[str]
) -> tuple[tree.Node, ...] | None:
    """The keys of the groups of a SELECT; None where it has none, or they can't be told."""

    def combines(item: tree.Node) -> bool:
        return any(
            part.get("type") == "FUNCTION" and str(part["function_name"]).lower() in aggregates
            for part in tree.walk(item)
        )

    items, groups = node["select_list"], node["group_expressions"]
    distinct = tree.modifier(node, "DISTINCT_MODIFIER")
    if node["group_sets"] not in ([], [list(range(len(groups)))]):
        return None
    if any(item["type"] == "STAR" for item in items):
        return None
    if distinct is not None and (groups or distinct["distinct_on_targets"]):
        return None
    if node["aggregate_handling"] == "FORCE_AGGREGATES":
        found = [item for item in items if not combines(item)]
    elif groups:
        found = [_of_ordinal(group, items) for group in groups]
    elif distinct is not None:
        found = items
    elif any(map(combines, items)) or (node["having"] and combines(node["having"])):
        found = []
    else:
        return None
    keys = [unaliased(key, aliased) for key in found]
    known = [tree.named(key, "") for key in keys if key is not None]
    whole = len(known) < len(keys) or any(
        combines(key) or any(part.get("class") == "WINDOW" for part in tree.walk(key))
        for key in known
    )
    return None if whole else tuple(known)


def _of_ordinal(group: tree.Node, items: Sequence[tree.Node]) -> tree.Node:
    found = tree.literal(group)
    if found is not None and found[0] == "INTEGER" and 1 <= int(found[1]) <= len(items):
        return tree.named(items[int(found[1]) - 1], "")
    return group


def _named(keys: Sequence[tree.Node]) -> list[tree.Node]:
    return [tree.named(key, f"__key{number}") for number, key in enumerate(keys)]


def _is_one_of(key: tree.Node, field: pa.Field, values: pa.ChunkedArray) -> tree.Node | None:
    """The condition that a key has one of these values; None where it can't be written."""
    kind = _LITERALS.get((field.metadata or {}).get(SQL_TYPE_KEY, b"").decode())
    if kind is None:
        return None
    distinct = values.unique().to_pylist()
    if len(distinct) > GROUPS_MAX:
        return None
    known = [tree.constant(kind, _text(value)) for value in distinct if value is not None]
    terms = [_operation("COMPARE_IN", [key, *known])] if known else []
    if None in distinct:
        terms.append(_operation("OPERATOR_IS_NULL", [key]))
    return terms[0] if len(terms) == 1 else _operation("CONJUNCTION_OR", terms)


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _operation(operator: str, operands: list[tree.Node]) -> tree.Node:
    kind = "CONJUNCTION" if operator.startswith("CONJUNCTION") else "OPERATOR"
    return {
        "class": kind,
        "type": operator,
        "alias": "",
        "query_location": 0,
        "children": operands,
    }
