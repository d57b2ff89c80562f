"""Field types: names, Arrow and SQL types, and joining a path's columns into one value."""

import duckdb
import pyarrow as pa
import pytest

from alder import fieldtypes

TAGS = {
    "bool": (pa.bool_(), "BOOLEAN"),
    "int": (pa.int64(), "BIGINT"),
    "float": (pa.float64(), "DOUBLE"),
    "string": (pa.string(), "VARCHAR"),
    "json": (pa.string(), "JSON"),
    "timestamp": (pa.timestamp("us"), "TIMESTAMP"),
    "timestamp_ns": (pa.timestamp("ns"), "TIMESTAMP_NS"),
    "date": (pa.date32(), "DATE"),
    "time": (pa.time64("us"), "TIME"),
    "binary": (pa.binary(), "BLOB"),
    "decimal(38,0)": (pa.decimal128(38, 0), "DECIMAL(38,0)"),
    "decimal(5,2)": (pa.decimal128(5, 2), "DECIMAL(5,2)"),
    "list<int>": (pa.list_(pa.int64()), "BIGINT[]"),
    "list<decimal(5,2)>": (pa.list_(pa.decimal128(5, 2)), "DECIMAL(5,2)[]"),
    "list<null>": (pa.string(), "VARCHAR[]"),
}


@pytest.mark.parametrize("tag", TAGS)
def test_a_tag_alone(tag: str) -> None:
    arrow, sql = TAGS[tag]
    assert fieldtypes.arrow_type(tag) == arrow
    assert fieldtypes.sql_type([tag]) == sql
    assert fieldtypes.split_column_name(fieldtypes.column_name(tag, "a:b")) == (tag, "a:b")


@pytest.mark.parametrize("tag", ["", "integer", "decimal(1)", "list<>", "list<x>", "int "])
def test_unknown_tags_are_refused(tag: str) -> None:
    with pytest.raises(ValueError, match="unknown field type"):
        fieldtypes.arrow_type(tag)
    with pytest.raises(ValueError, match="unknown field type"):
        fieldtypes.single_sql_type(tag)


@pytest.mark.parametrize(
    ("tags", "sql"),
    [
        (["int", "float"], "DOUBLE"),
        (["int", "decimal(38,0)"], "DECIMAL(38,0)"),
        (["int", "string"], "VARIANT"),
        (["int", "float", "string"], "VARIANT"),
        (["list<int>", "list<null>"], "BIGINT[]"),
        (["list<int>", "list<float>", "list<null>"], "DOUBLE[]"),
        (["list<int>", "list<string>"], "VARIANT"),
        (["list<null>", "int"], "VARIANT"),
    ],
)
def test_mixed_tags(tags: list[str], sql: str) -> None:
    assert fieldtypes.sql_type(tags) == sql
    assert fieldtypes.sql_type(reversed(tags)) == sql


def test_a_path_without_types_has_no_column() -> None:
    with pytest.raises(ValueError, match="no column"):
        fieldtypes.sql_type([])
    assert fieldtypes.value_expression({}, "BIGINT") == "NULL::BIGINT"


def _joined(columns: dict[str, list[object]]) -> list[object]:
    tags = [fieldtypes.split_column_name(name)[0] for name in columns]
    arrays = {
        name: pa.array(values, fieldtypes.arrow_type(tag))
        for tag, (name, values) in zip(tags, columns.items(), strict=True)
    }
    by_tag = {tag: fieldtypes.quote(name) for tag, name in zip(tags, columns, strict=True)}
    expression = fieldtypes.value_expression(by_tag, fieldtypes.sql_type(tags))
    with duckdb.connect() as connection:
        connection.register("rows", pa.table(arrays))
        return [
            value for (value,) in connection.execute(f"SELECT {expression} FROM rows").fetchall()
        ]


def test_the_value_of_a_path_is_that_of_the_column_that_has_one() -> None:
    assert _joined({'int:a"b': [1, None], 'float:a"b': [None, 2.5]}) == [1.0, 2.5]
    assert _joined({'int:a"b': [1, None, None], 'string:a"b': [None, "x", None]}) == [1, "x", None]
    assert _joined({'list<int>:a"b': [[1], None], 'list<null>:a"b': [None, "[]"]}) == [[1], []]
    assert _joined({'list<null>:a"b': ["[null,null]"]}) == [[None, None]]
