"""Random queries over one collection."""

import random

from generated_expressions import Fields, Table


class QueryGenerator:
    """Random queries over fields of known types, all drawn from one generator of numbers."""

    def __init__(self, rng: random.Random, fields: Fields) -> None:
        self._random = rng
        self._table = Table(rng, fields)

    def query(self) -> tuple[str, bool]:
        """A template, and whether the order of its rows is decided by it."""
        shapes = (
            (4, self._grouped),
            (3, self._filtered_count),
            (3, self._projection),
            (2, self._top),
            (1, self._distinct),
            (1, self._common_table),
            (1, self._window),
            (1, self._union),
            (1, self._subquery),
            (1, self._unnested),
        )
        weights = [weight for weight, _ in shapes]
        return self._random.choices(shapes, weights)[0][1]()

    def _rows(self) -> str:
        return f"FROM docs{self._table.where()}"

    def _grouped(self) -> tuple[str, bool]:
        keys = [self._table.scalar() for _ in range(self._random.randint(1, 2))]
        aggregates = [self._table.aggregate() for _ in range(self._random.randint(1, 3))]
        columns = [f"{text} AS c{index}" for index, text in enumerate([*keys, *aggregates])]
        ordinals = ", ".join(str(index + 1) for index in range(len(keys)))
        having = " HAVING count(*) > 1" if self._random.random() < 0.3 else ""
        query = f"SELECT {', '.join(columns)} {self._rows()} GROUP BY {ordinals}{having}"
        if self._random.random() < 0.4:
            every = ", ".join(str(index + 1) for index in range(len(keys)))
            return f"{query} ORDER BY {every} LIMIT {self._random.randint(1, 20)}", True
        return query, False

    def _filtered_count(self) -> tuple[str, bool]:
        aggregates = ", ".join(self._table.aggregate() for _ in range(self._random.randint(1, 3)))
        return f"SELECT {aggregates} {self._rows()}", True

    def _projection(self) -> tuple[str, bool]:
        columns = ", ".join(self._table.scalar() for _ in range(self._random.randint(1, 4)))
        return f"SELECT {columns} {self._rows()}", False

    def _top(self) -> tuple[str, bool]:
        columns = [
            f"{self._table.scalar()} AS c{index}" for index in range(self._random.randint(1, 3))
        ]
        order = ", ".join(
            f"{index + 1} {self._random.choice(['', 'DESC', 'NULLS FIRST'])}"
            for index in range(len(columns))
        )
        offset = f" OFFSET {self._random.randint(1, 9)}" if self._random.random() < 0.3 else ""
        limit = self._random.randint(1, 30)
        query = f"SELECT {', '.join(columns)} {self._rows()} ORDER BY {order}"
        return f"{query} LIMIT {limit}{offset}", True

    def _distinct(self) -> tuple[str, bool]:
        columns = ", ".join(self._table.scalar() for _ in range(self._random.randint(1, 2)))
        return f"SELECT DISTINCT {columns} {self._rows()}", False

    def _common_table(self) -> tuple[str, bool]:
        inner = f"SELECT {self._table.scalar()} AS a, {self._table.scalar()} AS b {self._rows()}"
        return f"WITH t AS ({inner}) SELECT a, count(b) FROM t GROUP BY a", False

    def _window(self) -> tuple[str, bool]:
        text, number = self._table.name("VARCHAR"), self._table.name("BIGINT")
        inner = f"SELECT {{{text}}} AS a, {{{number}}} AS b {self._rows()}"
        return f"SELECT a, b, rank() OVER (PARTITION BY a ORDER BY b) FROM ({inner}) s", False

    def _union(self) -> tuple[str, bool]:
        text = self._table.name("VARCHAR")
        parts = [
            f"SELECT {{{text}}} AS a FROM docs WHERE {self._table.condition()}" for _ in range(2)
        ]
        return self._random.choice([" UNION ", " UNION ALL ", " EXCEPT "]).join(parts), False

    def _subquery(self) -> tuple[str, bool]:
        text = self._table.name("VARCHAR")
        condition = f"{self._table.condition()} AND {{{text}}} IS NOT NULL"
        inner = f"SELECT {{{text}}} FROM docs WHERE {condition}"
        return f"SELECT count(*) FROM docs WHERE {{{text}}} IN ({inner})", True

    def _unnested(self) -> tuple[str, bool]:
        name = self._table.name("VARCHAR[]", "BIGINT[]")
        inner = f"SELECT unnest({{{name}}}) AS element {self._rows()}"
        return f"SELECT element, count(*) FROM ({inner}) s GROUP BY 1", False
