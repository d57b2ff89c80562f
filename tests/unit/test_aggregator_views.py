"""Views: their versions, what a query sees of them, and that they mean what they say."""

import asyncio
from collections.abc import Iterator

import pytest
from aggregator_model import Cluster, Document
from hypothesis import given, settings
from hypothesis import strategies as st

from alder.errors import AlderError, Reason

EVENTS: list[Document] = [
    {"n": i, "kind": "abcd"[i % 4], "who": {"id": i % 7}, "x": i / 4, "tag": f"t{i % 3}"}
    for i in range(80)
]
PEOPLE: list[Document] = [{"id": i, "name": f"name{i}"} for i in range(7)]


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    made = Cluster({"ev": EVENTS, "pe": PEOPLE})
    yield made
    made.close()


def refused(cluster: Cluster, sql: str) -> AlderError:
    with pytest.raises(AlderError) as caught:
        cluster.rows(sql)
    return caught.value


def test_a_view_is_what_it_selects_in_every_version(cluster: Cluster) -> None:
    assert cluster.rows("CREATE VIEW v AS SELECT n, who.id AS id FROM ev WHERE n >= 70") == [
        ("v", 1)
    ]
    assert cluster.rows("SELECT count(*), min(n) FROM v") == [(10, 70)]
    assert cluster.rows("CREATE OR REPLACE VIEW v (m) AS SELECT n, kind FROM ev;") == [("v", 2)]
    assert cluster.rows("SELECT count(*), min(m), max(kind) FROM v") == [(80, 0, "d")]
    assert cluster.rows("SELECT count(*), min(n) FROM v@1") == [(10, 70)]
    assert cluster.rows("SELECT count(*) FROM v@2 a JOIN v@1 b ON a.m = b.n") == [(10,)]
    assert refused(cluster, "SELECT n FROM v@2 LIMIT 1").reason is Reason.UNKNOWN_COLUMN
    assert refused(cluster, "SELECT 1 FROM v@3").message == "v has no version 3; its newest is 2"
    assert cluster.rows("DROP VIEW v") == [("v",)]
    assert refused(cluster, "SELECT 1 FROM v").reason is Reason.UNKNOWN_COLLECTION
    assert cluster.rows("CREATE VIEW v AS SELECT 7 AS seven") == [("v", 1)]
    assert cluster.rows("SELECT * FROM v") == [(7,)], "a view of that name was another one"


def test_names_of_views_are_as_forgiving_as_those_of_collections(cluster: Cluster) -> None:
    cluster.rows("CREATE VIEW Best AS SELECT n FROM EV ORDER BY n DESC LIMIT 2")
    assert cluster.rows("SELECT bEST.n FROM best ORDER BY 1") == [(78,), (79,)]
    assert cluster.rows('SELECT sum(t.m) FROM "Best" AS t(m)') == [(157,)]
    assert "did you mean Best" in refused(cluster, "SELECT * FROM bset").message


def test_views_read_views(cluster: Cluster) -> None:
    cluster.rows("CREATE VIEW a AS SELECT who.id AS id, n FROM ev WHERE n % 2 = 0")
    cluster.rows("CREATE VIEW b AS SELECT id, sum(n) AS s FROM a GROUP BY id")
    cluster.rows("CREATE VIEW c AS SELECT name, x.s FROM b x JOIN pe USING (id) JOIN b USING (id)")
    written = (
        "WITH a AS (SELECT who.id AS id, n FROM ev WHERE n % 2 = 0), "
        "b AS (SELECT id, sum(n) AS s FROM a GROUP BY id) "
        "SELECT name, b.s FROM b JOIN pe USING (id) ORDER BY 1"
    )
    assert cluster.rows("SELECT * FROM c ORDER BY 1") == cluster.rows(written)
    cluster.rows("CREATE OR REPLACE VIEW a AS SELECT 1::BIGINT AS id, 5::BIGINT AS n")
    assert cluster.rows("SELECT * FROM c") == [("name1", 5)], "a view reads the newest of another"


def test_a_with_around_a_view_hides_nothing_from_it(cluster: Cluster) -> None:
    cluster.rows("CREATE VIEW v AS SELECT count(*) AS c FROM ev")
    cluster.rows("CREATE VIEW w AS WITH ev AS (SELECT 1 AS one) SELECT one, c FROM ev, v")
    assert cluster.rows("WITH ev AS (SELECT 1) SELECT c FROM v") == [(80,)]
    assert cluster.rows("SELECT * FROM w") == [(1, 80)]
    assert cluster.rows("WITH v AS (SELECT 2 AS c) SELECT c FROM v") == [(2,)]
    assert cluster.rows("WITH v AS (SELECT c + 1 AS c FROM v) SELECT c FROM v") == [(81,)]
    assert cluster.rows("SELECT c FROM v UNION ALL SELECT c FROM v WHERE c > (SELECT 1)") == [
        (80,),
        (80,),
    ]


def test_a_moment_of_a_view_is_that_of_all_that_it_reads(cluster: Cluster) -> None:
    cluster.rows("CREATE VIEW v AS SELECT n FROM ev WHERE n >= 5")
    cluster.rows("CREATE VIEW w AS SELECT a.n FROM v AS a JOIN ev AS b ON a.n = b.n + 1")
    assert cluster.rows("SELECT count(*) FROM v AS OF POSITION 'log/0:20'") == [(15,)]
    assert cluster.rows("SELECT count(*) FROM w AS OF POSITION 'log/0:20' AS x, v@1") == [(1125,)]
    assert cluster.rows("SELECT max(n) FROM w WHERE n < 40 AS OF POSITION 'log/0:30'") == [(29,)]
    cluster.rows("CREATE VIEW past AS SELECT count(*) AS c FROM ev AS OF POSITION 'log/0:7'")
    assert cluster.rows("SELECT c FROM past AS OF POSITION 'log/0:20'") == [(7,)]


FIRST = 'CREATE VIEW v ("a") AS SELECT n FROM ev'


def test_the_text_of_each_version_is_shown(cluster: Cluster) -> None:
    cluster.rows("CREATE VIEW v (a) AS SELECT n FROM ev ; ")
    cluster.rows("CREATE OR REPLACE VIEW v AS SELECT 1 AS a -- one")
    assert cluster.rows("SHOW CREATE VIEW v@1") == [("v", 1, FIRST)]
    (row,) = cluster.rows("SHOW CREATE VIEW V")
    assert row[:2] == ("v", 2)
    cluster.rows("DROP VIEW v")
    assert cluster.rows(str(row[2])) == [("v", 1)]
    assert refused(cluster, "SHOW CREATE VIEW ev").reason is Reason.UNKNOWN_COLLECTION
    assert refused(cluster, "SHOW CREATE VIEW v@7").reason is Reason.UNKNOWN_COLLECTION


def test_the_columns_of_a_view_are_described(cluster: Cluster) -> None:
    cluster.rows("CREATE VIEW v (a) AS SELECT n, sum(x) AS s, list(kind) AS l FROM ev GROUP BY n")
    assert cluster.rows("DESCRIBE v") == [
        ("a", "BIGINT", []),
        ("s", "DOUBLE", []),
        ("l", "VARCHAR[]", []),
    ]
    cluster.rows("CREATE OR REPLACE VIEW v AS SELECT * FROM pe")
    assert [row[0] for row in cluster.rows("DESCRIBE v;")] == ["id", "name"]
    assert [row[0] for row in cluster.rows("DESC v@1")] == ["a", "s", "l"]
    assert [row[:2] for row in cluster.rows("DESCRIBE pe")][:2] == [
        ("id", "BIGINT"),
        ("name", "VARCHAR"),
    ]
    assert cluster.rows("SHOW VIEWS") == [("v", 2, ["pe"], False, None, None, "SELECT * FROM pe")]


@pytest.mark.parametrize(
    ("sql", "reason", "words"),
    [
        ("CREATE VIEW v AS SELECT nn FROM ev", Reason.UNKNOWN_COLUMN, "no column nn in ev"),
        ("CREATE VIEW v AS SELECT n FROM evv", Reason.UNKNOWN_COLLECTION, "did you mean ev"),
        ("CREATE VIEW v AS SELECT sum(kind) FROM ev", Reason.WRONG_TYPE, "sum"),
        ("CREATE VIEW v AS SELECT n FROM ev WHERE n = $1", Reason.INVALID_ARGUMENT, "QUERY"),
        ("CREATE VIEW v AS SELECT read_text('/x')", Reason.FORBIDDEN, "read_text"),
        ("CREATE VIEW v AS SELECT * FROM read_csv('/x')", Reason.FORBIDDEN, "read_csv"),
        ("CREATE VIEW v AS SELECT getenv('HOME')", Reason.UNSUPPORTED, "getenv"),
        ("CREATE VIEW v AS INSERT INTO ev VALUES (1)", Reason.UNSUPPORTED, "INSERT"),
        ("CREATE VIEW v AS SELECT 1; SELECT 2", Reason.UNSUPPORTED, "2 statements"),
        ("CREATE VIEW v AS", Reason.SYNTAX, "at the end"),
        ("CREATE VIEW v AS SELEC 1", Reason.SYNTAX, "parse"),
        ("CREATE VIEW v", Reason.SYNTAX, "AS SELECT"),
        ("CREATE VIEW v (a,) AS SELECT 1", Reason.SYNTAX, "at ')'"),
        ("CREATE VIEW 'v' AS SELECT 1", Reason.SYNTAX, "at \"'v'\""),
        ("CREATE OR REPLACE VIEW IF NOT EXISTS v AS SELECT 1", Reason.SYNTAX, "at 'NOT'"),
        ("CREATE TEMP VIEW v AS SELECT 1", Reason.UNSUPPORTED, "CREATE"),
        ("CREATE VIEW v (a, b) AS SELECT 1", Reason.INVALID_ARGUMENT, "its SELECT has 1"),
        ("CREATE VIEW v AS SELECT n, n AS N FROM ev", Reason.INVALID_ARGUMENT, "several columns n"),
        ('CREATE VIEW "v@1" AS SELECT 1', Reason.INVALID_ARGUMENT, "can't name"),
        ("CREATE VIEW pe AS SELECT 1", Reason.ALREADY_EXISTS, "collection pe"),
        ("CREATE VIEW v AS SELECT * FROM v", Reason.UNKNOWN_COLLECTION, "'v'"),
        ("DROP VIEW v", Reason.UNKNOWN_COLLECTION, "no view 'v'"),
        ("DROP VIEW ev", Reason.UNKNOWN_COLLECTION, "no view 'ev'"),
        ("DROP VIEW a, b", Reason.SYNTAX, "',' follows"),
        ("DROP VIEW IF v", Reason.SYNTAX, "'v' follows"),
        ("SHOW VIEWS LIKE 'v'", Reason.SYNTAX, "LIKE"),
        ("SELECT * FROM ev@1", Reason.UNSUPPORTED, "only views have versions"),
    ],
)
def test_what_is_no_view(cluster: Cluster, sql: str, reason: Reason, words: str) -> None:
    error = refused(cluster, sql)
    assert (error.reason, words in error.message) == (reason, True), error.message
    assert cluster.rows("SHOW VIEWS") == []


def test_circles_are_refused_and_leave_the_view_as_it_was(cluster: Cluster) -> None:
    cluster.rows("CREATE VIEW v AS SELECT 1 AS a")
    cluster.rows("CREATE VIEW w AS SELECT a FROM v")
    for sql in ("SELECT a FROM w", "SELECT a FROM v", "SELECT a FROM (SELECT a FROM w) t"):
        error = refused(cluster, f"CREATE OR REPLACE VIEW v AS {sql}")
        assert error.reason is Reason.INVALID_ARGUMENT
        assert "would read itself" in error.message
    assert cluster.rows("CREATE OR REPLACE VIEW v AS SELECT a + 1 AS a FROM v@1") == [("v", 2)]
    assert cluster.rows("SELECT * FROM w") == [(2,)]
    assert refused(cluster, "DROP VIEW v").reason is Reason.CONFLICT


def test_a_function_that_is_allowed_no_more_is_refused_inside_a_view(cluster: Cluster) -> None:
    cluster.rows("CREATE VIEW v AS SELECT 1 AS a")
    snapshot = cluster.follower.snapshot
    view = snapshot.definitions["v"].to_proto()
    view.versions[0].sql = "SELECT content AS a FROM read_text('/etc/hostname')"
    changed = snapshot.definitions["v"].from_proto(view)
    cluster.follower.snapshot = type(snapshot)(
        snapshot.revision + 1, snapshot.collections, snapshot.nodes, {"v": changed}
    )
    assert refused(cluster, "SELECT a FROM v").reason is Reason.FORBIDDEN


def test_a_query_reads_one_version_whatever_is_published_meanwhile(cluster: Cluster) -> None:
    cluster.rows("CREATE VIEW v AS SELECT n, 1 AS version FROM ev")
    for leaf in cluster.leaves.values():
        leaf.delay_s = 0.002
    both = "SELECT DISTINCT a.version, b.version FROM v a JOIN v b USING (n)"

    async def publish() -> None:
        for version in range(2, 12):
            sql = f"CREATE OR REPLACE VIEW v AS SELECT n, {version} AS version FROM ev"
            await cluster.aggregate(sql)

    async def read(seen: set[int]) -> None:
        while 11 not in seen:
            rows = await cluster.aggregate(both)
            ((left, right),) = rows
            assert left == right
            seen.add(left)
            ((pinned,),) = await cluster.aggregate("SELECT DISTINCT version FROM v@1")
            assert pinned == 1

    async def all_at_once() -> set[int]:
        seen: set[int] = set()
        async with asyncio.timeout(60):
            await asyncio.gather(publish(), read(seen), read(seen))
        return seen

    seen = cluster.run(all_at_once())
    assert len(seen) > 2, "the readers ran beside the publishing"


@pytest.mark.parametrize(
    ("over_view", "written_out", "plan_class"),
    [
        (
            "SELECT id, count(*) AS c, sum(m) AS s FROM v WHERE kind = 'a' AND m > 20 GROUP BY id",
            "SELECT who.id AS id, count(*) AS c, sum(n + 1) AS s FROM ev "
            "WHERE n >= 10 AND kind = 'a' AND n + 1 > 20 GROUP BY who.id",
            "a",
        ),
        (
            "SELECT t.m, t.kind FROM v AS t WHERE t.id IN (1, 2) ORDER BY t.m DESC LIMIT 3",
            "SELECT n + 1 AS m, kind FROM ev WHERE n >= 10 AND who.id IN (1, 2) "
            "ORDER BY n + 1 DESC LIMIT 3",
            "b",
        ),
        (
            "SELECT * FROM v ORDER BY m LIMIT 2",
            "SELECT who.id AS id, n + 1 AS m, kind FROM ev WHERE n >= 10 ORDER BY n + 1 LIMIT 2",
            "b",
        ),
        (
            "SELECT max(a) AS b FROM w",
            "SELECT max(-(n + 1)) AS b FROM ev WHERE n >= 10 AND kind <> 'd'",
            "a",
        ),
        (
            "SELECT count(*) AS c FROM g WHERE kind = 'b' AND s > 4",
            "SELECT count(*) AS c FROM (SELECT kind, who.id AS id, sum(n) AS s FROM ev "
            "WHERE kind = 'b' GROUP BY ALL) AS g WHERE s > 4",
            "e",
        ),
    ],
)
def test_a_view_plans_as_the_statement_written_out(
    cluster: Cluster, over_view: str, written_out: str, plan_class: str
) -> None:
    cluster.rows("CREATE VIEW v AS SELECT who.id AS id, n + 1 AS m, kind FROM ev WHERE n >= 10")
    cluster.rows("CREATE VIEW w AS SELECT -m AS a FROM v WHERE kind <> 'd'")
    cluster.rows("CREATE VIEW g AS SELECT kind, who.id AS id, sum(n) AS s FROM ev GROUP BY ALL")
    table, trailer = cluster.ask(over_view)
    assert trailer.plan_class == plan_class
    for other in (cluster.ask(over_view, "e")[0], cluster.ask(written_out)[0]):
        assert table.schema.equals(other.schema)
        assert sorted(table.to_pylist(), key=str) == sorted(other.to_pylist(), key=str)

    def told(sql: str) -> list[str]:
        lines = [str(row[0]) for row in cluster.rows(f"EXPLAIN {sql}")]
        kept = ("class", "pushed down", "for indexes", "columns")
        found = [line.strip("│├└─ ") for line in lines]
        return sorted(
            ", ".join(sorted(line.partition(": ")[2].split(", ")))
            for line in found
            if line.startswith(kept)
        )

    assert told(over_view) == told(written_out)


def test_names_with_two_meanings_keep_the_one_that_they_have(cluster: Cluster) -> None:
    cluster.rows("CREATE VIEW v AS SELECT n, n % 5 AS kind, kind AS v FROM ev")
    for sql in (
        "SELECT -n AS kind, count(*) AS n FROM v GROUP BY kind, v.n HAVING n > 3 ORDER BY n, kind",
        "SELECT n AS kind FROM v ORDER BY kind, v.kind LIMIT 7",
        "SELECT n + 1 AS n, n AS m FROM v WHERE n > 70 ORDER BY n",
        "SELECT list_transform([1, 2], lambda n: n + kind) AS l, n FROM v ORDER BY n LIMIT 3",
        "SELECT v.v, v FROM v ORDER BY ALL LIMIT 3",
        "SELECT (SELECT max(id) FROM pe WHERE id = v.kind) AS x, n FROM v ORDER BY n LIMIT 3",
        "SELECT DISTINCT ON (kind) kind, n FROM v ORDER BY kind, n DESC",
        "SELECT kind, n, row_number() OVER (PARTITION BY kind ORDER BY n) AS r FROM v "
        "QUALIFY r = 2 ORDER BY kind",
        "SELECT * EXCLUDE (n) FROM v ORDER BY ALL LIMIT 4",
        "SELECT kind + 1 AS next, next * 2 AS twice FROM v WHERE next > 3 ORDER BY ALL LIMIT 3",
    ):
        assert cluster.rows(sql) == cluster.rows(sql, "e"), sql


SUMS = "SELECT kind, sum(n) AS s FROM ev GROUP BY kind"


def test_leaves_are_told_what_an_accelerated_view_asks_of_them(cluster: Cluster) -> None:
    leaves = [leaf for leaf in cluster.leaves.values() if leaf.collection == "ev"]
    cluster.rows(f"CREATE VIEW v AS {SUMS}")
    assert cluster.rows("ALTER VIEW V SET (accelerate = true)") == [("v", True)]
    assert [row[3:6] for row in cluster.rows("SHOW VIEWS")] == [(True, 0, 3)]
    for leaf in leaves:
        leaf.requests.clear()
    cluster.rows("SELECT s, kind FROM v WHERE s > 5 ORDER BY s DESC LIMIT 2")
    for leaf in leaves:
        (asked,) = [one.fragment for one in leaf.requests]
        told = leaf.kept[-1]
        assert (told.view, told.collection_id) == ("v", 1)
        (kept,) = told.kept
        assert (kept.view, kept.version, kept.fragment) == ("v", 1, asked)
        assert kept.revision == cluster.follower.snapshot.revision
    cluster.rows("CREATE OR REPLACE VIEW v AS SELECT count(*) AS c FROM ev")
    cluster.rows("SHOW VIEWS")
    assert [leaf.kept[-1].kept[0].version for leaf in leaves] == [2] * len(leaves)
    leaves[0].failures.append(AlderError(Reason.UNAVAILABLE, "not now"))
    assert [row[3:6] for row in cluster.rows("SHOW VIEWS")] == [(True, None, None)]
    assert cluster.rows("ALTER VIEW v SET (accelerate = FALSE);") == [("v", False)]
    assert [row[3:6] for row in cluster.rows("SHOW VIEWS")] == [(False, None, None)]


@pytest.mark.parametrize(
    ("sql", "reason", "words"),
    [
        ("ALTER VIEW rows_only SET (accelerate = true)", Reason.UNSUPPORTED, "aggregates"),
        ("ALTER VIEW nope SET (accelerate = true)", Reason.UNKNOWN_COLLECTION, "'nope'"),
        ("ALTER VIEW ev SET (accelerate = true)", Reason.UNKNOWN_COLLECTION, "only views"),
        ("ALTER VIEW rows_only SET (accelerate = 1)", Reason.SYNTAX, "at '1'"),
        ("ALTER VIEW rows_only SET (fast = true)", Reason.SYNTAX, "at 'fast'"),
        ("ALTER VIEW rows_only RENAME TO x", Reason.SYNTAX, "at 'RENAME'"),
        ("ALTER VIEW rows_only", Reason.SYNTAX, "at the end"),
    ],
)
def test_what_can_not_be_accelerated(
    cluster: Cluster, sql: str, reason: Reason, words: str
) -> None:
    cluster.rows("CREATE VIEW rows_only AS SELECT n FROM ev WHERE n > 3")
    error = refused(cluster, sql)
    assert (error.reason, words in error.message) == (reason, True), error.message


CONDITIONS = st.sampled_from(
    ["", "n > 17", "kind = 'b'", "n % 3 = 1 AND x < 9", "id IN (1, 2, 6)", "kind <> 'a' OR n < 9"]
)
VIEWS = st.sampled_from(
    [
        "SELECT n, x, who.id AS id, kind FROM ev",
        "SELECT n + 1 AS n, -x AS x, who.id AS id, upper(kind) AS kind FROM ev WHERE n > 8",
        "SELECT max(n) AS n, sum(x) AS x, who.id AS id, kind FROM ev GROUP BY who.id, kind",
        "SELECT count(*) AS n, avg(x) AS x, who.id AS id, min(kind) AS kind FROM ev "
        "WHERE n < 60 GROUP BY ALL HAVING count(*) > 1",
        "SELECT DISTINCT n % 5 AS n, x // 9 AS x, id, kind FROM ev JOIN pe ON pe.id = who.id",
        "SELECT n, x, who.id AS id, kind FROM ev ORDER BY n DESC LIMIT 30",
        "SELECT n, sum(x) OVER (PARTITION BY kind ORDER BY n) AS x, who.id AS id, kind FROM ev",
        "SELECT n, x, id, kind FROM ((SELECT n, x, who.id AS id, kind FROM ev WHERE kind = 'a') "
        "UNION ALL (SELECT id, id / 2, id, name FROM pe)) t",
    ]
)
TOPS = st.sampled_from(
    [
        "SELECT n, x, id, kind FROM v",
        "SELECT * FROM v",
        "SELECT kind, count(*) AS c, sum(n) AS s FROM v GROUP BY kind",
        "SELECT sum(n) AS s, max(x) AS m, count(DISTINCT kind) AS d FROM v",
        "SELECT id, kind AS id2 FROM v t",
        "SELECT v.kind AS n, v.n AS kind FROM v",
        "SELECT DISTINCT kind FROM v",
        "SELECT pe.name, v.n FROM v JOIN pe USING (id)",
        "SELECT n, row_number() OVER (ORDER BY n, x, kind, id) AS r FROM v",
    ]
)


def _query(top: str, condition: str) -> str:
    head, found, groups = top.partition(" GROUP BY ")
    where = f" WHERE {condition}" if condition and "JOIN" not in top else ""
    return f"{head}{where}{found}{groups} ORDER BY ALL"


def _rounded(rows: list[tuple[object, ...]]) -> list[tuple[object, ...]]:
    return [tuple(round(v, 6) if isinstance(v, float) else v for v in row) for row in rows]


@pytest.fixture(scope="module")
def shared() -> Iterator[Cluster]:
    made = Cluster({"ev": EVENTS, "pe": PEOPLE})
    yield made
    made.close()


@settings(max_examples=60, deadline=None)
@given(view=VIEWS, replacing=VIEWS, top=TOPS, condition=CONDITIONS)
def test_a_view_answers_as_its_select_in_a_with(
    shared: Cluster, view: str, replacing: str, top: str, condition: str
) -> None:
    query = _query(top, condition)

    def rows(sql: str, plan_class: str = "") -> list[tuple[object, ...]]:
        return _rounded(shared.rows(sql, plan_class))

    shared.rows("DROP VIEW IF EXISTS v")
    shared.rows(f"CREATE VIEW v AS {view}")
    expected = rows(f"WITH v AS ({view}) {query}", "e")
    assert rows(query) == rows(query, "e") == expected
    shared.rows(f"CREATE OR REPLACE VIEW v AS {replacing}")
    assert rows(query) == rows(f"WITH v AS ({replacing}) {query}", "e")
    assert rows(query.replace("FROM v", "FROM v@1")) == expected
