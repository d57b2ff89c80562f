"""Random statements that join two or three tables in every way there is."""

from collections.abc import Callable, Sequence

from generated_shapes import EQUAL, KEYS, NEAR, Shapes, Statement


class Joins(Shapes):
    """Joins of collections, of collections with subqueries, and of a collection with itself."""

    def all(self) -> Sequence[Callable[[], Statement]]:
        """The shapes; one that stands twice is drawn twice as often."""
        return (
            self._join, self._join, self._joined_groups, self._joined_groups, self._three_tables,
            self._three_tables, self._semi_or_anti, self._nearest, self._unequal, self._self_join,
            self._using, self._natural, self._lateral, self._positional, self._joined_subqueries,
            self._values,
        )  # fmt: skip

    def _join(self) -> Statement:
        source, docs, refs = self._joined()
        items = self._items(docs, refs, low=2, high=4)
        return self._cut(f"SELECT {', '.join(items)} {source}", len(items))

    def _joined_groups(self) -> Statement:
        source, docs, refs = self._joined()
        keys = self._items(docs, refs, high=2)
        items = keys + self._aggregates(docs, refs, begin=len(keys))
        query = f"SELECT {', '.join(items)} {source}"
        groups = self._pick("ALL", ", ".join(str(place + 1) for place in range(len(keys))))
        having = self._pick(
            "", "", " HAVING count(*) > 2", f" HAVING {docs.aggregate()} IS NOT NULL"
        )
        return self._cut(f"{query} GROUP BY {groups}{having}", len(items))

    def _three_tables(self) -> Statement:
        docs, refs, other = self._table("docs"), self._table("refs"), self._table("refs")
        left, right = self._pair(EQUAL, docs, refs)
        first, second = (
            self._pick("JOIN", "LEFT JOIN"),
            self._pick("JOIN", "LEFT JOIN", "FULL JOIN"),
        )
        link = self._pick(
            f"{refs.column('boss')} = {other.column('name')}",
            f"{refs.column('level')} = {other.column('level')}",
            f"{docs.column('user.name')} = {other.column('boss')}",
        )
        source = (
            f" docs {docs.alias} {first} refs {refs.alias} ON {left} = {right}"
            f" {second} refs {other.alias} ON {link}"
        )
        items = [docs.scalar(), refs.scalar(), other.aggregate(), docs.aggregate(), "count(*)"]
        tables = (docs, refs, other)
        where = f" WHERE {' AND '.join(self._condition_of(*tables) for _ in self._some(1, 3))}"
        query = f"SELECT {', '.join(items)} FROM{source}{where}"
        return self._cut(f"{query} GROUP BY 1, 2", 5)

    def _semi_or_anti(self) -> Statement:
        docs, refs = self._table("docs"), self._table("refs")
        left, right = self._pair(EQUAL, docs, refs)
        kind = self._pick("SEMI", "ANTI")
        on = f"{left} = {right}"
        if self._random.random() < 0.5:
            on += f" AND {self._condition_of(docs, refs)}"
        items = self._items(docs)
        source = f" docs {docs.alias} {kind} JOIN refs {refs.alias} ON {on}"
        return self._cut(f"SELECT {', '.join(items)} FROM{source}{self._where(docs)}", len(items))

    def _nearest(self) -> Statement:
        docs, refs = self._table("docs"), self._table("refs")
        left, right = self._random.choice(NEAR)
        near = f"{docs.column(left)} {self._pick('>=', '>')} r.v"
        same = f"{docs.column('kind')} = r.kind AND " if self._random.random() < 0.5 else ""
        keys = f"DISTINCT ON (kind, v) {refs.column('kind')} AS kind, {refs.column(right)} AS v"
        if not same:
            keys = f"DISTINCT ON (v) {refs.column(right)} AS v"
        inner = (
            f"SELECT {keys}, {refs.column('name')} AS n FROM refs {refs.alias}"
            f" WHERE v IS NOT NULL ORDER BY ALL"
        )
        kind = self._pick("ASOF JOIN", "ASOF LEFT JOIN")
        query = (
            f"SELECT {docs.column('id')}, r.n, r.v FROM docs {docs.alias} {kind} ({inner}) r"
            f" ON {same}{near}{self._where(docs)}"
        )
        return self._cut(query, 3)

    def _unequal(self) -> Statement:
        docs, refs = self._table("docs"), self._table("refs")
        left, right = self._pair(NEAR, docs, refs)
        on = self._pick(
            f"{left} < {right}",
            f"{left} BETWEEN {right} - 5 AND {right} + 5",
            f"{left} <> {right} AND {docs.column('kind')} = {refs.column('kind')}",
            f"{left} > {right} OR {docs.column('kind')} = {refs.column('kind')}",
        )
        kind = self._pick("JOIN", "LEFT JOIN")
        source = f" docs {docs.alias} {kind} refs {refs.alias} ON {on}"
        items = [refs.scalar(), docs.aggregate(), refs.aggregate(), "count(*)"]
        return self._cut(
            f"SELECT {', '.join(items)} FROM{source}{self._where(docs, refs)} GROUP BY 1", 4
        )

    def _self_join(self) -> Statement:
        one, two = self._table("docs"), self._table("docs")
        name = self._pick("id", "size", "actor.login", "created_at")
        on = f"{one.column(name)} = {two.column(name)}"
        if self._random.random() < 0.5:
            on += f" AND {one.column('id')} {self._pick('<', '<>', '<=')} {two.column('id')}"
        kind = self._pick("JOIN", "LEFT JOIN", "FULL JOIN")
        items = [one.scalar(), one.aggregate(), two.aggregate(), "count(*)"]
        source = f" docs {one.alias} {kind} docs {two.alias} ON {on}"
        return self._cut(
            f"SELECT {', '.join(items)} FROM{source}{self._where(one, two)} GROUP BY 1", 4
        )

    def _using(self) -> Statement:
        docs, refs = self._table("docs"), self._table("refs")
        names = self._pick("kind", "kind, flag", "flag, kind", "mixed_key")
        kind = self._pick("JOIN", "LEFT JOIN", "FULL JOIN")
        if names == "mixed_key":
            sides = [
                f"(SELECT *, {table.any('VARCHAR')} AS mixed_key FROM {name} {table.alias})"
                for name, table in (("docs", docs), ("refs", refs))
            ]
            query = f"SELECT mixed_key, count(*) FROM {sides[0]} x {kind} {sides[1]} y"
            return self._cut(f"{query} USING (mixed_key) GROUP BY ALL", 2)
        source = f" docs {docs.alias} {kind} refs {refs.alias} USING ({names})"
        items = ["kind", docs.aggregate(), refs.aggregate(), "count(*)"]
        return self._cut(f"SELECT {', '.join(items)} FROM{source} GROUP BY kind", 4)

    def _natural(self) -> Statement:
        docs, refs = self._table("docs"), self._table("refs")
        left = f"SELECT {docs.column('kind')}, {docs.any('BIGINT')} AS l FROM docs {docs.alias}"
        right = f"SELECT {refs.column('kind')}, {refs.any('BIGINT')} AS r FROM refs {refs.alias}"
        kind = self._pick("", "LEFT ")
        query = (
            f"SELECT kind, count(*), min(l), max(r) FROM ({left}{self._where(docs)})"
            f" NATURAL {kind}JOIN ({right}{self._where(refs)}) GROUP BY kind"
        )
        return self._cut(query, 4)

    def _lateral(self) -> Statement:
        docs, refs = self._table("docs"), self._table("refs")
        left, right = self._pair(EQUAL, docs, refs)
        inner = self._pick(
            f"SELECT count(*) AS v FROM docs {docs.alias} WHERE {left} = {right}",
            f"SELECT max({docs.column('id')}) AS v FROM docs {docs.alias} WHERE {left} = {right}"
            f" AND {docs.condition()}",
            f"SELECT {docs.column('id')} AS v FROM docs {docs.alias} WHERE {left} = {right}"
            f" ORDER BY v LIMIT {self._random.randint(1, 3)}",
        )
        kind = self._pick("CROSS JOIN LATERAL", "LEFT JOIN LATERAL", ", LATERAL")
        on = " ON true" if kind.startswith("LEFT") else ""
        query = f"SELECT {refs.column('name')}, l.v FROM refs {refs.alias} {kind} ({inner}) l{on}"
        return self._cut(query + self._where(refs), 2)

    def _positional(self) -> Statement:
        sides = []
        for name in ("docs", "refs"):
            table = self._table(name)
            key = table.column(KEYS[name])
            sides.append(
                f"(SELECT {key} AS k, {table.scalar()} AS v FROM {name} {table.alias}"
                f"{self._where(table)} ORDER BY k LIMIT {self._random.randint(1, 30)})"
            )
        query = f"SELECT x.k, x.v, y.k, y.v FROM {sides[0]} x POSITIONAL JOIN {sides[1]} y"
        return Statement(query, False)

    def _joined_subqueries(self) -> Statement:
        docs, refs = self._table("docs"), self._table("refs")
        grouped = (
            f"SELECT {docs.any('VARCHAR')} AS k, {docs.aggregate()} AS v FROM docs {docs.alias}"
            f"{self._where(docs)} GROUP BY k"
        )
        kind = self._pick("JOIN", "LEFT JOIN", "FULL JOIN")
        query = (
            f"SELECT g.k, g.v, {refs.scalar()} FROM ({grouped}) g {kind} refs {refs.alias}"
            f" ON g.k = {refs.any('VARCHAR')}"
        )
        return self._cut(query, 3)

    def _values(self) -> Statement:
        docs = self._table("docs")
        kinds = "(VALUES ('click', 1), ('view', 2), ('none', 3), (NULL, 4)) v(kind, rank)"
        kind = self._pick("JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN")
        query = (
            f"FROM docs {docs.alias} {kind} {kinds} ON {docs.column('kind')} = v.kind"
            f" SELECT v.rank, {docs.aggregate()}, count(*) GROUP BY ALL"
        )
        return self._cut(query, 3)
