"""Documents of known shapes against the model: what fits is decoded as a parser would, no more."""

import json

import numpy as np
import pyarrow as pa
import pytest
from decode_model import decode_model, decoded_rows
from hypothesis import given, settings
from hypothesis import strategies as st
from test_decode_properties import NUMBERS, check

from tailer.decode import Decoded, JsonDecoder
from tailer.decode.engine import Engine
from tailer.decode.model import rejected_rows
from tailer.decode.shape import shape_of
from tailer.decode.shapes import SHAPES_MAX, Shapes
from tailer.decode.structure import Structure

TEXTS = st.one_of(
    st.text(st.sampled_from("ab,:{}[] é😀"), max_size=40),
    st.sampled_from(['"', "\\", "\x7f\x7f", "\n", "x" * 100, "null", '":"', "\0"]),
)
SCALARS = st.one_of(
    TEXTS.map(lambda text: json.dumps(text, ensure_ascii=False)),
    NUMBERS,
    st.sampled_from(["true", "false", "null", "{}", "[]", "-", "01", "1.", "nan", "", '"']),
)


def values_like(kind: str) -> st.SearchStrategy[str]:
    """Texts of values of one kind mostly, so that many documents have one shape."""
    usual = {
        "text": st.sampled_from(['"a"', '""', '"some longer text, with: all {sorts} [of] it"']),
        "number": st.sampled_from(["0", "7", "-12", "123456789012345678", "1.5", "-0.25"]),
        "true": st.just("true"),
        "null": st.just("null"),
        "texts": st.sampled_from(['["a","b"]', '["","longer"]', '["a","b","c"]']),
        "objects": st.sampled_from(['[{"x":1,"y":["a",{}]},[]]', '[{"x":22,"y":["",{}]},[]]']),
        "object": st.sampled_from(['{"a":"1","b":{"c":2}}', '{"a":"","b":{"c":33}}']),
    }[kind]
    return st.one_of(usual, usual, usual, usual, SCALARS)


KINDS = st.sampled_from(["text", "number", "true", "null", "texts", "objects", "object"])
LAYOUTS = st.lists(
    st.tuples(st.sampled_from(["a", "b", "é", "a.b", "_id", "k:", "c", "x" * 40]), KINDS),
    min_size=1,
    max_size=6,
    unique_by=lambda member: member[0],
)


LINE_ENDS = st.sampled_from([b"", b"", b"\n", b"\r\n", b"\n\n"])


@st.composite
def batches(draw: st.DrawFn) -> list[bytes]:
    """Documents most of which have one of two shapes."""
    layouts = draw(st.lists(LAYOUTS, min_size=1, max_size=2))
    batch = []
    for _ in range(draw(st.integers(1, 14))):
        layout = draw(st.sampled_from(layouts))
        members = [f"{json.dumps(k, ensure_ascii=False)}:{draw(values_like(v))}" for k, v in layout]
        text = bytearray(("{" + ",".join(members) + "}").encode())
        if draw(st.integers(0, 9)) == 0:
            at = draw(st.integers(0, len(text) - 1))
            text[at] = draw(st.sampled_from(b'",:{}[] 1a\\\x7f\n'))
        batch.append(bytes(text) + draw(LINE_ENDS))
    return batch


def binary(batch: list[bytes]) -> pa.Array:
    return pa.array(batch, pa.binary())


MANY, FEW = 1, 1000
"""Rows from which on a batch is compared as a whole; fewer are matched one by one."""


@settings(max_examples=80, deadline=None)
@given(batches(), batches(), st.sampled_from([MANY, FEW]))
def test_documents_of_known_shapes_agree_with_the_model(
    first: list[bytes], second: list[bytes], fast_rows_min: int
) -> None:
    decoder = JsonDecoder(fast_rows_min=fast_rows_min)
    for batch in (first, first + second, second, second[::-1] + first):
        check(decoder.decode(binary(batch)), batch)


LEARNED = b'{"a":"x","b":{"c":1},"t":["u","v"],"o":[{"k":"w","n":[true,7,null]}],"e":true,"z":null}'


def known(document: bytes, rows_min: int) -> Shapes:
    """What is learned of a document that was decoded twice."""
    structure = Structure(100, ["a", "b.c", "t", "o", "e", "z"])
    shapes = Shapes(structure, Engine(), rows_min)
    for _ in range(2):
        shapes.learn(binary([document]), np.arange(1))
    return shapes


def fitting(shapes: Shapes, batch: list[bytes]) -> list[int]:
    """The rows that were decoded by their shapes; what they gave is right."""
    part = shapes.decode(binary(batch))
    found = decoded_rows(Decoded(pa.table(part.columns), part.rows, rejected_rows({}), False))
    assert found == {row: decode_model(batch[row]) for row in part.rows.tolist()}
    return part.rows.tolist()


@pytest.mark.parametrize("rows_min", [MANY, FEW])
def test_documents_that_differ_in_values_only_have_one_shape(rows_min: int) -> None:
    others = [
        LEARNED.replace(b'"x"', '"é, {longer}: [text]"'.encode()).replace(b'"w"', b'""'),
        LEARNED.replace(b":1}", b":-123456789012345678}").replace(b",7,", b",-70,"),
        LEARNED.replace(b":1}", b":0.125}").replace(b'"v"', b'""'),
    ]
    batch = [b'{"a":1}', *others, b"{}", LEARNED, b'{"a":"x"}']
    assert fitting(known(LEARNED, rows_min), batch) == [1, 2, 3, 5]


@pytest.mark.parametrize("rows_min", [MANY, FEW])
@pytest.mark.parametrize("learned", [LEARNED, LEARNED + b"\n", LEARNED + b"\r\n"])
def test_the_end_of_a_line_is_no_part_of_a_shape(learned: bytes, rows_min: int) -> None:
    batch = [LEARNED + b"\n", b"\n", LEARNED, LEARNED + b"\r\n", b"\r\n", LEARNED + b"\n}"]
    assert fitting(known(learned, rows_min), batch) == [0, 2, 3]


@pytest.mark.parametrize("rows_min", [MANY, FEW])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"[true", b"[trus"),
        (b'"x"', b'"x\\u0041"'),
        (b'"x"', b'"\n"'),
        (b'"x"', b'"\x7f\x7f"'),
        (b'"a":', b'"A":'),
        (b":1}", b":01}"),
        (b":1}", b":}"),
        (b":1}", b":1.}"),
        (b":1}", b":0x1}"),
        (b":1}", b": 1}"),
        (b":1}", b":1e5}"),
        (b":1}", b":1,2}"),
        (b":1}", b":12345678901234567890}"),
        (b":1}", b":null}"),
        (b",7,", b",7.0,"),
        (b",7,", b",-0,"),
        (b",7,", b",7,7,"),
        (b'["u","v"]', b'["u", "v"]'),
        (b'["u","v"]', b'["u","v",]'),
        (b'"z":null}', b'"z":null} '),
        (b'"z":null}', b'"z":null'),
        (b'{"a"', b' {"a"'),
    ],
)
def test_what_differs_in_more_is_left_to_a_parser(
    before: bytes, after: bytes, rows_min: int
) -> None:
    assert LEARNED.count(before) == 1
    other = LEARNED.replace(before, after)
    assert fitting(known(LEARNED, rows_min), [LEARNED, other, LEARNED]) == [0, 2]


@pytest.mark.parametrize(
    "document",
    [
        b"{}",
        b'{"a":{}}',
        b'{"a":[]}',
        b'{"a":[1]}',
        b'{"a":["x",1]}',
        b'{"a":"x","a":"y"}',
        b'{"unknown":1}',
        b'{"b":1}',
        b'{"a":1e5}',
        b'{"a":1, "e":1}',
        b'{"a":"\\n"}',
        b'{"o":[[1,2]]}',
        b'{"a":1}}',
        b'{"a":1',
        b'{"a"',
    ],
)
def test_what_a_shape_cannot_hold_has_none(document: bytes) -> None:
    assert shape_of(document, Structure(100, ["a", "b.c", "o", "e"]).root) is None


def test_the_shapes_that_fit_least_are_forgotten() -> None:
    shapes = known(LEARNED, MANY)
    batch = [LEARNED] * 100
    assert fitting(shapes, batch) == list(range(100))
    for count in range(1, 2 * SHAPES_MAX):
        document = b'{"t":[' + b",".join([b'"x"'] * count) + b"]}"
        shapes.learn(binary([document]), np.arange(1))
        assert fitting(shapes, [*batch, document]) == list(range(101))


def test_shapes_that_few_rows_had_once_make_room_for_others() -> None:
    shapes = known(LEARNED, FEW)
    often = [b'{"t":[' + b",".join([b'"x"'] * count) + b"]}" for count in range(1, SHAPES_MAX)]
    for document in often * 2:
        shapes.learn(binary([document]), np.arange(1))
    assert fitting(shapes, [LEARNED, *often] * 10) == list(range(10 * SHAPES_MAX))
    for _ in range(4):
        assert fitting(shapes, [b"{}"] * (FEW - 1)) == []
    others = [b'{"e":true,"a":"x"}', b'{"e":false,"a":"x"}']
    for document in others * 2:
        shapes.learn(binary([document]), np.arange(1))
    assert fitting(shapes, others) == [0, 1]
