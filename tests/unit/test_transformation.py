"""Transformations: what passes, what is refused with which reason, and rows by themselves."""

import json

import pyarrow as pa
import pytest

from alder.errors import AlderError, Reason
from alder.transformation import COLUMNS, Transformation


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
    result = Transformation(sql).apply(records(documents))
    made = map(json.loads, result.documents.to_pylist())
    return dict(zip(result.rows, made, strict=True)), result.failed


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
    assert applied("SELECT repeat('x', 1000000000) AS n FROM _input", ["{}"])[1]


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
        ("SELECT unnest([1, 2]) AS a FROM _input", Reason.UNSUPPORTED, "unnest"),
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
        ("SELECT _doc FROM _input UNION SELECT _doc FROM _input", Reason.UNSUPPORTED, "plain"),
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
