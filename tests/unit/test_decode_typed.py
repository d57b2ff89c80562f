"""Typed tables: each Arrow type to its field type, and the JSON text of rows."""

import datetime as dt
import json
from decimal import Decimal

import pyarrow as pa
import pytest

from alder.errors import AlderError, Reason
from tailer.decode import TableDecoder

DAY = dt.date(2020, 2, 29)
NOON = dt.datetime(2020, 2, 29, 12, 0, 0, 5)

TABLES = TableDecoder()
decode_table, documents = TABLES.decode, TABLES.documents

CASES = [
    (pa.array([1, None], pa.int8()), {"int": [1, None]}, ["1", "null"]),
    (
        pa.array([1, 2**64 - 1], pa.uint64()),
        {"int": [1, None], "decimal(38,0)": [None, Decimal(2**64 - 1)]},
        ["1", "18446744073709551615"],
    ),
    (pa.array([0.5, None], pa.float32()), {"float": [0.5, None]}, ["0.5", "null"]),
    (pa.array([True, None]), {"bool": [True, None]}, ["true", "null"]),
    (pa.array(["x", "é\0"]).dictionary_encode(), {"string": ["x", "é\0"]}, ['"x"', '"é\\u0000"']),
    (pa.array([b"\xff", None]), {"binary": [b"\xff", None]}, ['"\\\\xFF"', "null"]),
    (pa.array([DAY, None]), {"date": [DAY, None]}, ['"2020-02-29"', "null"]),
    (pa.array([DAY, None], pa.date64()), {"date": [DAY, None]}, ['"2020-02-29"', "null"]),
    (
        pa.array([NOON, None], pa.timestamp("us")),
        {"timestamp": [NOON, None]},
        ['"2020-02-29 12:00:00.000005"', "null"],
    ),
    (
        pa.array([NOON, None], pa.timestamp("us", "Asia/Tokyo")),
        {"timestamp": [NOON, None]},
        ['"2020-02-29 12:00:00.000005+00"', "null"],
    ),
    (
        pa.array([1_000, 1_001], pa.time64("ns")),
        {"time": [dt.time(0, 0, 0, 1), None], "string": [None, "00:00:00.000001001"]},
        ['"00:00:00.000001"', '"00:00:00.000001001"'],
    ),
    (
        pa.array([Decimal("1.50"), None], pa.decimal128(20, 2)),
        {"decimal(20,2)": [Decimal("1.50"), None]},
        ["1.50", "null"],
    ),
    (pa.array([[1, None], []]), {"list<int>": [[1, None], []]}, ["[1,null]", "[]"]),
    (pa.array([[DAY], None]), {"list<date>": [[DAY], None]}, ['["2020-02-29"]', "null"]),
    (
        pa.array([[2**64 - 1], [1]], pa.list_(pa.uint64())),
        {"json": ["[18446744073709551615]", "[1]"]},
        ["[18446744073709551615]", "[1]"],
    ),
    (
        pa.array([[{"x": 1.5}], [{"x": float("nan")}]]),
        {"json": ['[{"x":1.5}]', '[{"x":"NaN"}]']},
        ['[{"x":1.5}]', '[{"x":"NaN"}]'],
    ),
    (
        pa.array([[("k", 1), ("k", 2)], None], pa.map_(pa.string(), pa.int64())),
        {"json": ['{"k":1,"k":2}', None]},
        ['{"k":1,"k":2}', "null"],
    ),
    (pa.array([{}, None], pa.struct([])), {"json": ["{}", None]}, ["{}", "null"]),
    (pa.nulls(2), {}, ["null", "null"]),
]


@pytest.mark.parametrize(("column", "expected", "texts"), CASES, ids=lambda case: "")
def test_a_type_is_kept_exactly(
    column: pa.Array, expected: dict[str, list[object]], texts: list[str]
) -> None:
    decoded = decode_table(pa.table({"v": column}))
    assert decoded.kept.tolist() == [0, 1]
    assert not decoded.rejected.reasons
    assert {name: decoded.batch[name].to_pylist() for name in decoded.batch.column_names} == {
        f"{tag}:v": values for tag, values in expected.items()
    }
    assert documents(pa.table({"v": column})).to_pylist() == [f'{{"v":{text}}}' for text in texts]


def test_nanoseconds_are_kept() -> None:
    table = pa.table({"t": pa.array([1_582_977_600_000_000_001], pa.timestamp("ns", "UTC"))})
    column = decode_table(table).batch["timestamp_ns:t"]
    assert column.type == pa.timestamp("ns")
    assert column.cast(pa.int64()).to_pylist() == [1_582_977_600_000_000_001]


def test_not_a_number_is_a_value_of_a_float_column() -> None:
    table = pa.table({"f": [float("nan"), float("-inf"), 1.0]})
    values = decode_table(table).batch["float:f"].to_pylist()
    assert [repr(value) for value in values] == ["nan", "-inf", "1.0"]
    texts = [json.loads(text)["f"] for text in documents(table).to_pylist()]
    assert texts == ["NaN", "-Infinity", 1.0]


def test_structs_flatten_into_paths_across_chunks() -> None:
    first = pa.table({"s": [{"a": 1, "x.y": {"z": "p"}}, None], "_id": ["i", None]})
    second = pa.table({"s": [{"a": None, "x.y": {"z": "q"}}], "_id": ["j"]}).cast(first.schema)
    decoded = decode_table(pa.concat_tables([first, second]))
    assert {name: decoded.batch[name].to_pylist() for name in decoded.batch.column_names} == {
        "int:s.a": [1, None, None],
        "string:s.x\\.y.z": ["p", None, "q"],
        "string:\\_id": ["i", None, "j"],
    }
    assert decoded.kept.tolist() == [0, 1, 2]


def test_names_that_differ_in_case_and_odd_names_are_kept_apart() -> None:
    table = pa.table({"a": [1], "A": [2], "": [3], 'q"': [4]})
    assert decode_table(table).batch.column_names == ["int:A", "int:\\e", "int:a", 'int:q"']
    assert documents(table).to_pylist() == ['{"a":1,"A":2,"":3,"q\\"":4}']


def test_what_cannot_be_kept_is_refused_with_what_to_do() -> None:
    with pytest.raises(AlderError, match=r"'d' is of type duration.*convert it") as unsupported:
        decode_table(pa.table({"d": pa.array([1], pa.duration("s"))}))
    assert unsupported.value.reason is Reason.UNSUPPORTED
    twice = pa.Table.from_arrays([pa.array([1]), pa.array([2])], ["a", "a"])
    with pytest.raises(AlderError, match="'a' comes twice"):
        decode_table(twice)


def test_a_row_whose_value_does_not_fit_is_rejected_and_the_others_are_kept() -> None:
    seconds = pa.array([5, 2**60, None, -(2**60), 7], pa.timestamp("s"))
    decoded = decode_table(pa.table({"t": seconds, "n": range(5)}))
    assert decoded.kept.tolist() == [0, 2, 4]
    assert decoded.batch["int:n"].to_pylist() == [0, 2, 4]
    assert decoded.batch["timestamp:t"].cast(pa.int64()).to_pylist() == [5_000_000, None, 7_000_000]
    assert decoded.rejected.rows.tolist() == [1, 3]
    assert "t: a value of type timestamp[s] does not fit timestamp" in decoded.rejected.reasons[0]
    texts = documents(pa.table({"t": seconds})).to_pylist()
    assert texts[0] == '{"t":"1970-01-01 00:00:05"}'
    assert all(json.loads(text)["t"] for text in (texts[1], texts[3]))


def test_a_table_without_columns_keeps_its_rows() -> None:
    table = pa.table({"a": [1, 2]}).select([])
    assert documents(pa.table({"n": pa.nulls(2)})).to_pylist() == ['{"n":null}'] * 2
    assert decode_table(table).batch.num_columns == 0


def test_the_text_of_a_row_does_not_depend_on_the_rows_beside_it() -> None:
    table = pa.table(
        {
            "map": pa.array(
                [[("k", 1e20), ("k", 2.0)], [("k", 1e20)], None, []],
                pa.map_(pa.string(), pa.float64()),
            ),
            "odd": [{"f": [1e20, float("nan")]}, {"f": [1e20]}, {"f": [1.0, None]}, None],
            "false alarm": ["[NaN", "x:NaN", ":-Infinity", ""],
            "names": [{"a": "\x1f\x7f", "A": "é/"}, None, {"a": None, "A": ""}, {"a": "", "A": ""}],
        }
    )
    whole = documents(table).to_pylist()
    assert [documents(table.slice(row, 1)).to_pylist()[0] for row in range(4)] == whole
    assert documents(table.slice(1, 3)).to_pylist() == whole[1:]
    assert json.loads(whole[1])["odd"] == {"f": [1e20]}
    assert json.loads(whole[0])["odd"] == {"f": [1e20, "NaN"]}


def test_what_a_map_holds_is_spelt_as_it_is_elsewhere() -> None:
    for values, _, texts in CASES:
        if pa.types.is_floating(values.type) or pa.types.is_time(values.type):
            continue
        pairs = pa.MapArray.from_arrays([0, 1, 2], ["k", "k"], values)
        assert documents(pa.table({"v": pairs})).to_pylist() == [
            f'{{"v":{{"k":{text}}}}}' for text in texts
        ]


def test_the_text_of_a_time_does_not_depend_on_the_zone_of_the_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    table = pa.table({"t": pa.array([NOON], pa.timestamp("us", "UTC"))})
    texts = TableDecoder().documents(table).to_pylist()
    assert texts == ['{"t":"2020-02-29 12:00:00.000005+00"}']
