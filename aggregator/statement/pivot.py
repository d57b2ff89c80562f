"""PIVOT and UNPIVOT over collections.

The engine pivots by the names of columns, and columns that it is not told about become groups, so
what it pivots is a subquery that has exactly the columns of `*` under the user's names, and those
of paths inside of objects that the statement names. As of a struct in the engine, of an object that
is named in part nothing else is left.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from aggregator.statement import tree
from aggregator.statement.names import Field
from aggregator.statement.scope import Bindings
from aggregator.statement.stars import Item, default_name
from aggregator.statement.syntax import Parser
from alder import paths

Repeated = Callable[[tree.Node], Sequence[tuple[str, tree.Node]]]
"""An expression once per column that it means, as :meth:`Columns.repeated` gives it."""


@dataclass(slots=True)
class Pivoted:
    """The subquery that is pivoted, and the expressions of a PIVOT over its columns.

    ``every`` are the columns of `*` over the source, bound.
    """

    every: Sequence[Item]
    bind: Callable[[tree.Node], tree.Node]
    repeated: Repeated
    bindings: Bindings
    parser: Parser
    _used: set[str] = field(default_factory=set)
    _extra: dict[str, tuple[str, tree.Node]] = field(default_factory=dict)

    def bound(self, node: tree.Node, source: tree.Node, alias: str) -> tree.Node:
        """The PIVOT or UNPIVOT over a bound source."""
        rest = {
            "aggregates": self._aggregates(node["aggregates"]),
            "pivots": [self._pivot(entry) for entry in node["pivots"]],
            "groups": [self._group(name) for name in node["groups"]],
        }
        grouped = bool(node["groups"])
        query = tree.select(self._columns(grouped), source)
        return {**node, **rest, "source": tree.subquery_table(query, alias)}

    def _aggregates(self, aggregates: list[tree.Node]) -> list[tree.Node]:
        found = []
        for one in aggregates:
            local = self._local(one)
            renames = len(aggregates) > 1 and not one["alias"] and local != one
            found.append(tree.named(local, default_name(one, self.parser)) if renames else local)
        return found

    def _pivot(self, pivot: tree.Node) -> tree.Node:
        expressions = [self._local(one) for one in pivot["pivot_expressions"]]
        entries = []
        for entry in pivot["entries"]:
            written = entry["star_expr"]
            if written is None:
                entries.append(entry)
                continue
            for _, one in self.repeated(written):
                local = self._local(one)
                alias = entry["alias"] or _other_name(written, local)
                entries.append({**entry, "star_expr": tree.named(local, alias), "alias": alias})
        return {**pivot, "pivot_expressions": expressions, "entries": entries}

    def _group(self, name: str) -> str:
        return str(self._local(tree.column(name))["column_names"][-1])

    def _local(self, node: tree.Node) -> tree.Node:
        """An expression over the columns of the subquery."""
        names = {tree.identity(item.node): item.name for item in self.every if item.name}

        def change(part: tree.Node) -> tree.Node:
            if part.get("type") != "COLUMN_REF":
                return tree.mapped(part, change)
            known = tree.identity(part)
            name = names.get(known)
            if name is None:
                found = self.bindings.field_at(part)
                if found is None:
                    return part
                name = self._extra.setdefault(known, (found[1].path, part))[0]
            self._used.add(known)
            return {**tree.column(name), "alias": part["alias"]}

        return change(self.bind(node))

    def _columns(self, grouped: bool) -> list[tree.Node]:
        entered = {_first_key(entry) for entry in map(self._field, self._extra_nodes()) if entry}
        columns = []
        for item in self.every:
            used = tree.identity(item.node) in self._used
            entry = self._field(item.node)
            named_in_part = entry is not None and entry.path in entered
            if used or not (grouped or named_in_part):
                columns.append(item.node if item.name is None else tree.named(item.node, item.name))
        return columns + [tree.named(part, name) for name, part in self._extra.values()]

    def _extra_nodes(self) -> list[tree.Node]:
        return [part for _, part in self._extra.values()]

    def _field(self, node: tree.Node) -> Field | None:
        found = self.bindings.field_at(node)
        return found[1] if found is not None else None


def _first_key(entry: Field) -> str:
    return paths.join(paths.split(entry.path)[:1])


def _other_name(written: tree.Node, local: tree.Node) -> str:
    """The name of a column that the subquery calls by its whole path."""
    if written["type"] != "COLUMN_REF" or local["type"] != "COLUMN_REF":
        return ""
    last = str(written["column_names"][-1])
    return last if len(written["column_names"]) > 1 and local["column_names"] != [last] else ""
