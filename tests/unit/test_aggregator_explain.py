"""Statements that are no SELECT: what users see of a plan, of a collection and of its indexes."""

import re
from collections.abc import Iterator

import pytest
import test_aggregator_answers as answers
from aggregator_model import Cluster

from aggregator.commands.check_index import CheckIndex
from aggregator.commands.describe import Describe
from aggregator.commands.explain import Explain
from aggregator.commands.kinds import command_of
from aggregator.commands.report import Branch, shard_line
from aggregator.commands.show_tables import ShowTables
from alder.errors import AlderError, Reason
from alder.v1 import leaf_pb2, query_pb2

EVENTS = [
    {"n": n, "type": ["push", "fork"][n % 2], "actor": {"login": f"u{n % 3}"}, "a.b": 1, "_id": n}
    for n in range(20)
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    made = Cluster({"ev": EVENTS, "Pe": [{"n": 1, "x": 2.5}, {"x": 3}]}, shards=3)
    yield made
    made.close()


def plan_of(cluster: Cluster, sql: str, **request: object) -> list[str]:
    table, trailer = cluster.ask(sql, **request)
    assert table.schema.names == ["plan"]
    assert table.schema.field(0).metadata == {b"alder.type": b"VARCHAR"}
    lines: list[str] = table.column(0).to_pylist()
    assert trailer.rows == len(lines)
    assert not re.search(r"__[a-z]", "\n".join(lines)), "names that planning made up"
    return lines


def fragments_run(cluster: Cluster) -> int:
    return sum(len(leaf.requests) for leaf in cluster.leaves.values())


def test_an_aggregate_is_told_in_the_names_of_the_user(cluster: Cluster) -> None:
    before = fragments_run(cluster)
    lines = plan_of(
        cluster,
        "explain select type, count(*) c, sum(n) from ev "
        "where n > 3 and actor.login in ('u1', 'u2') group by type order by c",
    )
    assert lines == [
        "class a: aggregate of one collection; leaves send states of groups, which combine here",
        "├─ read ev: 3 shards on 2 leaves",
        "│  ├─ class a: states of groups",
        "│  ├─ columns: type VARCHAR, n BIGINT, actor.login VARCHAR",
        "│  ├─ pushed down: (n > 3) AND (actor.login IN ('u1', 'u2'))",
        '│  ├─ for indexes: n > 3; actor.login in ("u1", "u2")',
        '│  └─ fragment: SELECT "type" AS key0, count_star() EXPORT_STATE AS state0, '
        "sum(n) EXPORT_STATE AS state1 FROM ev "
        "WHERE ((n > 3) AND (actor.login IN ('u1', 'u2'))) GROUP BY 1",
        lines[-1],
    ]
    assert lines[-1].startswith("└─ finish: WITH grouped AS (SELECT key0, finalize(")
    assert lines[-1].endswith('AS "sum(n)" FROM grouped ORDER BY c')
    assert fragments_run(cluster) == before, "EXPLAIN runs nothing"


def test_reads_of_a_join_and_odd_names(cluster: Cluster) -> None:
    lines = plan_of(
        cluster,
        'explain select a."a.b", b."_id", b."\\_id", p.x from ev a join ev b '
        "on a.n = b.n left join pe p on p.n = a.n where a.n < 5 and p.x > 1",
    )
    text = "\n".join(lines)
    assert lines[0].startswith("class e: ")
    assert "├─ read ev as ev_1: 3 shards on 2 leaves" in lines
    assert "├─ read ev as ev_2: 3 shards on 2 leaves" in lines
    assert "├─ read Pe as pe: 3 shards on 2 leaves" in lines
    assert 'ev_2."\\_id"' in lines[-1]
    assert "ev_2._id" in lines[-1]
    assert "ev_1.n < 5" not in lines[-1], "the leaves have applied it"
    assert "│  ├─ pushed down: (n < 5)" in lines
    assert text.count("│  ├─ pushed down: no condition") == 2
    assert text.count("│  ├─ for indexes: no condition") == 2
    assert '"a\\.b"' in text


@pytest.fixture(scope="module")
def answering() -> Iterator[Cluster]:
    made = Cluster({"ev": answers.EVENTS, "pe": answers.PEOPLE}, shards=2)
    yield made
    made.close()


@pytest.mark.parametrize("sql", answers.AGGREGATES + answers.SCANS + answers.GATHERED)
def test_every_statement_that_is_answered_is_explained(answering: Cluster, sql: str) -> None:
    table, _ = answering.ask(f"explain {sql}")
    lines = table.column(0).to_pylist()
    made_up = re.search(r"__[a-z]", "\n".join(lines))
    assert made_up is None or "__" in sql
    reads = [line for line in lines if line.startswith("├─ read ")]
    fragments = [line for line in lines if "└─ fragment: SELECT " in line]
    assert len(reads) == len(fragments)
    assert lines[-1].startswith("└─ finish: ")


def test_literals_that_look_like_our_names_stay(cluster: Cluster) -> None:
    table, _ = cluster.ask("explain select n from ev where type = '__t0.__c0'")
    text = "\n".join(table.column(0).to_pylist())
    assert text.count("'__t0.__c0'") == 2


def test_classes_parameters_and_places_are_those_of_the_select(cluster: Cluster) -> None:
    assert plan_of(cluster, "explain select n from ev limit 3")[0].startswith("class b: ")
    forced = plan_of(cluster, "explain select count(*) from ev", plan_class="e")
    assert forced[0].startswith("class e: ")
    five = query_pb2.Parameter(int_value=5)
    lines = plan_of(cluster, "explain select n from ev where n = ?", parameters=[five])
    assert "│  ├─ for indexes: n = 5" in lines
    assert plan_of(cluster, "explain select 1") == [
        "class e: leaves send what each read asks for; the statement runs here",
        "└─ finish: SELECT 1",
    ]
    for sql, reason, sentence in [
        ("explain select tipe from ev", Reason.UNKNOWN_COLUMN, "did you mean type"),
        ("explain select * from read_csv('x')", Reason.FORBIDDEN, "read_csv is not available"),
        ("/* x */ explain analyze\nselect n frm ev x", Reason.SYNTAX, "(line 2, column 14)"),
        ("explain", Reason.SYNTAX, "there is no statement"),
    ]:
        with pytest.raises(AlderError) as caught:
            cluster.ask(sql)
        assert caught.value.reason is reason
        assert sentence in caught.value.message


def test_analyze_runs_the_query_and_tells_of_every_leaf(cluster: Cluster) -> None:
    before = fragments_run(cluster)
    table, trailer = cluster.ask("explain analyze select n from ev where n >= 5 order by n limit 2")
    lines = table.column(0).to_pylist()
    assert fragments_run(cluster) == before + 2
    assert trailer.plan_class == "b"
    assert sorted(trailer.collections[0].shards_answered) == [0, 1, 2]
    text = re.sub(r"\d+\.\d ms", "T", "\n".join(lines))
    assert "├─ time: T (plan T, leaves T, finish T); 2 rows in the result" in text
    assert "│  ├─ cut: log/0:20" in text
    assert "│  ├─ lag: 0 records behind the shard that is furthest, 0 behind the log's end" in text
    assert text.count("the slowest") == 1
    assert re.search(r"leaf ev-leaf-0: T there, T until its answer was here; sent 2 rows,", text)
    assert sorted(re.findall(r"shard (\d):", text)) == ["0", "1", "2"]
    leaf = cluster.leaves["ev-leaf-0"]
    leaf.shards[0].next_offset = 25
    lines = cluster.rows("explain analyze select count(*) from ev")
    assert any("lag: 5 records behind the shard that is furthest, 0 b" in line for (line,) in lines)
    leaf.shards[0].next_offset = 20
    leaf.failures.append(AlderError(Reason.UNAVAILABLE, "it is gone"))
    with pytest.raises(AlderError, match=r"leaf ev-leaf-0 .*: it is gone"):
        cluster.ask("explain analyze select count(*) from ev")


def test_what_a_shard_did_is_one_line() -> None:
    scan = leaf_pb2.ShardScan(
        shard=4, rows_total=1000, rows_scanned=12, segments_total=3, segments_pruned=1,
        access_paths=["postings(type)", "zone map(_time)"], rows_candidate=10,
        partials_hits=2, partials_misses=1,
    )  # fmt: skip
    assert shard_line(scan) == (
        "shard 4: 1000 rows in the cut, 10 candidates by postings(type), zone map(_time), 12 read; "
        "1 of 3 segments pruned; partials of 2 from memory, 1 computed; by the engine"
    )
    plain = leaf_pb2.ShardScan(
        shard=0, rows_total=1, rows_scanned=1, engine=leaf_pb2.FRAGMENT_ENGINE_KERNELS
    )
    assert shard_line(plain) == (
        "shard 0: 1 row in the cut, no index narrowed, 1 read; 0 of 0 segments pruned; by kernels"
    )


def test_a_tree_is_drawn_with_one_printable_line_per_branch() -> None:
    root = Branch("a")
    inner = root.add("b\n\x1b[31m")
    inner.add("c")
    root.add("d" * 10_000)
    lines = root.lines()
    assert lines[:3] == ["a", "├─ b\\n\\x1b[31m", "│  └─ c"]
    assert len(lines[3]) < 4_100


def test_describe_lists_fields_and_what_every_row_has(cluster: Cluster) -> None:
    assert cluster.rows("DESCRIBE ev") == [
        ("n", "BIGINT", ["int"]),
        ("type", "VARCHAR", ["string"]),
        ("actor.login", "VARCHAR", ["string"]),
        ("a\\.b", "BIGINT", ["int"]),
        ("\\_id", "BIGINT", ["int"]),
        ("_id", "VARCHAR", []),
        ("_time", "TIMESTAMP", []),
        ("_log_time", "TIMESTAMP", []),
        ("_source", "VARCHAR", []),
        ("_partition", "INTEGER", []),
        ("_offset", "BIGINT", []),
        ("_doc", "JSON", []),
    ]
    table, trailer = cluster.ask('/* of */ desc "pe" ;')
    assert table.schema.names == ["column_name", "column_type", "physical_types"]
    assert table.column(0).to_pylist()[:2] == ["n", "x"]
    assert (trailer.rows, trailer.plan_class) == (9, "")
    with pytest.raises(AlderError, match="there is no collection 'evv'; did you mean ev"):
        cluster.ask("describe evv")


def test_show_tables_lists_collections(cluster: Cluster) -> None:
    expected = [(name, None, None, None, 3, ["log"]) for name in ("Pe", "ev")]
    assert cluster.rows("show tables;") == expected
    assert cluster.rows("SHOW COLLECTIONS") == expected


def test_check_index_asks_every_leaf_or_fails(cluster: Cluster) -> None:
    table, _ = cluster.ask("CHECK INDEX EV;")
    assert table.to_pylist() == [
        {
            "shard": number,
            "path": "postings",
            "predicates": 4,
            "rows_compared": 40,
            "verdict": "different" if number == 1 else "equal",
            "detail": "n in segment 0: = 3 leaves out log/0/3" if number == 1 else None,
        }
        for number in range(3)
    ]
    leaf = cluster.leaves["ev-leaf-0"]
    assert (list(leaf.checks[-1].shards), leaf.checks[-1].collection) == ([0, 2], "ev")
    leaf.silent_shards = frozenset({2})
    with pytest.raises(AlderError, match=r"no answer from shards \[2\]"):
        cluster.ask("check index ev")
    leaf.silent_shards = frozenset()
    leaf.failures.append(AlderError(Reason.UNAVAILABLE, "it is gone"))
    with pytest.raises(AlderError, match=r"leaf ev-leaf-0 .*: it is gone"):
        cluster.ask("check index ev")


@pytest.mark.parametrize(
    ("sql", "command"),
    [
        ("select 1", None),
        ("", None),
        ("describe select 1", None),
        ("show all tables", None),
        ("check", None),
        ('"explain" select 1', None),
        ("Explain/**/Select 1", Explain("       /**/Select 1", False)),
        ("explain -- a\nanalyse select 1", Explain("            \n        select 1", True)),
        ("describe Ev", Describe("Ev")),
        ('DESC "a ""b"" c" ; ;', Describe('a "b" c')),
        ("show\ttables", ShowTables()),
        ("check index ev -- all\n;", CheckIndex("ev")),
    ],
)
def test_commands_are_told_by_their_first_words(sql: str, command: object) -> None:
    assert command_of(sql) == command


@pytest.mark.parametrize(
    ("sql", "sentence"),
    [
        ("describe", "the statement can't be read at the end; write DESCRIBE NAME"),
        ("describe 'ev'", "the statement can't be read at \"'ev'\"; write DESCRIBE NAME"),
        ("describe main.ev", "write DESCRIBE NAME and nothing after it; '.' follows"),
        ("desc ev; select 1", "write DESC NAME and nothing after it; 'select' follows"),
        ("show tables from x", "write SHOW TABLES and nothing after it; 'from' follows"),
        ("check index", "write CHECK INDEX NAME, with the name of one collection"),
        ("check index a, b", "write CHECK INDEX NAME and nothing after it; ',' follows"),
    ],
)
def test_a_command_that_is_not_one_is_refused(sql: str, sentence: str) -> None:
    with pytest.raises(AlderError) as caught:
        command_of(sql)
    assert (caught.value.reason, caught.value.message) == (Reason.SYNTAX, sentence)
