"""Names, odd documents and result types: what a user's spelling stands for."""

import datetime
import json
from collections.abc import Iterator

import pytest
from aggregator_model import Cluster

from aggregator.statement.names import Names
from alder.errors import AlderError, Reason
from alder.schema import Schema
from alder.v1 import query_pb2

ODD = [
    {
        "n": 0,
        "m": 1,
        "_id": "mine",
        "_offset": {"deep": 7},
        "a.b": 1,
        "a": {"b": 2, "B": 3, "": 4},
        "group": "g",
        "T": 1,
        "t": 2,
        "big": 12345678901234567890123,
        "o": {"x": 1},
        "l": [{"k": 1, "v": {"w": "x"}}, {"k": 2}],
        "__c0": 5,
    },
    {"n": 1, "m": "one", "o": "text", "l": [], "a": {"b": 5}},
    {"n": 2, "m": 2.5, "o": None, "l": [[1, 2], [3]]},
    {"n": 3, "m": True, "l": [1, 2, 3], "🙂": {"it's": 'q"uote'}},
    {"n": 4, "m": 1},
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    made = Cluster({"odd": ODD, "Mixed": [{"n": 1}], "mixed": [{"n": 2}]}, shards=3)
    yield made
    made.close()


def one(cluster: Cluster, expression: str, n: int = 0) -> object:
    answers = {
        repr(cluster.rows(f"select {expression} from odd where n = {n}", plan_class)[0][0])
        for plan_class in ("b", "e")
    }
    assert len(answers) == 1
    return cluster.rows(f"select {expression} from odd where n = {n}")[0][0]


@pytest.mark.parametrize(
    ("expression", "wanted"),
    [
        ("_id", "log/0/0"),
        ('"\\_id"', "mine"),
        ("_doc._id", '"mine"'),
        ('"\\_offset.deep"', 7),
        ("_offset", 0),
        ("_source", "log"),
        ("_partition", 0),
        ("_time", datetime.datetime(2020, 1, 1)),
        ('"a.b"', 1),
        ("a.b", 2),
        ('a."B"', 3),
        ('odd.a."B"', 3),
        ('odd."group"', "g"),
        ('"T"', 1),
        ("t", 2),
        ("odd.t", 2),
        ("__c0", 5),
        ("a", '{"b":2,"B":3,"":4}'),
        ("a['b']", 2),
        ("l[1].k", "1"),
        ("l[1].v.w", '"x"'),
        ("l[2]['k']", "2"),
        ("l[-1].k", "2"),
        ("l[9].k", None),
        ("l[1:1]", ['{"k":1,"v":{"w":"x"}}']),
        ("len(l)", 2),
        ("l[1]->>'$.v.w'", "x"),
        ("o->>'x'", "1"),
        ("o.x", 1),
        ("a->'b'", "2"),
        ("m::bigint", 1),
        ("m = 1", True),
        ("typeof(m)", "VARIANT"),
    ],
)
def test_a_spelling_stands_for_its_field(cluster: Cluster, expression: str, wanted: object) -> None:
    assert one(cluster, expression) == wanted


def test_a_path_that_is_object_and_scalar_reads_as_json(cluster: Cluster) -> None:
    rows = cluster.rows("select o from odd order by n limit 3")
    assert rows == [('{"x":1}',), ('"text"',), (None,)]


def test_values_of_a_mixed_field_stay_what_they_are(cluster: Cluster) -> None:
    table, trailer = cluster.ask("select m from odd order by n")
    assert table.column(0).to_pylist() == ["1", '"one"', "2.5", "true", "1"]
    assert table.schema.field(0).metadata[b"alder.type"] == b"JSON"
    grouped = cluster.rows("select m, count(*) from odd group by m", "")
    assert sorted(grouped) == sorted([("1", 2), ('"one"', 1), ("2.5", 1), ("true", 1)])
    assert trailer.plan_class == "b"
    assert cluster.rows("select n from odd where m::varchar = 'one'") == [(1,)]
    assert cluster.rows("select n from odd where try_cast(m as double) > 2") == [(2,)]


def test_integers_keep_all_their_digits(cluster: Cluster) -> None:
    table, _ = cluster.ask("select big, sum(n) s from odd where big is not null group by 1")
    assert [int(value) for value in table.to_pylist()[0].values()] == [ODD[0]["big"], 0]
    kinds = [field.metadata[b"alder.type"] for field in table.schema]
    assert kinds == [b"DECIMAL(38,0)", b"HUGEINT"]


def test_star_is_the_documents_fields_by_their_own_names(cluster: Cluster) -> None:
    table, _ = cluster.ask("select * from odd where n = 0")
    wanted = ["n", "m", "_id", "_offset", "a.b", "a", "group", "T", "t", "big", "o", "l", "__c0"]
    assert table.column_names == [*wanted, "🙂"]
    row = table.to_pylist()[0]
    assert row["_id"] == "mine"
    assert row["_offset"] == '{"deep":7}'
    assert json.loads(row["l"]) == ODD[0]["l"]


def test_star_takes_exclude_replace_and_rename(cluster: Cluster) -> None:
    sql = 'select * exclude (n, m) replace (t + 1 as t) rename ("group" as g) from odd where n = 0'
    table, _ = cluster.ask(sql)
    assert table.column_names[:3] == ["_id", "_offset", "a.b"]
    assert table.to_pylist()[0]["t"] == 3
    assert table.to_pylist()[0]["g"] == "g"


def test_star_of_using_names_the_column_once(cluster: Cluster) -> None:
    table, _ = cluster.ask('select * from "Mixed" a full join "mixed" b using (n) order by n')
    assert table.column_names == ["n"]
    assert table.column(0).to_pylist() == [1, 2]


def test_a_document_comes_back_whole(cluster: Cluster) -> None:
    rows = cluster.rows("select _doc from odd order by _offset")
    assert [json.loads(row[0]) for row in rows] == ODD


def test_collections_that_differ_in_case_are_told_apart(cluster: Cluster) -> None:
    assert cluster.rows("select n from mixed") == [(2,)]
    assert cluster.rows('select n from "Mixed"') == [(1,)]


def test_unnest_reads_a_list_of_objects(cluster: Cluster) -> None:
    rows = cluster.rows("select u->>'k' from odd, unnest(l) as x(u) where n = 0 order by 1")
    assert rows == [("1",), ("2",)]


def test_a_field_without_a_column_is_read_from_the_document() -> None:
    cluster = Cluster({"c": [{"n": 1, "wide": {"x": [5]}}, {"n": 2, "other": "y"}]})
    for leaf in cluster.leaves.values():
        leaf.overflow = True
        leaf.hidden = frozenset({"wide.x", "other"})
    rows = cluster.rows("select n, other, wide.x, c.other->>'$' from c order by n")
    assert rows == [(1, None, "[5]", None), (2, '"y"', None, "y")]
    cluster.close()


def test_a_field_that_appears_between_two_queries_is_known_to_the_second() -> None:
    cluster = Cluster({"c": [{"n": 1}]}, shards=1)
    with pytest.raises(AlderError) as caught:
        cluster.rows("select later from c")
    assert caught.value.reason is Reason.UNKNOWN_COLUMN
    leaf = cluster.leaves["c-leaf-0"]
    leaf.shards[0].rows.append((1, {"n": 2, "later": "x"}))
    leaf.shards[0].next_offset = 2
    assert cluster.rows("select later from c where n = 2") == [("x",)]
    cluster.close()


def test_names_prefer_the_exact_spelling_and_refuse_two_that_fit() -> None:
    names = Names(Schema(1, {"Ab": frozenset({"int"}), "aB": frozenset({"string"})}))
    exact = names.resolve(["aB"])
    assert exact is not None
    assert exact.sql_type == "VARCHAR"
    assert names.resolve(["AB"]) is None


def parameters(*values: object, **named: object) -> list[query_pb2.Parameter]:
    kinds = {
        bool: "bool_value",
        int: "int_value",
        float: "float_value",
        str: "string_value",
        bytes: "bytes_value",
    }
    made = []
    for name, value in [*(("", value) for value in values), *named.items()]:
        kind = "null_value" if value is None else kinds[type(value)]
        made.append(query_pb2.Parameter(name=name, **{kind: True if value is None else value}))
    return made


HOSTILE = "'; drop table odd; --\\ \" $1 ? \n\U0001f642"


@pytest.mark.parametrize(
    "value", [True, False, 5, -5, -(1 << 63), 1.5, -1e300, float("inf"), HOSTILE, "", b"\x00\xffx'"]
)
def test_a_parameter_comes_back_as_it_was(cluster: Cluster, value: object) -> None:
    assert cluster.rows("select ?", parameters=parameters(value)) == [(value,)]
    assert cluster.rows("select $p", parameters=parameters(p=value)) == [(value,)]


def test_parameters_of_every_other_kind(cluster: Cluster) -> None:
    given = [
        query_pb2.Parameter(null_value=True),
        query_pb2.Parameter(timestamp_us_value=-1),
        query_pb2.Parameter(date_value=-1),
        query_pb2.Parameter(decimal_value="123456789012345678901"),
        query_pb2.Parameter(decimal_value="-1.50"),
    ]
    row = cluster.rows("select ?, ?, ?, ?, ?", parameters=given)[0]
    assert row[0] is None
    assert row[1] == datetime.datetime(1969, 12, 31, 23, 59, 59, 999999)
    assert row[2] == datetime.date(1969, 12, 31)
    assert int(str(row[3])) == 123456789012345678901
    assert str(row[4]) == "-1.50"


def test_a_parameter_may_be_used_twice_and_anywhere(cluster: Cluster) -> None:
    sql = "select n, $n from odd where n >= $n and n in ($n, $m) order by n limit $k"
    assert cluster.rows(sql, parameters=parameters(n=1, m=3, k=1)) == [(1, 1)]
    assert cluster.rows("select $2, $1", parameters=parameters("a", "b")) == [("b", "a")]


@pytest.mark.parametrize(
    ("sql", "given", "message"),
    [
        ("select ?, ?", parameters(1), "no value is given for $2"),
        ("select ?", parameters(1, 2), "the value given for $2 has no place"),
        ("select 1", parameters(1), "has no parameters"),
        ("select $a", parameters(1), "no value is given for $a"),
        ("select $a", parameters(a=1, b=2), "the value given for $b has no place"),
        ("select ?", [query_pb2.Parameter()], "has no value"),
        ("select ?", [query_pb2.Parameter(decimal_value="1; drop")], "is not a number"),
    ],
)
def test_parameters_that_do_not_match_are_refused(
    cluster: Cluster, sql: str, given: list[query_pb2.Parameter], message: str
) -> None:
    with pytest.raises(AlderError) as caught:
        cluster.rows(sql, parameters=given)
    assert caught.value.reason is Reason.INVALID_ARGUMENT
    assert message in caught.value.message


def test_now_is_one_moment_for_the_whole_query(cluster: Cluster) -> None:
    moment = datetime.datetime(2020, 9, 13, 12, 26, 40)
    sql = "select distinct now(), current_timestamp, today() from odd"
    assert cluster.rows(sql) == [(moment, moment, moment.date())]
    table, _ = cluster.ask("select now(), current_date from odd limit 1")
    assert table.column_names == ["now()", "current_date"]


def test_a_field_with_the_name_of_a_clock_is_the_field() -> None:
    cluster = Cluster({"c": [{"current_date": "mine", "now": 3}]})
    assert cluster.rows('select current_date, "now" from c') == [("mine", 3)]
    cluster.close()
