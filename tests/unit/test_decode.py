"""The decoder's verdicts and columns on chosen input, hostile and odd, cold and warm."""

import json
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from decode_model import decode_model, decoded_rows

from tailer.decode import Decoded, DecodeLimits, JsonDecoder
from tailer.decode.engine import Engine
from tailer.decode.strict import Members, StrictParser

EVENTS = Path(__file__).parents[3] / "shared" / "data" / "github-events.jsonl"


def decode(*documents: bytes | str | None, decoder: JsonDecoder | None = None) -> Decoded:
    encoded = [text.encode() if isinstance(text, str) else text for text in documents]
    return (decoder or JsonDecoder(fast_rows_min=1)).decode(pa.array(encoded, pa.binary()))


def warm(*documents: str, limits: DecodeLimits | None = None) -> JsonDecoder:
    """A decoder whose plan was made from these documents."""
    decoder = JsonDecoder(limits, fast_rows_min=1)
    rejected = decode(*documents, decoder=decoder).rejected
    assert not rejected.reasons
    return decoder


def reason(document: bytes | str | None, decoder: JsonDecoder | None = None) -> str:
    """Why a document is rejected; the documents around it must be kept."""
    decoded = decode('{"a":1}', document, '{"a":2}', decoder=decoder)
    assert decoded.rejected.rows.tolist() == [1]
    assert decoded.kept.tolist() == [0, 2]
    assert decoded.batch["int:a"].to_pylist() == [1, 2]
    return decoded.rejected.reasons[0]


def columns(decoded: Decoded) -> dict[str, list[object]]:
    return {name: decoded.batch[name].to_pylist() for name in decoded.batch.column_names}


REJECTED = [
    (None, "empty record"),
    ("", "empty record"),
    (" \t\r\n", "empty record"),
    (" " * 500, "empty record"),
    ("[1]", "not a JSON object but an array"),
    ('"x"', "not a JSON object but a string"),
    ("5", "not a JSON object but a number"),
    ("true", "not a JSON object but a boolean"),
    ("null", "not a JSON object but null"),
    ('{"a":NaN}', "NaN is not JSON"),
    ('{"a":Infinity}', "Infinity is not JSON"),
    ('{"a":-Infinity}', "-Infinity is not JSON"),
    ('{"a":[1,NaN]}', "NaN is not JSON"),
    ('{"a":nan}', "not valid JSON: expecting value: line 1 column 6 (char 5)"),
    ('{"a":-inf}', "not valid JSON"),
    ('{"a":[{"x":inf}]}', "not valid JSON"),
    ('{"a":1,}', "not valid JSON"),
    ('{"a":[1 , ]}', "not valid JSON"),
    ('{"a":[1,' + " " * 300 + "]}", "not valid JSON"),
    ('{"a":1', "not valid JSON"),
    ('{"a":"x}', "not valid JSON: a string has no closing quote"),
    ('{"a":"\\"}', "not valid JSON: a string has no closing quote"),
    ('{"a":1} x', "not valid JSON"),
    ('{"a":1}{"a":2}', "not valid JSON"),
    ("{'a':1}", "not valid JSON"),
    ('/**/{"a":1}', "not valid JSON"),
    ('{"a":1}//', "not valid JSON"),
    ("\ufeff" + '{"a":1}', "not valid JSON"),
    ('{"a":"\x01"}', "not valid JSON"),
    ('{"a":1}\0', "not valid JSON"),
    ('{"a\0":1}', "not valid JSON"),
    ('{"a":"\\x41"}', "not valid JSON"),
    ('{"a":01}', "not valid JSON"),
    ('{"a":+1}', "not valid JSON"),
    ('{"a":.5}', "not valid JSON"),
    ('{"a":1.}', "not valid JSON"),
    ('{"a":"\\ud800"}', "not valid JSON: a lone surrogate in a string is no character"),
    ('{"a":[["\\uDC00"]]}', "not valid JSON: a lone surrogate in a string is no character"),
    ('{"\\ud800":1}', "not valid JSON: a lone surrogate in a string is no character"),
    (b'{"a":"\xff"}', "invalid UTF-8 at byte 6"),
    (b'{"a":"\xed\xa0\x80"}', "invalid UTF-8 at byte 6"),
    ('{"a":1,"a":2}', "duplicate key 'a'"),
    ('{"a":1,"a":1}', "duplicate key 'a'"),
    ('{"a":1,"\\u0061":1}', "duplicate key 'a'"),
    ('{"a":1,"a":null}', "duplicate key 'a'"),
    ('{"a":null,"a":null}', "duplicate key 'a'"),
    ('{"o":{"p":1,"p":2}}', "duplicate key 'p'"),
    ('{"o":{"p":1},"o":{"q":1}}', "duplicate key 'o'"),
    ('{"o":{"p":1},"o":null}', "duplicate key 'o'"),
    ('{"o":{},"o":{"p":1}}', "duplicate key 'o'"),
    ('{"a":' * 100 + "1" + "}" * 100 + "}", "not valid JSON"),
    ('{"a":' * 101 + "1" + "}" * 101, "nested deeper than 100 levels"),
    ('{"a":' + "[" * 10_000 + "]" * 10_000 + "}", "nested deeper than 100 levels"),
    ('{"a":' + "[" * 10_000, "nested deeper than 100 levels"),
    ("[" * 1_000_000, "nested deeper than 100 levels"),
]


@pytest.mark.parametrize(("document", "expected"), REJECTED)
def test_bad_input_is_rejected_with_its_reason_and_nothing_else_is(
    document: bytes | str | None, expected: str
) -> None:
    assert reason(document).startswith(expected)
    learnt = warm('{"a":1,"o":{"p":1,"q":2}}', '{"a":[1]}', '{"a":[{"x":1}]}', '{"a":"x"}')
    assert reason(document, learnt).startswith(expected)


def test_a_line_beyond_the_size_limit_is_rejected_unread() -> None:
    document = b'{"a":"' + b"x" * (17 << 20) + b'"}'
    limit = DecodeLimits().document_size_bytes_max
    assert reason(document) == (
        f"document of {len(document)} bytes exceeds the limit of {limit} bytes"
    )
    limits = DecodeLimits(document_size_bytes_max=9)
    assert reason('{"a": 123}', JsonDecoder(limits, fast_rows_min=1)) == (
        "document of 10 bytes exceeds the limit of 9 bytes"
    )


def test_brackets_inside_strings_are_no_depth() -> None:
    text = "[{" * 500 + '\\"' + "[{" * 500
    decoded = decode('{"a":"' + text + '"}')
    assert columns(decoded) == {"string:a": [text.replace('\\"', '"')]}


def test_a_document_as_deep_as_allowed_is_kept() -> None:
    deep = '{"a":' * 99 + "[1]" + "}" * 99
    for _ in range(2):
        assert columns(decode(deep)) == {"list<int>:" + ".".join("a" * 99): [[1]]}


@pytest.mark.parametrize("inner", ['{"k":%s}', '{"k":[%s]}'])
def test_a_document_with_too_many_fields_is_rejected(inner: str) -> None:
    limits = DecodeLimits(document_fields_max=50)
    keys = ",".join(f'"k{i}":1' for i in range(48))
    most = inner % ("{" + keys + ',"last":1}')
    excess = inner % ("{" + keys + ',"last":1,"more":1}')
    spaced = excess.replace(":", ":" + " " * 100)
    for decoder in (JsonDecoder(limits, fast_rows_min=1), warm('{"a":1}', most, limits=limits)):
        assert decode(most, decoder=decoder).kept.tolist() == [0]
        assert reason(excess, decoder) == "more than 50 fields in one document"
        assert reason(spaced, decoder) == "more than 50 fields in one document"


def test_no_value_is_coerced_into_the_type_of_its_neighbours() -> None:
    values = ['"5"', "5", "5.0", "1.5", "true", '"true"', "null", "[]", "{}", '"2020-01-01"']
    documents = [f'{{"v":{value}}}' for value in values]
    expected = {
        "string:v": ["5", None, None, None, None, "true", None, None, None, "2020-01-01"],
        "int:v": [None, 5, None, None, None, None, None, None, None, None],
        "float:v": [None, None, 5.0, 1.5, None, None, None, None, None, None],
        "bool:v": [None, None, None, None, True, None, None, None, None, None],
        "list<null>:v": [None] * 7 + ["[]", None, None],
        "json:v": [None] * 8 + ["{}", None],
    }
    decoder = JsonDecoder(fast_rows_min=1)
    for _ in range(3):
        assert columns(decode(*documents, decoder=decoder)) == expected


def test_numbers_keep_every_digit() -> None:
    big = "1" + "0" * 100_000
    values = {
        "9223372036854775807": ("int", 2**63 - 1),
        "-9223372036854775808": ("int", -(2**63)),
        "9223372036854775808": ("decimal(38,0)", Decimal(2**63)),
        "-" + "9" * 38: ("decimal(38,0)", Decimal("-" + "9" * 38)),
        "9" * 39: ("json", "9" * 39),
        big: ("json", big),
        "1e400": ("json", "1e400"),
        "-0": ("int", 0),
        "1e2": ("float", 100.0),
        "0.1000000000000000055511": ("float", 0.1),
    }
    decoder = JsonDecoder(fast_rows_min=1)
    for _ in range(2):
        for text, (tag, value) in values.items():
            assert columns(decode(f'{{"n":{text}}}', decoder=decoder)) == {f"{tag}:n": [value]}


def test_lists() -> None:
    values = {
        "[1,null,2]": ("list<int>", [1, None, 2]),
        "[9223372036854775807]": ("list<int>", [2**63 - 1]),
        "[9223372036854775808]": ("json", "[9223372036854775808]"),
        "[1,2.5]": ("list<float>", [1.0, 2.5]),
        "[9007199254740993,0.5]": ("json", "[9007199254740993,0.5]"),
        "[1e400]": ("json", "[1e400]"),
        '["a","\\n\\u0000",null]': ("list<string>", ["a", "\n\0", None]),
        "[true,null]": ("list<bool>", [True, None]),
        "[null, null]": ("list<null>", "[null,null]"),
        "[1,true]": ("json", "[1,true]"),
        '["1",1]': ("json", '["1",1]'),
        "[[1]]": ("json", "[[1]]"),
        '[{"x":null,"x":1.50}]': ("json", '[{"x":null,"x":1.5}]'),
        '[{"a":"\\u007f\\u007f"}]': ("json", '[{"a":"\x7f\x7f"}]'),
    }
    decoder = JsonDecoder(fast_rows_min=1)
    for _ in range(2):
        for text, (tag, value) in values.items():
            assert columns(decode(f'{{"l":{text}}}', decoder=decoder)) == {f"{tag}:l": [value]}


def test_odd_keys_have_each_their_own_path() -> None:
    document = json.dumps(
        {"a": 1, "A": 2, "": 3, "x.y": 4, "x": {"y": 5}, "_id": 6, "b\\": 7, "\0": 8, "select": 9}
    )
    expected = {
        "int:a": [1],
        "int:A": [2],
        "int:\\e": [3],
        "int:x\\.y": [4],
        "int:x.y": [5],
        "int:\\_id": [6],
        "int:b\\\\": [7],
        "int:\0": [8],
        "int:select": [9],
    }
    decoder = JsonDecoder(fast_rows_min=1)
    for _ in range(2):
        assert columns(decode(document, decoder=decoder)) == expected


def test_keys_that_differ_in_case_take_the_vectorised_path() -> None:
    documents = [f'{{"o":{{"a":{i},"A":"{i}"}},"O":{{"a":null}}}}' for i in range(300)]
    decoded = decode(*documents)
    assert columns(decoded) == {
        "int:o.a": list(range(300)),
        "string:o.A": [str(i) for i in range(300)],
    }


def test_known_shapes_are_not_parsed_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = [
        '{"a":1,"n":null,"o":{"p":"x\\n"}}',
        '{"a":null,"n":{"q":null},"o":{"p":[{"x":null,"y":[{"z":1}]}]}}',
        '{"a":[],"n":{},"A":1, "o" : {"p":"\\ud83d\\ude00"}}',
        "{}",
    ]
    decoder = warm(*shapes, '{"":1}', '{"\\u0000":1}')
    parse = StrictParser.parse
    parsed: list[str] = []

    def counted(self: StrictParser, text: str) -> Members:
        parsed.append(text)
        return parse(self, text)

    monkeypatch.setattr(StrictParser, "parse", counted)
    documents = [*shapes * 50, '{"a":tru}', '{"new":1}', '{"a":1,"a":1}']
    decoded = decode(*documents, decoder=decoder)
    assert parsed == documents[-3:]
    assert decoded_rows(decoded) == {
        row: decode_model(document.encode())
        for row, document in enumerate(documents)
        if row not in (200, 202)
    }


def test_a_number_where_an_object_was() -> None:
    decoder = warm('{"v":{"x":1}}', '{"v":{"x":2}}')
    documents = ['{"v":{"x":1}}', '{"v":5}', '{"v":null}', '{"v":{}}', '{"v":{"x":{"y":2}}}'] * 100
    assert columns(decode(*documents, decoder=decoder)) == {
        "int:v": [None, 5, None, None, None] * 100,
        "int:v.x": [1, None, None, None, None] * 100,
        "int:v.x.y": [None, None, None, None, 2] * 100,
        "json:v": [None, None, None, "{}", None] * 100,
    }


def test_a_string_that_looks_like_the_mark_for_null_is_kept() -> None:
    decoder = warm('{"a":"x"}', '{"a":null}')
    documents = ['{"a":"\x7f\x7f"}', '{"a":"\\u007F\\u007f"}', '{"a":null}', '{"a":"\\"\x7f\x7f"}']
    assert columns(decode(*documents, decoder=decoder)) == {
        "string:a": ["\x7f\x7f", "\x7f\x7f", None, '"\x7f\x7f']
    }


def test_paths_beyond_the_limit_have_no_column_and_their_documents_are_kept() -> None:
    documents = [f'{{"k{i}":{i},"t":"x"}}' for i in range(500)]
    decoder = JsonDecoder(DecodeLimits(collection_fields_max=5), fast_rows_min=1)
    decoded = decode(*documents, decoder=decoder)
    assert decoded.overflow
    assert decoded.kept.tolist() == list(range(500))
    assert decoded.batch.column_names == ["int:k0", "int:k1", "int:k2", "int:k3", "string:t"]
    assert decoded.batch["string:t"].null_count == 0
    assert decoded.batch["int:k3"].to_pylist() == [None] * 3 + [3] + [None] * 496
    assert not decode('{"k1":1}', decoder=decoder).overflow
    assert decode('{"new":1}', decoder=decoder).overflow


@pytest.mark.parametrize("size", [3, 500])
def test_the_fields_admitted_depend_on_the_order_of_documents_only(size: int) -> None:
    documents = [f'{{"k{i * 7 % 90}":{i},"o":{{"k{i % 50}":1}}}}' for i in range(500)]
    decoder = JsonDecoder(DecodeLimits(collection_fields_max=60), fast_rows_min=1)
    names: set[str] = set()
    for start in range(0, 500, size):
        names |= set(decode(*documents[start : start + size], decoder=decoder).batch.column_names)
    expected: dict[str, None] = {}
    for document in documents:
        expected |= dict.fromkeys(decode_model(document.encode()))
    assert names == set(list(expected)[:60])


def test_known_paths_are_admitted_first() -> None:
    limits = DecodeLimits(collection_fields_max=2)
    decoder = JsonDecoder(limits, known_paths=["o.x\\.y", "z"], fast_rows_min=1)
    decoded = decode('{"a":1,"o":{"x.y":2},"z":3}', decoder=decoder)
    assert columns(decoded) == {"int:o.x\\.y": [2], "int:z": [3]}
    assert decoded.overflow


def test_many_distinct_keys_keep_every_value() -> None:
    documents = [f'{{"k{i}":{i}}}' for i in range(3_000)]
    decoded = decode(*documents)
    assert len(decoded.kept) == 3_000
    assert decoded.batch.num_columns == 3_000
    assert decoded.batch["int:k2999"].to_pylist()[2999] == 2999


def test_every_arrow_form_of_text_gives_the_same() -> None:
    texts = ['{"a":1}', None, '{"a":"é"}']
    expected = {"int:a": [1, None], "string:a": [None, "é"]}
    for kind in (pa.string(), pa.large_string(), pa.binary(), pa.large_binary()):
        values = pa.array(["skipped", *texts], pa.string()).cast(kind).slice(1)
        chunked = pa.chunked_array([values.slice(0, 1), values.slice(1)])
        for form in (values, chunked):
            decoded = JsonDecoder(fast_rows_min=1).decode(form)
            assert columns(decoded) == expected
            assert decoded.kept.tolist() == [0, 2]
            assert decoded.rejected.reasons == ["empty record"]
    with pytest.raises(TypeError, match="int64"):
        JsonDecoder(fast_rows_min=1).decode(pa.array([1]))


def test_the_shape_of_the_result() -> None:
    for decoded in (
        JsonDecoder(fast_rows_min=1).decode(pa.array([], pa.binary())),
        decode("{}", "x"),
    ):
        assert decoded.batch.num_columns == 0
        assert decoded.kept.dtype == np.int64
        assert decoded.rejected.rows.dtype == np.int32
        assert decoded.batch.num_rows == len(decoded.kept)


def test_duckdb_failing_on_a_row_rejects_that_row_only(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = warm('{"a":"x"}')
    project = Engine.project

    def failing(self: Engine, expressions: list[str], column: pa.Array) -> list[pa.Array]:
        if any("poison" in (text or "") for text in column.to_pylist()):
            project(self, ["error('as asked')"], column)
        return project(self, expressions, column)

    monkeypatch.setattr(Engine, "project", failing)
    documents = [f'{{"a":["\\n{i}"]}}' for i in range(20)]
    documents[7] = '{"a":["\\npoison"]}'
    decoded = decode(*documents, decoder=decoder)
    assert decoded.rejected.rows.tolist() == [7]
    assert decoded.rejected.reasons[0].startswith("DuckDB cannot read it")
    found = decoded.batch["list<string>:a"].to_pylist()
    assert found == [[f"\n{i}"] for i in range(20) if i != 7]


@pytest.mark.skipif(not EVENTS.exists(), reason="the sample events are not part of the repository")
def test_github_events_equal_the_model() -> None:
    documents = EVENTS.read_bytes().splitlines()
    expected = {row: decode_model(document) for row, document in enumerate(documents)}
    decoder = JsonDecoder(fast_rows_min=1)
    for _ in range(2):
        decoded = decoder.decode(pa.array(documents, pa.binary()))
        assert not decoded.rejected.reasons
        assert decoded_rows(decoded) == expected
