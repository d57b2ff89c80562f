"""Select lists: what `*` stands for over documents, and what a column without alias is called.

`*` over a collection is the top-level fields of its documents in the order first seen: a scalar or
list as its column, an object as one JSON column.
"""

from collections.abc import Callable
from dataclasses import dataclass

from aggregator.statement import tree
from aggregator.statement.names import Field, nearest_of
from aggregator.statement.scope import Bindings, Scope, Source
from aggregator.statement.syntax import Parser
from alder.errors import AlderError, Reason

Bind = Callable[[tree.Node, Scope], tree.Node]


@dataclass(frozen=True, slots=True)
class Item:
    """An entry of a select list and the columns it makes; None: only the engine knows them."""

    names: tuple[str, ...] | None
    node: tree.Node

    @property
    def name(self) -> str | None:
        """The name of its only column; None where it makes several or unknown ones."""
        return self.names[0] if self.names is not None and len(self.names) == 1 else None


def default_name(item: tree.Node, parser: Parser) -> str:
    """The name that the engine gives to an expression without alias."""
    if item["type"] == "COLUMN_REF":
        return str(item["column_names"][-1])
    if item["type"] == "STRUCT_EXTRACT":
        key = tree.literal(item["children"][1])
        if key is not None:
            return key[1]
    return parser.expression_text(item)


def refuse_star(scope: Scope) -> None:
    """Raises AlderError(UNSUPPORTED) for `*` or COLUMNS inside an expression over a collection."""
    if any(source.names for source in scope.sources):
        raise AlderError(
            Reason.UNSUPPORTED,
            "* and COLUMNS(…) inside an expression are not supported over a collection; "
            "name the columns",
        )


def expand(item: tree.Node, scope: Scope, bindings: Bindings, bind: Bind) -> list[Item]:
    """The columns of a `*`, with its EXCLUDE, REPLACE and RENAME."""
    relation = item["relation_name"].lower()
    sources = [
        source
        for source in scope.sources
        if not source.hidden and (not relation or source.alias.lower() == relation)
    ]
    if relation and not sources:
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
        for column in _columns(source, bindings):
            name = (column.name or "").lower()
            if not relation and name in scope.using:
                if name in merged:
                    continue
                merged.add(name)
                column = Item(column.names, tree.named(tree.column(scope.using[name]), name))
            columns.append(column)
    return _edited(columns, item, lambda node: bind(node, scope))


def _left_to_engine(item: tree.Node, sources: list[Source], scope: Scope, bind: Bind) -> list[Item]:
    plain = not (item["exclude_list"] or item["replace_list"] or item["rename_list"])
    known = [source.columns for source in sources if source.columns is not None]
    if not plain or len(known) != len(sources) or scope.using:
        return [Item(None, tree.mapped(item, lambda child: bind(child, scope)))]
    return [Item(tuple(name for names in known for name in names), item)]


def _columns(source: Source, bindings: Bindings) -> list[Item]:
    if source.names is None or source.reference is None:
        if source.columns is None:
            return [Item(None, {**tree.star(), "relation_name": source.alias})]
        return [Item((name,), tree.column(source.alias, name)) for name in source.columns]
    fields = source.names.top_level() or [("_doc", Field("_doc", "JSON"))]
    return [
        Item(
            (name,),
            tree.named(
                tree.column(source.reference.alias, bindings.column(source.reference, entry)), name
            ),
        )
        for name, entry in fields
    ]


def _edited(
    columns: list[Item], item: tree.Node, bind: Callable[[tree.Node], tree.Node]
) -> list[Item]:
    known = [column.name for column in columns if column.name is not None]

    def meant(name: str) -> list[str]:
        alike = [entry for entry in known if entry.lower() == name.lower()]
        if not alike and len(known) == len(columns):
            raise AlderError(Reason.UNKNOWN_COLUMN, f"there is no column {name} among those of *")
        return [name] if name in alike else alike

    excluded = {name for written in item["exclude_list"] for name in meant(written)}
    for entry in item["qualified_exclude_list"]:
        excluded.update(meant(entry["column"]))
    replaced = {name: entry for entry in item["replace_list"] for name in meant(entry["key"])}
    renamed = {
        name: entry["value"]
        for entry in item["rename_list"]
        for name in meant(entry["key"]["column"])
    }
    edited = []
    for column in columns:
        name = column.name
        if name is None or name not in excluded | replaced.keys() | renamed.keys():
            edited.append(column)
        elif name in replaced:
            entry = replaced[name]
            edited.append(Item((entry["key"],), tree.named(bind(entry["value"]), entry["key"])))
        elif name in renamed:
            new_name = renamed[name]
            edited.append(Item((new_name,), tree.named(column.node, new_name)))
    return edited
