"""Views: their names after FROM become the SELECTs that they stand for, before anything is bound.

Which version a name means is decided once per query, from one snapshot of the catalog
(:func:`pinned`); the expanded statement is then an ordinary one, and its text names every version
in it, so whatever is kept by that text is never taken for another version's.

What a view reads is what its own text names: a WITH of the statement around it hides nothing from
it. A view that is read once is a subquery in place, unless some WITH has the name of a table of a
view; then, and where a view is read several times, it comes first in the WITH of the statement,
where it sees no other name.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from aggregator.statement import tables, tree
from aggregator.statement.syntax import NODES_MAX, Statement
from aggregator.statement.tablename import AsOf, TableName
from alder.catalog import Snapshot
from alder.definitions import Definition, Version, no_version, unpinned
from alder.errors import AlderError, Reason

Parse = Callable[[str], Statement]
"""The checked statement in a view's text."""


@dataclass(frozen=True, slots=True)
class Pinned:
    """A version of a view, under the view's name as the catalog has it."""

    name: str
    version: Version
    accelerate: bool = False


Views = Mapping[str, Pinned]
"""By the name after FROM, without a moment: ``v`` or ``v@2``."""


def pinned(names: Iterable[str], snapshot: Snapshot) -> dict[str, Pinned]:
    """The views among the names of tables, and all views below them.

    Raises AlderError(UNKNOWN_COLLECTION) for a name that is neither collection nor view.
    """
    found: dict[str, Pinned] = {}
    waiting = [_bare(TableName.decode(name)) for name in names]
    while waiting:
        name = waiting.pop()
        view = view_of(TableName.decode(name).name, snapshot) if name not in found else None
        if view is not None:
            version = _version(view, TableName.decode(name).version)
            found[name] = Pinned(view.name, version, view.accelerate)
            waiting += version.reads
    return found


def view_of(name: str, snapshot: Snapshot) -> Definition | None:
    """The view of a name, None for a collection; spelled exactly, or alone in differing in case.

    Raises AlderError(UNKNOWN_COLLECTION) where it is neither.
    """
    if name in snapshot.collections:
        return None
    known = snapshot.definitions.get(name)
    if known is None:
        lower = name.lower()
        alike = [entry for entry in snapshot.collections if entry.lower() == lower]
        known = next(
            (entry for entry in snapshot.definitions.values() if entry.name.lower() == lower), None
        )
        if len(alike) == 1:
            return None
    if known is None:
        views = [entry.name for entry in snapshot.definitions.values() if entry.is_view]
        raise tables.unknown_collection(name, [*snapshot.collections, *views])
    if not known.is_view:
        raise AlderError(
            Reason.UNSUPPORTED,
            f"{known.name} is a saved query, which is no table; write EXECUTE {known.name}(...)",
        )
    return known


def reads(names: Iterable[str], snapshot: Snapshot) -> list[str]:
    """The names of tables as the catalog spells them, ``v@2`` where a version is pinned."""
    found: dict[str, None] = {}
    for name in names:
        table = TableName.decode(name)
        view = view_of(table.name, snapshot)
        if view is None:
            known = tables.collections_of([name], snapshot.collections)[name].name
        else:
            _version(view, table.version)
            known = view.name
        found[_bare(replace(table, name=known))] = None
    return list(found)


def expanded(statement: Statement, views: Views, parse: Parse) -> Statement:
    """The statement with each view replaced by its SELECT.

    Raises AlderError(LIMIT) where it becomes too large, and what ``parse`` raises.
    """
    expansion = _Expansion(views, parse)
    expansion.add(statement.node, None)
    texts = [statement.sql, *map(_text, expansion.parts)]
    sql = "\0".join(texts)
    node = expansion.expanded(statement.node, _prefix(sql))
    if sum(1 for _ in tree.walk(node)) > NODES_MAX:
        raise AlderError(
            Reason.LIMIT,
            f"the statement and its views have more than {NODES_MAX} parts; use fewer views",
        )
    return replace(statement, sql=sql, node=node)


@dataclass(frozen=True, slots=True)
class _Part:
    """A version of a view at a moment, and its SELECT."""

    pinned: Pinned
    as_of: AsOf | None
    node: tree.Node


@dataclass(slots=True)
class _Expansion:
    """The views below a statement, what is below first; keys are encoded and pinned names."""

    views: Views
    parse: Parse
    _parts: dict[str, _Part] = field(default_factory=dict)
    _uses: Counter[str] = field(default_factory=Counter)

    @property
    def parts(self) -> Iterable[_Part]:
        return self._parts.values()

    def add(self, query: tree.Node, within: Pinned | None) -> None:
        """Notes the views that a query reads."""

        def note(table: tree.Node) -> tree.Node:
            view, name = self._meant(table, within)
            if view is not None:
                key = _key(view, name)
                self._uses[key] += 1
                if key not in self._parts:
                    node = self.parse(view.version.sql).node
                    node = node if name.as_of is None else tables.read_at(node, name.as_of)
                    self.add(node, view)
                    self._parts[key] = _Part(view, name.as_of, node)
            return table

        tables.mapped(query, note)

    def expanded(self, query: tree.Node, prefix: str) -> tree.Node:
        """The query without views."""
        hidden = _ctes([query, *(part.node for part in self.parts)])
        own = {
            TableName.decode(name).name.lower()
            for part in self.parts
            for name in tables.tables(part.node)
        }
        names = {
            key: f"{prefix}{number}"
            for number, key in enumerate(self._parts)
            if self._uses[key] > 1 or hidden & own
        }
        made: dict[str, tree.Node] = {}
        for key, part in self._parts.items():
            made[key] = self._placed(part.node, part.pinned, names, made)
        entries = [_cte(name, self._parts[key], made[key]) for key, name in names.items()]
        node = self._placed(query, None, names, made)
        return {**node, "cte_map": {"map": [*entries, *node["cte_map"]["map"]]}}

    def _placed(
        self,
        query: tree.Node,
        within: Pinned | None,
        names: Mapping[str, str],
        made: Mapping[str, tree.Node],
    ) -> tree.Node:
        def place(table: tree.Node) -> tree.Node:
            view, name = self._meant(table, within)
            if view is None:
                return tree.renamed_table(table, name.encode())
            key = _key(view, name)
            alias = table["alias"] or name.name
            if key in names:
                return {**tree.renamed_table(table, names[key]), "alias": alias}
            aliases = [
                *table["column_name_alias"],
                *view.version.columns[len(table["column_name_alias"]) :],
            ]
            subquery = tree.subquery_table(made[key], alias)
            return {**subquery, "sample": table["sample"], "column_name_alias": aliases}

        return tables.mapped(query, place)

    def _meant(self, table: tree.Node, within: Pinned | None) -> tuple[Pinned | None, TableName]:
        """The view that a table is, and its name; inside a view spelled as it was then."""
        name = TableName.decode(table["table_name"])
        if within is not None:
            name = replace(name, name=_spelled(name.name, within.version))
        return self.views.get(_bare(name)), name


def _spelled(name: str, version: Version) -> str:
    """A name in a view's text as the catalog spelled it when the view was defined."""
    known = [unpinned(entry)[0] for entry in version.reads]
    alike = [entry for entry in known if entry.lower() == name.lower()]
    return alike[0] if alike and name not in known else name


def _key(view: Pinned, name: TableName) -> str:
    return TableName(view.name, view.version.number, name.as_of).encode()


def _bare(name: TableName) -> str:
    """The name without its moment."""
    return replace(name, as_of=None).encode()


def _version(view: Definition, number: int | None) -> Version:
    version = view.version(number)
    if version is None:
        raise no_version(view, number)
    return version


def _text(part: _Part) -> str:
    """What tells a version apart from any other, texts without NUL between NULs."""
    version = part.pinned.version
    return "\0".join(
        [part.pinned.name, str(version.number), *version.columns, *version.reads, version.sql]
    )


def _prefix(text: str) -> str:
    """What the names of our WITH begin with: nothing that a text holds."""
    prefix = "__v"
    while prefix in text.lower():
        prefix += "_"
    return prefix


def _ctes(queries: Iterable[tree.Node]) -> set[str]:
    """The names that the WITHs of queries give, in lower case."""
    return {
        entry["key"].lower()
        for query in queries
        for part in tree.walk(query)
        if "cte_map" in part
        for entry in part["cte_map"]["map"]
    }


def _cte(name: str, part: _Part, query: tree.Node) -> tree.Node:
    """An entry of a WITH."""
    return {
        "key": name,
        "value": {
            "aliases": list(part.pinned.version.columns),
            "materialized": "CTE_MATERIALIZE_DEFAULT",
            "key_targets": [],
            "payload_aggregates": [],
            "query_node": query,
        },
    }
