"""The decoder against the model, on documents of every legal and illegal shape."""

import json

import pyarrow as pa
from decode_model import Refused, comparable, decode_model, decoded_rows
from hypothesis import given, settings
from hypothesis import strategies as st

from tailer.decode import Decoded, DecodeLimits, JsonDecoder

KEYS = st.one_of(
    st.sampled_from(["a", "b", "c"]),
    st.sampled_from(
        [
            "A",
            "B",
            "aa",
            "",
            "a.b",
            "\\",
            'q"',
            "é",
            "É",
            "\0",
            "x\0y",
            "_id",
            "_offset",
            "select",
            "\x7f",
            "\x7f\x7f",
            "k:",
            "null",
            "K",
            "ß",
            "ss",
            "$",
            "/",
            "~",
            "*",
            " ",
            "\n",
            "😀",
            "'",
        ]
    ),
)
NUMBERS = st.one_of(
    st.integers(-5, 5).map(str),
    st.sampled_from(
        [
            "-0",
            "0",
            "9223372036854775807",
            "9223372036854775808",
            "-9223372036854775808",
            "-9223372036854775809",
            "18446744073709551615",
            "1" + "0" * 37,
            "9" * 38,
            "1" + "0" * 38,
            "1" + "0" * 400,
            "999999999999999999",
            "1000000000000000000",
            "9007199254740993",
            "1.0",
            "1.5",
            "-0.0",
            "1e5",
            "1E5",
            "1e-5",
            "1E+2",
            "1e400",
            "-1e400",
            "1e-400",
            "5e-324",
            "0.1000000000000000055511",
            "0.30000000000000004",
            "1.7976931348623157e308",
            "2e308",
            "123456789.123456789",
            "1e22",
            "1e23",
            "8.5e15",
            "1.00",
        ]
    ),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.integers().map(str),
)
STRINGS = st.one_of(
    st.sampled_from(
        [
            "",
            "x",
            "5",
            "1.5",
            "true",
            "null",
            "NaN",
            "\x7f\x7f",
            "\x7f",
            '"\x7f\x7f',
            "a\\",
            '\\"',
            "\0",
            '":null',
            '{"a":1}',
            "[1,2]",
            ",}",
            ",]",
            "{}",
            "\u2028",
            "😀",
            "\n\t",
            "\ufeff",
            '"',
            "é",
        ]
    ),
    st.text(max_size=8),
)
SCALARS = st.one_of(
    st.sampled_from(["null", "true", "false"]), NUMBERS, STRINGS.map(lambda text: ("text", text))
)


def _objects(values: st.SearchStrategy) -> st.SearchStrategy:
    unique = st.lists(st.tuples(KEYS, values), max_size=5, unique_by=lambda pair: pair[0])
    return unique.map(lambda pairs: ("object", pairs))


def _containers(values: st.SearchStrategy) -> st.SearchStrategy:
    alike = st.one_of(
        st.lists(st.one_of(NUMBERS, st.just("null")), max_size=4),
        st.lists(STRINGS.map(lambda text: ("text", text)), max_size=4),
        st.lists(st.sampled_from(["true", "false", "null"]), max_size=4),
    )
    lists = st.one_of(alike, st.lists(values, max_size=3)).map(lambda items: ("list", items))
    twice = st.lists(st.tuples(st.sampled_from(["a", "b"]), values), max_size=3)
    return st.one_of(_objects(values), lists, twice.map(lambda pairs: ("object", pairs)))


VALUES = st.recursive(SCALARS, _containers, max_leaves=8)


@st.composite
def documents(draw: st.DrawFn) -> bytes:
    """The bytes of one document, mostly legal, in any spelling."""
    spaces = draw(st.sampled_from(["", "", "", " ", "\n\t", " " * 70]))
    ascii_only = draw(st.booleans())

    def render(node: object) -> str:
        if isinstance(node, str):
            return node
        kind, content = node
        if kind == "text":
            return json.dumps(content, ensure_ascii=ascii_only)
        if kind == "list":
            return "[" + spaces + f"{spaces},{spaces}".join(map(render, content)) + spaces + "]"
        members = (
            f"{json.dumps(key, ensure_ascii=ascii_only)}{spaces}:{spaces}{render(value)}"
            for key, value in content
        )
        return "{" + spaces + f"{spaces},{spaces}".join(members) + spaces + "}"

    return (spaces + render(draw(_objects(VALUES))) + spaces).encode("utf-8", "surrogatepass")


@st.composite
def spoilt(draw: st.DrawFn) -> bytes:
    """A document with some bytes put in or taken out, most often not legal any more."""
    text = draw(documents())
    at = draw(st.integers(0, len(text)))
    added = draw(
        st.sampled_from(
            [
                b"",
                b",",
                b"}",
                b"]",
                b"[",
                b'"',
                b"\\",
                b"NaN",
                b"-Infinity",
                b"nan",
                b":",
                b"\xff",
                b"\\ud800",
                b"\0",
                b"\x7f",
                b"//",
                b"1",
                b"null",
                b" ",
                b"\xef\xbb\xbf",
                b"\\u0000",
            ]
        )
    )
    return text[:at] + added + text[at + draw(st.integers(0, 2)) :]


ANY = st.one_of(documents(), documents(), documents(), spoilt())


def check(decoded: Decoded, batch: list[bytes], limits: DecodeLimits | None = None) -> None:
    rows = decoded_rows(decoded)
    rejected = set(decoded.rejected.rows.tolist())
    assert len(decoded.rejected.reasons) == len(rejected)
    assert list(rows) == sorted(rows)
    assert rows.keys() | rejected == set(range(len(batch)))
    assert not rows.keys() & rejected
    for row, document in enumerate(batch):
        try:
            expected = decode_model(document, limits)
        except Refused:
            assert row in rejected, document
            continue
        assert row in rows, (document, decoded.rejected)
        assert rows[row] == expected, document


def binary(batch: list[bytes]) -> pa.Array:
    return pa.array(batch, pa.binary())


@settings(max_examples=50, deadline=None)
@given(st.lists(ANY, min_size=1, max_size=12))
def test_cold_and_warm_decoders_agree_with_the_model(batch: list[bytes]) -> None:
    decoder = JsonDecoder(fast_rows_min=1)
    check(decoder.decode(binary(batch)), batch)
    check(decoder.decode(binary(batch)), batch)


def test_a_refused_document_that_the_engine_cuts_within_a_character() -> None:
    batch = [
        b'{"a":{}}',
        b'\n\t{\n\t"a"\n\t:\n\t{\n\t\n\t}\n\t,\n\t"a.b"\n\t:\n\t{\n\t\n\t}\n\t,\n\t"\xc3\xa9"'
        b'\n\t:\n\tnull\n\t,\n\t"b",\n\t:\n\t{\n\t\n\t}\n\t}\n\t',
    ]
    decoder = JsonDecoder(fast_rows_min=1)
    check(decoder.decode(binary(batch)), batch)
    check(decoder.decode(binary(batch)), batch)


_SHARED = JsonDecoder(fast_rows_min=1)


@settings(max_examples=50, deadline=None)
@given(st.lists(ANY, min_size=1, max_size=12))
def test_a_decoder_that_saw_other_documents_agrees_with_the_model(batch: list[bytes]) -> None:
    check(_SHARED.decode(binary(batch)), batch)
    check(_SHARED.decode(binary(batch)), batch)


@settings(max_examples=20, deadline=None)
@given(st.lists(ANY, min_size=2, max_size=12), st.data())
def test_batch_boundaries_change_nothing(batch: list[bytes], data: st.DataObject) -> None:
    whole = JsonDecoder(fast_rows_min=1)
    whole.decode(binary(batch))
    expected = _texts(whole.decode(binary(batch)))
    at = data.draw(st.integers(1, len(batch) - 1))
    parts = JsonDecoder(fast_rows_min=1)
    first = _texts(parts.decode(binary(batch[:at])))
    second = _texts(parts.decode(binary(batch).slice(at)))
    assert first | {row + at: cells for row, cells in second.items()} == expected


def _texts(decoded: Decoded) -> dict[int, dict[str, str] | str]:
    """Everything about each row, texts to the letter."""
    rows: dict[int, dict[str, str] | str] = dict(
        zip(decoded.rejected.rows.tolist(), decoded.rejected.reasons, strict=True)
    )
    for place, row in enumerate(decoded.kept.tolist()):
        values = ((name, decoded.batch[name][place].as_py()) for name in decoded.batch.column_names)
        rows[row] = {name: repr(value) for name, value in values if value is not None}
    return rows


def test_the_comparison_tells_types_apart() -> None:
    assert comparable("float:a", 0.0) != comparable("float:a", -0.0)
    assert decode_model(b'{"a":"5"}') != decode_model(b'{"a":5}') != decode_model(b'{"a":5.0}')
