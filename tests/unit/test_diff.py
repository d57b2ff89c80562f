"""DIFF: what changed between two cuts, and exactly what in the log did it, beside a plain model."""

import random
from collections import Counter
from pathlib import Path

import pytest
from travel_model import Record, Rows, Travel

from alder.catalog import CollectionSettings
from alder.errors import AlderError, Reason
from alder.positions import PositionVector
from alder.v1 import query_pb2

Changed = dict[str, tuple[Record, set[str]]]
SCAN = "SELECT v, g FROM c WHERE v % 3 <> 1 ORDER BY v"
GROUPS = "SELECT g, count(*) AS n, sum(v)::BIGINT AS s, max(v) FROM c WHERE v % 5 <> 0 GROUP BY 1"


def random_log(system: Travel, chance: random.Random, records: int) -> None:
    for _ in range(records):
        value, key = chance.randrange(40), f"k{chance.randrange(12)}"
        dies = system.keyed and chance.random() < 0.15
        group = chance.choice(["x", "y", "z", None])
        document = None if dies else {"k": key, "v": value, "g": group}
        system.append(document, partition=chance.randrange(system.partitions), key=key)


def order(record: Record) -> tuple[int, int, int]:
    """The last of a key's records in this order is its row."""
    return record.time_us, record.partition, record.offset


def changed(system: Travel, at: PositionVector, unless: PositionVector) -> Changed:
    """The rows in one cut and not in the other, by what caused them, from the log alone."""
    found: Changed = {}
    there = {record.row_id for record in system.alive(unless)}
    for row in system.alive(at):
        if row.row_id in there:
            continue
        causes = {row.row_id}
        if row.offset < unless["log", row.partition]:
            later = [
                [r for r in part if r.key == row.key and order(r) > order(row)]
                for part in system.log.partitions
            ]
            killers = [part[0] for part in later if part]
            causes = {r.row_id for r in killers if r.offset < unless["log", r.partition]}
        found[row.row_id] = row, causes
    return found


def asked(system: Travel, query: str, a: PositionVector, b: PositionVector) -> list[dict]:
    table, _ = system.ask(f"DIFF ({query}) BETWEEN POSITION '{a}' AND '{b}'")
    return table.to_pylist()


def compared(system: Travel, query: str, a: PositionVector, b: PositionVector) -> Rows:
    """The difference of two answers, without offsets."""
    past, now = (
        Counter(system.rows(f"SELECT * FROM ({query}) AS q AS OF POSITION '{at}'")) for at in (a, b)
    )
    signed = [("added", now - past), ("removed", past - now)]
    rows = [(*row, sign) for sign, counts in signed for row in counts.elements()]
    return sorted(rows, key=repr)


def without_offsets(rows: list[dict]) -> Rows:
    return sorted((tuple(row.values())[:-1] for row in rows), key=repr)


def random_cut(system: Travel, chance: random.Random) -> PositionVector:
    ends = system.ends()
    return PositionVector({key: chance.randint(0, ends[key]) for key in ends})


@pytest.mark.parametrize(("keyed", "cluster_by"), [(False, ("v",)), (True, ()), (True, ("v",))])
def test_changes_and_their_offsets_are_those_of_the_log(
    tmp_path: Path, keyed: bool, cluster_by: tuple[str, ...]
) -> None:
    chance = random.Random(17)
    settings = CollectionSettings(cluster_by_paths=cluster_by)
    with Travel(tmp_path, keyed, settings=settings) as system:
        for round_ in range(7):
            random_log(system, chance, 25)
            system.catch_up()
            if round_ % 2:
                system.seal()
                system.merge()
            a, b = random_cut(system, chance), random_cut(system, chance)
            b = b.merged(a) if round_ % 3 else b
            won, lost = changed(system, b, a), changed(system, a, b)
            both = [*won.values(), *lost.values()]

            rows = asked(system, SCAN, a, b)
            assert without_offsets(rows) == compared(system, SCAN, a, b)
            for row in rows:
                mine = [
                    c for r, c in both if (r.document["v"], r.document["g"]) == (row["v"], row["g"])
                ]
                assert set(row["_offsets"]) == set().union(*mine)

            groups = asked(system, GROUPS, a, b)
            assert without_offsets(groups) == compared(system, GROUPS, a, b)
            for row in groups:
                mine = [
                    causes
                    for record, causes in both
                    if record.document["g"] == row["g"] and record.document["v"] % 5
                ]
                assert set(row["_offsets"]) == set().union(*mine)
                assert len(set(row["_offsets"])) == len(row["_offsets"])

            total = asked(system, "SELECT count(*) AS n, sum(v)::BIGINT AS s FROM c", a, b)
            assert all(
                set(row["_offsets"]) == set().union(*(causes for _, causes in both))
                for row in total
            )


QUERIES = [
    "SELECT count(*) AS n, sum(v)::BIGINT AS s, min(v) FROM c",
    "SELECT * FROM c",
    "SELECT _id, _offset, v + 1 AS w FROM c WHERE w > 7",
    "SELECT DISTINCT g, v % 2 FROM c",
    "SELECT DISTINCT count(*) // 4 FROM c GROUP BY g",
    "SELECT v % 4 AS bucket, g, count(DISTINCT v) FROM c GROUP BY bucket, g",
    "SELECT g, max(v) AS m FROM c GROUP BY ALL HAVING count(*) > 3",
    "SELECT g AS v, count(*) FROM c GROUP BY g",
    "SELECT g, count(*) AS n FROM c GROUP BY g ORDER BY n DESC, g LIMIT 2",
    "SELECT g, count(*) AS n, rank() OVER (ORDER BY count(*)) FROM c GROUP BY g",
    "SELECT v, row_number() OVER (PARTITION BY g ORDER BY v, _partition, _offset) FROM c",
    "SELECT v FROM c ORDER BY v, _id LIMIT 3",
    "SELECT g, count(*) FROM c GROUP BY ROLLUP (g)",
    "SELECT a.v, b.g FROM c AS a JOIN c AS b ON a.v = b.v + 1",
    "SELECT v FROM c WHERE v > (SELECT avg(v) FROM c)",
    "WITH q AS (SELECT g, v FROM c) SELECT g, sum(v)::BIGINT FROM q GROUP BY g",
    "SELECT v FROM c UNION SELECT v + 100 FROM c",
    "SELECT 1 AS one",
]


@pytest.mark.parametrize("keyed", [False, True])
def test_any_query_differs_as_its_two_answers_do(tmp_path: Path, keyed: bool) -> None:
    chance = random.Random(29)
    with Travel(tmp_path, keyed) as system:
        random_log(system, chance, 60)
        system.catch_up()
        system.seal()
        random_log(system, chance, 20)
        system.catch_up()
        for query in QUERIES:
            a, b = random_cut(system, chance), system.ends()
            rows = asked(system, query, a, b)
            assert without_offsets(rows) == compared(system, query, a, b), query
            assert asked(system, query, b, b) == [], query
            whole = any(word in query for word in ("JOIN", "(SELECT", "WITH", "UNION", "ROLLUP"))
            if whole:
                assert all(row["_offsets"] is None for row in rows)


@pytest.mark.parametrize("keyed", [False, True])
def test_exactly_the_correction_is_named(tmp_path: Path, keyed: bool) -> None:
    chance = random.Random(2)
    with Travel(tmp_path, keyed) as system:
        for number in range(400):
            document = {"k": f"k{number}", "v": chance.randrange(100), "g": f"g{number % 20}"}
            system.append(document, partition=number % 2, key=f"k{number}")
        system.catch_up()
        system.seal()
        before = system.ends()
        for number in range(60):
            document = dict(system.log.partitions[number % 2][number // 2].document or {})
            system.append(document if keyed else None, partition=number % 2, key=f"k{number}")
        if not keyed:
            for part in system.log.partitions:
                del part[before["log", 0] :]
        late = {"k": "k123", "v": 1_000, "g": "g3"}
        correction = system.append(late, partition=1, key="k123")
        system.catch_up()
        groups = asked(
            system, "SELECT g, max(v) AS m FROM c WHERE v > 99 GROUP BY g", before, system.ends()
        )
        expected = {"g": "g3", "m": 1_000, "_change": "added", "_offsets": [correction.row_id]}
        assert groups == [expected]
        rows = asked(system, "SELECT k, v FROM c", before, system.ends())
        assert [row["_offsets"] for row in rows] == [[correction.row_id]] * (1 + keyed)
        assert rows[-1] == {
            "k": "k123",
            "v": 1_000,
            **{k: rows[-1][k] for k in ("_change", "_offsets")},
        }
        counts = asked(system, "SELECT g, count(*) AS n FROM c GROUP BY g", before, system.ends())
        assert [row["_offsets"] for row in counts] == ([] if keyed else [[correction.row_id]] * 2)


def test_the_work_is_that_of_the_change(tmp_path: Path) -> None:
    with Travel(tmp_path, keyed=True, partitions=1) as system:
        for number in range(2_000):
            document = {"k": f"k{number}", "v": number, "g": f"g{number % 100}"}
            system.append(document, key=f"k{number}")
        system.catch_up()
        system.seal()
        before = system.ends()
        system.append({"k": "k7", "v": -1, "g": "g7"}, key="k7")
        system.append({"k": "new", "v": 5, "g": "g8"}, key="new")
        system.catch_up()
        for query, rows in (("SELECT k, v FROM c", 3), ("SELECT g, sum(v) FROM c GROUP BY g", 90)):
            _, trailer = system.ask(
                f"DIFF ({query}) BETWEEN POSITION '{before}' AND '{system.ends()}'"
            )
            scanned = sum(scan.rows_scanned for one in trailer.collections for scan in one.scans)
            assert scanned <= rows, query


def test_aged_rows_are_removed_by_nothing(tmp_path: Path) -> None:
    kept = CollectionSettings(retain_us=60_000_000, history_us=600_000_000)
    with Travel(tmp_path, partitions=1, settings=kept, step_us=10_000_000) as system:
        for number in range(14):
            system.append({"v": number})
        system.catch_up()
        a, b = PositionVector({("log", 0): 10}), PositionVector({("log", 0): 14})
        rows = asked(system, "SELECT v FROM c", a, b)
        assert without_offsets(rows) == compared(system, "SELECT v FROM c", a, b)
        causes = {row["v"]: row["_offsets"] for row in rows}
        removed = {row["v"] for row in rows if row["_change"] == "removed"}
        assert len(removed) >= 3
        assert all(causes[v] == ([] if v in removed else [f"log/0/{v}"]) for v in causes)


def test_parameters_are_those_of_the_query(tmp_path: Path) -> None:
    with Travel(tmp_path, partitions=1) as system:
        for number in range(10):
            system.append({"v": number, "g": "it's" if number % 2 else "b"})
        system.catch_up()
        table, _ = system.ask(
            "DIFF (SELECT g, count(*) AS n FROM c WHERE v >= $low AND g = $g GROUP BY g) "
            "BETWEEN POSITION 'log/0:4' AND 'c=log/0:10' ;",
            parameters=[
                query_pb2.Parameter(name="low", int_value=3),
                query_pb2.Parameter(name="g", string_value="it's"),
            ],
        )
        assert [row["n"] for row in table.to_pylist()] == [1, 4]
        assert table.to_pylist()[0]["_offsets"] == ["log/0/5", "log/0/7", "log/0/9"]
        assert table.schema.field("_offsets").metadata == {b"alder.type": b"VARCHAR[]"}


@pytest.mark.parametrize(
    ("sql", "reason", "words"),
    [
        ("DIFF (SELECT 1)", Reason.SYNTAX, r"write DIFF \(SELECT"),
        ("DIFF (SELECT 1) BETWEEN POSITION 'log/0:1'", Reason.SYNTAX, r"write DIFF \(SELECT"),
        ("DIFF (SELECT 1) BETWEEN POSITION 'log/0:1' AND ?", Reason.SYNTAX, r"write DIFF \(SEL"),
        ("DIFF (SELECT 1) BETWEEN POSITION '' AND '' LIMIT 3", Reason.SYNTAX, "nothing after it"),
        ("DIFF (SELECT 1) BETWEEN POSITION '0' AND ''", Reason.INVALID_ARGUMENT, "is no position"),
        ("DIFF (\nSELECT ] FROM c) BETWEEN POSITION '' AND ''", Reason.SYNTAX, "line 2, column 8"),
        ("DIFF (DROP TABLE c) BETWEEN POSITION '' AND ''", Reason.UNSUPPORTED, "only SELECT"),
        ("DIFF (FROM d) BETWEEN POSITION '' AND ''", Reason.UNKNOWN_COLLECTION, "'d'"),
        ("DIFF (SELECT w FROM c) BETWEEN POSITION '' AND ''", Reason.UNKNOWN_COLUMN, "no column w"),
        ("DIFF (FROM c) BETWEEN POSITION 'log/9:3' AND ''", Reason.INVALID_ARGUMENT, "log/9"),
        ("DIFF (FROM c) BETWEEN POSITION '' AND 'log/0:9'", Reason.DEADLINE, "2 of 9"),
    ],
)
def test_what_can_not_be_compared_is_refused(
    tmp_path: Path, sql: str, reason: Reason, words: str
) -> None:
    with Travel(tmp_path, partitions=1) as system:
        for value in range(2):
            system.append({"v": value})
        system.catch_up()
        with pytest.raises(AlderError, match=words) as caught:
            system.ask(sql, timeout_s=0.4)
        assert caught.value.reason is reason
