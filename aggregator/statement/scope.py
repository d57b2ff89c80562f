"""Scopes: what a name of a statement stands for.

The rewritten tree reads gathered tables: each reference to a collection in a FROM becomes one
`Reference` with the columns that the statement uses of it, under names that no user name can meet
(so case, dots and keywords never matter again). Names of CTEs, subqueries and table functions are
left as they are. Output columns keep the names that the engine would give them.

Where a name is both a column and an alias of the select list, the engine's own rules hold: the
column wins, except that a whole ORDER BY term prefers the alias, and HAVING prefers it over a
column that is not a group key.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from aggregator.functions.textstats import Statistic, Statistics
from aggregator.statement import tree
from aggregator.statement.names import Field, Names, did_you_mean
from aggregator.statement.tablename import TableName
from alder.errors import AlderError, Reason

Ctes = Mapping[str, list[str] | None]
"""The columns of each CTE in sight by its name in lower case; None: not known here."""
CLOCK_COLUMNS: Final = frozenset(
    {"current_timestamp", "current_date", "current_time", "localtimestamp", "localtime"}
)


@dataclass(slots=True)
class Reference:
    """One place where a statement reads a collection, by its name as written."""

    collection: str
    table: str
    alias: str
    columns: dict[Field, str] = field(default_factory=dict)

    @property
    def name(self) -> TableName:
        """Which collection, and at which moment."""
        return TableName.decode(self.collection)


@dataclass(slots=True)
class Source:
    """A table that a scope sees; ``columns`` None: not known here. ``reference``: a collection.

    ``using``: columns of a table whose columns aren't known that a USING names.
    """

    alias: str
    columns: list[str] | None = None
    reference: Reference | None = None
    names: Names | None = None
    hidden: bool = False
    node: tree.Node = field(default_factory=dict)
    using: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Scope:
    """What the names of one SELECT can mean; ``searches`` are the matches of its WHERE, unbound."""

    parent: "Scope | None" = None
    ctes: Ctes = field(default_factory=dict)
    sources: list[Source] = field(default_factory=list)
    aliases: frozenset[str] = frozenset()
    using: dict[str, str] = field(default_factory=dict)
    lambdas: frozenset[str] = frozenset()
    searches: list[tree.Node] = field(default_factory=list)

    def chain(self) -> "list[Scope]":
        """The scope and those around it, innermost first."""
        found: list[Scope] = []
        scope: Scope | None = self
        while scope is not None:
            found.append(scope)
            scope = scope.parent
        return found


class Bindings:
    """The references of one statement; gives out names that its text doesn't hold.

    ``wanted`` are the statistics of texts that it needs and that are not among ``statistics``.
    """

    def __init__(self, sql: str, collections: Mapping[str, Names], statistics: Statistics) -> None:
        self.statistics = statistics
        self.wanted: list[Statistic] = []
        self.references: list[Reference] = []
        self.collections = collections
        self.prefix = "__c"
        while self.prefix in sql.lower():
            self.prefix += "_"
        self._fields: dict[str, Field] = {}

    def add(self, collection: str) -> Reference:
        """A new reference to a collection."""
        number = len(self.references)
        stem = self.prefix.removeprefix("__c")
        reference = Reference(collection, f"__g{stem}{number}", f"__t{stem}{number}")
        self.references.append(reference)
        return reference

    def column(self, reference: Reference, wanted: Field) -> str:
        """The name of a reference's column for a field."""
        if wanted not in reference.columns:
            name = f"{self.prefix}{len(self._fields)}"
            self._fields[name] = wanted
            reference.columns[wanted] = name
        return reference.columns[wanted]

    def field_of(self, name: str) -> Field | None:
        """The field of a column name; None if it is none of ours."""
        return self._fields.get(name)

    def field_at(self, node: tree.Node) -> tuple[Reference, Field] | None:
        """The reference and the field that a bound expression is; None if it is more than that."""
        if node.get("type") != "COLUMN_REF" or len(node["column_names"]) != 2:
            return None
        alias, name = node["column_names"]
        for reference in self.references:
            if reference.alias == alias and name in self._fields:
                return reference, self._fields[name]
        return None

    def user_names(self) -> dict[str, str]:
        """Our names to the user's, for messages."""
        return {name: entry.path for name, entry in self._fields.items()}


def resolve(
    scope: Scope, bindings: Bindings, parts: Sequence[str]
) -> tuple[tree.Node, Field] | None:
    """The column that a name stands for; None where the engine shall resolve it.

    Raises AlderError(UNKNOWN_COLUMN) if it stands for nothing.
    """
    chain = scope.chain()
    if any(parts[0].lower() in level.lambdas for level in chain):
        return None
    for level in chain:
        found = _in_scope(level, bindings, parts)
        if found is not None:
            return found if isinstance(found, tuple) else None
        if parts[0].lower() in level.aliases:
            return None
    return _last_resort(chain, bindings, parts)


def whole_row(scope: Scope, bindings: Bindings, name: str) -> Source | None:
    """The collection in sight that a name alone stands for, where it is no column."""
    for level in scope.chain():
        if name.lower() in level.lambdas | level.aliases:
            return None
        if _in_scope(level, bindings, [name]) is not None:
            return None
        for source in level.sources:
            if not source.hidden and source.alias.lower() == name.lower():
                return source if source.names is not None else None
    return None


def _in_scope(
    level: Scope, bindings: Bindings, parts: Sequence[str]
) -> tuple[tree.Node, Field] | bool | None:
    """A bound column, True for a name left to the engine, None for a name not known here."""
    if len(parts) > 1:
        for source in level.sources:
            if source.alias.lower() == parts[0].lower() and not source.hidden:
                if source.names is None:
                    return True
                wanted = source.names.resolve(parts[1:])
                if wanted is not None:
                    return _column(source, bindings, wanted)
    elif parts[0].lower() in level.using:
        return True
    found: list[tuple[Source, Field | None]] = []
    for source in level.sources:
        if source.hidden:
            continue
        if source.names is not None:
            wanted = source.names.resolve(parts)
            if wanted is not None:
                found.append((source, wanted))
        elif source.columns and parts[0].lower() in (name.lower() for name in source.columns):
            found.append((source, None))
    if len(found) > 1:
        candidates = " or ".join(f"{source.alias}.{'.'.join(parts)}" for source, _ in found)
        raise AlderError(
            Reason.UNKNOWN_COLUMN, f"{'.'.join(parts)} is ambiguous; write {candidates}"
        )
    for source, entry in found:
        return _column(source, bindings, entry) if entry is not None else True
    return None


def _last_resort(
    chain: list[Scope], bindings: Bindings, parts: Sequence[str]
) -> tuple[tree.Node, Field] | None:
    sources = [source for level in chain for source in level.sources if not source.hidden]
    known = [source for source in sources if source.names is not None]
    if not known or any(source.columns is None and source.names is None for source in sources):
        return None
    if len(parts) == 1 and parts[0].lower() in CLOCK_COLUMNS:
        return None
    if len(parts) == 1 and any(source.alias.lower() == parts[0].lower() for source in sources):
        return None
    for source in known:
        qualified = len(parts) > 1 and source.alias.lower() == parts[0].lower()
        if source.names is not None and (qualified or len(known) == 1):
            wanted = source.names.resolve_overflow(parts[1:] if qualified else parts)
            if wanted is not None:
                return _column(source, bindings, wanted)
    raise unknown_column(known, parts)


def unknown_column(known: Sequence[Source], parts: Sequence[str]) -> AlderError:
    """The error for a name that no collection in sight has."""
    qualified = [s for s in known if len(parts) > 1 and s.alias.lower() == parts[0].lower()]
    near: list[str] = []
    for source in qualified or known:
        if source.names is not None:
            near += source.names.nearest(parts[1:] if qualified else parts)
    where = " or ".join(
        sorted({s.reference.name.name for s in qualified or known if s.reference is not None})
    )
    hint = did_you_mean(list(dict.fromkeys(near))[:3])
    return AlderError(
        Reason.UNKNOWN_COLUMN, f"there is no column {'.'.join(parts)} in {where}{hint}"
    )


def _column(source: Source, bindings: Bindings, wanted: Field) -> tuple[tree.Node, Field]:
    if source.reference is None:
        raise AssertionError("only a collection has fields")
    name = bindings.column(source.reference, wanted)
    return tree.column(source.reference.alias, name), wanted
