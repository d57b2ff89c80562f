"""From bindings to rows: names that differ in case, and values that only the document has."""

import pyarrow as pa
import pytest

from alder.errors import AlderError, Reason
from alder.v1 import leaf_pb2
from leaf.bindings import engine_names, projection
from leaf.engine import Cancellation, Engine


def _rows(
    columns: list[leaf_pb2.ColumnBinding], stored: dict[str, pa.Array]
) -> list[tuple[object, ...]]:
    fields: dict[str, set[str]] = {}
    for name in stored:
        tag, _, path = name.partition(":")
        if path:
            fields.setdefault(path, set()).add(tag)
    plan = projection(columns, fields, keyed=False)
    names = plan.needs.schema().names
    physical = pa.table({name: stored[name] for name in names}).rename_columns(
        engine_names(len(names))
    )
    engine = Engine(1 << 28)
    table = engine.run(physical, plan.sql, "SELECT * FROM rows", Cancellation())
    engine.close()
    return list(zip(*(column.to_pylist() for column in table.columns), strict=True))


def _binding(
    name: str, path: str, sql_type: str, *types: str, overflow: bool = False
) -> leaf_pb2.ColumnBinding:
    return leaf_pb2.ColumnBinding(
        name=name, path=path, sql_type=sql_type, types=types, overflow=overflow
    )


def test_paths_that_differ_in_case_stay_apart() -> None:
    bindings = [_binding("c0", "T", "BIGINT", "int"), _binding("c1", "t", "BIGINT", "int")]
    stored = {"int:T": pa.array([1, 2]), "int:t": pa.array([30, 40])}
    assert _rows(bindings, stored) == [(1, 30), (2, 40)]


@pytest.mark.parametrize(
    ("sql_type", "tag", "document", "value"),
    [
        ("BIGINT", "int", '{"f": 5}', 5),
        ("DOUBLE", "float", '{"f": 5}', 5.0),
        ("DOUBLE", "float", '{"f": 2.5}', 2.5),
        ("VARCHAR", "string", '{"f": "five"}', "five"),
        ("BOOLEAN", "bool", '{"f": true}', True),
        ("BIGINT[]", "list<int>", '{"f": [1, 2]}', [1, 2]),
        ("BIGINT", "int", '{"f": null}', None),
        ("BIGINT", "int", '{"g": 5}', None),
        ("BIGINT", "int", '{"f": {"inside": 5}}', None),
    ],
)
def test_a_value_without_a_column_comes_from_the_document(
    sql_type: str, tag: str, document: str, value: object
) -> None:
    binding = _binding("c0", "f", sql_type, tag, overflow=True)
    kind = {"int": pa.int64(), "float": pa.float64(), "string": pa.string(), "bool": pa.bool_()}
    empty = pa.nulls(1, kind.get(tag, pa.list_(pa.int64())))
    assert _rows([binding], {f"{tag}:f": empty, "_doc": pa.array([document])}) == [(value,)]


@pytest.mark.parametrize("document", ['{"f": "5"}', '{"f": 1.5}', '{"f": [5]}', '{"f": true}'])
def test_a_value_of_another_type_without_a_column_is_an_error_not_null(document: str) -> None:
    binding = _binding("c0", "f", "BIGINT", "int", overflow=True)
    with pytest.raises(AlderError, match="the field f has a value of another type") as caught:
        _rows([binding], {"int:f": pa.nulls(1, pa.int64()), "_doc": pa.array([document])})
    assert caught.value.reason is not Reason.INTERNAL
