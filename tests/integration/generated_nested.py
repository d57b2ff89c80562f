"""Random statements with queries inside: CTEs, recursion, subqueries, set operations."""

from collections.abc import Callable, Sequence

from generated_shapes import EQUAL, Shapes, Statement


class Nested(Shapes):
    """Statements whose parts are queries."""

    def all(self) -> Sequence[Callable[[], Statement]]:
        """The shapes; one that stands twice is drawn twice as often."""
        return (
            self._common_tables, self._common_tables, self._recursion, self._chain,
            self._correlated, self._correlated, self._exists, self._any_or_all, self._union,
            self._by_name, self._scalar_subqueries, self._nested_groups,
        )  # fmt: skip

    def _common_tables(self) -> Statement:
        docs, refs = self._table("docs"), self._table("refs")
        left, right = self._random.choice(EQUAL[:2])
        kept = self._pick("", "MATERIALIZED ", "NOT MATERIALIZED ")
        query = (
            f"WITH x AS {kept}(SELECT {docs.column(left)} AS k, {docs.scalar()} AS v,"
            f" {docs.column('id')} AS id FROM docs {docs.alias}{self._where(docs)}),"
            f" y AS (SELECT {refs.column(right)} AS k, {refs.scalar()} AS w"
            f" FROM refs {refs.alias}{self._where(refs)})"
        )
        end = self._pick(
            " SELECT k, count(*), min(v), max(w) FROM x JOIN y USING (k) GROUP BY k",
            " SELECT x.k, count(DISTINCT x.v), (SELECT count(*) FROM y WHERE y.k = x.k)"
            " FROM x GROUP BY x.k",
            " SELECT k, min(id), count(*) FROM x WHERE k IN (SELECT k FROM y) GROUP BY k",
            " SELECT k, min(v), count(*) FROM x GROUP BY k"
            " UNION ALL SELECT k, NULL, count(*) FROM y GROUP BY k",
            " SELECT x.k, count(*), count(z.id) FROM x LEFT JOIN x z ON x.id = z.id AND x.k > z.k"
            " GROUP BY x.k",
        )
        return Statement(query + end, False)

    def _recursion(self) -> Statement:
        start, step = self._table("refs"), self._table("refs")
        union = self._pick("UNION", "UNION ALL")
        down = self._random.random() < 0.5
        link = f"{step.column('boss')} = t.n" if down else f"{step.column('name')} = t.b"
        query = (
            f"WITH RECURSIVE t(n, b, d) AS (SELECT {start.column('name')}, {start.column('boss')},"
            f" 0 FROM refs {start.alias} WHERE {start.condition()}"
            f" {union} SELECT {step.column('name')}, {step.column('boss')}, t.d + 1"
            f" FROM t JOIN refs {step.alias} ON {link} WHERE t.d < 5)"
        )
        docs = self._table("docs")
        end = self._pick(
            " SELECT n, d, count(*) FROM t GROUP BY ALL",
            " SELECT d, count(DISTINCT n), max(b) FROM t GROUP BY d",
            f" SELECT t.n, min(t.d), count({docs.column('id')}) FROM t"
            f" LEFT JOIN docs {docs.alias} ON {docs.column('user.name')} = t.n GROUP BY t.n",
        )
        return Statement(query + end, False)

    def _chain(self) -> Statement:
        table = self._table("docs")
        query = (
            f"WITH RECURSIVE t(i, s) AS (SELECT 0, 0 UNION ALL SELECT i + 1,"
            f" s + (SELECT count(*) FROM docs {table.alias} WHERE {table.any('BIGINT')} = i"
            f" AND {table.condition()})"
            f" FROM t WHERE i < {self._random.randint(1, 8)}) SELECT i, s FROM t ORDER BY i"
        )
        return Statement(query, True)

    def _correlated(self) -> Statement:
        docs, refs = self._table("docs"), self._table("refs")
        left, right = self._pair(EQUAL, docs, refs)
        if self._random.random() < 0.5:
            inner = f"SELECT {docs.aggregate()} FROM docs {docs.alias} WHERE {left} = {right}"
            query = (
                f"SELECT {refs.column('name')}, ({inner} AND {docs.condition()}) AS v"
                f" FROM refs {refs.alias}{self._where(refs)}"
            )
            return self._cut(query, 2)
        inner = f"SELECT max({refs.any('VARCHAR')}) FROM refs {refs.alias} WHERE {left} = {right}"
        query = f"SELECT {docs.column('id')}, ({inner}) AS v FROM docs {docs.alias}"
        return self._cut(f"{query}{self._where(docs)}", 2)

    def _exists(self) -> Statement:
        docs, refs = self._table("docs"), self._table("refs")
        left, right = self._pair(EQUAL, docs, refs)
        inner = f"SELECT 1 FROM refs {refs.alias} WHERE {left} = {right} AND {refs.condition()}"
        negation = self._pick("", "NOT ")
        if self._random.random() < 0.5:
            query = f"SELECT {docs.scalar()}, count(*) FROM docs {docs.alias}"
            return self._cut(f"{query} WHERE {negation}EXISTS ({inner}) GROUP BY 1", 2)
        query = f"SELECT {negation}EXISTS ({inner}) AS e, {docs.aggregate()} FROM docs {docs.alias}"
        return self._cut(f"{query} GROUP BY e", 2)

    def _any_or_all(self) -> Statement:
        docs, refs = self._table("docs"), self._table("refs")
        left, right = self._pair(EQUAL, docs, refs)
        inner = f"SELECT {right} FROM refs {refs.alias} WHERE {refs.condition()}"
        test = self._pick(
            f"{left} IN ({inner})", f"{left} NOT IN ({inner})", f"{left} = ANY ({inner})",
            f"{left} <> ALL ({inner})", f"{left} > ALL ({inner})", f"{left} <= ANY ({inner})",
            f"({left}, 1) IN (SELECT {right}, 1 FROM refs {refs.alias})",
        )  # fmt: skip
        query = self._pick(
            f"SELECT {docs.column('id')} FROM docs {docs.alias} WHERE {test}",
            f"SELECT {test} AS t, count(*) FROM docs {docs.alias} GROUP BY t",
            f"SELECT {docs.aggregate()} FROM docs {docs.alias} WHERE {docs.condition()} AND {test}",
        )
        return Statement(query, False)

    def _scalar_subqueries(self) -> Statement:
        docs, refs = self._table("docs"), self._table("refs")
        number = docs.any("BIGINT", "DOUBLE")
        inner = f"SELECT {self._pick('max', 'min', 'avg')}({number}) FROM docs {docs.alias}"
        query = (
            f"SELECT {refs.column('name')}, ({inner}{self._where(docs)}) AS m FROM refs"
            f" {refs.alias} WHERE {refs.any('BIGINT', 'DOUBLE')} < ({inner}{self._where(docs)})"
        )
        return self._cut(query, 2)

    def _union(self) -> Statement:
        parts = []
        for _ in self._some(2, 3):
            name, table, _ = self._either()
            parts.append(
                f"(SELECT {table.any('VARCHAR')} AS a, {table.any('BIGINT')} AS b"
                f" FROM {name} {table.alias}{self._where(table)})"
            )
        query = parts[0]
        for part in parts[1:]:
            sign = self._pick(
                "UNION", "UNION ALL", "EXCEPT", "INTERSECT", "EXCEPT ALL", "INTERSECT ALL"
            )
            query = f"({query} {sign} {part})"
        if self._random.random() < 0.3:
            return Statement(f"SELECT a, count(*), sum(b) FROM {query} u GROUP BY a", False)
        return self._cut(f"SELECT * FROM {query} u", 2)

    def _by_name(self) -> Statement:
        docs, refs = self._table("docs"), self._table("refs")
        query = (
            f"SELECT {docs.column('kind')} AS k, {docs.any('BIGINT')} AS v FROM docs {docs.alias}"
            f"{self._where(docs)} UNION{self._pick('', ' ALL')} BY NAME SELECT {refs.any('BIGINT')}"
            f" AS v, {refs.column('kind')} AS k, {refs.scalar()} AS w FROM refs {refs.alias}"
        )
        return Statement(f"SELECT k, v, w FROM ({query}) u", False)

    def _nested_groups(self) -> Statement:
        name, table, key = self._either()
        inner = (
            f"SELECT {table.scalar()} AS a, {table.scalar()} AS b, count(*) AS n,"
            f" min({key}) AS k FROM {name} {table.alias}{self._where(table)} GROUP BY ALL"
        )
        query = self._pick(
            f"SELECT a, sum(n), count(*), max(k) FROM ({inner}) s GROUP BY a",
            f"SELECT max(n), min(k), count(DISTINCT a) FROM ({inner}) s",
            f"SELECT a, n, sum(n) OVER (PARTITION BY a ORDER BY k) FROM ({inner}) s",
            f"SELECT a, b, n FROM ({inner}) s WHERE n = (SELECT max(n) FROM ({inner}) z)",
        )
        return Statement(query, False)
