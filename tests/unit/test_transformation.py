"""Transformations: what passes, what is refused with which reason, and rows by themselves."""

import itertools
import json

import pyarrow as pa
import pytest

from alder.errors import AlderError, Reason
from alder.transformation import COLUMNS, MADE_BYTES_MAX, Transformation


def records(documents: list[str]) -> pa.Table:
    count = len(documents)
    columns = [
        pa.array(documents, pa.string()),
        pa.repeat("log", count),
        pa.repeat(pa.scalar(0, pa.int32()), count),
        pa.array(range(count), pa.int64()),
        pa.array([10**15] * count, pa.timestamp("us")),
    ]
    return pa.table(columns, schema=COLUMNS)


def applied(sql: str, documents: list[str]) -> tuple[dict[int, object], dict[int, str]]:
    """The document of each record, of which none may become several."""
    made, failed = exploded(sql, documents)
    assert all(len(found) == 1 for found in made.values())
    return {row: found[0] for row, found in made.items()}, failed


def exploded(
    sql: str | Transformation, documents: list[str]
) -> tuple[dict[int, list[object]], dict[int, str]]:
    """The documents of each record, in their order, and why the others failed."""
    made: dict[int, list[object]] = {}
    failed: dict[int, str] = {}
    ends = [0]
    transformation = Transformation(sql) if isinstance(sql, str) else sql
    for part in transformation.apply(records(documents)):
        assert part.rows.tolist() == sorted(part.rows)
        assert all(ends[-1] <= row < part.end for row in [*part.rows, *part.failed])
        ends.append(part.end)
        failed |= part.failed
        for row, text in zip(part.rows.tolist(), part.documents.to_pylist(), strict=True):
            made.setdefault(row, []).append(json.loads(text))
    assert ends[-1] == len(documents)
    return made, failed


def test_columns_become_a_document() -> None:
    made, failed = applied(
        "SELECT _doc->>'$.user.login' AS who, CAST(_doc->'$.n' AS INTEGER) * 2 AS twice, "
        "_doc->'$.tags' AS tags, _source || '/' || _offset AS \"from\", year(_log_time) AS y "
        "FROM _input WHERE _doc->>'$.kind' = 'push'",
        [
            '{"kind": "push", "user": {"login": "ann"}, "n": 4, "tags": ["a", 1]}',
            '{"kind": "pull", "n": "not a number"}',
            '{"kind": "push", "n": "not a number"}',
            '{"kind": "push"}',
        ],
    )
    assert made == {
        0: {"who": "ann", "twice": 8, "tags": ["a", 1], "from": "log/0", "y": 2001},
        3: {"who": None, "twice": None, "tags": None, "from": "log/3", "y": 2001},
    }
    assert list(failed) == [2]
    assert "not a number" in failed[2]


def test_the_document_alone_is_the_document() -> None:
    sql = 'SELECT json_merge_patch(_doc, \'{"secret": null, "kept": 1}\') AS _doc FROM _input'
    made, failed = applied(sql, ['{"secret": 7, "a": {"b": 1}}', '{"a": "x"}'])
    assert made == {0: {"a": {"b": 1}, "kept": 1}, 1: {"a": "x", "kept": 1}}
    assert not failed
    made, failed = applied("SELECT _doc->'$.inner' AS _doc FROM _input", ['{"inner": {}}', "{}"])
    assert made == {0: {}}
    assert "NULL" in failed[1]


def test_an_odd_record_fails_for_itself() -> None:
    sql = "SELECT CAST(_doc->>'$.n' AS INTEGER) AS n FROM _input"
    texts = [json.dumps({"n": "x" if n % 37 == 5 else n}) for n in range(500)]
    made, failed = applied(sql, texts)
    assert sorted(failed) == [n for n in range(500) if n % 37 == 5]
    assert made == {n: {"n": n} for n in range(500) if n % 37 != 5}
    assert applied("SELECT repeat('x', 20000000) AS n FROM _input", ["{}"])[1]


@pytest.mark.parametrize(
    ("sql", "reason", "says"),
    [
        ("SELEC 1", Reason.SYNTAX, "parsed"),
        ("DELETE FROM _input", Reason.SYNTAX, "SELECT"),
        ("SELECT 1 AS a FROM _input; SELECT 2 AS a FROM _input", Reason.UNSUPPORTED, "one"),
        ("SELECT now() AS a FROM _input", Reason.FORBIDDEN, "now"),
        ("SELECT current_timestamp AS a FROM _input", Reason.FORBIDDEN, "current_timestamp"),
        ("SELECT current_date AS a FROM _input", Reason.FORBIDDEN, "current_date"),
        ("SELECT today() AS a FROM _input", Reason.FORBIDDEN, "today"),
        ("SELECT age(_log_time) AS a FROM _input", Reason.FORBIDDEN, "age"),
        ("SELECT random() AS a FROM _input", Reason.FORBIDDEN, "random"),
        ("SELECT uuid() AS a FROM _input", Reason.FORBIDDEN, "uuid"),
        ("SELECT current_setting('threads') AS a FROM _input", Reason.FORBIDDEN, "setting"),
        ("SELECT main.upper('a') AS a FROM _input", Reason.FORBIDDEN, "plain name"),
        ("SELECT count(*) AS a FROM _input", Reason.FORBIDDEN, "count_star"),
        ("SELECT max(_offset) AS a FROM _input", Reason.FORBIDDEN, "max"),
        ("SELECT * FROM _input", Reason.UNSUPPORTED, "name what"),
        ("SELECT _doc FROM _input ORDER BY 1", Reason.UNSUPPORTED, "orders"),
        ("SELECT _doc FROM _input LIMIT 1", Reason.UNSUPPORTED, "limits"),
        ("SELECT DISTINCT _doc FROM _input", Reason.UNSUPPORTED, "DISTINCT"),
        ("SELECT _doc FROM _input TABLESAMPLE 10%", Reason.UNSUPPORTED, "sample"),
        ("SELECT _doc FROM _input GROUP BY _doc", Reason.UNSUPPORTED, "groups"),
        ("SELECT row_number() OVER () AS a FROM _input", Reason.UNSUPPORTED, "window"),
        ("SELECT (SELECT 1) AS a FROM _input", Reason.UNSUPPORTED, "subquery"),
        ("SELECT _doc FROM events", Reason.UNSUPPORTED, "_input"),
        ("SELECT _doc FROM read_csv('/etc/passwd')", Reason.UNSUPPORTED, "_input"),
        ("SELECT _doc FROM '/etc/passwd'", Reason.UNSUPPORTED, "_input"),
        ("SELECT a._doc FROM _input a, _input b", Reason.UNSUPPORTED, "_input"),
        ("WITH t AS (SELECT 1) SELECT _doc FROM _input", Reason.UNSUPPORTED, "WITH"),
        ("SELECT _doc FROM _input UNION SELECT _doc FROM _input", Reason.UNSUPPORTED, "UNION ALL"),
        ("SELECT _doc FROM _input EXCEPT ALL SELECT _doc FROM _input", Reason.UNSUPPORTED, "ALL"),
        (
            "SELECT 1 AS a FROM _input UNION ALL SELECT max(_offset) FROM _input",
            Reason.FORBIDDEN,
            "max",
        ),
        (
            "SELECT 1 AS a FROM _input UNION ALL SELECT 2 FROM _input LIMIT 1",
            Reason.UNSUPPORTED,
            "limits",
        ),
        ("SELECT 1 AS a FROM _input UNION ALL SELECT 2 FROM events", Reason.UNSUPPORTED, "_input"),
        ("SELECT 1 AS a FROM _input JOIN _input ON true", Reason.UNSUPPORTED, "unnest"),
        ("SELECT 1 AS a FROM _input, range(3) AS t(n)", Reason.UNSUPPORTED, "unnest"),
        ("SELECT t.x FROM _input, unnest([1, 2]) AS t(x) ORDER BY 1", Reason.UNSUPPORTED, "orders"),
        ("SELECT 1 AS a FROM _input, unnest([1, 2])", Reason.UNSUPPORTED, "alias"),
        ("SELECT 1 AS a FROM _input, unnest([now()]) AS t(x)", Reason.FORBIDDEN, "now"),
        (
            "SELECT t.x FROM _input FULL JOIN unnest([1]) AS t(x) ON true",
            Reason.UNSUPPORTED,
            "joins",
        ),
        (
            "SELECT t.x FROM _input SEMI JOIN unnest([1]) AS t(x) ON true",
            Reason.UNSUPPORTED,
            "joins",
        ),
        ("SELECT t.x FROM _input, (SELECT unnest([1])) AS t(x)", Reason.UNSUPPORTED, "unnest"),
        ("SELECT t.x FROM _input, unnest([1]) AS t(x, __place0)", Reason.FORBIDDEN, "__place0"),
        ("SELECT 1 AS __branch FROM _input", Reason.INVALID_ARGUMENT, "twice"),
        ("SELECT a FROM _input WHERE unnest([1]) = 1", Reason.WRONG_TYPE, "UNNEST"),
        ("SELECT 1 AS a FROM _input" + " UNION ALL SELECT 1 FROM _input" * 64, Reason.LIMIT, "64"),
        ("SELECT 1 AS a FROM _input" + ", unnest([1]) AS t(x)" * 9, Reason.LIMIT, "8"),
        ("SELECT ? AS a FROM _input", Reason.UNSUPPORTED, "parameter"),
        ("SELECT __row AS a FROM _input", Reason.FORBIDDEN, "__row"),
        ("SELECT nope AS a FROM _input", Reason.WRONG_TYPE, "nope"),
        ("SELECT 1 AS a, 2 AS A FROM _input", Reason.INVALID_ARGUMENT, "twice"),
        ("SELECT '" + "x" * 20_000 + "' AS a FROM _input", Reason.LIMIT, "characters"),
    ],
)
def test_what_is_refused(sql: str, reason: Reason, says: str) -> None:
    with pytest.raises(AlderError) as failure:
        Transformation(sql)
    assert failure.value.reason is reason
    assert says in failure.value.message


ORDERS = [
    json.dumps(
        {
            "id": n,
            "items": [{"sku": f"s{n}-{k}", "parts": list(range(k % 3))} for k in range(n % 5)],
            "tags": ["b", "a", "c"][: n % 4],
        }
    )
    for n in range(300)
]


def test_lists_of_the_select_list_are_taken_apart_together() -> None:
    made, failed = exploded(
        "SELECT unnest(_doc->'$.items[*]')->>'$.sku' AS sku, unnest(_doc->'$.tags[*]') AS tag, "
        "_offset AS at FROM _input",
        ORDERS,
    )
    assert not failed
    for n, text in enumerate(ORDERS):
        given = json.loads(text)
        expected = [
            {"sku": item and item["sku"], "tag": tag, "at": n}
            for item, tag in itertools.zip_longest(given["items"], given["tags"])
        ]
        assert made.get(n, []) == expected


@pytest.mark.parametrize("records_at_once", [1, 7, 300])
def test_lists_of_a_from_are_loops_inside_each_other(records_at_once: int) -> None:
    sql = (
        "SELECT i.item->>'$.sku' AS sku, i.n AS n, p.part AS part, t.tag AS tag FROM _input, "
        "unnest(_doc->'$.items[*]') WITH ORDINALITY AS i(item, n) "
        "LEFT JOIN unnest(i.item->'$.parts[*]') AS p(part) ON true, "
        "unnest(_doc->'$.tags[*]') AS t(tag) WHERE t.tag <> '\"a\"'"
    )
    transformation = Transformation(sql)
    for begin in range(0, min(len(ORDERS), 40 * records_at_once), records_at_once):
        some = ORDERS[begin : begin + records_at_once]
        made, failed = exploded(transformation, some)
        assert not failed
        for n, given in enumerate(map(json.loads, some)):
            expected = [
                {"sku": item["sku"], "n": at, "part": part, "tag": tag}
                for at, item in enumerate(given["items"], 1)
                for part in item["parts"] or [None]
                for tag in given["tags"]
                if tag != "a"
            ]
            assert made.get(n, []) == expected


def test_a_union_goes_through_its_selects_for_each_record() -> None:
    made, failed = exploded(
        "SELECT 'item' AS kind, t.x->>'$.sku' AS name FROM _input, "
        "unnest(_doc->'$.items[*]') AS t(x) UNION ALL "
        "SELECT 'order', _doc->>'$.id' FROM _input WHERE _offset % 2 = 0 UNION ALL BY NAME "
        "SELECT unnest(_doc->'$.tags[*]')->>'$' AS name, 9 AS more FROM _input",
        ORDERS,
    )
    assert not failed
    for n, given in enumerate(map(json.loads, ORDERS)):
        expected: list[object] = [
            {"kind": "item", "name": item["sku"], "more": None} for item in given["items"]
        ]
        expected += [{"kind": "order", "name": str(n), "more": None}] * (n % 2 == 0)
        expected += [{"kind": None, "name": tag, "more": 9} for tag in given["tags"]]
        assert made.get(n, []) == expected


def test_a_record_becomes_only_so_many_documents() -> None:
    sql = "SELECT unnest(range(CAST(_doc->>'$.n' AS BIGINT))) AS k FROM _input"
    numbers = [3, 1024, 1025, 0, 10**12, 2_000_000, 2]
    made, failed = exploded(sql, [json.dumps({"n": n}) for n in numbers])
    assert {row: len(found) for row, found in made.items()} == {0: 3, 1: 1024, 6: 2}
    assert set(failed) == {2, 4, 5}
    assert "1,025 documents, more than 1,024" in failed[2]
    assert "16 MB" in failed[5]


def test_what_is_made_of_many_records_comes_in_parts() -> None:
    sql = "SELECT unnest(range(200)) AS k, repeat('x', 1000) AS text FROM _input"
    parts = list(Transformation(sql).apply(records(["{}"] * 400)))
    assert len(parts) > 2
    assert sum(len(part.rows) for part in parts) == 400 * 200
    assert all(part.documents.nbytes < 3 * MADE_BYTES_MAX for part in parts)
