"""The first look at the bytes against the scan, and paths read as text against the model."""

import json

import numpy as np
import pyarrow as pa
import pytest
from decode_model import decode_model, decoded_rows
from hypothesis import given, settings
from hypothesis import strategies as st
from test_decode_properties import check, documents

from tailer.decode import JsonDecoder
from tailer.decode.extract import text_buffer
from tailer.decode.scan import scan
from tailer.decode.survey import count_byte, survey

DEPTH_MAX = 100
_PLAIN_TEXT = st.text(st.sampled_from("abé:,[]{} 😀nul"), max_size=6)
_VALUES = st.recursive(
    st.one_of(_PLAIN_TEXT, st.none(), st.booleans(), st.integers(-9, 9), st.just(1.5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    ),
    max_leaves=5,
)
_OBJECTS = st.dictionaries(st.sampled_from(["a", "b", "k:", "x["]), _VALUES, max_size=4)
_SEPARATORS = st.sampled_from([(",", ":"), (", ", ": "), (" , ", " : "), (",", ":  ")])


@st.composite
def simple(draw: st.DrawFn) -> bytes:
    """Documents without a backslash, as encoders spell them."""
    separators = draw(_SEPARATORS)
    text = json.dumps(draw(_OBJECTS), separators=separators, ensure_ascii=False)
    return text.encode()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(simple(), documents()), min_size=1, max_size=12))
def test_plain_rows_are_counted_as_the_scan_counts_them(batch: list[bytes]) -> None:
    legal = [text for text in batch if _is_json(text)]
    data, offsets = text_buffer(pa.array(legal, pa.binary()))
    seen = survey(data, offsets, DEPTH_MAX)
    found = scan(data, offsets, DEPTH_MAX)
    plain = seen.plain
    assert not (found.strict | found.deep | found.unclosed)[plain].any()
    assert seen.keys[plain].tolist() == found.keys[plain].tolist()
    of_plain = plain[np.searchsorted(offsets, found.nulls, side="right") - 1]
    assert sorted(seen.nulls.tolist()) == found.nulls[of_plain].tolist()
    for row in np.flatnonzero(plain):
        nulls = np.count_nonzero((seen.nulls >= offsets[row]) & (seen.nulls < offsets[row + 1]))
        assert seen.quotes[row] == legal[row].count(b'"') + 2 * nulls


def test_common_spellings_are_plain() -> None:
    event = {"a": "x:y, {z}", "b": [1, None, {"c": None}], "d": {"e": None, "f": "ü"}}
    texts = [
        json.dumps(event, separators=separators, ensure_ascii=False).encode()
        for separators in ((",", ":"), (", ", ": "))
    ]
    data, offsets = text_buffer(pa.array(texts * 200, pa.binary()))
    seen = survey(data, offsets, DEPTH_MAX)
    assert seen.plain.all()
    assert set(seen.keys.tolist()) == {6}
    assert len(seen.nulls) == 2 * 400


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 65_535, 65_536, 65_537, 200_000])
def test_counting_does_not_depend_on_where_words_and_blocks_end(size: int) -> None:
    texts = ["x" * size + '{"a":"b"}', "", '"' * size]
    assert count_byte(pa.array(texts), ord('"')).tolist() == [4, 0, size]
    data, offsets = text_buffer(pa.array(texts[:1] * 3, pa.binary()))
    seen = survey(data, offsets, DEPTH_MAX)
    assert seen.keys.tolist() == [1, 1, 1]
    assert seen.quotes.tolist() == [4, 4, 4]


_SHARED = JsonDecoder(fast_rows_min=1)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.one_of(simple(), documents()), min_size=1, max_size=12))
def test_paths_read_as_text_keep_the_types_of_other_values(batch: list[bytes]) -> None:
    legal = [text for text in batch if _is_json(text)]
    strings = [b'{"a":"x","b":"y","k:":"z","x[":"0"}'] * 200
    _SHARED.decode(pa.array(strings, pa.binary()))
    both = [*strings, *legal]
    check(_SHARED.decode(pa.array(both, pa.binary())), both)


@pytest.mark.parametrize(
    "value",
    ["5", "1.5", "true", "null", '["x"]', '["x","y"]', "[]", "{}", '{"c":"d"}', '"[x"', '"{"'],
)
def test_a_path_of_strings_is_read_again_where_it_holds_something_else(value: str) -> None:
    decoder = JsonDecoder(fast_rows_min=1)
    usual = b'{"a":"x","b":"y"}'
    decoder.decode(pa.array([usual] * 500, pa.binary()))
    text = f'{{"a":{value},"b":"y"}}'.encode()
    rows = decoded_rows(decoder.decode(pa.array([usual, text, usual], pa.binary())))
    assert rows[1] == decode_model(text)
    assert rows[0] == rows[2] == decode_model(usual)


def _is_json(text: bytes) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False
