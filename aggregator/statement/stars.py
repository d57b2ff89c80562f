"""Select lists: what `*` stands for over documents, and what a column without alias is called.

`*` over a collection is the top-level fields of its documents in the order first seen: a scalar or
list as its column, an object as one JSON column. `object.*` is the fields inside of an object.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from aggregator.statement import tree
from aggregator.statement.names import Field, Names, nearest_of
from aggregator.statement.scope import Bindings, Reference, Scope, Source
from aggregator.statement.syntax import Parser
from alder.errors import AlderError, Reason

Bind = Callable[[tree.Node, Scope], tree.Node]


@dataclass(frozen=True, slots=True)
class Item:
    """An entry of a select list and the columns it makes; None: only the engine knows them.

    ``table``: the alias of what a column of a `*` comes from.
    """

    names: tuple[str, ...] | None
    node: tree.Node
    table: str = ""

    @property
    def name(self) -> str | None:
        """The name of its only column; None where it makes several or unknown ones."""
        return self.names[0] if self.names is not None and len(self.names) == 1 else None


def default_name(item: tree.Node, parser: Parser) -> str:
    """The name that the engine gives to an expression without alias."""
    if item["type"] == "COLUMN_REF":
        return str(item["column_names"][-1])
    return parser.expression_text(item)


def column_names(source: Source) -> list[str] | None:
    """The columns of a `*` over a table; None where they aren't known here."""
    if source.hidden:
        return []
    if source.names is not None:
        return [name for name, _ in _fields(source.names)]
    return source.columns


def expand(item: tree.Node, scope: Scope, bindings: Bindings, bind: Bind) -> list[Item]:
    """The columns of a `*`, with its EXCLUDE, REPLACE and RENAME."""
    relation = item["relation_name"].lower()
    sources = [
        source
        for source in scope.sources
        if not source.hidden and (not relation or source.alias.lower() == relation)
    ]
    if relation and not sources:
        inside = _inside(item, scope, bindings, bind)
        if inside is not None:
            return inside
        known = [source.alias for source in scope.sources]
        near = nearest_of(relation, known)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise AlderError(
            Reason.UNKNOWN_COLLECTION, f"there is no {item['relation_name']} after FROM{hint}"
        )
    if not any(source.names for source in sources):
        return _left_to_engine(item, sources, scope, bind)
    columns: list[Item] = []
    merged: set[str] = set()
    for source in sources:
        if column_names(source) is None and not relation:
            columns.append(_unknown(source, merged))
            continue
        for column in _columns(source, bindings):
            name = (column.name or "").lower()
            if not relation and name in scope.using:
                if name in merged:
                    continue
                merged.add(name)
                column = replace(column, node=tree.named(tree.column(scope.using[name]), name))
            columns.append(column)
    return _edited(columns, item, lambda node: bind(node, scope))


def _unknown(source: Source, merged: set[str]) -> Item:
    """What a table whose columns aren't known adds to a `*`, beside columns that USING merged."""
    using = {name.lower(): name for name in source.using}
    new = [name for lower, name in using.items() if lower not in merged]
    star = {
        **tree.star(),
        "relation_name": source.alias,
        "exclude_list": [name for lower, name in using.items() if lower in merged],
        "replace_list": [{"key": name, "value": tree.column(name)} for name in new],
    }
    merged.update(using)
    return Item(None, star, source.alias)


def _left_to_engine(item: tree.Node, sources: list[Source], scope: Scope, bind: Bind) -> list[Item]:
    plain = not (item["exclude_list"] or item["replace_list"] or item["rename_list"])
    known = [source.columns for source in sources if source.columns is not None]
    if not plain or len(known) != len(sources) or scope.using:
        return [Item(None, tree.mapped(item, lambda child: bind(child, scope)))]
    return [Item(tuple(name for names in known for name in names), item)]


def _inside(item: tree.Node, scope: Scope, bindings: Bindings, bind: Bind) -> list[Item] | None:
    """The columns of ``object.*``; None where nothing in sight has such an object."""
    name = item["relation_name"]
    for source in scope.sources:
        if source.hidden:
            continue
        if source.names is None or source.reference is None:
            if source.columns is None or name.lower() in map(str.lower, source.columns):
                return [Item(None, tree.mapped(item, lambda child: bind(child, scope)))]
            continue
        fields = source.names.inside(name)
        if fields:
            columns = _bound(fields, source, source.reference, bindings)
            return _edited(columns, item, lambda node: bind(node, scope))
    return None


def _columns(source: Source, bindings: Bindings) -> list[Item]:
    if source.names is None or source.reference is None:
        if source.columns is None:
            return [Item(None, {**tree.star(), "relation_name": source.alias}, source.alias)]
        alias = source.alias
        return [Item((name,), tree.column(alias, name), alias) for name in source.columns]
    return _bound(_fields(source.names), source, source.reference, bindings)


def _fields(names: Names) -> list[tuple[str, Field]]:
    return names.top_level() or [("_doc", Field("_doc", "JSON"))]


def _bound(
    fields: list[tuple[str, Field]], source: Source, reference: Reference, bindings: Bindings
) -> list[Item]:
    return [
        Item(
            (name,),
            tree.named(tree.column(reference.alias, bindings.column(reference, entry)), name),
            source.alias,
        )
        for name, entry in fields
    ]


def _edited(
    columns: list[Item], item: tree.Node, bind: Callable[[tree.Node], tree.Node]
) -> list[Item]:
    def meant(name: str, table: str = "") -> list[int]:
        """The places of the columns of this name; the one spelled like it wins."""
        alike = [
            place
            for place, column in enumerate(columns)
            if column.name is not None
            and column.name.lower() == name.lower()
            and table.lower() in {"", column.table.lower()}
        ]
        if not alike and all(column.name is not None for column in columns):
            raise AlderError(Reason.UNKNOWN_COLUMN, f"there is no column {name} among those of *")
        return [place for place in alike if columns[place].name == name] or alike

    excluded = {place for name in item["exclude_list"] for place in meant(name)}
    for entry in item["qualified_exclude_list"]:
        excluded.update(meant(entry["column"], entry["table"]))
    replaced = {place: entry for entry in item["replace_list"] for place in meant(entry["key"])}
    renamed = {
        place: entry["value"]
        for entry in item["rename_list"]
        for place in meant(entry["key"]["column"], entry["key"]["table"])
    }
    edited = []
    for place, column in enumerate(columns):
        if place in replaced:
            name = replaced[place]["key"]
            edited.append(Item((name,), tree.named(bind(replaced[place]["value"]), name)))
        elif place in renamed:
            name = renamed[place]
            edited.append(Item((name,), tree.named(column.node, name)))
        elif place not in excluded:
            edited.append(column)
    return edited
