"""Binding of what stands after FROM: collections become gathered tables, the rest stays.

Each table becomes a source of its scope, in the order written, since a lateral join sees those
before it. Where the engine itself has to find columns by name (USING, PIVOT), a collection is
wrapped into a subquery that has them under the user's names.
"""

from collections.abc import Mapping
from typing import Final

from aggregator.statement import tree
from aggregator.statement.columns import Columns
from aggregator.statement.expressions import BindQuery, Expressions
from aggregator.statement.pivot import Pivoted
from aggregator.statement.scope import Bindings, Reference, Scope, Source
from aggregator.statement.stars import column_names, expand
from aggregator.statement.syntax import Parser
from aggregator.statement.tablename import TableName
from alder.errors import AlderError, Reason
from alder.fieldtypes import quote

_TABLE_FUNCTION_COLUMNS: Final[Mapping[str, list[str]]] = {
    name: ["key", "value", "type", "atom", "id", "parent", "fullkey", "path", "json", "root"]
    for name in ("json_each", "json_tree")
}


class Sources:
    """Binds the FROMs of one statement."""

    def __init__(
        self,
        bindings: Bindings,
        expressions: Expressions,
        query: BindQuery,
        parser: Parser,
    ) -> None:
        self._bindings = bindings
        self._expressions = expressions
        self._query = query
        self._parser = parser

    def bound(self, node: tree.Node, scope: Scope) -> tree.Node:
        """The bound table; what it offers is added to the scope. Raises AlderError."""
        match node["type"]:
            case "BASE_TABLE":
                return self._base_table(node, scope)
            case "SUBQUERY":
                inner, columns = self._query(node["subquery"]["node"], scope, scope.ctes)
                columns = renamed(columns, node["column_name_alias"])
                scope.sources.append(Source(node["alias"], columns))
                return {**node, "subquery": {**node["subquery"], "node": inner}}
            case "JOIN":
                return self._join(node, scope)
            case "TABLE_FUNCTION":
                return self._table_function(node, scope)
            case "EXPRESSION_LIST":
                bound = tree.mapped(node, lambda child: self._expressions.bound(child, scope))
                width = len(node["values"][0]) if node["values"] else 0
                scope.sources.append(Source(node["alias"], [f"col{i}" for i in range(width)]))
                return bound
            case "PIVOT":
                return self._pivot(node, scope)
            case "SHOW_REF":
                return self._show(node, scope)
            case "EMPTY":
                return node
            case other:
                raise AlderError(Reason.UNSUPPORTED, f"{other} is not supported after FROM")

    def _base_table(self, node: tree.Node, scope: Scope) -> tree.Node:
        name = node["table_name"]
        alias = node["alias"] or TableName.decode(name).name
        if name.lower() in scope.ctes:
            columns = renamed(scope.ctes[name.lower()], node["column_name_alias"])
            scope.sources.append(Source(alias, columns))
            return node
        reference = self._bindings.add(name)
        bound = {**tree.table(reference.table, reference.alias), "sample": node["sample"]}
        names = self._bindings.collections[name]
        if node["column_name_alias"]:
            names = names.renamed(alias, node["column_name_alias"])
        scope.sources.append(Source(alias, None, reference, names, node=bound))
        return bound

    def _table_function(self, node: tree.Node, scope: Scope) -> tree.Node:
        call = self._expressions.bound(node["function"], scope)
        name = str(node["function"]["function_name"]).lower()
        columns = _TABLE_FUNCTION_COLUMNS.get(name, [name])
        alias = node["alias"] or name
        known = renamed([*columns], node["column_name_alias"]) or []
        if node["alias"] and not node["column_name_alias"] and len(known) == 1:
            known.append(alias)
        scope.sources.append(Source(alias, known))
        return {**node, "function": call}

    def _show(self, node: tree.Node, scope: Scope) -> tree.Node:
        """SUMMARIZE and DESCRIBE of a query; the latter reads nothing."""
        if node.get("query") is None:
            raise AlderError(
                Reason.UNSUPPORTED,
                "SHOW is not answered inside a query; SHOW TABLES is a statement of its own",
            )
        begin = len(self._bindings.references)
        inner, _ = self._query(node["query"], scope, scope.ctes)
        scope.sources.append(Source(node["alias"], None))
        if node["show_type"] == "DESCRIBE":
            inner = self._over_nothing(inner, self._bindings.references[begin:])
            del self._bindings.references[begin:]
        return {**node, "query": inner}

    def _over_nothing(self, query: tree.Node, references: list[Reference]) -> tree.Node:
        """A query over tables without rows in place of what it would read."""
        entries = []
        for reference in references:
            columns = [
                f"NULL::{entry.sql_type} AS {quote(name)}"
                for entry, name in reference.columns.items()
            ]
            nothing = self._parser.parse(f"SELECT {', '.join(columns) or 'NULL'} WHERE false").node
            entries.append(tree.cte(reference.table, nothing))
        known = query["cte_map"]["map"]
        return {**query, "cte_map": {"map": [*entries, *known]}}

    def _pivot(self, node: tree.Node, scope: Scope) -> tree.Node:
        inner = Scope(scope.parent, scope.ctes)
        source = self.bound(node["source"], inner)
        alias = inner.sources[0].alias if len(inner.sources) == 1 else ""
        scope.sources.append(Source(node["alias"] or alias, None))

        def bind(expression: tree.Node) -> tree.Node:
            return self._expressions.bound(expression, inner)

        if not any(one.names for one in inner.sources):
            rest = {key: value for key, value in node.items() if key != "source"}
            return {**tree.mapped(rest, bind), "source": source}
        every = expand(tree.star(), inner, self._bindings, self._expressions.bound)
        columns = Columns(inner, self._bindings, self._expressions.bound, self._parser)
        pivoted = Pivoted(every, bind, columns.repeated, self._bindings, self._parser)
        return pivoted.bound(node, source, alias)

    def _join(self, node: tree.Node, scope: Scope) -> tree.Node:
        begin = len(scope.sources)
        left = self.bound(node["left"], scope)
        middle = len(scope.sources)
        right = self.bound(node["right"], scope)
        if node["ref_type"] == "NATURAL":
            common = _in_common(scope.sources[begin:middle], scope.sources[middle:])
            node = {**node, "ref_type": "REGULAR", "using_columns": common}
        for side in (scope.sources[begin:middle], scope.sources[middle:]):
            if len(side) == 1 and column_names(side[0]) is None:
                side[0].using += node["using_columns"]
        for name in node["using_columns"]:
            scope.using[name.lower()] = name
            for source in scope.sources[begin:]:
                self._expose(source, name)
        condition = node["condition"] and self._expressions.bound(node["condition"], scope)
        if node["join_type"] in {"SEMI", "ANTI"}:
            for source in scope.sources[middle:]:
                source.hidden = True
        return {**node, "left": left, "right": right, "condition": condition}

    def _expose(self, source: Source, name: str) -> None:
        """Gives a collection's table a column under the user's name, for USING."""
        if source.names is None or source.reference is None or source.hidden:
            return
        wanted = source.names.resolve([name])
        if wanted is None:
            return
        column = tree.column(self._bindings.column(source.reference, wanted))
        if source.node["type"] == "BASE_TABLE":
            inner = {**tree.table(source.reference.table), "sample": source.node["sample"]}
            wrapped = tree.subquery_table(tree.select([tree.star()], inner), source.node["alias"])
            source.node.clear()
            source.node.update(wrapped)
        items = source.node["subquery"]["node"]["select_list"]
        if all(item["alias"].lower() != name.lower() for item in items):
            items.append(tree.named(column, name))


def renamed(columns: list[str] | None, aliases: list[str]) -> list[str] | None:
    """Columns of a table after whose name aliases are listed."""
    if columns is None:
        return None
    return [*aliases, *columns[len(aliases) :]]


def _in_common(left: list[Source], right: list[Source]) -> list[str]:
    """The columns that both sides of a NATURAL JOIN have, as the left one spells them."""
    sides: list[dict[str, str]] = []
    for sources in (left, right):
        side: dict[str, str] = {}
        for source in sources:
            names = column_names(source)
            if names is None:
                raise AlderError(
                    Reason.UNSUPPORTED,
                    "NATURAL JOIN of a table whose columns are known only when it runs is not "
                    "supported; use USING",
                )
            for name in names:
                side.setdefault(name.lower(), name)
        sides.append(side)
    common = [name for lower, name in sides[0].items() if lower in sides[1]]
    if not common:
        raise AlderError(
            Reason.WRONG_TYPE,
            "the sides of NATURAL JOIN have no column in common; "
            "use CROSS JOIN for every pair of rows",
        )
    return common
