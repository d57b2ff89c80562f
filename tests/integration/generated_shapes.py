"""What generated statements are made of: tables under aliases, items, joins, orders and limits.

``docs`` has a unique field ``id`` and ``refs`` a unique field ``name``, so that windows, limits and
DISTINCT ON can be given total orders; every answer is decided by its statement alone.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from generated_expressions import Fields, Table

KEYS: Final = {"docs": "id", "refs": "name"}
"""The field of each table that is unique."""
EQUAL: Final = (("user.name", "name"), ("kind", "kind"), ("size", "level"), ("user.age", "level"))
"""Fields of ``docs`` and ``refs`` that have values in common."""
NEAR: Final = (("size", "since"), ("user.age", "profile.age"), ("score", "weight"))
"""Fields of ``docs`` and ``refs`` that have values close to each other."""


@dataclass(frozen=True)
class Statement:
    """A template, and whether the order of its rows is decided by it."""

    template: str
    ordered: bool


class Shapes:
    """Makes parts of one statement; each table gets an alias of its own."""

    def __init__(self, rng: random.Random, fields: Mapping[str, Fields]) -> None:
        self._random = rng
        self._fields = fields
        self._aliases = iter("abcdefgh")

    def _table(self, name: str) -> Table:
        return Table(self._random, self._fields[name], next(self._aliases))

    def _pick(self, *choices: str) -> str:
        return self._random.choice(choices)

    def _some(self, low: int, high: int) -> range:
        return range(self._random.randint(low, high))

    def _either(self) -> tuple[str, Table, str]:
        """The name of a table, the table, and its unique field."""
        name = self._pick("docs", "docs", "refs")
        table = self._table(name)
        return name, table, table.column(KEYS[name])

    def _pair(self, pairs: Sequence[tuple[str, str]], docs: Table, refs: Table) -> tuple[str, str]:
        left, right = self._random.choice(pairs)
        return docs.column(left), refs.column(right)

    def _condition_of(self, *tables: Table) -> str:
        return self._random.choice(tables).condition()

    def _where(self, *tables: Table) -> str:
        return f" WHERE {self._condition_of(*tables)}" if self._random.random() < 0.6 else ""

    def _items(self, *tables: Table, low: int = 1, high: int = 3) -> list[str]:
        return [
            f"{self._random.choice(tables).scalar()} AS c{index}" for index in self._some(low, high)
        ]

    def _aggregates(self, *tables: Table, begin: int = 0) -> list[str]:
        return [
            f"{self._random.choice(tables).aggregate()} AS c{begin + index}"
            for index in self._some(1, 3)
        ]

    def _cut(self, query: str, columns: int) -> Statement:
        """The query, at times with an order of all its columns and a limit."""
        if self._random.random() < 0.5:
            return Statement(query, False)
        order = ", ".join(
            f"{index + 1}{self._pick('', ' DESC', ' NULLS FIRST')}" for index in range(columns)
        )
        offset = f" OFFSET {self._random.randint(1, 9)}" if self._random.random() < 0.3 else ""
        return Statement(
            f"{query} ORDER BY {order} LIMIT {self._random.randint(1, 40)}{offset}", True
        )

    def _joined(self) -> tuple[str, Table, Table]:
        """A FROM over both tables, at times with a WHERE."""
        docs, refs = self._table("docs"), self._table("refs")
        left, right = self._pair(EQUAL, docs, refs)
        condition = f"{left} = {right}"
        if self._random.random() < 0.4:
            condition += f" AND {self._condition_of(docs, refs)}"
        kind = self._pick("JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN")
        if kind == "JOIN" and self._random.random() < 0.3:
            return f"FROM docs {docs.alias}, refs {refs.alias} WHERE {condition}", docs, refs
        source = f"docs {docs.alias} {kind} refs {refs.alias}"
        if self._random.random() < 0.3:
            source = f"refs {refs.alias} {kind} docs {docs.alias}"
        return f"FROM {source} ON {condition}{self._where(docs, refs)}", docs, refs
