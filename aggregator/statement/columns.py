"""COLUMNS(…): an expression that stands for one per column, and `*COLUMNS(…)` for its arguments.

Which columns are meant is decided here, since the engine sees columns of ours; a choice by a
regular expression, a list or a lambda is evaluated over their names by the engine itself.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from aggregator.statement import tree
from aggregator.statement.scope import Bindings, Scope
from aggregator.statement.stars import Bind, Item, default_name, expand
from aggregator.statement.syntax import Parser
from alder.errors import AlderError, Reason

COLUMN: Final = "BOUND_COLUMN"
"""Type of a node that holds a column which is bound already, under ``bound``."""
_ONE: Final = "one"
_LIKES: Final = frozenset({"~~", "!~~", "~~*", "!~~*", "~~~", "regexp_full_match"})
_CHOOSING: Final = _LIKES | {
    "contains", "ends_with", "len", "length", "list_apply", "list_filter", "list_value", "lower",
    "prefix", "regexp_matches", "starts_with", "struct_extract", "struct_pack", "substr",
    "substring", "suffix", "upper",
}  # fmt: skip
"""Functions that a choice of columns may call: none that takes long, since nothing stops it."""
_CHOOSING_CLASSES: Final = frozenset(
    {"STAR", "COLUMN_REF", "CONSTANT", "COMPARISON", "CONJUNCTION", "OPERATOR", "BETWEEN"}
)


def refuse(scope: Scope) -> None:
    """Raises AlderError(UNSUPPORTED) for a `*` or COLUMNS that a collection gives no meaning."""
    if _over_collections(scope):
        raise AlderError(
            Reason.UNSUPPORTED,
            "* and COLUMNS(…) of a collection are not supported here; name the columns",
        )


@dataclass(frozen=True, slots=True)
class Columns:
    """Replaces COLUMNS(…) in expressions of one scope."""

    scope: Scope
    bindings: Bindings
    bind: Bind
    parser: Parser

    def repeated(self, node: tree.Node) -> list[tuple[str, tree.Node]]:
        """The expression once per column that its COLUMNS means, with names for the results.

        Just the expression, with no name, where it has none. Raises AlderError: UNKNOWN_COLUMN
        where no column is meant, UNSUPPORTED for two different COLUMNS in one expression.
        """
        if not _over_collections(self.scope):
            return [("", node)]
        unpacked = self._unpacked(node)
        stars = {tree.identity(star): star for star in _stars(unpacked)}
        if not stars:
            if unpacked == node:
                return [("", node)]
            return [(str(node["alias"] or default_name(node, self.parser)), unpacked)]
        if len(stars) > 1:
            raise AlderError(
                Reason.UNSUPPORTED,
                "several different COLUMNS(…) in one expression are not supported",
            )
        (star,) = stars.values()
        return [
            (self._name(node, column), _replaced(unpacked, column)) for column in self._chosen(star)
        ]

    def conjunction(self, node: tree.Node | None) -> tree.Node | None:
        """A condition that holds where it does for each of the columns that its COLUMNS means."""
        return tree.conjunction([one for _, one in self.repeated(node)]) if node else None

    def _name(self, node: tree.Node, column: Item) -> str:
        alias, name = str(node.get("alias") or ""), str(column.name)
        pattern = tree.literal(node["expr"]) if node["type"] == "STAR" and node["expr"] else None
        if alias and pattern is not None:
            return self.parser.regexp_replaced(name, pattern[1], alias)
        return alias or name

    def _unpacked(self, node: tree.Node) -> tree.Node:
        """The expression with each ``*COLUMNS(…)`` replaced by the arguments that it stands for."""
        if node.get("type") == "SUBQUERY":
            return node
        made = tree.mapped(node, self._unpacked)
        if any(map(_is_unpack, node.get("children") or [])):
            made["children"] = [
                entry
                for child in node["children"]
                for entry in (
                    map(_column, self._chosen(child["children"][0]))
                    if _is_unpack(child)
                    else [self._unpacked(child)]
                )
            ]
        if any(_is_unpack(entry["expression"]) for entry in node.get("arguments") or []):
            named = str(node["function_name"]).lower() == "struct_pack"
            made["arguments"] = [
                argument
                for entry in node["arguments"]
                for argument in (
                    self._arguments(entry["expression"], named)
                    if _is_unpack(entry["expression"])
                    else [tree.mapped(entry, self._unpacked)]
                )
            ]
        return made

    def _arguments(self, unpack: tree.Node, named: bool) -> list[tree.Node]:
        return [
            {"name": str(column.name) if named else "", "expression": _column(column)}
            for column in self._chosen(unpack["children"][0])
        ]

    def _chosen(self, star: tree.Node) -> list[Item]:
        choice = _choice(star)
        if choice is None:
            return self._candidates(star)
        _check_choice(choice)
        base = next((one for one in tree.walk(choice) if one.get("type") == "STAR"), tree.star())
        candidates = self._candidates(base)
        names = [str(column.name) for column in candidates]
        chosen = {name.lower() for name in self.parser.chosen(choice, names)}
        unknown = chosen - {name.lower() for name in names}
        found = [column for column in candidates if str(column.name).lower() in chosen]
        if unknown or not found:
            what = min(unknown) if unknown else self.parser.expression_text(star)
            raise AlderError(Reason.UNKNOWN_COLUMN, f"there is no column {what} among those of *")
        return found

    def _candidates(self, star: tree.Node) -> list[Item]:
        candidates = expand({**star, "columns": False}, self.scope, self.bindings, self.bind)
        if any(column.name is None for column in candidates):
            raise AlderError(
                Reason.UNSUPPORTED,
                "COLUMNS(…) of a table whose columns are known only when it runs is not supported "
                "beside a collection; name the columns",
            )
        return candidates


def _over_collections(scope: Scope) -> bool:
    return any(source.names is not None for source in scope.sources)


def _stars(node: tree.Node) -> Iterator[tree.Node]:
    """The COLUMNS(…) of an expression, without those of its subqueries."""
    if _is_columns(node):
        yield node
    elif node.get("type") != "SUBQUERY":
        for child in tree.children(node):
            yield from _stars(child)


def _is_columns(node: tree.Node) -> bool:
    """True for COLUMNS(…) and for ``* LIKE …``, which is a choice of columns, too."""
    if node.get("type") != "FUNCTION" or str(node["function_name"]) not in _LIKES:
        return node.get("type") == "STAR" and bool(node["columns"])
    first = tree.arguments(node)[0]
    return first.get("type") == "STAR" and not first["columns"]


def _is_unpack(node: tree.Node) -> bool:
    return node.get("type") == "OPERATOR_UNPACK"


def _choice(star: tree.Node) -> tree.Node | None:
    """An expression over ``*``, the names of all columns, that gives those meant; None: all."""
    if star["type"] == "STAR":
        choice: tree.Node | None = star["expr"]
        if choice is None or tree.literal(choice) is None:
            return choice
        return _filter(tree.star(), tree.function("regexp_matches", tree.column(_ONE), choice))
    all_columns, pattern = tree.arguments(star)
    like = tree.function(star["function_name"], tree.column(_ONE), pattern)
    return _filter(all_columns, {**like, "is_operator": star["is_operator"]})


def _filter(star: tree.Node, condition: tree.Node) -> tree.Node:
    return tree.function("list_filter", star, tree.lambda_of(_ONE, condition))


def _check_choice(choice: tree.Node) -> None:
    """Raises AlderError(UNSUPPORTED) for what may take long, since nothing could stop it."""
    for part in tree.walk(choice):
        kind = str(part.get("class") or "")
        allowed = kind in _CHOOSING_CLASSES
        if kind == "FUNCTION":
            allowed = str(part["function_name"]).lower() in _CHOOSING
        if kind == "LAMBDA":
            allowed = not any(one.get("type") == "LAMBDA" for one in tree.walk(part["expr"]))
        if kind and not allowed:
            raise AlderError(
                Reason.UNSUPPORTED,
                "COLUMNS(…) takes a regular expression, a list of names or a lambda that compares "
                "names",
            )


def _replaced(node: tree.Node, column: Item) -> tree.Node:
    if node.get("type") == "SUBQUERY":
        return node
    if _is_columns(node):
        return _column(column)
    return tree.mapped(node, lambda child: _replaced(child, column))


def _column(column: Item) -> tree.Node:
    return {"class": COLUMN, "type": COLUMN, "alias": "", "bound": tree.named(column.node, "")}
