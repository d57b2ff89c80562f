"""Random statements over two collections: every form of SELECT, each drawn from its own number."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from generated_clauses import Clauses
from generated_expressions import Fields, Table
from generated_joins import Joins
from generated_nested import Nested
from generated_queries import QueryGenerator
from generated_shapes import EQUAL, Shapes, Statement


@dataclass(frozen=True)
class Partitioned:
    """A statement without a condition, and with one that is true, false or unknown.

    Ternary-logic partitioning: rows of the whole are those of the three parts, and aggregates that
    add up do. From M. Rigger and Z. Su, Finding Bugs in Database Systems via Query Partitioning,
    OOPSLA 2020. ``merges``: how each column of one row adds up; empty for rows.
    """

    whole: str
    parts: tuple[str, str, str]
    merges: tuple[str, ...] = ()


class StatementGenerator:
    """Makes the statement of a number; ``docs`` and ``refs`` are the fields of the tables."""

    def __init__(self, seed: int, docs: Fields, refs: Fields) -> None:
        self._seed = seed
        self._fields = {"docs": docs, "refs": refs}

    def statement(self, number: int) -> Statement:
        """The statement of a number."""
        rng = random.Random(f"{self._seed}/{number}")
        if rng.random() < 0.25:
            return Statement(*QueryGenerator(rng, self._fields["docs"]).query())
        made: Sequence[Callable[[], Statement]] = rng.choice(
            [kind(rng, self._fields).all() for kind in (Joins, Nested, Clauses)]
        )
        return rng.choice(made)()

    def partitioned(self, number: int) -> Partitioned:
        """The partitioned statement of a number."""
        rng = random.Random(f"{self._seed}/{number}/partitioned")
        return _Parts(rng, self._fields).partitioned()


class _Parts(Shapes):
    """Statements that a condition parts."""

    def partitioned(self) -> Partitioned:
        """A statement and its partition by a condition."""
        docs, refs = self._table("docs"), self._table("refs")
        tables: tuple[Table, ...] = (docs,)
        source = f" docs {docs.alias}"
        if self._random.random() < 0.5:
            left, right = self._pair(EQUAL, docs, refs)
            kind = self._pick("JOIN", "LEFT JOIN", "FULL JOIN", "SEMI JOIN")
            source = f"{source} {kind} refs {refs.alias} ON {left} = {right}"
            tables = (docs,) if kind == "SEMI JOIN" else (docs, refs)
        p = self._condition_of(*tables)
        merges: tuple[str, ...] = ()
        items = [self._random.choice(tables).scalar() for _ in self._some(1, 3)]
        if self._random.random() < 0.5:
            calls = ("count(*)", "sum({})", "min({})", "max({})", "count({})")
            chosen = self._random.sample(calls, 3)
            items = [
                call.replace("{}", self._random.choice(tables).any("BIGINT")) for call in chosen
            ]
            merges = tuple(call[:3] for call in chosen)
        whole = f"SELECT {', '.join(items)} FROM{source}"
        parts = (f" WHERE {p}", f" WHERE NOT ({p})", f" WHERE ({p}) IS NULL")
        first, second, third = (whole + part for part in parts)
        return Partitioned(whole, (first, second, third), merges)
