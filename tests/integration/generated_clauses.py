"""Random statements with what SELECT has besides: windows, grouping sets, pivots, lists."""

from collections.abc import Callable, Sequence

from generated_expressions import Table
from generated_shapes import EQUAL, Shapes, Statement


class Clauses(Shapes):
    """Statements that show one clause or kind of value each."""

    def all(self) -> Sequence[Callable[[], Statement]]:
        """The shapes; one that stands twice is drawn twice as often."""
        return (
            self._window, self._window, self._named_window, self._qualify, self._grouping_sets,
            self._grouping_sets, self._cte_in_groups, self._pivot, self._unpivot,
            self._distinct_on, self._lambdas, self._unnest_beside, self._structs, self._lists,
            self._columns,
        )  # fmt: skip

    def _over(self, table: Table, key: str) -> str:
        partition = f"PARTITION BY {table.scalar()} " if self._random.random() < 0.7 else ""
        order = f"ORDER BY {table.any('BIGINT', 'DOUBLE', 'VARCHAR')}{self._pick('', ' DESC')}"
        bounds = (
            ("UNBOUNDED PRECEDING", "CURRENT ROW"),
            ("2 PRECEDING", "1 FOLLOWING"),
            ("CURRENT ROW", "UNBOUNDED FOLLOWING"),
            ("3 PRECEDING", "1 PRECEDING"),
        )
        begin, end = self._random.choice(bounds)
        frame = f" {self._pick('ROWS', 'GROUPS')} BETWEEN {begin} AND {end}"
        exclude = self._pick("", "", " EXCLUDE CURRENT ROW", " EXCLUDE GROUP", " EXCLUDE TIES")
        return f"{partition}{order}, {key}{frame}{exclude}"

    def _window_call(self, table: Table, key: str) -> str:
        return self._pick(
            f"sum({table.any('BIGINT')})", f"count({table.any('VARCHAR')})",
            f"min({table.any('VARCHAR', 'BIGINT')})", f"max({table.any('DOUBLE')})",
            f"first_value({table.any('BIGINT', 'VARCHAR')})", f"last_value({key})",
            f"list({key})", f"count(*) FILTER ({table.condition(1)})",
            f"nth_value({table.any('BIGINT')}, 2)",
        )  # fmt: skip

    def _ranking(self, table: Table, key: str) -> str:
        partition = f"PARTITION BY {table.scalar()} " if self._random.random() < 0.7 else ""
        call = self._pick(
            "row_number()", "rank()", "dense_rank()", "ntile(4)", "percent_rank()", "cume_dist()",
            f"lag({table.any('BIGINT', 'VARCHAR')})", f"lead({table.any('BIGINT')}, 2, 7)",
        )  # fmt: skip
        return f"{call} OVER ({partition}ORDER BY {table.any('BIGINT', 'VARCHAR')}, {key})"

    def _window(self) -> Statement:
        name, table, key = self._either()
        calls = [
            self._ranking(table, key)
            if self._random.random() < 0.5
            else f"{self._window_call(table, key)} OVER ({self._over(table, key)})"
            for _ in self._some(1, 2)
        ]
        query = f"SELECT {key}, {', '.join(calls)} FROM {name} {table.alias}{self._where(table)}"
        return self._cut(query, 1 + len(calls))

    def _named_window(self) -> Statement:
        name, table, key = self._either()
        calls = [f"{self._window_call(table, key)} OVER w" for _ in range(2)]
        query = (
            f"SELECT {key}, {', '.join(calls)} FROM {name} {table.alias}{self._where(table)}"
            f" WINDOW w AS ({self._over(table, key)})"
        )
        return self._cut(query, 3)

    def _qualify(self) -> Statement:
        name, table, key = self._either()
        query = (
            f"SELECT {key}, {table.scalar()} AS v, {self._ranking(table, key)} AS r"
            f" FROM {name} {table.alias}{self._where(table)}"
        )
        qualify = self._pick(
            "r IS NOT NULL AND v IS NOT NULL",
            f"row_number() OVER (PARTITION BY {table.any('VARCHAR')} ORDER BY {key}) <= 2",
            f"count(*) OVER (PARTITION BY {table.any('BIGINT')}) = 1",
        )
        return self._cut(f"{query} QUALIFY {qualify}", 3)

    def _grouping_sets(self) -> Statement:
        docs = self._table("docs")
        source, tables = f" docs {docs.alias}", (docs,)
        if self._random.random() < 0.3:
            refs = self._table("refs")
            left, right = self._pair(EQUAL, docs, refs)
            source = f"{source} JOIN refs {refs.alias} ON {left} = {right}"
            tables = (docs, refs)
        one, two = docs.any("VARCHAR", "BOOLEAN"), docs.any("VARCHAR", "BIGINT")
        groups = self._pick(
            f"ROLLUP ({one}, {two})", f"CUBE ({one}, {two})",
            f"GROUPING SETS (({one}, {two}), ({one}), ())", f"GROUPING SETS (({two}), ({one}))",
            f"{one}, ROLLUP ({two})", f"GROUPING SETS (ROLLUP ({one}, {two}), ({two}), ())",
        )  # fmt: skip
        aggregates = [self._random.choice(tables).aggregate() for _ in self._some(1, 2)]
        marks = f", grouping({one}, {two})" if one in groups and two in groups else ""
        having = self._pick("", "", " HAVING count(*) > 3")
        items = f"{one}, {two}, {', '.join(aggregates)}{marks}"
        query = f"SELECT {items} FROM{source}{self._where(docs)} GROUP BY {groups}{having}"
        return Statement(query, False)

    def _cte_in_groups(self) -> Statement:
        docs = self._table("docs")
        key, value = docs.any("VARCHAR", "BOOLEAN"), docs.any("VARCHAR")
        items = f"{key} AS k, {value} AS v, {docs.scalar()} AS w"
        inner = f"SELECT {items} FROM docs {docs.alias}{self._where(docs)}"
        only = self._pick("", "", " FILTER (v > 'b')")
        aggregates = self._random.sample(
            [
                f"count(DISTINCT v){only}", "count(DISTINCT w)", "count(DISTINCT (k, v))",
                f"list(v ORDER BY v DESC NULLS {self._pick('FIRST', 'LAST')}){only}",
                "max(v)", "count(*)",
            ],
            3,
        )  # fmt: skip
        where = self._pick("", " WHERE k IS NOT NULL", " WHERE v > 'c' OR k IS NULL")
        groups = self._pick("k", "ROLLUP (k)", "GROUPING SETS ((k), (k, v), ())")
        query = f"WITH t AS ({inner}) SELECT k, {', '.join(aggregates)} FROM t{where}"
        return Statement(f"{query} GROUP BY {groups}", False)

    def _pivot(self) -> Statement:
        docs = self._table("docs")
        on, group = docs.column("kind"), docs.any("VARCHAR", "BOOLEAN")
        values = ", ".join(self._random.sample(["'click'", "'view'", "'buy'", "'nobody'"], 2))
        inner = (
            f"SELECT {on} AS kind, {group} AS g, {docs.any('BIGINT', 'DOUBLE')} AS v"
            f" FROM docs {docs.alias}{self._where(docs)}"
        )
        call = self._pick("sum(v)", "count(v)", "max(v)", "min(v), count(*)", "sum(v) AS s, max(v)")
        query = self._pick(
            f"SELECT * FROM ({inner}) PIVOT ({call} FOR kind IN ({values}) GROUP BY g)",
            f"PIVOT ({inner}) ON kind IN ({values}) USING {call} GROUP BY g",
            f"PIVOT ({inner}) ON kind USING {call} GROUP BY g",
            f"SELECT * FROM (PIVOT ({inner}) ON g, kind USING count(*)) WHERE v IS NOT NULL",
            f"SELECT * FROM docs PIVOT (count(*) FOR {{kind}} IN ({values}) GROUP BY flag)",
        )
        return Statement(query, False)

    def _unpivot(self) -> Statement:
        refs = self._table("refs")
        nulls = self._pick("", "INCLUDE NULLS ")
        inner = (
            f"SELECT {refs.column('name')}, {refs.column('level')}, {refs.column('since')}"
            f" FROM refs {refs.alias}{self._where(refs)}"
        )
        query = f"SELECT * FROM ({inner}) UNPIVOT {nulls}(v FOR k IN (level, since))"
        return self._cut(query, 3)

    def _distinct_on(self) -> Statement:
        name, table, key = self._either()
        keys = [table.scalar() for _ in self._some(1, 2)]
        items = ", ".join(f"{text} AS k{place}" for place, text in enumerate(keys))
        order = ", ".join(f"k{place}" for place in range(len(keys)))
        last = self._pick("", " DESC")
        query = (
            f"SELECT DISTINCT ON ({order}) {items}, {key} AS i, {table.scalar()} AS v"
            f" FROM {name} {table.alias}{self._where(table)} ORDER BY {order}, i{last}"
        )
        limit = f" LIMIT {self._random.randint(1, 20)}" if self._random.random() < 0.5 else ""
        return Statement(query + limit, True)

    def _lambdas(self) -> Statement:
        docs = self._table("docs")
        numbers, number = docs.column("numbers"), docs.any("BIGINT")
        tags, text = docs.column("tags"), docs.any("VARCHAR")
        items = self._random.sample(
            [
                f"list_transform({numbers}, lambda x: x * 2 + {number})",
                f"list_filter({numbers}, lambda x, i: x > i)",
                f"list_reduce(list_concat([0], {numbers}), lambda x, y: x + y)",
                f"[x || {text} for x in {tags} if x <> 'b']",
                f"list_sort({numbers}, 'DESC')",
                f"list_aggregate({numbers}, 'sum')",
                f"list_distinct({numbers}).list_sort()",
                f"{numbers}[1:2]",
                f"{tags}[-1].upper()",
                f"array_to_string({tags}, '/')",
                f"list_position({tags}, 'b')",
            ],
            2,
        )
        query = f"SELECT {docs.column('id')}, {', '.join(items)} FROM docs {docs.alias}"
        return Statement(query + self._where(docs), False)

    def _unnest_beside(self) -> Statement:
        docs, refs = self._table("docs"), self._table("refs")
        tags = docs.column("tags")
        query = self._pick(
            f"SELECT {docs.column('id')}, u.t FROM docs {docs.alias}, unnest({tags}) u(t)"
            f"{self._where(docs)}",
            f"SELECT u.t, {docs.aggregate()} FROM docs {docs.alias}"
            f" LEFT JOIN unnest({tags}) u(t) ON true GROUP BY u.t",
            f"SELECT {docs.column('id')}, unnest({tags}), unnest({docs.column('numbers')})"
            f" FROM docs {docs.alias}{self._where(docs)}",
            f"SELECT t, count(*), min({refs.column('name')}) FROM (SELECT unnest({tags}) AS t FROM"
            f" docs {docs.alias}) s JOIN refs {refs.alias} ON list_contains("
            f"{refs.column('labels')}, t) GROUP BY t",
            f"SELECT {docs.column('id')}, u.t, u.o FROM docs {docs.alias},"
            f" unnest({tags}) WITH ORDINALITY u(t, o){self._where(docs)}",
            f"SELECT unnest([[{docs.any('BIGINT')}], {docs.column('numbers')}], recursive := true)"
            f" AS u FROM docs {docs.alias}{self._where(docs)}",
        )
        return Statement(query, False)

    def _structs(self) -> Statement:
        docs = self._table("docs")
        one, two = docs.any("VARCHAR"), docs.any("BIGINT")
        query = self._pick(
            f"SELECT s.a, s.b + 1 FROM (SELECT {{'a': {one}, 'b': {two}}} AS s FROM docs"
            f" {docs.alias}{self._where(docs)})",
            f"SELECT s.* FROM (SELECT {{'a': {one}, 'b': {two}}} AS s FROM docs {docs.alias})",
            f"SELECT map([{docs.column('id')}], [{two}])[{docs.column('id')}] FROM docs"
            f" {docs.alias}",
            f"SELECT json_object('a', {one}, 'b', {two}) ->> 'a', count(*) FROM docs {docs.alias}"
            f" GROUP BY 1",
            f"SELECT max({{'b': {two}, 'a': {docs.column('id')}}}).a FROM docs {docs.alias}"
            f"{self._where(docs)}",
            f"SELECT ({one}, {two}) = ({docs.any('VARCHAR')}, {two}) AS e, count(*) FROM docs"
            f" {docs.alias} GROUP BY e",
        )
        return Statement(query, False)

    def _lists(self) -> Statement:
        name, table, key = self._either()
        call = self._pick(
            f"list({table.any('BIGINT', 'VARCHAR')} ORDER BY {key})",
            f"string_agg({table.any('VARCHAR')}, '|' ORDER BY {key} DESC)",
            f"list_sort(list(DISTINCT {table.any('VARCHAR')}))",
            f"arg_max({table.any('BIGINT', 'VARCHAR')}, {key})",
            f"max({table.any('BIGINT')}, 3)",
            f"quantile_disc({table.any('BIGINT')}, 0.25)",
            f"map_values(histogram({table.any('BOOLEAN')}))",
            f"count(DISTINCT {table.any('VARCHAR')}), count(DISTINCT {table.any('BIGINT')})",
            f"sum(DISTINCT {table.any('BIGINT')})",
        )
        query = f"SELECT {table.scalar()} AS k, {call} FROM {name} {table.alias}"
        return Statement(f"{query}{self._where(table)} GROUP BY k", False)

    def _columns(self) -> Statement:
        docs, refs = self._table("docs"), self._table("refs")
        query = self._pick(
            f"SELECT min(COLUMNS('^ki')), count(COLUMNS(['size'])) FROM docs {docs.alias}"
            f"{self._where(docs)}",
            f"SELECT {refs.column('name')}, COLUMNS(lambda c: c LIKE 'le%') + 1 FROM refs"
            f" {refs.alias}{self._where(refs)}",
            f"SELECT greatest(*COLUMNS(['boss', 'kind'])) FROM refs {refs.alias}"
            f"{self._where(refs)}",
            f"SELECT count(COLUMNS('ince$')) FROM refs {refs.alias}{self._where(refs)}",
            f"SELECT {docs.column('id')} FROM docs {docs.alias} WHERE COLUMNS('^size|^score') > 1"
            f" AND {docs.condition()}",
        )
        return Statement(query, False)
