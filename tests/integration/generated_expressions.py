"""Random expressions over the fields of one table, all drawn from one generator of numbers."""

import random
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Fields:
    """The fields of a table: name to SQL type, and name to SQL literals of its values."""

    types: Mapping[str, str]
    samples: Mapping[str, list[str]]


class Table:
    """A table under an alias ("": names stand alone), and expressions over it."""

    def __init__(self, rng: random.Random, fields: Fields, alias: str = "") -> None:
        self._random = rng
        self._fields = fields.types
        self._samples = fields.samples
        self.alias = alias

    def column(self, name: str) -> str:
        """The placeholder of a field."""
        return f"{{{self.alias}:{name}}}" if self.alias else f"{{{name}}}"

    def any(self, *types: str) -> str:
        """The placeholder of a random field of one of these types."""
        return self.column(self.name(*types))

    def name(self, *types: str) -> str:
        names = [name for name, kind in self._fields.items() if not types or kind in types]
        return self._random.choice(names)

    def literal(self, name: str) -> str:
        return self._random.choice(self._samples[name])

    def condition(self, depth: int = 0) -> str:
        pick = self._random.random()
        if depth < 2 and pick < 0.3:
            joiner = self._random.choice(["AND", "OR"])
            return f"({self.condition(depth + 1)} {joiner} {self.condition(depth + 1)})"
        if depth < 2 and pick < 0.37:
            return f"NOT ({self.condition(depth + 1)})"
        if pick < 0.47:
            return f"{self.column(self.name())} IS {self._random.choice(['', 'NOT '])}NULL"
        if pick < 0.55:
            name = self.name("VARCHAR[]", "BIGINT[]")
            return f"list_contains({self.column(name)}, {self.literal(name)})"
        name = self.name("BIGINT", "DOUBLE", "VARCHAR")
        if pick < 0.65:
            values = ", ".join(self.literal(name) for _ in range(self._random.randint(1, 4)))
            return f"{self.column(name)} {self._random.choice(['', 'NOT '])}IN ({values})"
        if pick < 0.72:
            return f"{self.column(name)} BETWEEN {self.literal(name)} AND {self.literal(name)}"
        if pick < 0.8:
            text = self.name("VARCHAR")
            prefix = self.literal(text).strip("'")[:3].replace("%", "")
            return f"{self.column(text)} LIKE '{prefix}%'"
        if pick < 0.85:
            return f"length({self.column(self.name('VARCHAR'))}) > {self._random.randint(0, 20)}"
        if pick < 0.9:
            mixed = self.name("VARIANT")
            return f"try_cast({self.column(mixed)} AS BIGINT) > {self._random.randint(0, 5)}"
        operator = self._random.choice(["=", "<>", "<", "<=", ">", ">="])
        return f"{self.column(name)} {operator} {self.literal(name)}"

    def where(self) -> str:
        return f" WHERE {self.condition()}" if self._random.random() < 0.7 else ""

    def scalar(self) -> str:
        number, text = self.name("BIGINT", "DOUBLE"), self.name("VARCHAR")
        return self._random.choice(
            [
                f"{self.column(text)}",
                f"{self.column(number)}",
                f"lower({self.column(text)})",
                f"coalesce({self.column(text)}, 'none')",
                f"{self.column(number)} % 7",
                f"{self.column(number)} IS NULL",
                f"CASE WHEN {self.condition(1)} THEN 'yes' ELSE 'no' END",
                f"substr({self.column(text)}, 1, 2)",
                f"try_cast({self.column(text)} AS BIGINT)",
                f"{self.column(self.name('BOOLEAN'))}",
                f"try_cast({self.column(self.name('VARIANT'))} AS VARCHAR)",
                f"len({self.column(self.name('VARCHAR[]', 'BIGINT[]'))})",
            ]
        )

    def aggregate(self) -> str:
        number, anything = self.name("BIGINT", "DOUBLE"), self.name("BIGINT", "DOUBLE", "VARCHAR")
        choice = self._random.choice(
            [
                "count(*)",
                f"count({self.column(anything)})",
                f"sum({self.column(number)})",
                f"avg({self.column(number)})",
                f"min({self.column(anything)})",
                f"max({self.column(anything)})",
                f"count(DISTINCT {self.column(anything)})",
                f"stddev_pop({self.column(number)})",
                f"bool_or({self.column(number)} > 3)",
                f"median({self.column(number)})",
                f"sum({self.column(number)} * 2 + 1)",
            ]
        )
        return f"{choice} FILTER ({self.condition(1)})" if self._random.random() < 0.2 else choice
