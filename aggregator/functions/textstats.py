"""Numbers about a field of text over a whole collection, which scores are computed from."""

from collections.abc import Mapping
from dataclasses import dataclass

from aggregator.functions.lists import MATCH
from aggregator.functions.textquery import Query, Words, wanted, written
from alder import words
from alder.fieldtypes import quote


@dataclass(frozen=True, slots=True)
class Statistic:
    """A number about a field: texts that hold ``words``; without them, texts and their words."""

    collection: str
    path: str
    words: Words | None = None

    @property
    def sql(self) -> str:
        """The statement that asks for it: one row of numbers."""
        field, source = quote(self.path), f"FROM {quote(self.collection)}"
        if self.words is None:
            counted = f"count({field}), sum(len({words.words_sql(field)}))"
            return f"SELECT {counted} {source} WHERE {field} IS NOT NULL"
        return f"SELECT count(*), 0 {source} WHERE {MATCH}({field}, '{written(self.words)}')"


Statistics = Mapping[Statistic, tuple[int, int]]
"""Texts, and the words in them."""
Wanted = tuple[Statistic, ...]


def statistics(collection: str, path: str, query: Query) -> list[Statistic]:
    """What the score of a query is computed from: first the texts, then each term."""
    texts = Statistic(collection, path)
    return [texts, *(Statistic(collection, path, one) for one in wanted(query))]
