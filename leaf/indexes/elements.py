"""Indexes of lists: the index of their elements, asked about elements.

Answers ``has`` and ``has any`` by the equality of elements (`leaf/indexes/entries.py`); ``has all``
is several times ``has``. Lists of strings, integers and booleans are indexed; lists of floats, of
times and of objects are not.
"""

from collections.abc import Sequence
from typing import Final

import pyarrow as pa

from leaf.indexes.entries import Checked
from leaf.indexes.kind import Candidates, ColumnIndex, Scalar
from leaf.indexes.rowset import union


class ElementIndex:
    """An index of elements as that of the lists they are in. Implements ColumnIndex."""

    kind: Final = "elements"

    def __init__(self, elements: ColumnIndex) -> None:
        self._elements = elements

    @property
    def path(self) -> str:
        """See ColumnIndex."""
        return self._elements.path

    def find(self, operator: str, values: Sequence[Scalar]) -> Candidates | None:
        """See ColumnIndex. A row may have several of the values, so that counts are no sum."""
        if operator not in {"has", "has any"}:
            return None
        answers = [self._elements.find("=", [value]) for value in set(values)]
        found = [answer for answer in answers if answer is not None]
        if len(found) < len(answers):
            return None
        count = sum(answer.count for answer in found)
        return Candidates(
            self.path,
            count,
            all(answer.exact for answer in found) and count == max(a.count for a in found),
            sum(answer.unread for answer in found),
            lambda: union([answer.rows() for answer in found]),
        )

    def check(self, column: pa.Array) -> Checked:
        """See ColumnIndex."""
        return self._elements.check(column)
